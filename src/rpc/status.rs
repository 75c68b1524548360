//! Translates gRPC's errors. Only this file reads the words of a server's message.

use grpcio::{RpcStatus, RpcStatusCode};

use crate::error::{Error, ErrorKind, ErrorReason};

/// Translates an error that `grpcio` reports for a call. `changes` says whether the method changes
/// anything.
pub(super) fn from_grpc(error: grpcio::Error, changes: bool) -> Error {
    match error {
        grpcio::Error::RpcFailure(status) => from_status(&status, changes),
        grpcio::Error::RpcFinished(Some(status)) => from_status(&status, changes),
        grpcio::Error::RpcFinished(None) | grpcio::Error::RemoteStopped => {
            Error::new(ErrorKind::Unavailable, "the server ended the stream")
                .with_outcome_unknown(changes)
        }
        grpcio::Error::Codec(e) => {
            Error::new(ErrorKind::Protocol, format!("a message could not be written or read: {e}"))
                .with_outcome_unknown(changes)
        }
        other => {
            Error::new(ErrorKind::Internal, format!("gRPC: {other}")).with_outcome_unknown(changes)
        }
    }
}

fn from_status(status: &RpcStatus, changes: bool) -> Error {
    let code = status.code();
    let text = status.message();
    // These words come from the gRPC core that is linked in, not from the server. Nothing was sent.
    let never_sent = code == RpcStatusCode::UNAVAILABLE
        && (text.starts_with("failed to connect to all addresses")
            || text.starts_with("connections to all backends failing"));
    let broken = matches!(
        code,
        RpcStatusCode::UNAVAILABLE | RpcStatusCode::DEADLINE_EXCEEDED | RpcStatusCode::CANCELLED
    );
    let kind = kind_of(code);
    let message = match (code, text) {
        (RpcStatusCode::CANCELLED, "") => "the server cancelled the call".to_owned(),
        (RpcStatusCode::CANCELLED, text) => format!("the server cancelled the call: {text}"),
        (code, "") => format!("the server answered {code:?} without a message"),
        (_, text) => text.to_owned(),
    };
    Error::new(kind, message)
        .with_grpc_code(code.into())
        .with_retryable(matches!(
            kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Aborted
        ))
        .with_outcome_unknown(changes && broken && !never_sent)
        .with_reason(reason(code, text))
}

/// Finds the reasons that containerd gives only in the words of its message (1.6 to 2.1).
fn reason(code: RpcStatusCode, text: &str) -> Option<ErrorReason> {
    match code {
        RpcStatusCode::UNKNOWN if text.contains("ttrpc: closed") => Some(ErrorReason::ShimDied),
        RpcStatusCode::UNKNOWN if text.contains("failed to resolve runtime path") => {
            Some(ErrorReason::NoRuntime)
        }
        RpcStatusCode::NOT_FOUND if text.starts_with("lease ") => Some(ErrorReason::NoLease),
        _ if text.starts_with("snapshotter not loaded") => Some(ErrorReason::NoSnapshotter),
        // The code alone is also that of a lost connection.
        RpcStatusCode::UNAVAILABLE if text.contains("locked") => Some(ErrorReason::ContentLocked),
        _ => None,
    }
}

/// Adds to the error of a runtime that could not start a process the reason, which runc and crun give only
/// in words.
pub(super) fn start_failure(error: Error) -> Error {
    if error.kind() != ErrorKind::Unknown || error.reason().is_some() {
        return error;
    }
    let reason = start_failure_reason(error.message());
    error.with_reason(Some(reason))
}

fn start_failure_reason(text: &str) -> ErrorReason {
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    // The words are the same if the working directory or a mount's source is missing.
    let is_about_program =
        has(&["exec: \"", "process: exec /", "executable file", "open executable"]);
    if is_about_program && has(&["file not found", "o such file or directory", "ot a directory"]) {
        ErrorReason::ProgramNotFound
    } else if is_about_program
        && has(&["ermission denied", "is a directory", "Is a directory", "exec format error"])
    {
        ErrorReason::ProgramNotExecutable
    } else {
        ErrorReason::StartFailed
    }
}

fn kind_of(code: RpcStatusCode) -> ErrorKind {
    match code {
        // The caller has not cancelled it: nobody waits for the answer to a call that was cancelled
        // here.
        RpcStatusCode::CANCELLED => ErrorKind::Unavailable,
        RpcStatusCode::INVALID_ARGUMENT => ErrorKind::InvalidArgument,
        RpcStatusCode::DEADLINE_EXCEEDED => ErrorKind::Timeout,
        RpcStatusCode::NOT_FOUND => ErrorKind::NotFound,
        RpcStatusCode::ALREADY_EXISTS => ErrorKind::AlreadyExists,
        RpcStatusCode::PERMISSION_DENIED => ErrorKind::PermissionDenied,
        RpcStatusCode::UNAUTHENTICATED => ErrorKind::Unauthenticated,
        RpcStatusCode::RESOURCE_EXHAUSTED => ErrorKind::ResourceExhausted,
        RpcStatusCode::FAILED_PRECONDITION => ErrorKind::FailedPrecondition,
        RpcStatusCode::ABORTED => ErrorKind::Aborted,
        RpcStatusCode::OUT_OF_RANGE => ErrorKind::OutOfRange,
        RpcStatusCode::UNIMPLEMENTED => ErrorKind::Unsupported,
        RpcStatusCode::INTERNAL => ErrorKind::Internal,
        RpcStatusCode::UNAVAILABLE => ErrorKind::Unavailable,
        RpcStatusCode::DATA_LOSS => ErrorKind::DataLoss,
        _ => ErrorKind::Unknown,
    }
}

