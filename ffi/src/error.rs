//! Errors
//!
//! What a failed call says. An error belongs to the caller, who frees it with ctrd_error_free().

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::{CString, c_char};

use ctrd::{Error, ErrorKind};

use crate::args::c_string;
use crate::guard;
use crate::status::{self, ctrd_status_t};

/// The same call may succeed when it is tried again unchanged.
pub const CTRD_ERROR_RETRYABLE: u32 = 1;
/// The change may have taken place although the call failed: look before you repeat.
pub const CTRD_ERROR_OUTCOME_UNKNOWN: u32 = 2;

/// What a failed call says. Its texts are borrowed: they are valid until it is freed.
pub struct ctrd_error_t {
    status: ctrd_status_t,
    grpc_code: i32,
    errno: i32,
    flags: u32,
    operation: CString,
    subject: CString,
    step: Option<CString>,
    message: CString,
    text: CString,
    cause: Option<Box<ctrd_error_t>>,
}

impl ctrd_error_t {
    /// `operation` is what the error is said to be of where it does not say so itself.
    pub(crate) fn new(error: &Error, operation: &str) -> ctrd_error_t {
        let own = error.operation();
        let message = message_of(error);
        let mut text = error.to_string();
        // It is the text's end.
        text.truncate(text.len() - error.message().len());
        text.push_str(&message);
        if own.is_empty() && !operation.is_empty() {
            text = format!("{operation}: {text}");
        }
        let retryable = if error.is_retryable() { CTRD_ERROR_RETRYABLE } else { 0 };
        let unknown = if error.is_outcome_unknown() { CTRD_ERROR_OUTCOME_UNKNOWN } else { 0 };
        let cause = error.source().and_then(|source| source.downcast_ref::<Error>());
        ctrd_error_t {
            status: status::of_kind(error.kind()),
            grpc_code: error.grpc_code().unwrap_or(0),
            errno: error.errno().unwrap_or(0),
            flags: retryable | unknown,
            operation: c_string(if own.is_empty() { operation } else { own }),
            subject: c_string(error.subject()),
            step: error.failed_step().map(c_string),
            message: c_string(&message),
            // A line for a log, whatever the server or runc has written into the message.
            text: c_string(&text.replace(|c: char| c.is_control(), " ")),
            cause: cause.map(|cause| Box::new(ctrd_error_t::new(cause, ""))),
        }
    }
}

/// Arguments that have another name here: one is a word of C++, one is two arrays.
const RENAMED: [(&str, &str); 2] =
    [("namespace: ", "namespace_name: "), ("labels: ", "label_keys: ")];

/// What happened, with the argument named as it is in C.
fn message_of(error: &Error) -> Cow<'_, str> {
    let message = error.message();
    if error.kind() == ErrorKind::InvalidArgument {
        for (rust, c) in RENAMED {
            if let Some(why) = message.strip_prefix(rust) {
                return format!("{c}{why}").into();
            }
        }
    }
    message.into()
}

impl ctrd_error_t {
    /// The whole error as one line.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        self.text.to_string_lossy()
    }
}

/// The status that the failed call returned.
///
/// @param error  the error; NULL gives CTRD_OK.
/// @return one of the CTRD_E_ values.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_status(error: Option<&ctrd_error_t>) -> ctrd_status_t {
    guard::read(error, |error| error.status)
}

/// The whole error as one line for a log: operation, subject, step and message. Where it repeats
/// something very long, part of that is left out: "…" (UTF-8) is in its place.
///
/// @param error  the error; NULL gives NULL.
/// @return the text, borrowed from the error.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_text(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::read(error, |error| error.text.as_ptr())
}

/// What happened, without operation, subject and step. Of an invalid argument it begins with the
/// argument's name and a colon.
///
/// @param error  the error; NULL gives NULL.
/// @return the text, borrowed from the error.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_message(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::read(error, |error| error.message.as_ptr())
}

/// The operation that failed, named as its function is, without "ctrd_": "create_container".
///
/// @param error  the error; NULL gives NULL.
/// @return the name, borrowed from the error; empty for a cause that is no operation of its own.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_operation(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::read(error, |error| error.operation.as_ptr())
}

/// What the operation was to act on: a container's id, an image's reference, an address.
///
/// @param error  the error; NULL gives NULL.
/// @return the name, borrowed from the error; empty where the operation got no further than its
///         arguments.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_subject(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::read(error, |error| error.subject.as_ptr())
}

/// The step of the operation that failed: "prepare the snapshot".
///
/// @param error  the error; NULL gives NULL.
/// @return the step, borrowed from the error; NULL where the operation has no steps or failed before
///         the first.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_step(error: Option<&ctrd_error_t>) -> *const c_char {
    guard::read(error, |error| error.step.as_ref().map_or(std::ptr::null(), |step| step.as_ptr()))
}

/// The gRPC status code that the server answered with (1 to 16).
///
/// @param error  the error; NULL gives 0.
/// @return the code; 0 where the error is not an answer of the server's.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_grpc_code(error: Option<&ctrd_error_t>) -> i32 {
    guard::read(error, |error| error.grpc_code)
}

/// The error number of the system call that failed, as in errno.h.
///
/// @param error  the error; NULL gives 0.
/// @return the number; 0 where no system call failed.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_errno(error: Option<&ctrd_error_t>) -> i32 {
    guard::read(error, |error| error.errno)
}

/// What may be done about the error: CTRD_ERROR_RETRYABLE, CTRD_ERROR_OUTCOME_UNKNOWN, both or
/// none of them.
///
/// @param error  the error; NULL gives 0.
/// @return the flags; values that are not named here may be added.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_flags(error: Option<&ctrd_error_t>) -> u32 {
    guard::read(error, |error| error.flags)
}

/// The error that brought this one about.
///
/// @param error  the error; NULL gives NULL.
/// @return the cause, borrowed from the error and not to be freed; NULL where there is none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_cause(error: Option<&ctrd_error_t>) -> Option<&ctrd_error_t> {
    guard::read(error, |error| error.cause.as_deref())
}

/// Frees an error, and with it its texts and its cause.
///
/// @param error  the error, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_error_free(error: Option<Box<ctrd_error_t>>) {
    guard::value(|| drop(error));
}
