//! A hook: a function of the host, the messages that wait for it, and whether it runs.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::after::After;
use super::counters::Counters;
use super::threads::Work;
use super::wants::{Wants, check_kinds};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::EventFilter;
use crate::identifier;
use crate::message::{Dropped, Message, MessageKind};
use crate::queue::NAP;
use crate::wait::block_on;

/// How many messages a hook handles on a thread of the library before another hook gets its turn.
const TURN: usize = 64;

/// How long a hook runs before another hook gets its turn. One message may take longer.
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
    /// On a thread of the library, which blocks every signal.
    #[default]
    Thread,
    /// Only inside [`crate::Client::dispatch`], on the thread that calls it.
    Dispatch,
}

/// How many events and steps of progress may wait for a hook.
pub(crate) const EVENTS: usize = 16_384;

/// The highest concurrency of one hook.
const MAX_CONCURRENCY: usize = 16;

/// Which messages a hook receives, and how it runs.
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
    /// A hook for messages of these kinds: exits, exits of execs, events, progress. A hook for
    /// events also receives gaps and overflows.
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

    /// How many runs of the hook may overlap, 1 to 16. Messages about one container always reach it
    /// one after the other, in order. With 1, the default, that holds for all messages.
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
        Wants::new(&self.kinds, self.container.as_ref(), self.exec.as_ref())
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

/// A message for a hook, and the job that runs once all hooks that got the message have returned.
pub(super) struct QueuedMessage {
    pub(super) message: Message,
    /// Held until the hook has returned.
    pub(super) _after: Option<Arc<After>>,
}

