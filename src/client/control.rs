//! Changing containers that exist: signals, pauses, restarts, resources, labels.

use super::Client;
use crate::call::Call;
use crate::container::{self, KillConfig, NewProcess, PauseConfig, RestartConfig, UpdateConfig};
use crate::error::{Result, ResultExt};

impl Client {
    /// Sends a signal to a process of a container, or to all of them. If the process ends by it, its exit
    /// is reported as any other. A process that is paused gets the signal when it is resumed.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. It does not wait for other calls that change the container. Fails with
    /// [`crate::ErrorKind::NotFound`] if there is no such container or process, or if the process has
    /// ended; but with [`KillConfig::all`] the end of the first process is no error, because other
    /// processes may remain. Fails with [`crate::ErrorKind::FailedPrecondition`] if the container belongs
    /// to another owner, or an exec was not started.
    pub fn kill_container(&self, id: &str, config: &KillConfig, call: &Call) -> Result<()> {
        container::kill(&self.inner, id, config, call).at("kill_container", id)
    }

    /// Pauses all processes of a container, until [`Client::resume_container`].
    ///
    /// Blocks until they are paused, at most for the client's call timeout unless `call` says otherwise.
    /// Fails with [`crate::ErrorKind::NotFound`] if there is no such container, or it has no task, unless
    /// the configuration says otherwise; with [`crate::ErrorKind::FailedPrecondition`] if it is paused
    /// already, its process has ended, or it belongs to another owner.
    pub fn pause_container(&self, id: &str, config: &PauseConfig, call: &Call) -> Result<()> {
        container::pause(&self.inner, id, *config, call).at("pause_container", id)
    }

    /// Resumes all processes of a container that is paused. Blocks and fails as
    /// [`Client::pause_container`] does, and fails with [`crate::ErrorKind::FailedPrecondition`] if the
    /// container is not paused.
    pub fn resume_container(&self, id: &str, config: &PauseConfig, call: &Call) -> Result<()> {
        container::resume(&self.inner, id, *config, call).at("resume_container", id)
    }

    /// Ends a container's processes, as [`Client::destroy_container`] does, and starts its command again:
    /// in a new task, with the same record, specification and snapshot. What the processes have written
    /// to the snapshot stays. Returns the new process. A container whose process has ended, was
    /// never started, or has no task, gets a new process too.
    ///
    /// The exit of the old process is reported once, as any other, before the new process starts. Then
    /// [`Client::wait`] waits for the exit of the new process. Both have the container's generation
    /// ([`Message::generation`]), which belongs to its record: [`Message::pid`] tells them apart. What is
    /// removed after an exit ([`ContainerConfig::cleanup`]) is not removed after that of the old process,
    /// but after that of the new one.
    ///
    /// If a step fails after the old process has ended, the steps of the new process are undone, and the
    /// error names the step. Then the container has no task, and another restart can start its command;
    /// but if its clean-up removes the container after an exit, it is removed.
    ///
    /// Blocks for at most the grace period, the time for the output and the client's call timeout, unless
    /// `call` says otherwise; without a limit if one of the two is [`std::time::Duration::MAX`]. If the
    /// server does not answer, the undoing may take up to 10 s more. Fails with
    /// [`crate::ErrorKind::NotFound`] if there is no such container or its snapshot is gone; with
    /// [`crate::ErrorKind::FailedPrecondition`] if it belongs to another owner, or its record does not
    /// say what its root file system is; with [`crate::ErrorKind::Aborted`] if another client starts it
    /// again and again.
    ///
    /// [`Message::generation`]: crate::Message::generation
    /// [`Message::pid`]: crate::Message::pid
    /// [`ContainerConfig::cleanup`]: crate::ContainerConfig::cleanup
    pub fn restart_container(
        &self,
        id: &str,
        config: &RestartConfig,
        call: &Call,
    ) -> Result<NewProcess> {
        container::restart(&self.inner, id, config, call).at("restart_container", id)
    }

    /// Changes the resources that a container may use: those of the processes that run, and those in the
    /// specification of its record, which count for its next process. If the process has ended, or there
    /// is no task, only the record changes.
    ///
    /// If the runtime refuses the change, the record gets its old specification back. Blocks for at most
    /// the client's call timeout unless `call` says otherwise; if the server does not answer, the undoing
    /// may take up to 10 s more. Fails with [`crate::ErrorKind::NotFound`] if there is no such container;
    /// with [`crate::ErrorKind::FailedPrecondition`] if it belongs to another owner; with
    /// [`crate::ErrorKind::Unknown`] if the runtime refuses the change.
    pub fn update_container(&self, id: &str, config: &UpdateConfig, call: &Call) -> Result<()> {
        container::update(&self.inner, id, config, call).at("update_container", id)
    }

    /// Sets labels of a container's record. An empty value removes a label. The other labels stay. Those
    /// that begin with `io.ctrd.` are the library's, and cannot be changed.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. Fails with [`crate::ErrorKind::NotFound`] if there is no such container; with
    /// [`crate::ErrorKind::FailedPrecondition`] if it belongs to another owner.
    ///
    /// ```no_run
    /// # fn f(client: &ctrd::Client) -> ctrd::Result<()> {
    /// let labels = [("org.example.role", "spare"), ("org.example.node", "")];
    /// client.set_container_labels("web", &labels, &ctrd::Call::new())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_container_labels(
        &self,
        id: &str,
        labels: &[(&str, &str)],
        call: &Call,
    ) -> Result<()> {
        container::set_labels(&self.inner, id, labels, call).at("set_container_labels", id)
    }
}
