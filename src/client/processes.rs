//! The processes of containers.

use super::Client;
use crate::call::Call;
use crate::container;
use crate::error::{Result, ResultExt};
use crate::message::Message;

impl Client {
    /// Waits for the end of a container's process. Without a timeout in `call` it waits without an
    /// end. Any number of callers may wait; the message stays until the container is destroyed, and
    /// at least of the last 1,024 that went without it ([`crate::Cleanup::All`], another client). With
    /// [`Call::poll`] it tells what is known without asking the server, but asks, for at most 1 s,
    /// of a container that this client does not watch yet, and of one whose exit was told: its id
    /// may be another container's by now.
    pub fn probe(&self, id: &str, call: &Call) -> Result<Message> {
        container::probe(&self.inner, id, call).at("probe", id)
    }

    /// The id of a container's first process.
    pub fn container_pid(&self, id: &str, call: &Call) -> Result<u32> {
        container::pid(&self.inner, id, call).at("container_pid", id)
    }

    /// The ids of all processes of a container.
    pub fn container_pids(&self, id: &str, call: &Call) -> Result<Vec<u32>> {
        container::pids(&self.inner, id, call).at("container_pids", id)
    }
}
