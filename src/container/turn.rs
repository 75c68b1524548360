//! One change of a container at a time.

use crate::error::{ErrorKind, Result};
use crate::inner::Inner;
use crate::rpc::Ctx;
use crate::turns::Turn;

/// Waits until no other call of this client changes the container.
pub(super) fn turn<'a>(
    client: &'a Inner,
    ctx: &Ctx,
    id: &str,
    what: &'static str,
) -> Result<Turn<'a>> {
    let key = format!("{} {id}", ctx.namespace);
    client.turns.take(key, what, &ctx.limits).map_err(|error| match error.kind() {
        ErrorKind::Timeout | ErrorKind::WouldBlock => error.with_kind(ErrorKind::Busy),
        _ => error,
    })
}
