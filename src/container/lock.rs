//! One change of a container at a time.

use crate::error::{ErrorKind, Result};
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::rpc::Ctx;

/// Waits until no other call of this client changes the container, and keeps others from changing it
/// until the drop. `what` names this call in the errors of those that wait for it.
pub(super) fn lock(client: &Inner, ctx: &Ctx, id: &str, what: &'static str) -> Result<KeyGuard> {
    let key = format!("{} {id}", ctx.namespace);
    client.locks.lock(key, what, &ctx.limits).map_err(|error| match error.kind() {
        ErrorKind::Timeout | ErrorKind::WouldBlock => error.with_kind(ErrorKind::Busy),
        _ => error,
    })
}
