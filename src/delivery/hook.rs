//! A hook: a function of the host's, the messages that wait for it, and whether it runs.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::subscription::{check_kinds, wants};
use super::{Item, Shared, Wants, overflow};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::EventFilter;
use crate::identifier;
use crate::message::{Message, MessageKind};
use crate::queue::NAP;
use crate::wait::wait_while;

/// For how long a hook is run before another one has its turn, unless a message takes longer.
const TURN_TIME: Duration = Duration::from_millis(10);

/// The number of a hook among those of its client.
///
/// ```no_run
/// use ctrd::{Call, Client, HookId};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let hook: HookId = client.on_exit(|message| println!("{}", message.container_id()))?;
/// client.remove_hook(hook, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookId(pub(crate) u64);

/// Where a hook runs.
///
/// ```no_run
/// use ctrd::{Call, Client, HookConfig, HookMode, MessageKind};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let config = HookConfig::new([MessageKind::Exit]).mode(HookMode::Dispatch);
/// client.add_hook(&config, |message| println!("{}", message.container_id()), &Call::new())?;
/// // In the program's own loop, if `client.dispatch_fd()` is readable:
/// client.dispatch(64)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookMode {
    /// On a thread of the library's, which blocks every signal.
    #[default]
    Thread,
    /// Only inside [`crate::Client::dispatch`], on the thread that calls that.
    Dispatch,
}

/// How many events and steps of progress wait for a hook at most.
pub(crate) const EVENTS: usize = 16_384;

/// How often one hook may run at once, at most.
const MAX_CONCURRENCY: usize = 16;

/// What a hook is told, and how it runs.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, HookConfig, MessageKind};
///
/// # fn main() -> ctrd::Result<()> {
/// let client = Client::open(&ClientConfig::new(), &Call::new())?;
/// let config = HookConfig::new([MessageKind::Exit]).concurrency(4);
/// let hook = client.add_hook(
///     &config,
///     |message| println!("{} has ended", message.container_id()),
///     &Call::new(),
/// )?;
/// client.remove_hook(hook, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HookConfig {
    kinds: Vec<MessageKind>,
    container: Option<String>,
    exec: Option<String>,
    pub(crate) filters: Vec<EventFilter>,
    mode: HookMode,
    concurrency: usize,
}

impl HookConfig {
    /// A hook for messages of these kinds: exits, exits of execs, events, progress. With events come gaps
    /// and overflows.
    pub fn new(kinds: impl IntoIterator<Item = MessageKind>) -> HookConfig {
        HookConfig {
            kinds: kinds.into_iter().collect(),
            container: None,
            exec: None,
            filters: Vec::new(),
            mode: HookMode::Thread,
            concurrency: 1,
        }
    }

    /// Only exits of the container with this id, in any namespace. Events have filters instead.
    pub fn container(mut self, id: impl Into<String>) -> HookConfig {
        self.container = Some(id.into());
        self
    }

    /// Only exits of the exec with this id.
    pub fn exec(mut self, id: impl Into<String>) -> HookConfig {
        self.exec = Some(id.into());
        self
    }

    /// Only events that pass any of these filters. Without filters, all events of every namespace.
    pub fn filters(mut self, filters: impl IntoIterator<Item = EventFilter>) -> HookConfig {
        self.filters = filters.into_iter().collect();
        self
    }

    /// Where the hook runs. Default: on a thread of the library.
    pub fn mode(mut self, mode: HookMode) -> HookConfig {
        self.mode = mode;
        self
    }

    /// How often the hook may run at once, 1 to 16. Messages about one container always reach it one
    /// after the other, in order. With 1, the default, that holds for all messages.
    pub fn concurrency(mut self, runs: usize) -> HookConfig {
        self.concurrency = runs;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_kinds(&self.kinds, &self.filters)?;
        self.container.iter().try_for_each(|id| identifier::check("id", id))?;
        self.exec.iter().try_for_each(|id| identifier::check("exec_id", id))?;
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            let why = format!("{} is not between 1 and {MAX_CONCURRENCY}", self.concurrency);
            return Err(Error::invalid("concurrency", why));
        }
        Ok(())
    }

    /// Whether it asks for events.
    pub(crate) fn wants_events(&self) -> bool {
        self.kinds.contains(&MessageKind::Event)
    }

    pub(super) fn wants(&self) -> Wants {
        wants(&self.kinds, self.container.as_ref(), self.exec.as_ref())
    }
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

/// The function of a hook.
pub(crate) type Run = Arc<dyn Fn(&Message) + Send + Sync>;

/// Messages of one lane reach the hook one after the other. A hook that runs once at a time has one
/// lane; otherwise there is one for each container.
type Lane = Option<(String, String)>;

pub(crate) struct Hook {
    id: u64,
    mode: HookMode,
    /// How many events and steps of progress may wait for it.
    capacity: usize,
    /// How many times it may run at once.
    concurrency: usize,
    bus: Weak<Shared>,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    /// Gone once the hook was removed and does not run.
    run: Option<Run>,
    /// The lanes that have messages or are at one.
    lanes: HashMap<Lane, VecDeque<Item>>,
    /// The lanes that have messages and are at none, the longest waiting first.
    ready: VecDeque<Lane>,
    /// How many messages wait that count towards the capacity.
    bounded: usize,
    /// How often it is on the list of hooks to run, or is run now.
    scheduled: usize,
    /// How often its function runs now.
    running: usize,
    /// Whether it is not to be started any more.
    removed: bool,
    /// Whether it was removed, does not run, and its function is dropped.
    gone: bool,
    /// Messages that were dropped since the hook was told so last.
    dropped: u64,
    /// When it ran last.
    rested: Option<Instant>,
}

