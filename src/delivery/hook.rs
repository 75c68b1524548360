//! A hook: a function of the host's, the messages that wait for it, and whether it runs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Item, NAP, Shared, overflow};
use crate::call::Limits;
use crate::error::{ErrorKind, Result};
use crate::message::Message;
use crate::wait::wait_while;

/// For how long a hook is run before another one has its turn, unless a message takes longer.
const TURN_TIME: Duration = Duration::from_millis(10);

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
    /// When it ran last.
    rested: Option<Instant>,
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
                rested: None,
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

    /// Runs the hook for at most so many messages. Gives how many there were, and whether there are more.
    pub(super) fn run(&self, max: usize) -> (usize, bool) {
        let mut state = self.lock();
        let function = if state.removed { None } else { state.run.take() };
        let Some(mut run) = function else {
            state.scheduled = false;
            return (0, false);
        };
        // The host's own thread has other things to do than to wait for what may come.
        let mut naps = self.mode == HookMode::Thread
            && state.rested.take().is_some_and(|since| since.elapsed() < NAP);
        let inside = Inside::enter();
        let (mut ran, began) = (0, Instant::now());
        while ran < max && !state.removed && (ran == 0 || began.elapsed() < TURN_TIME) {
            let Some(item) = self.next(&mut state) else {
                if !std::mem::take(&mut naps) {
                    break;
                }
                // It does not run meanwhile: who removes it need not wait.
                state.run = Some(run);
                drop(state);
                std::thread::sleep(NAP);
                state = self.lock();
                let Some(function) = state.run.take() else {
                    state.scheduled = false;
                    return (ran, false);
                };
                run = function;
                naps = !state.pending.is_empty();
                continue;
            };
            drop(state);
            // A panic must not take the thread with it: others rely on it, or it is the host's.
            if catch_unwind(AssertUnwindSafe(|| run(&item.message))).is_err() {
                log::error!("hook {} panicked", self.id);
            }
            drop(item);
            ran += 1;
            state = self.lock();
        }
        state.run = Some(run);
        state.rested = (ran > 0).then(Instant::now);
        let more = !state.removed && (!state.pending.is_empty() || state.dropped > 0);
        state.scheduled = more;
        let removed = state.removed;
        drop(state);
        if removed {
            // Who removed it could not.
            self.end();
        }
        drop(inside);
        (ran, more)
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
