//! The clean-up policy: the parts of a container that the library removes after the exit.

use crate::rpc::containers::Container;

/// The parts of a container that the library removes by itself, once its process has exited and every hook that got the
/// exit has returned.
///
/// ```
/// use ctrd::{Cleanup, ContainerConfig};
///
/// // Nothing is left of it after its exit.
/// let config = ContainerConfig::new("job").image("busybox").cleanup(Cleanup::All);
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleanup {
    /// Nothing. [`crate::Client::destroy_container`] removes the container.
    #[default]
    Keep,
    /// The task. The record keeps the exit, and the snapshot keeps what the process has written.
    Task,
    /// Everything: the task, the snapshot and the record.
    All,
}

/// The label that has the policy, for the program that recovers the container.
const LABEL: &str = "io.ctrd.cleanup";

impl Cleanup {
    /// The label for a new record. The default needs none.
    pub(crate) fn label(self) -> Option<(String, String)> {
        let word = match self {
            Cleanup::Keep => return None,
            Cleanup::Task => "task",
            Cleanup::All => "all",
        };
        Some((LABEL.into(), word.into()))
    }

    /// The policy that a record has.
    pub(crate) fn of(record: &Container) -> Cleanup {
        match record.labels.get(LABEL).map(String::as_str) {
            Some("task") => Cleanup::Task,
            Some("all") => Cleanup::All,
            _ => Cleanup::Keep,
        }
    }
}
