//! Containers, from their creation to their removal.

use super::Client;
use crate::call::Call;
use crate::container::{self, ContainerConfig, ContainerInfo, DestroyConfig, NewProcess, Recovery};
use crate::error::{Result, ResultExt};
use crate::message::Message;
use crate::stdio::Stdio;

impl Client {
    /// Looks a container up: its record, and the state of its process. If its shim does not answer,
    /// that is [`crate::ContainerStatus::Unknown`], after the 2 s for which containerd waits for
    /// it.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container.
    pub fn get_container(&self, id: &str, call: &Call) -> Result<ContainerInfo> {
        container::get(&self.inner, id, call).at("get_container", id)
    }

    /// Lists the containers of the namespace, of every owner, in the order of their ids: those
    /// that match any of the filters, or all if there is none. Filters are in containerd's language, as
    /// `ctr containers ls` takes them: `labels."org.example.role"==web`, `image~="busybox"`. The filter
    /// `labels."io.ctrd.owner"=="epolld"` gives the containers that clients with the owner name
    /// `epolld` have made, and `labels."io.ctrd.owner"` those that any client of this library has.
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

    // Of the calls that change a container, one runs at a time. The others wait: first come, first
    // served among the calls of one client. If a call's time is over first, the error is `Busy` and
    // names the operation that changes the container.

    /// Creates a container and starts its process, unless the configuration says not to. If a step
    /// fails, the steps before it are undone, and the error names the step. If something is missing,
    /// [`crate::Error::reason`] says what: the image, its content, the runtime.
    ///
    /// Blocks for at most the client's call timeout unless `call` says otherwise. If the server
    /// does not answer, the undoing may take up to 15 s more.
    pub fn create_container(&self, config: &ContainerConfig, call: &Call) -> Result<NewProcess> {
        container::create(&self.inner, config, call).at("create_container", config.id())
    }

    /// Starts the process of a container that was created without starting it.
    ///
    /// Blocks for at most the client's call timeout unless `call` says otherwise. Fails with
    /// [`crate::ErrorKind::FailedPrecondition`] if the process was started before.
    pub fn start_container(&self, id: &str, call: &Call) -> Result<NewProcess> {
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
    /// unless `call` says otherwise; without a limit if one of the two is
    /// [`std::time::Duration::MAX`]. Fails with [`crate::ErrorKind::FailedPrecondition`] if the
    /// container is another owner's, and with [`crate::ErrorKind::Aborted`] if another client
    /// starts it again and again.
    pub fn destroy_container(
        &self,
        id: &str,
        config: &DestroyConfig,
        call: &Call,
    ) -> Result<Message> {
        container::destroy(&self.inner, id, config, call).at("destroy_container", id)
    }

    /// Takes a container over from an earlier run of this program: its streams, its clean-up, and the
    /// watch of its process. If the process has ended meanwhile, its exit is reported, with the code if
    /// containerd or the record still has it.
    ///
    /// `stdio` has descriptors for the streams that go through FIFOs of this library, or none: output
    /// without a descriptor is read and dropped. If a container is recovered already, its streams stay
    /// as they are.
    ///
    /// Fails with [`crate::ErrorKind::FailedPrecondition`] if the container does not have this client's
    /// owner label; with [`crate::ErrorKind::NotFound`] if there is no such container
    /// ([`crate::ErrorReason::NoContainer`]), or it has no task and its record does not say how its
    /// process ended ([`crate::ErrorReason::NoTask`]); with [`crate::ErrorKind::Unavailable`] if its
    /// shim does not answer. Then the container is left as it is.
    pub fn recover_container(&self, id: &str, stdio: &Stdio, call: &Call) -> Result<Recovery> {
        container::recover(&self.inner, id, stdio, call).at("recover_container", id)
    }

    /// Recovers every container of the namespace that has this client's owner label, and says what became
    /// of each, in the order of their ids. Also removes FIFOs whose container is gone.
    ///
    /// Up to 16 are recovered at once, by threads that end with the call. Each has 5 s, so one with a
    /// shim that does not answer delays the others little, and does not make the call fail.
    ///
    /// `streams` is asked for the streams of a container when its turn comes: so at most 16
    /// containers have descriptors that are not in use yet. It runs on the calling thread, for one
    /// container at a time, and is not asked for containers that cannot be recovered. The others
    /// wait while it runs; its time does not count towards the 5 s. If it fails, the container is
    /// left as it is. It may call any operation of the client, but for [`Client::close`]
    /// ([`crate::ErrorKind::Reentrant`]).
    pub fn recover_all(
        &self,
        streams: &mut dyn FnMut(&ContainerInfo) -> Result<Stdio>,
        call: &Call,
    ) -> Result<Vec<Recovery>> {
        container::recover_all(&self.inner, streams, call).at("recover_all", "")
    }
}
