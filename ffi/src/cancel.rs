//! Cancelling
//!
//! A cancel handle ends the calls that it is given to, from another thread or a signal handler.

use ctrd::{Cancel, Error, ErrorKind, Result};

use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;

/// Ends every call that it is given to. Fired once, it stays fired.
pub struct ctrd_cancel_t {
    cancel: Cancel,
    process: u32,
}

impl ctrd_cancel_t {
    /// The core's handle. A child shares its descriptor with the parent, and must not wait on it.
    pub(crate) fn live(&self) -> Result<&Cancel> {
        if std::process::id() == self.process {
            return Ok(&self.cancel);
        }
        Err(Error::new(ErrorKind::Forked, "the cancel handle was made before the process forked"))
    }
}

/// Makes a cancel handle. It holds one descriptor, and may be given to any number of calls, at the
/// same time and one after the other.
///
/// @param out  receives the handle, which the caller owns: ctrd_cancel_free().
/// @param err  receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_IO where no descriptor is left.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_cancel_new(
    out: Option<&mut *mut ctrd_cancel_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("cancel_new", Out::required("out", out), err, || {
        Ok(Box::new(ctrd_cancel_t { cancel: Cancel::new(), process: std::process::id() }))
    })
}

/// Fires a cancel handle: the calls that it was given to end with CTRD_E_CANCELLED, those that begin
/// with it later at once. It leaves errno as it was. In a child of the process that made the
/// handle it does nothing.
///
/// @param cancel  the handle; NULL does nothing.
///
/// Blocking: no. Threads: signal. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_cancel_fire(cancel: Option<&ctrd_cancel_t>) {
    guard::signal_safe(|| {
        if let Some(cancel) = cancel {
            // The core makes its system call without the C library, so errno is not touched.
            cancel.cancel.fire();
        }
    });
}

/// Frees a cancel handle. Calls that it was given to run on, and cannot be cancelled any more.
///
/// @param cancel  the handle, which the call takes; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_cancel_free(cancel: Option<Box<ctrd_cancel_t>>) {
    guard::value(|| drop(cancel));
}
