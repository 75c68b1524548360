use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::pool::Group;
use super::*;
use crate::cancel::Cancel;
use crate::keyed_mutex::KeyedMutex;
use crate::message::{Body, Message, MessageKind};
use crate::queue::QueueConfig;

const LONG: Duration = Duration::from_secs(30);

/// The pool belongs to the process: one test at a time fills it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn a_queue() -> Queue {
    Queue::new(&QueueConfig::new()).unwrap()
}

fn a_group() -> Arc<Group> {
    Arc::new(Group::new(1024))
}

fn next(queue: &Queue) -> Message {
    let message = queue.next(&Call::new().timeout(LONG)).unwrap();
    assert_eq!(message.kind(), MessageKind::Done);
    message
}

fn kind(message: &Message) -> Option<ErrorKind> {
    message.error().map(Error::kind)
}

/// As many submitted calls of a client as there are threads for, which run until the drop.
struct Filled {
    queue: Queue,
    release: Vec<mpsc::Sender<()>>,
}

impl Filled {
    fn new(group: &Arc<Group>, count: usize) -> Filled {
        let (queue, mut release) = (a_queue(), Vec::new());
        let begun = Arc::new(Barrier::new(count + 1));
        for tag in 0..count as u64 {
            let (sender, released) = mpsc::channel::<()>();
            let begun = begun.clone();
            Submission::new(&queue, tag)
                .of(group)
                .submit(&Call::new(), move |_| {
                    begun.wait();
                    let _ = released.recv();
                    Ok(())
                })
                .unwrap();
            release.push(sender);
        }
        begun.wait();
        Filled { queue, release }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let count = self.release.drain(..).count();
        (0..count).for_each(|_| drop(next(&self.queue)));
    }
}

/// Waits until so many threads are left.
fn await_threads(count: usize) {
    let began = Instant::now();
    while pool::threads() > count {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(10));
    }
}

/// Half of the threads: what one client may hold.
const SHARE: usize = 8;

#[test]
fn a_completion_has_the_tag_and_what_the_operation_made() {
    let _alone = alone();
    let queue = a_queue();
    Submission::new(&queue, 5).submit(&Call::new(), |_| Ok("made".to_owned())).unwrap();
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (5, None));
    let error = message.take_result::<u32>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(message.peek_result::<String>().unwrap(), "made");
    assert_eq!(message.take_result::<String>().unwrap(), "made");
    assert!(message.take_result::<String>().is_err());

    let fails = |_: &Call| Err::<(), _>(Error::new(ErrorKind::DataLoss, "as arranged"));
    Submission::new(&queue, 6).submit(&Call::new(), fails).unwrap();
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (6, Some(ErrorKind::DataLoss)));
}

#[test]
fn a_panic_is_a_completion() {
    let _alone = alone();
    let queue = a_queue();
    let panics = |_: &Call| -> Result<()> { panic!("on purpose") };
    Submission::new(&queue, 0).submit(&Call::new(), panics).unwrap();
    assert_eq!(kind(&next(&queue)), Some(ErrorKind::Panic));
}

#[test]
fn a_call_that_cannot_be_submitted_is_refused_without_a_message() {
    let _alone = alone();
    let queue = a_queue();
    let cancel = Cancel::new();
    cancel.fire();
    for (call, expected) in [
        (Call::new().poll(), ErrorKind::InvalidArgument),
        (Call::new().timeout(Duration::ZERO), ErrorKind::Timeout),
        (Call::new().cancel(&cancel), ErrorKind::Cancelled),
    ] {
        let refused = Submission::new(&queue, 0).named("probe", "c").submit(&call, |_| Ok(()));
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.operation(), error.subject()), (expected, "probe", "c"));
    }
    assert!(queue.receiver().is_empty());
}

