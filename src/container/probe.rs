//! Waiting for a container's end.

use std::sync::Arc;
use std::time::Duration;

use super::cleanup::{self, Cleanup};
use super::create::end_of_input;
use super::{ExitLabel, exit_label, generation};
use crate::call::{Call, Timeout};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::message::Message;
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::stdio::{self, Attached, Paths, Stdio};
use crate::watch::{End, Find, Process, Settled, Watch};

/// The step in which a container without a task is found to be one.
pub(super) const LOOK_UP: &str = "look the task up";

pub(crate) fn probe(client: &Arc<Inner>, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    let polls = call.timeout == Timeout::Poll;
    if let Some(message) = known(client, id, call, polls)? {
        return Ok(message);
    }
    if polls {
        // The look at the server is to be given a little time, the wait is not.
        let call = Call { timeout: Timeout::After(POLL_LOOK), ..call.clone() };
        let operation = client.begin(&call)?;
        let watch = watch(client, &operation.ctx, id).map_err(|e| match e.kind() {
            ErrorKind::Timeout => e.with_kind(ErrorKind::WouldBlock),
            _ => e,
        })?;
        return watch.exit().ok_or_else(not_yet);
    }
    let operation = client.begin_with(call, None)?;
    let bounded =
        operation.ctx.with_limits(operation.ctx.limits.at_most(client.config.call_timeout));
    watch(client, &bounded, id)?.wait(&operation.ctx.limits)
}

/// What is known of a container without a call: the exit that nobody was told yet. Who polls is told as
/// well that one which is watched has not ended. An exit that was told may be that of an earlier
/// container of the id.
fn known(client: &Inner, id: &str, call: &Call, polls: bool) -> Result<Option<Message>> {
    let operation = client.begin(call)?;
    let Some(watch) = client.watches.find(&operation.ctx.namespace, id) else { return Ok(None) };
    match watch.untold() {
        None if polls && watch.exit().is_none() => Err(not_yet()),
        untold => Ok(untold),
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::WouldBlock, "the container's process has not ended").with_retryable(true)
}

/// How long the look at the server may take where the caller polls.
const POLL_LOOK: Duration = Duration::from_secs(1);

/// The watch of a container's process. Where this client has none yet, it begins to watch what the
/// server has, which may have ended before.
pub(super) fn watch(client: &Arc<Inner>, ctx: &Ctx, id: &str) -> Result<Arc<Watch>> {
    if let Some(watch) = client.watches.find(&ctx.namespace, id) {
        if watch.exit().is_none() {
            return Ok(watch);
        }
        // It has ended: its id may be another container's by now, or another process its container's.
        match containers::get(ctx, id) {
            Ok(record) if generation(&record) != watch.process.generation() => {
                return match of_record(client, ctx, &record)? {
                    Some(watch) => Ok(watch),
                    None => adopt(client, ctx, &record, None),
                };
            }
            Ok(record) if has_another_task(ctx, &watch).is_ok_and(|has| has) => {
                client.watches.forget(&watch);
                return adopt(client, ctx, &record, None);
            }
            // Also where it is gone or cannot be asked for: what is known of it stays true.
            _ => return Ok(watch),
        }
    }
    adopt(client, ctx, &containers::get(ctx, id).step("look the record up")?, None)
}