/// Whether a message may be dropped if too many wait.
fn is_bounded(message: &Message) -> bool {
    matches!(message.kind(), MessageKind::Event | MessageKind::Progress)
}

impl Hook {
    pub(super) fn new(id: u64, config: &HookConfig, run: Run, bus: Weak<Shared>) -> Hook {
        Hook {
            id,
            mode: config.mode,
            capacity: EVENTS,
            concurrency: config.concurrency,
            bus,
            state: Mutex::new(State {
                run: Some(run),
                lanes: HashMap::new(),
                ready: VecDeque::new(),
                bounded: 0,
                scheduled: 0,
                running: 0,
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

    fn lane(&self, message: &Message) -> Lane {
        let container = || (message.namespace().to_owned(), message.container_id().to_owned());
        (self.concurrency > 1).then(container)
    }

    /// Takes a message. Says whether the hook is to be put on the list of hooks to run; the thread that
    /// runs it puts it there again until nothing is left.
    pub(super) fn push(&self, item: Item) -> bool {
        let lane = self.lane(&item.message);
        let is_bounded = is_bounded(&item.message);
        let mut state = self.lock();
        if state.removed {
            drop(state);
            // What comes after the message may come: this hook does not run.
            drop(item);
            return false;
        }
        let bus = self.bus.upgrade();
        if is_bounded && state.bounded >= self.capacity {
            state.dropped += 1;
            drop(state);
            bus.into_iter().for_each(|bus| bus.count_dropped());
            return false;
        }
        state.bounded += usize::from(is_bounded);
        let overflow = match (state.dropped, bus) {
            (1.., Some(bus)) => Some(overflow(bus.next_seq(), std::mem::take(&mut state.dropped))),
            _ => None,
        };
        let State { lanes, ready, .. } = &mut *state;
        let waiting = lanes.entry(lane.clone()).or_insert_with(|| {
            ready.push_back(lane);
            VecDeque::new()
        });
        waiting.extend(overflow.map(|message| Item { message, _after: None }));
        waiting.push_back(item);
        // One more runner only for a lane that none of those on the list will find.
        let more = state.scheduled < self.concurrency
            && state.ready.len() > state.scheduled - state.running;
        state.scheduled += usize::from(more);
        more
    }

    /// The next message, and its lane. A message about what was dropped has none.
    fn next(&self, state: &mut State) -> Option<(Option<Lane>, Item)> {
        if let Some(lane) = state.ready.pop_front() {
            let item = state.lanes.get_mut(&lane).and_then(VecDeque::pop_front)?;
            state.bounded -= usize::from(is_bounded(&item.message));
            return Some((Some(lane), item));
        }
        if state.running > 0 {
            return None;
        }
        // Nothing has come since, and may not for a long time.
        let dropped = std::mem::take(&mut state.dropped);
        let bus = self.bus.upgrade().filter(|_| dropped > 0)?;
        let message = overflow(bus.next_seq(), dropped);
        Some((None, Item { message, _after: None }))
    }

    /// Runs the hook for at most so many messages. Gives how many there were, and whether there are more.
    pub(super) fn run(&self, max: usize) -> (usize, bool) {
        let mut state = self.lock();
        // The host's own thread has other things to do than to wait for what may come.
        let mut naps = self.mode == HookMode::Thread
            && state.rested.take().is_some_and(|since| since.elapsed() < NAP);
        let inside = Inside::enter();
        let (mut ran, began) = (0, Instant::now());
        while ran < max && (ran == 0 || began.elapsed() < TURN_TIME) {
            let run = if state.removed { None } else { state.run.clone() };
            let Some(run) = run else { break };
            let Some((lane, item)) = self.next(&mut state) else {
                if !std::mem::take(&mut naps) {
                    break;
                }
                // It does not run meanwhile: a thread that removes it need not wait.
                drop(run);
                drop(state);
                std::thread::sleep(NAP);
                state = self.lock();
                naps = !state.ready.is_empty();
                continue;
            };
            state.running += 1;
            drop(state);
            // A panic must not take the thread with it: others rely on it, or it is the host's.
            if catch_unwind(AssertUnwindSafe(|| run(&item.message))).is_err() {
                log::error!("hook {} panicked", self.id);
            }
            drop(item);
            // Before it counts as not running: the last one that holds the function drops it.
            drop(run);
            ran += 1;
            state = self.lock();
            state.running -= 1;
            if let Some(lane) = lane {
                if state.lanes.get(&lane).is_none_or(VecDeque::is_empty) {
                    state.lanes.remove(&lane);
                } else {
                    state.ready.push_back(lane);
                }
            }
        }
        state.rested = (ran > 0).then(Instant::now);
        let drops = state.dropped > 0 && state.running == 0;
        let more = !state.removed && (!state.ready.is_empty() || drops);
        state.scheduled = state.scheduled.saturating_sub(usize::from(!more));
        let removed = state.removed;
        drop(state);
        if removed {
            // The thread that removed it could not.
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

    /// Drops what waits, and the function of a hook that was removed: if it runs, the thread that runs it
    /// does so after that. May be called again, and by several threads at once.
    pub(super) fn end(&self) {
        let (waiting, run) = {
            let mut state = self.lock();
            state.dropped = 0;
            state.bounded = 0;
            state.ready.clear();
            let run = if state.running == 0 { state.run.take() } else { None };
            (std::mem::take(&mut state.lanes), run)
        };
        drop(waiting);
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
