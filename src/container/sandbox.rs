//! The sandbox of a container's id, for which containerd keeps the container's stopped task.

use super::undo::{Undo, existed};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::rpc::containers::Container;
use crate::rpc::{Any, Ctx, sandboxes};

/// The label of a container for which a sandbox of its id stands, so that containerd keeps its task.
pub(super) const SANDBOX_LABEL: &str = "io.ctrd.sandbox";

/// Deletes the sandbox that stands for a container.
pub(super) fn delete_sandbox(ctx: &Ctx, record: &Container) -> Result<()> {
    if !record.labels.contains_key(SANDBOX_LABEL) {
        return Ok(());
    }
    match sandboxes::delete(ctx, &record.id) {
        // An older containerd knows of none.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(()),
        other => other.optional().map(drop),
    }
}

/// Writes a sandbox of the container's id down: a shim with one is kept when containerd starts anew,
/// even where its processes have all ended (containerd 1.7 to 2.1, `runtime/v2` loading its shims).
pub(super) fn create_sandbox(
    ctx: &Ctx,
    id: &str,
    runtime: &str,
    spec: Any,
    undo: &mut Undo,
) -> Result<()> {
    match sandboxes::create(ctx, id, runtime, spec) {
        // containerd 1.6 keeps tasks without one.
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        // Of a container that was removed by somebody who does not know of it.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) if !e.is_outcome_unknown() => return Err(e),
        other => {
            let id = id.to_owned();
            undo.push("create the sandbox", move |ctx| existed(sandboxes::delete(ctx, &id)));
            other?;
        }
    }
    Ok(())
}
