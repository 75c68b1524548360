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
use crate::error::{Error, ErrorKind, Result};
use crate::record::{End, ExitLabel, KILLED, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::rpc::version;

/// How long one question may take: a shim that is stuck is answered for by containerd after 2 s.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// The same for the list of all tasks: containerd asks the shims one after the other.
pub(super) const LIST: Duration = Duration::from_secs(30);

/// How long a process that has ended may take to be reaped, before which the kernel does not tell how.
const REAPED: Duration = Duration::from_secs(10);

/// How many looks are under way at once.
const MAX_LOOKS: usize = 64;

/// The pause before something is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What breaks off within this time after another has broken off with it.
const TOGETHER: Duration = Duration::from_secs(1);

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
    /// How often connections broke with waits, when one did so last, and how many it has settled.
    broken: u64,
    broke: Option<Instant>,
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

    /// How many there are, with those that are looked at just now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.lost.len() + state.looks
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.broken, state.settled)
    }

    /// Counts a connection that broke; waits that break off together do so once.
    fn count_break(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.broke.replace(now).is_none_or(|before| now.duration_since(before) > TOGETHER) {
            state.broken += 1;
        }
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
pub(super) enum Look {
    /// It is told how it ended, or followed.
    Settled,
    /// containerd has another one, or none, and ours is yet to end.
    Another(Error),
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

    /// Looks one process up. `why` is what ended its Wait.
    pub(super) async fn look(&self, watch: &Arc<Watch>, why: Error) -> Look {
        if watch.is_over() {
            return Look::Settled;
        }
        if watch.is_held() {
            return Look::Again(why);
        }
        let ctx = || self.ctx(&watch.key.namespace, Limits::within(LOOK));
        let id = &watch.key.container;
        let record = match containers::look(ctx(), id.clone()).await {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Its task may stand all the same.
                return self.look_in_list(watch, why).await;
            }
            Err(error) => return Look::Again(error),
        };
        let is_own = generation(&record) == watch.process.generation();
        let kept = |record: &Container| {
            let kept = ExitLabel::of(record).filter(|kept| is_own && kept.pid == watch.process.pid);
            kept.map(|kept| kept.end)
        };
        let mut kept_end = kept(&record);
        let process = match tasks::look(ctx(), id.clone(), String::new()).await {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let how = match is_own {
                    true => "its task is gone from containerd",
                    false => "its id is another container's",
                };
                return self.gone(watch, kept_end, how, why);
            }
            Err(error) => return Look::Again(error),
        };
        if process.pid != 0 && process.pid != watch.process.pid {
            return self.gone(watch, kept_end, "another process has its id", why);
        }
        watch.lock().absent = None;
        let may_have_run = watch.is_started() || process.exit.code != KILLED;
        if process.status == Status::Stopped && is_own && !may_have_run && kept_end.is_none() {
            // It may have been written since that it was not to run.
            match containers::look(ctx(), id.clone()).await {
                Ok(record) => kept_end = kept(&record),
                Err(error) => return Look::Again(error),
            }
        }
        if watch.is_held() {
            return Look::Again(why);
        }
        if process.status == Status::Stopped && !is_own {
            // Of another container whose process has the number by chance, as likely as not.
            return self.gone(watch, kept_end, "its id is another container's", why);
        }
        if let Some(end) = End::seen(&process, kept_end, watch.is_started()) {
            self.recovered(watch, end);
            return Look::Settled;
        }
        match process.status {
            Status::Unknown | Status::Stopped => Look::Again(why),
            Status::Ending => self.ending(watch, kept_end, why),
            Status::Created | Status::Running | Status::Paused | Status::Pausing => {
                if !is_own {
                    if matches!(watch.process.look(), Sight::Ended(_) | Sight::Gone) {
                        return self.gone(watch, kept_end, "another process has its id", why);
                    }
                    // Somebody has replaced the record under it.
                    watch.process.set_generation(generation(&record));
                }
                if process.status != Status::Created {
                    note_start(watch);
                }
                match self.follow(watch) {
                    Ok(()) if watch.is_in_doubt() => Look::Again(why),
                    Ok(()) => Look::Settled,
                    Err(error) => Look::Again(error),
                }
            }
        }
    }

    /// The shim has yet to note how it ended; where its deletion broke off, it never will.
    fn ending(&self, watch: &Arc<Watch>, kept: Option<End>, why: Error) -> Look {
        if watch.lock().ending_since().elapsed() < REAPED {
            // It may be noted all the same.
            return Look::Again(self.follow(watch).err().unwrap_or(why));
        }
        self.gone(watch, kept, "its shim does not say how it ended", why)
    }

    /// Get finds no task where the container's record is gone; the list shows it still.
    async fn look_in_list(&self, watch: &Arc<Watch>, why: Error) -> Look {
        let how = "its container is gone from containerd";
        let ctx = self.ctx(&watch.key.namespace, Limits::within(LIST));
        let list = match tasks::look_at_all(ctx).await {
            Ok(list) => list,
            // Some shim does not answer, and need not be its own.
            Err(_) if matches!(watch.process.look(), Sight::Ended(_)) => {
                return self.gone(watch, None, how, why);
            }
            Err(error) => return Look::Again(error),
        };
        let ours = list.into_iter().find(|(id, process)| {
            // A shim that does not answer is listed without its process.
            *id == watch.key.container && [0, watch.process.pid].contains(&process.pid)
        });
        let Some((_, process)) = ours else {
            // And some versions leave it out of the list for as long.
            let unseen = watch.process.look() == Sight::Unseen;
            let since = *watch.lock().absent.get_or_insert_with(Instant::now);
            if unseen && since.elapsed() < LOOK {
                return Look::Again(why);
            }
            return self.gone(watch, None, how, why);
        };
        watch.lock().absent = None;
        match process.status {
            // The record that may have said that it never ran is gone.
            Status::Stopped if process.exit.code == KILLED && !watch.is_started() => {
                self.gone(watch, None, how, why)
            }
            Status::Stopped => {
                self.recovered(watch, End::Exit(process.exit));
                Look::Settled
            }
            Status::Ending => self.ending(watch, None, why),
            Status::Unknown | Status::Created => Look::Again(why),
            Status::Running | Status::Paused | Status::Pausing => {
                note_start(watch);
                Look::Again(why)
            }
        }
    }

    /// containerd knows nothing of it any more: tells what its record keeps, or the kernel knows.
    pub(super) fn gone(
        &self,
        watch: &Arc<Watch>,
        kept: Option<End>,
        how: &str,
        why: Error,
    ) -> Look {
        match kept {
            Some(end @ End::Exit(_)) => self.recovered(watch, end),
            Some(end @ End::NeverRan) if !watch.is_started() => self.recovered(watch, end),
            Some(End::NeverRan | End::Unknown) | None => match watch.process.look() {
                // containerd ends what it does not know any more, or will find it again.
                Sight::Runs => return Look::Another(why),
                // Whoever is to reap it may never do so.
                Sight::Ending if watch.lock().ending_since().elapsed() < REAPED => {
                    return Look::Another(why);
                }
                Sight::Ending | Sight::Ended(_) | Sight::Gone | Sight::Unseen => {
                    self.tell_gone(watch, how, why);
                }
            },
        }
        Look::Settled
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

/// Somebody else has started it, or our call broke off that did.
fn note_start(watch: &Watch) {
    if let Err(e) = watch.note_start() {
        log::warn!("the input of container {}: {e}", watch.key.container);
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
