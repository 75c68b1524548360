//! The watches, with a server that does not exist or that has only certain containers.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::displaced::EXIT_PAUSE;
use super::retire::MAX_RETIRED;
use super::wait::exit_held;
use super::watches::{FoundProcess, Watches};
use super::{AfterExit, Process};
use crate::call::Limits;
use crate::cancel::Cancel;
use crate::delivery::{Bus, HookConfig};
use crate::error::ErrorKind;
use crate::executor::Executor;
use crate::message::{Message, MessageKind, Origin};
use crate::record::ProcessOutcome;
use crate::rpc::tasks::Exit;
use crate::rpc::{Connection, Ctx, TestServer};

/// Watches of a server that does not exist.
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
    Process::first(pid, generation.into(), None)
}

fn found(pid: u32, generation: &str, exit: Option<Exit>) -> FoundProcess {
    FoundProcess {
        process: process(pid, generation),
        paths: None,
        stdio: None,
        started: false,
        after_exit: None,
        outcome: exit.map(ProcessOutcome::Exited),
    }
}

#[test]
fn a_prober_and_the_creator_of_a_process_share_one_watch() {
    let (watches, ctx) = watches();
    let found = watches.adopt(&ctx, "c", found(1, "a", None)).unwrap();
    let made = watches.start(&ctx, "c", process(1, "a"), None, None).unwrap();
    assert!(Arc::ptr_eq(&found, &made));

    // With another pid or generation it is another process: the one before is gone.
    for (pid, generation) in [(2, "a"), (2, "b")] {
        let before = watches.find("ns", "c", None).unwrap();
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
fn a_process_exits_once() {
    let (watches, ctx) = watches();
    let exit = |code| Some(Exit { code, at: None });
    let watch = watches.adopt(&ctx, "c", found(1, "a", exit(3))).unwrap();
    watches.report_exit(&watch, Origin::Live, exit(4), None);
    watches.report_never_started(&watch, Origin::Live);
    watches.resolve_replaced(&watch, &Limits::default());
    let message = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (Some(3), Origin::Recovered));
    // A watch that was forgotten reports nothing.
    let watch = watches.adopt(&ctx, "d", found(1, "a", None)).unwrap();
    watches.forget(&watch);
    watches.report_exit(&watch, Origin::Live, exit(4), None);
    let error = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    close(&watches);
}

#[test]
fn a_watch_is_on_the_queue_at_most_once() {
    let (watches, ctx) = watches();
    let watch = watches.adopt(&ctx, "c", found(1, "a", None)).unwrap();
    (0..100).for_each(|_| watches.look_up_again(&watch, exit_held()));
    // None if the reconciler has taken it and waits for the server.
    assert!(watches.0.queue.len() <= 1);
    let mut state = watch.lock();
    assert!(state.dequeue() && !state.dequeue() && state.enqueue());
    drop(state);
    close(&watches);
}

#[test]
fn a_process_that_was_destroyed_is_not_adopted_again() {
    let (watches, ctx) = watches();
    let exit = Some(Exit { code: 3, at: None });
    let watch = watches.adopt(&ctx, "c", found(1, "a", exit)).unwrap();
    watches.forget(&watch);
    let error = watches.adopt(&ctx, "c", found(1, "a", exit)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Another process is, and so is one whose exit was not reported.
    let other = watches.adopt(&ctx, "c", found(1, "b", None)).unwrap();
    watches.forget(&other);
    watches.adopt(&ctx, "c", found(1, "b", exit)).unwrap();
    close(&watches);
}

#[test]
fn reported_exits_are_dropped_when_other_clients_remove_the_containers() {
    // The first container still has its record, and the second its task.
    let server = TestServer::of(vec!["c0".into()], vec!["c1".into()]);
    let (watches, ctx) = watches_at(&server.socket());
    let exit = Some(Exit { code: 3, at: None });
    let count = 2 + 2 * MAX_RETIRED;
    for number in 0..count {
        watches.adopt(&ctx, &format!("c{number}"), found(1, "a", exit)).unwrap();
    }
    let kept =
        || (0..count).filter(|n| watches.find("ns", &format!("c{n}"), None).is_some()).count();
    let began = Instant::now();
    // The later half of the exits is kept, and the newest of all.
    while kept() > 2 + MAX_RETIRED + 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} are kept", kept());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(["c0", "c1"].iter().all(|id| watches.find("ns", id, None).is_some()));
    close(&watches);
    watches.0.bus.shut();
}

#[test]
fn an_exit_that_is_about_to_be_reported_is_waited_for() {
    let (watches, ctx) = watches();
    let watch = watches.adopt(&ctx, "c", found(1, "a", None)).unwrap();
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| watches.resolve_replaced(&watch, &Limits::default()));
        std::thread::sleep(EXIT_PAUSE);
        watches.report_exit(&watch, Origin::Live, Some(Exit { code: 3, at: None }), None);
        replacing.join().unwrap();
    });
    assert_eq!(watch.exit().unwrap().exit_code(), Some(3));
    close(&watches);
}

#[test]
fn a_wait_for_an_exit_ends_at_once_when_the_call_is_cancelled() {
    let (watches, ctx) = watches();
    let watch = watches.adopt(&ctx, "c", found(1, "a", None)).unwrap();
    let cancel = Cancel::new();
    cancel.fire();
    let limits = Limits { cancel: Some(cancel), ..Limits::default() };
    let error = watches.wait_for_exit(&watch, &limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    // The exit is not guessed: the watch is looked up.
    watches.resolve_replaced(&watch, &limits);
    assert!(watch.exit().is_none());
    close(&watches);
}

#[test]
fn a_job_that_is_set_after_the_exit_waits_for_the_hooks_too() {
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
        let job: AfterExit = Box::new(move |_| done.send(()).unwrap());
        let found = FoundProcess { after_exit: Some(job), ..found(1, "a", exit) };
        watches.adopt(&ctx, container, found).unwrap();
    };
    for container in ["c", "d"] {
        watches.adopt(&ctx, container, found(1, "a", exit)).unwrap();
    }
    begins.recv().unwrap();
    say("c");
    assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
    // No hook gets this exit. The job runs once.
    (0..2).for_each(|_| say("d"));
    after.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
    release.send(()).unwrap();
    after.recv_timeout(Duration::from_secs(30)).unwrap();
    close(&watches);
    watches.0.bus.shut();
}
