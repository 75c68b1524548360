//! What wakes the watchdog's thread: a number that the thread sleeps on. Changing it takes no lock,
//! so a signal handler may do it.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::Timespec;
use rustix::thread::futex;

/// Changes whenever a cancel handle is fired or the thread has something new to look at.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// Makes the thread look at all waiters. Async-signal-safe.
pub(crate) fn notify() {
    CHANGES.fetch_add(1, Ordering::SeqCst);
    let _ = futex::wake(&CHANGES, futex::Flags::PRIVATE, 1);
}

/// The number as it is now.
pub(crate) fn changes() -> u32 {
    CHANGES.load(Ordering::SeqCst)
}

/// Sleeps until the number is another one than `changes`, or the time is over. It may wake earlier.
pub(crate) fn wait(changes: u32, timeout: Option<&Timespec>) {
    let _ = futex::wait(&CHANGES, futex::Flags::PRIVATE, changes, timeout);
}
