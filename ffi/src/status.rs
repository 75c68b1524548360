//! Status values
//!
//! What every function that can fail returns. Values are appended and never renumbered.

use ctrd::ErrorKind;

/// The outcome of a call: CTRD_OK, or one of the negative CTRD_E_ values.
pub type ctrd_status_t = i32;

/// The call succeeded.
pub const CTRD_OK: ctrd_status_t = 0;
/// An argument is not acceptable; the message names it.
pub const CTRD_E_INVALID_ARGUMENT: ctrd_status_t = -1;
/// What was named does not exist.
pub const CTRD_E_NOT_FOUND: ctrd_status_t = -2;
/// What was to be made exists already.
pub const CTRD_E_ALREADY_EXISTS: ctrd_status_t = -3;
/// The object is not in a state in which this can be done.
pub const CTRD_E_FAILED_PRECONDITION: ctrd_status_t = -4;
/// The operating system, the server or the registry does not permit it.
pub const CTRD_E_PERMISSION_DENIED: ctrd_status_t = -5;
/// The registry wants other credentials.
pub const CTRD_E_UNAUTHENTICATED: ctrd_status_t = -6;
/// The server cannot be reached, the connection broke, or the server cancelled the call.
pub const CTRD_E_UNAVAILABLE: ctrd_status_t = -7;
/// The call's deadline passed.
pub const CTRD_E_TIMEOUT: ctrd_status_t = -8;
/// The call's cancel handle was fired.
pub const CTRD_E_CANCELLED: ctrd_status_t = -9;
/// Another operation holds the container; the message names it.
pub const CTRD_E_BUSY: ctrd_status_t = -10;
/// Nothing is there yet, and the call was not to wait (CTRD_POLL).
pub const CTRD_E_WOULD_BLOCK: ctrd_status_t = -11;
/// The client was closed.
pub const CTRD_E_CLOSED: ctrd_status_t = -12;
/// The process forked after the handle was made; the child cannot use it.
pub const CTRD_E_FORKED: ctrd_status_t = -13;
/// The call would wait for itself.
pub const CTRD_E_REENTRANT: ctrd_status_t = -14;
/// The server, the kernel or this build cannot do it.
pub const CTRD_E_UNSUPPORTED: ctrd_status_t = -15;
/// A limit was reached: memory, a message's size, a quota.
pub const CTRD_E_RESOURCE_EXHAUSTED: ctrd_status_t = -16;
/// The server gave up because of a conflict.
pub const CTRD_E_ABORTED: ctrd_status_t = -17;
/// A position or number is outside of what there is.
pub const CTRD_E_OUT_OF_RANGE: ctrd_status_t = -18;
/// Data is damaged: a digest or a size does not match.
pub const CTRD_E_DATA_LOSS: ctrd_status_t = -19;
/// A system call failed; ctrd_error_errno() says how.
pub const CTRD_E_IO: ctrd_status_t = -20;
/// The other side answered with something its specification does not allow.
pub const CTRD_E_PROTOCOL: ctrd_status_t = -21;
/// An error in this library.
pub const CTRD_E_INTERNAL: ctrd_status_t = -22;
/// The server failed without saying more: runc, the shim or containerd itself.
pub const CTRD_E_UNKNOWN: ctrd_status_t = -23;
/// A panic in this library was caught.
pub const CTRD_E_PANIC: ctrd_status_t = -24;

/// The value of every kind of the core's.
pub(crate) const STATUS_OF_KIND: &[(ErrorKind, ctrd_status_t)] = &[
    (ErrorKind::InvalidArgument, CTRD_E_INVALID_ARGUMENT),
    (ErrorKind::NotFound, CTRD_E_NOT_FOUND),
    (ErrorKind::AlreadyExists, CTRD_E_ALREADY_EXISTS),
    (ErrorKind::FailedPrecondition, CTRD_E_FAILED_PRECONDITION),
    (ErrorKind::PermissionDenied, CTRD_E_PERMISSION_DENIED),
    (ErrorKind::Unauthenticated, CTRD_E_UNAUTHENTICATED),
    (ErrorKind::Unavailable, CTRD_E_UNAVAILABLE),
    (ErrorKind::Timeout, CTRD_E_TIMEOUT),
    (ErrorKind::Cancelled, CTRD_E_CANCELLED),
    (ErrorKind::Busy, CTRD_E_BUSY),
    (ErrorKind::WouldBlock, CTRD_E_WOULD_BLOCK),
    (ErrorKind::Closed, CTRD_E_CLOSED),
    (ErrorKind::Forked, CTRD_E_FORKED),
    (ErrorKind::Reentrant, CTRD_E_REENTRANT),
    (ErrorKind::Unsupported, CTRD_E_UNSUPPORTED),
    (ErrorKind::ResourceExhausted, CTRD_E_RESOURCE_EXHAUSTED),
    (ErrorKind::Aborted, CTRD_E_ABORTED),
    (ErrorKind::OutOfRange, CTRD_E_OUT_OF_RANGE),
    (ErrorKind::DataLoss, CTRD_E_DATA_LOSS),
    (ErrorKind::Io, CTRD_E_IO),
    (ErrorKind::Protocol, CTRD_E_PROTOCOL),
    (ErrorKind::Internal, CTRD_E_INTERNAL),
    (ErrorKind::Unknown, CTRD_E_UNKNOWN),
    (ErrorKind::Panic, CTRD_E_PANIC),
];

/// The value of a kind.
pub(crate) fn of_kind(kind: ErrorKind) -> ctrd_status_t {
    STATUS_OF_KIND.iter().find(|(k, _)| *k == kind).map_or(CTRD_E_INTERNAL, |(_, status)| *status)
}
