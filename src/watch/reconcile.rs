//! Looking up the processes whose Wait broke off: whether they run, and how they ended if not.
//!
//! One job of the executor, the keeper, sees to all of them while there are any: it waits for the
//! server and lets many looks be under way at once, each a job of its own, so that a shim that is stuck
//! delays its own container alone.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::look::{LOOK, Look};
use super::lost::Lost;
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::version;

/// The pause before something is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How many looks are under way at once.
const MAX_LOOKS: usize = 64;

pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSES.1)
}

/// What the keeper is to do.
enum Due {
    /// Look at these.
    Look(Vec<Lost>),
    /// Nothing before this time, nor before there are more changes than so many.
    Wait(Option<Instant>, u64),
    /// Nothing any more.
    End,
}

/// A look that is under way. Dropped, it makes room for another, and puts the process back on the list
/// unless it is settled, also where the look panics.
struct Place {
    watches: Watches,
    lost: Option<Lost>,
}

impl Place {
    /// Looks the process up.
    async fn look_up(mut self) {
        let Some(lost) = &mut self.lost else { return };
        match self.watches.look(&lost.watch, lost.why.clone()).await {
            // Unless its Wait broke off again meanwhile.
            Look::Settled if lost.watch.lock().end_listing() => {}
            Look::Settled => {
                self.lost = None;
                self.watches.0.reconciler.lock().settled += 1;
            }
            Look::Another(why) | Look::Again(why) => lost.why = why,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let reconciler = &self.watches.0.reconciler;
        if let Some(mut lost) = self.lost.take() {
            let pause = lost.pause;
            lost.pause = longer(pause);
            reconciler.push(lost, pause);
        }
        reconciler.change(|state| state.looks -= 1);
    }
}

/// The keeper's own place. Dropped before it was given up, as where the keeper panics, it lets another
/// one be made.
struct Keeper {
    watches: Watches,
    over: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.over {
            self.watches.0.reconciler.lock().kept = false;
        }
    }
}

impl Watches {
    /// Puts the watch on the list of those to be looked up; `why` says what made that necessary.
    pub(crate) fn reconcile(&self, watch: &Arc<Watch>, why: Error) {
        log::debug!("container {} is to be looked up: {why}", watch.key.container);
        if why.kind() == ErrorKind::Unavailable {
            self.0.reconciler.count_break();
        }
        let (is_new, after) = {
            let mut state = watch.lock();
            (state.begin_listing(), state.loss(PAUSES))
        };
        if is_new {
            let lost = Lost { watch: watch.clone(), why, pause: PAUSES.0 };
            self.0.reconciler.push(lost, after);
        }
        self.see_to_lost();
    }

    /// Makes sure that somebody sees to those that are lost: the thread for it may have been refused.
    pub(super) fn see_to_lost(&self) {
        let keeper = {
            let mut state = self.0.reconciler.lock();
            if state.closed || state.kept || state.lost.is_empty() {
                return;
            }
            state.kept = true;
            Keeper { watches: self.clone(), over: false }
        };
        if let Err(e) = self.0.executor.spawn(keep(keeper))
            && e.kind() != ErrorKind::Closed
        {
            log::warn!("containers whose wait broke off are not looked up: {e}");
        }
    }

    fn due(&self) -> Due {
        let mut state = self.0.reconciler.lock();
        if state.closed || (state.lost.is_empty() && state.looks == 0) {
            // Here, so that whoever adds to the list from now on makes another one.
            state.kept = false;
            return Due::End;
        }
        let mut due = Vec::new();
        let now = Instant::now();
        while state.looks + due.len() < MAX_LOOKS
            && let Some(first) = state.lost.first_entry().filter(|first| first.key().0 <= now)
        {
            due.push(first.remove());
        }
        if !due.is_empty() {
            return Due::Look(due);
        }
        // Without room it is the end of a look that is waited for.
        let next = state.lost.keys().next().map(|(at, _)| *at).filter(|at| *at > now);
        Due::Wait(next, state.changes)
    }

    /// Waits for a change of the list, at most until then.
    async fn wait_for_change(&self, until: Option<Instant>, changes: u64) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut sleep = pin!(left.map(|left| self.0.executor.sleep(left)));
        poll_fn(|cx| {
            let mut state = self.0.reconciler.lock();
            if state.changes != changes {
                return Poll::Ready(());
            }
            state.keeper = Some(cx.waker().clone());
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
            let answer: Result<()> = version::ping(self.ctx("default", Limits::within(LOOK))).await;
            if answer.is_ok() {
                return;
            }
            self.0.executor.sleep(pause).await;
            pause = longer(pause);
        }
    }
}

/// Sees to the list until it is empty.
async fn keep(mut keeper: Keeper) {
    loop {
        let watches = &keeper.watches;
        match watches.due() {
            Due::End => break,
            Due::Wait(until, changes) => watches.wait_for_change(until, changes).await,
            Due::Look(due) => {
                // One question for all of them while it cannot be reached.
                watches.wait_for_server().await;
                for lost in due {
                    let place = Place { watches: watches.clone(), lost: Some(lost) };
                    watches.0.reconciler.lock().looks += 1;
                    // The thread is there: it is the one that does this.
                    let _ = watches.0.executor.spawn(place.look_up());
                }
            }
        }
    }
    keeper.over = true;
}
