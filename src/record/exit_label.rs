//! The label in which a record keeps how its process ended, where that outlives the task.
//!
//! `CODE TIME PID GENERATION`: the code, `unknown`, or `never` where the process was not to run; the
//! time in nanoseconds since 1970, or `-`. The process's number and the generation say of which one:
//! a later process of the record, or a later container of the id, has the label still.

use std::time::{Duration, UNIX_EPOCH};

use super::generation::generation;
use super::outcome::End;
use crate::error::{Result, ResultExt};
use crate::message::Message;
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::Exit;

const KEY: &str = "io.ctrd.exit";

const UNKNOWN: &str = "unknown";
const NEVER: &str = "never";

/// Takes back what a label says: its process is to run, or does.
pub(crate) fn clear_exit(ctx: &Ctx, id: &str) -> Result<()> {
    // containerd keeps no empty label.
    let label = (KEY.to_owned(), String::new());
    containers::set_labels(ctx, id, &[label]).step("take back that it is not to run").map(drop)
}

/// How a process ended, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitLabel {
    pub(crate) pid: u32,
    pub(crate) end: End,
}

impl ExitLabel {
    /// What a record says of a process of its own.
    pub(crate) fn of(record: &Container) -> Option<ExitLabel> {
        let mut words = record.labels.get(KEY)?.split(' ');
        let (code, at, pid, of) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if of != generation(record) {
            return None;
        }
        let since = at.parse().ok().map(Duration::from_nanos);
        let at = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        let end = match code {
            UNKNOWN => End::Unknown,
            NEVER => End::NeverRan,
            code => End::Exit(Exit { code: code.parse().ok()?, at }),
        };
        Some(ExitLabel { pid: pid.parse().ok()?, end })
    }

    /// What was told of a process.
    pub(crate) fn told(pid: u32, message: &Message) -> ExitLabel {
        let end = match message.exit_code() {
            Some(code) => End::Exit(Exit { code, at: message.exit_time() }),
            None if message.start_error().is_some() => End::NeverRan,
            None => End::Unknown,
        };
        ExitLabel { pid, end }
    }

    /// The label for a record of this generation.
    pub(crate) fn label(&self, generation: &str) -> (String, String) {
        let (code, at) = match self.end {
            End::Exit(exit) => (exit.code.to_string(), exit.at),
            End::Unknown => (UNKNOWN.into(), None),
            End::NeverRan => (NEVER.into(), None),
        };
        let nanos = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_nanos());
        let at = nanos.map_or_else(|| "-".into(), |nanos| nanos.to_string());
        (KEY.into(), format!("{code} {at} {} {generation}", self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::GENERATION_LABEL;
    use crate::rpc::Any;

    #[test]
    fn a_label_keeps_the_end_of_its_own_generation() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789);
        for end in [
            End::Exit(Exit { code: 0, at: None }),
            End::Exit(Exit { code: 137, at: Some(at) }),
            End::Unknown,
            End::NeverRan,
        ] {
            let kept = ExitLabel { pid: 77, end };
            for of in ["one", "another"] {
                let labels = [(GENERATION_LABEL.into(), "one".into())];
                let labels = labels.into_iter().chain([kept.label(of)]).collect();
                let record = Container { labels, spec: Any::default(), ..Default::default() };
                assert_eq!(ExitLabel::of(&record), (of == "one").then_some(kept));
            }
        }
        let labels = [(KEY.into(), "3 - 7 ".into())].into();
        // One that others have made is told by the time of its creation.
        let record = Container { labels, ..Default::default() };
        let end = End::Exit(Exit { code: 3, at: None });
        assert_eq!(ExitLabel::of(&record), Some(ExitLabel { pid: 7, end }));
        for bad in ["", "3", "3 - 7", "x - 7 ", "3 - x ", "3 - 7 y"] {
            let labels = [(KEY.into(), bad.into())].into();
            assert_eq!(ExitLabel::of(&Container { labels, ..Default::default() }), None);
        }
    }
}