/// Whether a container whose process has ended has another one: somebody has deleted the task and made
/// one anew.
pub(super) fn has_another_task(ctx: &Ctx, watch: &Watch) -> Result<bool> {
    match tasks::get(ctx, watch.container(), "") {
        Ok(found) => Ok(found.pid != 0 && found.pid != watch.process.pid),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The watch of the process that a record's container has, where there is one. One of an earlier
/// container of the id, which another client has removed, is told how it ended.
pub(super) fn of_record(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
) -> Result<Option<Arc<Watch>>> {
    let watches = &client.watches;
    let Some(watch) = watches.find(&ctx.namespace, &record.id) else { return Ok(None) };
    if generation(record) == watch.process.generation() {
        return Ok(Some(watch));
    }
    if watch.exit().is_none() {
        match watches.settle(&watch, &ctx.limits) {
            Settled::Own => return Ok(Some(watch)),
            Settled::Unknown(why) => return Err(why.step(LOOK_UP)),
            Settled::Over => {}
            Settled::Another => watches.displace(&watch),
        }
    }
    let Some(message) = watch.exit() else { return Ok(None) };
    // The record may have been replaced under it before it ended, and its task be there still.
    match tasks::get(ctx, &record.id, "") {
        Ok(found) if is_told(&found, &watch, &message) => {
            watches.bind(&watch, generation(record));
            Ok(Some(watch))
        }
        Ok(found) if found.status == Status::Unknown => Err(no_answer()),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.step(LOOK_UP)),
        _ => {
            watch.drain_and_close(&ctx.limits);
            watches.forget(&watch);
            Ok(None)
        }
    }
}

/// Whether a process is the one whose exit was told.
fn is_told(found: &tasks::Process, watch: &Watch, message: &Message) -> bool {
    let (told, at) = (message.exit_time(), found.exit.at);
    matches!(found.status, Status::Stopped | Status::Ending)
        && found.pid == watch.process.pid
        && (told.is_none() || at.is_none() || told == at)
}

/// Begins to watch the process that the server has for a record, or tells what the record says of its
/// end. With `stdio`, its streams are taken over as well.
pub(super) fn adopt(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    stdio: Option<Stdio>,
) -> Result<Arc<Watch>> {
    let watches = &client.watches;
    // Who only looks at a container leaves it to its owner.
    let cleanup = stdio.as_ref().map_or(Cleanup::Keep, |_| Cleanup::of(record));
    let then = cleanup::job(client, &ctx.namespace, cleanup).step("watch the task")?;
    let kept = ExitLabel::of(record);
    let found = match tasks::get(ctx, &record.id, "") {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // The task may have been deleted and the record kept.
            let kept = kept.ok_or_else(|| e.context("the container has no task").step(LOOK_UP))?;
            let process = Process::new(kept.pid, generation(record), None);
            let find = Find { then, ..Find::ended(process, kept.end) };
            return watches.adopt(ctx, &record.id, find);
        }
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    if found.status == Status::Unknown {
        return Err(no_answer());
    }
    let kept = kept.filter(|kept| kept.pid == found.pid).map(|kept| kept.end);
    let end = End::seen(&found, kept, false);
    let pidfd = match watches.pidfd(found.pid).filter(|_| end.is_none()) {
        // Whether it was opened before another process got the number.
        Some(pidfd) => {
            let now = tasks::get(ctx, &record.id, "").step(LOOK_UP)?;
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
        let known = watches.find(&ctx.namespace, &record.id);
        known.is_some_and(|watch| watch.process.pid == found.pid && watch.stdio().is_some())
    };
    let runs = found.status.runs();
    if runs && kept == Some(End::NeverRan) && stdio.is_some() {
        // A destroy that broke off has said so, and somebody has started it all the same.
        exit_label::clear(ctx, &record.id)?;
    }
    let stdio = match stdio {
        Some(stdio) if !has_streams() => open_streams(client, ctx, &record.id, &paths, stdio)?,
        _ => None,
    };
    if let Some(stdio) = stdio.as_ref().filter(|_| runs) {
        // Before it is watched: a recovery that fails has not begun.
        stdio.start_input().step("start stdin")?;
    }
    let find = Find {
        process: Process::new(found.pid, generation(record), pidfd),
        paths: Some(paths),
        stdio,
        started: runs || matches!(end, Some(End::Exit(_))),
        then,
        end,
    };
    let watch = watches.adopt(ctx, &record.id, find).step("watch the task")?;
    if found.status == Status::Ending && watch.exit().is_none() {
        watches.look_again(&watch, Error::new(ErrorKind::Aborted, "it is ending"));
    }
    Ok(watch)
}

pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, "the container's shim does not answer").step(LOOK_UP)
}

/// Opens the streams of a process, as far as their FIFOs stand.
fn open_streams(
    client: &Inner,
    ctx: &Ctx,
    id: &str,
    paths: &Paths,
    stdio: Stdio,
) -> Result<Option<Attached>> {
    let state_dir = &client.config.state_dir;
    let reopened = match stdio::reopen(&client.pump, state_dir, paths, stdio) {
        Ok(reopened) => reopened,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            log::warn!("the streams of container {id} are gone: {e}");
            None
        }
        Err(e) => return Err(e.step("reopen stdio")),
    };
    let Some(prepared) = reopened else { return Ok(None) };
    let end = end_of_input(client, &ctx.namespace, id, paths.terminal);
    prepared.attach(end).step("attach stdio").map(Some)
}
