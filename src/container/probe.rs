//! Waiting for a container's end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{EXIT_CODE_LABEL, EXIT_TIME_LABEL};
use crate::call::{Call, Timeout};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::message::{Body, Message, Origin};
use crate::rpc::Cx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Exit, Status};
use crate::watch::{Process, Watch};

pub(crate) fn probe(context: &Context, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    if call.timeout == Timeout::Poll {
        // The look at the server is to be given its time; the wait is not.
        let operation = context.begin(&Call { timeout: Timeout::Default, ..call.clone() })?;
        return watch(context, &operation.cx, id)?.exit().ok_or_else(|| {
            Error::new(ErrorKind::WouldBlock, "the container's process has not ended")
                .with_retryable(true)
        });
    }
    let operation = context.begin_with(call, None)?;
    let bounded =
        operation.cx.with_limits(operation.cx.limits.at_most(context.config.call_timeout));
    watch(context, &bounded, id)?.wait(&operation.cx.limits)
}

/// The watch of a container's process. Where this client has none yet, it begins to watch what the
/// server has, which may have ended before.
pub(super) fn watch(context: &Context, cx: &Cx, id: &str) -> Result<Arc<Watch>> {
    if let Some(watch) = context.watches.find(&cx.namespace, id) {
        if watch.process.generation.is_some() || watch.exit().is_none() {
            return Ok(watch);
        }
        // It was found, not made here, and has ended: its id may be another container's by now.
        match tasks::get(cx, id, "") {
            Ok(process) if process.pid != 0 && process.pid != watch.process.pid => {
                context.watches.forget(&watch);
            }
            _ => return Ok(watch),
        }
    }
    let adopt = |pid, exit| context.watches.adopt(cx, id, Process { pid, generation: None }, exit);
    match tasks::get(cx, id, "") {
        Ok(process) if process.status == Status::Stopped => adopt(process.pid, Some(process.exit)),
        Ok(process) => adopt(process.pid, None),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // The task may have been deleted and the record kept.
            let record = containers::get(cx, id)?;
            match recorded_exit(&record) {
                Some(exit) => adopt(0, Some(exit)),
                None => Err(e.context("the container has no task")),
            }
        }
        Err(e) => Err(e),
    }
    .step("look the task up")
}

/// The message about a container whose process was never started, and is not to be any more.
pub(super) fn never_ran(id: &str) -> Message {
    let why = Error::new(ErrorKind::NotFound, "the container's process never ran");
    Message::new(Body {
        origin: Origin::Recovered,
        container_id: id.into(),
        exec_id: None,
        exit_code: None,
        exit_time: None,
        error: Some(why.clone()),
        start_error: Some(why),
    })
}

/// The labels that keep an exit in the container's record.
pub(super) fn exit_labels(exit: Exit) -> Vec<(String, String)> {
    let mut labels = vec![(EXIT_CODE_LABEL.to_owned(), exit.code.to_string())];
    let nanos = exit.at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_nanos());
    if let Some(nanos) = nanos {
        labels.push((EXIT_TIME_LABEL.to_owned(), nanos.to_string()));
    }
    labels
}

/// The exit that the record's labels keep.
pub(super) fn recorded_exit(record: &Container) -> Option<Exit> {
    let code = record.labels.get(EXIT_CODE_LABEL)?.parse().ok()?;
    let at = record
        .labels
        .get(EXIT_TIME_LABEL)
        .and_then(|nanos| nanos.parse().ok())
        .and_then(|nanos| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)));
    Some(Exit { code, at })
}
