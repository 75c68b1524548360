//! Ending a container and removing it.

use std::sync::Arc;
use std::time::Duration;

use super::probe::{exit_labels, never_ran, recorded_exit};
use super::{GENERATION_LABEL, delete_task, found, turn};
use crate::call::Call;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::message::Message;
use crate::rpc::Cx;
use crate::rpc::containers::{self, Container};
use crate::rpc::snapshots;
use crate::rpc::tasks::{self, Exit};
use crate::watch::Watch;

/// How long output that is still in the pipes is passed on after the exit. A descendant outside of
/// the container's pid namespace may hold a pipe open for ever.
const DRAIN: Duration = Duration::from_secs(1);

pub(crate) fn destroy(
    context: &Context,
    id: &str,
    grace: Duration,
    call: &Call,
) -> Result<Message> {
    identifier::check("id", id)?;
    // The grace period has a clock of its own: the default leaves all of it, and a call's time.
    let operation = context.begin_with(call, grace.checked_add(context.config.call_timeout))?;
    let cx = &operation.cx;
    let before = context.watches.find(&cx.namespace, id);
    let _turn = turn(context, cx, id, "destroy_container")?;

    let record = match containers::get(cx, id) {
        Ok(record) => Some(record),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e.step("look the record up")),
    };
    if let (Some(record), Some(watch)) = (&record, context.watches.find(&cx.namespace, id)) {
        let now = record.labels.get(GENERATION_LABEL);
        if watch.process.generation.is_some() && watch.process.generation.as_ref() != now {
            // Another container has taken the id: what we know is of the one before.
            context.watches.forget(&watch);
        }
    }
    let watch = match super::probe::watch(context, cx, id) {
        Ok(watch) => Some(watch),
        Err(e) if e.kind() == ErrorKind::NotFound => match &record {
            // What a destroy that was interrupted has left.
            Some(_) => None,
            // Another call has destroyed it while this one waited: its message is ours too.
            None => return before.and_then(|watch| watch.exit()).ok_or(e),
        },
        Err(e) => return Err(e),
    };
    let message = match &watch {
        Some(watch) => {
            let message = end(cx, id, watch, grace)?;
            if let Some(stdio) = &watch.stdio
                && !stdio.drain(cx.limits.at_most(DRAIN).remaining().unwrap_or(DRAIN))
            {
                log::warn!("the output of container {id} was cut");
            }
            Some(message)
        }
        None => None,
    };
    if let (Some(message), Some(record)) = (&message, &record) {
        keep_exit(cx, record, message).step("keep the exit code")?;
    }
    delete_task(cx, id).step("delete the task")?;
    if let Some(stdio) = watch.as_ref().and_then(|watch| watch.stdio.as_ref()) {
        stdio.close();
    }
    if let Some(record) = &record {
        if !record.snapshot_key.is_empty() {
            found(snapshots::remove(cx, &record.snapshotter, &record.snapshot_key))
                .step("remove the snapshot")?;
        }
        found(containers::delete(cx, id)).step("delete the record")?;
    }
    if let Some(watch) = &watch {
        context.watches.forget(watch);
    }
    Ok(message.unwrap_or_else(|| never_ran(id)))
}

/// Ends the processes: SIGTERM, and SIGKILL once the grace period has passed.
fn end(cx: &Cx, id: &str, watch: &Arc<Watch>, grace: Duration) -> Result<Message> {
    if let Some(message) = watch.exit() {
        return Ok(message);
    }
    if !grace.is_zero() {
        signal(cx, id, libc::SIGTERM).step("send SIGTERM")?;
        match watch.wait(&cx.limits.at_most(grace)) {
            Err(e) if e.kind() == ErrorKind::Timeout => {
                cx.limits.check().step("wait for the grace period").map_err(unfinished)?;
            }
            other => return other.step("wait for the exit").map_err(unfinished),
        }
    }
    signal(cx, id, libc::SIGKILL).step("send SIGKILL")?;
    watch.wait(&cx.limits).step("wait for the exit").map_err(unfinished)
}

/// The container was told to end, and may yet.
fn unfinished(error: Error) -> Error {
    error.with_outcome_unknown(true)
}

fn signal(cx: &Cx, id: &str, signal: i32) -> Result<()> {
    // A process that has ended, or was never started, is found out about by the wait.
    found(tasks::kill(cx, id, "", signal.unsigned_abs(), true))
}

/// Writes the exit to the record, where it outlives the task.
fn keep_exit(cx: &Cx, record: &Container, message: &Message) -> Result<()> {
    let Some(code) = message.exit_code() else { return Ok(()) };
    if recorded_exit(record).is_some() {
        return Ok(());
    }
    let labels = exit_labels(Exit { code, at: message.exit_time() });
    found(containers::set_labels(cx, &record.id, &labels))
}
