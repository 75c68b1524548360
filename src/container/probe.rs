//! Waiting for the exit of a container's process.

use std::sync::Arc;
use std::time::Duration;

use super::adopt::watch;
use crate::call::{Call, Timeout};
use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::message::Message;

pub(crate) fn probe(client: &Arc<Inner>, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    let polls = call.timeout == Timeout::Poll;
    if let Some(message) = unseen_exit(client, id, call, polls)? {
        return Ok(message);
    }
    if polls {
        // The request to the server needs a little time. Nothing waits for the exit.
        let call = Call { timeout: Timeout::After(POLL_REQUEST), ..call.clone() };
        let operation = client.begin(&call)?;
        let watch = watch(client, &operation.ctx, id).map_err(|e| match e.kind() {
            ErrorKind::Timeout => e.with_kind(ErrorKind::WouldBlock),
            _ => e,
        })?;
        return watch.exit().ok_or_else(not_yet);
    }
    let operation = client.begin_with(call, None)?;
    let bounded =
        operation.ctx.with_limits(operation.ctx.limits.at_most(client.config.call_timeout));
    watch(client, &bounded, id)?.wait(&operation.ctx.limits)
}

/// The exit that is known without a request, if no caller has got it yet: one that a caller has got may be
/// that of an earlier container with the id. A caller that polls also learns without a request that a
/// watched process has not exited.
fn unseen_exit(client: &Inner, id: &str, call: &Call, polls: bool) -> Result<Option<Message>> {
    let operation = client.begin(call)?;
    let Some(watch) = client.watches.find(&operation.ctx.namespace, id) else { return Ok(None) };
    match watch.take_unseen_exit() {
        None if polls && watch.exit().is_none() => Err(not_yet()),
        exit => Ok(exit),
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::WouldBlock, "the container's process has not ended").with_retryable(true)
}

/// How long the request to the server may take if the caller polls.
const POLL_REQUEST: Duration = Duration::from_secs(1);
