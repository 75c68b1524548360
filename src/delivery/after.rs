//! A job that follows a message: it runs when all hooks have handled the message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::threads::{Threads, Work};

/// A job of the library that may block and has no caller, such as a clean-up.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

impl Work for Job {
    fn work(self) -> Option<Job> {
        if catch_unwind(AssertUnwindSafe(self)).is_err() {
            log::error!("a job of the library panicked");
        }
        None
    }
}

/// Runs its job when the last hook that holds it has returned.
pub(crate) struct After {
    job: Mutex<Option<Job>>,
    threads: Threads<Job>,
}

impl After {
    pub(super) fn new(job: Option<Job>, threads: Threads<Job>) -> After {
        After { job: Mutex::new(job), threads }
    }

    /// Sets the job, also while hooks run.
    pub(crate) fn set(&self, job: Job) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }
}

impl Drop for After {
    fn drop(&mut self) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        job.into_iter().for_each(|job| self.threads.push(job));
    }
}
