//! Looking up the processes whose Wait broke off: whether they run, and how they ended if not.
//!
//! One job of the executor, the keeper, sees to all of them while there are any: it waits for the
//! server and lets many looks be under way at once, each a job of its own, so that a shim that is stuck
//! delays its own container alone.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::pidfd::Sight;
use super::{Watch, Watches};
use crate::call::Limits;
use crate::container::generation;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Origin;
use crate::rpc::tasks::{self, Status};
use crate::rpc::{containers, version};

/// How long one question may take: a shim that is stuck is answered for by containerd after 2 s.
const LOOK: Duration = Duration::from_secs(5);

/// How long a process that has ended may take to be reaped, before which the kernel does not tell how.
const REAPED: Duration = Duration::from_secs(10);

/// How many looks are under way at once.
const MAX_LOOKS: usize = 64;

/// The pause before something is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSES.1)
}

/// The watches whose Wait broke off.
#[derive(Default)]
pub(super) struct Reconciler {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the time at which to look at them, and a number that tells equal times apart.
    lost: BTreeMap<(Instant, u64), Lost>,
    /// Counts the changes of what the keeper has to see to.
    changes: u64,
    /// How many looks are under way.
    looks: usize,
    /// Whether the keeper is there, and how it is woken.
    kept: bool,
    keeper: Option<Waker>,
    closed: bool,
    /// How often it began, and how many it has settled.
    begun: u64,
    settled: u64,
}

/// A watch whose Wait broke off.
struct Lost {
    watch: Arc<Watch>,
    /// What broke it off.
    why: Error,
    /// The pause after a look that gives nothing.
    pause: Duration,
}

impl Reconciler {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and has the keeper look at it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let keeper = {
            let mut state = self.lock();
            change(&mut state);
            state.changes += 1;
            state.keeper.take()
        };
        keeper.into_iter().for_each(Waker::wake);
    }

    pub(super) fn close(&self) {
        let lost = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.lost)
        };
        drop(lost);
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.begun, state.settled)
    }

    /// Puts one on the list, to be looked at when this time has passed.
    fn push(&self, lost: Lost, after: Duration) {
        self.change(|state| {
            if !state.closed {
                let at = (Instant::now() + after, state.changes);
                state.lost.insert(at, lost);
            }
        });
    }
}

/// What a look at one process gave.
enum Look {
    /// It is followed again, or its exit was delivered.
    Settled,
    /// Nothing is known yet.
    Again(Error),
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

/// A look that is under way. Dropped, also where it panics, it makes room for another.
struct Place(Watches);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.reconciler.change(|state| state.looks -= 1);
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
    /// Puts the watch on the list of those to be looked up; `why` is what ended its Wait.
    pub(super) fn reconcile(&self, watch: &Arc<Watch>, why: Error) {
        log::debug!("the wait for container {} broke off: {why}", watch.key.container);
        let after = watch.lock().loss(PAUSES);
        let lost = Lost { watch: watch.clone(), why, pause: PAUSES.0 };
        self.0.reconciler.push(lost, after);
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
            state.begun += 1;
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
        poll_fn(|context| {
            let mut state = self.0.reconciler.lock();
            if state.changes != changes {
                return Poll::Ready(());
            }
            state.keeper = Some(context.waker().clone());
            drop(state);
            match sleep.as_mut().as_pin_mut() {
                Some(sleep) => sleep.poll(context),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// Looks one up, and puts it back where that gives nothing.
    async fn look_up(&self, mut lost: Lost) {
        match self.look(&lost.watch, lost.why.clone()).await {
            Look::Settled => self.0.reconciler.lock().settled += 1,
            Look::Again(why) => {
                let pause = lost.pause;
                lost.pause = longer(pause);
                lost.why = why;
                self.0.reconciler.push(lost, pause);
            }
        }
    }

    /// Looks one process up. `why` is what ended its Wait.
    async fn look(&self, watch: &Arc<Watch>, why: Error) -> Look {
        if watch.is_over() {
            return Look::Settled;
        }
        if watch.is_held() {
            return Look::Again(why);
        }
        let cx = || self.cx(&watch.key.namespace, Limits::within(LOOK));
        let id = &watch.key.container;
        match containers::look(cx(), id.clone()).await {
            Ok(record) if generation(&record) != watch.process.generation => {
                return self.gone(watch, "its id is another container's", why);
            }
            // Where it is gone, the task may stand all the same.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.look_in_list(watch, why).await;
            }
            Err(error) => return Look::Again(error),
        }
        match tasks::look(cx(), id.clone(), String::new()).await {
            Ok(process) if process.pid != 0 && process.pid != watch.process.pid => {
                self.gone(watch, "another process has its id", why)
            }
            Ok(process) => match process.status {
                Status::Stopped => {
                    self.deliver(watch, Origin::Recovered, Some(process.exit), None);
                    Look::Settled
                }
                Status::Unknown => Look::Again(why),
                Status::Created | Status::Running | Status::Paused | Status::Pausing => {
                    match self.follow(watch) {
                        Ok(()) => Look::Settled,
                        Err(error) => Look::Again(error),
                    }
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.gone(watch, "its task is gone from containerd", why)
            }
            Err(error) => Look::Again(error),
        }
    }

    /// Get finds no task where the container's record is gone; the list shows it still.
    async fn look_in_list(&self, watch: &Arc<Watch>, why: Error) -> Look {
        let cx = self.cx(&watch.key.namespace, Limits::within(LOOK));
        let list = match tasks::look_at_all(cx).await {
            Ok(list) => list,
            Err(error) => return Look::Again(error),
        };
        let ours = list
            .into_iter()
            .find(|(id, process)| *id == watch.key.container && process.pid == watch.process.pid);
        match ours {
            Some((_, process)) if process.status != Status::Stopped => Look::Again(why),
            Some((_, process)) => {
                self.deliver(watch, Origin::Recovered, Some(process.exit), None);
                Look::Settled
            }
            None => self.gone(watch, "its container is gone from containerd", why),
        }
    }

    /// containerd knows nothing of it any more.
    fn gone(&self, watch: &Arc<Watch>, how: &str, why: Error) -> Look {
        match watch.process.look() {
            // containerd ends what it does not know any more, or will find it again.
            Sight::Runs => return Look::Again(why),
            // Whoever is to reap it may never do so.
            Sight::Ending if watch.lock().ending_since().elapsed() < REAPED => {
                return Look::Again(why);
            }
            Sight::Ending | Sight::Ended(_) | Sight::Gone => {}
        }
        self.tell_gone(watch, how, Some(why));
        Look::Settled
    }

    /// Waits until the server answers.
    async fn wait_for_server(&self) {
        let mut pause = PAUSES.0;
        loop {
            let answer: Result<()> = version::ping(self.cx("default", Limits::within(LOOK))).await;
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
                    let place = Place(watches.clone());
                    watches.0.reconciler.lock().looks += 1;
                    // The thread is there: it is the one that does this.
                    let _ = watches.0.executor.spawn(async move { place.0.look_up(lost).await });
                }
            }
        }
    }
    keeper.over = true;
}
