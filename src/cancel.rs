//! A handle that ends calls from another thread, or from a signal handler.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, Result};

/// Ends every call that was given it. Fired once, it stays fired. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fired: AtomicBool,
    /// Readable for ever once fired: those who wait poll it beside what they wait for, so that
    /// firing needs no lock and no list of them.
    event: OwnedFd,
    /// A child of the process shares the descriptor, and must not end its parent's calls.
    process: u32,
}

impl Cancel {
    /// A handle that is not fired yet. It holds one descriptor.
    pub fn new() -> Result<Cancel> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("eventfd", e).at("cancel_new", ""))?;
        let inner = Inner { fired: AtomicBool::new(false), event, process: std::process::id() };
        Ok(Cancel(Arc::new(inner)))
    }

    /// Fires the handle. Async-signal-safe: an atomic and one system call that leaves `errno` be.
    /// In a child of the process that made the handle it does nothing.
    pub fn fire(&self) {
        if std::process::id() != self.0.process {
            return;
        }
        self.0.fired.store(true, Ordering::SeqCst);
        // It can only fail where the counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether it was fired.
    pub fn is_fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst)
    }

    /// A descriptor that is readable once the handle is fired.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
