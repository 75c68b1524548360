//! One watched process: what is known about it, the callers that wait for its exit, and the job that
//! runs after the exit.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::pidfd::{self, Pidfd};
use crate::call::Limits;
use crate::delivery::{self, Bus, Job};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::message::Message;
use crate::stdio::{self, Attached, FifoDir, Paths};
use crate::wait::block_on;

/// How long a process whose Wait is unreliable is looked up again and again.
const UNRELIABLE: Duration = Duration::from_secs(10);

/// How long the shim may take to pass on what it still holds of output that is dropped: until then it
/// is counted.
const DISCARD: Duration = Duration::from_millis(100);

/// If a Wait breaks off again within this time, the pause before the next one grows.
const BREAK_COUNTS: Duration = Duration::from_secs(10);

/// The container of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) container: String,
}

/// What tells a process from another one of the same container id.
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The generation of the container that it belongs to. It changes if another client replaces the
    /// record while the process runs.
    generation: Mutex<String>,
    /// `None` once the exit is known.
    pidfd: Mutex<Option<Pidfd>>,
}

impl Process {
    pub(crate) fn new(pid: u32, generation: String, pidfd: Option<Pidfd>) -> Process {
        Process { pid, generation: Mutex::new(generation), pidfd: Mutex::new(pidfd) }
    }

