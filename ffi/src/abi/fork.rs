//! Children of the process.
//!
//! A lock that a thread held at the fork stays locked in the child, because only the thread that forked
//! is there. So a child of a process that has used the library takes no lock, logs nothing and runs no
//! hook: whatever it calls asks here first. Nothing here takes a lock either.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ctrd::{Error, ErrorKind, Result};

/// The process in which a client was opened or a containerd started. 0: there is none.
static USER: AtomicU32 = AtomicU32::new(0);

/// The threads that are opening a client or starting a containerd.
static STARTING: Count = Count::new();

/// Whether the process is a child of one that has used the library.
pub(crate) fn is_child() -> bool {
    let user = USER.load(Ordering::SeqCst);
    (user != 0 && user != std::process::id()) || STARTING.is_of_another_process()
}

/// Fails in a child of a process that has used the library.
pub(crate) fn check() -> Result<()> {
    if is_child() {
        return Err(forked("the process forked after the library was used; use it after forking"));
    }
    Ok(())
}

fn forked(why: &str) -> Error {
    Error::new(ErrorKind::Forked, why)
}

/// The use of the library begins: from here on a child cannot use it. If it does not begin after all,
/// because nothing could be opened, a child can.
pub(crate) struct Use(());

impl Use {
    pub(crate) fn begin() -> Use {
        STARTING.begin();
        Use(())
    }

    /// A client was opened, or a containerd started.
    pub(crate) fn keep(self) {
        USER.store(std::process::id(), Ordering::SeqCst);
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        STARTING.end();
    }
}

/// The process that made a handle.
pub(crate) struct Maker(u32);

impl Maker {
    pub(crate) fn here() -> Maker {
        Maker(std::process::id())
    }

    /// Whether that is this process, and not a child of it.
    pub(crate) fn is_here(&self) -> bool {
        self.0 == std::process::id()
    }

    /// Fails in a child of the process that made the handle.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(forked(&format!("the {what} was made before the process forked")))
    }
}

/// How many threads of a process are doing something. In a child the threads of its parent are not
/// there, and do not count.
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    pub(crate) fn begin(&self) {
        self.change(|threads| threads.saturating_add(1));
    }

    pub(crate) fn end(&self) {
        self.change(|threads| threads.saturating_sub(1));
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        let here = std::process::id();
        let update = |value| {
            let (process, threads) = parts(value);
            let threads = change(if process == here { threads } else { 0 });
            Some(u64::from(here) << 32 | u64::from(threads))
        };
        // The update is always made.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
    }

    /// Whether no thread of this process does it.
    pub(crate) fn is_zero(&self) -> bool {
        let (process, threads) = parts(self.0.load(Ordering::SeqCst));
        threads == 0 || process != std::process::id()
    }

    /// Whether threads of the parent were doing it when the process forked.
    fn is_of_another_process(&self) -> bool {
        let (process, threads) = parts(self.0.load(Ordering::SeqCst));
        threads != 0 && process != std::process::id()
    }
}

/// The process, and the number of its threads.
fn parts(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, (value & u64::from(u32::MAX)) as u32)
}
