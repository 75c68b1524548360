//! A queue of messages: a channel, and a descriptor that says whether it holds something.
//!
//! A queue belongs to no client: any number of subscriptions and submitted calls fill it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::message::{Message, MessageKind, Permit};
use crate::wait::block_on;

/// Messages that come closer together than this are dense: a thread that waits for them sleeps so long
/// and takes those that have come, because a wake-up for each costs more than the rest of its way.
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

/// What fills a queue holds this of it.
pub(crate) struct Shared {
    process: u32,
    config: QueueConfig,
    receiver: Receiver<Message>,
    /// Readable while the channel holds something. Made when somebody asks for it.
    event: Mutex<Option<Arc<OwnedFd>>>,
    /// How many messages of each kind of limit wait, and how many calls without a client are in flight.
    bounded: Arc<AtomicUsize>,
    exits: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    freed: AtomicBool,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}

struct State {
    /// Gone once the queue is freed.
    sender: Option<Sender<Message>>,
    /// The containers whose submitted start is not completed, each with the exits that wait for that.
    starting: HashMap<Container, Vec<Message>>,
    /// The threads that wait, by a number of their own.
    waiters: HashMap<u64, Waker>,
    next: u64,
    /// When a message ended a wait last, and whether that was so soon after the one before that there
    /// will be another one.
    woken: Option<Instant>,
    dense: bool,
    /// Whether the descriptor is readable.
    signalled: bool,
}

/// A container's namespace and id.
pub(crate) type Container = (String, String);

impl Shared {
    fn new(config: QueueConfig) -> Shared {
        let (sender, receiver) = unbounded();
        let state = State {
            sender: Some(sender),
            starting: HashMap::new(),
            waiters: HashMap::new(),
            next: 0,
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
            freed: AtomicBool::new(false),
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

    /// Whether the program has freed the queue: nobody will fetch anything from it.
    pub(crate) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::SeqCst)
    }

    /// Room for one more message that may be dropped.
    pub(crate) fn room(&self) -> Option<Permit> {
        Permit::take(&self.bounded, self.config.capacity)
    }

    /// Counts an exit that waits in the queue. An exit is never dropped.
    pub(crate) fn count_exit(&self) -> Option<Permit> {
        Permit::take(&self.exits, usize::MAX)
    }

    /// Whether so many exits wait that no further process is to be made.
    pub(crate) fn is_full_of_exits(&self) -> bool {
        self.exits.load(Ordering::SeqCst) >= self.config.max_exits
    }

    /// A slot for one more call that belongs to no client.
    pub(crate) fn slot(&self) -> Option<Permit> {
        Permit::take(&self.calls, self.config.max_calls)
    }

    /// Adds a message and wakes the threads that wait. Exits of a container whose submitted start is not
    /// completed wait for that: the completion comes first.
    pub(crate) fn push(&self, message: Message) {
        let mut state = self.lock();
        let Some(sender) = state.sender.clone() else {
            // A result may be dropped with it.
            drop(state);
            drop(message);
            return;
        };
        if message.kind() == MessageKind::Exit && !state.starting.is_empty() {
            let container = (message.namespace().to_owned(), message.container_id().to_owned());
            if let Some(waiting) = state.starting.get_mut(&container) {
                waiting.push(message);
                return;
            }
        }
        // The receiver exists as long as this does.
        let _ = sender.send(message);
        self.signal(state);
    }

    /// Lets exits of this container wait until its submitted start is completed.
    pub(crate) fn begin_start(&self, container: &Container) {
        self.lock().starting.entry(container.clone()).or_default();
    }

    /// Adds the completion of a submitted call, and then the exits that have waited for it.
    pub(crate) fn complete(&self, completion: Message, started: &[Container]) {
        let mut state = self.lock();
        let waiting: Vec<Vec<Message>> =
            started.iter().filter_map(|container| state.starting.remove(container)).collect();
        let Some(sender) = state.sender.clone() else {
            drop(state);
            drop(completion);
            return;
        };
        let messages = std::iter::once(completion).chain(waiting.into_iter().flatten());
        messages.for_each(|message| drop(sender.send(message)));
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

    /// Makes the descriptor unreadable, unless something has come meanwhile.
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

    /// A message that has come.
    fn fetch(&self) -> std::result::Result<Message, TryRecvError> {
        let message = self.receiver.try_recv()?;
        message.taken();
        if self.receiver.is_empty() {
            self.make_unreadable();
        }
        Ok(message)
    }

    fn next(&self, limits: &Limits) -> Result<Message> {
        // If many come there is one already, and nothing to wait for.
        if let Ok(message) = self.fetch() {
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
                    let number = *number.get_or_insert_with(|| {
                        state.next += 1;
                        state.next
                    });
                    state.waiters.insert(number, cx.waker().clone());
                }
                // After this thread is known to wait: whatever comes from here on wakes it.
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

    /// Sleeps for a moment if messages are dense. Gives the first of those that came meanwhile.
    fn nap(&self) -> Option<Message> {
        if !self.lock().dense {
            return None;
        }
        thread::sleep(NAP);
        let message = self.fetch().ok();
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
    /// only polls it, and fetches with [`Queue::next`]. It is made when it is asked for first, and is the
    /// same each time.
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
    /// towards the queue's limits until its last clone is dropped.
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
    /// Frees what the queue holds, and closes its descriptor, as its drop does: also while a submitted
    /// call still holds the queue.
    pub(crate) fn free(&self) {
        self.shared.freed.store(true, Ordering::SeqCst);
        let (sender, starting, event) = {
            let mut state = self.shared.lock();
            let event = self.shared.event.lock().unwrap_or_else(PoisonError::into_inner).take();
            (state.sender.take(), std::mem::take(&mut state.starting), event)
        };
        drop((sender, starting, event));
        while let Ok(message) = self.shared.receiver.try_recv() {
            drop(message);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.shared.check_process().is_err() {
            // In a child a thread that does not exist there may hold a lock. What the queue holds stays.
            std::mem::forget(self.shared.clone());
            return;
        }
        self.free();
    }
}
