//! Turns: of many calls that are at the same thing, one works and the others wait, first come first
//! served. Among the calls of one client alone; between clients the server decides.
//!
//! A pull takes one for each blob and layer, for a blob that two clients write at once costs containerd
//! half a second in which it writes nothing else (1.6, `content/local`). What changes a container takes
//! one for its id.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::Limits;
use crate::error::Result;

/// How often a thread that waits for its turn looks whether its call has ended.
const TICK: Duration = Duration::from_millis(50);

/// What is being worked on, and by whom.
#[derive(Default)]
pub(crate) struct Turns {
    queues: Mutex<Queues>,
    free: Condvar,
}

#[derive(Default)]
struct Queues {
    /// Those who work on a thing or wait for it, by a number and what they do; the first one works.
    by_key: HashMap<String, VecDeque<(u64, &'static str)>>,
    next: u64,
}

/// The right to work on one thing, or the place in its queue. It ends with the drop.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: String,
    number: u64,
}

impl Turns {
    /// Waits until nobody else works on `key`. Where the limits end the wait, the error says what
    /// holds it.
    pub(crate) fn take(
        &self,
        key: String,
        what: &'static str,
        limits: &Limits,
    ) -> Result<Turn<'_>> {
        let mut queues = self.lock();
        let number = queues.next;
        queues.next += 1;
        queues.by_key.entry(key.clone()).or_default().push_back((number, what));
        // Before the first wait: it gives the place up where that fails.
        let turn = Turn { turns: self, key, number };
        loop {
            let holder = match queues.by_key.get(&turn.key).and_then(VecDeque::front) {
                Some((first, holder)) if *first != number => *holder,
                _ => break,
            };
            if let Err(error) = limits.check() {
                // The drop of the turn locks.
                drop(queues);
                return Err(error.context(format_args!("{holder} is under way")));
            }
            queues = self.free.wait_timeout(queues, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queues);
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.lock();
        if let Some(queue) = queues.by_key.get_mut(&self.key) {
            queue.retain(|(number, _)| *number != self.number);
            if queue.is_empty() {
                queues.by_key.remove(&self.key);
            }
        }
        drop(queues);
        self.turns.free.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn one_at_a_time_for_a_key() {
        let turns = Turns::default();
        let limits = Limits::within(Duration::from_millis(20));
        let first = turns.take("a".into(), "the first", &limits).unwrap();
        let _other = turns.take("b".into(), "another", &limits).unwrap();
        let error = turns.take("a".into(), "the second", &limits).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().starts_with("the first is under way"), "{error}");
        drop(first);
        turns.take("a".into(), "the third", &limits).unwrap();
        assert_eq!(turns.lock().by_key.len(), 1);
    }

    #[test]
    fn first_come_first_served() {
        let turns = Turns::default();
        let limits = Limits::within(Duration::from_secs(30));
        let order = Mutex::new(Vec::new());
        let first = turns.take("a".into(), "", &limits).unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let (turns, limits, order) = (&turns, &limits, &order);
                scope.spawn(move || {
                    let _turn = turns.take("a".into(), "", limits).unwrap();
                    order.lock().unwrap().push(number);
                });
                // The next one comes when this one stands in the queue.
                while turns.lock().by_key["a"].len() < number + 2 {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }
}
