//! Calls
//!
//! Every function that may block takes a ctrd_call_t, which limits the call. NULL gives the defaults.

use std::ffi::c_char;
use std::sync::Arc;

use ctrd::{Call, Queue, Result};

use crate::abi::arguments::{self, optional_text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::queues::{ctrd_queue_t, live_queue};
use crate::abi::times::Timeout;
use crate::abi::{fork, guard};
use crate::cancel::ctrd_cancel_t;
use crate::status::ctrd_status_t;

/// The limits of one call, and the namespace and lease that it uses. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_call_t {
    /// sizeof(ctrd_call_t).
    pub size: usize,
    /// Ends the call when it is fired. If the call changes something, its error then has
    /// CTRD_ERROR_OUTCOME_UNKNOWN unless the change was certainly not made. NULL: none. Only borrowed.
    pub cancel: *const ctrd_cancel_t,
    /// The namespace of the call. NULL: the client's.
    pub namespace_name: *const c_char,
    /// A lease of the caller's. What the call makes is held by it. NULL: none.
    pub lease: *const c_char,
    /// The call is submitted: it runs on a thread of the library's, and this queue receives its outcome
    /// ("Submitting calls"). NULL: the function returns when the call is over. Only borrowed.
    pub queue: *mut ctrd_queue_t,
    /// Must be 0.
    pub reserved: usize,
    /// How long the call may take, in milliseconds. 0: as long as its function's comment says;
    /// CTRD_FOREVER; CTRD_POLL; any other negative value: CTRD_E_TIMEOUT at once.
    pub timeout_ms: i64,
    /// The tag of the messages of a submitted call: ctrd_message_tag(). Any value.
    pub tag: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_call_t {}

/// What the caller says of a call.
pub(crate) struct Given {
    pub(crate) call: Call,
    /// Set if the call is submitted.
    pub(crate) target: Option<Target>,
    /// Whether its deadline has passed.
    pub(crate) is_over: bool,
}

/// Receives the outcome of a submitted call.
pub(crate) struct Target {
    pub(crate) queue: Arc<Queue>,
    pub(crate) tag: u64,
}

/// Reads what the caller says of a call.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does, and its
/// handles are valid.
pub(crate) unsafe fn read(given: *const ctrd_call_t) -> Result<Given> {
    let mut call = Call::new();
    if given.is_null() {
        return Ok(Given { call, target: None, is_over: false });
    }
    // SAFETY: as the caller promises.
    let (given, namespace, lease, cancel, queue) = unsafe {
        let given = arguments::input("call", given)?;
        let is_submitted = !given.queue.is_null();
        let queue = is_submitted.then(|| live_queue(given.queue)).transpose()?;
        (
            given,
            optional_text("namespace_name", given.namespace_name)?,
            optional_text("lease", given.lease)?,
            given.cancel.as_ref(),
            queue,
        )
    };
    arguments::reserved(given.reserved as u64)?;
    let mut is_over = false;
    match Timeout::from_milliseconds(given.timeout_ms) {
        Timeout::Default => {}
        Timeout::After(timeout) => call = call.timeout(timeout),
        Timeout::Forever => call = call.forever(),
        Timeout::Poll => call = call.poll(),
        Timeout::Over => is_over = true,
    }
    if let Some(cancel) = cancel {
        call = call.cancel(cancel.live()?);
    }
    if let Some(namespace) = namespace {
        call = call.namespace(namespace);
    }
    if let Some(lease) = lease {
        call = call.lease(lease);
    }
    let target = queue.map(|queue| Target { queue, tag: given.tag });
    Ok(Given { call, target, is_over })
}

/// Initialises a ctrd_call_t as CTRD_CALL_INIT does, for languages without macros.
///
/// @param call  the struct; NULL does nothing.
/// @param size  its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_call_init(call: *mut ctrd_call_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(call, size) });
}

/// Sets how many threads submitted calls run on at most, in the whole process. The threads are made when
/// they are needed, and end after a second without work. If more threads run than the new number, they end
/// when their calls do. A program may call this function before it forks.
///
/// @param threads  the number: 4 to 1024. Without this call it is 16.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_set_call_threads(
    threads: u32,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("set_call_threads", err, || {
        fork::check()?;
        // It takes a lock, which a child would find held.
        let _used = fork::Use::begin();
        ctrd::set_call_threads(threads as usize)
    })
}
