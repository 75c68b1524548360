//! One watched process: a container's first one, or an exec. What is known about it, and the job that
//! runs after its exit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::identity::{Generation, Key, Process};
use super::pidfd::{self, Pidfd};
use crate::delivery::{self, Bus, Job};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::stdio::{Attached, Paths};

/// How long a process whose Wait is unreliable is looked up again and again.
const UNRELIABLE: Duration = Duration::from_secs(10);

/// If a Wait breaks off again within this time, the pause before the next one grows.
const BREAK_COUNTS: Duration = Duration::from_secs(10);

/// A job for the time after the exit of a process, when the hooks have returned.
pub(crate) type AfterExit = Box<dyn FnOnce(Arc<Watch>) + Send>;

/// The watch of one process.
pub(crate) struct Watch {
    pub(super) key: Key,
    pub(crate) pid: u32,
    pub(super) generation: Generation,
    state: Mutex<State>,
}

pub(super) struct State {
    phase: Phase,
    /// `None` also once the watch has ended.
    pidfd: Option<Pidfd>,
    pub(super) streams: Streams,
    after_exit: AfterExitState,
    pub(super) waiters: Waiters,
    wait: WaitState,
    /// When the process was first seen to have exited without an exit code.
    ending: Option<Instant>,
    /// When containerd's list was first found to lack the process, which was not seen to exit.
    pub(super) absent: Option<Instant>,
    queued: Queued,
}

/// How far the process is, as far as this client knows.
enum Phase {
    /// It was created. Another client may have started it unnoticed.
    Created,
    /// It was created, and a call deletes it. See [`Watch::hold_exit`].
    Held,
    /// It was started.
    Started,
    Ended(End),
}

/// The end of a watch.
struct End {
    /// The exit, or why there will be none: the client was closed, or the watch was given up.
    how: Result<Message>,
    /// Whether the process is known to have been started.
    started: bool,
    /// Whether a caller has got the exit.
    seen: bool,
    /// Whether the server has forgotten the process, and the exit is kept for a while.
    retired: bool,
}

/// The job for the time after the exit. A watch runs at most one.
enum AfterExitState {
    None,
    /// It waits for the exit.
    Set(AfterExit),
    /// The exit was published without a job. Alive as long as a hook runs with it.
    Published(Weak<delivery::After>),
    /// It was given to the bus.
    Given,
}

/// The streams of a process, as far as they are known.
#[derive(Default)]
pub(super) struct Streams {
    /// The paths that the shim got, if they are known.
    pub(super) paths: Option<Paths>,
    /// The streams that this client pumps.
    pub(super) stdio: Option<Arc<Attached>>,
}

/// What wakes the callers that wait for the exit, each with a number of its own.
#[derive(Default)]
pub(super) struct Waiters {
    pub(super) wakers: HashMap<u64, Waker>,
    pub(super) next: u64,
}

/// The Wait at the server.
#[derive(Default)]
struct WaitState {
    outstanding: bool,
    /// What wakes the future that has it.
    waker: Option<Waker>,
    /// When it broke off last, and the pause after that.
    last_break: Option<(Instant, Duration)>,
    /// Until when it is unreliable.
    unreliable_until: Option<Instant>,
}

/// Whether a watch is on the queue of those that are looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queued {
    No,
    Yes,
    /// It is on the queue, and another look-up was asked for since.
    Again,
}

