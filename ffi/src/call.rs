//! Calls
//!
//! How a single call is bounded. Every function that may block takes a ctrd_call_t; NULL is the
//! default.

use std::ffi::c_char;
use std::time::Duration;

use ctrd::{Call, Error, Result};

use crate::args;
use crate::cancel::ctrd_cancel_t;
use crate::guard;

/// A timeout: wait without an end.
pub const CTRD_FOREVER: i64 = -1;
/// A timeout: do not wait for anything to happen; CTRD_E_WOULD_BLOCK where the call would have to.
pub const CTRD_POLL: i64 = -2;

/// How one call is bounded, and under which namespace and lease it runs. All-zero is the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_call_t {
    /// sizeof(ctrd_call_t).
    pub size: usize,
    /// How long the call may take, in milliseconds; 0: as long as its function says; CTRD_FOREVER;
    /// CTRD_POLL.
    pub timeout_ms: i64,
    /// Ends the call when it is fired. A change that was cancelled has CTRD_ERROR_OUTCOME_UNKNOWN
    /// set if it may have taken place. NULL: none. Only borrowed.
    pub cancel: *const ctrd_cancel_t,
    /// The namespace of the call. NULL: the client's.
    pub namespace_name: *const c_char,
    /// A lease of the caller's that is to hold what the call makes. NULL: none.
    pub lease: *const c_char,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_call_t {}

/// Reads what the caller says of a call.
///
/// # Safety
/// `given` is NULL or as `args::input` wants it, its strings as `args::text` does, and its handle
/// is valid.
pub(crate) unsafe fn read(given: *const ctrd_call_t) -> Result<Call> {
    let mut call = Call::new();
    if given.is_null() {
        return Ok(call);
    }
    // SAFETY: as the caller promises.
    let (given, namespace, lease, cancel) = unsafe {
        let given = args::input("call", given)?;
        (
            given,
            args::optional_text("namespace_name", given.namespace_name)?,
            args::optional_text("lease", given.lease)?,
            given.cancel.as_ref(),
        )
    };
    call = match given.timeout_ms {
        0 => call,
        CTRD_FOREVER => call.forever(),
        CTRD_POLL => call.poll(),
        ms => call.timeout(milliseconds("timeout_ms", ms)?),
    };
    if let Some(cancel) = cancel {
        call = call.cancel(cancel.live()?);
    }
    if let Some(namespace) = namespace {
        call = call.namespace(namespace);
    }
    if let Some(lease) = lease {
        call = call.lease(lease);
    }
    Ok(call)
}

/// A time span from C.
pub(crate) fn milliseconds(name: &str, given: i64) -> Result<Duration> {
    u64::try_from(given)
        .map(Duration::from_millis)
        .map_err(|_| Error::invalid(name, format!("{given} is neither a time nor a constant")))
}

/// Initialises a ctrd_call_t as CTRD_CALL_INIT does, for languages without macros.
///
/// @param call  the struct; NULL does nothing.
/// @param size  its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_call_init(call: *mut ctrd_call_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(call, size) });
}
