//! Beginning to watch a process that the server has already.

use std::sync::Arc;

use super::cleanup;
use super::streams::open_streams;
use super::task::{LOOK_UP, has_another_process, no_answer};
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};
use crate::inner::Inner;
use crate::message::Message;
use crate::record::{Cleanup, ExitLabel, ProcessOutcome, clear_exit, generation};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::stdio::{Paths, Stdio};
use crate::watch::{FoundProcess, IdOwner, Process, Watch};

/// The watch of a container's process. If this client has none, it begins to watch the process that the
/// server has, which may have exited before.
pub(super) fn watch(client: &Arc<Inner>, ctx: &Ctx, id: &str) -> Result<Arc<Watch>> {
    if let Some(watch) = client.watches.find(&ctx.namespace, id, None) {
        if watch.exit().is_none() {
            return Ok(watch);
        }
        // It has exited. By now another container may have the id, or the container another process.
        match containers::get(ctx, id) {
            Ok(record) if generation::of(&record) != watch.generation() => {
                return match watch_of_record(client, ctx, &record)? {
                    Some(watch) => Ok(watch),
                    None => adopt(client, ctx, &record, None),
                };
            }
            Ok(record) if has_another_process(ctx, &watch).is_ok_and(|has| has) => {
                client.watches.release(&watch);
                return adopt(client, ctx, &record, None);
            }
            // If the container is gone or the server does not answer, the exit is still true.
            _ => return Ok(watch),
        }
    }
    let record = containers::get(ctx, id).step("look the record up")?;
    adopt(client, ctx, &record, None)
}

/// The watch of the process of a record's container, if there is one. A watch of an earlier container
/// with the same id, which another client has removed, reports how its process ended.
pub(super) fn watch_of_record(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
) -> Result<Option<Arc<Watch>>> {
    let watches = &client.watches;
    let Some(watch) = watches.find(&ctx.namespace, &record.id, None) else { return Ok(None) };
    if generation::of(record) == watch.generation() {
        return Ok(Some(watch));
    }
    if watch.exit().is_none() {
        match watches.find_id_owner(&watch, &ctx.limits) {
            IdOwner::Same => return Ok(Some(watch)),
            IdOwner::Unknown(why) => return Err(why.step(LOOK_UP)),
            IdOwner::Exited => {}
            IdOwner::Other => watches.displace(&watch),
        }
    }
    let Some(message) = watch.exit() else { return Ok(None) };
    // The record may have been replaced before the process exited. Then its task may still exist.
    match tasks::get(ctx, &record.id, "") {
        Ok(process) if is_reported(&process, &watch, &message) => {
            watches.set_generation(&watch, generation::of(record));
            Ok(Some(watch))
        }
        Ok(process) if process.status == Status::Unknown => Err(no_answer()),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.step(LOOK_UP)),
        _ => {
            watches.release(&watch);
            Ok(None)
        }
    }
}

/// Whether a process is the one whose exit was reported.
fn is_reported(process: &tasks::Process, watch: &Watch, message: &Message) -> bool {
    let (reported, at) = (message.exit_time(), process.exit.at);
    matches!(process.status, Status::Stopped | Status::Ending)
        && process.pid == watch.pid
        && (reported.is_none() || at.is_none() || reported == at)
}

/// Begins to watch the process that the server has for a record, or reports the exit that the
/// record has. With `stdio`, the client takes its streams over as well. If there is neither a task
/// nor such an exit, the error's reason is [`ErrorReason::NoTask`].
pub(super) fn adopt(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    stdio: Option<Stdio>,
) -> Result<Arc<Watch>> {
    let watches = &client.watches;
    // A call that only looks at a container leaves the clean-up to its owner.
    let cleanup = stdio.as_ref().map_or(Cleanup::Keep, |_| Cleanup::of(record));
    let after_exit = cleanup::job(client, &ctx.namespace, cleanup).step("watch the task")?;
    let recorded = ExitLabel::of(record);
    let found = match tasks::get(ctx, &record.id, "") {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // The task may have been deleted and the record kept.
            let Some(recorded) = recorded else { return Err(no_task(e)) };
            let process = Process::first(recorded.pid, generation::of(record), None);
            let found = FoundProcess::without_task(process, recorded.outcome);
            return watches.adopt(ctx, &record.id, FoundProcess { after_exit, ..found });
        }
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    if found.status == Status::Unknown {
        return Err(no_answer());
    }
    let recorded = recorded.filter(|label| label.pid == found.pid).map(|label| label.outcome);
    let outcome = ProcessOutcome::of_process(&found, recorded, false);
    let pidfd = match watches.pidfd(found.pid).filter(|_| outcome.is_none()) {
        // Another process may have got the pid before the descriptor was opened.
        Some(pidfd) => {
            let now = tasks::get(ctx, &record.id, "").map_err(|e| match e.kind() {
                ErrorKind::NotFound => no_task(e),
                _ => e.step(LOOK_UP),
            })?;
            let same = now.pid == found.pid && (now.status.runs() || now.status == Status::Created);
            same.then_some(pidfd)
        }
        None => None,
    };
    let paths = Paths {
        stdin: found.stdin,
        stdout: found.stdout,
        stderr: found.stderr,
        terminal: found.terminal,
    };
    let has_streams = || {
        let known = watches.find(&ctx.namespace, &record.id, None);
        known.is_some_and(|watch| watch.pid == found.pid && watch.stdio().is_some())
    };
    let runs = found.status.runs();
    if runs && recorded == Some(ProcessOutcome::NeverStarted) && stdio.is_some() {
        // A destroy has written that and broken off, and another call has started the process.
        clear_exit(ctx, &record.id)?;
    }
    let stdio = match stdio {
        Some(stdio) if !has_streams() => open_streams(client, ctx, record, None, &paths, stdio)?,
        _ => None,
    };
    if let Some(stdio) = stdio.as_ref().filter(|_| runs) {
        // Before the watch begins: a recovery that fails here has changed nothing.
        stdio.start_input().step("start stdin")?;
    }
    let is_ending = found.status == Status::Ending;
    let found = FoundProcess {
        process: Process::first(found.pid, generation::of(record), pidfd),
        paths: Some(paths),
        stdio,
        started: runs || matches!(outcome, Some(ProcessOutcome::Exited(_))),
        after_exit,
        outcome,
    };
    let watch = watches.adopt(ctx, &record.id, found).step("watch the task")?;
    if is_ending && watch.exit().is_none() {
        watches.look_up_again(&watch, Error::new(ErrorKind::Aborted, "the process is ending"));
    }
    Ok(watch)
}

fn no_task(error: Error) -> Error {
    error.context("the container has no task").step(LOOK_UP).with_reason(Some(ErrorReason::NoTask))
}
