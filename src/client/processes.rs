//! The processes of containers.

use super::Client;
use crate::call::Call;
use crate::container::{self, ExecConfig, ExecProcess, ProcessInfo};
use crate::error::{Result, ResultExt};
use crate::message::Message;

impl Client {
    /// Waits for the exit of a container's process. Blocks without a limit unless `call` has a
    /// timeout. If this client does not watch the container yet, it begins to.
    ///
    /// Any number of callers may wait. The message can be asked for again until the container is
    /// destroyed or restarted. If it is removed without a destroy ([`crate::Cleanup::All`], another client), at
    /// least the messages of the last 1,024 such containers are kept.
    ///
    /// With [`Call::poll`] it never asks the server and never blocks. It returns what this client
    /// knows: the message, [`crate::ErrorKind::WouldBlock`] while the process has not ended, or
    /// [`crate::ErrorKind::FailedPrecondition`] if this client does not watch the container
    /// ([`Client::watch_container`] begins to). A client watches the containers that it has
    /// created, started, recovered, waited for or begun to watch, until it destroys them. So a poll
    /// returns an exit also if another client has replaced the container since: any other wait, and
    /// [`Client::watch_container`], ask the server whether it has.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use ctrd::{Call, Client};
    ///
    /// # fn f(client: &Client) -> ctrd::Result<()> {
    /// let message = client.wait("web", &Call::new().timeout(Duration::from_secs(60)))?;
    /// println!("{:?}", message.exit_code());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(&self, id: &str, call: &Call) -> Result<Message> {
        container::probe(&self.inner, id, call).at("wait", id)
    }

    /// The same as [`Client::wait`], by the name that it has in the C interface and in
    /// PouchContainer's Go package.
    pub fn probe(&self, id: &str, call: &Call) -> Result<Message> {
        container::probe(&self.inner, id, call).at("probe", id)
    }

    /// Begins to watch a container that another client has made, or an earlier run of this program,
    /// so that hooks and queues get its exit and [`Client::wait`] can poll it. Unlike a recover it
    /// leaves the streams and the clean-up to the container's owner. It does nothing if the
    /// container is watched already; if its exit is known, it asks the server whether the id has
    /// another container or process by now, and watches that.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call`
    /// says otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container, or
    /// it has no task and its record does not say how its process ended; with
    /// [`crate::ErrorKind::Unavailable`] if its shim does not answer.
    pub fn watch_container(&self, id: &str, call: &Call) -> Result<()> {
        container::watch_container(&self.inner, id, call).at("watch_container", id)
    }

    /// Executes a process in a container. Returns when it runs; [`Client::wait_exec`] waits for its exit,
    /// and hooks and queues get the exit as [`crate::MessageKind::ExecExit`]. When it has ended and
    /// every hook that got the exit has returned, it is deleted from the container's shim, and its id can
    /// be used again. If a step fails, the steps before it are undone, and the error names the step.
    ///
    /// Blocks until the process runs, at most for the client's call timeout unless `call` says
    /// otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container or it has no
    /// task; with [`crate::ErrorKind::AlreadyExists`] if the container has an exec with the id that has
    /// not ended. If the process cannot be started, because there is no such program for example, the
    /// error's [`crate::Error::reason`] says why, and hooks and queues get an exit message with
    /// [`Message::start_error`].
    pub fn exec_container(&self, config: &ExecConfig, call: &Call) -> Result<ExecProcess> {
        container::exec(&self.inner, config, call).at("exec_container", config.container())
    }

    /// Waits for the exit of an exec. Blocks without a limit unless `call` has a timeout. Any number of
    /// callers may wait. The message can be asked for again until the container is destroyed or restarted, or
    /// a clean-up removes its task; the messages of at least the last 1,024 execs are kept.
    ///
    /// With [`Call::poll`] it never asks the server and never blocks: it returns the message,
    /// [`crate::ErrorKind::WouldBlock`] while the exec has not ended, or
    /// [`crate::ErrorKind::FailedPrecondition`] if this client does not watch it.
    ///
    /// Fails with [`crate::ErrorKind::NotFound`] if there is no such exec: another client may have deleted
    /// it, its container may be gone, or more than 1,024 others have ended since.
    pub fn wait_exec(&self, id: &str, exec_id: &str, call: &Call) -> Result<Message> {
        container::wait_exec(&self.inner, id, exec_id, call).at("wait_exec", id)
    }

    /// Begins to watch an exec that another client has made, or an earlier run of this program, so that
    /// hooks and queues get its exit and [`Client::wait_exec`] can poll it. It leaves the streams and the
    /// deletion to the exec's owner: [`ExecConfig::adopt`] would take them over. It does nothing if the
    /// exec is watched already.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container or exec; with
    /// [`crate::ErrorKind::Unavailable`] if the shim does not answer.
    pub fn watch_exec(&self, id: &str, exec_id: &str, call: &Call) -> Result<()> {
        container::watch_exec(&self.inner, id, exec_id, call).at("watch_exec", id)
    }

    /// The pid of a container's first process, in the server's pid namespace. Blocks for at most
    /// the client's call timeout unless `call` says otherwise.
    pub fn container_pid(&self, id: &str, call: &Call) -> Result<u32> {
        container::pid(&self.inner, id, call).at("container_pid", id)
    }

    /// All processes of a container, each with its pid and the id of the exec that it is the first process
    /// of. Blocks for at most the client's call timeout unless `call` says otherwise. Fails with
    /// [`crate::ErrorKind::NotFound`] if there is no such container, or it has no task.
    pub fn container_pids(&self, id: &str, call: &Call) -> Result<Vec<ProcessInfo>> {
        container::pids(&self.inner, id, call).at("container_pids", id)
    }
}
