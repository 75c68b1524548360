//! Watches of servers that are not there, or that know certain containers alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::displaced::ENDING_PAUSE;
use super::retire::MAX_RETIRED;
use super::watches::{Find, Watches, held};
use super::{Process, Then};
use crate::call::Limits;
use crate::delivery::{Bus, HookConfig};
use crate::error::ErrorKind;
use crate::executor::Executor;
use crate::message::{Message, MessageKind, Origin};
use crate::record::End;
use crate::rpc::tasks::Exit;
use crate::rpc::{Connection, Ctx, TestServer};

/// Watches of a server that is not there.
fn watches() -> (Watches, Ctx) {
    watches_at(Path::new("/nonexistent/socket"))
}

fn watches_at(socket: &Path) -> (Watches, Ctx) {
    let connection = Arc::new(Connection::new(socket));
    let ctx = Ctx::new(&connection, "ns", Limits::default());
    let executor = Executor::new("test");
    let bus = Bus::new(&executor);
    (Watches::new(connection, executor, bus, true), ctx)
}

fn close(watches: &Watches) {
    watches.close();
    watches.0.executor.close();
}

fn process(pid: u32, generation: &str) -> Process {
    Process::new(pid, generation.into(), None)
}

fn find(pid: u32, generation: &str, exit: Option<Exit>) -> Find {
    Find {
        process: process(pid, generation),
        paths: None,
        stdio: None,
        started: false,
        then: None,
        end: exit.map(End::Exit),
    }
}

#[test]
fn who_finds_a_process_before_its_maker_watches_it_has_the_same_watch() {
    let (watches, ctx) = watches();
    let found = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
    let made = watches.start(&ctx, "c", process(1, "a"), None, None).unwrap();
    assert!(Arc::ptr_eq(&found, &made));

    // Another process, or another container: the one before has gone.
    for (pid, generation) in [(2, "a"), (2, "b")] {
        let before = watches.find("ns", "c").unwrap();
        let made = watches.start(&ctx, "c", process(pid, generation), None, None).unwrap();
        assert!(!Arc::ptr_eq(&before, &made));
        let message = before.wait(&Limits::within(Duration::from_secs(30))).unwrap();
        assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
        assert!(made.exit().is_none());
    }
    close(&watches);
    assert_eq!(
        watches.start(&ctx, "c", process(3, "c"), None, None).err().unwrap().kind(),
        ErrorKind::Closed
    );
}

#[test]
fn a_process_ends_once() {
    let (watches, ctx) = watches();
    let exit = |code| Some(Exit { code, at: None });
    let watch = watches.adopt(&ctx, "c", find(1, "a", exit(3))).unwrap();
    watches.deliver(&watch, Origin::Live, exit(4), None);
    watches.never_ran(&watch, Origin::Live);
    watches.replaced(&watch);
    let message = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (Some(3), Origin::Recovered));
    // What is given up tells nothing any more.
    let watch = watches.adopt(&ctx, "d", find(1, "a", None)).unwrap();
    watches.forget(&watch);
    watches.deliver(&watch, Origin::Live, exit(4), None);
    let error = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    close(&watches);
}

#[test]
fn a_watch_is_listed_once() {
    let (watches, ctx) = watches();
    let watch = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
    (0..100).for_each(|_| watches.look_again(&watch, held()));
    // None, where the keeper has it and waits for the server.
    assert!(watches.0.reconciler.len() <= 1);
    let mut state = watch.lock();
    assert!(state.end_listing() && !state.end_listing() && state.begin_listing());
    drop(state);
    close(&watches);
}

#[test]
fn who_looked_before_a_container_was_destroyed_finds_nothing_new() {
    let (watches, ctx) = watches();
    let exit = Some(Exit { code: 3, at: None });
    let watch = watches.adopt(&ctx, "c", find(1, "a", exit)).unwrap();
    watches.forget(&watch);
    let error = watches.adopt(&ctx, "c", find(1, "a", exit)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Another one, and one that ended untold.
    let other = watches.adopt(&ctx, "c", find(1, "b", None)).unwrap();
    watches.forget(&other);
    watches.adopt(&ctx, "c", find(1, "b", exit)).unwrap();
    close(&watches);
}

#[test]
fn told_exits_go_with_the_containers_that_other_clients_have_removed() {
    // One has its record still, and of one the task alone is there.
    let server = TestServer::of(vec!["c0".into()], vec!["c1".into()]);
    let (watches, ctx) = watches_at(&server.socket());
    let exit = Some(Exit { code: 3, at: None });
    let count = 2 + 2 * MAX_RETIRED;
    for number in 0..count {
        watches.adopt(&ctx, &format!("c{number}"), find(1, "a", exit)).unwrap();
    }
    let kept = || (0..count).filter(|n| watches.find("ns", &format!("c{n}")).is_some()).count();
    let began = Instant::now();
    // The later half of those that are gone can be asked for still, and the newest.
    while kept() > 2 + MAX_RETIRED + 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} are kept", kept());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(["c0", "c1"].iter().all(|id| watches.find("ns", id).is_some()));
    close(&watches);
    watches.0.bus.shut();
}

#[test]
fn an_answer_that_is_on_its_way_is_waited_for() {
    let (watches, ctx) = watches();
    let watch = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| watches.replaced(&watch));
        std::thread::sleep(ENDING_PAUSE);
        watches.deliver(&watch, Origin::Live, Some(Exit { code: 3, at: None }), None);
        replacing.join().unwrap();
    });
    assert_eq!(watch.exit().unwrap().exit_code(), Some(3));
    close(&watches);
}

#[test]
fn what_is_said_late_of_the_time_after_waits_for_the_hooks_too() {
    let (watches, ctx) = watches();
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let run = Arc::new(move |_: &Message| {
        begun.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    let config = HookConfig::new([MessageKind::Exit]).container("c");
    watches.0.bus.add_hook(&config, run).unwrap();
    let exit = Some(Exit { code: 3, at: None });
    let (done, after) = mpsc::channel();
    let say = |container: &str| {
        let done = done.clone();
        let then: Then = Box::new(move |_| done.send(()).unwrap());
        let find = Find { then: Some(then), ..find(1, "a", exit) };
        watches.adopt(&ctx, container, find).unwrap();
    };
    for container in ["c", "d"] {
        watches.adopt(&ctx, container, find(1, "a", exit)).unwrap();
    }
    begins.recv().unwrap();
    say("c");
    assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
    // No hook is told of this one; and what was said is done once.
    (0..2).for_each(|_| say("d"));
    after.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
    release.send(()).unwrap();
    after.recv_timeout(Duration::from_secs(30)).unwrap();
    close(&watches);
    watches.0.bus.shut();
}
