//! What is to be removed of a container after the exit of its process.

use crate::rpc::containers::Container;

/// What is removed of a container once its process has ended and every hook that was told has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleanup {
    /// Nothing: [`crate::Client::destroy_container`] does it.
    #[default]
    Keep,
    /// The task. The record keeps the exit, and the snapshot what the process has written.
    Task,
    /// Everything: task, snapshot and record.
    All,
}

/// The label that says it, for whoever recovers the container.
const LABEL: &str = "io.ctrd.cleanup";

impl Cleanup {
    pub(crate) fn label(self) -> Option<(String, String)> {
        let word = match self {
            Cleanup::Keep => return None,
            Cleanup::Task => "task",
            Cleanup::All => "all",
        };
        Some((LABEL.into(), word.into()))
    }

    /// What a record says.
    pub(crate) fn of(record: &Container) -> Cleanup {
        match record.labels.get(LABEL).map(String::as_str) {
            Some("task") => Cleanup::Task,
            Some("all") => Cleanup::All,
            _ => Cleanup::Keep,
        }
    }
}
