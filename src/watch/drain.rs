//! Waiting for the output of processes that have ended, without a thread that blocks.

use std::sync::Arc;
use std::time::Duration;

use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::delivery::Job;

impl Watches {
    /// Runs a job once the output of a process that has ended is passed on, or the time for that is over
    /// which was chosen when the container was created. If the client is closed first, the job is
    /// dropped.
    pub(crate) fn run_drained(&self, watch: &Arc<Watch>, job: Job) {
        let bus = self.0.bus.clone();
        if watch.stdio().is_none() {
            return bus.run(job);
        }
        // If no thread can be made, the job does not wait for the output.
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
            let close = move || {
                let _ = its.drain(Duration::ZERO, &Limits::default());
                its.close_streams();
            };
            self.run_drained(watch, Box::new(close));
        }
    }
}
