//! The table of results, and whether every result is as required.

use std::fmt::Display;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::Options;

pub struct Report {
    /// Whether times can fail.
    full: bool,
    wrong: bool,
    start: Instant,
    topic: &'static str,
}

impl Report {
    pub fn begin(options: &Options) -> Report {
        machine();
        println!("share: 1/{}, seed: {}\n", options.share, options.seed);
        println!("| topic | what | measured | to be | |\n|---|---|---:|---:|---|");
        Report { full: options.share == 1, wrong: false, start: Instant::now(), topic: "" }
    }

    pub fn topic(&mut self, name: &'static str) {
        self.topic = name;
    }

    fn row(&self, what: &str, measured: impl Display, to_be: impl Display, verdict: &str) {
        println!("| {} | {what} | {measured} | {to_be} | {verdict} |", self.topic);
    }

    /// Adds a value that cannot fail.
    pub fn note(&self, what: &str, measured: impl Display) {
        self.row(what, measured, "", "");
    }

    /// Adds a count. A wrong count is a failure.
    pub fn count(&mut self, what: &str, found: usize, right: usize) {
        self.wrong |= found != right;
        self.row(what, found, right, if found == right { "yes" } else { "**WRONG**" });
    }

    /// Adds a count that has an upper limit.
    pub fn at_most(&mut self, what: &str, found: usize, most: usize) {
        self.wrong |= found > most;
        let verdict = if found <= most { "yes" } else { "**WRONG**" };
        self.row(what, found, format_args!("at most {most}"), verdict);
    }

    /// Adds a value that depends on the machine. It can fail only in a full run.
    pub fn figure(&mut self, what: &str, measured: impl Display, limit: &str, within: bool) {
        self.wrong |= self.full && !within;
        self.row(what, measured, limit, if within { "yes" } else { "**no**" });
    }

    /// Ends the table.
    pub fn end(self) -> ExitCode {
        println!("\n{:.0} s in all", self.start.elapsed().as_secs_f64());
        machine();
        if self.wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Milliseconds, in a readable form.
pub fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// Prints the machine, and how busy it is.
fn machine() {
    let read = |path| fs::read_to_string(path).unwrap().trim().to_owned();
    let version = |program| {
        let output = Command::new(program).arg("--version").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    };
    println!(
        "Linux {}, {} processors, load {}; {}; {}",
        read("/proc/sys/kernel/osrelease"),
        std::thread::available_parallelism().unwrap(),
        read("/proc/loadavg"),
        version("containerd"),
        version("runc"),
    );
}
