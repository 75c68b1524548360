//! The statistics of containers.

use super::Client;
use crate::call::Call;
use crate::container;
use crate::error::{Result, ResultExt};
use crate::stats::Stats;

impl Client {
    /// The statistics of a container: CPU time, memory, processes, input and output.
    ///
    /// Blocks until the container's shim has answered, for at most 2 s, and for the client's call
    /// timeout unless `call` says otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no
    /// such container or it has no task; with [`crate::ErrorKind::FailedPrecondition`] if its process has
    /// ended; with [`crate::ErrorKind::Unavailable`] if its shim does not answer.
    pub fn container_stats(&self, id: &str, call: &Call) -> Result<Stats> {
        container::stats(&self.inner, id, call).at("container_stats", id)
    }

    /// The statistics of each of these containers; without an id, each container of the
    /// namespace. They are in the order of their ids. Containers that do not exist, have no task, or
    /// whose process has ended are left out.
    ///
    /// It asks for all of them with one call. If that has no answer after 1 s, or a fourth of the call's
    /// time, it asks about each by itself, 64 at once. So a shim that does not answer delays the others
    /// little: after 2 s its container is given with an error ([`Stats::error`]) and without figures. While a
    /// shim does not answer, later calls ask one by one from the start.
    ///
    /// Blocks for at most the client's call timeout unless `call` says otherwise.
    pub fn list_stats(&self, ids: &[&str], call: &Call) -> Result<Vec<Stats>> {
        container::list_stats(&self.inner, ids, call).at("list_stats", "")
    }
}
