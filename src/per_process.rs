//! A static value that a forked child does not share with its parent.
//!
//! In a child, a lock may be held by a thread that does not exist there, and threads that the value
//! counts do not run. So the child has a value of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A value for each process, made when the process first asks for it.
pub(crate) struct PerProcess<T> {
    /// The process that has the value. 0: none yet.
    process: AtomicU32,
    value: OnceLock<T>,
    /// For a child of that process.
    child: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { process: AtomicU32::new(0), value: OnceLock::new(), child: OnceLock::new() }
    }

    /// The value of the calling process.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.of(std::process::id(), make)
    }

    fn of(&self, process: u32, make: impl FnOnce() -> T) -> &T {
        let claimed = self.process.compare_exchange(0, process, Ordering::SeqCst, Ordering::SeqCst);
        match claimed {
            // The value is not touched here, because a thread of the other process may have been making
            // it at the fork.
            Err(other) if other != process => {
                self.child.get_or_init(|| Box::new(PerProcess::new())).of(process, make)
            }
            _ => self.value.get_or_init(make),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_value_of_its_own() {
        let value = PerProcess::new();
        let here = std::process::id();
        assert_eq!(value.get_or_init(|| 1), &1);
        assert_eq!(value.of(here + 1, || 2), &2);
        assert_eq!(value.of(here + 2, || 3), &3);
        assert_eq!([0, 1, 2].map(|n| *value.of(here + n, || 4)), [1, 2, 3]);
    }
}
