//! Cancelling
//!
//! A cancel handle ends calls from another thread or from a signal handler.

use ctrd::{Cancel, Result};

use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::Maker;
use crate::abi::guard;
use crate::abi::outputs::Handle;
use crate::status::ctrd_status_t;

/// Ends the calls that it is given to. Once it is fired, it stays fired.
pub struct ctrd_cancel_t {
    cancel: Cancel,
    maker: Maker,
}

impl ctrd_cancel_t {
    /// The core's handle. A child cannot use it: it does not end the calls of its parent.
    pub(crate) fn live(&self) -> Result<&Cancel> {
        self.maker.check("cancel handle")?;
        Ok(&self.cancel)
    }
}

/// Makes a cancel handle. It takes no descriptor. It may be given to any number of calls, at the same time
/// and one after the other. A handle that was made before the process forked is of no use in the child:
/// make one there.
///
/// @param out  receives the handle, which the caller owns: ctrd_cancel_free().
/// @param err  receives the error, or NULL.
/// @return CTRD_OK.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_cancel_new(
    out: Option<&mut *mut ctrd_cancel_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("cancel_new", Handle::required("out", out), err, || {
        Ok(Box::new(ctrd_cancel_t { cancel: Cancel::new(), maker: Maker::here() }))
    })
}

/// Fires a cancel handle: the calls that have it end with CTRD_E_CANCELLED, and so does every later call
/// that is given it. It leaves errno unchanged. In a child of the process that made the handle it does
/// nothing.
///
/// @param cancel  the handle; NULL does nothing.
///
/// Blocking: no. Threads: signal. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_cancel_fire(cancel: *mut ctrd_cancel_t) {
    guard::signal_safe(|| {
        // SAFETY: NULL or a handle that is valid.
        if let Some(cancel) = unsafe { cancel.as_ref() } {
            // The core makes its system call without the C library, so errno is not touched.
            cancel.cancel.fire();
        }
    });
}

/// Frees a cancel handle. Calls that have it go on; if it was not fired, they can no longer be cancelled.
///
/// @param cancel  the handle; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_cancel_free(cancel: Option<Box<ctrd_cancel_t>>) {
    guard::value(|| drop(cancel));
}
