//! The error of a failed operation: its kind, the operation, the step and the subject, whether
//! another attempt may help, and whether the change may have been made nevertheless.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use log::Level;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of failure of an [`Error`]. Kinds are few and stable, so a program may branch on them.
///
/// ```no_run
/// use ctrd::{Call, Client, ErrorKind, RemoveImageConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// match client.remove_image("busybox", &RemoveImageConfig::new(), &Call::new()) {
///     Err(error) if error.kind() == ErrorKind::NotFound => {}
///     result => result?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument cannot be accepted. The message names it.
    InvalidArgument,
    /// The object does not exist.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The object is not in a state that permits the operation.
    FailedPrecondition,
    /// The operating system, the server or the registry does not permit the operation.
    PermissionDenied,
    /// The registry does not accept the credentials.
    Unauthenticated,
    /// The server cannot be reached, the connection broke, or the server cancelled the call.
    Unavailable,
    /// The call's deadline passed.
    Timeout,
    /// The call's cancel handle was fired.
    Cancelled,
    /// Another operation changes the container. The message names that operation.
    Busy,
    /// The call would have to wait, and it must not.
    WouldBlock,
    /// The client was closed.
    Closed,
    /// The process is a child, by fork, of the process that opened the client. Only that one can
    /// use it.
    Forked,
    /// The call would wait for its own end.
    Reentrant,
    /// The server, the kernel or this build does not support it.
    Unsupported,
    /// A limit was reached: memory, a message's size, a quota.
    ResourceExhausted,
    /// The server gave up because of a conflict.
    Aborted,
    /// A position or a number is out of range.
    OutOfRange,
    /// Data is damaged: a digest or a size does not match.
    DataLoss,
    /// A system call failed. [`Error::errno`] has its error number.
    Io,
    /// The server or the registry sent an answer that its specification does not allow.
    Protocol,
    /// An error in this library.
    Internal,
    /// The server failed and did not say more: runc, the shim or containerd itself.
    Unknown,
    /// A panic in this library was caught.
    Panic,
}

impl ErrorKind {
    /// Every kind.
    pub(crate) const ALL: &'static [ErrorKind] = &[
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::FailedPrecondition,
        ErrorKind::PermissionDenied,
        ErrorKind::Unauthenticated,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
        ErrorKind::Busy,
        ErrorKind::WouldBlock,
        ErrorKind::Closed,
        ErrorKind::Forked,
        ErrorKind::Reentrant,
        ErrorKind::Unsupported,
        ErrorKind::ResourceExhausted,
        ErrorKind::Aborted,
        ErrorKind::OutOfRange,
        ErrorKind::DataLoss,
        ErrorKind::Io,
        ErrorKind::Protocol,
        ErrorKind::Internal,
        ErrorKind::Unknown,
        ErrorKind::Panic,
    ];
}

/// The error of every operation. Cheap to clone.
///
/// ```
/// let error = ctrd::default_spec("example", "not an id").unwrap_err();
/// assert_eq!(error.kind(), ctrd::ErrorKind::InvalidArgument);
/// assert!(error.message().starts_with("id: "));
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Arc<Repr>);

#[derive(Clone, Debug, thiserror::Error)]
struct Repr {
    kind: ErrorKind,
    message: String,
    operation: &'static str,
    subject: String,
    step: Option<&'static str>,
    grpc_code: Option<i32>,
    errno: Option<i32>,
    retryable: bool,
    outcome_unknown: bool,
    #[source]
    source: Option<Error>,
    reason: Option<ErrorReason>,
}

