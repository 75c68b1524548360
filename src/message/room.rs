//! Counts the messages of a queue: those that wait, and those that were dropped.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The room that a message takes in a queue, or a call among those in flight. It is given back
/// once: when the message is taken from the queue, or when its last clone is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    count: Arc<AtomicUsize>,
    returned: AtomicBool,
}

impl Permit {
    /// Takes room for one more, if fewer than `most` are taken.
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

/// How many messages a subscription has lost. It grows until the message that reports it is taken.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<LostState>);

#[derive(Debug, Default)]
struct LostState {
    count: u64,
    /// Whether a message that reports it is in the queue.
    announced: bool,
}

impl Lost {
    /// Counts one more. Returns whether the caller must add a message that reports the loss. One
    /// such message covers all losses until it is taken.
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

/// The number of dropped messages in a message that reports it.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    lost: Option<Arc<Lost>>,
    /// Set when the message is taken.
    count: OnceLock<u64>,
}

impl Dropped {
    /// The number at the time when the message is taken.
    pub(crate) fn of(lost: Arc<Lost>) -> Dropped {
        Dropped { lost: Some(lost), count: OnceLock::new() }
    }

    /// A number that is known now.
    pub(crate) fn number(count: u64) -> Dropped {
        Dropped { lost: None, count: OnceLock::from(count) }
    }

    /// The number. The first call fixes it.
    pub(super) fn get(&self) -> u64 {
        *self.count.get_or_init(|| self.lost.as_ref().map_or(0, |lost| lost.take()))
    }
}

impl Dropped {
    /// Fixes the number, because the message was taken.
    pub(super) fn fix(&self) {
        if self.lost.is_some() {
            self.get();
        }
    }
}
