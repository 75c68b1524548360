//! Hooks that run on the host's own thread, when the host calls for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::hook::{SharedHook, inside};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::wait::wait_while;

#[derive(Default)]
pub(super) struct Dispatch {
    /// Readable while a message waits. Made when the host asks for it.
    event: OnceLock<OwnedFd>,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The hooks that have waiting messages.
    ready: VecDeque<SharedHook>,
    /// Whether a thread runs hooks.
    running: bool,
}

/// Marks one thread as the one that dispatches. The drop ends that.
struct Dispatching<'a>(&'a Dispatch);

impl Drop for Dispatching<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.ended.notify_all();
    }
}

impl Dispatch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>> {
        // Under the lock, so that a message that comes meanwhile finds the descriptor.
        let state = self.lock();
        if self.event.get().is_none() {
            let count = u32::from(!state.ready.is_empty());
            let event = eventfd(count, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|e| Error::io("eventfd", e))?;
            let _ = self.event.set(event);
        }
        drop(state);
        match self.event.get() {
            Some(event) => Ok(event.as_fd()),
            None => Err(Error::new(ErrorKind::Internal, "the descriptor is not there")),
        }
    }

    pub(super) fn push(&self, hook: SharedHook) {
        let mut state = self.lock();
        state.ready.push_back(hook);
        if state.ready.len() == 1
            && let Some(event) = self.event.get()
        {
            // If the counter is full, the descriptor is readable anyway.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    fn pop(&self) -> Option<SharedHook> {
        let mut state = self.lock();
        let hook = state.ready.pop_front();
        if state.ready.is_empty()
            && let Some(event) = self.event.get()
        {
            let _ = rustix::io::read(event, &mut [0u8; 8]);
        }
        hook
    }

    /// Waits until no thread dispatches.
    pub(super) fn end(&self, limits: &Limits) -> Result<()> {
        wait_while(&self.ended, self.lock(), limits, |state| state.running)
            .map(drop)
            .map_err(|e| e.context("a hook still runs"))
    }

    /// Runs hooks, for at most `max` messages. Returns the number of messages.
    pub(super) fn run(&self, max: usize) -> Result<usize> {
        if inside() {
            return Err(Error::new(ErrorKind::Reentrant, "called from inside a hook"));
        }
        {
            let mut state = self.lock();
            if state.running {
                return Err(Error::new(ErrorKind::Busy, "another thread dispatches"));
            }
            state.running = true;
        }
        let _dispatching = Dispatching(self);
        let mut ran = 0;
        while ran < max {
            let Some(hook) = self.pop() else { break };
            // This runs nothing if the hook was removed meanwhile.
            let (one, more) = hook.run(1);
            ran += one;
            if more {
                // Add it at the end, so that another hook gets its turn.
                self.push(hook);
            }
        }
        Ok(ran)
    }
}