pub(crate) struct Hook {
    id: u64,
    mode: HookMode,
    /// How many events and steps of progress may wait for it.
    capacity: usize,
    /// How many times it may run at once.
    concurrency: usize,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

struct State {
    /// `None` once the hook is removed and does not run.
    run: Option<Run>,
    /// The lanes that have messages, or whose message the hook is handling.
    lanes: HashMap<Lane, VecDeque<QueuedMessage>>,
    /// The lanes that have messages and none of them being handled. The one that waits longest is
    /// first.
    ready: VecDeque<Lane>,
    /// How many waiting messages count towards the capacity.
    bounded: usize,
    /// How many times the hook is on the list of hooks to run, or is running.
    scheduled: usize,
    /// How many times its function is running.
    running: usize,
    /// Whether the hook must not be started any more.
    removed: bool,
    /// Whether it is removed, does not run, and its function is dropped.
    gone: bool,
    /// Messages that were dropped since the hook last received a message about it.
    dropped: u64,
    /// When its last run ended.
    rested: Option<Instant>,
    /// Those that wait until it is gone.
    waiting: Vec<Waker>,
}

/// Whether the message may be dropped if too many wait.
fn is_bounded(message: &Message) -> bool {
    matches!(message.kind(), MessageKind::Event | MessageKind::Progress)
}

impl Hook {
    pub(super) fn new(id: u64, config: &HookConfig, run: Run, counters: Arc<Counters>) -> Hook {
        Hook {
            id,
            mode: config.mode,
            capacity: EVENTS,
            concurrency: config.concurrency,
            counters,
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
                waiting: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the hook is removed and its function is dropped.
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

    /// Adds a message. Returns whether the caller must put the hook on the list of hooks to run.
    /// The thread that runs the hook puts it there again until no message is left.
    pub(super) fn push(&self, item: QueuedMessage) -> bool {
        let lane = self.lane(&item.message);
        let is_bounded = is_bounded(&item.message);
        let mut state = self.lock();
        if state.removed {
            drop(state);
            // This may start the job that waits for the message, because this hook will not run.
            drop(item);
            return false;
        }
        if is_bounded && state.bounded >= self.capacity {
            state.dropped += 1;
            drop(state);
            self.counters.count_dropped();
            return false;
        }
        state.bounded += usize::from(is_bounded);
        let overflow = self.overflow(&mut state);
        let State { lanes, ready, .. } = &mut *state;
        let waiting = lanes.entry(lane.clone()).or_insert_with(|| {
            ready.push_back(lane);
            VecDeque::new()
        });
        waiting.extend(overflow.map(|message| QueuedMessage { message, _after: None }));
        waiting.push_back(item);
        // Add a runner only for a lane that no scheduled runner will find.
        let more = state.scheduled < self.concurrency
            && state.ready.len() > state.scheduled - state.running;
        state.scheduled += usize::from(more);
        more
    }

    /// Returns the next message and its lane. A message about dropped messages has no lane.
    fn next(&self, state: &mut State) -> Option<(Option<Lane>, QueuedMessage)> {
        if let Some(lane) = state.ready.pop_front() {
            let item = state.lanes.get_mut(&lane).and_then(VecDeque::pop_front)?;
            state.bounded -= usize::from(is_bounded(&item.message));
            return Some((Some(lane), item));
        }
        if state.running > 0 {
            return None;
        }
        // No message has come since the drop, and none may come for a long time.
        let message = self.overflow(state)?;
        Some((None, QueuedMessage { message, _after: None }))
    }

    /// The message that reports how many messages were dropped, if the hook does not know it yet.
    fn overflow(&self, state: &mut State) -> Option<Message> {
        let dropped = std::mem::take(&mut state.dropped);
        (dropped > 0).then(|| self.counters.overflow(Dropped::number(dropped)))
    }

    /// Runs the hook for at most `max` messages. Returns how many it handled, and whether more
    /// wait.
    pub(super) fn run(&self, max: usize) -> (usize, bool) {
        let mut state = self.lock();
        // Only the library's threads wait for further messages; the host's own thread has other
        // work.
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
                // The hook does not run during the nap, so a thread that removes it need not wait.
                drop(run);
                drop(state);
                std::thread::sleep(NAP);
                state = self.lock();
                naps = !state.ready.is_empty();
                continue;
            };
            state.running += 1;
            drop(state);
            // A panic must not end the thread: other hooks need it, or it belongs to the host.
            if catch_unwind(AssertUnwindSafe(|| run(&item.message))).is_err() {
                log::error!("hook {} panicked", self.id);
            }
            drop(item);
            // Drop it before the run counts as over, because the last holder of the function runs
            // its destructor.
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
            // The thread that removed the hook could not end it while it ran.
            self.end();
        }
        drop(inside);
        (ran, more)
    }

    /// Ensures that the hook is not started again. Runs no code of the host, so the caller may hold
    /// a lock. The caller must call [`Hook::end`] afterwards.
    pub(super) fn remove(&self) {
        self.lock().removed = true;
    }

    /// Drops the waiting messages and the function of a removed hook. If the hook runs, the thread
    /// that runs it does that afterwards. Several threads may call this, also more than once.
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
        // The destructor of the host's function may call what a hook may call, and must not wait
        // for itself either.
        let inside = Inside::enter();
        if catch_unwind(AssertUnwindSafe(|| drop(run))).is_err() {
            log::error!("the end of hook {} panicked", self.id);
        }
        drop(inside);
        let waiting = {
            let mut state = self.lock();
            state.gone = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// A future that is ready when a removed hook is gone.
    pub(super) fn gone(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let hook = self.clone();
        poll_fn(move |cx| {
            let mut state = hook.lock();
            if state.gone {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Waits until a removed hook is gone.
    pub(super) fn wait_until_gone(self: &Arc<Self>, limits: &Limits) -> Result<()> {
        block_on(limits, self.gone()).map_err(still_runs)
    }
}

/// The error of a call that could not wait until a hook was gone.
pub(super) fn still_runs(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout => error.context("the hook still runs"),
        _ => error,
    }
}

pub(super) type SharedHook = Arc<Hook>;

impl Work for SharedHook {
    fn work(self) -> Option<SharedHook> {
        let (_, more) = self.run(TURN);
        more.then_some(self)
    }
}
