//! Removing a container whose process has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sandbox::delete_sandbox;
use super::task::{Deletion, delete_task};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::message::Message;
use crate::record::{ExitLabel, ProcessOutcome, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::Exit;
use crate::rpc::{Ctx, snapshots};
use crate::stdio;
use crate::watch::{FoundProcess, Process, Watch};

/// Reports the exit of a process that this client did not know: another client has run the
/// container once more.
pub(super) fn report_other_process(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    pid: u32,
    exit: Exit,
) -> Result<Arc<Watch>> {
    let process = Process::first(pid, generation::of(record), None);
    let found = FoundProcess::without_task(process, ProcessOutcome::of_deleted(exit));
    client.watches.adopt(ctx, &record.id, found)
}

/// Removes a container whose process has exited: its task, its snapshot and its record.
pub(super) fn remove(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: Option<&Arc<Watch>>,
    message: Option<&Message>,
) -> Result<Deletion> {
    let deleted = remove_task(client, ctx, record, watch, message)?;
    if matches!(deleted, Deletion::OtherRuns | Deletion::OtherContainer) {
        return Ok(deleted);
    }
    if !record.snapshot_key.is_empty() {
        snapshots::remove(ctx, &record.snapshotter, &record.snapshot_key)
            .optional()
            .step("remove the snapshot")?;
    }
    containers::delete(ctx, &record.id).optional().step("delete the record")?;
    Ok(deleted)
}

/// Removes the task of a container whose process has exited, and its streams. Before that it writes
/// the exit to the record. It does nothing if another client has meanwhile created another
/// container with the id, or another process.
pub(super) fn remove_task(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: Option<&Arc<Watch>>,
    message: Option<&Message>,
) -> Result<Deletion> {
    let id = &record.id;
    let pid = watch.map(|watch| watch.pid);
    if let (Some(pid), Some(message)) = (pid, message)
        && !keep_exit(ctx, record, ExitLabel::of_message(pid, message))?
    {
        return Ok(Deletion::OtherContainer);
    }
    let deleted = delete_task(ctx, id, pid).step("delete the task")?;
    match deleted {
        Deletion::Done => {}
        Deletion::OtherRuns | Deletion::OtherContainer => return Ok(deleted),
        Deletion::OtherProcess(pid, exit) => {
            let outcome = ProcessOutcome::of_deleted(exit);
            keep_exit(ctx, record, ExitLabel { pid, outcome })?;
        }
    }
    let fifos = client.fifo_dir(&ctx.namespace);
    match watch {
        Some(watch) => watch.close_stdio(fifos),
        None => stdio::remove_fifo_sets_of(fifos, id, None),
    }
    // The execs are gone with the task. An earlier program may have made FIFOs for them.
    let execs = client.watches.execs(&ctx.namespace, id);
    execs.iter().filter(|exec| exec.exit().is_some()).for_each(|exec| client.watches.forget(exec));
    stdio::remove_fifo_sets_of_execs(fifos, id);
    delete_sandbox(ctx, record).step("delete the sandbox")?;
    Ok(deleted)
}

/// How long the exits of execs are waited for that end with their container. Their shim has them within
/// milliseconds.
const EXEC_EXITS: Duration = Duration::from_secs(1);

/// Waits for the exits of the execs of a container whose first process has ended, and then, at most for
/// `drain`, for their output: both are lost with the task.
pub(super) fn finish_execs(client: &Inner, ctx: &Ctx, id: &str, drain: Duration) -> Result<()> {
    let execs = client.watches.execs(&ctx.namespace, id);
    let exits = ctx.limits.at_most(EXEC_EXITS);
    for exec in execs.iter().filter(|exec| exec.exit().is_none()) {
        if let Err(e) = exec.wait(&exits) {
            ctx.limits.check()?;
            log::debug!("an exec of container {id} has not ended with it: {e}");
        }
    }
    let start = Instant::now();
    execs.iter().try_for_each(|exec| exec.drain(drain.saturating_sub(start.elapsed()), &ctx.limits))
}

/// Writes to the record how the process ended: the record outlives the task. Says whether the container
/// still exists: its record may be gone, or may be another container's.
pub(super) fn keep_exit(ctx: &Ctx, record: &Container, label: ExitLabel) -> Result<bool> {
    let generation = generation::of(record);
    let now = match ExitLabel::of(record) {
        Some(same) if same == label => containers::get(ctx, &record.id),
        // The record has the code already.
        Some(ExitLabel { pid, outcome: ProcessOutcome::Exited(_) })
            if pid == label.pid && label.outcome == ProcessOutcome::Unknown =>
        {
            containers::get(ctx, &record.id)
        }
        _ => containers::set_labels(ctx, &record.id, &[label.label(&generation)]),
    };
    match now {
        Ok(now) => Ok(generation::of(&now) == generation),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.step("keep the exit code")),
    }
}
