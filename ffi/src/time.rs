//! Times

use std::time::{SystemTime, UNIX_EPOCH};

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

/// The body of an accessor of a time that may not be known: 1 where it is.
pub(crate) fn give(time: Option<SystemTime>, out: Option<&mut ctrd_time_t>) -> i32 {
    let Some(time) = time else { return 0 };
    crate::args::give(out, time.into());
    1
}
