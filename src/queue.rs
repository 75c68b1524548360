//! A queue of messages: a channel, and a descriptor that is readable while the channel holds a message.
//!
//! A queue belongs to no client: any number of subscriptions and submitted calls fill it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::message::{Message, MessageKind, Permit};
use crate::wait::block_on;

/// Messages that come closer together than this are dense. A thread that waits for dense messages
/// sleeps this long and then takes all that have come, because it is cheaper than one wake-up for each.
pub(crate) const NAP: Duration = Duration::from_micros(50);

const MAX_CAPACITY: usize = 1 << 20;

/// How a queue is made.
///
/// ```
/// use ctrd::{Queue, QueueConfig};
///
/// // Room for 10,000 events that are not fetched yet.
/// let queue = Queue::new(&QueueConfig::new().capacity(10_000))?;
/// # drop(queue);
/// # Ok::<(), ctrd::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueConfig {
    capacity: usize,
    max_exits: usize,
    max_calls: usize,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { capacity: 1024, max_exits: 65_536, max_calls: 1024 }
    }
}

impl QueueConfig {
    /// The default of each setting.
    pub fn new() -> QueueConfig {
        QueueConfig::default()
    }

    /// How many events and steps of progress the queue holds before further ones are dropped: 1 to
    /// 1,048,576. Default 1,024. Exits and completions are never dropped.
    pub fn capacity(mut self, messages: usize) -> QueueConfig {
        self.capacity = messages;
        self
    }

    /// How many exits may wait in the queue before the clients that are subscribed refuse to make
    /// further processes ([`ErrorKind::ResourceExhausted`]): at least 1. Default 65,536.
    pub fn max_exits(mut self, messages: usize) -> QueueConfig {
        self.max_exits = messages;
        self
    }

    /// How many calls that belong to no client may be in flight, completions that nobody has taken
    /// included: at least 1. Default 1,024.
    pub fn max_calls(mut self, calls: usize) -> QueueConfig {
        self.max_calls = calls;
        self
    }

    fn check(&self) -> Result<()> {
        let check = |name, value, most| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(name, format!("{value} is not between 1 and {most}"))),
        };
        check("capacity", self.capacity, MAX_CAPACITY)?;
        check("max_exits", self.max_exits, usize::MAX)?;
        check("max_calls", self.max_calls, usize::MAX)
    }
}

/// Messages for the threads that fetch them. Several threads may use it: each message goes to one of
/// them.
///
/// Subscriptions ([`crate::Client::subscribe`]) and submitted calls ([`crate::Client::submit`]) fill it.
/// The drop frees what it holds: subscriptions to it end, and calls in flight run on without a
/// completion.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, MessageKind, Queue, QueueConfig, SubscriptionConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let client = Client::open(&ClientConfig::new(), &Call::new())?;
/// let queue = Queue::new(&QueueConfig::new())?;
/// let config = SubscriptionConfig::new([MessageKind::Exit]);
/// let subscription = client.subscribe(&queue, &config, &Call::new())?;
/// let message = queue.next(&Call::new())?;
/// println!("{} has ended: {:?}", message.container_id(), message.exit_code());
/// # drop(subscription);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the drop frees the queue"]
pub struct Queue {
    shared: Arc<Shared>,
}

/// The part of a queue that subscriptions and submitted calls hold.
pub(crate) struct Shared {
    process: u32,
    config: QueueConfig,
    receiver: Receiver<Message>,
    /// Readable while the channel holds a message. Made at the first request.
    event: Mutex<Option<Arc<OwnedFd>>>,
    /// How many messages that count towards the capacity wait, how many exits wait, and how many calls
    /// that belong to no client are in flight.
    bounded: Arc<AtomicUsize>,
    exits: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}

