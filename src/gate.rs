//! The gate of a client: it counts the operations under way, and lets none in after the close.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::wait::wait_while;

/// Clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread of each operation under way.
    running: Vec<ThreadId>,
    closed: bool,
}

/// One operation under way. The drop ends it.
pub(crate) struct Pass {
    gate: Gate,
    thread: ThreadId,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation of the calling thread. Fails once the gate is closed.
    pub(crate) fn enter(&self) -> Result<Pass> {
        let thread = thread::current().id();
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        state.running.push(thread);
        drop(state);
        Ok(Pass { gate: self.clone(), thread })
    }

    /// Lets no further operation in.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Fails if an operation of the calling thread is under way, as in a callback of it: a wait for
    /// that operation would never end.
    pub(crate) fn check_reentrant(&self) -> Result<()> {
        if self.lock().running.contains(&thread::current().id()) {
            return Err(Error::new(
                ErrorKind::Reentrant,
                "called from a callback of an operation that it would wait for",
            ));
        }
        Ok(())
    }

    /// Waits until no operation is under way.
    pub(crate) fn wait_idle(&self, limits: &Limits) -> Result<()> {
        wait_while(&self.0.idle, self.lock(), limits, |state| !state.running.is_empty())
            .map(drop)
            .map_err(|e| e.context("operations are still under way"))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(position) = state.running.iter().position(|thread| *thread == self.thread) {
            state.running.swap_remove(position);
        }
        drop(state);
        self.gate.0.idle.notify_all();
    }
}

/// The error of an operation that begins after the close.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client is closed")
}
