//! Threads for one sort of work: hooks, or jobs of the library.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::sys;
use crate::wait::wait_while;

/// How long an idle thread waits for work before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// Work for a thread.
pub(super) trait Work: Sized + Send + 'static {
    /// Does the work, or a part of it. Returns the rest, which comes after other work that waits.
    /// Must not panic.
    fn work(self) -> Option<Self>;
}

/// Threads for one sort of work. They are made on demand, and end when they are idle.
pub(super) struct Threads<W>(Arc<Shared<W>>);

impl<W> Clone for Threads<W> {
    fn clone(&self) -> Threads<W> {
        Threads(self.0.clone())
    }
}

struct Shared<W> {
    executor: Executor,
    /// The beginning of the threads' names.
    name: &'static str,
    /// The highest number of threads.
    most: usize,
    state: Mutex<State<W>>,
    changed: Condvar,
    ended: Condvar,
    /// Whether work waits because a thread could not be made.
    starved: AtomicBool,
}

/// The pause before the next attempt to make a thread.
const RETRY: Duration = Duration::from_millis(100);

struct State<W> {
    waiting: VecDeque<W>,
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

impl<W> Default for State<W> {
    fn default() -> State<W> {
        State {
            waiting: VecDeque::new(),
            threads: Vec::new(),
            running: 0,
            idle: 0,
            starting: 0,
            made: 0,
            retried: false,
            closed: false,
        }
    }
}

impl<W: Work> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, work: W) -> Result<()> {
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
    fn make_thread(self: &Arc<Self>, state: &mut State<W>) -> Result<()> {
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
                let rest = work.work();
                state = self.lock();
                if state.closed {
                    drop(state);
                    drop(rest);
                    state = self.lock();
                } else {
                    // Add it at the end, so that other work gets its turn. This thread is free to take
                    // it.
                    state.waiting.extend(rest);
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

impl<W: Work> Threads<W> {
    /// At most `most` threads, whose names begin with `name`. If no thread can be made, `executor`
    /// tries again later.
    pub(super) fn new(executor: Executor, name: &'static str, most: usize) -> Threads<W> {
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

    /// Has a thread do the work. After the close it drops the work.
    pub(super) fn push(&self, work: W) {
        if let Err(e) = self.0.push(work) {
            log::warn!("work for the threads {} has to wait: {e}", self.0.name);
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

    /// Waits until the threads have ended. Each ends when the work that it does is over.
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
