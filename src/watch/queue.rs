//! The queue of the watches that are to be looked up, because their Wait broke off or its answer
//! leaves a doubt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::process::Watch;
use crate::error::Error;

/// Waits that break off within this time count as one broken connection.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Ordered by the time of the look-up. A number makes equal times distinct.
    pub(super) entries: BTreeMap<(Instant, u64), Entry>,
    /// Counts the changes that the reconciler must notice.
    pub(super) changes: u64,
    /// How many look-ups are under way.
    pub(super) lookups: usize,
    /// Whether the reconciler runs, and what wakes it.
    pub(super) is_running: bool,
    pub(super) waker: Option<Waker>,
    pub(super) closed: bool,
    /// How often a connection broke, and when it did last.
    breaks: u64,
    last_break: Option<Instant>,
    /// How many look-ups had a result.
    pub(super) settled: u64,
}

/// A watch that is to be looked up.
pub(super) struct Entry {
    pub(super) watch: Arc<Watch>,
    /// Why it is on the queue.
    pub(super) why: Error,
    /// The pause after a look-up without a result.
    pub(super) pause: Duration,
}

impl Queue {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the reconciler.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.changes += 1;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn close(&self) {
        let entries = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        drop(entries);
    }

    /// How many watches it has, with those that are looked up now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.entries.len() + state.lookups
    }

    /// How often a connection broke, and how many look-ups had a result.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.breaks, state.settled)
    }

    /// Counts a Wait that broke off with its connection.
    pub(super) fn count_break(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.last_break.replace(now).is_none_or(|before| now.duration_since(before) > TOGETHER)
        {
            state.breaks += 1;
        }
    }

    /// Adds an entry, to be looked up when this time has passed.
    pub(super) fn push(&self, entry: Entry, after: Duration) {
        self.change(|state| {
            if !state.closed {
                let at = (Instant::now() + after, state.changes);
                state.entries.insert(at, entry);
            }
        });
    }
}