/// The exact reason of an [`Error`]. It says which object is missing, for example, where the kind
/// says only that one is. Most errors have none: then the kind is all that a program can rely on.
///
/// ```no_run
/// use ctrd::{Call, Client, ContainerConfig, ErrorReason, PullConfig};
///
/// # fn f(client: &Client, config: &ContainerConfig) -> ctrd::Result<()> {
/// match client.create_container(config, &Call::new()) {
///     Err(error) if error.reason() == Some(ErrorReason::NoImage) => {
///         client.pull_image(&PullConfig::new("busybox"), &mut |_| {}, &Call::new())?;
///     }
///     result => drop(result?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorReason {
    /// No container has this id.
    NoContainer,
    /// The container exists. It has no task, and its record does not say how its process ended.
    NoTask,
    /// No image has this name.
    NoImage,
    /// containerd does not have all the content of the image: a pull was not completed, or was one
    /// of another platform.
    NoContent,
    /// No snapshot has this key, or the snapshot that it is made from does not exist.
    NoSnapshot,
    /// containerd has no snapshotter of this name.
    NoSnapshotter,
    /// containerd cannot find the runtime's program.
    NoRuntime,
    /// The call's lease does not exist.
    NoLease,
    /// The container belongs to another owner ([`crate::ClientConfig::owner`]), or to none.
    OtherOwner,
    /// The container's shim died a moment ago, and containerd has not cleaned up after it yet.
    ShimDied,
    /// Another client writes the content under the same name at the moment.
    ContentLocked,
    /// A process could not be started: there is no such program in the container.
    ProgramNotFound,
    /// A process could not be started: it may not execute the program, or the file is none.
    ProgramNotExecutable,
    /// A process could not be started for another reason, which the message says.
    StartFailed,
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operation.is_empty() {
            f.write_str(self.operation)?;
            if !self.subject.is_empty() {
                write!(f, " {}", self.subject)?;
            }
            f.write_str(": ")?;
        }
        if let Some(step) = self.step {
            write!(f, "{step}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// How many characters an error quotes of a value that may have any length. Valid values are hardly
/// ever longer.
const QUOTED: usize = 100;

/// The longest subject that can be valid: a full reference with tag and digest.
const SUBJECT: usize = 500;

/// How many characters of a long message are kept at its beginning and at its end.
const MESSAGE: (usize, usize) = (1000, 500);

/// Shortens a text to this many characters at its beginning and at its end. An ellipsis replaces
/// the rest.
fn shorten(text: &str, first: usize, last: usize) -> Cow<'_, str> {
    if text.len() <= first + last || text.chars().count() <= first + last {
        return text.into();
    }
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().rev().take(last).last().map_or(text.len(), |(at, _)| at);
    format!("{}…{}", &text[..at(first)], &text[tail..]).into()
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error {
    /// A new error. The message is a sentence fragment without a full stop, for one line of a log:
    /// the middle of a very long one is left out.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let message = message.into();
        Error(Arc::new(Repr {
            kind,
            message: shorten(&message, MESSAGE.0, MESSAGE.1).into_owned(),
            operation: "",
            subject: String::new(),
            step: None,
            grpc_code: None,
            errno: None,
            retryable: matches!(kind, ErrorKind::Unavailable | ErrorKind::Busy),
            outcome_unknown: false,
            source: None,
            reason: None,
        }))
    }

    /// The error of an argument that cannot be accepted. `why` may quote the argument at its
    /// beginning or its end: the middle of a long text is left out.
    pub fn invalid(argument: &str, why: impl fmt::Display) -> Error {
        let why = why.to_string();
        let why = shorten(&why, QUOTED, 2 * QUOTED);
        Error::new(ErrorKind::InvalidArgument, format!("{argument}: {why}"))
    }

    /// The error of a system call that failed. `what` names the file or object.
    pub(crate) fn io(what: impl fmt::Display, error: impl Into<std::io::Error>) -> Error {
        use std::io::ErrorKind as Io;
        let error = error.into();
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::PermissionDenied,
            Io::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        let errno = error.raw_os_error();
        let what = what.to_string();
        let what = shorten(&what, QUOTED, QUOTED);
        let mut new = Error::new(kind, format!("{what}: {error}"));
        new.edit().errno = errno;
        new
    }

    fn edit(&mut self) -> &mut Repr {
        Arc::make_mut(&mut self.0)
    }

    /// Names the operation and its subject, unless an inner operation has named itself.
    pub(crate) fn at(mut self, operation: &'static str, subject: &str) -> Error {
        if self.0.operation.is_empty() {
            let repr = self.edit();
            repr.operation = operation;
            // A subject that was refused may have any length.
            let most = if repr.kind == ErrorKind::InvalidArgument { QUOTED } else { SUBJECT };
            repr.subject = shorten(subject, most, 0).into_owned();
        }
        self
    }

    /// Names the step that failed, unless an inner step has been named.
    pub(crate) fn step(mut self, step: &'static str) -> Error {
        if self.0.step.is_none() {
            self.edit().step = Some(step);
        }
        self
    }

    /// Puts words in front of the message.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Error {
        let message = format!("{context}: {}", self.0.message);
        self.edit().message = message;
        self
    }

    /// Appends words to the message.
    pub(crate) fn followed_by(mut self, words: impl fmt::Display) -> Error {
        let message = format!("{}{words}", self.0.message);
        self.edit().message = message;
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
        self.edit().kind = kind;
        self
    }

    pub(crate) fn with_grpc_code(mut self, code: i32) -> Error {
        self.edit().grpc_code = Some(code);
        self
    }

    pub(crate) fn with_retryable(mut self, retryable: bool) -> Error {
        self.edit().retryable = retryable;
        self
    }

    pub(crate) fn with_outcome_unknown(mut self, unknown: bool) -> Error {
        self.edit().outcome_unknown = unknown;
        self
    }

    pub(crate) fn with_reason(mut self, reason: Option<ErrorReason>) -> Error {
        self.edit().reason = reason;
        self
    }

    /// Sets the cause of this error.
    pub(crate) fn caused_by(mut self, source: Error) -> Error {
        self.edit().source = Some(source);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The exact reason, if the error has one.
    pub fn reason(&self) -> Option<ErrorReason> {
        self.0.reason
    }

    /// The operation that failed, by the name of its function (`create_container`).
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The object of the operation: a container's id, an image's reference, an address. One that is
    /// too long for a line of a log ends with an ellipsis.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The step of the operation that failed (`prepare snapshot`).
    pub fn failed_step(&self) -> Option<&'static str> {
        self.0.step
    }

    /// The message, without operation, subject and step.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The exit code that a shell gives if a process cannot be started: 127 if there is no such program,
    /// 126 if it cannot be executed, 125 otherwise. `None` if the error is not about the start of a
    /// process. It depends on [`Error::reason`], which for these is read from the words of runc or crun:
    /// containerd passes nothing else on.
    pub fn shell_code(&self) -> Option<u32> {
        match self.0.reason {
            Some(ErrorReason::ProgramNotFound) => Some(127),
            Some(ErrorReason::ProgramNotExecutable) => Some(126),
            Some(ErrorReason::StartFailed) => Some(125),
            _ => None,
        }
    }

    /// The gRPC status code, if the server answered with one.
    pub fn grpc_code(&self) -> Option<i32> {
        self.0.grpc_code
    }

    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// Whether the same call may succeed if it is made again.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the change may have been made although the call failed. Check that before you repeat
    /// the call.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }
}

