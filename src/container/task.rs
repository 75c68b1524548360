//! A container's task at the server: looking it up, signalling it, deleting it.

use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};
use crate::rpc::Ctx;
use crate::rpc::tasks::{self, Exit, Status};
use crate::watch::Watch;

/// The step that looks a container's task up.
pub(super) const LOOK_UP: &str = "look the task up";

/// Whether a process that has exited has been replaced: another client has deleted it and created it
/// again.
pub(super) fn has_another_process(ctx: &Ctx, watch: &Watch) -> Result<bool> {
    let process = tasks::get(ctx, watch.container(), watch.exec_id()).optional()?;
    Ok(process.is_some_and(|process| process.pid != 0 && process.pid != watch.pid))
}

/// The error of a shim that does not answer.
pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, "the container's shim does not answer").step(LOOK_UP)
}

/// The error of a task that is in the wrong state. containerd says only in words that it is, so the task
/// is looked up, but not before the request has failed.
pub(super) fn explain_state(
    ctx: &Ctx,
    id: &str,
    error: Error,
    is_right: fn(Status) -> bool,
) -> Error {
    if !matches!(error.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) {
        return error;
    }
    match tasks::get(ctx, id, "") {
        Ok(process) if process.status != Status::Unknown && !is_right(process.status) => {
            let why = format!("the container's process is {}", process.status.word());
            error.with_kind(ErrorKind::FailedPrecondition).context(why)
        }
        // The server's error says more.
        _ => error,
    }
}

/// Sends a signal to all processes of a container. Says whether there was a process that could get it.
pub(super) fn signal(ctx: &Ctx, id: &str, signal: i32) -> Result<bool> {
    match tasks::kill(ctx, id, "", signal.unsigned_abs(), true) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) if e.reason() == Some(ErrorReason::ShimDied) => Ok(false),
        other => other.map(|()| true),
    }
}

/// How long it may take until a task can be deleted.
const DELETE_TIMEOUT: Duration = Duration::from_secs(15);

/// The result of the deletion of a task.
pub(super) enum Deletion {
    /// It is deleted, or did not exist.
    Done,
    /// It is deleted, and had another process with this pid, which had exited so.
    OtherProcess(u32, Exit),
    /// It was not deleted: it has another process, which runs.
    OtherRuns,
    /// It was not deleted: the container's record is gone, or is another container's.
    OtherContainer,
}

/// Deletes a task. If its process has this pid and still runs, kills the process first.
pub(super) fn delete_task(ctx: &Ctx, id: &str, pid: Option<u32>) -> Result<Deletion> {
    let ctx = ctx.with_limits(ctx.limits.at_most(DELETE_TIMEOUT));
    let is_another = |found: u32| found != 0 && pid.is_some_and(|pid| pid != found);
    loop {
        match tasks::delete(&ctx, id) {
            Ok((pid, exit)) if is_another(pid) => return Ok(Deletion::OtherProcess(pid, exit)),
            Ok(_) => return Ok(Deletion::Done),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Deletion::Done),
            // It runs, or has exited and its shim does not know that yet.
            Err(e) if matches!(e.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) => {
                if ctx.limits.check().is_err() {
                    return Err(e);
                }
                match tasks::get(&ctx, id, "").optional()? {
                    None => return Ok(Deletion::Done),
                    Some(process) if is_another(process.pid) => return Ok(Deletion::OtherRuns),
                    Some(_) => {}
                }
                tasks::kill(&ctx, id, "", libc::SIGKILL.unsigned_abs(), true).optional()?;
                thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    }
}
