//! Snapshots.

use super::Client;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::snapshot::{self, Snapshot};

impl Client {
    /// Looks a snapshot up. A `snapshotter` of `None` means the client's. Blocks for at most the
    /// client's call timeout unless `call` says otherwise.
    pub fn get_snapshot(
        &self,
        snapshotter: Option<&str>,
        key: &str,
        call: &Call,
    ) -> Result<Snapshot> {
        snapshot::get(&self.inner, snapshotter, key, call).at("get_snapshot", key)
    }

    /// Removes a snapshot. A `snapshotter` of `None` means the client's. Blocks for at most the
    /// client's call timeout unless `call` says otherwise. Fails with
    /// [`crate::ErrorKind::FailedPrecondition`] if another snapshot builds on it.
    pub fn remove_snapshot(&self, snapshotter: Option<&str>, key: &str, call: &Call) -> Result<()> {
        snapshot::remove(&self.inner, snapshotter, key, call).at("remove_snapshot", key)
    }
}
