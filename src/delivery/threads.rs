//! The threads that run hooks, and those that run the library's own jobs, such as clean-ups.

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

/// How many hooks may run at once. Hooks that hang make other hooks wait, but no job.
const MAX_HOOKS: usize = 16;

/// How many jobs may run at once. A job may take as long as a call, and no hook waits for that.
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

/// Threads for one sort of work. They are made on demand, and end when they are idle.
#[derive(Clone)]
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    executor: Executor,
    /// The beginning of the threads' names.
    name: &'static str,
    /// The highest number of threads.
    most: usize,
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
    waiting: VecDeque<Work>,
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
        state.waiting.push_back(work);
        let made = self.make_thread(&mut state);
        drop(state);
        self.changed.notify_one();
        made
    }

    /// Makes a thread if more work waits than there are threads for it. If no thread can be made,
    /// tries again later.
    fn make_thread(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.waiting.len() <= state.idle + state.starting || state.running >= self.most {
            return Ok(());
        }
        let shared = self.clone();
        let name = format!("{}-{}", self.name, state.made % 1_000_000);
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
            if let Some(work) = state.waiting.pop_front() {
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
                            state.waiting.extend(unfinished.map(Work::Hook));
                        }
                    }
                    Work::Job(job) => {
                        if catch_unwind(AssertUnwindSafe(job)).is_err() {
                            log::error!("a job of the library panicked");
                        }
                        state = self.lock();
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
            if timeout.timed_out() && state.waiting.is_empty() {
                break;
            }
        }
        state.running -= 1;
        drop(state);
        self.ended.notify_all();
    }
}

impl Threads {
    /// The threads that run hooks. If no thread can be made, `executor` tries again later.
    pub(super) fn of_hooks(executor: Executor) -> Threads {
        Threads::new(executor, "ctrd-hook", MAX_HOOKS)
    }

    /// The threads that run jobs.
    pub(super) fn of_jobs(executor: Executor) -> Threads {
        Threads::new(executor, "ctrd-job", MAX_JOBS)
    }

    fn new(executor: Executor, name: &'static str, most: usize) -> Threads {
        Threads(Arc::new(Shared {
            executor,
            name,
            most,
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
        for _ in state.idle..state.waiting.len() {
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
            std::mem::take(&mut state.waiting)
        };
        self.0.changed.notify_all();
        drop(work);
    }

    /// Waits until the threads have ended. Each ends when the hook or job that it runs returns.
    pub(super) fn end(&self, limits: &Limits) -> Result<()> {
        let mut state = wait_while(&self.0.ended, self.0.lock(), limits, |s| s.running > 0)
            .map_err(|e| e.context("a hook or a clean-up still runs"))?;
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
