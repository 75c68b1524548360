//! How a process ended.

use crate::rpc::tasks::{self, Exit, Status};

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(Exit),
    /// No source holds the code.
    Unknown,
    /// It was created and never started.
    NeverRan,
}

impl End {
    /// What containerd says of a process, and its record keeps; `None` where it has not ended, or its shim
    /// has yet to say how.
    pub(crate) fn seen(found: &tasks::Process, kept: Option<End>, started: bool) -> Option<End> {
        // What a destroy that broke off has ended.
        let was_removed = kept == Some(End::NeverRan) && !started;
        match found.status {
            Status::Stopped if was_removed && found.exit.code == KILLED => Some(End::NeverRan),
            Status::Stopped => Some(End::Exit(found.exit)),
            Status::Ending if was_removed => Some(End::NeverRan),
            _ => None,
        }
    }

    /// What the answer to a deletion says.
    pub(crate) fn of(exit: Exit) -> End {
        if exit.at.is_some() { End::Exit(exit) } else { End::NeverRan }
    }
}

/// The exit code of what SIGKILL has ended. That of a process that was never started says nothing: it
/// is how such a one is removed.
pub(crate) const KILLED: u32 = 128 + 9;
