//! Turns: of many pulls at once, one fetches a blob and one unpacks a layer, and the others find it
//! there. Among the calls of one client alone; between clients the server decides, which for a blob
//! that is being written costs it half a second in which it writes nothing else (containerd 1.6,
//! `content/local`).

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::Limits;
use crate::error::Result;

/// How often a thread that waits for its turn looks whether its call has ended.
const TICK: Duration = Duration::from_millis(50);

/// What is being worked on.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<String>>,
    free: Condvar,
}

/// The right to work on one thing. It ends with the drop.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    key: String,
}

impl Turns {
    /// Waits until nobody else works on `key`.
    pub(super) fn take(&self, key: String, limits: &Limits) -> Result<Turn<'_>> {
        let mut taken = self.lock();
        while !taken.insert(key.clone()) {
            limits.check()?;
            taken = self.free.wait_timeout(taken, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Turn { turns: self, key })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
        self.turns.free.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn one_at_a_time_for_a_key() {
        let turns = Turns::default();
        let limits = Limits::within(Duration::from_millis(20));
        let first = turns.take("a".into(), &limits).unwrap();
        let _other = turns.take("b".into(), &limits).unwrap();
        let error = turns.take("a".into(), &limits).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(first);
        turns.take("a".into(), &limits).unwrap();
    }
}
