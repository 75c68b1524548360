//! Times
//!
//! Durations and timeouts are int64_t, in milliseconds. As a timeout, 0 is the default of the function;
//! CTRD_FOREVER waits without an end; CTRD_POLL does not wait at all: a function that would have to wait
//! answers CTRD_E_WOULD_BLOCK. Any other negative value is a deadline that has passed: the function does
//! nothing, and answers CTRD_E_TIMEOUT. So a program with a deadline gives CTRD_REMAINING(deadline, now).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ctrd::{Error, Result};

use crate::abi::guard;

/// The value of the macro `CTRD_FOREVER`.
pub(crate) const FOREVER: i64 = i64::MAX;

/// The value of the macro `CTRD_POLL`.
pub(crate) const POLL: i64 = i64::MIN;

/// How long a call may take.
pub(crate) enum Timeout {
    Default,
    After(Duration),
    Forever,
    Poll,
    /// The deadline passed before the call.
    Over,
}

impl Timeout {
    /// What a number of the caller's means.
    pub(crate) fn from_milliseconds(given: i64) -> Timeout {
        match given {
            0 => Timeout::Default,
            FOREVER => Timeout::Forever,
            POLL => Timeout::Poll,
            given => match u64::try_from(given) {
                Ok(milliseconds) => Timeout::After(Duration::from_millis(milliseconds)),
                Err(_) => Timeout::Over,
            },
        }
    }
}

/// A time span from C.
pub(crate) fn span(name: &str, given: i64) -> Result<Duration> {
    u64::try_from(given)
        .map(Duration::from_millis)
        .map_err(|_| Error::invalid(name, format!("{given} is neither a time nor a constant")))
}

/// A time span from C for which 0 means the default, which is `None` here. `none` is the constant that
/// means no time at all.
pub(crate) fn optional_span(name: &str, given: i64, none: i64) -> Result<Option<Duration>> {
    match given {
        0 => Ok(None),
        FOREVER => Ok(Some(Duration::MAX)),
        given if given == none => Ok(Some(Duration::ZERO)),
        given => span(name, given).map(Some),
    }
}

/// A point in time, in UTC.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_time_t {
    /// Seconds since 1970-01-01 00:00:00; negative before.
    pub seconds: i64,
    /// Nanoseconds after that second, 0 to 999999999.
    pub nanoseconds: u32,
    /// Always 0.
    pub reserved: u32,
}

impl From<SystemTime> for ctrd_time_t {
    fn from(time: SystemTime) -> ctrd_time_t {
        const BILLION: i128 = 1_000_000_000;
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos().cast_signed(),
            Err(before) => -before.duration().as_nanos().cast_signed(),
        };
        ctrd_time_t {
            seconds: i64::try_from(nanos.div_euclid(BILLION)).unwrap_or(i64::MAX),
            nanoseconds: u32::try_from(nanos.rem_euclid(BILLION)).unwrap_or(0),
            reserved: 0,
        }
    }
}

/// The value of CTRD_FOREVER, for languages without macros.
///
/// @return CTRD_FOREVER.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_forever() -> i64 {
    guard::value(|| FOREVER)
}

/// The value of CTRD_POLL, for languages without macros.
///
/// @return CTRD_POLL.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_poll() -> i64 {
    guard::value(|| POLL)
}
