//! One submitted call: in the pool's line, on a thread, waiting without one, or over.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use super::pool;
use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::message::{Body, CallResult, Discard, Dropped, Lost, Message, MessageKind, Permit};
use crate::queue::{self, Generation};
use crate::watchdog::{self, Watched};

/// The result of an operation.
type Made = Box<dyn Any + Send>;

pub(super) type Run = Box<dyn FnMut(&Call) -> Result<Made> + Send>;

pub(crate) type Held = Arc<dyn Any + Send + Sync>;

/// One submitted call.
pub(super) struct Job {
    /// The client's, 0 for none.
    pub(super) group: u64,
    pub(super) number: u64,
    /// Operation and subject, for an error of the job's own.
    name: (&'static str, String),
    call: Call,
    queue: Arc<queue::Shared>,
    tag: u64,
    state: Mutex<State>,
    /// What it waits for without a thread. It has a lock of its own, which is held while the future is
    /// polled.
    parked: Mutex<Option<Parked>>,
    /// How often the future was woken since its last poll.
    wakes: AtomicUsize,
    /// Whether it may last long, and whether the pool counts it as one that does and runs. Both are
    /// guarded by the pool's lock.
    pub(super) long: AtomicBool,
    pub(super) counts_as_long: AtomicBool,
    /// Drops a result that nobody takes.
    discard: Discard,
    /// Steps of progress that were dropped.
    lost: Arc<Lost>,
    /// Ends the wait in the line, and the wait without a thread.
    watched: OnceLock<Watched>,
    /// Whether its completion is in the queue, and it holds nothing any more.
    completed: AtomicBool,
}

struct State {
    phase: Phase,
    own: Own,
}

/// What a job has until it is over.
#[derive(Default)]
struct Own {
    /// The operation, unless it runs.
    run: Option<Run>,
    slot: Option<Permit>,
    /// What it holds under a key, such as the lock of a container.
    held: Vec<(String, Held)>,
    /// The containers that it starts.
    starts: Vec<Generation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the pool's line.
    Queued,
    Running(ThreadId),
    /// Waits without a thread.
    Parked,
    Over,
}

impl Phase {
    /// Of a job that this thread runs.
    fn running_here() -> Phase {
        Phase::Running(thread::current().id())
    }
}

/// What a job waits for without a thread.
pub(super) struct Parked {
    /// The key under which the job keeps the output.
    key: Option<String>,
    output: Pin<Box<dyn Future<Output = Held> + Send>>,
    /// Changes the error if the call ends during this wait.
    refuse: Box<dyn Fn(Error) -> Error + Send>,
}

impl Parked {
    pub(super) fn new(
        key: Option<String>,
        output: Pin<Box<dyn Future<Output = Held> + Send>>,
        refuse: Box<dyn Fn(Error) -> Error + Send>,
    ) -> Parked {
        Parked { key, output, refuse }
    }
}

/// The outcome of one run of a job.
enum Ended {
    Over(Result<Made>),
    /// It waits without a thread.
    Wait(Parked),
    /// It waits in the line of those that may last long.
    Long,
}

thread_local! {
    /// The job that runs on this thread.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

struct Current {
    job: Arc<Job>,
    /// How many operations this run of it has begun.
    operations: u32,
    /// How it gives the thread up when the run returns.
    gives_up: Option<Ended>,
}

/// The job that runs on this thread.
pub(super) fn current() -> Option<Arc<Job>> {
    CURRENT.with_borrow(|current| current.as_ref().map(|current| current.job.clone()))
}

/// The same, if it may give the thread up.
pub(super) fn parkable() -> Option<Arc<Job>> {
    CURRENT.with_borrow(|current| {
        let may = current.as_ref().filter(|run| run.operations <= 1 && run.gives_up.is_none());
        may.map(|current| current.job.clone())
    })
}

/// Counts an operation that begins on this thread. Says whether it may: not if the run has given the
/// thread up, because it will be repeated.
pub(super) fn begin_operation() -> bool {
    CURRENT.with_borrow_mut(|current| match current {
        Some(Current { gives_up: Some(_), .. }) => false,
        Some(current) => {
            current.operations += 1;
            true
        }
        None => true,
    })
}

fn give_up(ended: Ended) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current {
            current.gives_up = Some(ended);
        }
    });
}

