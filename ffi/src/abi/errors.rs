//! The parts of an error.

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::CString;

use ctrd::{Error, ErrorKind, ErrorReason};

use crate::abi::outputs::c_string;
use crate::status::{self, ctrd_status_t};

/// The same call may succeed if it is made again, unchanged.
pub const CTRD_ERROR_RETRYABLE: u32 = 1;
/// The change may have been made although the call failed: look before you repeat it.
pub const CTRD_ERROR_OUTCOME_UNKNOWN: u32 = 2;

/// A reason: no container has this id.
pub const CTRD_REASON_NO_CONTAINER: u32 = 1;
/// A reason: the container exists. It has no task, and its record does not say how its process ended.
pub const CTRD_REASON_NO_TASK: u32 = 2;
/// A reason: no image has this name.
pub const CTRD_REASON_NO_IMAGE: u32 = 3;
/// A reason: containerd does not have all the content of the image: a pull was not completed, or was one
/// of another platform.
pub const CTRD_REASON_NO_CONTENT: u32 = 4;
/// A reason: no snapshot has this key, or the snapshot that it is made from does not exist.
pub const CTRD_REASON_NO_SNAPSHOT: u32 = 5;
/// A reason: containerd has no snapshotter of this name.
pub const CTRD_REASON_NO_SNAPSHOTTER: u32 = 6;
/// A reason: containerd cannot find the runtime's program.
pub const CTRD_REASON_NO_RUNTIME: u32 = 7;
/// A reason: the call's lease does not exist.
pub const CTRD_REASON_NO_LEASE: u32 = 8;
/// A reason: the container belongs to another owner, or to none.
pub const CTRD_REASON_OTHER_OWNER: u32 = 9;
/// A reason: the container's shim died a moment ago, and containerd has not cleaned up after it yet.
pub const CTRD_REASON_SHIM_DIED: u32 = 10;
/// A reason: another client writes the content of the image at the moment.
pub const CTRD_REASON_CONTENT_LOCKED: u32 = 11;
/// A process could not be started: there is no such program in the container.
pub const CTRD_REASON_PROGRAM_NOT_FOUND: u32 = 12;
/// A process could not be started: it may not execute the program, or the file is none.
pub const CTRD_REASON_PROGRAM_NOT_EXECUTABLE: u32 = 13;
/// A process could not be started for another reason, which the message says.
pub const CTRD_REASON_START_FAILED: u32 = 14;

/// The value of an error's reason; 0 if it has none.
fn reason_of(error: &Error) -> u32 {
    match error.reason() {
        Some(ErrorReason::NoContainer) => CTRD_REASON_NO_CONTAINER,
        Some(ErrorReason::NoTask) => CTRD_REASON_NO_TASK,
        Some(ErrorReason::NoImage) => CTRD_REASON_NO_IMAGE,
        Some(ErrorReason::NoContent) => CTRD_REASON_NO_CONTENT,
        Some(ErrorReason::NoSnapshot) => CTRD_REASON_NO_SNAPSHOT,
        Some(ErrorReason::NoSnapshotter) => CTRD_REASON_NO_SNAPSHOTTER,
        Some(ErrorReason::NoRuntime) => CTRD_REASON_NO_RUNTIME,
        Some(ErrorReason::NoLease) => CTRD_REASON_NO_LEASE,
        Some(ErrorReason::OtherOwner) => CTRD_REASON_OTHER_OWNER,
        Some(ErrorReason::ShimDied) => CTRD_REASON_SHIM_DIED,
        Some(ErrorReason::ContentLocked) => CTRD_REASON_CONTENT_LOCKED,
        Some(ErrorReason::ProgramNotFound) => CTRD_REASON_PROGRAM_NOT_FOUND,
        Some(ErrorReason::ProgramNotExecutable) => CTRD_REASON_PROGRAM_NOT_EXECUTABLE,
        Some(ErrorReason::StartFailed) => CTRD_REASON_START_FAILED,
        _ => 0,
    }
}

/// Why a call failed.
pub struct ctrd_error_t {
    pub(crate) status: ctrd_status_t,
    pub(crate) reason: u32,
    pub(crate) grpc_code: i32,
    pub(crate) errno: i32,
    pub(crate) flags: u32,
    pub(crate) operation: CString,
    pub(crate) subject: CString,
    pub(crate) step: CString,
    pub(crate) message: CString,
    pub(crate) text: CString,
    pub(crate) cause: Option<Box<ctrd_error_t>>,
}

impl ctrd_error_t {
    /// An error that does not name its operation gets the name `operation`.
    pub(crate) fn new(error: &Error, operation: &str) -> ctrd_error_t {
        let own = error.operation();
        let message = message_of(error);
        let mut text = error.to_string();
        // The text ends with the message.
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
            reason: reason_of(error),
            grpc_code: error.grpc_code().unwrap_or(0),
            errno: error.errno().unwrap_or(0),
            flags: retryable | unknown,
            operation: c_string(if own.is_empty() { operation } else { own }),
            subject: c_string(error.subject()),
            step: c_string(error.failed_step().unwrap_or_default()),
            message: c_string(&message),
            // It stays one line for a log, whatever the server or runc wrote into the message.
            text: c_string(&text.replace(|c: char| c.is_control(), " ")),
            cause: cause.map(|cause| Box::new(ctrd_error_t::new(cause, ""))),
        }
    }

    /// The whole error as one line.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        self.text.to_string_lossy()
    }
}

/// Arguments that have another name in C: one is a word of C++, one is two arrays, one has a unit.
const RENAMED: [(&str, &str); 3] = [
    ("namespace: ", "namespace_name: "),
    ("labels: ", "label_keys: "),
    ("timeout: ", "timeout_ms: "),
];

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
