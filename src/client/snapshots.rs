//! Snapshots.

use super::Client;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::snapshot::{self, Snapshot};

impl Client {
    /// Looks a snapshot up. `None` means the client's snapshotter.
    pub fn get_snapshot(
        &self,
        snapshotter: Option<&str>,
        key: &str,
        call: &Call,
    ) -> Result<Snapshot> {
        snapshot::get(&self.inner, snapshotter, key, call).at("get_snapshot", key)
    }

    /// Removes a snapshot. `None` means the client's snapshotter.
    pub fn remove_snapshot(&self, snapshotter: Option<&str>, key: &str, call: &Call) -> Result<()> {
        snapshot::remove(&self.inner, snapshotter, key, call).at("remove_snapshot", key)
    }
}
