//! Brings the events of a subscription to the hook or queue that wants them, as long as it exists.
//! Events come on gRPC's thread. After the stream broke, the executor opens another one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::subscription::{SeenEvents, Stream, open};
use crate::call::Limits;
use crate::delivery::{self, Bus, Liveness, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::{Body, Detail, Message, MessageKind};
use crate::rpc::events::Envelope;
use crate::rpc::{Ctx, event_types};
use crate::wait::{block_on, detach};

/// How long one attempt to open a stream again may take.
const REOPEN: Duration = Duration::from_secs(10);

/// The pauses before a stream is opened again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A subscription to events.
struct Feed {
    ctx: Ctx,
    filters: Vec<String>,
    seen_events: SeenEvents,
    executor: Executor,
    bus: Bus,
    sink: Sink,
    /// Whether the hook or queue still exists.
    liveness: Liveness,
    opened: Mutex<Opened>,
}

/// The result of the first opening, for the caller that waits for it.
#[derive(Default)]
struct Opened {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

/// Opens a subscription for a hook or queue, which receives every event that is published after
/// this returns.
pub(crate) fn begin(
    ctx: &Ctx,
    filters: Vec<String>,
    executor: &Executor,
    bus: &Bus,
    sink: Sink,
    liveness: Liveness,
) -> Result<()> {
    let feed = Arc::new(Feed {
        ctx: ctx.with_limits(Limits::default()),
        filters,
        seen_events: SeenEvents::new(),
        executor: executor.clone(),
        bus: bus.clone(),
        sink,
        liveness,
        opened: Mutex::default(),
    });
    let limits = &ctx.limits;
    executor.spawn(open_first(feed.clone(), ctx.limits.remaining()))?;
    let opened = block_on(
        limits,
        poll_fn(|cx| {
            let mut opened = feed.opened.lock().unwrap_or_else(PoisonError::into_inner);
            match opened.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    opened.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }),
    )?;
    opened.map_err(|e| match e.kind() {
        ErrorKind::Timeout if limits.poll => e.with_kind(ErrorKind::WouldBlock),
        _ => e,
    })
}

/// The future's output, or `None` if the hook or queue goes first.
async fn while_alive<F: Future>(liveness: &Liveness, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if liveness.poll_gone(cx) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Reports the result of the first opening to the caller. If it is dropped before, it reports that
/// the client was closed.
struct OpenReport(Arc<Feed>);

impl OpenReport {
    fn report(&self, result: Result<()>) {
        let waker = {
            let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.result.get_or_insert(result);
            opened.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Drop for OpenReport {
    fn drop(&mut self) {
        // This changes nothing if a result was reported before.
        self.report(Err(closed()));
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client is closed")
}

async fn open_first(feed: Arc<Feed>, left: Option<Duration>) {
    let report = OpenReport(feed.clone());
    let limits = left.map_or_else(Limits::default, Limits::within);
    let opening = feed.open(feed.ctx.with_limits(limits));
    let result = match while_alive(&feed.liveness, opening).await {
        Some(Ok(stream)) => {
            feed.clone().follow(stream);
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Err(closed()),
    };
    report.report(result);
}

/// Opens another stream in place of one that ended for the reason `why`.
async fn open_again(feed: Arc<Feed>, why: Error) {
    let mut pause = PAUSES.0;
    loop {
        let ctx = feed.ctx.with_limits(Limits::within(REOPEN));
        match while_alive(&feed.liveness, feed.open(ctx)).await {
            Some(Ok(stream)) => {
                feed.bus.count_reconnect();
                // Report the gap before any event of the new stream.
                feed.bus.deliver(&feed.sink, delivery::gap(&feed.bus, why));
                feed.follow(stream);
                return;
            }
            Some(Err(error)) => log::debug!("subscribing to events again: {error}"),
            None => return,
        }
        if while_alive(&feed.liveness, feed.executor.sleep(pause)).await.is_none() {
            return;
        }
        pause = PAUSES.1.min(pause * 2);
    }
}

impl Feed {
    fn open(&self, ctx: Ctx) -> impl Future<Output = Result<Stream>> + Send + 'static {
        let executor = self.executor.clone();
        let (filters, seen_events) = (self.filters.clone(), self.seen_events.clone());
        open(ctx, filters, seen_events, move |time| executor.sleep(time))
    }

    /// Delivers the events, on gRPC's thread, until the stream ends.
    fn follow(self: Arc<Self>, mut stream: Stream) {
        // The executor's thread exists, because it runs this function. It is kept, because a new
        // one might be impossible to make when the stream ends.
        let kept = self.executor.keep();
        detach(poll_fn(move |cx| {
            let _ = &kept;
            if self.liveness.poll_gone(cx) {
                return Poll::Ready(());
            }
            loop {
                let why = match stream.poll_next(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(envelope))) => {
                        self.bus.deliver(&self.sink, message(&self.bus, envelope));
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => error,
                    Poll::Ready(None) => {
                        Error::new(ErrorKind::Unavailable, "the server ended the stream")
                    }
                };
                if let Err(e) = self.executor.spawn(open_again(self.clone(), why))
                    && e.kind() != ErrorKind::Closed
                {
                    // Without the executor nothing can open another stream.
                    log::error!("a subscription has ended: {e}");
                    self.bus.deliver(&self.sink, delivery::gap(&self.bus, e));
                }
                return Poll::Ready(());
            }
        }));
    }
}

/// The message that reports an event.
fn message(bus: &Bus, envelope: Envelope) -> Message {
    let Envelope { timestamp, namespace, topic, event } = envelope;
    let (container_id, exec_id) = event_types::process(&event).unwrap_or_default();
    Message::new(Body {
        namespace,
        container_id,
        exec_id: Some(exec_id).filter(|id| !id.is_empty()),
        detail: Some(Detail::new(topic, timestamp, move || event_types::json(&event))),
        ..bus.body(MessageKind::Event)
    })
}
