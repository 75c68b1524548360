//! The reconciler: it looks up the processes whose Wait broke off.
//!
//! It is one job of the executor, and runs while the queue has entries. It waits until the server
//! answers, and then starts many look-ups at once. Each look-up is a job of its own, so a shim that
//! is stuck delays only its own container.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::lookup::{LOOKUP_TIMEOUT, Lookup};
use super::process::Watch;
use super::queue::Entry;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::version;

/// The pause before another attempt: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How many look-ups are under way at once.
const MAX_LOOKUPS: usize = 64;

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSES.1)
}

/// The next step of the reconciler.
enum Next {
    LookUp(Vec<Entry>),
    /// It waits until this time, or until the queue's count of changes is another one.
    Wait(Option<Instant>, u64),
    Stop,
}

/// A look-up that is under way. The drop makes room for another one. Unless the look-up had a
/// result, the drop also puts the entry back on the queue: after a panic too.
struct RunningLookup {
    watches: Watches,
    entry: Option<Entry>,
}

impl RunningLookup {
    async fn run(mut self) {
        let Some(entry) = &mut self.entry else { return };
        match self.watches.look_up(&entry.watch, entry.why.clone()).await {
            // The Wait broke off again meanwhile.
            Lookup::Done if entry.watch.lock().dequeue() => {}
            Lookup::Done => {
                self.entry = None;
                self.watches.0.queue.lock().settled += 1;
            }
            Lookup::Other(why) | Lookup::Retry(why) => entry.why = why,
        }
    }
}

impl Drop for RunningLookup {
    fn drop(&mut self) {
        let queue = &self.watches.0.queue;
        if let Some(mut entry) = self.entry.take() {
            let pause = entry.pause;
            entry.pause = longer(pause);
            queue.push(entry, pause);
        }
        queue.change(|state| state.lookups -= 1);
    }
}

/// The running reconciler. If it is dropped before it has stopped, as by a panic, another one can
/// start.
struct Reconciler {
    watches: Watches,
    stopped: bool,
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        if !self.stopped {
            self.watches.0.queue.lock().is_running = false;
        }
    }
}

impl Reconciler {
    /// Runs until the queue is empty.
    async fn run(mut self) {
        loop {
            let watches = &self.watches;
            match watches.next() {
                Next::Stop => break,
                Next::Wait(until, changes) => watches.wait_for_change(until, changes).await,
                Next::LookUp(entries) => {
                    // While the server cannot be reached, one request at a time is enough.
                    watches.wait_for_server().await;
                    for entry in entries {
                        let lookup = RunningLookup { watches: watches.clone(), entry: Some(entry) };
                        watches.0.queue.lock().lookups += 1;
                        // It cannot fail for want of a thread: this runs on the thread.
                        let _ = watches.0.executor.spawn(lookup.run());
                    }
                }
            }
        }
        self.stopped = true;
    }
}

impl Watches {
    /// Has a watch looked up; `why` says why that is necessary.
    pub(super) fn reconcile(&self, watch: &Arc<Watch>, why: Error) {
        log::debug!("{} is to be looked up: {why}", watch.key);
        if why.kind() == ErrorKind::Unavailable {
            self.0.queue.count_break();
        }
        let (is_new, after) = {
            let mut state = watch.lock();
            (state.enqueue(), state.count_break(PAUSES))
        };
        if is_new {
            let entry = Entry { watch: watch.clone(), why, pause: PAUSES.0 };
            self.0.queue.push(entry, after);
        }
        self.run_reconciler();
    }

    /// Starts the reconciler unless it runs or has nothing to do. An earlier start may have failed
    /// for want of a thread.
    pub(super) fn run_reconciler(&self) {
        let reconciler = {
            let mut state = self.0.queue.lock();
            if state.closed || state.is_running || state.entries.is_empty() {
                return;
            }
            state.is_running = true;
            Reconciler { watches: self.clone(), stopped: false }
        };
        if let Err(e) = self.0.executor.spawn(reconciler.run())
            && e.kind() != ErrorKind::Closed
        {
            log::warn!("processes whose wait broke off are not looked up: {e}");
        }
    }

    fn next(&self) -> Next {
        let mut state = self.0.queue.lock();
        if state.closed || (state.entries.is_empty() && state.lookups == 0) {
            // Under the same lock, so that the next entry starts another reconciler.
            state.is_running = false;
            return Next::Stop;
        }
        let mut due = Vec::new();
        let now = Instant::now();
        while state.lookups + due.len() < MAX_LOOKUPS
            && let Some(first) = state.entries.first_entry().filter(|first| first.key().0 <= now)
        {
            due.push(first.remove());
        }
        if !due.is_empty() {
            return Next::LookUp(due);
        }
        // If there is no room, the end of a look-up changes the queue.
        let next = state.entries.keys().next().map(|(at, _)| *at).filter(|at| *at > now);
        Next::Wait(next, state.changes)
    }

    /// Waits until the queue changes, at most until this time.
    async fn wait_for_change(&self, until: Option<Instant>, changes: u64) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut sleep = pin!(left.map(|left| self.0.executor.sleep(left)));
        poll_fn(|cx| {
            let mut state = self.0.queue.lock();
            if state.changes != changes {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            drop(state);
            match sleep.as_mut().as_pin_mut() {
                Some(sleep) => sleep.poll(cx),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// Waits until the server answers.
    async fn wait_for_server(&self) {
        let mut pause = PAUSES.0;
        loop {
            let ctx = self.ctx("default", Limits::within(LOOKUP_TIMEOUT));
            let answer: Result<()> = version::ping(ctx).await;
            if answer.is_ok() {
                return;
            }
            self.0.executor.sleep(pause).await;
            pause = longer(pause);
        }
    }
}
