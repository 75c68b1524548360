//! A job of a client, in a process of its own. `../peer/main.go` does the same jobs with
//! containerd's own Go client. A job prints one number per line.
//!
//! - `version`, `lifecycle` (create, start, wait and destroy `/bin/true`), `death` (from the kill
//!   of a process until its waiter returns): the CPU time of one of COUNT, then the time of each
//!   one, in nanoseconds. For `death`, the CPU time is that of the whole lifecycle.
//! - `waits`: threads, memory, and memory that no file backs, in KiB, three times: with the open
//!   client, with 50 containers that it has made, and with COUNT waits for these containers.
//! - `submitted` and `blocking` (only ctrd): COUNT creates and destroys of `/bin/true`, submitted
//!   by one thread, or made by 16 blocking threads. Prints the wall and the CPU time of all of
//!   them, in nanoseconds, the largest number of threads in the process, and its memory in KiB at
//!   the end.
//! - `callers` (only ctrd): the same numbers with COUNT threads that wait for nothing, and no
//!   client. They show the cost of the callers' threads.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ClientConfig, ContainerConfig, DestroyConfig, Queue, QueueConfig};
use rustix::time::{ClockId, clock_gettime};

use crate::ground::plot::{at_once, gently, kill};
use crate::ground::unique;

/// How many containers the waits are for.
pub const CONTAINERS: usize = 50;

/// How many threads create and destroy at once if the calls block.
const CALLERS: usize = 16;

/// A submitted call's time counts from its acceptance, and the line is long.
const LIMIT: Duration = Duration::from_secs(3600);

/// How long a waiter has waited before its process is killed.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a process rests before its memory is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// The stack of a caller's thread. The thread reserves it and uses only a part.
const STACK: usize = 256 * 1024;

pub fn run(arguments: &[String]) {
    let [address, namespace, image, job, count] = arguments else { panic!("{arguments:?}") };
    let count = count.parse().unwrap();
    if job == "callers" {
        return callers(count);
    }
    let config =
        ClientConfig::new().address(address).namespace(namespace).max_calls(2 * count.max(1));
    let program = Program { client: Client::open(&config, &Call::new()).unwrap(), image };
    match job.as_str() {
        "version" => timed(count, || {
            let start = Instant::now();
            program.client.version(&Call::new()).unwrap();
            start.elapsed()
        }),
        "lifecycle" => timed(count, || {
            let start = Instant::now();
            let (id, _) = program.create(&["/bin/true"]);
            program.client.probe(&id, &Call::new()).unwrap();
            program.destroy(&id);
            start.elapsed()
        }),
        "death" => timed(count, || program.death()),
        "waits" => program.waits(count),
        "submitted" => whole(|| program.submitted(count)),
        "blocking" => whole(|| program.blocking(count)),
        _ => panic!("{job}"),
    }
}

struct Program<'a> {
    client: Client,
    image: &'a str,
}

impl Program<'_> {
    fn create(&self, args: &[&str]) -> (String, u32) {
        let id = unique("bench");
        let config = ContainerConfig::new(&id).image(self.image).args(args.iter().copied());
        let process = self.client.create_container(&config, &Call::new()).unwrap();
        (id, process.pid())
    }

    fn destroy(&self, id: &str) {
        self.client.destroy_container(id, &gently(), &Call::new()).unwrap();
    }

    fn submitted(&self, count: usize) {
        let queue = Queue::new(&QueueConfig::new()).unwrap();
        for tag in 0..count as u64 {
            let (id, call) = (unique("bench"), Call::new().timeout(LIMIT));
            let config = ContainerConfig::new(&id).image(self.image).args(["/bin/true"]);
            let create = move |client: &Client, call: &Call| client.create_container(&config, call);
            self.client.submit_change(&queue, tag, &id, &call, create).unwrap();
            let own = id.clone();
            let destroy = move |client: &Client, call: &Call| {
                client.destroy_container(&own, &DestroyConfig::new(), call)
            };
            self.client.submit_change(&queue, tag, &id, &call, destroy).unwrap();
        }
        for _ in 0..2 * count {
            let message = queue.next(&Call::new()).unwrap();
            assert!(message.error().is_none(), "{message:?}");
        }
    }

    fn blocking(&self, count: usize) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::SeqCst) < count {
                        let (id, _) = self.create(&["/bin/true"]);
                        self.destroy(&id);
                    }
                });
            }
        });
    }

    fn death(&self) -> Duration {
        let (id, pid) = self.create(&["/bin/sleep", "1000"]);
        let killer = thread::spawn(move || {
            thread::sleep(PAUSE);
            let start = Instant::now();
            kill(pid);
            start
        });
        self.client.probe(&id, &Call::new()).unwrap();
        let told = Instant::now();
        self.destroy(&id);
        told - killer.join().unwrap()
    }

    fn waits(&self, count: usize) {
        usage();
        let ids: Vec<String> =
            (0..CONTAINERS).map(|_| self.create(&["/bin/sleep", "1000"]).0).collect();
        thread::sleep(SETTLE);
        usage();
        thread::scope(|scope| {
            for i in 0..count {
                let (client, id) = (&self.client, &ids[i % ids.len()]);
                let caller = thread::Builder::new().stack_size(STACK);
                caller
                    .spawn_scoped(scope, move || client.probe(id, &Call::new()).unwrap())
                    .unwrap();
            }
            thread::sleep(SETTLE);
            usage();
            for id in &ids {
                self.client.destroy_container(id, &at_once(), &Call::new()).unwrap();
            }
        });
    }
}

fn callers(count: usize) {
    usage();
    usage();
    let callers: Vec<_> = (0..count)
        .map(|_| thread::Builder::new().stack_size(STACK).spawn(thread::park).unwrap())
        .collect();
    thread::sleep(SETTLE);
    usage();
    for caller in callers {
        caller.thread().unpark();
        caller.join().unwrap();
    }
}

/// Prints the CPU time of one run, then the time of each run. The first run does not count, because
/// its caches are cold.
fn timed(count: usize, mut work: impl FnMut() -> Duration) {
    work();
    let before = cpu();
    let times: Vec<Duration> = (0..count).map(|_| work()).collect();
    println!("{}", (cpu() - before).as_nanos() / count as u128);
    for time in times {
        println!("{}", time.as_nanos());
    }
}

/// Prints the wall and CPU time of `work`, the largest number of threads, and the memory.
fn whole(work: impl FnOnce()) {
    let (start, before) = (Instant::now(), cpu());
    let over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::SeqCst) {
                most = most.max(status("Threads:"));
                thread::sleep(Duration::from_millis(50));
            }
            // The thread that counts does not count itself.
            most - 1
        });
        work();
        over.store(true, Ordering::SeqCst);
        counting.join().unwrap()
    });
    println!("{}\n{}", start.elapsed().as_nanos(), (cpu() - before).as_nanos());
    println!("{most}\n{}", status("VmRSS:"));
}

/// The CPU time of this process.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// A number from the kernel about this process.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Prints the threads of this process, and its memory in KiB: all of it, and the part that no file
/// backs.
fn usage() {
    for name in ["Threads:", "VmRSS:", "RssAnon:"] {
        println!("{}", status(name));
    }
}
