//! The sandbox with a container's id. containerd keeps the stopped task of a container that has one.

use super::undo::{Undo, existed};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::rpc::containers::Container;
use crate::rpc::{Any, Ctx, sandboxes};

/// The label of a container that has a sandbox.
pub(super) const SANDBOX_LABEL: &str = "io.ctrd.sandbox";

/// Deletes the sandbox of a container, if it has one.
pub(super) fn delete_sandbox(ctx: &Ctx, record: &Container) -> Result<()> {
    if !record.labels.contains_key(SANDBOX_LABEL) {
        return Ok(());
    }
    match sandboxes::delete(ctx, &record.id) {
        // containerd 1.6 has no sandboxes.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(()),
        other => other.optional().map(drop),
    }
}

/// Creates the record of a sandbox with the container's id. When containerd restarts, it keeps a
/// shim that has one even if all its processes have exited (containerd 1.7 to 2.1, where
/// `runtime/v2` loads shims).
pub(super) fn create_sandbox(
    ctx: &Ctx,
    id: &str,
    runtime: &str,
    spec: Any,
    undo: &mut Undo,
) -> Result<()> {
    match sandboxes::create(ctx, id, runtime, spec) {
        // containerd 1.6 keeps tasks without a sandbox.
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        // A client that does not know sandboxes has removed an earlier container with the id.
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
