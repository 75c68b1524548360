//! Waiting for the exit of a container's process.

use std::sync::Arc;

use super::adopt::watch;
use crate::call::{Call, Timeout};
use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::message::Message;
use crate::submit;
use crate::watch::Watch;

/// Waits for the exit of a container's process.
pub(crate) fn probe(client: &Arc<Inner>, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    if call.timeout == Timeout::Poll {
        return poll(client, id, call);
    }
    let operation = client.begin_with(call, None)?;
    let ctx = &operation.ctx;
    let key = format!("probe {} {id}", ctx.namespace);
    if let Some(watch) = submit::remembered::<Arc<Watch>>(&key) {
        // The container may have been removed since the submitted call began to wait.
        return submit::wait(&ctx.limits, watch.waiting())?;
    }
    // An exit that no caller has got yet is that of the process which the caller means. Otherwise
    // it may be that of an earlier container with the id, and the server is asked.
    let known = client.watches.find(&ctx.namespace, id, None);
    if let Some(message) = known.and_then(|watch| watch.take_unseen_exit()) {
        return Ok(message);
    }
    let bounded = ctx.with_limits(ctx.limits.at_most(client.config.call_timeout));
    let watch = watch(client, &bounded, id)?;
    let watch = submit::remember(&key, || watch);
    submit::wait(&ctx.limits, watch.waiting())?
}

/// Returns what this client knows. Asks nobody.
fn poll(client: &Inner, id: &str, call: &Call) -> Result<Message> {
    let operation = client.begin(call)?;
    let Some(watch) = client.watches.find(&operation.ctx.namespace, id, None) else {
        let why = "this client does not watch the container; call watch_container first";
        return Err(Error::new(ErrorKind::FailedPrecondition, why));
    };
    watch.take_unseen_exit().or_else(|| watch.exit()).ok_or_else(|| {
        let why = "the container's process has not ended";
        Error::new(ErrorKind::WouldBlock, why).with_retryable(true)
    })
}

/// Begins to watch a container's process.
pub(crate) fn watch_container(client: &Arc<Inner>, id: &str, call: &Call) -> Result<()> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    watch(client, &operation.ctx, id).map(drop)
}
