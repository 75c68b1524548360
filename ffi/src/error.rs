//! Errors
//!
//! A failed call gives an error. It belongs to the caller, who frees it with ctrd_error_free(). Its
//! texts are borrowed from it.

use std::ffi::c_char;

use crate::abi::errors::ctrd_error_t;
use crate::abi::guard;
use crate::status::{self, ctrd_status_t};

/// The name of a status value, as in "CTRD_E_NOT_FOUND".
///
/// @param status  the value.
/// @return the name, which is constant; "unknown status" for a value that this library does not have.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_status_name(status: ctrd_status_t) -> *const c_char {
    guard::text(Some(&status), |status| Some(status::name(*status)))
}

/// The status that the failed call returned.
///
/// @param error  the error; NULL gives CTRD_OK.
/// @return one of the CTRD_E_ values.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_status(error: Option<&ctrd_error_t>) -> ctrd_status_t {
    guard::read(error, |error| error.status)
}

/// The exact reason, if the status alone leaves it open. Of CTRD_E_NOT_FOUND it says which kind of object
/// is missing.
///
/// @param error  the error; NULL gives 0.
/// @return one of the CTRD_REASON_ values; 0 if the status is all that is known. A later version may add
///         some, also to errors that have none now.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_reason(error: Option<&ctrd_error_t>) -> u32 {
    guard::read(error, |error| error.reason)
}

/// The whole error as one line for a log: operation, subject, step and message. If it repeats something
/// very long, "…" (in UTF-8) stands for a part that is left out.
///
/// @param error  the error; NULL gives "".
/// @return the text, borrowed from the error.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_text(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::text(error, |error| Some(&error.text))
}

/// The text of the error, without operation, subject and step. If an argument is invalid, the message begins
/// with its name and a colon.
///
/// @param error  the error; NULL gives "".
/// @return the text, borrowed from the error.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_message(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::text(error, |error| Some(&error.message))
}

/// The operation that failed: its function's name without "ctrd_", as in "create_container".
///
/// @param error  the error; NULL gives "".
/// @return the name, borrowed from the error; "" for a cause that is not an operation.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_operation(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::text(error, |error| Some(&error.operation))
}

/// The object of the operation: a container's id, an image's reference, an address.
///
/// @param error  the error; NULL gives "".
/// @return the name, borrowed from the error; "" if the operation failed while it read its arguments.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_subject(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::text(error, |error| Some(&error.subject))
}

/// The step of the operation that failed, as in "prepare the snapshot".
///
/// @param error  the error; NULL gives "".
/// @return the step, borrowed from the error; "" if the operation has no steps, or failed before the
///         first.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_step(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::text(error, |error| Some(&error.step))
}

/// The gRPC status code that the server answered with (1 to 16).
///
/// @param error  the error; NULL gives 0.
/// @return the code; 0 if the error is not an answer of the server.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_grpc_code(error: Option<&ctrd_error_t>) -> i32 {
    guard::read(error, |error| error.grpc_code)
}

/// The error number of the system call that failed, as in errno.h.
///
/// @param error  the error; NULL gives 0.
/// @return the number; 0 if no system call failed.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_errno(error: Option<&ctrd_error_t>) -> i32 {
    guard::read(error, |error| error.errno)
}

/// Flags that say what a caller can do about the error: CTRD_ERROR_RETRYABLE, CTRD_ERROR_OUTCOME_UNKNOWN, both or
/// neither.
///
/// @param error  the error; NULL gives 0.
/// @return the flags; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_flags(error: Option<&ctrd_error_t>) -> u32 {
    guard::read(error, |error| error.flags)
}

/// The error that caused this one.
///
/// @param error  the error; NULL gives NULL.
/// @return the cause, borrowed from the error and not to be freed; NULL if there is none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_cause(error: Option<&ctrd_error_t>) -> Option<&ctrd_error_t> {
    guard::read(error, |error| error.cause.as_deref())
}

/// Frees an error with its texts and its causes.
///
/// @param error  the error; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_free(error: Option<Box<ctrd_error_t>>) {
    guard::value(|| drop(error));
}
