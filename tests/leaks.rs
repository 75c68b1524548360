//! Tests that count things of the whole process, so they run one at a time.

mod ground;

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{Call, Cancel, Client, Stdio, Stream};
use ground::plot::{Plot, gently, kill, pipe, within};
use ground::{descriptors, idle_threads, library_threads, wait_until};

/// The test that counts holds this.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn many_probes_of_many_containers_take_no_threads() {
    let _alone = alone();
    let plot = Plot::new();
    let ids: Vec<String> = (0..10).map(|_| plot.create(plot.shell("sleep 1000"))).collect();
    let cancel = Cancel::new();
    let call = Call::new().cancel(&cancel);
    let one = thread::scope(|scope| {
        scope.spawn(|| plot.client.probe(&ids[0], &call).unwrap_err());
        thread::sleep(Duration::from_millis(200));
        let own = library_threads();
        cancel.fire();
        own
    });
    thread::scope(|scope| {
        for probe in 0..200 {
            let (client, id) = (&plot.client, &ids[probe % ids.len()]);
            scope.spawn(move || {
                assert_eq!(client.probe(id, &within(60)).unwrap().exit_code(), Some(137))
            });
        }
        thread::sleep(Duration::from_millis(200));
        let many = library_threads();
        for id in &ids {
            kill(plot.client.container_pid(id, &Call::new()).unwrap());
        }
        assert!(many <= one, "{many} threads of the library instead of {one}");
    });
    ids.iter().for_each(|id| drop(plot.destroy(id)));
}

#[test]
fn a_hundred_containers_by_ten_threads_leave_nothing() {
    let _alone = alone();
    let plot = Plot::new();
    let one = |code: u32| {
        let (mut output, stdout) = pipe();
        let config = plot
            .shell(&format!("echo {code}; exit {code}"))
            .stdio(Stdio::new().stdout(Stream::fd(stdout)));
        let id = plot.create(config);
        assert_eq!(plot.probe(&id).exit_code(), Some(code));
        assert_eq!(plot.destroy(&id).exit_code(), Some(code));
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{code}\n"));
    };
    // Things that are made once and kept: threads, and what they hold.
    let all = || {
        thread::scope(|scope| {
            for thread in 0..10 {
                scope.spawn(move || (0..10).for_each(|round| one(thread * 10 + round)));
            }
        });
    };
    let small = || {
        thread::scope(|scope| {
            for thread in 0..10 {
                scope.spawn(move || one(thread));
            }
        });
    };
    small();
    let counts = || {
        // The threads stay for a second after their last use.
        wait_until("the end of idle threads", || idle_threads() == 0);
        (plot.holdings(), library_threads(), descriptors())
    };
    let before = counts();
    all();
    // A thread that was just made may have its maker's name for a moment. A leak stays.
    let start = Instant::now();
    let mut after = counts();
    while after != before && start.elapsed() < Duration::from_secs(10) {
        after = counts();
    }
    assert_eq!(after, before);
}

#[test]
fn an_exit_that_is_kept_holds_no_descriptor() {
    let _alone = alone();
    let plot = Plot::new();
    let other = Client::open(&plot.client_config(), &Call::new()).unwrap();
    let one = || {
        let (_output, stdout) = pipe();
        let config = plot.shell("exit 3").stdio(Stdio::new().stdout(Stream::fd(stdout)));
        let id = plot.create(config);
        assert_eq!(plot.probe(&id).exit_code(), Some(3));
        // The client that made it does not hear of this, and keeps the message.
        other.destroy_container(&id, &gently(), &Call::new()).unwrap();
        assert_eq!(plot.probe(&id).exit_code(), Some(3));
    };
    one();
    let before = descriptors();
    (0..5).for_each(|_| one());
    wait_until("as many descriptors as before", || descriptors() <= before);
}
