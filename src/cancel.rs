//! A handle that ends calls from another thread, or from a signal handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::wakeup;

/// Ends every call that received it. A handle that was fired stays fired. Clones are the same handle.
///
/// ```
/// use ctrd::{Call, Cancel, ErrorKind, Queue, QueueConfig};
///
/// let queue = Queue::new(&QueueConfig::new())?;
/// let cancel = Cancel::new();
/// cancel.fire();
/// let error = queue.next(&Call::new().cancel(&cancel)).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok::<(), ctrd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cancel(Arc<State>);

#[derive(Debug)]
struct State {
    fired: AtomicBool,
    /// The process that made the handle. A forked child must not believe that it can end its
    /// parent's calls.
    process: u32,
}

impl Default for Cancel {
    fn default() -> Cancel {
        Cancel::new()
    }
}

impl Cancel {
    /// A handle that is not fired yet. It holds no descriptor and no thread.
    pub fn new() -> Cancel {
        Cancel(Arc::new(State { fired: AtomicBool::new(false), process: std::process::id() }))
    }

    /// Fires the handle: the calls that received it end with [`crate::ErrorKind::Cancelled`], and calls
    /// that receive it later end at once. Async-signal-safe: it writes two atomics and makes one system
    /// call that leaves `errno` as it is. In a child of the process that made the handle it does nothing.
    pub fn fire(&self) {
        if std::process::id() != self.0.process {
            return;
        }
        self.0.fired.store(true, Ordering::SeqCst);
        wakeup::notify();
    }

    /// Whether it was fired.
    pub fn is_fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst)
    }
}