impl Watch {
    pub(super) fn new(key: Key, process: Process) -> Watch {
        let Process { pid, generation, pidfd, .. } = process;
        let state = State {
            phase: Phase::Created,
            pidfd,
            streams: Streams::default(),
            after_exit: AfterExitState::None,
            waiters: Waiters::default(),
            wait: WaitState::default(),
            ending: None,
            absent: None,
            queued: Queued::No,
        };
        Watch { key, pid, generation, state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace of the container.
    pub(crate) fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// The container's id.
    pub(crate) fn container(&self) -> &str {
        &self.key.container
    }

    /// The exec's id, as requests have it: empty for a container's first process.
    pub(crate) fn exec_id(&self) -> &str {
        self.key.exec_id()
    }

    /// Whether it is the watch of this process, which has its name.
    pub(super) fn is_of(&self, process: &Process) -> bool {
        self.pid == process.pid && self.generation() == process.generation.get()
    }

    /// A process that is executed in the container whose first process this watch is of.
    pub(crate) fn exec(&self, exec: &str, pid: u32, pidfd: Option<Pidfd>) -> Process {
        Process { exec: Some(exec.into()), pid, generation: self.generation.clone(), pidfd }
    }

    /// The generation of the container that the process belongs to.
    pub(crate) fn generation(&self) -> String {
        self.generation.get()
    }

    /// The state of the process, as the kernel reports it.
    pub(super) fn kernel_state(&self) -> pidfd::State {
        self.lock().pidfd.as_ref().map_or(pidfd::State::Unknown, Pidfd::state)
    }

    /// Notes that the process runs, or has run.
    pub(super) fn set_started(&self) {
        match &mut self.lock().phase {
            Phase::Ended(end) => end.started = true,
            phase => *phase = Phase::Started,
        }
    }

    /// Whether the process is known to have been started. Another client may have started it unnoticed.
    pub(crate) fn is_started(&self) -> bool {
        self.lock().phase.is_started()
    }

    /// Until the drop, an exit that the server reports is not passed on: the caller deletes a process
    /// that was not started, and is about to find out by itself how it ended.
    pub(crate) fn hold_exit(&self) -> ExitHold<'_> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Created) {
            state.phase = Phase::Held;
        }
        ExitHold(self)
    }

    pub(super) fn is_exit_held(&self) -> bool {
        matches!(self.lock().phase, Phase::Held)
    }

    /// The exit, if it is known and no caller has got it yet. Then it is the exit of the process
    /// that the caller means, even if the id has another process by now.
    pub(crate) fn take_unseen_exit(&self) -> Option<Message> {
        let end = {
            let mut state = self.lock();
            if matches!(&state.phase, Phase::Ended(end) if !end.seen) {
                state.see_end()
            } else {
                None
            }
        };
        end?.ok().map(|message| self.with_output_lost(message))
    }

    /// The exit, if it is known.
    pub(crate) fn exit(&self) -> Option<Message> {
        let exit = self.lock().exit().cloned();
        exit.map(|message| self.with_output_lost(message))
    }

    /// Sets the exit, and wakes the callers that wait for it. Says whether it was the first exit: a
    /// process exits once.
    pub(super) fn set_exit(&self, message: &Message) -> bool {
        self.end_with(Ok(message.clone()))
    }

    /// Ends the watch: the callers that wait get this error, unless the exit is known.
    pub(super) fn end(&self, why: Error) {
        self.end_with(Err(why));
    }

    /// Ends the watch unless it has ended, and wakes everybody that waits for that.
    fn end_with(&self, how: Result<Message>) -> bool {
        let (pidfd, wakers) = {
            let mut state = self.lock();
            if state.is_over() {
                return false;
            }
            let started = state.phase.is_started();
            state.phase = Phase::Ended(End { how, started, seen: false, retired: false });
            let waiters = std::mem::take(&mut state.waiters.wakers).into_values();
            let wakers: Vec<Waker> = waiters.chain(state.wait.waker.take()).collect();
            (state.pidfd.take(), wakers)
        };
        drop(pidfd);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Whether the exit is known, or the watch has ended without one.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Whether the Wait is not needed any more. Otherwise its future is woken when that changes.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        let is_over = state.is_over();
        if !is_over {
            state.wait.waker = Some(cx.waker().clone());
        }
        is_over
    }

    pub(super) fn is_wait_outstanding(&self) -> bool {
        self.lock().wait.outstanding
    }