#[test]
fn a_slot_is_held_until_the_completion_is_taken() {
    let _alone = alone();
    let queue = Queue::new(&QueueConfig::new().max_calls(2)).unwrap();
    let group = Arc::new(Group::new(2));
    for client in [None, Some(&group)] {
        let begin = || client.iter().fold(Submission::new(&queue, 0), |s, group| s.of(group));
        let submit = || begin().submit(&Call::new(), |_| Ok(()));
        submit().unwrap();
        submit().unwrap();
        let refused = submit().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        begin().without_slot().submit(&Call::new(), |_| Ok(())).unwrap();
        drop(next(&queue));
        drop(next(&queue));
        drop(next(&queue));
        submit().unwrap();
        drop(next(&queue));
    }
}

#[test]
fn a_call_in_the_line_ends_at_its_deadline_or_when_it_is_cancelled() {
    let _alone = alone();
    let (one, other) = (a_group(), a_group());
    let _filled = [Filled::new(&one, SHARE), Filled::new(&other, SHARE)];
    let (queue, cancel) = (a_queue(), Cancel::new());
    let begin = |tag| Submission::new(&queue, tag).of(&one).named("get_image", "i");
    let soon = Call::new().timeout(Duration::from_millis(50));
    begin(1).submit(&soon, |_| Ok(())).unwrap();
    begin(2).submit(&Call::new().cancel(&cancel), |_| Ok(())).unwrap();
    let began = Instant::now();
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (1, Some(ErrorKind::Timeout)));
    let error = message.error().unwrap();
    assert_eq!((error.operation(), error.subject()), ("get_image", "i"));
    cancel.fire();
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (2, Some(ErrorKind::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_default_timeout_of_a_call_counts_in_the_line() {
    let _alone = alone();
    let group = a_group();
    let filled = Filled::new(&group, SHARE);
    let queue = a_queue();
    let begin =
        |tag| Submission::new(&queue, tag).of(&group).default_timeout(Duration::from_millis(50));
    begin(1).submit(&Call::new().timeout(LONG), |_| Ok(())).unwrap();
    begin(2).submit(&Call::new(), |_| Ok(())).unwrap();
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (2, Some(ErrorKind::Timeout)));
    drop(filled);
    let message = next(&queue);
    assert_eq!((message.tag(), kind(&message)), (1, None));
}

#[test]
fn one_client_holds_half_of_the_threads_at_most() {
    let _alone = alone();
    let (one, other) = (a_group(), a_group());
    let _filled = Filled::new(&one, SHARE);
    let queue = a_queue();
    let begin = |group| Submission::new(&queue, 0).of(group);
    let soon = Call::new().timeout(Duration::from_millis(50));
    begin(&one).submit(&soon, |_| Ok(())).unwrap();
    assert_eq!(kind(&next(&queue)), Some(ErrorKind::Timeout));
    begin(&other).submit(&Call::new().timeout(LONG), |_| Ok(())).unwrap();
    assert_eq!(kind(&next(&queue)), None);
}

#[test]
fn long_calls_leave_room_for_short_ones() {
    let _alone = alone();
    let group = a_group();
    let queue = a_queue();
    let (running, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for tag in 0..20 {
        let (running, most, released) = (running.clone(), most.clone(), released.clone());
        Submission::new(&queue, tag)
            .of(&group)
            .submit(&Call::new(), move |_| {
                begin_long()?;
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _ = released.lock().unwrap().recv();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
    }
    let shorts = a_queue();
    for tag in 0..20 {
        Submission::new(&shorts, tag).of(&group).submit(&Call::new(), |_| Ok(())).unwrap();
        assert_eq!(kind(&next(&shorts)), None);
    }
    for _ in 0..20 {
        release.send(()).unwrap();
        assert_eq!(kind(&next(&queue)), None);
    }
    assert_eq!(most.load(Ordering::SeqCst), SHARE / 2);
}

#[test]
fn waits_hold_no_thread() {
    let _alone = alone();
    let (group, locks, queue) = (a_group(), KeyedMutex::default(), a_queue());
    let held = locks.lock("c".into(), "the holder", &Limits::default()).unwrap();
    let runs: Arc<Mutex<Vec<u64>>> = Arc::default();
    for tag in 0..100 {
        let (locks, runs) = (locks.clone(), runs.clone());
        let call = Call::new().timeout(if tag < 10 { Duration::from_millis(100) } else { LONG });
        Submission::new(&queue, tag)
            .of(&group)
            .submit(&call, move |call| {
                begin_operation()?;
                let locking = locks.locking("c".into(), "another");
                let blame = locks.clone();
                let refuse = move |error| blame.blame("c", error);
                let _guard = hold(&call.limits(None), "c", locking, refuse)?;
                runs.lock().unwrap().push(tag);
                Ok(())
            })
            .unwrap();
    }
    for _ in 0..10 {
        let message = next(&queue);
        assert_eq!((message.tag() < 10, kind(&message)), (true, Some(ErrorKind::Timeout)));
        assert!(message.error().unwrap().message().starts_with("the holder is under way"));
    }
    // All of them wait, and there is a thread for another call.
    let other = a_queue();
    Submission::new(&other, 0).of(&group).submit(&Call::new(), |_| Ok(())).unwrap();
    next(&other);
    assert!(runs.lock().unwrap().is_empty());
    drop(held);
    (0..90).for_each(|_| assert_eq!(kind(&next(&queue)), None));
    let runs = runs.lock().unwrap();
    assert!(runs.len() == 90 && runs.iter().all(|tag| *tag >= 10), "{runs:?}");
    // Nothing holds the lock any more.
    locks.lock("c".into(), "", &Limits::default()).unwrap();
}

#[test]
fn changes_of_one_container_run_and_complete_in_the_order_of_their_submission() {
    let _alone = alone();
    let (group, locks, queue) = (a_group(), KeyedMutex::default(), a_queue());
    let runs: Arc<Mutex<Vec<u64>>> = Arc::default();
    for tag in 0..200 {
        let (held, runs) = (locks.clone(), runs.clone());
        let begin = Submission::new(&queue, tag).of(&group).named("start_container", "c");
        begin
            .changing(&locks, "ns", "c")
            .submit(&Call::new().timeout(LONG), move |call| {
                let key = lock_key("ns", "c");
                let _guard = lock(&held, &key, "start_container", &call.limits(None))?;
                runs.lock().unwrap().push(tag);
                Ok(())
            })
            .unwrap();
    }
    let completed: Vec<u64> = (0..200).map(|_| next(&queue).tag()).collect();
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!((completed, &*runs.lock().unwrap()), (expected.clone(), &expected));

    let held = locks.lock(lock_key("ns", "c"), "the holder", &Limits::default()).unwrap();
    let soon = Call::new().timeout(Duration::from_millis(30));
    let begin = Submission::new(&queue, 0).of(&group).named("destroy_container", "c");
    begin.changing(&locks, "ns", "c").submit(&soon, |_| Ok(())).unwrap();
    let message = next(&queue);
    let error = message.error().unwrap();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Busy, "destroy_container"));
    drop(held);
    assert!(locks.lock(lock_key("ns", "c"), "", &Limits::default()).is_ok());
}

#[test]
fn only_the_first_operation_of_a_call_gives_its_thread_up() {
    let _alone = alone();
    let (locks, queue) = (KeyedMutex::default(), a_queue());
    let held = locks.lock("c".into(), "the holder", &Limits::default()).unwrap();
    let (runs, waiting) = (Arc::new(AtomicUsize::new(0)), locks.clone());
    let count = runs.clone();
    let call = Call::new();
    Submission::new(&queue, 0)
        .submit(&call, move |call| {
            count.fetch_add(1, Ordering::SeqCst);
            (0..2).try_for_each(|_| begin_operation())?;
            let locking = waiting.locking("c".into(), "the second");
            hold(&call.limits(None), "c", locking, |error| error)?;
            Ok(())
        })
        .unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(held);
    assert_eq!(kind(&next(&queue)), None);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn closing_a_client_completes_its_calls() {
    let _alone = alone();
    let (group, queue, locks) = (a_group(), a_queue(), KeyedMutex::default());
    let held = locks.lock("c".into(), "the holder", &Limits::default()).unwrap();
    let begin = |tag| Submission::new(&queue, tag).of(&group);
    // One that waits without a thread, and those that wait in the line.
    let waiting = locks.clone();
    let wait = move |call: &Call| {
        let locking = waiting.locking("c".into(), "");
        hold(&call.limits(None), "c", locking, |error| error).map(drop)
    };
    begin(0).submit(&Call::new(), wait).unwrap();
    let filled = Filled::new(&group, SHARE);
    (1..5).for_each(|tag| begin(tag).submit(&Call::new(), |_| Ok(())).unwrap());
    let error = group.close(&Limits::within(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let mut tags: Vec<u64> = (0..5)
        .map(|_| {
            let message = next(&queue);
            assert_eq!(kind(&message), Some(ErrorKind::Closed));
            message.tag()
        })
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3, 4]);
    let refused = begin(9).submit(&Call::new(), |_| Ok(())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    drop(filled);
    group.close(&Limits::within(LONG)).unwrap();
    drop(held);
}

/// A value whose drop waits until its sender is gone.
struct SlowToDrop(Mutex<mpsc::Receiver<()>>);

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        let _ = self.0.get_mut().unwrap().recv();
    }
}

#[test]
fn closing_a_client_waits_for_a_call_that_is_being_completed() {
    let _alone = alone();
    let (queue, group) = (a_queue(), a_group());
    let (release, released) = mpsc::channel::<()>();
    let mut held = Some(SlowToDrop(Mutex::new(released)));
    let call = move |_: &Call| {
        drop(remember("held", || held.take()));
        Ok(())
    };
    Submission::new(&queue, 0).of(&group).submit(&Call::new(), call).unwrap();
    drop(next(&queue));
    // Its completion has come, but the call still holds the value.
    let closed = |limits: Limits| {
        let (group, (sender, receiver)) = (group.clone(), mpsc::channel());
        thread::spawn(move || sender.send(group.close(&limits)));
        receiver.recv_timeout(LONG).unwrap()
    };
    let error = closed(Limits::within(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(release);
    closed(Limits::within(LONG)).unwrap();
}

#[test]
fn a_call_that_closes_its_own_client_does_not_wait_for_itself() {
    let _alone = alone();
    let (group, queue) = (a_group(), a_queue());
    let own = group.clone();
    let close = move |_: &Call| own.close(&Limits::within(LONG));
    Submission::new(&queue, 0).of(&group).submit(&Call::new(), close).unwrap();
    assert_eq!(kind(&next(&queue)), None);
}

#[test]
fn a_result_that_nobody_takes_is_dropped_on_a_thread_of_the_library() {
    struct Made(mpsc::Sender<Option<String>>);
    impl Drop for Made {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }
    let _alone = alone();
    let (sender, dropped) = mpsc::channel();
    for by_queue in [false, true] {
        let (queue, sender) = (a_queue(), sender.clone());
        Submission::new(&queue, 0).submit(&Call::new(), move |_| Ok(Made(sender.clone()))).unwrap();
        if by_queue {
            let began = Instant::now();
            while queue.receiver().is_empty() && began.elapsed() < LONG {
                thread::yield_now();
            }
            drop(queue);
        } else {
            drop(next(&queue));
        }
        assert_eq!(dropped.recv_timeout(LONG).unwrap().as_deref(), Some("ctrd-call"));
    }
}

#[test]
fn completions_of_a_queue_that_was_freed_vanish() {
    let _alone = alone();
    let queue = a_queue();
    let (release, released) = mpsc::channel::<()>();
    let over = Arc::new(());
    let held = over.clone();
    let wait = move |_: &Call| {
        let _held = &held;
        let _ = released.recv();
        Ok(())
    };
    Submission::new(&queue, 0).submit(&Call::new(), wait).unwrap();
    drop(queue);
    drop(release);
    let began = Instant::now();
    while Arc::strong_count(&over) > 1 {
        assert!(began.elapsed() < LONG);
        thread::yield_now();
    }
}

#[test]
fn threads_end_when_they_are_idle() {
    let _alone = alone();
    drop(Filled::new(&a_group(), SHARE));
    await_threads(0);
    assert_eq!(set_call_threads(3).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn the_exits_of_all_containers_that_a_call_starts_come_after_its_completion() {
    let _alone = alone();
    let queue = a_queue();
    let shared = queue.shared().clone();
    let exit = |generation| {
        let generation = Some(generation);
        Message::new(Body { generation, ..Body::new(MessageKind::Exit, 0) })
    };
    let exits = [1, 2].map(exit);
    Submission::new(&queue, 0)
        .submit(&Call::new(), move |_| {
            for exit in &exits {
                begin_start(exit.generation().unwrap());
                shared.push_from(0, exit.clone());
            }
            Ok(())
        })
        .unwrap();
    let kinds = [(); 3].map(|()| queue.next(&Call::new().timeout(LONG)).unwrap().kind());
    assert_eq!(kinds, [MessageKind::Done, MessageKind::Exit, MessageKind::Exit]);
}

#[test]
fn a_queue_that_is_freed_closes_its_descriptor_though_a_call_holds_it() {
    let _alone = alone();
    let queue = Arc::new(a_queue());
    let fd = Arc::downgrade(&queue.fd().unwrap().0);
    let (release, released) = mpsc::channel::<()>();
    let held = queue.clone();
    let call = move |_: &Call| {
        let _held = &held;
        let _ = released.recv();
        Ok(())
    };
    Submission::new(&queue, 0).submit(&Call::new(), call).unwrap();
    queue.free();
    assert!(fd.upgrade().is_none());
    drop(release);
}

#[test]
fn results_that_nobody_takes_leave_threads_to_calls() {
    /// Its drop lasts until the test says otherwise.
    struct Made(Arc<[AtomicUsize; 2]>, Arc<Mutex<mpsc::Receiver<()>>>);
    impl Drop for Made {
        fn drop(&mut self) {
            let [running, most] = &*self.0;
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _ = self.1.lock().unwrap().recv();
            running.fetch_sub(1, Ordering::SeqCst);
        }
    }
    const MANY: usize = 20;
    let _alone = alone();
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (release, released) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    let queue = a_queue();
    for _ in 0..MANY {
        let (counts, released) = (counts.clone(), released.clone());
        let make = move |_: &Call| Ok(Made(counts.clone(), released.clone()));
        Submission::new(&queue, 0).submit(&Call::new().timeout(LONG), make).unwrap();
        drop(next(&queue));
    }
    // Calls of clients, and of none.
    let group = a_group();
    for _ in 0..MANY {
        let begin = || Submission::new(&queue, 0);
        begin().submit(&Call::new().timeout(LONG), |_| Ok(())).unwrap();
        begin().of(&group).submit(&Call::new().timeout(LONG), |_| Ok(())).unwrap();
        (0..2).for_each(|_| assert_eq!(kind(&next(&queue)), None));
    }
    (0..MANY).for_each(|_| release.send(()).unwrap());
    let began = Instant::now();
    while Arc::strong_count(&counts) > 1 {
        assert!(began.elapsed() < LONG);
        thread::yield_now();
    }
    assert_eq!(counts[1].load(Ordering::SeqCst), SHARE / 2);
}

#[test]
fn long_calls_of_clients_do_not_keep_those_of_no_client_waiting() {
    let _alone = alone();
    let queue = a_queue();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let (begun, begins) = mpsc::channel();
    let groups = [a_group(), a_group()];
    for group in &groups {
        for _ in 0..SHARE / 2 {
            let (released, begun) = (released.clone(), begun.clone());
            let wait = move |_: &Call| {
                begin_long_operation()?;
                begun.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                Ok(())
            };
            Submission::new(&queue, 0).of(group).submit(&Call::new(), wait).unwrap();
        }
    }
    (0..SHARE).for_each(|_| begins.recv_timeout(LONG).unwrap());
    let other = a_queue();
    let long = |_: &Call| begin_long_operation();
    Submission::new(&other, 0).submit(&Call::new().timeout(LONG), long).unwrap();
    assert_eq!(kind(&next(&other)), None);
    drop(release);
    (0..SHARE).for_each(|_| assert_eq!(kind(&next(&queue)), None));
}

#[test]
fn a_call_that_ignores_that_its_operation_waits_runs_again() {
    let _alone = alone();
    let (locks, queue) = (KeyedMutex::default(), a_queue());
    let held = locks.lock("c".into(), "the holder", &Limits::default()).unwrap();
    let (runs, ran) = mpsc::channel();
    let waiting = locks.clone();
    let mut run = 0;
    Submission::new(&queue, 0)
        .submit(&Call::new().timeout(LONG), move |call| {
            run += 1;
            begin_operation()?;
            let locking = waiting.locking("c".into(), "the call");
            let first = hold(&call.limits(None), "c", locking, |error| error);
            runs.send((first.is_ok(), begin_operation().is_ok())).unwrap();
            Ok(run)
        })
        .unwrap();
    assert_eq!(ran.recv_timeout(LONG).unwrap(), (false, false));
    drop(held);
    assert_eq!(ran.recv_timeout(LONG).unwrap(), (true, true));
    assert_eq!(next(&queue).take_result::<i32>().unwrap(), 2);
}

#[test]
fn only_the_first_operation_of_a_call_finds_what_it_has_remembered() {
    let _alone = alone();
    let queue = a_queue();
    Submission::new(&queue, 0)
        .submit(&Call::new(), move |_| {
            let mut made = Vec::new();
            for operation in 1..=2 {
                begin_operation()?;
                made.extend((0..2).map(|time| *remember("key", || (operation, time))));
            }
            Ok(made)
        })
        .unwrap();
    let made: Vec<(i32, i32)> = next(&queue).take_result().unwrap();
    assert_eq!(made, [(1, 0), (1, 0), (2, 0), (2, 1)]);
}

#[test]
fn more_threads_run_calls_that_wait_already() {
    let _alone = alone();
    let groups = [a_group(), a_group(), a_group()];
    let filled = [Filled::new(&groups[0], SHARE), Filled::new(&groups[1], SHARE)];
    let queue = a_queue();
    for _ in 0..SHARE {
        let call = Call::new().timeout(LONG);
        Submission::new(&queue, 0).of(&groups[2]).submit(&call, |_| Ok(())).unwrap();
    }
    set_call_threads(4 * SHARE).unwrap();
    (0..SHARE).for_each(|_| assert_eq!(kind(&next(&queue)), None));
    drop(filled);
    set_call_threads(2 * SHARE).unwrap();
}

#[test]
fn a_call_that_was_accepted_runs_though_no_thread_can_be_made() {
    struct Can;
    impl Drop for Can {
        fn drop(&mut self) {
            pool::NO_THREADS.store(false, Ordering::SeqCst);
        }
    }
    let _alone = alone();
    let (locks, queue) = (KeyedMutex::default(), a_queue());
    let begin = |tag| Submission::new(&queue, tag).named("start_container", "c");
    let change = |tag| begin(tag).changing(&locks, "ns", "c").submit(&Call::new(), |_| Ok(()));
    let held = locks.lock(lock_key("ns", "c"), "the holder", &Limits::default()).unwrap();
    change(1).unwrap();
    // One thread stays for it, longer than idle threads do.
    await_threads(1);
    thread::sleep(Duration::from_millis(1500));
    let _can = Can;
    pool::NO_THREADS.store(true, Ordering::SeqCst);
    change(2).unwrap();
    drop(held);
    let tags = [(); 2].map(|()| next(&queue).tag());
    assert_eq!(tags, [1, 2]);
    // Without a thread, a call is refused, and holds nothing.
    await_threads(0);
    assert_eq!(change(3).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(begin(4).submit(&Call::new(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Io);
    assert!(locks.lock(lock_key("ns", "c"), "", &Limits::default()).is_ok());
    assert!(queue.receiver().is_empty());
}
