//! Containers: their life from the creation to the removal.

use super::Client;
use crate::call::Call;
use crate::container::{self, ContainerConfig, ContainerInfo, DestroyConfig, Recovery};
use crate::error::{Result, ResultExt};
use crate::message::Message;
use crate::stdio::Stdio;

impl Client {
    /// Looks a container up: its record, and the state of its process. If its shim does not answer, that
    /// is [`crate::ContainerStatus::Unknown`], after the 2 s for which containerd waits for it.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container.
    pub fn get_container(&self, id: &str, call: &Call) -> Result<ContainerInfo> {
        container::get(&self.inner, id, call).at("get_container", id)
    }

    /// Lists the containers of the namespace, whoever has made them, in the order of their ids: those
    /// that match any of the filters, or all if there is none. Filters are in containerd's language, as
    /// `ctr containers ls` takes them: `labels."org.example.role"==web`, `image~="busybox"`. Those of
    /// this program are `labels."io.ctrd.owner"==NAME`, with the client's owner name.
    ///
    /// It asks for all records and then for all tasks, which is two calls however many there are. The
    /// list of tasks takes as long as containerd needs for it: it asks the shims one after the other,
    /// and waits 2 s for one that does not answer. A container with such a shim is listed with
    /// [`crate::ContainerStatus::Unknown`]. containerd may also leave its task out of the list (1.7 and
    /// 2.x do at times): then the status is `Unknown` if this client watches the container, and
    /// [`crate::ContainerStatus::NoTask`] if it does not; [`Client::get_container`] tells which.
    ///
    /// Blocks for at most the client's call timeout unless `call` says otherwise.
    pub fn list_containers(&self, filters: &[&str], call: &Call) -> Result<Vec<ContainerInfo>> {
        container::list(&self.inner, filters, call).at("list_containers", "")
    }

    // What changes a container waits for its turn: first come, first served among the calls of one
    // client. Where its time ends before, the error is `Busy` and names the operation that has it.

    /// Creates a container and starts its process, unless the configuration says not to. Gives the
    /// process's id. What was done is undone where a step fails, and the error names the step; where
    /// the server does not answer or cannot be reached, that may take up to 15 s, also beyond the
    /// call's timeout.
    pub fn create_container(&self, config: ContainerConfig, call: &Call) -> Result<u32> {
        let id = config.id.clone();
        container::create(&self.inner, config, call).at("create_container", &id)
    }

    /// Starts the process of a container that was created without starting it.
    pub fn start_container(&self, id: &str, call: &Call) -> Result<u32> {
        container::start(&self.inner, id, call).at("start_container", id)
    }

    /// Ends a container's processes and removes it: SIGTERM, SIGKILL once the grace period is over,
    /// then a wait for the output that is still in the pipes, then task, snapshot and record are
    /// deleted. If it fails half-way, another call goes on.
    ///
    /// Returns the exit message. It has no code if no source has one or the process never ran. It says
    /// how much output was lost because its reader was behind or had gone
    /// ([`Message::output_lost`]).
    ///
    /// Blocks for at most the grace period, the time for the output and the client's call timeout,
    /// unless `call` says otherwise; without a limit if one of the two is [`std::time::Duration::MAX`].
    /// Fails with [`crate::ErrorKind::FailedPrecondition`] if the container is another owner's, and with
    /// [`crate::ErrorKind::Aborted`] if another client starts it again and again.
    pub fn destroy_container(
        &self,
        id: &str,
        config: &DestroyConfig,
        call: &Call,
    ) -> Result<Message> {
        container::destroy(&self.inner, id, config, call).at("destroy_container", id)
    }

    /// Takes a container over after this program was started anew: its streams, as far as their FIFOs
    /// stand (`stdio`: descriptors or none; what is not given is fetched and dropped), and the watch of
    /// its process. One that has ended meanwhile is told of with its real exit, as far as containerd
    /// still knows. Only a container with the client's owner label is taken over
    /// ([`crate::ErrorKind::FailedPrecondition`]). Fails with [`crate::ErrorKind::NotFound`] where there is no
    /// container or it has no task, and leaves it as it is; with [`crate::ErrorKind::Unavailable`] where its
    /// shim does not answer. A container that is recovered already stays so.
    pub fn recover_container(&self, id: &str, stdio: Stdio, call: &Call) -> Result<()> {
        container::recover(&self.inner, id, stdio, call).at("recover_container", id)
    }

    /// Does so for every container of the namespace with the client's owner label, 16 at once by threads
    /// that end with the call, each within 5 s, and says what became of each, in the order of their ids.
    /// `streams` gives the descriptors of one; it runs on the calling thread, for all before the first is
    /// recovered. A container for which it fails is left as it is. FIFOs of containers that do not stand
    /// any more are removed.
    pub fn recover_all(
        &self,
        streams: &mut dyn FnMut(&str) -> Result<Stdio>,
        call: &Call,
    ) -> Result<Vec<Recovery>> {
        container::recover_all(&self.inner, streams, call).at("recover_all", "")
    }
}