    /// Notes that containerd may never answer the Wait: a deletion of the task broke off, or the
    /// task had no process that could be signalled.
    pub(super) fn set_wait_unreliable(&self) {
        self.lock().wait.unreliable_until = Some(Instant::now() + UNRELIABLE);
    }

    pub(super) fn is_wait_unreliable(&self) -> bool {
        self.lock().wait.unreliable_until.is_some_and(|until| Instant::now() < until)
    }

    /// Sets the job for the time after the exit. A watch runs at most one: the first that is set.
    pub(super) fn set_after_exit(self: &Arc<Self>, bus: &Bus, job: Option<AfterExit>) {
        let Some(job) = job else { return };
        let publication = {
            let mut state = self.lock();
            match &state.after_exit {
                AfterExitState::None => {
                    state.after_exit = AfterExitState::Set(job);
                    return;
                }
                AfterExitState::Set(_) | AfterExitState::Given => return,
                // A caller had probed the process without a job.
                AfterExitState::Published(publication) => {
                    let publication = publication.upgrade();
                    state.after_exit = AfterExitState::Given;
                    publication
                }
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
        let mut state = self.lock();
        match std::mem::replace(&mut state.after_exit, AfterExitState::Given) {
            AfterExitState::Set(job) => bus.after(Some(self.bind(job))),
            _ => {
                let publication = bus.after(None);
                state.after_exit = AfterExitState::Published(Arc::downgrade(&publication));
                publication
            }
        }
    }
}

impl Phase {
    fn is_started(&self) -> bool {
        match self {
            Phase::Created | Phase::Held => false,
            Phase::Started => true,
            Phase::Ended(end) => end.started,
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    fn exit(&self) -> Option<&Message> {
        match &self.phase {
            Phase::Ended(end) => end.how.as_ref().ok(),
            _ => None,
        }
    }

    /// How the watch ended, for a caller.
    pub(super) fn see_end(&mut self) -> Option<Result<Message>> {
        match &mut self.phase {
            Phase::Ended(end) => {
                end.seen = true;
                Some(end.how.clone())
            }
            _ => None,
        }
    }

    /// Whether the exit is known, and is not kept for a while only.
    pub(super) fn has_lasting_exit(&self) -> bool {
        matches!(&self.phase, Phase::Ended(End { how: Ok(_), retired: false, .. }))
    }

    /// Sets whether the exit is kept for a while only. Says whether that has changed.
    pub(super) fn set_retired(&mut self, retired: bool) -> bool {
        match &mut self.phase {
            Phase::Ended(end) => std::mem::replace(&mut end.retired, retired) != retired,
            _ => false,
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        matches!(&self.phase, Phase::Ended(End { retired: true, .. }))
    }

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
        let stays = self.queued == Queued::Again && !self.is_over();
        self.queued = if stays { Queued::Yes } else { Queued::No };
        stays
    }

    /// Counts a Wait that broke off. Gives the pause before the look-up: none the first time.
    pub(super) fn count_break(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let now = Instant::now();
        let pause = match self.wait.last_break {
            Some((at, pause)) if now.duration_since(at) < BREAK_COUNTS => {
                (pause * 2).clamp(first, longest)
            }
            _ => Duration::ZERO,
        };
        self.wait.last_break = Some((now, pause));
        pause
    }
}

/// The outstanding Wait of a watch. The drop ends it.
pub(super) struct WaitGuard(Arc<Watch>);

impl WaitGuard {
    /// `None` if a Wait is outstanding already.
    pub(super) fn new(watch: &Arc<Watch>) -> Option<WaitGuard> {
        let was_outstanding = std::mem::replace(&mut watch.lock().wait.outstanding, true);
        (!was_outstanding).then(|| WaitGuard(watch.clone()))
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.lock().wait.outstanding = false;
    }
}

/// See [`Watch::hold_exit`].
pub(crate) struct ExitHold<'a>(&'a Watch);

impl Drop for ExitHold<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(state.phase, Phase::Held) {
            state.phase = Phase::Created;
        }
    }
}
