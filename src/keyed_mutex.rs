//! A mutex for each key. Of the calls that work on one object, one runs and the others wait, in the
//! order of their arrival. It orders the calls of one client; the server decides between clients.
//!
//! A pull locks each blob and layer. If two clients write a blob at once, that costs containerd 1.6
//! half a second in which it writes nothing else (`content/local`). An operation that changes a
//! container locks its id.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::call::Limits;
use crate::error::{Error, Result};
use crate::wait::block_on;

/// A mutex for each key. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyedMutex(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// For each key, the holder and then the waiters in their order.
    by_key: HashMap<String, VecDeque<Waiter>>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// The name of the operation, for the errors of other calls.
    operation: &'static str,
    waker: Option<Waker>,
}

/// The lock of one key. The drop unlocks it.
pub(crate) struct KeyGuard {
    mutex: KeyedMutex,
    key: String,
    number: u64,
}

/// A place in the line for one key: a future that returns the lock. The drop leaves the line.
pub(crate) struct Locking(Option<KeyGuard>);

impl KeyedMutex {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line for `key`. The errors of other calls name `operation`.
    pub(crate) fn locking(&self, key: String, operation: &'static str) -> Locking {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let waiter = Waiter { number, operation, waker: None };
        state.by_key.entry(key.clone()).or_default().push_back(waiter);
        drop(state);
        Locking(Some(KeyGuard { mutex: self.clone(), key, number }))
    }

    /// Locks `key`. If the limits end the wait, the error names the operation that holds the lock.
    pub(crate) fn lock(
        &self,
        key: String,
        operation: &'static str,
        limits: &Limits,
    ) -> Result<KeyGuard> {
        let held = key.clone();
        block_on(limits, self.locking(key, operation)).map_err(|error| self.blame(&held, error))
    }

    /// Names the operation that holds the lock of `key` in the error of a call that waited for it.
    pub(crate) fn blame(&self, key: &str, error: Error) -> Error {
        let state = self.state();
        let holder = state.by_key.get(key).and_then(VecDeque::front).map(|holder| holder.operation);
        drop(state);
        match holder {
            Some(holder) => error.context(format_args!("{holder} is under way")),
            None => error,
        }
    }
}

impl Future for Locking {
    type Output = KeyGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<KeyGuard> {
        let Some(guard) = self.0.take() else { return Poll::Pending };
        let mut state = guard.mutex.state();
        let line = state.by_key.get_mut(&guard.key);
        let waits = line.is_some_and(|line| {
            if line.front().is_none_or(|first| first.number == guard.number) {
                return false;
            }
            if let Some(waiter) = line.iter_mut().find(|waiter| waiter.number == guard.number) {
                waiter.waker = Some(cx.waker().clone());
            }
            true
        });
        drop(state);
        if waits {
            self.0 = Some(guard);
            return Poll::Pending;
        }
        Poll::Ready(guard)
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        let mut state = self.mutex.state();
        let Some(line) = state.by_key.get_mut(&self.key) else { return };
        let at = line.iter().position(|waiter| waiter.number == self.number);
        let gone = at.and_then(|at| line.remove(at));
        // Nobody else can run the next one, because only the holder unlocks.
        let next =
            if at == Some(0) { line.front_mut().and_then(|next| next.waker.take()) } else { None };
        if line.is_empty() {
            state.by_key.remove(&self.key);
        }
        drop(state);
        drop(gone);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn one_at_a_time_for_a_key() {
        let mutex = KeyedMutex::default();
        let limits = Limits::within(Duration::from_millis(20));
        let first = mutex.lock("a".into(), "the first", &limits).unwrap();
        let _other = mutex.lock("b".into(), "another", &limits).unwrap();
        let error = mutex.lock("a".into(), "the second", &limits).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().starts_with("the first is under way"), "{error}");
        drop(first);
        mutex.lock("a".into(), "the third", &limits).unwrap();
        assert_eq!(mutex.state().by_key.len(), 1);
    }

    #[test]
    fn first_come_first_served() {
        let mutex = KeyedMutex::default();
        let limits = Limits::within(Duration::from_secs(30));
        let order = Mutex::new(Vec::new());
        let first = mutex.lock("a".into(), "", &limits).unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let (mutex, limits, order) = (&mutex, &limits, &order);
                scope.spawn(move || {
                    let _guard = mutex.lock("a".into(), "", limits).unwrap();
                    order.lock().unwrap().push(number);
                });
                // Start the next one when this one is in the line.
                while mutex.state().by_key["a"].len() < number + 2 {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_caller_that_leaves_the_line_lets_the_next_one_pass() {
        let mutex = KeyedMutex::default();
        let limits = Limits::within(Duration::from_secs(30));
        let holder = mutex.lock("a".into(), "", &limits).unwrap();
        let leaves = mutex.locking("a".into(), "");
        let next = mutex.locking("a".into(), "");
        drop(leaves);
        drop(holder);
        drop(block_on(&limits, next).unwrap());
        assert!(mutex.state().by_key.is_empty());
    }
}
