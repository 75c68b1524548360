//! One change of a container at a time.

use std::sync::Arc;

use crate::error::Result;
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::rpc::Ctx;
use crate::submit;

/// Waits until no other call of this client changes the container, and keeps others from changing
/// it until the drop. `operation` names this call in the errors of those that wait for it. A
/// submitted call waits without a thread.
pub(super) fn lock(
    client: &Inner,
    ctx: &Ctx,
    id: &str,
    operation: &'static str,
) -> Result<Arc<KeyGuard>> {
    submit::lock(&client.locks, &submit::lock_key(&ctx.namespace, id), operation, &ctx.limits)
}
