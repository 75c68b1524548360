//! Takes over very many containers from a program that has ended, while one shim is stuck.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ContainerConfig, RecoveryState, Stdio};
use rustix::process::{Signal, kill_process};

use crate::Options;
use crate::containerd::shim_of;
use crate::ground::plot::{Plot, at_once, stop, within};
use crate::report::{Report, millis};

const CONTAINERS: usize = 500;

/// How many containers are made or destroyed at once.
const THREADS: usize = 8;

/// The promise.
const LIMIT: Duration = Duration::from_secs(10);

pub fn run(options: &Options, report: &mut Report) {
    let plot = Plot::new();
    let count = options.share_of(CONTAINERS);
    let client = || Client::open(&plot.client_config(), &Call::new()).unwrap();
    let first = client();
    let configs: Vec<ContainerConfig> =
        (0..count).map(|_| plot.config(&["/bin/sleep", "100000"])).collect();
    let ids: Vec<String> = configs.iter().map(|config| config.id().to_owned()).collect();
    by_threads(configs, |config| {
        first.create_container(&config, &Call::new()).unwrap();
    });
    let stuck = &ids[count / 2];
    let shim = shim_of(first.container_pid(stuck, &Call::new()).unwrap());
    drop(first);

    stop(shim);
    let second = client();
    let start = Instant::now();
    let recovered = second.recover_all(&mut |_| Ok(Stdio::new()), &within(60)).unwrap();
    let time = start.elapsed();
    let states: HashMap<&str, RecoveryState> =
        recovered.iter().map(|r| (r.container_id(), r.state())).collect();
    let of = |state| states.values().filter(|found| **found == state).count();
    report.count("containers recovered, one shim stopped", of(RecoveryState::Running), count - 1);
    report.count("of the others", count - of(RecoveryState::Running), 1);
    let failed = states.get(stuck.as_str()) == Some(&RecoveryState::Failed);
    report.count("failed: the one that is stuck", usize::from(failed), 1);
    report.figure("time", millis(time), "at most 10 s", time <= LIMIT);

    kill_process(shim, Signal::CONT).unwrap();
    let recovered = second.recover_container(stuck, &Stdio::new(), &within(10)).is_ok();
    report.count("recovered once it goes on", usize::from(recovered), 1);
    report.count("watched", second.counters().outstanding() as usize, count);
    by_threads(ids, |id| {
        second.destroy_container(&id, &at_once(), &Call::new()).unwrap();
    });
    let left = plot.holdings();
    report.count("left of them", usize::from(!left.only_images()), 0);
    if !left.only_images() {
        eprintln!("recover: left: {left:?}");
    }
}

/// Runs `each` for all items, several at once.
fn by_threads<T: Send>(items: Vec<T>, each: impl Fn(T) + Sync) {
    let items = Mutex::new(items.into_iter());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let item = items.lock().unwrap().next();
                    match item {
                        Some(item) => each(item),
                        None => break,
                    }
                }
            });
        }
    });
}
