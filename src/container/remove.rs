//! Removing a container whose process has ended.

use std::sync::Arc;

use super::sandbox::delete_sandbox;
use super::task::{Deleted, delete_task};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::message::Message;
use crate::record::{self, End, ExitLabel};
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::Exit;
use crate::rpc::{Ctx, snapshots};
use crate::stdio;
use crate::watch::{Find, Process, Watch};

/// Tells how another process ended: somebody has run the container once more, of which nobody here was
/// told.
pub(super) fn tell_another(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    pid: u32,
    exit: Exit,
) -> Result<Arc<Watch>> {
    let process = Process::new(pid, record::generation(record), None);
    client.watches.adopt(ctx, &record.id, Find::ended(process, End::of(exit)))
}

/// Removes a container whose process has ended: its task, then snapshot and record.
pub(super) fn remove(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: Option<&Arc<Watch>>,
    message: Option<&Message>,
) -> Result<Deleted> {
    let deleted = remove_task(client, ctx, record, watch, message)?;
    if matches!(deleted, Deleted::No | Deleted::Replaced) {
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

/// Removes the task of a container whose process has ended, with its streams: the exit is written down
/// before. Nothing is done where the id is found to be another container's, made by another client
/// meanwhile, or to have another process.
pub(super) fn remove_task(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: Option<&Arc<Watch>>,
    message: Option<&Message>,
) -> Result<Deleted> {
    let id = &record.id;
    let pid = watch.map(|watch| watch.process.pid);
    if let (Some(pid), Some(message)) = (pid, message)
        && !keep_exit(ctx, record, ExitLabel::told(pid, message))?
    {
        return Ok(Deleted::Replaced);
    }
    let deleted = delete_task(ctx, id, pid).step("delete the task")?;
    match deleted {
        Deleted::Yes => {}
        Deleted::No | Deleted::Replaced => return Ok(deleted),
        Deleted::Another(pid, exit) => {
            keep_exit(ctx, record, ExitLabel { pid, end: End::of(exit) })?;
        }
    }
    match watch {
        Some(watch) => watch.close_stdio(client.fifo_dir(&ctx.namespace)),
        None => stdio::remove_fifo_sets_of(client.fifo_dir(&ctx.namespace), id),
    }
    delete_sandbox(ctx, record).step("delete the sandbox")?;
    Ok(deleted)
}

/// Writes to the record how the process ended, where it outlives the task. Says whether the container
/// still stands: its record may be gone, or another container's.
pub(super) fn keep_exit(ctx: &Ctx, record: &Container, kept: ExitLabel) -> Result<bool> {
    let generation = record::generation(record);
    let now = match ExitLabel::of(record) {
        Some(same) if same == kept => containers::get(ctx, &record.id),
        // It knows more.
        Some(ExitLabel { pid, end: End::Exit(_) })
            if pid == kept.pid && kept.end == End::Unknown =>
        {
            containers::get(ctx, &record.id)
        }
        _ => containers::set_labels(ctx, &record.id, &[kept.label(&generation)]),
    };
    match now {
        Ok(now) => Ok(record::generation(&now) == generation),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.step("keep the exit code")),
    }
}
