use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::call::Call;
use crate::queue::QueueConfig;

const EXIT: MessageKind = MessageKind::Exit;

fn a_bus() -> Bus {
    Bus::new(&Executor::new("test"))
}

fn exits() -> HookConfig {
    HookConfig::new([EXIT])
}

/// A queue, and its subscription to exits and progress.
fn a_queue(bus: &Bus, capacity: usize) -> (Queue, Subscription) {
    let queue = Queue::new(&QueueConfig::new().capacity(capacity)).unwrap();
    let config = SubscriptionConfig::new([EXIT, MessageKind::Progress]).tag(7);
    let subscription = bus.subscribe(&queue, &config).unwrap().consumer;
    (queue, subscription)
}

fn step(bus: &Bus) {
    bus.publish(&Message::new(bus.body(MessageKind::Progress)), None);
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

/// A value that a hook holds. It counts its drops.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A hook that sends its messages into a channel.
fn sender(bus: &Bus, mode: HookMode) -> (HookId, mpsc::Receiver<Message>, Arc<AtomicUsize>) {
    let (sender, receiver) = mpsc::channel();
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Arc::new(move |message: &Message| {
        let _held = &held;
        let _ = sender.send(message.clone());
    });
    let id = bus.add_hook(&exits().mode(mode), run).unwrap().consumer;
    (id, receiver, ends)
}

#[test]
fn hooks_get_their_kinds_of_messages_in_order() {
    let bus = a_bus();
    let (_, all, _) = sender(&bus, HookMode::Thread);
    let (one, of_one) = mpsc::channel();
    let wants = exits().container("7");
    let run = Arc::new(move |message: &Message| one.send(message.seq()).unwrap());
    bus.add_hook(&wants.mode(HookMode::Thread), run).unwrap();
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

    // A hook that does not return is removed all the same.
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let (barrier, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (entered, released) = (barrier.clone(), release.clone());
    let run = Arc::new(move |_: &Message| {
        let _held = &held;
        entered.wait();
        released.wait();
    });
    let id = bus.add_hook(&exits().mode(HookMode::Thread), run).unwrap().consumer;
    publish(&bus, "a");
    publish(&bus, "a");
    barrier.wait();
    for _ in 0..2 {
        let error = bus.remove_hook(id, &within(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(ends.load(Ordering::SeqCst), 0);
    }
    // Meanwhile other hooks get messages.
    let (_, received, _) = sender(&bus, HookMode::Thread);
    publish(&bus, "b");
    received.recv().unwrap();
    bus.shut();
    assert_eq!(bus.end(&within(20)).unwrap_err().kind(), ErrorKind::Timeout);
    release.wait();
    bus.end(&within(10_000)).unwrap();
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

/// A value that a hook holds. Its drop runs the function, and counts that.
struct Ending(Mutex<Option<Box<dyn FnOnce() + Send>>>, Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.get_mut().unwrap().take().into_iter().for_each(|end| end());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// A hook with this mode that counts its runs.
fn ending(
    bus: &Bus,
    mode: HookMode,
    end: impl FnOnce() + Send + 'static,
) -> (HookId, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (runs, ends) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (held, ran) = (Ending(Mutex::new(Some(Box::new(end))), ends.clone()), runs.clone());
    let run = Arc::new(move |_: &Message| {
        let _held = &held;
        ran.fetch_add(1, Ordering::SeqCst);
    });
    (bus.add_hook(&exits().mode(mode), run).unwrap().consumer, runs, ends)
}

/// A hook whose destructor begins with the first barrier, and waits for the second.
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
fn the_removal_of_a_hook_waits_until_it_returns() {
    let bus = a_bus();
    let (id, ends, begun, release) = slow_to_end(&bus);
    thread::scope(|scope| {
        let remover = scope.spawn(|| bus.remove_hook(id, &Limits::default()));
        begun.wait();
        // Its function is being dropped now.
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
            // The last call may have come after everything was over.
            assert!(matches!(kind(other.join().unwrap()), None | Some(ErrorKind::NotFound)));
        }
    });
    assert_eq!(ends.load(Ordering::SeqCst), 1);
    assert_eq!(kind(bus.remove_hook(id, &within(0))), Some(ErrorKind::NotFound));
}

#[test]
fn a_removal_of_a_hook_during_a_close_waits_until_it_returns() {
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
        // The closing thread has not reached the second hook yet.
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
    let released = Mutex::new(released);
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Arc::new(move |_: &Message| {
        let _held = &held;
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    let id = bus.add_hook(&exits().mode(HookMode::Thread), run).unwrap().consumer;
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
fn a_hook_keeps_its_function_if_nothing_waits_for_it() {
    let ends = Arc::new(AtomicUsize::new(0));
    let held = Held(ends.clone());
    let run = Arc::new(move |_: &Message| {
        let _held = &held;
    });
    let hook = Hook::new(1, &exits().mode(HookMode::Dispatch), run, Arc::default());
    let push =
        |kind| hook.push(QueuedMessage { message: Message::new(Body::new(kind, 1)), _after: None });
    assert!(push(MessageKind::Progress));
    (0..hook::EVENTS).for_each(|_| assert!(!push(MessageKind::Progress)));
    let mut ran = 0;
    // One message was dropped, and another one reports that.
    while ran <= hook::EVENTS {
        let (now, _) = hook.run(hook::EVENTS);
        assert!(now > 0);
        ran += now;
    }
    assert_eq!((ran, hook.run(1)), (hook::EVENTS + 1, (0, false)));
    assert_eq!(ends.load(Ordering::SeqCst), 0);
    assert!(push(EXIT));
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
    let run = Arc::new(move |_: &Message| {
        if count.fetch_add(1, Ordering::SeqCst) == 3 {
            me.get().unwrap().remove();
        }
    });
    let new = Hook::new(1, &exits().mode(HookMode::Thread), run, Arc::default());
    let hook = hook.get_or_init(|| new);
    for _ in 0..6 {
        hook.push(QueuedMessage { message: Message::new(Body::new(EXIT, 1)), _after: None });
    }
    assert_eq!((hook.run(2), hook.run(9)), ((2, true), (2, false)));
    assert_eq!((hook.run(9), told.load(Ordering::SeqCst)), ((0, false), 4));
    assert!(hook.is_gone());
}

#[test]
fn a_turn_of_a_slow_hook_is_one_message() {
    let run = Arc::new(|_: &Message| std::thread::sleep(Duration::from_millis(20)));
    let hook = Hook::new(1, &exits().mode(HookMode::Thread), run, Arc::default());
    for _ in 0..3 {
        hook.push(QueuedMessage { message: Message::new(Body::new(EXIT, 1)), _after: None });
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
            let run = Arc::new(move |_: &Message| {
                let _held = &held;
                together.wait();
                let other = ids2.lock().unwrap()[1 - me];
                // The other hook may have removed itself first.
                let _ = bus2.remove_hook(other, &Limits::default());
                let me = ids2.lock().unwrap()[me];
                let _ = bus2.remove_hook(me, &Limits::default());
            });
            let id = bus.add_hook(&exits().mode(HookMode::Thread), run).unwrap().consumer;
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
        Arc::new(move |_: &Message| sender.send(inner.dispatch(1).unwrap_err().kind()).unwrap());
    bus.add_hook(&exits().mode(HookMode::Dispatch), run).unwrap();
    publish(&bus, "a");
    assert_eq!(bus.dispatch(1).unwrap(), 1);
    assert_eq!(received.recv().unwrap(), ErrorKind::Reentrant);
}

#[test]
fn the_job_after_a_message_runs_after_every_hook() {
    let bus = a_bus();
    let (done, over) = mpsc::channel();
    let release = Arc::new(Barrier::new(2));
    let (_, received, _) = sender(&bus, HookMode::Thread);
    let released = release.clone();
    let run = Arc::new(move |_: &Message| {
        released.wait();
    });
    bus.add_hook(&exits().mode(HookMode::Thread), run).unwrap();
    let job: Job = Box::new(move || done.send(()).unwrap());
    bus.publish(&exit(&bus, "a"), Some(bus.after(Some(job))));
    received.recv().unwrap();
    assert!(over.recv_timeout(Duration::from_millis(50)).is_err());
    release.wait();
    over.recv().unwrap();

    // There is no hook to wait for.
    let bus = a_bus();
    let (done, over) = mpsc::channel();
    let job: Job = Box::new(move || done.send(()).unwrap());
    bus.publish(&exit(&bus, "a"), Some(bus.after(Some(job))));
    over.recv().unwrap();
}

#[test]
fn dropped_messages_are_counted_and_reported() {
    let bus = a_bus();
    let (queue, _subscription) = a_queue(&bus, 2);
    for _ in 0..5 {
        step(&bus);
    }
    let next = || {
        let message = queue.next(&Call::new().poll()).unwrap();
        assert_eq!(message.tag(), 7);
        (message.kind(), message.dropped())
    };
    let is_empty = || kind(queue.next(&Call::new().poll())) == Some(ErrorKind::WouldBlock);
    let progress = (MessageKind::Progress, 0);
    assert_eq!((next(), next(), next()), (progress, progress, (MessageKind::Overflow, 3)));
    assert!(is_empty());
    step(&bus);
    assert_eq!(next(), progress);
    assert!(is_empty());
    assert_eq!(bus.dropped(), 3);

    // One message about the loss waits. It has the count of the time at which it is taken.
    (0..4).for_each(|_| step(&bus));
    assert_eq!(next(), progress);
    (0..3).for_each(|_| step(&bus));
    assert_eq!((next(), next(), next()), (progress, (MessageKind::Overflow, 4), progress));
    assert!(is_empty());
}

#[test]
fn a_hook_learns_how_many_messages_were_dropped() {
    let bus = a_bus();
    let (sender, received) = mpsc::channel();
    let run = Arc::new(move |message: &Message| {
        sender.send((message.kind(), message.dropped())).unwrap();
    });
    let config = HookConfig::new([EXIT, MessageKind::Progress]).mode(HookMode::Dispatch);
    bus.add_hook(&config, run).unwrap();
    (0..hook::EVENTS + 3).for_each(|_| step(&bus));
    publish(&bus, "a");
    bus.dispatch(usize::MAX).unwrap();
    let told: Vec<_> = received.try_iter().collect();
    assert_eq!(told.len(), hook::EVENTS + 2);
    assert_eq!(told[hook::EVENTS..], [(MessageKind::Overflow, 3), (EXIT, 0)]);
}

#[test]
fn exits_are_never_dropped_and_hold_new_processes_back() {
    let bus = a_bus();
    let queue = Queue::new(&QueueConfig::new().capacity(1).max_exits(3)).unwrap();
    let subscribe = || bus.subscribe(&queue, &SubscriptionConfig::new([EXIT])).unwrap().consumer;
    let first = subscribe();
    for _ in 0..3 {
        bus.check_backlog().unwrap();
        publish(&bus, "a");
    }
    assert_eq!(kind(bus.check_backlog()), Some(ErrorKind::ResourceExhausted));
    publish(&bus, "a");
    assert_eq!(queue.receiver().len(), 4);
    // A message that is taken from the channel itself also makes room, when it is dropped.
    drop(queue.receiver().recv().unwrap());
    drop(queue.next(&Call::new()).unwrap());
    bus.check_backlog().unwrap();
    publish(&bus, "a");
    assert_eq!(kind(bus.check_backlog()), Some(ErrorKind::ResourceExhausted));
    // A queue that was dropped does not hold anybody back.
    drop(first);
    bus.check_backlog().unwrap();
    let _second = subscribe();
    drop(queue);
    publish(&bus, "a");
    assert_eq!(bus.dropped(), 0);
}

#[test]
fn a_subscription_ends_with_one_message_when_the_client_closes() {
    let bus = a_bus();
    let (queue, subscription) = a_queue(&bus, 1);
    publish(&bus, "a");
    bus.shut();
    bus.shut();
    for expected in [EXIT, MessageKind::Closed] {
        assert!(is_readable(queue.fd().unwrap()));
        let message = queue.next(&Call::new().poll()).unwrap();
        assert_eq!((message.kind(), message.tag()), (expected, 7));
    }
    assert!(!is_readable(queue.fd().unwrap()));
    assert_eq!(kind(queue.next(&Call::new().poll())), Some(ErrorKind::WouldBlock));
    drop(subscription);
    let config = SubscriptionConfig::new([EXIT]);
    assert_eq!(kind(bus.subscribe(&queue, &config)), Some(ErrorKind::Closed));
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription() {
    for by_close in [false, true] {
        let bus = a_bus();
        let queue = Queue::new(&QueueConfig::new()).unwrap();
        let config = SubscriptionConfig::new([MessageKind::Event]);
        let Added { consumer, sink, .. } = bus.subscribe(&queue, &config).unwrap();
        let event = || bus.deliver(&sink, Message::new(bus.body(MessageKind::Event)));
        event();
        if by_close {
            bus.shut();
        } else {
            drop(consumer);
        }
        // The stream of events may still have one.
        event();
        let kinds: Vec<_> = queue.receiver().try_iter().map(|message| message.kind()).collect();
        let last = by_close.then_some(MessageKind::Closed);
        let expected: Vec<_> = [MessageKind::Event].into_iter().chain(last).collect();
        assert_eq!(kinds, expected);
    }
}

/// An exit of a container with this id and generation.
fn exit_of(bus: &Bus, id: &str, generation: u64) {
    let generation = Some(generation);
    let body = Body { container_id: id.into(), generation, ..bus.body(EXIT) };
    bus.publish(&Message::new(body), None);
}

fn complete(queue: &Queue, started: &[u64]) {
    queue.shared().complete(Message::new(Body::new(MessageKind::Done, 0)), started);
}

/// The kinds and tags of the messages in the queue, which this takes.
fn taken(queue: &Queue) -> Vec<(MessageKind, u64)> {
    let next = || queue.next(&Call::new().poll()).ok();
    std::iter::from_fn(next).map(|message| (message.kind(), message.tag())).collect()
}

#[test]
fn the_end_of_a_subscription_waits_for_the_exits_that_a_start_keeps_back() {
    let (bus, other) = (a_bus(), a_bus());
    let (queue, _subscription) = a_queue(&bus, 1);
    let _second = other.subscribe(&queue, &SubscriptionConfig::new([EXIT]).tag(8)).unwrap();
    let (done, exit) = ((MessageKind::Done, 0), (EXIT, 7));
    for generation in [1, 2] {
        queue.shared().begin_start(generation);
        exit_of(&bus, "a", generation);
    }
    bus.shut();
    // The other client has no exit that waits.
    other.shut();
    assert_eq!(taken(&queue), [(MessageKind::Closed, 8)]);
    complete(&queue, &[1]);
    assert_eq!(taken(&queue), [done, exit]);
    complete(&queue, &[2]);
    assert_eq!(taken(&queue), [done, exit, (MessageKind::Closed, 7)]);
}

#[test]
fn only_starts_of_the_same_container_keep_its_exit_back() {
    let (bus, other) = (a_bus(), a_bus());
    let (queue, _subscription) = a_queue(&bus, 1);
    let _second = other.subscribe(&queue, &SubscriptionConfig::new([EXIT]).tag(8)).unwrap();
    let done = (MessageKind::Done, 0);
    // Both clients start the same container. Another container has the same id.
    (0..2).for_each(|_| queue.shared().begin_start(1));
    exit_of(&other, "a", 2);
    assert_eq!(taken(&queue), [(EXIT, 8)]);
    exit_of(&bus, "a", 1);
    complete(&queue, &[1]);
    assert_eq!(taken(&queue), [done]);
    complete(&queue, &[1]);
    assert_eq!(taken(&queue), [done, (EXIT, 7)]);
    exit_of(&bus, "a", 1);
    assert_eq!(taken(&queue), [(EXIT, 7)]);
}

#[test]
fn the_descriptor_is_right_again_after_the_channel_was_emptied() {
    let bus = a_bus();
    let (queue, _subscription) = a_queue(&bus, 1);
    let fd = queue.fd().unwrap();
    publish(&bus, "a");
    drop(queue.receiver().recv().unwrap());
    assert_eq!(taken(&queue), []);
    assert!(!is_readable(&fd));
    publish(&bus, "a");
    assert!(is_readable(&fd));
}

#[test]
fn the_stream_of_events_ends_with_the_queue() {
    let is_gone = |liveness: &Liveness| {
        liveness.poll_gone(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    let bus = a_bus();
    let config = SubscriptionConfig::new([MessageKind::Event]);
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let [first, second] = [(); 2].map(|()| bus.subscribe(&queue, &config).unwrap());
    drop(first.consumer);
    assert!(is_gone(&first.liveness) && !is_gone(&second.liveness));
    queue.free();
    assert!(is_gone(&second.liveness));
    // A submitted call may still hold the queue.
    let late = bus.subscribe(&queue, &config).unwrap();
    assert!(is_gone(&late.liveness));
}

#[test]
fn a_subscription_may_end_before_or_after_queue_and_client() {
    let bus = a_bus();
    let (queue, subscription) = a_queue(&bus, 1);
    publish(&bus, "a");
    drop(subscription);
    publish(&bus, "a");
    // Earlier messages stay.
    assert_eq!(queue.receiver().len(), 1);
    let (other, subscription) = a_queue(&bus, 1);
    drop(other);
    publish(&bus, "a");
    drop(subscription);
    let (_other, subscription) = a_queue(&bus, 1);
    drop(bus);
    drop(subscription);
}

#[test]
fn a_queue_of_two_clients_is_waited_for() {
    let (bus, other) = (a_bus(), a_bus());
    let (queue, _subscription) = a_queue(&bus, 16);
    let _second = other.subscribe(&queue, &SubscriptionConfig::new([EXIT]).tag(8)).unwrap();
    assert!(!is_readable(queue.fd().unwrap()));
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| queue.next(&Call::new()).unwrap().tag())).collect();
        thread::sleep(Duration::from_millis(20));
        (0..2).for_each(|_| publish(&bus, "a"));
        (0..2).for_each(|_| publish(&other, "a"));
        let mut tags: Vec<u64> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
        tags.sort_unstable();
        assert_eq!(tags, [7, 7, 8, 8]);
    });
    assert!(!is_readable(queue.fd().unwrap()));
    publish(&bus, "a");
    assert!(is_readable(queue.fd().unwrap()));
    queue.next(&Call::new()).unwrap();
    // A descriptor that is requested later is readable because of earlier messages.
    let (late, _subscription) = a_queue(&bus, 16);
    publish(&bus, "a");
    assert!(is_readable(late.fd().unwrap()));
    late.next(&Call::new()).unwrap();
    assert!(!is_readable(late.fd().unwrap()));
}

#[test]
fn a_hook_that_runs_several_times_at_once_keeps_the_order_of_each_container() {
    let bus = a_bus();
    let told: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let (running, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (list, now, peak) = (told.clone(), running, most.clone());
    let run = Arc::new(move |message: &Message| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        list.lock().unwrap().push((message.container_id().to_owned(), message.seq()));
        now.fetch_sub(1, Ordering::SeqCst);
    });
    let id = bus.add_hook(&exits().concurrency(4), run).unwrap().consumer;
    (0..60).for_each(|i| publish(&bus, &(i % 6).to_string()));
    let start = Instant::now();
    while told.lock().unwrap().len() < 60 {
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
    for container in 0..6 {
        let told = told.lock().unwrap();
        let of = |(id, _): &&(String, u64)| *id == container.to_string();
        assert!(told.iter().filter(of).map(|(_, seq)| *seq).is_sorted());
    }
    bus.remove_hook(id, &within(10_000)).unwrap();
    for concurrency in [0, 17] {
        assert_eq!(
            kind(exits().concurrency(concurrency).check()),
            Some(ErrorKind::InvalidArgument)
        );
    }
}

#[test]
fn threads_are_few_and_end() {
    let bus = a_bus();
    for _ in 0..4 {
        let run = Arc::new(|_: &Message| thread::sleep(Duration::from_millis(1)));
        bus.add_hook(&exits().mode(HookMode::Thread), run).unwrap();
    }
    for _ in 0..50 {
        publish(&bus, "a");
    }
    assert!(bus.0.hooks.count() <= 4);
    let start = Instant::now();
    while bus.0.hooks.count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn hooks_that_hang_do_not_hold_jobs_up() {
    let bus = a_bus();
    let (entered, running) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let run = Arc::new(move |_: &Message| {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    for _ in 0..16 {
        bus.add_hook(&exits().container("hangs"), run.clone()).unwrap();
    }
    publish(&bus, "hangs");
    (0..16).for_each(|_| running.recv_timeout(Duration::from_secs(30)).unwrap());
    // No hook must get these exits.
    let (done, over) = mpsc::channel();
    for _ in 0..20 {
        let done = done.clone();
        let job: Job = Box::new(move || done.send(()).unwrap());
        bus.publish(&exit(&bus, "other"), Some(bus.after(Some(job))));
    }
    (0..20).for_each(|_| over.recv_timeout(Duration::from_secs(30)).unwrap());
    drop(release);
    bus.shut();
    bus.end(&within(30_000)).unwrap();
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
            // Four jobs at once, and the test.
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