/// The output of a future that is ready now.
pub(super) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Job {
    pub(super) fn new(
        group: u64,
        name: (&'static str, String),
        call: Call,
        run: Run,
        (queue, tag): (Arc<queue::Shared>, u64),
        slot: Option<Permit>,
        discard: Discard,
    ) -> Arc<Job> {
        let own = Own { run: Some(run), slot, ..Own::default() };
        Arc::new(Job {
            group,
            number: pool::next_number(),
            name,
            call,
            queue,
            tag,
            state: Mutex::new(State { phase: Phase::Queued, own }),
            parked: Mutex::new(None),
            wakes: AtomicUsize::new(0),
            long: AtomicBool::new(false),
            counts_as_long: AtomicBool::new(false),
            discard,
            lost: Arc::default(),
            watched: OnceLock::new(),
            completed: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the watchdog end its waits at the call's deadline, or when its handle is fired. Fails if no
    /// thread can be made for that.
    pub(super) fn watch(self: &Arc<Job>, limits: &Limits) -> Result<()> {
        if limits.deadline.is_none() && limits.cancel.is_none() {
            return Ok(());
        }
        let waker = Waker::from(Arc::new(Expire(Arc::downgrade(self))));
        let watched = watchdog::watch(limits.deadline, limits.cancel.clone(), waker);
        let watched = watched.ok_or_else(|| {
            Error::new(ErrorKind::Io, "no thread can be made that keeps the call's deadline")
        })?;
        let _ = self.watched.set(watched);
        Ok(())
    }

    /// Goes from one phase to another. Says whether it was in the first.
    fn advance(&self, from: Phase, to: Phase) -> bool {
        let mut state = self.state();
        let is_there = state.phase == from;
        if is_there {
            state.phase = to;
        }
        is_there
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().phase == Phase::Over
    }

    pub(super) fn is_completed(&self) -> bool {
        self.completed.load(Ordering::SeqCst)
    }

    /// Whether another thread runs it, or a thread completes it.
    pub(super) fn is_busy_elsewhere(&self) -> bool {
        match self.state().phase {
            Phase::Running(thread) => thread != thread::current().id(),
            // The thread that completes it then takes it off the client's list.
            Phase::Over => true,
            Phase::Queued | Phase::Parked => false,
        }
    }

    /// Whether it runs on this thread.
    pub(super) fn runs_here(&self) -> bool {
        self.state().phase == Phase::running_here()
    }

    /// Has it wait without a thread before it runs for the first time.
    pub(super) fn wait_first(self: &Arc<Job>, parked: Parked) {
        // If it is over, the watchdog has ended it, and it waits for nothing any more.
        drop(self.park(Phase::Queued, parked));
    }

    /// Has it wait without a thread, if it is in this phase; otherwise gives the wait back. A thread that
    /// wakes it finds both the wait and the phase, or neither.
    fn park(&self, from: Phase, parked: Parked) -> Option<Parked> {
        let mut waits = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.advance(from, Phase::Parked) {
            return Some(parked);
        }
        waits.replace(parked)
    }

    /// Runs it on this thread, unless it is over by now. Says whether it goes on the line of those that
    /// may last long.
    pub(super) fn run(self: &Arc<Job>) -> bool {
        if !self.advance(Phase::Queued, Phase::running_here()) {
            return false;
        }
        let Some(mut run) = self.state().own.run.take() else { return false };
        CURRENT.set(Some(Current { job: self.clone(), operations: 0, gives_up: None }));
        let result = catch_unwind(AssertUnwindSafe(|| run(&self.call)));
        let gives_up = CURRENT.take().and_then(|current| current.gives_up);
        let ended = match (result, gives_up) {
            (Err(_), _) => {
                Ended::Over(Err(Error::new(ErrorKind::Panic, "a submitted call panicked")))
            }
            (Ok(result), None) => Ended::Over(result),
            // Whatever it returns: its first operation is not over, and the next run repeats it all.
            (Ok(result), Some(gives_up)) => {
                result.into_iter().for_each(self.discard);
                gives_up
            }
        };
        match ended {
            Ended::Over(result) => {
                // The program's own values go with it.
                if catch_unwind(AssertUnwindSafe(|| drop(run))).is_err() {
                    log::error!("the end of a submitted call panicked");
                }
                let (name, subject) = &self.name;
                let ends = |phase| phase == Phase::running_here();
                self.finish(ends, result.at(name, subject));
                false
            }
            Ended::Wait(parked) => {
                self.state().own.run = Some(run);
                drop(self.park(Phase::running_here(), parked));
                // The watchdog may have come while it ran.
                self.expire();
                self.clone().wake();
                false
            }
            Ended::Long => {
                self.state().own.run = Some(run);
                self.advance(Phase::running_here(), Phase::Queued);
                self.expire();
                true
            }
        }
    }

    /// Completes it if its call's limits have ended its wait.
    pub(super) fn expire(self: &Arc<Job>) {
        if let Err(error) = self.call.limits(None).check() {
            self.end_wait(error);
        }
    }

    /// Completes it with this error if it waits, in the line or without a thread.
    pub(super) fn end_wait(self: &Arc<Job>, error: Error) {
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match &*parked {
            Some(parked) => (parked.refuse)(error),
            None => error,
        };
        drop(parked);
        let (name, subject) = &self.name;
        let error = error.at(name, subject);
        self.finish(|phase| matches!(phase, Phase::Queued | Phase::Parked), Err(error));
    }

    /// Ends it without a completion, unless the watchdog has completed it: the call is refused.
    pub(super) fn refuse(&self) -> bool {
        self.end(|phase| phase == Phase::Queued).is_some()
    }

    /// Ends it if it is in such a phase, and gives what it had.
    fn end(&self, is_in: fn(Phase) -> bool) -> Option<Own> {
        let mut state = self.state();
        if !is_in(state.phase) {
            return None;
        }
        state.phase = Phase::Over;
        Some(std::mem::take(&mut state.own))
    }

    /// Completes it if it is in such a phase.
    fn finish(self: &Arc<Job>, is_in: fn(Phase) -> bool, result: Result<Made>) {
        let Some(Own { run, slot, held, starts }) = self.end(is_in) else { return };
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(parked);
        let (made, error) = match result {
            Ok(made) => (Some(made), None),
            Err(error) => (None, Some(error)),
        };
        let message = Message::new(Body {
            error,
            result: made.map(|made| CallResult::new(made, self.discard)),
            ..Body::new(MessageKind::Done, 0)
        });
        self.queue.complete(message.tagged(self.tag, slot), &starts);
        // Release the lock after the completion, so that the next call on the container completes later.
        drop(held);
        self.completed.store(true, Ordering::SeqCst);
        if let Some(run) = run {
            // It may hold what takes long to drop, and this may be the watchdog's thread.
            pool::discard(Box::new(run));
        }
        pool::over(self);
    }

    /// What it holds under this key.
    pub(super) fn held(&self, key: &str) -> Option<Held> {
        let state = self.state();
        state.own.held.iter().find(|(of, _)| of == key).map(|(_, held)| held.clone())
    }

    /// Holds something under this key until it is over. Drops it if it is over already.
    pub(super) fn hold(&self, key: &str, held: Held) {
        let mut state = self.state();
        if state.phase != Phase::Over {
            state.own.held.push((key.to_owned(), held));
        }
    }

    /// Gives its thread up when its operation has returned, until the future is ready.
    pub(super) fn wait(&self, parked: Parked) {
        give_up(Ended::Wait(parked));
    }

    /// Gives its thread up when its operation has returned, until a long call may run.
    pub(super) fn wait_for_long(&self) {
        give_up(Ended::Long);
    }

    pub(super) fn begin_start(&self, container: Generation) {
        self.queue.begin_start(container);
        self.state().own.starts.push(container);
    }

    pub(super) fn report(&self, message: &Message) {
        if let Some(room) = self.queue.room() {
            self.queue.push(message.tagged(self.tag, Some(room)));
        } else if self.lost.add() {
            let dropped = Dropped::of(self.lost.clone());
            let body = Body { dropped, ..Body::new(MessageKind::Overflow, 0) };
            self.queue.push(Message::new(body).tagged(self.tag, None));
        }
    }
}

/// What it waits for is polled by the thread that wakes it, which may be gRPC's.
impl Wake for Job {
    fn wake(self: Arc<Self>) {
        if self.wakes.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            let answered = self.wakes.load(Ordering::SeqCst);
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            let ready = match parked.as_mut().map(|parked| parked.output.as_mut().poll(&mut cx)) {
                Some(Poll::Ready(output)) => parked.take().map(|parked| (parked.key, output)),
                _ => None,
            };
            drop(parked);
            if let Some((key, output)) = ready {
                if let Some(key) = key {
                    self.hold(&key, output);
                }
                if self.advance(Phase::Parked, Phase::Queued) {
                    pool::resume(self.clone());
                }
            }
            if self.wakes.fetch_sub(answered, Ordering::SeqCst) == answered {
                return;
            }
        }
    }
}

/// Wakes a job whose call's deadline has passed, or whose handle was fired.
struct Expire(Weak<Job>);

impl Wake for Expire {
    fn wake(self: Arc<Self>) {
        if let Some(job) = self.0.upgrade() {
            job.expire();
        }
    }
}