/// The error of a future that is polled after it has given its result.
pub(super) fn polled_again() -> Error {
    Error::new(ErrorKind::Internal, "an answer was asked for twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: RpcStatusCode, text: &str, changes: bool) -> Error {
        let status = RpcStatus::with_message(code, text.into());
        from_grpc(grpcio::Error::RpcFailure(status), changes)
    }

    #[test]
    fn a_cancel_by_the_server_is_not_one_by_the_caller() {
        for changes in [false, true] {
            let error = error(RpcStatusCode::CANCELLED, "client canceled", changes);
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.grpc_code(), Some(1));
            assert!(error.is_retryable());
            assert_eq!(error.is_outcome_unknown(), changes);
            assert_eq!(error.message(), "the server cancelled the call: client canceled");
        }
        let silent = error(RpcStatusCode::CANCELLED, "", true);
        assert_eq!(silent.message(), "the server cancelled the call");
    }

    #[test]
    fn an_outcome_is_unknown_if_the_request_may_have_arrived() {
        let unknown = |code, text| error(code, text, true).is_outcome_unknown();
        assert!(unknown(RpcStatusCode::UNAVAILABLE, "Socket closed"));
        assert!(unknown(RpcStatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"));
        assert!(!unknown(RpcStatusCode::UNAVAILABLE, "failed to connect to all addresses; last"));
        assert!(!unknown(RpcStatusCode::NOT_FOUND, "no such task"));
        assert!(!error(RpcStatusCode::UNAVAILABLE, "Socket closed", false).is_outcome_unknown());
    }

    #[test]
    fn the_reason_of_a_failed_start_is_read_from_the_words_of_runc_and_crun() {
        let runc = "OCI runtime exec failed: exec failed: unable to start container process: ";
        for (text, expected) in [
            (
                format!("{runc}exec: \"x\": executable file not found in $PATH: unknown"),
                ErrorReason::ProgramNotFound,
            ),
            (
                format!("{runc}exec: \"/x\": stat /x: no such file or directory: unknown"),
                ErrorReason::ProgramNotFound,
            ),
            (
                format!("{runc}exec: \"/sh/x\": stat /sh/x: not a directory: unknown"),
                ErrorReason::ProgramNotFound,
            ),
            (
                format!("{runc}exec: \"/etc\": permission denied: unknown"),
                ErrorReason::ProgramNotExecutable,
            ),
            (
                format!("{runc}exec: \"/etc\": is a directory: unknown"),
                ErrorReason::ProgramNotExecutable,
            ),
            (
                format!("{runc}exec /x: exec format error: unknown"),
                ErrorReason::ProgramNotExecutable,
            ),
            (
                "executable file `x` not found in $PATH: No such file or directory".into(),
                ErrorReason::ProgramNotFound,
            ),
            ("open executable: Permission denied".into(), ErrorReason::ProgramNotExecutable),
            (
                format!(
                    "{runc}chdir to cwd (\"/x\") set in config.json failed: no such file or directory"
                ),
                ErrorReason::StartFailed,
            ),
            (
                format!("{runc}unable to apply caps: operation not permitted"),
                ErrorReason::StartFailed,
            ),
        ] {
            let error = start_failure(error(RpcStatusCode::UNKNOWN, &text, true));
            assert_eq!(error.reason(), Some(expected), "{text}");
        }
        // The shim died: that says more.
        let died = start_failure(error(RpcStatusCode::UNKNOWN, "ttrpc: closed: unknown", true));
        assert_eq!(died.reason(), Some(ErrorReason::ShimDied));
    }

    #[test]
    fn a_reason_is_read_from_the_words_of_containerd() {
        let reason = |code, text| error(code, text, true).reason();
        assert_eq!(
            reason(RpcStatusCode::UNKNOWN, "ttrpc: closed: unknown"),
            Some(ErrorReason::ShimDied)
        );
        assert_eq!(reason(RpcStatusCode::INTERNAL, "ttrpc: closed"), None);
        let text = "snapshotter not loaded: zfs: invalid argument";
        assert_eq!(reason(RpcStatusCode::INVALID_ARGUMENT, text), Some(ErrorReason::NoSnapshotter));
        let text = "ref layer-sha256:0 locked for 1s (since 2s): unavailable";
        assert_eq!(reason(RpcStatusCode::UNAVAILABLE, text), Some(ErrorReason::ContentLocked));
        assert_eq!(reason(RpcStatusCode::UNAVAILABLE, "Socket closed"), None);
        assert_eq!(reason(RpcStatusCode::NOT_FOUND, "no such task"), None);
        // Looked up by its name; and where something is added to it.
        for text in ["lease \"x\": not found", "lease does not exist: not found"] {
            assert_eq!(reason(RpcStatusCode::NOT_FOUND, text), Some(ErrorReason::NoLease));
        }
        let text = "failed to start shim: failed to resolve runtime path: runtime \"x\" binary not \
                    installed \"containerd-shim-x\": file does not exist: unknown";
        assert_eq!(reason(RpcStatusCode::UNKNOWN, text), Some(ErrorReason::NoRuntime));
    }
}
