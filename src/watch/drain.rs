//! Waiting for the output of processes that have ended, without a thread that blocks.

use std::sync::Arc;

use super::process::Watch;
use super::watches::Watches;
use crate::delivery::Job;

impl Watches {
    /// Runs a job once the output of a process that has ended is passed on. If the time for that is
    /// over first, which was chosen when the container was created, what is left is dropped. If the
    /// client is closed first, so is the job.
    pub(crate) fn run_drained(&self, watch: &Arc<Watch>, job: Job) {
        let bus = self.0.bus.clone();
        if watch.stdio().is_none() {
            return bus.run(job);
        }
        // Where no thread can be had, the output that is left is lost.
        let Ok(kept) = self.0.executor.keep() else { return bus.run(job) };
        let (watch, executor) = (watch.clone(), self.0.executor.clone());
        let drained = async move {
            watch.drained(&executor).await;
            bus.run(job);
            drop(kept);
        };
        if let Err(e) = self.0.executor.spawn(drained) {
            log::debug!("the output of a process is not waited for: {e}");
        }
    }

    /// Closes the streams of a process that has ended once its output is passed on.
    pub(super) fn close_drained(&self, watch: &Arc<Watch>) {
        if watch.stdio().is_some() {
            let its = watch.clone();
            self.run_drained(watch, Box::new(move || its.close_streams()));
        }
    }
}
