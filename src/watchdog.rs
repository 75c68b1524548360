//! The thread that wakes a waiter when its deadline passes or its cancel handle is fired.
//!
//! One thread serves the whole process, and it exists only while somebody waits. A signal handler may
//! fire a handle, so firing takes no lock: it changes a number that this thread sleeps on.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use crate::cancel::Cancel;
use crate::per_process::PerProcess;
use crate::{sys, wakeup};

/// How long the thread waits for another waiter before it ends.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    waiters: HashMap<u64, Waiter>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
    running: bool,
}

struct Waiter {
    deadline: Option<Instant>,
    cancel: Option<Cancel>,
    waker: Waker,
}

fn lock() -> MutexGuard<'static, State> {
    static STATE: PerProcess<Mutex<State>> = PerProcess::new();
    STATE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registered waiter. The drop removes it.
#[derive(Debug)]
pub(crate) struct Watched(u64);

impl Drop for Watched {
    fn drop(&mut self) {
        let waiter = remove(&mut lock(), self.0);
        // The waker may be the last reference to what it wakes.
        drop(waiter);
    }
}

fn remove(state: &mut State, number: u64) -> Option<Waiter> {
    let waiter = state.waiters.remove(&number)?;
    if let Some(deadline) = waiter.deadline {
        state.deadlines.remove(&(deadline, number));
    }
    Some(waiter)
}

/// Calls `waker` once: when the deadline passes or the handle is fired, or at once if that has happened
/// before. Returns `None` if no thread can be made. Then the caller must check both from time to time.
pub(crate) fn watch(
    deadline: Option<Instant>,
    cancel: Option<Cancel>,
    waker: Waker,
) -> Option<Watched> {
    let mut state = lock();
    if !state.running {
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-watchdog".into()).spawn(run)
        });
        if let Err(e) = thread {
            drop(state);
            log::debug!("no thread watches over deadlines and cancel handles: {e}");
            return None;
        }
        state.running = true;
    }
    state.next += 1;
    let number = state.next;
    let is_first = deadline.is_some_and(|at| state.deadlines.first().is_none_or(|(f, _)| at < *f));
    // The handle may have been fired before the thread could see it.
    let is_fired = cancel.as_ref().is_some_and(Cancel::is_fired);
    if let Some(deadline) = deadline {
        state.deadlines.insert((deadline, number));
    }
    state.waiters.insert(number, Waiter { deadline, cancel, waker });
    drop(state);
    if is_first || is_fired {
        wakeup::notify();
    }
    Some(Watched(number))
}

/// Takes the waiters that must be woken. Also returns the time of the next deadline.
fn due(state: &mut State, look_at_handles: bool) -> (Vec<Waiter>, Option<Instant>) {
    let now = Instant::now();
    let mut numbers: Vec<u64> = state
        .deadlines
        .iter()
        .take_while(|(at, _)| *at <= now)
        .map(|(_, number)| *number)
        .collect();
    if look_at_handles {
        let is_fired = |waiter: &Waiter| waiter.cancel.as_ref().is_some_and(Cancel::is_fired);
        numbers
            .extend(state.waiters.iter().filter(|(_, w)| is_fired(w)).map(|(number, _)| *number));
    }
    let due = numbers.into_iter().filter_map(|number| remove(state, number)).collect();
    (due, state.deadlines.first().map(|(at, _)| *at))
}

fn run() {
    let mut idle_since: Option<Instant> = None;
    let mut seen = None;
    loop {
        let changes = wakeup::changes();
        let changed = seen.replace(changes) != Some(changes);
        let mut state = lock();
        let (due, next) = due(&mut state, changed);
        let ends = if state.waiters.is_empty() && due.is_empty() {
            Some(*idle_since.get_or_insert_with(Instant::now) + LINGER)
        } else {
            idle_since = None;
            None
        };
        if ends.is_some_and(|ends| ends <= Instant::now()) {
            state.running = false;
            return;
        }
        drop(state);
        for waiter in due {
            // A panic must not end the thread, because all deadlines and cancel handles rely on it.
            if catch_unwind(AssertUnwindSafe(|| waiter.waker.wake())).is_err() {
                log::error!("the end of a wait panicked");
            }
        }
        let left = next
            .into_iter()
            .chain(ends)
            .min()
            .map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        // This returns at once if the number has changed meanwhile.
        wakeup::wait(changes, left.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;

    use super::*;

    struct Send(Mutex<Sender<()>>);

    impl Wake for Send {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().send(());
        }
    }

    fn waker() -> (Waker, Receiver<()>) {
        let (sender, receiver) = channel();
        (Waker::from(Arc::new(Send(Mutex::new(sender)))), receiver)
    }

    #[test]
    fn wakes_at_the_deadline_and_not_before() {
        let (late, late_woken) = waker();
        let (soon, soon_woken) = waker();
        let now = Instant::now();
        let _late = watch(Some(now + Duration::from_secs(3600)), None, late).unwrap();
        let _soon = watch(Some(now + Duration::from_millis(30)), None, soon).unwrap();
        soon_woken.recv().unwrap();
        assert!(now.elapsed() >= Duration::from_millis(30));
        assert!(late_woken.try_recv().is_err());
    }

    #[test]
    fn wakes_waiters_whose_handle_is_fired_before_or_after() {
        let (cancel, other) = (Cancel::new(), Cancel::new());
        let (first, first_woken) = waker();
        let (second, second_woken) = waker();
        let _first = watch(None, Some(cancel.clone()), first).unwrap();
        let _second = watch(None, Some(other), second).unwrap();
        cancel.fire();
        first_woken.recv().unwrap();
        let (third, third_woken) = waker();
        let _third = watch(None, Some(cancel), third).unwrap();
        third_woken.recv().unwrap();
        assert!(second_woken.try_recv().is_err());
    }

    #[test]
    fn forgets_a_waiter_that_is_dropped() {
        let (waker, woken) = waker();
        let watched = watch(Some(Instant::now() + Duration::from_secs(3600)), None, waker).unwrap();
        let number = watched.0;
        drop(watched);
        assert!(!lock().waiters.contains_key(&number));
        assert!(lock().deadlines.iter().all(|(_, other)| *other != number));
        // Its waker is gone.
        assert!(woken.recv().is_err());
    }
}
