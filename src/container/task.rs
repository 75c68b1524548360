//! A container's task at the server: looking it up, signalling it, deleting it.

use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::rpc::Ctx;
use crate::rpc::tasks::{self, Exit};
use crate::watch::Watch;

/// The step in which a container without a task is found to be one.
pub(super) const LOOK_UP: &str = "look the task up";

/// Whether a container whose process has ended has another one: somebody has deleted the task and made
/// one anew.
pub(super) fn has_another_task(ctx: &Ctx, watch: &Watch) -> Result<bool> {
    match tasks::get(ctx, watch.container(), "") {
        Ok(found) => Ok(found.pid != 0 && found.pid != watch.process.pid),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, "the container's shim does not answer").step(LOOK_UP)
}

/// What containerd answers for a shim that died a moment ago, before it has cleaned up after it.
const DEAD_SHIM: &str = "ttrpc: closed";

/// Says whether there was a process to get it.
pub(super) fn signal(ctx: &Ctx, id: &str, signal: i32) -> Result<bool> {
    match tasks::kill(ctx, id, "", signal.unsigned_abs(), true) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == ErrorKind::Unknown && e.message().contains(DEAD_SHIM) => Ok(false),
        other => other.map(|()| true),
    }
}

/// How long a task may take to become one that can be deleted.
const DELETE: Duration = Duration::from_secs(15);

/// What became of a task that was to be deleted.
pub(super) enum Deleted {
    /// It is gone.
    Yes,
    /// It is gone, and was another process's, which had ended so.
    Another(u32, Exit),
    /// Another process runs.
    No,
    /// Nothing was deleted: the container's record is gone, or another one.
    Replaced,
}

/// Deletes a task, and ends it first where it still runs and is the one with this process. One that is
/// not there counts as deleted.
pub(super) fn delete_task(ctx: &Ctx, id: &str, pid: Option<u32>) -> Result<Deleted> {
    let ctx = ctx.with_limits(ctx.limits.at_most(DELETE));
    let is_another = |found: u32| found != 0 && pid.is_some_and(|pid| pid != found);
    loop {
        match tasks::delete(&ctx, id) {
            Ok((found, exit)) if is_another(found) => return Ok(Deleted::Another(found, exit)),
            Ok(_) => return Ok(Deleted::Yes),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Deleted::Yes),
            // It runs. Also between its exit and the shim's notice of that it counts as running.
            Err(e) if matches!(e.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) => {
                if ctx.limits.check().is_err() {
                    return Err(e);
                }
                match tasks::get(&ctx, id, "") {
                    Ok(process) if is_another(process.pid) => return Ok(Deleted::No),
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Deleted::Yes),
                    Err(e) => return Err(e),
                }
                tasks::kill(&ctx, id, "", libc::SIGKILL.unsigned_abs(), true).optional()?;
                thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    }
}
