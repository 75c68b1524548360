//! A queue of messages: a channel, with a descriptor beside it that says when there is something in it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::{Bus, NAP, overflow};
use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter::EventFilter;
use crate::message::{Message, MessageKind};
use crate::wait::block_on;

/// What a queue is to hold.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Of what it is told: exits, exits of execs, events, progress. Gaps and overflows come with them.
    /// At least one.
    pub kinds: Vec<MessageKind>,
    /// Which events: those that pass any of these; all of every namespace where there is none.
    pub filters: Vec<EventFilter>,
    /// How many messages it holds before further ones are dropped, 1 to 1,048,576. Default 1,024.
    pub capacity: usize,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { kinds: Vec::new(), filters: Vec::new(), capacity: 1024 }
    }
}

const MAX_CAPACITY: usize = 1 << 20;

/// The kinds that can be asked for.
const KINDS: [MessageKind; 4] =
    [MessageKind::Exit, MessageKind::ExecExit, MessageKind::Event, MessageKind::Progress];

impl QueueConfig {
    /// Whether it asks for events.
    pub(crate) fn wants_events(&self) -> bool {
        self.kinds.contains(&MessageKind::Event)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.kinds.is_empty() {
            return Err(Error::invalid("kinds", "there is none"));
        }
        if let Some(other) = self.kinds.iter().find(|kind| !KINDS.contains(kind)) {
            return Err(Error::invalid("kinds", format!("{other:?} cannot be asked for")));
        }
        if !self.filters.is_empty() && !self.wants_events() {
            return Err(Error::invalid("filters", "are for events, which kinds does not name"));
        }
        if !(1..=MAX_CAPACITY).contains(&self.capacity) {
            let why = format!("{} is not between 1 and {MAX_CAPACITY}", self.capacity);
            return Err(Error::invalid("capacity", why));
        }
        Ok(())
    }
}

/// Messages for whoever fetches them. Dropped, it gets no more. It may be used by several threads: each
/// message goes to one of them.
pub struct Queue {
    shared: Arc<Shared>,
    bus: Bus,
    id: u64,
}

pub(crate) struct Shared {
    receiver: Receiver<Message>,
    /// Readable while there is something in the channel, and once it is closed.
    event: OwnedFd,
    bus: Weak<super::Shared>,
    state: Mutex<State>,
}

struct State {
    /// Gone once it is closed.
    sender: Option<Sender<Message>>,
    /// Messages that were dropped since that was said last.
    dropped: u64,
    /// Those who wait, by a number of their own.
    waiters: HashMap<u64, Waker>,
    next: u64,
    /// When a message ended a wait last, and whether that was so soon after the one before that there
    /// will be another one.
    woken: Option<Instant>,
    dense: bool,
    /// Whether somebody has asked for the descriptor; until then it costs nothing.
    polled: bool,
    /// Whether the descriptor is readable.
    signalled: bool,
}