struct State {
    /// `None` once the queue is freed.
    sender: Option<Sender<Message>>,
    /// The containers that submitted calls are starting, by generation.
    starting: HashMap<Generation, Starting>,
    /// The last messages of subscriptions that still have exits in `starting`.
    ends: Vec<Sent>,
    /// Ends a subscription when the queue is freed, by the subscription's number.
    subscriptions: HashMap<u64, AtFree>,
    /// The threads that wait, by number.
    waiters: HashMap<u64, Waker>,
    /// The number that was given last, to a subscription or to a thread that waits.
    number: u64,
    /// When a message last ended a wait, and whether the one before came so shortly before it that
    /// another is likely to follow.
    woken: Option<Instant>,
    dense: bool,
    /// Whether the descriptor is readable.
    signalled: bool,
}

/// The generation of a container, as its messages have it. Another container with the same id, also one
/// on another server, has another generation.
pub(crate) type Generation = u64;

/// A message, and the number of the subscription that it belongs to.
type Sent = (u64, Message);

/// The function that a subscription gives for the time when its queue is freed.
type AtFree = Box<dyn FnOnce() + Send>;

/// A container that submitted calls are starting.
#[derive(Default)]
struct Starting {
    /// How many such calls are not completed.
    calls: usize,
    /// The exits of the container and of its execs, which must come after the completions of these calls.
    exits: Vec<Sent>,
}

impl State {
    /// Keeps a message back if another one must come before it. Otherwise returns it.
    fn hold_back(&mut self, subscription: u64, message: Message) -> Option<Message> {
        match message.kind() {
            MessageKind::Exit | MessageKind::ExecExit => {
                let generation = message.generation();
                match generation.and_then(|generation| self.starting.get_mut(&generation)) {
                    Some(starting) => starting.exits.push((subscription, message)),
                    None => return Some(message),
                }
            }
            MessageKind::Closed if self.has_exits_of(subscription) => {
                self.ends.push((subscription, message));
            }
            _ => return Some(message),
        }
        None
    }

    /// Whether exits of this subscription are kept back.
    fn has_exits_of(&self, subscription: u64) -> bool {
        let mut exits = self.starting.values().flat_map(|starting| &starting.exits);
        exits.any(|(of, _)| *of == subscription)
    }

