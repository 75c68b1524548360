//! Tests that take long: thousands of faults, programs that are killed, hundreds of containers,
//! outages of minutes.
//!
//!     soak [--share N] [--seed N] [TOPIC...]
//!
//! `make soak` runs everything and prints the table of `../RESULTS.md`. CI runs a twentieth of
//! everything (`--share 20`). A wrong count is a failure in both: an exit that is wrong, lost or
//! reported twice, a lost event, a container that is not recovered, anything that is left. Times,
//! CPU and memory depend on the machine. They are printed, and a value beyond the promise is a
//! failure only in a full run.

mod clock;
mod containerd;
mod events;
mod faults;
mod job;
mod outage;
mod pool;
mod programs;
mod random;
mod recover;
mod report;
mod server;
mod usage;
mod watches;
mod wire;

#[path = "../../tests/ground/mod.rs"]
mod ground;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use report::Report;

/// The argument that makes this program run a job.
const JOB: &str = "--job";

/// Which topics to run, and how much of each.
struct Options {
    /// The divisor of every number.
    share: usize,
    /// The seed of the random choices.
    seed: u64,
}

impl Options {
    /// This run's share of a full number.
    fn share_of(&self, full: usize) -> usize {
        (full / self.share).max(1)
    }
}

type Topic = fn(&Options, &mut Report);

const TOPICS: [(&str, Topic); 8] = [
    ("faults", faults::run),
    ("unseen", faults::run_unseen),
    ("programs", programs::run),
    ("recover", recover::run),
    ("watches", watches::run),
    ("events", events::run),
    ("outage", outage::run),
    ("clock", clock::run),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [first, name, rest @ ..] = arguments.as_slice()
        && first == JOB
    {
        job::run(name, rest);
        return ExitCode::SUCCESS;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut options = Options { share: 1, seed: now.as_micros() as u64 };
    let mut topics = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse().ok());
        match argument.as_str() {
            "--share" => options.share = number().expect("--share N") as usize,
            "--seed" => options.seed = number().expect("--seed N"),
            name => topics.push(name.to_owned()),
        }
    }
    assert!(options.share > 0, "--share 0");
    for topic in &topics {
        assert!(TOPICS.iter().any(|(name, _)| name == topic), "there is no topic {topic}");
    }
    let mut report = Report::begin(&options);
    for (name, run) in TOPICS {
        if topics.is_empty() || topics.iter().any(|topic| topic == name) {
            report.topic(name);
            run(&options, &mut report);
        }
    }
    report.end()
}
