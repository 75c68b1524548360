//! Changing containers that exist: signals, pauses, resources, labels.

use super::Client;
use crate::call::Call;
use crate::container::{self, KillConfig, PauseConfig, UpdateConfig};
use crate::error::{Result, ResultExt};

impl Client {
    /// Sends a signal to a process of a container, or to all of them. If the process ends by it, its exit
    /// is reported as any other. A process that is paused gets the signal when it is resumed.
    ///
    /// `exec_id` names a process that was executed in the container; `None` means its first process.
    ///
    /// Blocks until the server has answered, at most for the client's call timeout unless `call` says
    /// otherwise. It does not wait for other calls that change the container. Fails with
    /// [`crate::ErrorKind::NotFound`] if there is no such container or process, or if the process has
    /// ended; but with [`KillConfig::all`] the end of the first process is no error, because other
    /// processes may remain. Fails with [`crate::ErrorKind::FailedPrecondition`] if the container belongs
    /// to another owner, or a process with this `exec_id` was not started.
    pub fn kill_container(
        &self,
        id: &str,
        exec_id: Option<&str>,
        config: &KillConfig,
        call: &Call,
    ) -> Result<()> {
        container::kill(&self.inner, id, exec_id, config, call).at("kill_container", id)
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
