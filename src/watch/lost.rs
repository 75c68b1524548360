//! The list of the watches whose Wait broke off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::process::Watch;
use crate::error::Error;

/// What breaks off within this time after another has broken off with it.
const TOGETHER: Duration = Duration::from_secs(1);

/// The watches whose Wait broke off.
#[derive(Default)]
pub(super) struct Reconciler {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// By the time at which to look at them, and a number that tells equal times apart.
    pub(super) lost: BTreeMap<(Instant, u64), Lost>,
    /// Counts the changes of what the keeper has to see to.
    pub(super) changes: u64,
    /// How many looks are under way.
    pub(super) looks: usize,
    /// Whether the keeper is there, and how it is woken.
    pub(super) kept: bool,
    pub(super) keeper: Option<Waker>,
    pub(super) closed: bool,
    /// How often connections broke with waits, when one did so last, and how many it has settled.
    pub(super) broken: u64,
    pub(super) broke: Option<Instant>,
    pub(super) settled: u64,
}

/// A watch whose Wait broke off.
pub(super) struct Lost {
    pub(super) watch: Arc<Watch>,
    /// What broke it off.
    pub(super) why: Error,
    /// The pause after a look that gives nothing.
    pub(super) pause: Duration,
}

impl Reconciler {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and has the keeper look at it.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
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
    pub(super) fn count_break(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.broke.replace(now).is_none_or(|before| now.duration_since(before) > TOGETHER) {
            state.broken += 1;
        }
    }

    /// Puts one on the list, to be looked at when this time has passed.
    pub(super) fn push(&self, lost: Lost, after: Duration) {
        self.change(|state| {
            if !state.closed {
                let at = (Instant::now() + after, state.changes);
                state.lost.insert(at, lost);
            }
        });
    }
}
