//! The result of a submitted call.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value that a submitted call has made.
type Made = Box<dyn Any + Send>;

/// Drops a result that nobody has taken. A function does this because the destructor may block, and
/// the thread that drops the message may be the host's.
pub(crate) type Discard = fn(Made);

/// The result of a submitted call, until somebody takes it.
pub(crate) struct CallResult {
    made: Mutex<Option<Made>>,
    discard: Discard,
}

impl CallResult {
    pub(crate) fn new(made: Made, discard: Discard) -> CallResult {
        CallResult { made: Mutex::new(Some(made)), discard }
    }
}

impl Drop for CallResult {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        made.into_iter().for_each(self.discard);
    }
}

impl fmt::Debug for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallResult").finish_non_exhaustive()
    }
}

impl CallResult {
    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the result if it is a `T`.
    pub(super) fn take<T: 'static>(&self) -> Option<T> {
        let mut made = self.lock();
        if !made.as_ref()?.is::<T>() {
            return None;
        }
        made.take()?.downcast().ok().map(|made| *made)
    }

    /// Copies the result if it is a `T`.
    pub(super) fn peek<T: Clone + 'static>(&self) -> Option<T> {
        self.lock().as_ref()?.downcast_ref().cloned()
    }
}
