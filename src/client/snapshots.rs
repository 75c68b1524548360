//! Snapshots.

use super::Client;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::snapshot::{self, Snapshot, SnapshotKey};

impl Client {
    /// Looks a snapshot up. Blocks for at most the client's call timeout unless `call` says otherwise.
    pub fn get_snapshot(&self, key: &SnapshotKey, call: &Call) -> Result<Snapshot> {
        snapshot::get(&self.inner, key, call).at("get_snapshot", key.key())
    }

    /// Removes a snapshot. Blocks for at most the client's call timeout unless `call` says otherwise.
    /// Fails with [`crate::ErrorKind::FailedPrecondition`] if another snapshot builds on it.
    pub fn remove_snapshot(&self, key: &SnapshotKey, call: &Call) -> Result<()> {
        snapshot::remove(&self.inner, key, call).at("remove_snapshot", key.key())
    }
}
