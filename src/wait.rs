//! Parks the calling thread until a future is ready, the deadline passes or the handle is fired.
//!
//! The thread waits on our own condition and never inside gRPC, so a call from a callback cannot
//! dead-lock there.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::call::Limits;
use crate::cancel::Cancel;
use crate::error::{ErrorKind, Result};
use crate::watchdog;

/// Wakes one waiting thread.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    condition: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condition.notify_one();
    }
}

impl Parker {
    /// Sleeps until it is woken. Fails if the limits end the wait. `is_watched` means that a cancel
    /// handle wakes it too.
    fn park(&self, limits: &Limits, is_watched: bool) -> Result<()> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if limits.cancel.as_ref().is_some_and(Cancel::is_fired) {
                return Err(Limits::cancelled());
            }
            if std::mem::take(&mut *woken) {
                return Ok(());
            }
            let left = limits.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return Err(limits.timed_out());
            }
            let looks = limits.cancel.is_some() && !is_watched;
            let wait = if looks { Some(left.map_or(TICK, |left| left.min(TICK))) } else { left };
            woken = match wait {
                None => self.condition.wait(woken).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let waited = self.condition.wait_timeout(woken, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Waits for `future`. It is polled at least once, so a result that exists is returned even if the
/// deadline has passed.
pub(crate) fn block_on<F: Future>(limits: &Limits, future: F) -> Result<F::Output> {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut watched = None;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        if watched.is_none()
            && let Some(cancel) = &limits.cancel
        {
            watched = watchdog::watch(None, Some(cancel.clone()), waker.clone());
        }
        parker.park(limits, watched.is_some())?;
    }
}

/// How often a waiter looks at its cancel handle if nothing wakes it.
const TICK: Duration = Duration::from_millis(50);

/// Waits on a condition while `is_so` is true. Fails if the limits end the wait.
pub(crate) fn wait_while<'a, T>(
    condition: &Condvar,
    mut guard: MutexGuard<'a, T>,
    limits: &Limits,
    is_so: impl Fn(&T) -> bool,
) -> Result<MutexGuard<'a, T>> {
    while is_so(&guard) {
        limits.check()?;
        let left = limits.remaining();
        let wait = match &limits.cancel {
            Some(_) => Some(left.map_or(TICK, |left| left.min(TICK))),
            None => left,
        };
        guard = match wait {
            None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => {
                condition.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
    Ok(guard)
}

/// How long to wait before the next attempt. gRPC connects again with its own back-off.
const AGAIN: Duration = Duration::from_millis(50);

/// Tries again while the connection is broken and the limits leave time. This is for clean-ups,
/// whose object would stay if the first attempt were the only one.
pub(crate) fn until_reached<T>(
    limits: &Limits,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match attempt() {
            Err(e)
                if e.kind() == ErrorKind::Unavailable
                    && limits.remaining().is_some_and(|left| left > AGAIN) =>
            {
                thread::sleep(AGAIN);
            }
            other => return other,
        }
    }
}

/// How long the server may still work on a call that broke off.
const LATE: Duration = Duration::from_secs(2);

/// Removes an object that a call has made. `attempt` returns whether the object existed. If the
/// outcome of that call is unknown, the server may still make the object. Then an object that does
/// not exist is looked for again for a while.
pub(crate) fn until_removed(
    limits: &Limits,
    outcome_unknown: bool,
    mut attempt: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let late = Limits::within(if outcome_unknown { LATE } else { Duration::ZERO });
    while !until_reached(limits, &mut attempt)? && late.check().is_ok() && limits.check().is_ok() {
        thread::sleep(AGAIN);
    }
    Ok(())
}

/// Runs `future` to its end without a thread of its own. It is polled here once, and then by every
/// thread that wakes it, which is mostly gRPC's. So it must not block, take a lock that is held
/// over a call, or run the host's code.
pub(crate) fn detach(future: impl Future<Output = ()> + Send + 'static) {
    Arc::new(Detached { wakes: AtomicUsize::new(0), future: Mutex::new(Some(Box::pin(future))) })
        .wake();
}

struct Detached {
    /// How many wake-ups no poll has answered yet. The thread that raises it from 0 polls. A thread
    /// that wakes the future meanwhile, also from within the poll, leaves the next poll to that
    /// thread.
    wakes: AtomicUsize,
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Wake for Detached {
    fn wake(self: Arc<Self>) {
        if self.wakes.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            let answered = self.wakes.load(Ordering::SeqCst);
            let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            // A panic would end gRPC's thread, and then no call would ever complete.
            let over = catch_unwind(AssertUnwindSafe(|| {
                future.as_mut().is_some_and(|future| future.as_mut().poll(&mut cx).is_ready())
            }));
            if over.unwrap_or(true) {
                *future = None;
            }
            drop(future);
            if self.wakes.fetch_sub(answered, Ordering::SeqCst) == answered {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::mpsc;

    use super::*;
    use crate::error::Error;

    #[test]
    fn ends_at_the_deadline_with_and_without_a_handle() {
        for cancel in [None, Some(Cancel::new())] {
            let limits = Limits { cancel, ..Limits::within(Duration::from_millis(20)) };
            let error = block_on(&limits, pending::<()>()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
        }
    }

    #[test]
    fn ends_when_the_handle_is_fired() {
        let cancel = Cancel::new();
        let limits = Limits { cancel: Some(cancel.clone()), ..Limits::default() };
        let waiting = thread::spawn(move || block_on(&limits, pending::<()>()));
        thread::sleep(Duration::from_millis(20));
        cancel.fire();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_detached_future_is_polled_by_the_thread_that_wakes_it() {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..100 {
            let sender = sender.clone();
            let mut polls = 0;
            detach(poll_fn(move |cx| {
                polls += 1;
                // A wake-up from inside the poll, and one from another thread while the poll may
                // still run.
                cx.waker().wake_by_ref();
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
                if polls < 3 {
                    return Poll::Pending;
                }
                sender.send(()).unwrap();
                Poll::Ready(())
            }));
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), 100);
    }

    #[test]
    fn tries_again_while_the_server_cannot_be_reached() {
        let mut attempts = 0;
        let mut kinds = vec![ErrorKind::Unknown, ErrorKind::Unavailable, ErrorKind::Unavailable];
        let result: Result<()> = until_reached(&Limits::within(Duration::from_secs(60)), || {
            attempts += 1;
            Err(Error::new(kinds.pop().unwrap(), "as arranged"))
        });
        assert_eq!((result.unwrap_err().kind(), attempts), (ErrorKind::Unknown, 3));
        let never = || Err::<(), _>(Error::new(ErrorKind::Unavailable, "as arranged"));
        let limits = Limits::within(Duration::from_millis(120));
        assert_eq!(until_reached(&limits, never).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn looks_again_for_what_may_come_yet() {
        let limits = Limits::within(Duration::from_secs(60));
        let mut there = [Ok(true), Ok(false), Ok(false)].to_vec();
        until_removed(&limits, true, || there.pop().unwrap()).unwrap();
        assert!(there.is_empty());
        let mut attempts = 0;
        until_removed(&limits, false, || {
            attempts += 1;
            Ok(false)
        })
        .unwrap();
        assert_eq!(attempts, 1);
        until_removed(&limits, true, || Ok(false)).unwrap();
    }

    #[test]
    fn wakes_from_another_thread_with_and_without_a_handle() {
        for cancel in [None, Some(Cancel::new())] {
            let limits = Limits { cancel, ..Limits::default() };
            let mut polls = 0;
            let future = poll_fn(|cx| {
                polls += 1;
                if polls == 3 {
                    return Poll::Ready(polls);
                }
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
                Poll::Pending
            });
            assert_eq!(block_on(&limits, future).unwrap(), 3);
        }
    }
}
