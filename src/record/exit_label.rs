//! The label in which a record keeps how its process ended: it outlives the task.
//!
//! `CODE TIME PID GENERATION`. The code is a number, `unknown`, or `never` if the process was not
//! to run; the time is in nanoseconds since 1970, or `-`. The pid and the generation say which
//! process it is: the label stays when the record gets another process, or the id another
//! container.

use std::time::{Duration, UNIX_EPOCH};

use super::generation;
use super::outcome::ProcessOutcome;
use crate::error::{Result, ResultExt};
use crate::message::Message;
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::Exit;

const KEY: &str = "io.ctrd.exit";

const UNKNOWN: &str = "unknown";
const NEVER: &str = "never";

/// Removes the label: the process that it says was not to run is about to run, or runs; or another
/// process follows the one that has ended.
pub(crate) fn clear_exit(ctx: &Ctx, id: &str) -> Result<()> {
    // containerd keeps no empty label.
    let label = (KEY.to_owned(), String::new());
    containers::set_labels(ctx, id, &[label]).step("remove the exit from the record").map(drop)
}

/// How a process ended, and which process it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitLabel {
    pub(crate) pid: u32,
    pub(crate) outcome: ProcessOutcome,
}

impl ExitLabel {
    /// The exit that a record keeps of its process.
    pub(crate) fn of(record: &Container) -> Option<ExitLabel> {
        let mut words = record.labels.get(KEY)?.split(' ');
        let (code, at, pid, of) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if of != generation::of(record) {
            return None;
        }
        let since = at.parse().ok().map(Duration::from_nanos);
        let at = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        let outcome = match code {
            UNKNOWN => ProcessOutcome::Unknown,
            NEVER => ProcessOutcome::NeverStarted,
            code => ProcessOutcome::Exited(Exit { code: code.parse().ok()?, at }),
        };
        Some(ExitLabel { pid: pid.parse().ok()?, outcome })
    }

    /// The label for an exit that was reported.
    pub(crate) fn of_message(pid: u32, message: &Message) -> ExitLabel {
        let outcome = match message.exit_code() {
            Some(code) => ProcessOutcome::Exited(Exit { code, at: message.exit_time() }),
            None if message.start_error().is_some() => ProcessOutcome::NeverStarted,
            None => ProcessOutcome::Unknown,
        };
        ExitLabel { pid, outcome }
    }

    /// The label for a record of this generation.
    pub(crate) fn label(&self, generation: &str) -> (String, String) {
        let (code, at) = match self.outcome {
            ProcessOutcome::Exited(exit) => (exit.code.to_string(), exit.at),
            ProcessOutcome::Unknown => (UNKNOWN.into(), None),
            ProcessOutcome::NeverStarted => (NEVER.into(), None),
        };
        let nanos = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_nanos());
        let at = nanos.map_or_else(|| "-".into(), |nanos| nanos.to_string());
        (KEY.into(), format!("{code} {at} {} {generation}", self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::generation;
    use crate::rpc::Any;

    #[test]
    fn a_label_keeps_the_outcome_for_its_own_generation() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789);
        for outcome in [
            ProcessOutcome::Exited(Exit { code: 0, at: None }),
            ProcessOutcome::Exited(Exit { code: 137, at: Some(at) }),
            ProcessOutcome::Unknown,
            ProcessOutcome::NeverStarted,
        ] {
            let kept = ExitLabel { pid: 77, outcome };
            for of in ["one", "another"] {
                let labels = [(generation::LABEL.into(), "one".into())];
                let labels = labels.into_iter().chain([kept.label(of)]).collect();
                let record = Container { labels, spec: Any::default(), ..Default::default() };
                assert_eq!(ExitLabel::of(&record), (of == "one").then_some(kept));
            }
        }
        let labels = [(KEY.into(), "3 - 7 ".into())].into();
        // The generation of another client's container is its time of creation.
        let record = Container { labels, ..Default::default() };
        let outcome = ProcessOutcome::Exited(Exit { code: 3, at: None });
        assert_eq!(ExitLabel::of(&record), Some(ExitLabel { pid: 7, outcome }));
        for bad in ["", "3", "3 - 7", "x - 7 ", "3 - x ", "3 - 7 y"] {
            let labels = [(KEY.into(), bad.into())].into();
            assert_eq!(ExitLabel::of(&Container { labels, ..Default::default() }), None);
        }
    }
}
