//! `containerd.services.events.v1.Events`.

use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use protobuf::well_known_types::empty::Empty;

use super::any::{Any, time};
use super::channel::Ctx;
use super::method::{Reply, methods, start};
use super::stream::{Receiver, receive};
use super::wire::events::{Envelope as WireEnvelope, PublishRequest, SubscribeRequest};
use crate::call::Limits;
use crate::error::Result;

methods! { "containerd.services.events.v1.Events":
    PUBLISH = change "Publish" (PublishRequest) -> Empty;
    SUBSCRIBE = stream "Subscribe" (SubscribeRequest) -> WireEnvelope;
}

/// An event as the server sends it. What it says is left undecoded; `event_types` reads it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct Envelope {
    /// When it was published, by the clock of who did; the same again where it comes twice.
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) namespace: String,
    pub(crate) topic: String,
    pub(crate) event: Any,
}

impl Envelope {
    fn from_wire(wire: WireEnvelope) -> Envelope {
        Envelope {
            timestamp: time(wire.timestamp.as_ref()),
            namespace: wire.namespace,
            topic: wire.topic,
            event: wire.event.into_option().map(Any::from_wire).unwrap_or_default(),
        }
    }
}

/// Events as they come. Dropped, it ends the subscription.
pub(crate) struct Events {
    /// Gone once the stream has ended.
    receiver: Option<Receiver<WireEnvelope>>,
}

impl Events {
    /// The next one. After an error, and where the server ended the stream without one, `None`.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Envelope>>> {
        let Some(receiver) = self.receiver.as_mut() else { return Poll::Ready(None) };
        let next = ready!(receiver.poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.receiver = None;
        }
        Poll::Ready(next.map(|next| next.map(Envelope::from_wire)))
    }
}

/// Asks for the events that pass any of the filters, without filters for all of them, in every
/// namespace. The context's deadline does not end the stream.
///
/// It returns before the server has heard of it, and what is published until then does not come.
/// A filter that the server cannot read is told by the stream's end.
pub(crate) fn subscribe(ctx: &Ctx, filters: Vec<String>) -> Result<Events> {
    ctx.limits.check()?;
    let request = SubscribeRequest { filters, ..Default::default() };
    let receiver = receive(&ctx.with_limits(Limits::default()), &SUBSCRIBE, &request)?;
    Ok(Events { receiver: Some(receiver) })
}

/// The same, without waiting for the answer.
pub(crate) fn publish(ctx: &Ctx, topic: &str, event: Any) -> Result<Reply<()>> {
    ctx.limits.check()?;
    start(ctx, &PUBLISH, &to_publish(topic, event), drop)
}

fn to_publish(topic: &str, event: Any) -> PublishRequest {
    // Without an event, containerd 1.6 does not survive it.
    let event = Some(event.into_wire()).into();
    PublishRequest { topic: topic.into(), event, ..Default::default() }
}