    pub(crate) fn generation(&self) -> String {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_generation(&self, generation: String) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pidfd>> {
        self.pidfd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state, as the kernel reports it.
    pub(super) fn state(&self) -> pidfd::State {
        self.lock().as_ref().map_or(pidfd::State::Unknown, Pidfd::state)
    }

    /// Whether both are the same process.
    pub(super) fn is(&self, other: &Process) -> bool {
        self.pid == other.pid && self.generation() == other.generation()
    }
}

/// A job for the time after the exit of a process, when the hooks have returned.
pub(crate) type AfterExit = Box<dyn FnOnce(Arc<Watch>) + Send>;

/// The watch of one process: the container's first one.
pub(crate) struct Watch {
    pub(super) key: Key,
    pub(crate) process: Process,
    /// The paths of its streams that the shim got, if they are known.
    paths: OnceLock<Paths>,
    /// The streams that this client pumps.
    stdio: OnceLock<Attached>,
    /// Whether it is known to have been started, and not only created.
    started: AtomicBool,
    /// See [`Watch::hold_exit`].
    exit_held: AtomicBool,
    after_exit: Mutex<AfterExitState>,
    state: Mutex<State>,
}

impl Watch {
    pub(super) fn new(key: Key, process: Process) -> Watch {
        Watch {
            key,
            process,
            paths: OnceLock::new(),
            stdio: OnceLock::new(),
            started: AtomicBool::new(false),
            exit_held: AtomicBool::new(false),
            after_exit: Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container's id.
    pub(crate) fn container(&self) -> &str {
        &self.key.container
    }

    /// Whether its shim copies any stream.
    pub(crate) fn has_streams(&self) -> bool {
        let given = |paths: &Paths| !paths.stdout.is_empty() || !paths.stdin.is_empty();
        self.stdio.get().is_some() || self.paths.get().is_some_and(given)
    }

    /// The streams that this client pumps.
    pub(crate) fn stdio(&self) -> Option<&Attached> {
        self.stdio.get()
    }

    /// Closes the streams, and removes the FIFOs, also those that another program has left. Called when
    /// the task is deleted.
    pub(crate) fn close_stdio(&self, dir: FifoDir<'_>) {
        match (self.stdio.get(), self.paths.get()) {
            (Some(stdio), _) => stdio.close(),
            (None, Some(paths)) => stdio::remove_fifos(dir.state_dir, paths),
            // No task has named their paths.
            (None, None) => stdio::remove_fifo_sets_of(dir, &self.key.container, None),
        }
    }

    /// Waits until the output of a process that has ended is passed on, at most for this time. After
    /// it, what is left is dropped and counted as lost. Fails if the limits end the wait before: then
    /// nothing is dropped.
    pub(crate) fn drain(&self, time: Duration, limits: &Limits) -> Result<()> {
        let Some(stdio) = self.stdio() else { return Ok(()) };
        if stdio.drain(&limits.at_most(time)).is_err() {
            limits.check()?;
            stdio.discard();
            let _ = stdio.drain(&limits.at_most(DISCARD));
        }
        Ok(())
    }

    /// Waits without blocking until the output of a process that has ended is passed on, at most for the
    /// time that was chosen when the container was created.
    pub(super) async fn drained(&self, executor: &Executor) {
        if let Some(stdio) = self.stdio() {
            executor.within(stdio.drain_time(), stdio.drained()).await;
        }
    }

    /// Closes the streams that this client passes on, and removes their FIFOs.
    pub(crate) fn close_streams(&self) {
        self.stdio().into_iter().for_each(Attached::close);
    }

    /// Sets what is known about its streams. What was set before stays.
    pub(super) fn set_streams(&self, paths: Option<Paths>, stdio: Option<Attached>) {
        paths.into_iter().for_each(|paths| drop(self.paths.set(paths)));
        stdio.into_iter().for_each(|stdio| drop(self.stdio.set(stdio)));
    }

    /// Notes that its process runs, or has run.
    pub(super) fn set_started(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    /// Notes that its process runs, or has run, and starts to pump its input.
    pub(crate) fn note_start(&self) -> Result<()> {
        self.set_started();
        self.stdio().map_or(Ok(()), Attached::start_input)
    }

    /// Whether the process is known to have been started. Another client may have started it unnoticed.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Notes that containerd may never answer the Wait: a deletion of the task broke off, or the
    /// task had no process that could be signalled.
    pub(super) fn set_wait_unreliable(&self) {
        self.lock().unreliable_until = Some(Instant::now() + UNRELIABLE);
    }

    pub(super) fn is_wait_unreliable(&self) -> bool {
        self.lock().unreliable_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn is_exit_held(&self) -> bool {
        self.exit_held.load(Ordering::SeqCst)
    }

    /// Until the drop, an exit that the server reports is not passed on: the caller is about to
    /// find out by itself how the process ended.
    pub(crate) fn hold_exit(&self) -> ExitHold<'_> {
        self.exit_held.store(true, Ordering::SeqCst);
        ExitHold(self)
    }

    /// The exit, if it is known and no caller has got it yet. Then it is the exit of the process
    /// that the caller means, even if the id has another process by now.
    pub(crate) fn take_unseen_exit(&self) -> Option<Message> {
        let exit = {
            let mut state = self.lock();
            let exit = state.exit.clone().filter(|_| !state.seen);
            state.seen |= exit.is_some();
            exit
        };
        exit.map(|message| self.with_output_lost(message))
    }

    /// The exit, if it is known.
    pub(crate) fn exit(&self) -> Option<Message> {
        let known = self.lock().exit.clone();
        known.map(|message| self.with_output_lost(message))
    }

    /// The message with the loss that is known by now.
    pub(super) fn with_output_lost(&self, message: Message) -> Message {
        match self.stdio() {
            Some(stdio) => message.with_output_lost(stdio.lost()),
            None => message,
        }
    }

    /// Waits for the exit.
    pub(crate) fn wait(self: &Arc<Self>, limits: &Limits) -> Result<Message> {
        block_on(limits, self.waiting())?
    }

    /// A future that gives the exit.
    pub(crate) fn waiting(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        ExitWait { watch: self.clone(), number: None }
    }

    /// Sets the job for the time after the exit. A watch runs at most one: the first that is set.
    pub(super) fn set_after_exit(self: &Arc<Self>, bus: &Bus, job: Option<AfterExit>) {
        let Some(job) = job else { return };
        let publication = {
            let mut after = self.lock_after_exit();
            if after.is_set {
                return;
            }
            after.is_set = true;
            match &after.publication {
                None => {
                    after.job = Some(job);
                    return;
                }
                // The exit was published before: a caller had probed the process without a job.
                Some(publication) => publication.upgrade(),
            }
        };
        let job = self.bind(job);
        match publication {
            Some(publication) => publication.set(job),
            None => bus.run(job),
        }
    }

    fn bind(self: &Arc<Self>, job: AfterExit) -> Job {
        let watch = self.clone();
        Box::new(move || job(watch))
    }

    /// What the bus runs after the hooks, now that the exit is published.
    pub(super) fn take_after_exit(self: &Arc<Self>, bus: &Bus) -> Arc<delivery::After> {
        let mut after = self.lock_after_exit();
        let publication = bus.after(after.job.take().map(|job| self.bind(job)));
        after.publication = Some(Arc::downgrade(&publication));
        publication
    }

    fn lock_after_exit(&self) -> MutexGuard<'_, AfterExitState> {
        self.after_exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the exit, and wakes the callers that wait for it. Says whether it was the first exit: a
    /// process exits once.
    pub(super) fn set_exit(&self, message: &Message) -> bool {
        let mut is_first = false;
        self.change(|state| {
            is_first = state.exit.is_none() && state.over.is_none();
            if is_first {
                state.exit = Some(message.clone());
            }
        });
        if is_first {
            drop(self.process.lock().take());
        }
        is_first
    }

    /// Ends the watch: the callers that wait get this error, unless the exit is known.
    pub(super) fn end(&self, why: Error) {
        self.change(|state| {
            state.over.get_or_insert(why);
        });
    }

    /// Changes the state, and then wakes everybody that waits for a change.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken: Vec<Waker> = {
            let mut state = self.lock();
            change(&mut state);
            let wait_waker = state.wait_waker.take();
            state.waiters.drain().map(|(_, waker)| waker).chain(wait_waker).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether the Wait is not needed any more. Otherwise its future is woken when that changes.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        if state.exit.is_some() || state.over.is_some() {
            return true;
        }
        state.wait_waker = Some(cx.waker().clone());
        false
    }

    pub(super) fn is_wait_outstanding(&self) -> bool {
        self.lock().wait_outstanding
    }

    /// Whether the exit is known, or the watch has ended without one.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.exit.is_some() || state.over.is_some()
    }
}

/// The job for the time after the exit.
#[derive(Default)]
struct AfterExitState {
    is_set: bool,
    job: Option<AfterExit>,
    /// Set when the exit is published; alive as long as a hook runs with it.
    publication: Option<Weak<delivery::After>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) exit: Option<Message>,
    /// Whether a caller has got the exit.
    seen: bool,
    /// Whether the container is gone, and the exit is kept for a while.
    pub(super) retired: bool,
    /// Why there will be no exit: the client was closed, or the watch was given up.
    over: Option<Error>,
    /// The callers that wait, each by a number of its own.
    waiters: HashMap<u64, Waker>,
    next_waiter: u64,
    /// Whether a Wait is outstanding, and what wakes the future that has it.
    wait_outstanding: bool,
    wait_waker: Option<Waker>,
    /// When a Wait broke off last, and the pause after that.
    last_break: Option<(Instant, Duration)>,
    /// When the process was first seen to have exited without an exit code.
    ending: Option<Instant>,
    /// When containerd's list was first found to lack the process, which was not seen to exit.
    pub(super) absent: Option<Instant>,
    /// Until when an outstanding Wait is unreliable.
    unreliable_until: Option<Instant>,
    queued: Queued,
}

impl State {
    pub(super) fn ending_since(&mut self) -> Instant {
        *self.ending.get_or_insert_with(Instant::now)
    }

    /// Notes that the watch needs a look-up. Says whether the caller must put it on the queue: it
    /// is there at most once.
    pub(super) fn enqueue(&mut self) -> bool {
        let is_new = self.queued == Queued::No;
        self.queued = if is_new { Queued::Yes } else { Queued::Again };
        is_new
    }

    /// Notes that the look-up is done. Says whether the watch must stay on the queue nevertheless.
    pub(super) fn dequeue(&mut self) -> bool {
        let stays = self.queued == Queued::Again && self.exit.is_none() && self.over.is_none();
        self.queued = if stays { Queued::Yes } else { Queued::No };
        stays
    }

    /// Counts a Wait that broke off. Gives the pause before the look-up: none the first time.
    pub(super) fn count_break(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let now = Instant::now();
        let pause = match self.last_break {
            Some((at, pause)) if now.duration_since(at) < BREAK_COUNTS => {
                (pause * 2).clamp(first, longest)
            }
            _ => Duration::ZERO,
        };
        self.last_break = Some((now, pause));
        pause
    }
}

/// Whether a watch is on the queue of those that are looked up.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Queued {
    #[default]
    No,
    Yes,
    /// It is on the queue, and another look-up was asked for since.
    Again,
}

/// The outstanding Wait of a watch. The drop ends it.
pub(super) struct WaitGuard(Arc<Watch>);

impl WaitGuard {
    /// `None` if a Wait is outstanding already.
    pub(super) fn new(watch: &Arc<Watch>) -> Option<WaitGuard> {
        let was_outstanding = std::mem::replace(&mut watch.lock().wait_outstanding, true);
        (!was_outstanding).then(|| WaitGuard(watch.clone()))
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.lock().wait_outstanding = false;
    }
}

/// See [`Watch::hold_exit`].
pub(crate) struct ExitHold<'a>(&'a Watch);

impl Drop for ExitHold<'_> {
    fn drop(&mut self) {
        self.0.exit_held.store(false, Ordering::SeqCst);
    }
}

/// One caller that waits for the exit.
struct ExitWait {
    watch: Arc<Watch>,
    number: Option<u64>,
}

impl Future for ExitWait {
    type Output = Result<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let this = &mut *self;
        let mut state = this.watch.lock();
        if let Some(message) = state.exit.clone() {
            state.seen = true;
            return Poll::Ready(Ok(this.watch.with_output_lost(message)));
        }
        if let Some(why) = &state.over {
            return Poll::Ready(Err(why.clone()));
        }
        let number = *this.number.get_or_insert_with(|| {
            state.next_waiter += 1;
            state.next_waiter
        });
        state.waiters.insert(number, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ExitWait {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.watch.lock().waiters.remove(&number);
        }
    }
}
