//! Status values
//!
//! Every function that can fail returns one of these. Later versions add values, and never change one.

use std::ffi::CStr;

use ctrd::ErrorKind;

/// The outcome of a call: CTRD_OK, or one of the negative CTRD_E_ values.
pub type ctrd_status_t = i32;

/// The call succeeded.
pub const CTRD_OK: ctrd_status_t = 0;
/// An argument is invalid; the message names it.
pub const CTRD_E_INVALID_ARGUMENT: ctrd_status_t = -1;
/// The object does not exist.
pub const CTRD_E_NOT_FOUND: ctrd_status_t = -2;
/// The object exists already.
pub const CTRD_E_ALREADY_EXISTS: ctrd_status_t = -3;
/// The object is not in the state that the operation needs.
pub const CTRD_E_FAILED_PRECONDITION: ctrd_status_t = -4;
/// The operating system, the server or the registry does not allow it.
pub const CTRD_E_PERMISSION_DENIED: ctrd_status_t = -5;
/// The registry wants other credentials.
pub const CTRD_E_UNAUTHENTICATED: ctrd_status_t = -6;
/// The server cannot be reached, the connection broke, or the server cancelled the call.
pub const CTRD_E_UNAVAILABLE: ctrd_status_t = -7;
/// The call's time is over.
pub const CTRD_E_TIMEOUT: ctrd_status_t = -8;
/// The call's cancel handle was fired.
pub const CTRD_E_CANCELLED: ctrd_status_t = -9;
/// Another operation is changing the container; the message names it.
pub const CTRD_E_BUSY: ctrd_status_t = -10;
/// The call would have to wait, and may not (CTRD_POLL).
pub const CTRD_E_WOULD_BLOCK: ctrd_status_t = -11;
/// The client is closed.
pub const CTRD_E_CLOSED: ctrd_status_t = -12;
/// This process is a child of the one that made the handle, or that used the library.
pub const CTRD_E_FORKED: ctrd_status_t = -13;
/// The call would wait for itself.
pub const CTRD_E_REENTRANT: ctrd_status_t = -14;
/// The server, the kernel or this library cannot do it.
pub const CTRD_E_UNSUPPORTED: ctrd_status_t = -15;
/// A limit is reached: memory, the size of a message, calls in flight, a quota.
pub const CTRD_E_RESOURCE_EXHAUSTED: ctrd_status_t = -16;
/// The server gave up because of a conflict.
pub const CTRD_E_ABORTED: ctrd_status_t = -17;
/// A position or number is out of range.
pub const CTRD_E_OUT_OF_RANGE: ctrd_status_t = -18;
/// Data is damaged: a digest or a size is wrong.
pub const CTRD_E_DATA_LOSS: ctrd_status_t = -19;
/// A system call failed; ctrd_error_errno() says how.
pub const CTRD_E_IO: ctrd_status_t = -20;
/// The server or the registry answered with something that its protocol does not allow.
pub const CTRD_E_PROTOCOL: ctrd_status_t = -21;
/// There is an error in this library.
pub const CTRD_E_INTERNAL: ctrd_status_t = -22;
/// runc, the shim or containerd failed, and did not say how.
pub const CTRD_E_UNKNOWN: ctrd_status_t = -23;
/// There is an error in this library: it panicked, and the panic was caught.
pub const CTRD_E_PANIC: ctrd_status_t = -24;

/// The value of every kind of error, and its name.
pub(crate) const STATUS_OF_KIND: &[(ErrorKind, ctrd_status_t, &CStr)] = &[
    (ErrorKind::InvalidArgument, CTRD_E_INVALID_ARGUMENT, c"CTRD_E_INVALID_ARGUMENT"),
    (ErrorKind::NotFound, CTRD_E_NOT_FOUND, c"CTRD_E_NOT_FOUND"),
    (ErrorKind::AlreadyExists, CTRD_E_ALREADY_EXISTS, c"CTRD_E_ALREADY_EXISTS"),
    (ErrorKind::FailedPrecondition, CTRD_E_FAILED_PRECONDITION, c"CTRD_E_FAILED_PRECONDITION"),
    (ErrorKind::PermissionDenied, CTRD_E_PERMISSION_DENIED, c"CTRD_E_PERMISSION_DENIED"),
    (ErrorKind::Unauthenticated, CTRD_E_UNAUTHENTICATED, c"CTRD_E_UNAUTHENTICATED"),
    (ErrorKind::Unavailable, CTRD_E_UNAVAILABLE, c"CTRD_E_UNAVAILABLE"),
    (ErrorKind::Timeout, CTRD_E_TIMEOUT, c"CTRD_E_TIMEOUT"),
    (ErrorKind::Cancelled, CTRD_E_CANCELLED, c"CTRD_E_CANCELLED"),
    (ErrorKind::Busy, CTRD_E_BUSY, c"CTRD_E_BUSY"),
    (ErrorKind::WouldBlock, CTRD_E_WOULD_BLOCK, c"CTRD_E_WOULD_BLOCK"),
    (ErrorKind::Closed, CTRD_E_CLOSED, c"CTRD_E_CLOSED"),
    (ErrorKind::Forked, CTRD_E_FORKED, c"CTRD_E_FORKED"),
    (ErrorKind::Reentrant, CTRD_E_REENTRANT, c"CTRD_E_REENTRANT"),
    (ErrorKind::Unsupported, CTRD_E_UNSUPPORTED, c"CTRD_E_UNSUPPORTED"),
    (ErrorKind::ResourceExhausted, CTRD_E_RESOURCE_EXHAUSTED, c"CTRD_E_RESOURCE_EXHAUSTED"),
    (ErrorKind::Aborted, CTRD_E_ABORTED, c"CTRD_E_ABORTED"),
    (ErrorKind::OutOfRange, CTRD_E_OUT_OF_RANGE, c"CTRD_E_OUT_OF_RANGE"),
    (ErrorKind::DataLoss, CTRD_E_DATA_LOSS, c"CTRD_E_DATA_LOSS"),
    (ErrorKind::Io, CTRD_E_IO, c"CTRD_E_IO"),
    (ErrorKind::Protocol, CTRD_E_PROTOCOL, c"CTRD_E_PROTOCOL"),
    (ErrorKind::Internal, CTRD_E_INTERNAL, c"CTRD_E_INTERNAL"),
    (ErrorKind::Unknown, CTRD_E_UNKNOWN, c"CTRD_E_UNKNOWN"),
    (ErrorKind::Panic, CTRD_E_PANIC, c"CTRD_E_PANIC"),
];

/// The value of a kind of error.
pub(crate) fn of_kind(kind: ErrorKind) -> ctrd_status_t {
    let entry = STATUS_OF_KIND.iter().find(|(k, _, _)| *k == kind);
    entry.map_or(CTRD_E_INTERNAL, |(_, status, _)| *status)
}

/// The name of a value.
pub(crate) fn name(status: ctrd_status_t) -> &'static CStr {
    if status == CTRD_OK {
        return c"CTRD_OK";
    }
    let entry = STATUS_OF_KIND.iter().find(|(_, value, _)| *value == status);
    entry.map_or(c"unknown status", |(_, _, name)| name)
}
