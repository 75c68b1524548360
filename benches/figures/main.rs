//! Measures the costs of calls, lifecycles and waits, and compares them with containerd's own Go
//! client.
//!
//! `make bench` prints the figures as the table of `../RESULTS.md`. Both clients do the same jobs
//! with the same containerd, each in a process of its own, in turns. Nothing here is a test,
//! because figures depend on the machine.

mod epolld;
mod job;

#[path = "../../tests/ground/mod.rs"]
mod ground;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ctrd::Call;
use ground::plot::Plot;
use ground::proxy::Proxy;
use job::CONTAINERS;

/// How many times each client does each job. The output is the median.
const ROUNDS: usize = 7;

/// How many of each kind in one round.
const VERSIONS: usize = 3000;
const LIFECYCLES: usize = 20;
const WAITS: usize = 1000;
const SUBMITTED: usize = 1000;

/// How many times the calls of one thread and of many are measured, in turns.
const SUBMISSION_ROUNDS: usize = 3;

/// The argument that makes this program a client.
const JOB: &str = "--job";

/// The argument with which it measures only the example `epolld`.
const EPOLLD: &str = "--epolld";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first, job @ ..] if first == JOB => job::run(job),
        [first] if first == EPOLLD => epolld::figures(),
        [peer, ..] if Path::new(peer).is_file() => figures(peer),
        _ => panic!("the program of the peer is to be the first argument: make bench"),
    }
}

fn figures(peer: &str) {
    let plot = Plot::new();
    let ctrd = Program::new(&plot, std::env::current_exe().unwrap(), &[JOB]);
    let go = Program::new(&plot, peer, &[]);
    machine(&plot);
    println!("| | ctrd | Go client | ctrd / Go |\n|---|---:|---:|---:|");
    let both = [&ctrd, &go];
    let (wall, cpu) = measure(both, "version", VERSIONS);
    row("Version: wall", wall, Unit::Micro);
    row("Version: CPU of the client", cpu, Unit::Micro);

    let (wall, cpu) = measure(both, "lifecycle", LIFECYCLES);
    row("create, start, wait, destroy `/bin/true`: wall", wall, Unit::Milli);
    row("the same: CPU of the client", cpu, Unit::Milli);
    let proxy = plot.ground.dir().join("bench.sock");
    let proxy = Proxy::start(plot.ground.address().as_ref(), &proxy);
    let calls = both.map(|program| program.calls(&proxy));
    row("the same: RPCs", calls.clone().map(|calls| calls.len() as u64), Unit::One);

    let (wall, _) = measure(both, "death", LIFECYCLES);
    row("from kill -9 of the process until the waiter knows", wall, Unit::Milli);

    waits(both);
    println!();
    submission(&ctrd);
    println!();
    epolld::figures();
    println!();
    for (name, calls) in ["ctrd", "the Go client"].into_iter().zip(calls) {
        println!("RPCs of {name}: {}\n", calls.join(" "));
    }
    machine(&plot);
}

/// The wall and CPU times of one unit of a job, in turns.
fn measure(programs: [&Program<'_>; 2], job: &str, count: usize) -> ([u64; 2], [u64; 2]) {
    let mut wall = [Vec::new(), Vec::new()];
    let mut cpu = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (i, program) in programs.into_iter().enumerate() {
            let numbers = program.run(job, count);
            cpu[i].push(numbers[0]);
            wall[i].extend(&numbers[1..]);
        }
    }
    (wall.map(median), cpu.map(median))
}

