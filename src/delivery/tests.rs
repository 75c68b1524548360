use std::os::fd::AsFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Barrier, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::call::Call;

const EXIT: MessageKind = MessageKind::Exit;

fn a_bus() -> Bus {
    Bus::new(&Executor::new("test"))
}

fn exits() -> Wants {
    Wants { kinds: vec![EXIT], container: None }
}

fn exit(bus: &Bus, container: &str) -> Message {
    Message::new(Body { container_id: container.into(), ..bus.body(EXIT) })
}

fn publish(bus: &Bus, container: &str) {
    bus.publish(&exit(bus, container), None);
}

fn within(milliseconds: u64) -> Limits {
    Limits::within(Duration::from_millis(milliseconds))
}

fn is_readable(fd: impl AsFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)).unwrap() > 0
}

/// What a hook holds; it counts its end.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A hook that sends what it is told.
fn sender(bus: &Bus, mode: HookMode) -> (HookId, mpsc::Receiver<Message>, Arc<AtomicUsize>) {
    let (sender, receiver) = mpsc::channel();
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Box::new(move |message: &Message| {
        let _held = &held;
        let _ = sender.send(message.clone());
    });
    let id = bus.add_hook(exits(), mode, usize::MAX, run).unwrap().consumer;
    (id, receiver, ends)
}

#[test]
fn hooks_are_told_in_order_and_only_of_what_they_want() {
    let bus = a_bus();
    let (_, all, _) = sender(&bus, HookMode::Thread);
    let (one, of_one) = mpsc::channel();
    let wants = Wants { container: Some("7".into()), ..exits() };
    let run = Box::new(move |message: &Message| one.send(message.seq()).unwrap());
    bus.add_hook(wants, HookMode::Thread, usize::MAX, run).unwrap();
    for i in 0..1000 {
        publish(&bus, &(i % 10).to_string());
    }
    bus.publish(&Message::new(bus.body(MessageKind::ExecExit)), None);
    let seqs: Vec<u64> = (0..1000).map(|_| all.recv().unwrap().seq()).collect();
    assert!(seqs.is_sorted());
    let seqs: Vec<u64> = (0..100).map(|_| of_one.recv().unwrap()).collect();
    assert!(seqs.is_sorted());
    bus.shut();
    bus.end(&within(10_000)).unwrap();
    assert!(all.recv().is_err() && of_one.recv().is_err());
}

