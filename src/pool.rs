//! The worker threads of a client: for what may block and no caller is waiting for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::{Error, Result};
use crate::sys;

/// How many threads a pool has at most.
const MAX_THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads, made when there is work and none is idle. They block every signal.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    queue: Receiver<Job>,
    state: Mutex<State>,
}

struct State {
    /// Gone once the pool is closed: the workers then finish what is queued, and end.
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Jobs that are queued or run.
    jobs: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<()> {
        let mut state = self.state();
        let Some(queue) = state.queue.clone() else { return Ok(()) };
        if state.threads.len() < MAX_THREADS && state.jobs >= state.threads.len() {
            let shared = self.clone();
            let name = format!("{}-{}", self.name, state.threads.len());
            let thread = sys::with_signals_blocked(|| {
                std::thread::Builder::new().name(name).spawn(move || shared.work())
            });
            match thread {
                Ok(thread) => state.threads.push(thread),
                // The others will come to it.
                Err(_) if !state.threads.is_empty() => {}
                Err(e) => return Err(Error::io("starting a thread", e)),
            }
        }
        state.jobs += 1;
        // The receiver lives as long as `self`.
        let _ = queue.send(job);
        Ok(())
    }

    fn work(&self) {
        while let Ok(job) = self.queue.recv() {
            // A panicking job must not take the thread with it: others rely on it.
            let _ = catch_unwind(AssertUnwindSafe(job));
            self.state().jobs -= 1;
        }
    }
}

impl Pool {
    /// A pool without threads yet.
    pub(crate) fn new(name: &'static str) -> Pool {
        let (sender, queue) = unbounded();
        let state = State { queue: Some(sender), threads: Vec::new(), jobs: 0 };
        Pool { shared: Arc::new(Shared { name, queue, state: Mutex::new(state) }) }
    }

    /// Runs `job` on a worker. After the close it is dropped.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        self.shared.submit(Box::new(job))
    }

    /// Lets the jobs that are queued run to their end, and ends the threads.
    pub(crate) fn close(&self) {
        let threads = {
            let mut state = self.shared.state();
            state.queue = None;
            std::mem::take(&mut state.threads)
        };
        let me = std::thread::current().id();
        for thread in threads {
            // The last reference may be dropped by a worker, which cannot wait for itself.
            if thread.thread().id() != me {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn runs_what_is_queued_before_it_closes() {
        let pool = Pool::new("test");
        let (sender, receiver) = unbounded();
        for i in 0..100 {
            let sender = sender.clone();
            pool.run(move || sender.send(i).unwrap()).unwrap();
        }
        pool.close();
        pool.run(|| unreachable!("the pool is closed")).unwrap();
        drop(sender);
        assert_eq!(receiver.iter().count(), 100);
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = Pool::new("test");
        std::panic::set_hook(Box::new(|_| {}));
        for _ in 0..2 * MAX_THREADS {
            pool.run(|| panic!("on purpose")).unwrap();
        }
        let together = Arc::new(Barrier::new(MAX_THREADS + 1));
        for _ in 0..MAX_THREADS {
            let together = together.clone();
            pool.run(move || {
                together.wait();
            })
            .unwrap();
        }
        together.wait();
    }
}
