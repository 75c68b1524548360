//! Beginning to watch a process that the server has already.

use std::sync::Arc;

use super::cleanup;
use super::streams::open_streams;
use super::task::{LOOK_UP, has_another_task, no_answer};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::message::Message;
use crate::record::{Cleanup, End, ExitLabel, clear_exit, generation};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::stdio::{Paths, Stdio};
use crate::watch::{Find, Process, Settled, Watch};

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
                client.watches.release(&watch);
                return adopt(client, ctx, &record, None);
            }
            // Also where it is gone or cannot be asked for: what is known of it stays true.
            _ => return Ok(watch),
        }
    }
    adopt(client, ctx, &containers::get(ctx, id).step("look the record up")?, None)
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
            watches.release(&watch);
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
        clear_exit(ctx, &record.id)?;
    }
    let stdio = match stdio {
        Some(stdio) if !has_streams() => open_streams(client, ctx, record, &paths, stdio)?,
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
