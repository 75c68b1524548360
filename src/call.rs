//! The bounds of a call, and its namespace and lease.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// The default that the operation's documentation names.
    #[default]
    Default,
    /// This long from now, by the monotonic clock.
    After(Duration),
    /// Without an end.
    Forever,
    /// The call does not wait. It fails with [`ErrorKind::WouldBlock`] if it would have to.
    Poll,
}

/// The options of one call. The default is right for most calls.
///
/// ```
/// use std::time::Duration;
///
/// use ctrd::{Call, Cancel};
///
/// // At most 10 s, in the namespace `example`, and another thread may cancel it.
/// let cancel = Cancel::new();
/// let call = Call::new().timeout(Duration::from_secs(10)).namespace("example").cancel(&cancel);
/// # let _ = call;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Call {
    pub(crate) timeout: Timeout,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) namespace: Option<String>,
    pub(crate) lease: Option<String>,
    /// When a submitted call was accepted: its time counts from then. Otherwise it counts from the
    /// beginning of the operation.
    pub(crate) accepted: Option<Instant>,
}

impl Call {
    /// The operation's own timeout, the client's namespace, no cancel handle, no lease.
    pub fn new() -> Call {
        Call::default()
    }

    /// Sets how long the call may take.
    pub fn timeout(mut self, timeout: Duration) -> Call {
        self.timeout = Timeout::After(timeout);
        self
    }

    /// Lets the call wait without an end.
    pub fn forever(mut self) -> Call {
        self.timeout = Timeout::Forever;
        self
    }

    /// Forbids the call to wait for something to happen.
    pub fn poll(mut self) -> Call {
        self.timeout = Timeout::Poll;
        self
    }

    /// Ends the call when this handle is fired.
    pub fn cancel(mut self, cancel: &Cancel) -> Call {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Runs the call in this namespace instead of the client's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Call {
        self.namespace = Some(namespace.into());
        self
    }

    /// Adds what the call makes to this lease, which the caller owns.
    pub fn lease(mut self, lease: impl Into<String>) -> Call {
        self.lease = Some(lease.into());
        self
    }

    /// The same call, whose time counts from now on. `default` is its timeout if it names none.
    pub(crate) fn accepted(&self, default: Option<Duration>) -> Call {
        let timeout = match (self.timeout, default) {
            (Timeout::Default, Some(default)) => Timeout::After(default),
            (timeout, _) => timeout,
        };
        Call { accepted: Some(Instant::now()), timeout, ..self.clone() }
    }

    /// The limits of a call. Its time counts from its acceptance, or from now if it was not
    /// submitted. `default` is the operation's own timeout.
    pub(crate) fn limits(&self, default: Option<Duration>) -> Limits {
        let after = match self.timeout {
            Timeout::Default => default,
            Timeout::After(timeout) => Some(timeout),
            Timeout::Forever => None,
            Timeout::Poll => Some(Duration::ZERO),
        };
        Limits {
            // A timeout beyond the clock's range counts as none.
            deadline: after
                .and_then(|after| self.accepted.unwrap_or_else(Instant::now).checked_add(after)),
            cancel: self.cancel.clone(),
            poll: self.timeout == Timeout::Poll,
        }
    }
}

/// When a call must end, and what ends it earlier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<Cancel>,
    /// Whether the caller asked not to wait at all.
    pub(crate) poll: bool,
}

impl Limits {
    /// Limits that have only a deadline.
    pub(crate) fn within(timeout: Duration) -> Limits {
        Limits { deadline: Instant::now().checked_add(timeout), ..Limits::default() }
    }

    /// These limits, but with a deadline at most `timeout` from now.
    pub(crate) fn at_most(&self, timeout: Duration) -> Limits {
        let cap = Instant::now().checked_add(timeout);
        let deadline = match (self.deadline, cap) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Limits { deadline, ..self.clone() }
    }

    /// The time until the deadline. `None` if there is no deadline.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// Fails if the deadline has passed or the handle was fired.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(Cancel::is_fired) {
            return Err(Limits::cancelled());
        }
        if self.remaining().is_some_and(|left| left.is_zero()) {
            return Err(self.timed_out());
        }
        Ok(())
    }

    pub(crate) fn timed_out(&self) -> Error {
        if self.poll {
            return Error::new(ErrorKind::WouldBlock, "the call would have to wait");
        }
        Error::new(ErrorKind::Timeout, "the deadline passed").with_retryable(true)
    }

    pub(crate) fn cancelled() -> Error {
        Error::new(ErrorKind::Cancelled, "cancelled by the caller")
    }
}
