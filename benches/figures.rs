//! The figures that the project claims: what calls, lifecycles and waits cost.
//!
//! `make bench` prints them; medians of many rounds, all in one run on one machine. Nothing here is
//! a test: figures depend on the machine.

#[path = "../tests/ground/mod.rs"]
mod ground;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Cancel, Client, ClientConfig};
use ground::plot::{GRACE, Plot, kill};
use ground::proxy::Proxy;

/// Rounds of what takes milliseconds, and of what takes microseconds.
const LIFECYCLES: usize = 30;
const CALLS: usize = 5000;

/// How many probes wait for how many containers.
const PROBES: usize = 1000;
const CONTAINERS: usize = 50;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == WAITER) {
        return waiter(&arguments[1..]);
    }
    let plot = Plot::new();
    version(&plot.client);
    lifecycle(&plot);
    waits(&plot);
    calls(&plot);
}

fn version(client: &Client) {
    let (wall, cpu) = (Instant::now(), cpu_time());
    for _ in 0..CALLS {
        client.version(&Call::new()).unwrap();
    }
    let calls = u32::try_from(CALLS).unwrap();
    println!(
        "version: {:?} a call, {:?} of CPU",
        wall.elapsed() / calls,
        (cpu_time() - cpu) / calls
    );
}

/// A container's life, step by step.
fn lifecycle(plot: &Plot) {
    let mut create = Vec::new();
    let mut death = Vec::new();
    let mut destroy = Vec::new();
    let cpu = cpu_time();
    for _ in 0..LIFECYCLES {
        let config = plot.shell("sleep 1000");
        let id = config.id.clone();
        let start = Instant::now();
        let pid = plot.client.create_container(config, &Call::new()).unwrap();
        create.push(start.elapsed());
        let told = thread::scope(|scope| {
            let probing = scope.spawn(|| {
                plot.client.probe(&id, &Call::new()).unwrap();
                Instant::now()
            });
            thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            kill(pid);
            probing.join().unwrap() - start
        });
        death.push(told);
        let start = Instant::now();
        plot.client.destroy_container(&id, GRACE, &Call::new()).unwrap();
        destroy.push(start.elapsed());
    }
    let cpu = (cpu_time() - cpu) / u32::try_from(LIFECYCLES).unwrap();
    println!("create and start: {}", spread(create));
    println!("from the process's death to the return of probe: {}", spread(death));
    println!("destroy: {}", spread(destroy));
    println!("CPU of the client for all three: {cpu:?}");
}

/// Many probes of some containers at once, by a process that does nothing else.
fn waits(plot: &Plot) {
    let ids: Vec<String> = (0..CONTAINERS).map(|_| plot.create(plot.shell("sleep 1000"))).collect();
    for probes in [1, PROBES] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args([WAITER, plot.client.config().address.as_str(), &plot.namespace])
            .arg(probes.to_string())
            .args(&ids)
            .status();
        assert!(status.unwrap().success());
    }
    for id in ids {
        plot.client.destroy_container(&id, Duration::ZERO, &Call::new()).unwrap();
    }
}

/// The argument that makes this program such a process.
const WAITER: &str = "--waiter";

fn waiter(arguments: &[String]) {
    let [address, namespace, probes, ids @ ..] = arguments else { panic!("{arguments:?}") };
    let probes: usize = probes.parse().unwrap();
    let config = ClientConfig {
        address: address.clone(),
        namespace: namespace.clone(),
        ..Default::default()
    };
    let client = Client::open(config, &Call::new()).unwrap();
    // The first look at a container finds its process, as a create would know it.
    for id in ids.iter().take(probes) {
        client.probe(id, &Call::new().poll()).unwrap_err();
    }
    let cancel = Cancel::new().unwrap();
    let call = Call::new().cancel(&cancel);
    thread::scope(|scope| {
        for probe in 0..probes {
            let (client, id, call) = (&client, &ids[probe % ids.len()], &call);
            let small = thread::Builder::new().stack_size(64 * 1024);
            small.spawn_scoped(scope, move || client.probe(id, call).unwrap_err()).unwrap();
        }
        thread::sleep(Duration::from_secs(1));
        // Those that wait are the program's own, and so is the first one.
        println!(
            "probes outstanding: {probes}, of {} containers: {} threads of the library's, {} KiB of \
             memory in all, of which {} KiB are its own and not files, the callers' stacks included",
            ids.len().min(probes),
            ground::threads() - probes - 1,
            memory("VmRSS:"),
            memory("RssAnon:"),
        );
        cancel.fire();
    });
}

/// The calls of a whole life, by the proxy's count.
fn calls(plot: &Plot) {
    let path = plot.ground.dir().join("bench.sock");
    let proxy = Proxy::start(plot.ground.address().as_ref(), &path);
    let mut config = plot.client.config().clone();
    config.address = proxy.address();
    let client = Client::open(config, &Call::new()).unwrap();
    let count = |what: &str, work: &mut dyn FnMut()| {
        proxy.take();
        work();
        let calls = proxy.take();
        println!("{what}: {} calls: {}", calls.len(), calls.join(" "));
    };
    for round in ["first", "second"] {
        let config = plot.shell("exit 0");
        let id = config.id.clone();
        let mut config = Some(config);
        count(&format!("create, {round}"), &mut || {
            client.create_container(config.take().unwrap(), &Call::new()).unwrap();
        });
        count(&format!("probe, {round}"), &mut || drop(client.probe(&id, &Call::new()).unwrap()));
        count(&format!("destroy, {round}"), &mut || {
            client.destroy_container(&id, GRACE, &Call::new()).unwrap();
        });
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("median {:?}, 90th percentile {:?}, best {:?}", at(50), at(90), at(0))
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The memory of this process by this count of the kernel's (`VmRSS:`, `RssAnon:`), in KiB.
fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