#[test]
fn removing_waits_for_the_hook_and_ends_it_once() {
    let bus = a_bus();
    let (id, received, ends) = sender(&bus, HookMode::Thread);
    publish(&bus, "a");
    received.recv().unwrap();
    bus.remove_hook(id, &within(10_000)).unwrap();
    assert_eq!(ends.load(Ordering::SeqCst), 1);
    publish(&bus, "a");
    assert!(received.recv().is_err());
    let error = bus.remove_hook(id, &within(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // One that does not return is removed all the same.
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let (barrier, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (entered, released) = (barrier.clone(), release.clone());
    let run = Box::new(move |_: &Message| {
        let _held = &held;
        entered.wait();
        released.wait();
    });
    let id = bus.add_hook(exits(), HookMode::Thread, usize::MAX, run).unwrap().consumer;
    publish(&bus, "a");
    publish(&bus, "a");
    barrier.wait();
    for _ in 0..2 {
        let error = bus.remove_hook(id, &within(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(ends.load(Ordering::SeqCst), 0);
    }
    // Meanwhile others are told.
    let (_, received, _) = sender(&bus, HookMode::Thread);
    publish(&bus, "b");
    received.recv().unwrap();
    bus.shut();
    assert_eq!(bus.end(&within(20)).unwrap_err().kind(), ErrorKind::Timeout);
    release.wait();
    bus.end(&within(10_000)).unwrap();
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

/// What a hook holds, which runs this when it ends, and counts that.
struct Ending(Option<Box<dyn FnOnce() + Send>>, Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|end| end());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// A hook of this kind that counts how often it ran.
fn ending(
    bus: &Bus,
    mode: HookMode,
    end: impl FnOnce() + Send + 'static,
) -> (HookId, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (runs, ends) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (held, ran) = (Ending(Some(Box::new(end)), ends.clone()), runs.clone());
    let run = Box::new(move |_: &Message| {
        let _held = &held;
        ran.fetch_add(1, Ordering::SeqCst);
    });
    (bus.add_hook(exits(), mode, usize::MAX, run).unwrap().consumer, runs, ends)
}

/// A hook whose end lasts until the second of these is waited for; the first is met as it begins.
fn slow_to_end(bus: &Bus) -> (HookId, Arc<AtomicUsize>, Arc<Barrier>, Arc<Barrier>) {
    let (begun, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begins, released) = (begun.clone(), release.clone());
    let (id, _, ends) = ending(bus, HookMode::Dispatch, move || {
        begins.wait();
        released.wait();
    });
    (id, ends, begun, release)
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

#[test]
fn whoever_removes_a_hook_waits_for_its_end() {
    let bus = a_bus();
    let (id, ends, begun, release) = slow_to_end(&bus);
    thread::scope(|scope| {
        let remover = scope.spawn(|| bus.remove_hook(id, &Limits::default()));
        begun.wait();
        // By now its function is being dropped.
        assert_eq!(kind(bus.remove_hook(id, &within(0))), Some(ErrorKind::Timeout));
        bus.shut();
        assert_eq!(kind(bus.end(&within(0))), Some(ErrorKind::Timeout));
        assert_eq!(ends.load(Ordering::SeqCst), 0);
        let others = [0, 1].map(|_| scope.spawn(|| bus.remove_hook(id, &Limits::default())));
        let closer = scope.spawn(|| bus.end(&Limits::default()));
        release.wait();
        remover.join().unwrap().unwrap();
        closer.join().unwrap().unwrap();
        for other in others {
            // The last may have come after all was over.
            assert!(matches!(kind(other.join().unwrap()), None | Some(ErrorKind::NotFound)));
        }
    });
    assert_eq!(ends.load(Ordering::SeqCst), 1);
    assert_eq!(kind(bus.remove_hook(id, &within(0))), Some(ErrorKind::NotFound));
}

#[test]
fn whoever_removes_a_hook_beside_a_close_waits_for_its_end() {
    let bus = a_bus();
    let (first, ends, begun, release) = slow_to_end(&bus);
    let (second, runs, ended) = ending(&bus, HookMode::Dispatch, || {});
    publish(&bus, "a");
    thread::scope(|scope| {
        let closer = scope.spawn(|| {
            bus.shut();
            bus.end(&Limits::default())
        });
        begun.wait();
        // The closer has not come to the second yet.
        bus.remove_hook(second, &within(0)).unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert_eq!(bus.dispatch(usize::MAX).unwrap(), 0);
        assert_eq!(kind(bus.remove_hook(first, &within(0))), Some(ErrorKind::Timeout));
        bus.shut();
        assert_eq!(kind(bus.end(&within(0))), Some(ErrorKind::Timeout));
        release.wait();
        closer.join().unwrap().unwrap();
    });
    bus.end(&within(0)).unwrap();
    let counts = [&ends, &ended, &runs].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1, 0]);
}

#[test]
fn a_hook_whose_subscription_failed_is_not_waited_for_long() {
    let bus = a_bus();
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Box::new(move |_: &Message| {
        let _held = &held;
        entered.send(()).unwrap();
        let _ = released.recv();
    });
    let id = bus.add_hook(exits(), HookMode::Thread, usize::MAX, run).unwrap().consumer;
    publish(&bus, "a");
    is_in.recv().unwrap();
    let start = Instant::now();
    bus.withdraw_hook(id);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(ends.load(Ordering::SeqCst), 0);
    drop(release);
    let _ = bus.remove_hook(id, &Limits::default());
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn the_end_of_a_hook_may_remove_it_and_close() {
    for by_close in [false, true] {
        let bus = a_bus();
        let (inner, number) = (bus.clone(), Arc::new(AtomicU64::new(0)));
        let own = number.clone();
        let (id, _, ends) = ending(&bus, HookMode::Thread, move || {
            assert!(inside());
            let id = HookId(own.load(Ordering::SeqCst));
            inner.remove_hook(id, &Limits::default()).unwrap();
            inner.shut();
        });
        number.store(id.0, Ordering::SeqCst);
        if by_close {
            bus.shut();
        } else {
            bus.remove_hook(id, &Limits::default()).unwrap();
        }
        bus.end(&Limits::default()).unwrap();
        assert_eq!(ends.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_hook_keeps_its_function_where_there_is_nothing_to_tell() {
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Box::new(move |_: &Message| {
        let _held = &held;
    });
    // Without a client nothing says that one was dropped.
    let hook = Hook::new(1, HookMode::Dispatch, 1, run, std::sync::Weak::new());
    let item = || Item { message: Message::new(Body::new(EXIT, 1)), _after: None };
    assert!(hook.push(item()) && !hook.push(item()));
    assert_eq!((hook.run(1), hook.run(1)), ((1, true), (0, false)));
    assert_eq!(ends.load(Ordering::SeqCst), 0);
    assert!(hook.push(item()));
    assert_eq!(hook.run(1), (1, false));
    hook.remove();
    hook.end();
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn a_hook_is_run_for_its_turn_and_not_once_it_is_removed() {
    let hook: Arc<OnceLock<Hook>> = Arc::default();
    let (told, me) = (Arc::new(AtomicUsize::new(0)), hook.clone());
    let count = told.clone();
    let run = Box::new(move |_: &Message| {
        if count.fetch_add(1, Ordering::SeqCst) == 3 {
            me.get().unwrap().remove();
        }
    });
    let new = Hook::new(1, HookMode::Thread, 9, run, std::sync::Weak::new());
    let hook = hook.get_or_init(|| new);
    for _ in 0..6 {
        hook.push(Item { message: Message::new(Body::new(EXIT, 1)), _after: None });
    }
    assert_eq!((hook.run(2), hook.run(9)), ((2, true), (2, false)));
    assert_eq!((hook.run(9), told.load(Ordering::SeqCst)), ((0, false), 4));
    assert!(hook.is_gone());
}

#[test]
fn a_turn_of_a_slow_hook_is_one_message() {
    let run = Box::new(|_: &Message| std::thread::sleep(Duration::from_millis(20)));
    let hook = Hook::new(1, HookMode::Thread, 9, run, std::sync::Weak::new());
    for _ in 0..3 {
        hook.push(Item { message: Message::new(Body::new(EXIT, 1)), _after: None });
    }
    assert_eq!([hook.run(9), hook.run(9), hook.run(9)], [(1, true), (1, true), (1, false)]);
}

#[test]
fn hooks_that_remove_each_other_do_not_wait_for_each_other() {
    for _ in 0..100 {
        let bus = a_bus();
        let ids: Arc<Mutex<Vec<HookId>>> = Arc::default();
        let together = Arc::new(Barrier::new(2));
        let ends = Arc::new(AtomicUsize::new(0));
        for me in 0..2 {
            let (bus2, ids2, together) = (bus.clone(), ids.clone(), together.clone());
            let held = Held(ends.clone());
            let run = Box::new(move |_: &Message| {
                let _held = &held;
                together.wait();
                let other = ids2.lock().unwrap()[1 - me];
                // The other may have been faster with itself.
                let _ = bus2.remove_hook(other, &Limits::default());
                let me = ids2.lock().unwrap()[me];
                let _ = bus2.remove_hook(me, &Limits::default());
            });
            let id = bus.add_hook(exits(), HookMode::Thread, usize::MAX, run).unwrap().consumer;
            ids.lock().unwrap().push(id);
        }
        publish(&bus, "a");
        let start = Instant::now();
        while ends.load(Ordering::SeqCst) < 2 {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
        bus.shut();
        bus.end(&within(10_000)).unwrap();
    }
}

#[test]
fn the_host_dispatches_when_the_descriptor_says_so() {
    let bus = a_bus();
    let (id, received, ends) = sender(&bus, HookMode::Dispatch);
    publish(&bus, "before the descriptor");
    assert!(is_readable(bus.dispatch_fd().unwrap()));
    for _ in 0..9 {
        publish(&bus, "a");
    }
    assert!(received.try_recv().is_err());
    assert_eq!(bus.dispatch(3).unwrap(), 3);
    assert!(is_readable(bus.dispatch_fd().unwrap()));
    assert_eq!(bus.dispatch(usize::MAX).unwrap(), 7);
    assert!(!is_readable(bus.dispatch_fd().unwrap()));
    assert_eq!(received.try_iter().count(), 10);
    assert_eq!(bus.dispatch(usize::MAX).unwrap(), 0);
    publish(&bus, "a");
    bus.remove_hook(id, &within(0)).unwrap();
    assert_eq!(ends.load(Ordering::SeqCst), 1);
    assert_eq!(bus.dispatch(usize::MAX).unwrap(), 0);
    assert!(!is_readable(bus.dispatch_fd().unwrap()));

    let inner = bus.clone();
    let (sender, received) = mpsc::channel();
    let run =
        Box::new(move |_: &Message| sender.send(inner.dispatch(1).unwrap_err().kind()).unwrap());
    bus.add_hook(exits(), HookMode::Dispatch, usize::MAX, run).unwrap();
    publish(&bus, "a");
    assert_eq!(bus.dispatch(1).unwrap(), 1);
    assert_eq!(received.recv().unwrap(), ErrorKind::Reentrant);
}

#[test]
fn what_follows_a_message_comes_after_every_hook() {
    let bus = a_bus();
    let (done, over) = mpsc::channel();
    let release = Arc::new(Barrier::new(2));
    let (_, received, _) = sender(&bus, HookMode::Thread);
    let released = release.clone();
    let run = Box::new(move |_: &Message| {
        released.wait();
    });
    bus.add_hook(exits(), HookMode::Thread, usize::MAX, run).unwrap();
    let job: Job = Box::new(move || done.send(()).unwrap());
    bus.publish(&exit(&bus, "a"), Some(bus.after(Some(job))));
    received.recv().unwrap();
    assert!(over.recv_timeout(Duration::from_millis(50)).is_err());
    release.wait();
    over.recv().unwrap();

    // Nobody to wait for.
    let bus = a_bus();
    let (done, over) = mpsc::channel();
    let job: Job = Box::new(move || done.send(()).unwrap());
    bus.publish(&exit(&bus, "a"), Some(bus.after(Some(job))));
    over.recv().unwrap();
}

#[test]
fn what_overflows_is_counted_and_said() {
    let bus = a_bus();
    let queue = bus.add_queue(exits(), 2).unwrap().consumer;
    let (sender, received) = mpsc::channel();
    let run = Box::new(move |message: &Message| {
        sender.send((message.kind(), message.dropped())).unwrap();
    });
    bus.add_hook(exits(), HookMode::Dispatch, 2, run).unwrap();
    for _ in 0..5 {
        publish(&bus, "a");
    }
    let next = || {
        let message = queue.next(&Call::new().poll()).unwrap();
        (message.kind(), message.dropped())
    };
    assert_eq!((next(), next()), ((EXIT, 0), (EXIT, 0)));
    assert_eq!(next(), (MessageKind::Overflow, 3));
    let error = queue.next(&Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    bus.dispatch(2).unwrap();
    publish(&bus, "a");
    assert_eq!(next(), (EXIT, 0));
    bus.dispatch(usize::MAX).unwrap();
    let told: Vec<_> = received.try_iter().collect();
    assert_eq!(told, [(EXIT, 0), (EXIT, 0), (MessageKind::Overflow, 3), (EXIT, 0)]);
    assert_eq!(bus.dropped(), 6);
}

#[test]
fn a_queue_says_what_it_dropped_before_it_ends() {
    let bus = a_bus();
    let queue = bus.add_queue(exits(), 1).unwrap().consumer;
    (0..3).for_each(|_| publish(&bus, "a"));
    bus.shut();
    for expected in [(EXIT, 0), (MessageKind::Overflow, 2)] {
        assert!(is_readable(queue.fd()));
        let message = queue.next(&Call::new().poll()).unwrap();
        assert_eq!((message.kind(), message.dropped()), expected);
    }
    for _ in 0..2 {
        assert!(is_readable(queue.fd()));
        assert_eq!(kind(queue.next(&Call::new())), Some(ErrorKind::Closed));
    }
}

#[test]
fn a_queue_is_waited_for_and_ends_with_the_client() {
    let bus = a_bus();
    let queue = bus.add_queue(exits(), 16).unwrap().consumer;
    assert!(!is_readable(queue.fd()));
    let late = bus.add_queue(exits(), 16).unwrap().consumer;
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| queue.next(&Call::new()).unwrap().seq())).collect();
        thread::sleep(Duration::from_millis(20));
        (0..4).for_each(|_| publish(&bus, "a"));
        let mut seqs: Vec<u64> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 2, 3, 4]);
    });
    assert!(!is_readable(queue.fd()));
    publish(&bus, "a");
    assert!(is_readable(queue.fd()));
    assert_eq!(queue.receiver().recv().unwrap().seq(), 5);
    publish(&bus, "a");
    // Asked for now, it tells what was there before.
    assert!(is_readable(late.fd()));
    (0..6).for_each(|_| drop(late.next(&Call::new()).unwrap()));
    assert!(!is_readable(late.fd()));
    bus.shut();
    assert!(is_readable(queue.fd()) && is_readable(late.fd()));
    assert_eq!(queue.next(&Call::new()).unwrap().seq(), 6);
    assert_eq!(queue.next(&Call::new()).unwrap_err().kind(), ErrorKind::Closed);
    assert!(is_readable(queue.fd()));
    assert_eq!(bus.add_queue(exits(), 1).err().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn threads_are_few_and_end() {
    let bus = a_bus();
    for _ in 0..4 {
        let run = Box::new(|_: &Message| thread::sleep(Duration::from_millis(1)));
        bus.add_hook(exits(), HookMode::Thread, usize::MAX, run).unwrap();
    }
    for _ in 0..50 {
        publish(&bus, "a");
    }
    assert!(bus.0.threads.count() <= 4);
    let start = Instant::now();
    while bus.0.threads.count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn jobs_do_not_hold_hooks_up() {
    let bus = a_bus();
    let (_, received, _) = sender(&bus, HookMode::Thread);
    let (done, over) = mpsc::channel();
    let release = Arc::new(Barrier::new(5));
    for _ in 0..20 {
        let (release, done) = (release.clone(), done.clone());
        let job = move || {
            // Four of them at once, and the test.
            release.wait();
            done.send(()).unwrap();
        };
        bus.publish(&exit(&bus, "a"), Some(bus.after(Some(Box::new(job)))));
    }
    for _ in 0..20 {
        received.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    assert!(over.try_recv().is_err());
    for _ in 0..5 {
        release.wait();
    }
    for _ in 0..20 {
        over.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}
