//! The streams of one watched process: passing on what is left of its output, and closing them.

use std::sync::Arc;
use std::time::Duration;

use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::delivery::Job;
use crate::error::Result;
use crate::executor::Executor;
use crate::message::Message;
use crate::stdio::{self, Attached, FifoDir, Paths};

/// How long the shim may take to pass on what it still holds of output that is dropped: until then it
/// is counted.
const DISCARD: Duration = Duration::from_millis(100);

impl Watch {
    /// Sets what is known about its streams. What was set before stays.
    pub(super) fn set_streams(&self, paths: Option<Paths>, stdio: Option<Attached>) {
        let stdio = stdio.map(Arc::new);
        let unused = {
            let mut state = self.lock();
            let streams = &mut state.streams;
            if streams.paths.is_none() {
                streams.paths = paths;
            }
            if streams.stdio.is_none() {
                streams.stdio = stdio;
                None
            } else {
                stdio
            }
        };
        // This closes them, without the lock.
        drop(unused);
    }

    /// The streams that this client pumps.
    pub(crate) fn stdio(&self) -> Option<Arc<Attached>> {
        self.lock().streams.stdio.clone()
    }

    /// Whether its shim copies any stream.
    pub(crate) fn has_streams(&self) -> bool {
        let given = |paths: &Paths| !paths.stdout.is_empty() || !paths.stdin.is_empty();
        let state = self.lock();
        let streams = &state.streams;
        streams.stdio.is_some() || streams.paths.as_ref().is_some_and(given)
    }

    /// Notes that its process runs, or has run, and starts to pump its input.
    pub(crate) fn note_start(&self) -> Result<()> {
        self.set_started();
        self.stdio().map_or(Ok(()), |stdio| stdio.start_input())
    }

    /// The message with the loss that is known by now.
    pub(super) fn with_output_lost(&self, message: Message) -> Message {
        match self.stdio() {
            Some(stdio) => message.with_output_lost(stdio.lost()),
            None => message,
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
    /// time that was chosen when the process was created.
    async fn drained(&self, executor: &Executor) {
        if let Some(stdio) = self.stdio() {
            executor.within(stdio.drain_time(), stdio.drained()).await;
        }
    }

    /// Closes the streams that this client passes on, and removes their FIFOs.
    pub(crate) fn close_streams(&self) {
        self.stdio().iter().for_each(|stdio| stdio.close());
    }

    /// Closes the streams, and removes the FIFOs, also those that another program has left. Called when
    /// the server has deleted the process.
    pub(crate) fn close_stdio(&self, dir: FifoDir<'_>) {
        let (stdio, paths) = {
            let state = self.lock();
            (state.streams.stdio.clone(), state.streams.paths.clone())
        };
        match (stdio, paths) {
            (Some(stdio), _) => stdio.close(),
            (None, Some(paths)) => stdio::remove_fifos(dir.state_dir, &paths),
            // The server has not said their paths.
            (None, None) => {
                stdio::remove_fifo_sets_of(dir, &self.key.container, self.key.exec.as_deref());
            }
        }
    }
}

impl Watches {
    /// Runs a job once the output of a process that has ended is passed on, or the time for that is over
    /// which was chosen when the process was created. If the client is closed first, the job is dropped.
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
