//! One stream of events, which misses nothing from a known time on.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter::quote;
use crate::random::random_hex;
use crate::rpc::events::{self, Envelope, Events};
use crate::rpc::{Any, Ctx};

/// The prefix of the topics with which this library finds out that a stream has begun.
const SYNC: &str = "/ctrd/sync/";

/// How long to wait for the first of these events before publishing the next. Each wait is twice as
/// long as the one before, up to the last value.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How many of the last events are remembered, to recognise one that comes again.
const WINDOW: usize = 256;

/// Remembers the last events, to recognise one that comes again. A shim that got no answer sends
/// its events once more, also after a restart of containerd. So this outlives a stream, and clones
/// share the memory.
#[derive(Clone)]
pub(crate) struct SeenEvents(Arc<Mutex<Last>>);

struct Last {
    keys: RandomState,
    /// A ring. The keys are random, so nobody can make two events with the same hash on purpose.
    hashes: [u64; WINDOW],
    next: usize,
}

impl SeenEvents {
    pub(crate) fn new() -> SeenEvents {
        let last = Last { keys: RandomState::new(), hashes: [0; WINDOW], next: 0 };
        SeenEvents(Arc::new(Mutex::new(last)))
    }

    /// Remembers an event. Returns whether it was there already.
    fn has(&self, envelope: &Envelope) -> bool {
        if envelope.timestamp.is_none() {
            // Without a time it cannot be told from another event with the same content.
            return false;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = last.keys.hash_one(envelope);
        if last.hashes.contains(&hash) {
            return true;
        }
        let next = last.next;
        last.hashes[next] = hash;
        last.next = (next + 1) % WINDOW;
        false
    }
}

/// Events as they come, each once. The drop ends the subscription.
pub(crate) struct Stream {
    events: Events,
    /// Events that came while the stream was being opened.
    early: VecDeque<Envelope>,
    seen_events: SeenEvents,
}

impl Stream {
    /// The next event. `None` once the server has ended the stream, also after an error.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Envelope>>> {
        if let Some(envelope) = self.early.pop_front() {
            return Poll::Ready(Some(Ok(envelope)));
        }
        loop {
            let next = ready!(self.events.poll_next(cx));
            match &next {
                Some(Ok(envelope)) if self.is_ours(envelope) || self.seen_events.has(envelope) => {}
                _ => return Poll::Ready(next),
            }
        }
    }

    /// Whether an event is only for this library: for this stream, or for another one.
    fn is_ours(&self, envelope: &Envelope) -> bool {
        envelope.topic.starts_with(SYNC)
    }

    /// Keeps the events that have come. Returns whether the event of this topic is among them.
    fn take_early(&mut self, topic: &str, cx: &mut Context<'_>) -> Result<bool> {
        while let Poll::Ready(next) = self.events.poll_next(cx) {
            let ended = || Error::new(ErrorKind::Unavailable, "the server ended the stream");
            let envelope = next.ok_or_else(ended)??;
            if envelope.topic == topic {
                return Ok(true);
            }
            if !self.is_ours(&envelope) && !self.seen_events.has(&envelope) {
                self.early.push_back(envelope);
            }
        }
        Ok(false)
    }
}

/// Subscribes to the events that pass any of the filters (in containerd's language), or to all
/// events if there is no filter. The stream has every event that is published after this has
/// returned, and may have some that were published before.
///
/// The server does not report when it begins to listen. So this publishes an event of our own in
/// the context's namespace, again and again until the event comes back.
///
/// The context's deadline bounds only the opening.
pub(crate) async fn open<S: Future<Output = ()>>(
    ctx: Ctx,
    mut filters: Vec<String>,
    seen_events: SeenEvents,
    sleep: impl Fn(Duration) -> S,
) -> Result<Stream> {
    let topic = format!("{SYNC}{}", random_hex()?);
    // Without filters our event passes. With this filter alone, no other event would.
    if !filters.is_empty() {
        filters.push(format!("topic=={}", quote(&topic)));
    }
    let events = events::subscribe(&ctx, filters).step("subscribe to events")?;
    let mut stream = Stream { events, early: VecDeque::new(), seen_events };
    let mut pause = FIRST_PAUSE;
    loop {
        let publish = events::publish(&ctx, &topic, sync());
        let mut publish = pin!(publish.step("publish an event")?);
        let mut sleep = pin!(sleep(pause));
        let (mut answered, mut slept) = (false, false);
        let came = poll_fn(|cx| {
            if stream.take_early(&topic, cx).step("subscribe to events")? {
                return Poll::Ready(Ok(true));
            }
            if !answered {
                answered = is_answered(publish.as_mut(), cx).step("publish an event")?;
            }
            slept = slept || sleep.as_mut().poll(cx).is_ready();
            if answered && slept { Poll::Ready(Ok(false)) } else { Poll::Pending }
        });
        if came.await? {
            return Ok(stream);
        }
        pause = LAST_PAUSE.min(pause * 2);
    }
}

fn is_answered(
    publish: Pin<&mut impl Future<Output = Result<()>>>,
    cx: &mut Context<'_>,
) -> Result<bool> {
    match publish.poll(cx) {
        Poll::Ready(answer) => answer.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

/// An empty message of a type that every client knows.
fn sync() -> Any {
    Any { type_url: "google.protobuf.Empty".into(), value: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn any(value: &str) -> Any {
        Any { type_url: "t".into(), value: value.into() }
    }

    #[test]
    fn an_event_that_comes_twice_is_delivered_once() {
        let envelope = |i: u64| Envelope {
            timestamp: Some(UNIX_EPOCH + Duration::from_nanos(i)),
            namespace: "n".into(),
            topic: "/t".into(),
            event: any("c"),
        };
        let seen_events = SeenEvents::new();
        for i in 0..1000 {
            assert!(!seen_events.has(&envelope(i)));
            assert!(seen_events.has(&envelope(i)));
            assert!(seen_events.clone().has(&envelope(i.saturating_sub(200))));
        }
        let first = envelope(1000);
        assert!(!seen_events.has(&first));
        for other in [
            Envelope { namespace: "m".into(), ..first.clone() },
            Envelope { topic: "/u".into(), ..first.clone() },
            Envelope { event: any("d"), ..first.clone() },
            Envelope { event: Any { type_url: "u".into(), ..any("c") }, ..first.clone() },
        ] {
            assert!(!seen_events.has(&other));
            assert!(seen_events.has(&other));
        }
        // Without a time it might be another event.
        let timeless = Envelope { timestamp: None, ..first };
        assert!(!seen_events.has(&timeless));
        assert!(!seen_events.has(&timeless));
    }
}
