//! A hook: a function of the host's, the messages that wait for it, and whether it runs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::{Item, Shared, overflow};
use crate::call::Limits;
use crate::error::{ErrorKind, Result};
use crate::message::Message;
use crate::wait::wait_while;

/// The number of a hook among those of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookId(pub(crate) u64);

impl HookId {
    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The hook of this number.
    pub fn from_number(number: u64) -> HookId {
        HookId(number)
    }
}

/// Where a hook runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookMode {
    /// On a thread of the library's, which blocks every signal.
    #[default]
    Thread,
    /// Only inside [`crate::Client::dispatch`], on the thread that calls that.
    Dispatch,
}

thread_local! {
    /// How many hooks run on this thread, one inside the other.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Whether a hook runs on the calling thread.
pub(crate) fn inside() -> bool {
    INSIDE.get() > 0
}

struct Inside;

impl Inside {
    fn enter() -> Inside {
        INSIDE.set(INSIDE.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

type Run = Box<dyn FnMut(&Message) + Send>;

pub(crate) struct Hook {
    id: u64,
    mode: HookMode,
    capacity: usize,
    bus: Weak<Shared>,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    /// Taken out while it runs or is dropped, so that no lock is held then.
    run: Option<Run>,
    pending: VecDeque<Item>,
    /// Whether it stands on the list of those that are run, or is run just now.
    scheduled: bool,
    /// Whether it is not to be started any more.
    removed: bool,
    /// Whether it was removed, does not run, and its function is dropped.
    gone: bool,
    /// Messages that were dropped since the hook was told so last.
    dropped: u64,
}

impl Hook {
    pub(super) fn new(
        id: u64,
        mode: HookMode,
        capacity: usize,
        run: Run,
        bus: Weak<Shared>,
    ) -> Hook {
        Hook {
            id,
            mode,
            capacity,
            bus,
            state: Mutex::new(State {
                run: Some(run),
                pending: VecDeque::new(),
                scheduled: false,
                removed: false,
                gone: false,
                dropped: 0,
            }),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it was removed, and its function is dropped.
    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    pub(super) fn mode(&self) -> HookMode {
        self.mode
    }

    /// Takes a message. Says whether the hook is to be put on the list of those that are run: once it
    /// stands there, whoever runs it puts it there again until nothing is left.
    pub(super) fn push(&self, item: Item) -> bool {
        let mut state = self.lock();
        if state.removed {
            drop(state);
            // What comes after the message may come: this hook does not run.
            drop(item);
            return false;
        }
        let bus = self.bus.upgrade();
        if state.pending.len() >= self.capacity {
            state.dropped += 1;
            drop(state);
            bus.into_iter().for_each(|bus| bus.count_dropped());
            return false;
        }
        if let (1.., Some(bus)) = (state.dropped, bus) {
            let message = overflow(bus.next_seq(), std::mem::take(&mut state.dropped));
            state.pending.push_back(Item { message, _after: None });
        }
        state.pending.push_back(item);
        !std::mem::replace(&mut state.scheduled, true)
    }

    /// What is to be told next.
    fn next(&self, state: &mut State) -> Option<Item> {
        state.pending.pop_front().or_else(|| {
            // Nothing has come since, and may not for a long time.
            let dropped = std::mem::take(&mut state.dropped);
            let bus = self.bus.upgrade().filter(|_| dropped > 0)?;
            Some(Item { message: overflow(bus.next_seq(), dropped), _after: None })
        })
    }

    /// Runs the hook for one message. Gives whether there was one, and whether there is another.
    pub(super) fn run(&self) -> (bool, bool) {
        let (item, mut run) = {
            let mut state = self.lock();
            let item = if state.removed { None } else { self.next(&mut state) };
            // Without an item the function stays: it must not be dropped here, under the lock.
            let Some(work) = item.and_then(|item| Some((item, state.run.take()?))) else {
                state.scheduled = false;
                return (false, false);
            };
            work
        };
        let inside = Inside::enter();
        // A panic must not take the thread with it: others rely on it, or it is the host's.
        if catch_unwind(AssertUnwindSafe(|| run(&item.message))).is_err() {
            log::error!("hook {} panicked", self.id);
        }
        drop(item);
        let mut state = self.lock();
        state.run = Some(run);
        let more = !state.removed && (!state.pending.is_empty() || state.dropped > 0);
        state.scheduled = more;
        if state.removed {
            drop(state);
            // Who removed it could not.
            self.end();
        } else {
            drop(state);
        }
        drop(inside);
        (true, more)
    }

    /// Sees to it that the hook is not started again. Calls nothing of the host's, so it may be done
    /// under a lock; [`Hook::end`] is to follow.
    pub(super) fn remove(&self) {
        self.lock().removed = true;
    }

    /// Drops what waits, and the function of a hook that was removed: where it runs, whoever runs it
    /// does so after that. May be called again, and by several at once.
    pub(super) fn end(&self) {
        let (pending, run) = {
            let mut state = self.lock();
            state.dropped = 0;
            (std::mem::take(&mut state.pending), state.run.take())
        };
        drop(pending);
        let Some(run) = run else { return };
        // The host's own end of it may call what a hook may, and must not wait for itself either.
        let inside = Inside::enter();
        if catch_unwind(AssertUnwindSafe(|| drop(run))).is_err() {
            log::error!("the end of hook {} panicked", self.id);
        }
        drop(inside);
        self.lock().gone = true;
        self.ended.notify_all();
    }

    /// Waits until a hook that was removed is gone.
    pub(super) fn wait_until_gone(&self, limits: &Limits) -> Result<()> {
        wait_while(&self.ended, self.lock(), limits, |state| !state.gone).map(drop).map_err(|e| {
            match e.kind() {
                ErrorKind::Timeout => e.context("the hook still runs"),
                _ => e,
            }
        })
    }
}

pub(super) type SharedHook = Arc<Hook>;
