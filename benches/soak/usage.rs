//! The resources that a process uses.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The CPU time of this process.
pub fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// A clock that is the same for all processes.
pub fn clock() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap()
}

/// The memory of this process that no file backs, in KiB.
pub fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