    /// Notes that a call that started these containers is completed. Returns the messages that need not
    /// be kept back any more, in their order.
    fn started(&mut self, containers: &[Generation]) -> Vec<Message> {
        let mut free = Vec::new();
        for generation in containers {
            let Entry::Occupied(mut starting) = self.starting.entry(*generation) else { continue };
            starting.get_mut().calls -= 1;
            if starting.get().calls == 0 {
                free.extend(starting.remove().exits);
            }
        }
        let (waiting, ends) =
            std::mem::take(&mut self.ends).into_iter().partition(|(of, _)| self.has_exits_of(*of));
        self.ends = waiting;
        free.extend::<Vec<Sent>>(ends);
        free.into_iter().map(|(_, message)| message).collect()
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Shared {
    fn new(config: QueueConfig) -> Shared {
        let (sender, receiver) = unbounded();
        let state = State {
            sender: Some(sender),
            starting: HashMap::new(),
            ends: Vec::new(),
            subscriptions: HashMap::new(),
            waiters: HashMap::new(),
            number: 0,
            woken: None,
            dense: false,
            signalled: false,
        };
        Shared {
            process: std::process::id(),
            config,
            receiver,
            event: Mutex::default(),
            bounded: Arc::default(),
            exits: Arc::default(),
            calls: Arc::default(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails in a child of the process that made the queue.
    pub(crate) fn check_process(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forked, "the process forked after the queue was made"))
    }

    /// The number of a new subscription.
    pub(crate) fn number(&self) -> u64 {
        self.lock().next_number()
    }

    /// Runs `end` when the queue is freed, unless the subscription ends before. If the queue is freed
    /// already, this runs it now.
    pub(crate) fn at_free(&self, subscription: u64, end: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.sender.is_some() {
            state.subscriptions.insert(subscription, Box::new(end));
            return;
        }
        drop(state);
        end();
    }

    /// Notes that a subscription has ended.
    pub(crate) fn forget(&self, subscription: u64) {
        let end = self.lock().subscriptions.remove(&subscription);
        drop(end);
    }

    /// Room for one more message that may be dropped.
    pub(crate) fn room(&self) -> Option<Permit> {
        Permit::take(&self.bounded, self.config.capacity)
    }

    /// Counts an exit that waits in the queue. An exit is never dropped.
    pub(crate) fn count_exit(&self) -> Option<Permit> {
        Permit::take(&self.exits, usize::MAX)
    }

    /// Whether so many exits wait that the clients must make no further process.
    pub(crate) fn is_full_of_exits(&self) -> bool {
        self.exits.load(Ordering::SeqCst) >= self.config.max_exits
    }

    /// A slot for one more call that belongs to no client.
    pub(crate) fn slot(&self) -> Option<Permit> {
        Permit::take(&self.calls, self.config.max_calls)
    }

    /// Adds a message of a submitted call and wakes the threads that wait.
    pub(crate) fn push(&self, message: Message) {
        self.add(self.lock(), [message]);
    }

    /// Adds a message of a subscription and wakes the threads that wait. An exit of a container that a
    /// submitted call is starting waits for the completion of that call. The last message of the
    /// subscription waits for all its exits.
    pub(crate) fn push_from(&self, subscription: u64, message: Message) {
        let mut state = self.lock();
        let message = if state.sender.is_some() {
            state.hold_back(subscription, message)
        } else {
            Some(message)
        };
        if let Some(message) = message {
            self.add(state, [message]);
        }
    }

    /// Notes that a submitted call starts the container with this generation. The call must pass it to
    /// [`Shared::complete`].
    pub(crate) fn begin_start(&self, container: Generation) {
        self.lock().starting.entry(container).or_default().calls += 1;
    }

    /// Adds the completion of a submitted call, and then the messages that have waited for it.
    /// `started`: the containers of its calls of [`Shared::begin_start`].
    pub(crate) fn complete(&self, completion: Message, started: &[Generation]) {
        let mut state = self.lock();
        let waiting = state.started(started);
        self.add(state, std::iter::once(completion).chain(waiting));
    }

    /// Adds messages and wakes the threads that wait. If the queue is freed, drops them.
    fn add(&self, state: MutexGuard<'_, State>, messages: impl IntoIterator<Item = Message>) {
        let Some(sender) = state.sender.clone() else {
            // The drop of a message may drop a result, so the lock is released first.
            drop(state);
            messages.into_iter().for_each(drop);
            return;
        };
        // This cannot fail, because the receiver exists as long as `self`.
        messages.into_iter().for_each(|message| drop(sender.send(message)));
        self.signal(state);
    }

    /// Makes the descriptor readable and wakes the threads that wait.
    fn signal(&self, mut state: MutexGuard<'_, State>) {
        self.make_readable(&mut state);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.into_values().for_each(Waker::wake);
    }

    fn event(&self) -> Option<Arc<OwnedFd>> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn make_readable(&self, state: &mut State) {
        if let Some(event) = self.event()
            && !std::mem::replace(&mut state.signalled, true)
        {
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    /// Makes the descriptor unreadable, unless a message has come meanwhile.
    fn make_unreadable(&self) {
        let mut state = self.lock();
        if state.signalled
            && self.receiver.is_empty()
            && let Some(event) = self.event()
        {
            state.signalled = false;
            let _ = rustix::io::read(event, &mut [0u8; 8]);
        }
    }

    /// Takes a message that has come.
    fn fetch(&self) -> Option<Message> {
        let message = self.receiver.try_recv().ok();
        message.iter().for_each(Message::taken);
        // Also if there was none: the program may have taken it from the channel itself.
        if self.receiver.is_empty() {
            self.make_unreadable();
        }
        message
    }

    fn next(&self, limits: &Limits) -> Result<Message> {
        if let Some(message) = self.fetch() {
            return Ok(message);
        }
        if !limits.poll
            && let Some(message) = self.nap()
        {
            return Ok(message);
        }
        let mut number = None;
        let waited = block_on(
            limits,
            poll_fn(|cx| {
                {
                    let mut state = self.lock();
                    let number = *number.get_or_insert_with(|| state.next_number());
                    state.waiters.insert(number, cx.waker().clone());
                }
                // A message that comes after the look wakes this thread, because it is on the list.
                self.fetch().map_or(Poll::Pending, Poll::Ready)
            }),
        );
        if let Some(number) = number {
            let mut state = self.lock();
            if waited.is_ok() {
                let now = Instant::now();
                state.dense = state.woken.is_some_and(|before| now.duration_since(before) < NAP);
                state.woken = Some(now);
            }
            let waiter = state.waiters.remove(&number);
            drop(state);
            drop(waiter);
        }
        waited
    }

    /// Sleeps for a moment if messages are dense. Returns the first that came meanwhile.
    fn nap(&self) -> Option<Message> {
        if !self.lock().dense {
            return None;
        }
        thread::sleep(NAP);
        let message = self.fetch();
        self.lock().dense = message.is_some() && !self.receiver.is_empty();
        message
    }
}

impl Queue {
    /// A queue that nothing fills yet. It makes no thread.
    pub fn new(config: &QueueConfig) -> Result<Queue> {
        config.check().at("queue_new", "")?;
        Ok(Queue { shared: Arc::new(Shared::new(config.clone())) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The next message. Waits for one, without a limit unless `call` sets one. Fails with
    /// [`ErrorKind::WouldBlock`] if `call` polls and no message has come.
    pub fn next(&self, call: &Call) -> Result<Message> {
        let next = || {
            self.shared.check_process()?;
            self.shared.next(&call.limits(None))
        };
        next().at("queue_next", "")
    }

    /// A descriptor that is readable as long as the queue holds a message (level-triggered). The program
    /// only polls it, and fetches with [`Queue::next`]. The first call makes it, and later calls return the
    /// same one.
    pub fn fd(&self) -> Result<QueueFd> {
        let fd = || {
            self.shared.check_process()?;
            let shared = &self.shared;
            let mut state = shared.lock();
            let mut event = shared.event.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(event) = &*event {
                return Ok(QueueFd(event.clone()));
            }
            let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|e| Error::io("eventfd", e))?;
            let made = Arc::new(made);
            *event = Some(made.clone());
            drop(event);
            if !shared.receiver.is_empty() {
                shared.make_readable(&mut state);
            }
            Ok(QueueFd(made))
        };
        fd().at("queue_fd", "")
    }

    /// The channel itself, for `crossbeam_channel::select!`. A message that is taken from it counts
    /// towards the queue's limits until its last clone is dropped. The channel does not change the
    /// descriptor of [`Queue::fd`]: after the program has taken the last message from the channel, the
    /// descriptor stays readable until the next call of [`Queue::next`], also one that polls and finds
    /// no message.
    pub fn receiver(&self) -> &Receiver<Message> {
        &self.shared.receiver
    }
}

/// The descriptor of a queue. See [`Queue::fd`].
///
/// ```
/// use std::os::fd::{AsFd, AsRawFd};
///
/// use ctrd::{Queue, QueueConfig, QueueFd};
///
/// let queue = Queue::new(&QueueConfig::new())?;
/// // For the program's own `poll` or `epoll`.
/// let descriptor: QueueFd = queue.fd()?;
/// assert!(descriptor.as_fd().as_raw_fd() >= 0);
/// # Ok::<(), ctrd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QueueFd(pub(crate) Arc<OwnedFd>);

impl AsFd for QueueFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Queue {
    /// Does what the drop of the queue does, also while a submitted call still holds the queue: frees
    /// its messages, closes its descriptor and ends its subscriptions.
    pub(crate) fn free(&self) {
        let (sender, held_back, subscriptions, event) = {
            let mut state = self.shared.lock();
            let event = self.shared.event.lock().unwrap_or_else(PoisonError::into_inner).take();
            let held_back = (std::mem::take(&mut state.starting), std::mem::take(&mut state.ends));
            (state.sender.take(), held_back, std::mem::take(&mut state.subscriptions), event)
        };
        drop((sender, held_back, event));
        subscriptions.into_values().for_each(|end| end());
        while let Ok(message) = self.shared.receiver.try_recv() {
            drop(message);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.shared.check_process().is_err() {
            // In a child, a thread that does not exist there may hold a lock. So nothing is freed.
            std::mem::forget(self.shared.clone());
            return;
        }
        self.free();
    }
}
