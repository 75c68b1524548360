//! Waiting for a container's end.

use std::sync::Arc;
use std::time::Duration;

use super::adopt::watch;
use crate::call::{Call, Timeout};
use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::message::Message;
use crate::rpc::Ctx;
use crate::submit;
use crate::watch::Watch;

pub(crate) fn probe(client: &Arc<Inner>, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    let polls = call.timeout == Timeout::Poll;
    // The look at the server is to be given a little time, the wait is not.
    let look = Call { timeout: Timeout::After(POLL_LOOK), ..call.clone() };
    let operation = client.begin_with(if polls { &look } else { call }, None)?;
    if let Some(watch) = submit::remembered::<Arc<Watch>>("watch") {
        // Since it began to wait, the container may have been removed.
        return submit::wait(&operation.ctx.limits, watch.waiting())?;
    }
    if let Some(message) = known(client, &operation.ctx, id, polls)? {
        return Ok(message);
    }
    if polls {
        let watch = watch(client, &operation.ctx, id).map_err(|e| match e.kind() {
            ErrorKind::Timeout => e.with_kind(ErrorKind::WouldBlock),
            _ => e,
        })?;
        return watch.exit().ok_or_else(not_yet);
    }
    let bounded =
        operation.ctx.with_limits(operation.ctx.limits.at_most(client.config.call_timeout));
    let watch = watch(client, &bounded, id)?;
    let watch = submit::remember("watch", || watch);
    submit::wait(&operation.ctx.limits, watch.waiting())?
}

/// What is known of a container without a call: the exit that nobody was told yet. Who polls is told as
/// well that one which is watched has not ended. An exit that was told may be that of an earlier
/// container of the id.
fn known(client: &Inner, ctx: &Ctx, id: &str, polls: bool) -> Result<Option<Message>> {
    let Some(watch) = client.watches.find(&ctx.namespace, id) else { return Ok(None) };
    match watch.untold() {
        None if polls && watch.exit().is_none() => Err(not_yet()),
        untold => Ok(untold),
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::WouldBlock, "the container's process has not ended").with_retryable(true)
}

/// How long the look at the server may take where the caller polls.
const POLL_LOOK: Duration = Duration::from_secs(1);
