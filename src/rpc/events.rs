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

/// An event as the server sends it. Its content is not decoded; `event_types` does that.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct Envelope {
    /// When it was published, by the publisher's clock. An event that comes twice has the same time.
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

/// A stream of events. The drop ends the subscription.
pub(crate) struct Events {
    /// `None` once the stream has ended.
    receiver: Option<Receiver<WireEnvelope>>,
}

impl Events {
    /// The next event. `None` after an error, and if the server ended the stream without one.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Envelope>>> {
        let Some(receiver) = self.receiver.as_mut() else { return Poll::Ready(None) };
        let next = ready!(receiver.poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.receiver = None;
        }
        Poll::Ready(next.map(|next| next.map(Envelope::from_wire)))
    }
}

/// Asks for the events of every namespace that pass any of the filters, or for all if there is
/// none. The context's deadline does not end the stream.
///
/// It returns before the server has received the request. Events that are published until then are
/// not sent. If the server cannot read a filter, it ends the stream.
pub(crate) fn subscribe(ctx: &Ctx, filters: Vec<String>) -> Result<Events> {
    ctx.limits.check()?;
    let request = SubscribeRequest { filters, ..Default::default() };
    let receiver = receive(&ctx.with_limits(Limits::default()), &SUBSCRIBE, &request)?;
    Ok(Events { receiver: Some(receiver) })
}

/// Publishes an event, and does not wait for the answer.
pub(crate) fn publish(ctx: &Ctx, topic: &str, event: Any) -> Result<Reply<()>> {
    ctx.limits.check()?;
    start(ctx, &PUBLISH, &to_publish(topic, event), drop)
}

fn to_publish(topic: &str, event: Any) -> PublishRequest {
    // Without an event, containerd 1.6 dies.
    let event = Some(event.into_wire()).into();
    PublishRequest { topic: topic.into(), event, ..Default::default() }
}