/// The operations whose end is logged as information. That of others is for debugging.
const MAIN_OPERATIONS: [&str; 10] = [
    "client_open",
    "client_close",
    "daemon_start",
    "daemon_stop",
    "create_container",
    "destroy_container",
    "recover_container",
    "recover_all",
    "pull_image",
    "remove_image",
];

/// Adds the operation, the subject and the step to the error of a result, and logs the end of an operation.
pub(crate) trait ResultExt<T> {
    fn at(self, operation: &'static str, subject: &str) -> Result<T>;
    fn step(self, step: &'static str) -> Result<T>;
    /// If the object does not exist, the error gets this reason, unless it has one.
    fn missing(self, reason: ErrorReason) -> Result<T>;
    /// `None` if the object does not exist.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> ResultExt<T> for Result<T> {
    fn at(self, operation: &'static str, subject: &str) -> Result<T> {
        let result = self.map_err(|e| e.at(operation, subject));
        let level = if MAIN_OPERATIONS.contains(&operation) { Level::Info } else { Level::Debug };
        match &result {
            Ok(_) => log::log!(level, "{operation} {subject}: done"),
            // The log may be locked for ever in a child.
            Err(e) if e.kind() == ErrorKind::Forked => {}
            Err(e) => log::log!(level, "{e}"),
        }
        result
    }

    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|e| e.step(step))
    }

    fn missing(self, reason: ErrorReason) -> Result<T> {
        self.map_err(|e| match (e.kind(), e.reason()) {
            (ErrorKind::NotFound, None) => e.with_reason(Some(reason)),
            _ => e,
        })
    }

    fn optional(self) -> Result<Option<T>> {
        match self {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_between_characters() {
        for (text, first, last, expected) in [
            ("", 2, 0, ""),
            ("ab", 2, 0, "ab"),
            ("äöü", 3, 0, "äöü"),
            ("abc", 2, 0, "ab…"),
            ("äöüß", 1, 1, "ä…ß"),
            ("äöüß", 2, 1, "äö…ß"),
            ("äöüß", 0, 1, "…ß"),
        ] {
            assert_eq!(shorten(text, first, last), expected, "{text} {first} {last}");
        }
    }

    #[test]
    fn an_error_is_a_line_whatever_it_repeats() {
        let long = "ä".repeat(200_000);
        let refused = Error::invalid("id", format!("{long:?} is none")).at("probe", &long);
        assert_eq!(refused.subject().chars().count(), QUOTED + 1);
        assert!(
            refused.message().starts_with("id: \"ää") && refused.message().ends_with("is none")
        );
        assert!(refused.to_string().len() < 2000, "{refused}");
        let io = Error::io(&long, rustix::io::Errno::NAMETOOLONG).at("client_open", &long);
        assert!(io.message().ends_with("(os error 36)") && io.to_string().len() < 2000, "{io}");
        let said = Error::new(ErrorKind::Unknown, format!("{long} was not found"));
        assert!(said.message().ends_with("found") && said.message().chars().count() == 1501);
        // A subject that may be valid is kept.
        let whole = Error::new(ErrorKind::NotFound, "no").at("get_image", &"x".repeat(460));
        assert_eq!(whole.subject().len(), 460);
    }
}
