//! How a process ended.

use crate::rpc::tasks::{self, Exit, Status};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessOutcome {
    Exited(Exit),
    /// It exited, and no source has the code.
    Unknown,
    /// It was created and never started.
    NeverStarted,
}

impl ProcessOutcome {
    /// The outcome that containerd reports for a process. `recorded` is the one in the container's
    /// record; `started` says whether the process is known to have been started. `None` if the
    /// process has not exited, or if its shim does not know yet how it exited.
    pub(crate) fn of_process(
        process: &tasks::Process,
        recorded: Option<ProcessOutcome>,
        started: bool,
    ) -> Option<ProcessOutcome> {
        // An interrupted destroy has killed it before its start.
        let was_removed = recorded == Some(ProcessOutcome::NeverStarted) && !started;
        match process.status {
            Status::Stopped if was_removed && process.exit.code == SIGKILL_CODE => {
                Some(ProcessOutcome::NeverStarted)
            }
            Status::Stopped => Some(ProcessOutcome::Exited(process.exit)),
            Status::Ending if was_removed => Some(ProcessOutcome::NeverStarted),
            _ => None,
        }
    }

    /// The outcome in the answer to a task's deletion.
    pub(crate) fn of_deleted(exit: Exit) -> ProcessOutcome {
        if exit.at.is_some() { ProcessOutcome::Exited(exit) } else { ProcessOutcome::NeverStarted }
    }
}

/// The exit code of a process that SIGKILL ended. For a process that was never started it means
/// nothing: such a process is removed by SIGKILL.
pub(crate) const SIGKILL_CODE: u32 = 128 + 9;
