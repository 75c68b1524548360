//! How the messages of a queue are counted: what waits, and what was dropped.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The room that a message takes in a queue, or a call among those in flight. It is given back once:
/// when the message is taken from the queue, or with the last clone.
#[derive(Debug)]
pub(crate) struct Permit {
    count: Arc<AtomicUsize>,
    returned: AtomicBool,
}

impl Permit {
    /// Room for one more, if there are fewer than `most`.
    pub(crate) fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Permit> {
        let more = |count: usize| (count < most).then_some(count + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Permit { count: count.clone(), returned: AtomicBool::new(false) })
    }

    pub(super) fn give_back(&self) {
        if !self.returned.swap(true, Ordering::SeqCst) {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How many messages a subscription has lost. It grows until somebody takes the message about it.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<LostState>);

#[derive(Debug, Default)]
struct LostState {
    count: u64,
    /// Whether a message about it waits in the queue.
    announced: bool,
}

impl Lost {
    /// Counts one more. Says whether a message is to announce it: one does so for all until it is taken.
    pub(crate) fn add(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        !std::mem::replace(&mut state.announced, true)
    }

    fn take(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.announced = false;
        std::mem::take(&mut state.count)
    }
}

/// How many messages were dropped, of a message that says so.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    lost: Option<Arc<Lost>>,
    /// Fixed when the message is taken.
    count: OnceLock<u64>,
}

impl Dropped {
    /// As many as there are when the message is taken.
    pub(crate) fn of(lost: Arc<Lost>) -> Dropped {
        Dropped { lost: Some(lost), count: OnceLock::new() }
    }

    /// So many.
    pub(crate) fn number(count: u64) -> Dropped {
        Dropped { lost: None, count: OnceLock::from(count) }
    }

    /// The number, which is fixed from the first call on.
    pub(super) fn get(&self) -> u64 {
        *self.count.get_or_init(|| self.lost.as_ref().map_or(0, |lost| lost.take()))
    }
}

impl Dropped {
    /// Fixes the number: the message was taken.
    pub(super) fn fix(&self) {
        if self.lost.is_some() {
            self.get();
        }
    }
}
