//! A subscription: it puts the messages of one client into a queue.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::counters::Counters;
use super::wants::{Wants, check_kinds};
use crate::error::Result;
use crate::filter::EventFilter;
use crate::message::{Dropped, Lost, Message, MessageKind, Permit};
use crate::queue;

/// Which messages of a client a queue receives.
///
/// ```
/// use ctrd::{EventFilter, MessageKind, SubscriptionConfig};
///
/// // Exits, and the events of one namespace; the messages have the tag 7.
/// let config = SubscriptionConfig::new([MessageKind::Exit, MessageKind::Event])
///     .filters([EventFilter::new().namespace("example")])
///     .tag(7);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SubscriptionConfig {
    kinds: Vec<MessageKind>,
    pub(crate) filters: Vec<EventFilter>,
    pub(super) tag: u64,
}

impl SubscriptionConfig {
    /// Messages of these kinds: exits, exits of execs, events, progress. Gaps and overflows come
    /// with them, and one message of kind [`MessageKind::Closed`] when the client is closed.
    pub fn new(kinds: impl IntoIterator<Item = MessageKind>) -> SubscriptionConfig {
        SubscriptionConfig { kinds: kinds.into_iter().collect(), filters: Vec::new(), tag: 0 }
    }

    /// Only events that pass any of these filters. Without filters, all events of every namespace.
    pub fn filters(mut self, filters: impl IntoIterator<Item = EventFilter>) -> SubscriptionConfig {
        self.filters = filters.into_iter().collect();
        self
    }

    /// The tag of its messages. Default 0.
    pub fn tag(mut self, tag: u64) -> SubscriptionConfig {
        self.tag = tag;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_kinds(&self.kinds, &self.filters)
    }

    /// Whether the subscription includes events.
    pub(crate) fn wants_events(&self) -> bool {
        self.kinds.contains(&MessageKind::Event)
    }

    pub(super) fn wants(&self) -> Wants {
        Wants::new(&self.kinds, None, None)
    }
}

/// A subscription of a queue to the messages of a client. The drop ends it; messages that are
/// already in the queue stay there. It may be dropped before or after the queue and the client.
///
/// ```no_run
/// use ctrd::{Call, Client, MessageKind, Queue, QueueConfig, Subscription, SubscriptionConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let queue = Queue::new(&QueueConfig::new())?;
/// let config = SubscriptionConfig::new([MessageKind::Exit]);
/// let subscription: Subscription = client.subscribe(&queue, &config, &Call::new())?;
/// // No further message of this client comes.
/// drop(subscription);
/// # Ok(())
/// # }
/// ```
#[must_use = "the drop ends the subscription"]
pub struct Subscription {
    end: End,
    process: u32,
}

/// Ends a subscription. Does nothing if it has ended.
pub(super) type End = Arc<dyn Fn() + Send + Sync>;

impl Subscription {
    pub(super) fn new(end: End) -> Subscription {
        Subscription { end, process: std::process::id() }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // In a forked child, a lock may be held by a thread that does not exist there.
        if std::process::id() == self.process {
            (self.end)();
        }
    }
}

/// Puts the messages of one subscription into its queue.
pub(crate) struct Subscriber {
    queue: Arc<queue::Shared>,
    tag: u64,
    counters: Arc<Counters>,
    /// Messages that were dropped because the queue was full.
    lost: Arc<Lost>,
    /// The number of the subscription among those of the queue.
    number: u64,
    /// Counts the messages about gaps in the queue. One is enough.
    gaps: Arc<AtomicUsize>,
    /// Whether nothing more comes. Held while a message is added, so that none comes after the end.
    ended: Mutex<bool>,
}

impl Subscriber {
    pub(super) fn new(queue: Arc<queue::Shared>, tag: u64, counters: Arc<Counters>) -> Subscriber {
        Subscriber {
            number: queue.number(),
            queue,
            tag,
            counters,
            lost: Arc::default(),
            gaps: Arc::default(),
            ended: Mutex::new(false),
        }
    }

    /// Runs `end` if the queue is freed before the subscription ends.
    pub(super) fn at_free(&self, end: impl FnOnce() + Send + 'static) {
        self.queue.at_free(self.number, end);
    }

    pub(super) fn is_full_of_exits(&self) -> bool {
        self.queue.is_full_of_exits()
    }

    /// Ends the subscription. After this, only the messages that the queue keeps back come, and then
    /// `last`.
    pub(super) fn end(&self, last: Option<&Message>) {
        self.queue.forget(self.number);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *ended, true) {
            last.into_iter().for_each(|last| self.send(last, None));
        }
    }

    fn send(&self, message: &Message, permit: Option<Permit>) {
        self.queue.push_from(self.number, message.tagged(self.tag, permit));
    }

    /// Adds a message. If the queue is full, only events and progress are dropped, and the queue
    /// reports how many.
    pub(super) fn push(&self, message: &Message) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *ended {
            return;
        }
        let permit = match message.kind() {
            MessageKind::Event | MessageKind::Progress => match self.queue.room() {
                Some(room) => Some(room),
                None => return self.drop_one(),
            },
            MessageKind::Gap => match Permit::take(&self.gaps, 1) {
                Some(one) => Some(one),
                None => return,
            },
            MessageKind::Exit | MessageKind::ExecExit => self.queue.count_exit(),
            _ => None,
        };
        self.send(message, permit);
    }

    fn drop_one(&self) {
        self.counters.count_dropped();
        if self.lost.add() {
            self.send(&self.counters.overflow(Dropped::of(self.lost.clone())), None);
        }
    }
}