impl Shared {
    pub(super) fn new(capacity: usize, bus: Weak<super::Shared>) -> Result<Shared> {
        let (sender, receiver) = bounded(capacity);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("eventfd", e))?;
        let state = State {
            sender: Some(sender),
            dropped: 0,
            waiters: HashMap::new(),
            next: 0,
            woken: None,
            dense: false,
            polled: false,
            signalled: false,
        };
        Ok(Shared { receiver, event, bus, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the descriptor readable and wakes who waits.
    fn signal(&self, mut state: MutexGuard<'_, State>) {
        if state.polled {
            self.make_readable(&mut state);
        }
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.into_values().for_each(Waker::wake);
    }

    fn make_readable(&self, state: &mut State) {
        if !std::mem::replace(&mut state.signalled, true) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// From now on the descriptor says what there is.
    fn begin_polling(&self) {
        let mut state = self.lock();
        let is_new = !std::mem::replace(&mut state.polled, true);
        let nothing = self.receiver.is_empty() && state.dropped == 0 && state.sender.is_some();
        if is_new && !nothing {
            self.make_readable(&mut state);
        }
    }

    /// Takes a message; where it is full, it drops it and says so later.
    pub(super) fn push(&self, message: Message) {
        let mut state = self.lock();
        let Some(sender) = state.sender.clone() else { return };
        let bus = self.bus.upgrade();
        if state.dropped > 0
            && let Some(bus) = &bus
            && sender.try_send(overflow(bus.next_seq(), state.dropped)).is_ok()
        {
            state.dropped = 0;
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(message) {
            state.dropped += 1;
            bus.into_iter().for_each(|bus| bus.count_dropped());
        }
        self.signal(state);
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.sender = None;
        self.signal(state);
    }

    /// A message that is there.
    fn fetch(&self) -> std::result::Result<Message, TryRecvError> {
        let message = self.receiver.try_recv()?;
        if self.receiver.is_empty() {
            self.unsignal();
        }
        Ok(message)
    }

    /// The next message. `None` where there is none yet.
    fn take(&self) -> Result<Option<Message>> {
        let (dropped, is_closed) = loop {
            if let Ok(message) = self.fetch() {
                return Ok(Some(message));
            }
            let mut state = self.lock();
            // What has come meanwhile comes before what was dropped after it.
            if self.receiver.is_empty() {
                break (std::mem::take(&mut state.dropped), state.sender.is_none());
            }
        };
        self.unsignal();
        match (dropped, self.bus.upgrade()) {
            // Nothing may come any more, or for a long time in which this would not be known.
            (1.., Some(bus)) => Ok(Some(overflow(bus.next_seq(), dropped))),
            _ if is_closed => Err(Error::new(ErrorKind::Closed, "the client is closed")),
            _ => Ok(None),
        }
    }

    /// Makes the descriptor unreadable, unless something has come meanwhile.
    fn unsignal(&self) {
        let mut state = self.lock();
        let is_empty = self.receiver.is_empty() && state.dropped == 0;
        if state.signalled && state.sender.is_some() && is_empty {
            state.signalled = false;
            let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        }
    }

    fn next(&self, limits: &Limits) -> Result<Message> {
        // Where many come there is one already, and nothing to wait for.
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
                // After it is known who waits: what comes from here on wakes him.
                match self.take() {
                    Ok(None) => Poll::Pending,
                    Ok(Some(message)) => Poll::Ready(Ok(message)),
                    Err(e) => Poll::Ready(Err(e)),
                }
            }),
        );
        if let Some(number) = number {
            let mut state = self.lock();
            if let Ok(Ok(_)) = &waited {
                let now = Instant::now();
                state.dense = state.woken.is_some_and(|before| now.duration_since(before) < NAP);
                state.woken = Some(now);
            }
            let waiter = state.waiters.remove(&number);
            drop(state);
            drop(waiter);
        }
        waited?
    }

    /// Where messages come thick and fast, sleeps for a moment; the first of those that came meanwhile.
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
    pub(super) fn new(shared: Arc<Shared>, bus: Bus, id: u64) -> Queue {
        Queue { shared, bus, id }
    }

    /// The next message; waits for one, without an end unless `call` says otherwise. Fails with
    /// [`ErrorKind::WouldBlock`] where it is not to wait and there is none, and with
    /// [`ErrorKind::Closed`] once the client is closed and nothing is left.
    pub fn next(&self, call: &Call) -> Result<Message> {
        self.bus
            .check_process()
            .and_then(|()| self.shared.next(&call.limits(None)))
            .at("queue_next", "")
    }

    /// A descriptor that is readable while there is a message, and once the client is closed. It is
    /// only to be polled, and only with [`Queue::next`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        // In a child of the process somebody who is not there may hold the lock.
        if self.bus.check_process().is_ok() {
            self.shared.begin_polling();
        }
        self.shared.event.as_fd()
    }

    /// The channel itself, for `crossbeam_channel::select!`. It ends when the client is closed. Where
    /// messages were dropped and none has come since, only [`Queue::next`] says so.
    pub fn receiver(&self) -> &Receiver<Message> {
        &self.shared.receiver
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.bus.check_process().is_ok() {
            self.bus.remove(self.id);
            self.shared.close();
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.shared.receiver.len())
            .finish_non_exhaustive()
    }
}
