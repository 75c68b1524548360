//! How a call is bounded, and under which namespace and lease it runs.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// As the operation's documentation says.
    #[default]
    Default,
    /// So long from now, by the monotonic clock.
    After(Duration),
    /// Without an end.
    Forever,
    /// Not at all: [`ErrorKind::WouldBlock`] where it would have to wait.
    Poll,
}

/// What a caller may say of one call. The default is right for most.
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
    /// operation's begin.
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

    /// Keeps the call from waiting for something to happen.
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

    /// Holds what the call makes by this lease, which the caller owns.
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

    /// The limits of a call that starts now, or when it was accepted. `default` is the operation's own
    /// timeout.
    pub(crate) fn limits(&self, default: Option<Duration>) -> Limits {
        let after = match self.timeout {
            Timeout::Default => default,
            Timeout::After(timeout) => Some(timeout),
            Timeout::Forever => None,
            Timeout::Poll => Some(Duration::ZERO),
        };
        Limits {
            // A timeout beyond the clock's range is none.
            deadline: after
                .and_then(|after| self.accepted.unwrap_or_else(Instant::now).checked_add(after)),
            cancel: self.cancel.clone(),
            poll: self.timeout == Timeout::Poll,
        }
    }
}

/// Until when a call may run, and what ends it before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<Cancel>,
    /// Whether the caller asked not to wait at all.
    pub(crate) poll: bool,
}

impl Limits {
    /// Limits of a deadline alone.
    pub(crate) fn within(timeout: Duration) -> Limits {
        Limits { deadline: Instant::now().checked_add(timeout), ..Limits::default() }
    }

    /// These limits, but no longer than `timeout` from now.
    pub(crate) fn at_most(&self, timeout: Duration) -> Limits {
        let cap = Instant::now().checked_add(timeout);
        let deadline = match (self.deadline, cap) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Limits { deadline, ..self.clone() }
    }

    /// What is left until the deadline; `None` where there is none.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// Fails where the deadline has passed or the handle was fired.
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
            return Error::new(ErrorKind::WouldBlock, "it cannot be done without waiting");
        }
        Error::new(ErrorKind::Timeout, "the deadline passed").with_retryable(true)
    }

    pub(crate) fn cancelled() -> Error {
        Error::new(ErrorKind::Cancelled, "cancelled by the caller")
    }
}
