//! The threads that run hooks, and jobs that may block and have no caller.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::hook::SharedHook;
use crate::call::Limits;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::sys;
use crate::wait::wait_while;

/// The highest number of threads. A hook takes one thread at a time, so this many hooks may hang
/// before others wait.
const MAX_THREADS: usize = 16;

/// How many threads may run jobs at once. A job may take as long as a call, and hooks must not wait
/// for that.
const MAX_JOBS: usize = 4;

/// How long an idle thread waits for work before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// How many messages a hook handles before another hook gets its turn.
const TURN: usize = 64;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

enum Work {
    Hook(SharedHook),
    Job(Job),
}

#[derive(Clone)]
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    executor: Executor,
    state: Mutex<State>,
    changed: Condvar,
    ended: Condvar,
    /// Whether work waits because a thread could not be made.
    starved: AtomicBool,
}

/// The pause before the next attempt to make a thread.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    hooks: VecDeque<SharedHook>,
    jobs: VecDeque<Job>,
    /// How many threads run jobs.
    at_jobs: usize,
    threads: Vec<JoinHandle<()>>,
    /// How many threads exist, and how many of them are idle.
    running: usize,
    idle: usize,
    /// How many threads were made and have not begun yet.
    starting: usize,
    made: usize,
    /// Whether the executor will try again to make a thread.
    retried: bool,
    closed: bool,
}

impl State {
    /// Takes the next piece of work.
    fn pop(&mut self) -> Option<Work> {
        if let Some(hook) = self.hooks.pop_front() {
            return Some(Work::Hook(hook));
        }
        let job = if self.at_jobs < MAX_JOBS { self.jobs.pop_front() } else { None };
        self.at_jobs += usize::from(job.is_some());
        job.map(Work::Job)
    }

    fn put(&mut self, work: Work) {
        match work {
            Work::Hook(hook) => self.hooks.push_back(hook),
            Work::Job(job) => self.jobs.push_back(job),
        }
    }

    /// How much work waits that a thread may take.
    fn waiting(&self) -> usize {
        self.hooks.len() + self.jobs.len().min(MAX_JOBS.saturating_sub(self.at_jobs))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, work: Work) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            // This may drop the last reference to a function of the host, so the lock is released
            // before.
            drop(work);
            return Ok(());
        }
        state.put(work);
        let made = self.make_thread(&mut state);
        drop(state);
        self.changed.notify_one();
        made
    }

    /// Makes a thread if more work waits than there are threads for it. If no thread can be made,
    /// tries again later.
    fn make_thread(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.waiting() <= state.idle + state.starting || state.running >= MAX_THREADS {
            return Ok(());
        }
        let shared = self.clone();
        let name = format!("ctrd-hook-{}", state.made % 1_000_000);
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name(name).spawn(move || shared.run())
        });
        match thread {
            Ok(thread) => {
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                state.running += 1;
                state.starting += 1;
                state.made += 1;
                Ok(())
            }
            Err(e) => {
                self.starved.store(true, Ordering::SeqCst);
                if !std::mem::replace(&mut state.retried, true) && !self.retry_later() {
                    state.retried = false;
                }
                Err(Error::io("starting a thread", e))
            }
        }
    }

    /// Makes the executor's thread try again until a thread can be made. Returns whether it will.
    /// It does not if the executor has no thread, which it has only while it has tasks; then the
    /// next call of [`Threads::retry`] tries again.
    fn retry_later(self: &Arc<Self>) -> bool {
        let (executor, shared) = (self.executor.clone(), Arc::downgrade(self));
        let retry = async move {
            loop {
                executor.sleep(RETRY).await;
                let Some(shared) = shared.upgrade() else { return };
                Threads(shared.clone()).retry();
                let mut state = shared.lock();
                if !shared.starved.load(Ordering::SeqCst) {
                    state.retried = false;
                    return;
                }
            }
        };
        self.executor.spawn(retry).is_ok()
    }

    fn run(self: &Arc<Self>) {
        let mut state = self.lock();
        state.starting -= 1;
        loop {
            if let Some(work) = state.pop() {
                drop(state);
                match work {
                    Work::Hook(hook) => {
                        let (_, more) = hook.run(TURN);
                        let unfinished = more.then_some(hook);
                        state = self.lock();
                        if state.closed {
                            drop(state);
                            drop(unfinished);
                            state = self.lock();
                        } else {
                            // Add it at the end, so that another hook gets its turn. This thread is
                            // free to take it.
                            state.hooks.extend(unfinished);
                        }
                    }
                    Work::Job(job) => {
                        if catch_unwind(AssertUnwindSafe(job)).is_err() {
                            log::error!("a job of the library panicked");
                        }
                        state = self.lock();
                        state.at_jobs -= 1;
                    }
                }
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (new, timeout) =
                self.changed.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = new;
            state.idle -= 1;
            if timeout.timed_out() && state.waiting() == 0 {
                break;
            }
        }
        state.running -= 1;
        drop(state);
        self.ended.notify_all();
    }
}

impl Threads {
    pub(super) fn new(executor: Executor) -> Threads {
        Threads(Arc::new(Shared {
            executor,
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            starved: AtomicBool::new(false),
        }))
    }

    /// Wakes a thread for the hook.
    pub(super) fn wake(&self, hook: SharedHook) {
        if let Err(e) = self.0.push(Work::Hook(hook)) {
            log::warn!("a hook has to wait: {e}");
        }
    }

    /// Tries again to make threads if that failed before.
    pub(super) fn retry(&self) {
        if !self.0.starved.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut state = self.0.lock();
        // Make one for each piece of waiting work, because the first ones may take long.
        for _ in state.idle..state.waiting() {
            if self.0.make_thread(&mut state).is_err() {
                break;
            }
        }
    }

    /// Runs a job on a thread. After the close it drops the job.
    pub(super) fn run(&self, job: Job) {
        if let Err(e) = self.0.push(Work::Job(job)) {
            log::warn!("a job of the library has to wait: {e}");
        }
    }

    /// Lets no further work begin.
    pub(super) fn shut(&self) {
        let work = {
            let mut state = self.0.lock();
            state.closed = true;
            (std::mem::take(&mut state.hooks), std::mem::take(&mut state.jobs))
        };
        self.0.changed.notify_all();
        drop(work);
    }

    /// Waits until the threads have ended. Each ends when the hook or job that it runs returns.
    pub(super) fn end(&self, limits: &Limits) -> Result<()> {
        let mut state = wait_while(&self.0.ended, self.0.lock(), limits, |s| s.running > 0)
            .map_err(|e| e.context("a hook still runs"))?;
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().running
    }
}