/// Many waits for a few containers.
fn waits([ctrd, go]: [&Program<'_>; 2]) {
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (rounds, (program, job)) in
            rounds.iter_mut().zip([(ctrd, "waits"), (go, "waits"), (ctrd, "callers")])
        {
            rounds.push(program.run(job, WAITS));
        }
    }
    // The median of each number: threads, memory, and memory that no file backs, at each of three
    // stages.
    let [ctrd, go, callers] = rounds.map(|rounds| -> [[u64; 3]; 3] {
        let number = |i: usize| median(rounds.iter().map(|round| round[i]).collect());
        std::array::from_fn(|stage| std::array::from_fn(|what| number(3 * stage + what)))
    });
    for (what, name, unit) in [
        (0, "threads", Unit::One),
        (1, "memory", Unit::Mebi),
        (2, "memory, not of files", Unit::Mebi),
    ] {
        let at = |stage: usize| [ctrd[stage][what], go[stage][what]];
        row(&format!("{name}: client open"), at(0), unit);
        row(&format!("{name}: {CONTAINERS} containers made"), at(1), unit);
        let [all, go] = at(2);
        row(&format!("{name}: {WAITS} waits for them"), [all, go], unit);
        // A wait of ctrd blocks a thread of its caller. The cost of that thread is not the
        // library's.
        let own = all.saturating_sub(callers[2][what] - callers[1][what]);
        row("... without the callers' threads", [own, go], unit);
    }
}

/// Creates and destroys that one thread submits, and those of 16 blocking threads.
fn submission(ctrd: &Program<'_>) {
    let mut rounds = [const { Vec::new() }; 2];
    for _ in 0..SUBMISSION_ROUNDS {
        for (rounds, job) in rounds.iter_mut().zip(["submitted", "blocking"]) {
            rounds.push(ctrd.run(job, SUBMITTED));
        }
    }
    let both = |i: usize| {
        [0, 1].map(|job| median(rounds[job].iter().map(|round| round[i]).collect::<Vec<u64>>()))
    };
    println!(
        "| {SUBMITTED} creates and destroys of `/bin/true` | submitted by one thread | by 16 threads | ratio |"
    );
    println!("|---|---:|---:|---:|");
    row("wall", both(0), Unit::Milli);
    row("CPU of the client", both(1), Unit::Milli);
    row("threads of the process, at most", both(2), Unit::One);
    row("memory", both(3), Unit::Mebi);
}

/// One of the clients.
struct Program<'a> {
    plot: &'a Plot,
    program: OsString,
    arguments: &'a [&'a str],
}

impl<'a> Program<'a> {
    fn new(plot: &'a Plot, program: impl Into<OsString>, arguments: &'a [&'a str]) -> Self {
        Program { plot, program: program.into(), arguments }
    }

    /// Runs a job, and returns the numbers that it prints.
    fn run(&self, job: &str, count: usize) -> Vec<u64> {
        self.run_at(self.plot.ground.address(), job, count)
    }

    fn run_at(&self, address: &str, job: &str, count: usize) -> Vec<u64> {
        let output = Command::new(&self.program)
            .args(self.arguments)
            .args([address, &self.plot.namespace, &self.plot.image, job, &count.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{job}: {}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The calls of one additional lifecycle.
    fn calls(&self, proxy: &Proxy) -> Vec<String> {
        let [one, mut two] = [1, 2].map(|count| {
            self.run_at(&proxy.address(), "lifecycle", count);
            proxy.take()
        });
        two.split_off(one.len())
    }
}

#[derive(Clone, Copy)]
enum Unit {
    One,
    Micro,
    Milli,
    Mebi,
}

/// Prints a row of the table. The values are counts, nanoseconds or KiB.
fn row(title: &str, [ctrd, go]: [u64; 2], unit: Unit) {
    let text = |number: u64| {
        let number = number as f64;
        match unit {
            Unit::One => format!("{number}"),
            Unit::Micro => format!("{:.0} µs", number / 1e3),
            Unit::Milli => format!("{:.1} ms", number / 1e6),
            Unit::Mebi => format!("{:.1} MiB", number / 1024.0),
        }
    };
    println!("| {title} | {} | {} | {:.2} |", text(ctrd), text(go), ctrd as f64 / go as f64);
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

/// Prints the machine, and how busy it is.
fn machine(plot: &Plot) {
    let read = |path| fs::read_to_string(path).unwrap().trim().to_owned();
    println!(
        "Linux {}, {} processors, load {}, containerd {}\n",
        read("/proc/sys/kernel/osrelease"),
        std::thread::available_parallelism().unwrap(),
        read("/proc/loadavg"),
        plot.client.version(&Call::new()).unwrap().version(),
    );
}
