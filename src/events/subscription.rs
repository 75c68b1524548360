//! One stream of events, from a point on after which nothing is missed.

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

/// How the topics begin by which this library finds out that a stream has begun.
const SYNC: &str = "/ctrd/sync/";

/// How long the first of these events is waited for before the next is published. Each has twice
/// the time of the one before, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Among how many of the last events one that comes again is known.
const WINDOW: usize = 256;

/// Knows the last events again. A shim that got no answer sends its events once more, after a
/// restart of containerd too: so this outlives a stream, and clones are the same.
#[derive(Clone)]
pub(crate) struct Doubles(Arc<Mutex<Last>>);

struct Last {
    keys: RandomState,
    /// A ring: with these keys nobody can make two events whose hashes are the same.
    hashes: [u64; WINDOW],
    next: usize,
}

impl Doubles {
    pub(crate) fn new() -> Doubles {
        let last = Last { keys: RandomState::new(), hashes: [0; WINDOW], next: 0 };
        Doubles(Arc::new(Mutex::new(last)))
    }

    /// Notes an event; whether it was there.
    fn has(&self, envelope: &Envelope) -> bool {
        if envelope.timestamp.is_none() {
            // Nothing tells it from another that says the same.
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

/// Events as they come, each once. Dropped, it ends the subscription.
pub(crate) struct Stream {
    events: Events,
    /// What came while the stream was opened.
    early: VecDeque<Envelope>,
    doubles: Doubles,
}

impl Stream {
    /// The next event; `None` once the server has ended the stream, after an error too.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Envelope>>> {
        if let Some(envelope) = self.early.pop_front() {
            return Poll::Ready(Some(Ok(envelope)));
        }
        loop {
            let next = ready!(self.events.poll_next(cx));
            match &next {
                Some(Ok(envelope)) if self.is_ours(envelope) || self.doubles.has(envelope) => {}
                _ => return Poll::Ready(next),
            }
        }
    }

    /// Whether an event is for this library alone, be it of this stream or of another.
    fn is_ours(&self, envelope: &Envelope) -> bool {
        envelope.topic.starts_with(SYNC)
    }

    /// Keeps what has come. Whether the event of this topic is among it.
    fn take_early(&mut self, topic: &str, cx: &mut Context<'_>) -> Result<bool> {
        while let Poll::Ready(next) = self.events.poll_next(cx) {
            let ended = || Error::new(ErrorKind::Unavailable, "the server ended the stream");
            let envelope = next.ok_or_else(ended)??;
            if envelope.topic == topic {
                return Ok(true);
            }
            if !self.is_ours(&envelope) && !self.doubles.has(&envelope) {
                self.early.push_back(envelope);
            }
        }
        Ok(false)
    }
}

/// Subscribes to the events that pass any of the filters (in containerd's language), all where there
/// is none. Whatever is published once this has returned comes; some of what was published before
/// may come too.
///
/// The server does not say when it has begun to listen. So an event of our own is published, in the
/// context's namespace, until it comes back.
///
/// The context's deadline is that of the opening alone.
pub(crate) async fn open<S: Future<Output = ()>>(
    ctx: Ctx,
    mut filters: Vec<String>,
    doubles: Doubles,
    sleep: impl Fn(Duration) -> S,
) -> Result<Stream> {
    let topic = format!("{SYNC}{}", random_hex()?);
    // Without filters it passes, and one would keep out the others.
    if !filters.is_empty() {
        filters.push(format!("topic=={}", quote(&topic)));
    }
    let events = events::subscribe(&ctx, filters).step("subscribe to events")?;
    let mut stream = Stream { events, early: VecDeque::new(), doubles };
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

/// Of a type that every client knows, and that says nothing.
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
    fn what_comes_twice_is_given_once() {
        let envelope = |i: u64| Envelope {
            timestamp: Some(UNIX_EPOCH + Duration::from_nanos(i)),
            namespace: "n".into(),
            topic: "/t".into(),
            event: any("c"),
        };
        let doubles = Doubles::new();
        for i in 0..1000 {
            assert!(!doubles.has(&envelope(i)));
            assert!(doubles.has(&envelope(i)));
            assert!(doubles.clone().has(&envelope(i.saturating_sub(200))));
        }
        let first = envelope(1000);
        assert!(!doubles.has(&first));
        for other in [
            Envelope { namespace: "m".into(), ..first.clone() },
            Envelope { topic: "/u".into(), ..first.clone() },
            Envelope { event: any("d"), ..first.clone() },
            Envelope { event: Any { type_url: "u".into(), ..any("c") }, ..first.clone() },
        ] {
            assert!(!doubles.has(&other));
            assert!(doubles.has(&other));
        }
        // It might be another.
        let timeless = Envelope { timestamp: None, ..first };
        assert!(!doubles.has(&timeless));
        assert!(!doubles.has(&timeless));
    }
}
