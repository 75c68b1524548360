//! Submitted calls against the real containerd: order, faults, bounds, the close of a client.

mod ground;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Cleanup, Client, ContainerConfig, DestroyConfig, Error, ErrorKind, Image,
    Message, MessageKind, NewProcess, PullConfig, Queue, QueueConfig, RemoveImageConfig,
    Submission, SubscriptionConfig,
};
use ground::faulty_proxy::{BIG, BlobFault, FaultyProxy};
use ground::image::Recipe;
use ground::plot::{
    Plot, assert_nothing_is_left, at_once, client_of, create, kill, pid, stop, within,
};
use ground::{Ground, unique, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// On a containerd that no other test uses.
fn plot_of_its_own() -> Plot {
    let ground = Box::leak(Box::new(Ground::raise()));
    Plot::with_image(ground, ground.image())
}

fn a_queue() -> Queue {
    Queue::new(&QueueConfig::new()).unwrap()
}

fn next(queue: &Queue) -> Message {
    queue.next(&within(60)).unwrap()
}

/// The pool belongs to the process: of the tests that fill it, one runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads the pool has, and how many of them one client holds at most.
const THREADS: u64 = 16;
const SHARE: u64 = THREADS / 2;

/// A container that runs a script.
fn config(image: &str, id: &str, script: &str) -> ContainerConfig {
    ContainerConfig::new(id).image(image).args(["/bin/sh", "-c", script])
}

fn submit_create(plot: &Plot, queue: &Queue, tag: u64, id: &str, script: &str) {
    let config = config(&plot.image, id, script);
    plot.client
        .submit_change(queue, tag, id, &Call::new(), move |client, call| {
            client.create_container(&config, call)
        })
        .unwrap();
}

fn submit_destroy(plot: &Plot, queue: &Queue, tag: u64, id: &str) {
    let own = id.to_owned();
    plot.client
        .submit_change(queue, tag, id, &Call::new(), move |client, call| {
            client.destroy_container(&own, &DestroyConfig::new(), call)
        })
        .unwrap();
}

#[test]
fn one_thread_creates_awaits_and_destroys_many() {
    const MANY: u64 = 30;
    let plot = Plot::new();
    let queue = a_queue();
    let config = SubscriptionConfig::new([MessageKind::Exit]).tag(1_000);
    let _subscription = plot.client.subscribe(&queue, &config, &Call::new()).unwrap();
    let ids: Vec<String> = (0..MANY).map(|_| unique("c")).collect();
    for (tag, id) in (0..).zip(&ids) {
        submit_create(&plot, &queue, tag, id, &format!("exit {}", 10 + tag));
        submit_destroy(&plot, &queue, MANY + tag, id);
    }
    // In the order in which they came: created, exited, destroyed.
    let mut told: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for _ in 0..3 * MANY {
        let message = next(&queue);
        assert!(message.error().is_none(), "{message:?}");
        match (message.kind(), message.tag()) {
            (MessageKind::Exit, 1_000) => {
                let id = message.container_id();
                let tag = ids.iter().position(|of| of == id).unwrap() as u64;
                told.entry(tag).or_default().push("exited");
            }
            (MessageKind::Done, tag) if tag < MANY => {
                assert!(message.take_result::<NewProcess>().unwrap().pid() > 0);
                told.entry(tag).or_default().push("created");
            }
            (MessageKind::Done, tag) => {
                let tag = tag - MANY;
                let exit: Message = message.take_result().unwrap();
                assert_eq!(exit.exit_code(), Some(10 + u32::try_from(tag).unwrap()));
                told.entry(tag).or_default().push("destroyed");
            }
            other => panic!("{other:?}"),
        }
    }
    for told in told.values() {
        assert_eq!(*told, ["created", "exited", "destroyed"]);
    }
    assert_eq!(queue.next(&Call::new().poll()).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_nothing_is_left(&plot, "the submitted calls");
}

#[test]
fn a_thousand_waits_for_exits_hold_no_thread() {
    let plot = Plot::new();
    let queue = a_queue();
    let id = plot.create(plot.shell("sleep 1000"));
    let (client, own) = (plot.client.clone(), id.clone());
    for tag in 0..1_000 {
        let (client, own) = (client.clone(), own.clone());
        client
            .submission(&queue, tag)
            .without_slot()
            .submit(&Call::new(), move |call| client.probe(&own, call))
            .unwrap();
    }
    // One that is bounded ends meanwhile, and short calls have threads.
    let own = id.clone();
    let soon = Call::new().timeout(Duration::from_millis(200));
    let bounded = a_queue();
    plot.client
        .submit(&bounded, 0, &soon, move |client, call| client.probe(&own, call).map(drop))
        .unwrap();
    assert_eq!(next(&bounded).error().unwrap().kind(), ErrorKind::Timeout);
    plot.client.submit(&bounded, 1, &within(60), |client, call| client.version(call)).unwrap();
    assert!(next(&bounded).error().is_none());
    assert!(queue.receiver().is_empty());
    plot.destroy(&id);
    for _ in 0..1_000 {
        let exit: Message = next(&queue).take_result().unwrap();
        assert_eq!(exit.container_id(), id);
    }
}

#[test]
fn clients_are_opened_and_images_pulled_and_removed_by_submitted_calls() {
    let plot = Plot::new();
    let queue = a_queue();
    let config = plot.client_config();
    Submission::new(&queue, 1)
        .submit(&Call::new(), move |call| Client::open(&config, call))
        .unwrap();
    let client: Client = next(&queue).take_result().unwrap();

    let (reference, namespace) = (plot.ground.image().to_owned(), unique("submitted"));
    let pull = PullConfig::new(&reference);
    let call = Call::new().namespace(&namespace);
    client
        .submit(&queue, 2, &call, move |client, call| client.pull_image(&pull, &mut |_| {}, call))
        .unwrap();
    let mut steps = 0;
    let image: Image = loop {
        let message = next(&queue);
        assert_eq!(message.tag(), 2);
        if message.kind() == MessageKind::Progress {
            assert_eq!(message.topic(), Some(&*reference));
            let items = message.progress().unwrap();
            assert_eq!(items[0].reference(), reference);
            for item in items {
                assert!(message.json().unwrap().contains(item.reference()), "{message:?}");
            }
            steps += 1;
            continue;
        }
        break message.take_result().unwrap();
    };
    assert!(steps > 0);
    let name = image.name().to_owned();
    client
        .submit(&queue, 3, &call, move |client, call| {
            client.remove_image(&name, &RemoveImageConfig::new().sync(true), call)
        })
        .unwrap();
    assert!(next(&queue).error().is_none());

    // A close that is submitted does not wait for itself.
    let closing = client.clone();
    Submission::new(&queue, 4).submit(&Call::new(), move |call| closing.close(call)).unwrap();
    assert!(next(&queue).error().is_none());
    let refused = client.submit(&queue, 5, &Call::new(), |client, call| client.version(call));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_stopped_server_holds_up_nobody() {
    let _alone = alone();
    let plot = plot_of_its_own();
    let id = plot.create(plot.shell("sleep 1000"));
    let containerd = pid(plot.ground.daemon().pid());
    let (queue, cancel) = (a_queue(), Cancel::new());
    stop(containerd);
    let began = Instant::now();
    let call = Call::new().timeout(Duration::from_millis(500));
    for tag in 0..100 {
        plot.client.submit(&queue, tag, &call, |client, call| client.version(call)).unwrap();
    }
    let cancelled = Call::new().cancel(&cancel);
    for tag in 100..200 {
        plot.client.submit(&queue, tag, &cancelled, |client, call| client.version(call)).unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(400), "submitting blocks");
    cancel.fire();
    let end = |message: Message| match message.error() {
        Some(error) => error.kind(),
        None => panic!("a stopped server has answered: {message:?}"),
    };
    let ends: Vec<ErrorKind> = (0..200).map(|_| end(next(&queue))).collect();
    kill_process(containerd, Signal::CONT).unwrap();
    let count = |kind| ends.iter().filter(|end| **end == kind).count();
    assert_eq!((count(ErrorKind::Timeout), count(ErrorKind::Cancelled)), (100, 100));
    plot.destroy(&id);
}

#[test]
fn each_of_a_thousand_calls_completes_once_though_containerd_is_killed() {
    let _alone = alone();
    const MANY: u64 = 1_000;
    const KILLS: usize = 3;
    let plot = plot_of_its_own();
    let queue = a_queue();
    let id = plot.create(plot.shell("sleep 1000"));
    // The line is long, and a call's time counts in the line too.
    let call = within(600);
    let made = |tag: u64| format!("{id}-{}", tag / 8);
    let submit = |tag: u64| {
        let (own, made) = (id.clone(), made(tag));
        let client = &plot.client;
        match tag % 8 {
            0 | 4 => client.submit(&queue, tag, &call, |client, call| client.version(call)),
            1 | 5 => client
                .submit(&queue, tag, &call, move |client, call| client.container_pid(&own, call)),
            2 | 6 => {
                client.submit(&queue, tag, &call, |client, call| client.list_images(&[], call))
            }
            3 => {
                let config = config(&plot.image, &made, "sleep 1000");
                client.submit_change(&queue, tag, &made, &call, move |client, call| {
                    client.create_container(&config, call)
                })
            }
            _ => {
                let destroyed = made.clone();
                client.submit_change(&queue, tag, &made, &call, move |client, call| {
                    client.destroy_container(&destroyed, &at_once(), call)
                })
            }
        }
    };
    let mut submitted = 0;
    let mut submit_more = |count: u64| {
        (submitted..submitted + count).for_each(|tag| submit(tag).unwrap());
        submitted += count;
        submitted
    };
    let mut completed: BTreeMap<u64, u32> = BTreeMap::new();
    let mut take = || {
        let message = next(&queue);
        assert_eq!(message.kind(), MessageKind::Done);
        *completed.entry(message.tag()).or_default() += 1;
        message
    };
    submit_more(MANY);
    for _ in 0..KILLS {
        wait_until("containerd's answer", || plot.client.version(&within(1)).is_ok());
        // Calls that an earlier kill has broken, and others that succeed.
        let mut succeeded = 0;
        while succeeded < MANY / 10 {
            succeeded += u64::from(take().error().is_none());
            submit_more(1);
        }
        let containerd = plot.ground.daemon().pid();
        stop(pid(containerd));
        // Once no completion comes any more, the client's threads hold calls that cannot end.
        loop {
            thread::sleep(Duration::from_millis(200));
            if queue.receiver().is_empty() {
                break;
            }
            while !queue.receiver().is_empty() {
                drop(take());
                submit_more(1);
            }
        }
        kill(containerd);
        // On a busy machine, a call that was answered before may complete only now.
        let is_broken = |message: Message| {
            message.error().is_some_and(|error| error.kind() == ErrorKind::Unavailable)
        };
        let late = (0..MANY).take_while(|_| !is_broken(take())).count() as u64;
        assert!(late < MANY, "the kill broke no call");
        submit_more(late + 1);
    }
    let submitted = submit_more(0);
    (0..MANY).for_each(|_| drop(take()));
    assert!(completed.values().all(|times| *times == 1), "{completed:?}");
    assert!(completed.keys().copied().eq(0..submitted), "{completed:?}");
    assert_eq!(queue.next(&Call::new().poll()).unwrap_err().kind(), ErrorKind::WouldBlock);
    // A destroy that containerd's end has broken is made again.
    for made in (0..submitted).step_by(8).map(made).chain([id.clone()]) {
        wait_until("the end of a container", || {
            match plot.client.destroy_container(&made, &at_once(), &within(10)) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::NotFound,
            }
        });
    }
}

/// Calls that hold all threads of the pool: two clients wait for a containerd that is stopped.
struct BusyPool {
    containerd: Pid,
    queue: Queue,
}

impl BusyPool {
    fn new(plot: &Plot) -> BusyPool {
        let clients = [client_of(plot), client_of(plot)];
        let queue = a_queue();
        let containerd = pid(plot.ground.daemon().pid());
        stop(containerd);
        for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, SHARE as usize))
        {
            client.submit(&queue, 0, &within(600), |client, call| client.version(call)).unwrap();
        }
        BusyPool { containerd, queue }
    }

    /// Asserts that all of them still wait, and ends them.
    fn end(self) {
        assert!(self.queue.receiver().is_empty(), "a call of a stopped server has ended");
        kill_process(self.containerd, Signal::CONT).unwrap();
        (0..THREADS).for_each(|_| drop(next(&self.queue)));
    }
}

/// Measures ten times how long after its deadline or cancel a call is completed that waits for a thread.
/// `attempt` says the time. The best counts: the machine may be busy.
fn assert_prompt(mut attempt: impl FnMut() -> Duration) {
    let times: Vec<Duration> = (0..10).map(|_| attempt()).collect();
    assert!(*times.iter().min().unwrap() < Duration::from_millis(100), "{times:?}");
    assert!(*times.iter().max().unwrap() < Duration::from_secs(5), "{times:?}");
}

#[test]
fn a_deadline_completes_a_queued_call_within_100_ms_though_all_threads_are_busy() {
    let _alone = alone();
    let busy = BusyPool::new(&plot_of_its_own());
    // Its containerd would answer at once.
    let (plot, queue) = (Plot::new(), a_queue());
    let timeout = Duration::from_millis(100);
    let call = Call::new().timeout(timeout);
    assert_prompt(|| {
        let accepted = Instant::now();
        plot.client.submit(&queue, 0, &call, |client, call| client.version(call)).unwrap();
        let message = next(&queue);
        let took = accepted.elapsed();
        assert_eq!(message.error().map(Error::kind), Some(ErrorKind::Timeout), "{message:?}");
        took.checked_sub(timeout).expect("not before the deadline")
    });
    busy.end();
}

#[test]
fn a_cancel_completes_a_queued_call_within_100_ms_though_all_threads_are_busy() {
    let _alone = alone();
    let busy = BusyPool::new(&plot_of_its_own());
    let (plot, queue) = (Plot::new(), a_queue());
    assert_prompt(|| {
        let cancel = Cancel::new();
        let call = within(600).cancel(&cancel);
        plot.client.submit(&queue, 0, &call, |client, call| client.version(call)).unwrap();
        // Long enough for containerd to answer, if there were a thread.
        thread::sleep(Duration::from_millis(50));
        let fired = Instant::now();
        cancel.fire();
        let message = next(&queue);
        let took = fired.elapsed();
        assert_eq!(message.error().map(Error::kind), Some(ErrorKind::Cancelled), "{message:?}");
        took
    });
    busy.end();
}

/// More long calls than there are threads, of one client and of another one.
const LONG: u64 = 2 * THREADS;

/// Asserts that short calls of both clients complete while the calls of `longs` do not.
fn assert_short_calls_complete(clients: &[Client; 2], longs: &Queue) {
    let queue = a_queue();
    for tag in 0..50 {
        for client in clients {
            client.submit(&queue, tag, &within(50), |client, call| client.version(call)).unwrap();
            let message = next(&queue);
            assert!(message.error().is_none(), "{message:?}");
        }
    }
    while let Ok(message) = longs.next(&Call::new().poll()) {
        assert_eq!(message.kind(), MessageKind::Progress, "a long call has ended: {message:?}");
    }
}

/// Cancels the long calls, and waits for their completions.
fn end_long_calls(cancel: &Cancel, longs: &Queue) {
    cancel.fire();
    let mut over = 0;
    while over < LONG {
        let message = next(longs);
        if message.kind() == MessageKind::Done {
            assert_eq!(message.error().map(Error::kind), Some(ErrorKind::Cancelled));
            over += 1;
        }
    }
}

#[test]
fn short_calls_complete_while_more_pulls_than_threads_wait_for_a_registry() {
    let _alone = alone();
    let plot = Plot::new();
    let registry = plot.ground.registry();
    // A size that no other layer has, or containerd would have its content.
    let recipe = Recipe { more_layers: vec![BIG + 4_321], ..Recipe::default() };
    let reference = registry.push(&unique("ctrd/stalled"), "latest", &recipe);
    let proxy = FaultyProxy::start(registry.host(), BlobFault::Stall);
    let clients = [client_of(&plot), client_of(&plot)];
    let (longs, cancel) = (a_queue(), Cancel::new());
    let pull = PullConfig::new(proxy.reference(&reference));
    for tag in 0..LONG {
        let (pull, call) = (pull.clone(), within(600).cancel(&cancel));
        clients[usize::from(tag % 2 == 1)]
            .submit(&longs, tag, &call, move |client, call| {
                client.pull_image(&pull, &mut |_| {}, call)
            })
            .unwrap();
    }
    wait_until("a pull of a blob", || {
        proxy.requests().iter().any(|request| request.contains("/blobs/"))
    });
    assert_short_calls_complete(&clients, &longs);
    end_long_calls(&cancel, &longs);
}

#[test]
fn short_calls_complete_while_more_destroys_than_threads_wait_for_an_exit() {
    let _alone = alone();
    let plot = Plot::new();
    let clients = [client_of(&plot), client_of(&plot)];
    let (longs, cancel) = (a_queue(), Cancel::new());
    // The first process of a pid namespace ignores SIGTERM unless it catches it.
    let ids: Vec<String> = (0..LONG).map(|_| plot.create(plot.shell("sleep 1000"))).collect();
    let patient = DestroyConfig::new().grace(Duration::from_secs(600));
    for (tag, id) in (0..).zip(&ids) {
        let own = id.clone();
        clients[usize::from(tag % 2 == 1)]
            .submit_change(&longs, tag, id, &within(600).cancel(&cancel), move |client, call| {
                client.destroy_container(&own, &patient, call)
            })
            .unwrap();
    }
    assert_short_calls_complete(&clients, &longs);
    end_long_calls(&cancel, &longs);
    for id in &ids {
        plot.client.destroy_container(id, &at_once(), &Call::new()).unwrap();
    }
    assert_nothing_is_left(&plot, "the destroys");
}

#[test]
fn closing_a_client_completes_its_calls_first() {
    let plot = Plot::new();
    let client = client_of(&plot);
    let queue = a_queue();
    let config = SubscriptionConfig::new([MessageKind::Exit]).tag(7);
    let _subscription = client.subscribe(&queue, &config, &Call::new()).unwrap();
    let id = plot.create(plot.shell("sleep 1000"));
    for tag in 0..50 {
        let own = id.clone();
        client
            .submit(&queue, tag, &Call::new(), move |client, call| client.probe(&own, call))
            .unwrap();
    }
    client.close(&within(30)).unwrap();
    let mut closed = 0;
    for _ in 0..51 {
        let message = queue.next(&Call::new().poll()).unwrap();
        match message.kind() {
            MessageKind::Closed => {
                assert_eq!(message.tag(), 7);
                closed += 1;
            }
            _ => assert_eq!(message.error().unwrap().kind(), ErrorKind::Closed),
        }
    }
    assert_eq!(closed, 1);
    assert_eq!(queue.next(&Call::new().poll()).unwrap_err().kind(), ErrorKind::WouldBlock);
    plot.destroy(&id);
}

#[test]
fn a_submitted_call_keeps_its_client_open() {
    let plot = Plot::new();
    let client = client_of(&plot);
    let queue = a_queue();
    let config = SubscriptionConfig::new([MessageKind::Event]).tag(7);
    let _subscription = client.subscribe(&queue, &config, &Call::new()).unwrap();
    let calls = a_queue();
    let id = plot.create(plot.shell("exit 3"));
    let (own, (release, released)) = (id.clone(), mpsc::channel::<()>());
    client
        .submit(&calls, 1, &Call::new(), move |client, call| {
            let _ = released.recv();
            client.probe(&own, call)
        })
        .unwrap();
    drop(client);
    drop(release);
    let exit: Message = next(&calls).take_result().unwrap();
    assert_eq!(exit.exit_code(), Some(3));
    // Its end closes the client.
    while next(&queue).kind() != MessageKind::Closed {}
    plot.destroy(&id);
}

#[test]
fn opening_clients_of_a_stopped_server_leaves_threads_to_other_calls() {
    let _alone = alone();
    let plot = plot_of_its_own();
    let containerd = pid(plot.ground.daemon().pid());
    let (queue, cancel) = (a_queue(), Cancel::new());
    stop(containerd);
    for tag in 0..SHARE {
        let config = plot.client_config();
        let call = Call::new().forever().cancel(&cancel);
        Submission::new(&queue, tag)
            .submit(&call, move |call| Client::open(&config, call))
            .unwrap();
    }
    let other = a_queue();
    Submission::new(&other, 0).submit(&within(30), |_| Ok(())).unwrap();
    let short = next(&other);
    cancel.fire();
    let ends: Vec<_> = (0..SHARE).map(|_| next(&queue).error().map(|e| e.kind())).collect();
    kill_process(containerd, Signal::CONT).unwrap();
    assert!(short.error().is_none(), "{short:?}");
    assert_eq!(ends, [Some(ErrorKind::Cancelled); SHARE as usize]);
}

#[test]
fn waits_for_a_hook_that_does_not_return_leave_threads_to_other_calls() {
    let _alone = alone();
    let plot = Plot::new();
    let client = client_of(&plot);
    let id = plot.create(plot.shell("sleep 1000"));
    client.watch_container(&id, &Call::new()).unwrap();
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hook = client
        .on_exit(move |_| {
            begun.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        })
        .unwrap();
    plot.destroy(&id);
    begins.recv_timeout(Duration::from_secs(30)).unwrap();

    // Removing the hook holds no thread.
    let (removals, closes, other) = (a_queue(), a_queue(), a_queue());
    let forever = Call::new().forever();
    for tag in 0..2 * SHARE {
        let remove = move |client: &Client, call: &Call| client.remove_hook(hook, call);
        client.submit(&removals, tag, &forever, remove).unwrap();
    }
    let soon = forever.clone().timeout(Duration::from_millis(50));
    client.submit(&other, 0, &soon, move |client, call| client.remove_hook(hook, call)).unwrap();
    let message = next(&other);
    let error = message.error().unwrap();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, "submit"));
    assert!(error.message().starts_with("the hook still runs"), "{error}");
    client.submit(&other, 1, &within(30), |client, call| client.version(call)).unwrap();
    assert!(next(&other).error().is_none());
    assert!(removals.receiver().is_empty());

    // Closing the client ends them, and waits for the hook with some of the threads.
    for tag in 0..SHARE {
        let client = client.clone();
        let close = move |call: &Call| client.close(call);
        Submission::new(&closes, tag).without_slot().submit(&forever, close).unwrap();
    }
    for _ in 0..2 * SHARE {
        assert_eq!(next(&removals).error().unwrap().kind(), ErrorKind::Closed);
    }
    Submission::new(&other, 2).submit(&within(30), |_| Ok(())).unwrap();
    let short = next(&other);
    assert!(closes.receiver().is_empty());
    drop(release);
    (0..SHARE).for_each(|_| assert!(next(&closes).error().is_none()));
    assert!(short.error().is_none(), "{short:?}");
}

#[test]
fn removing_a_hook_completes_when_the_hook_returns() {
    let plot = Plot::new();
    let id = plot.create(plot.shell("sleep 1000"));
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hook = plot
        .client
        .on_exit(move |_| {
            begun.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        })
        .unwrap();
    plot.destroy(&id);
    begins.recv_timeout(Duration::from_secs(30)).unwrap();
    let queue = a_queue();
    let remove = move |client: &Client, call: &Call| client.remove_hook(hook, call);
    plot.client.submit(&queue, 0, &Call::new(), remove).unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(release);
    let message = next(&queue);
    assert!(message.error().is_none(), "{message:?}");
    // The function of the hook is dropped.
    assert!(begins.recv().is_err());
    plot.client.submit(&queue, 0, &Call::new(), remove).unwrap();
    assert_eq!(next(&queue).error().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn changes_that_wait_for_a_thread_do_not_hold_clean_ups_up() {
    /// As many clean-ups as have a thread at a time.
    const CLEAN_UPS: usize = 4;
    let _alone = alone();
    let plot = Plot::new();
    let (queue, starts) = (a_queue(), a_queue());
    let (begun, begins) = mpsc::channel();
    let mut release = Vec::new();
    for tag in 0..SHARE {
        let (begun, (sender, released)) = (begun.clone(), mpsc::channel::<()>());
        release.push(sender);
        let wait = move |_: &Client, _: &Call| {
            let _ = begun.send(());
            let _ = released.recv();
            Ok(())
        };
        plot.client.submit(&queue, tag, &Call::new(), wait).unwrap();
    }
    for _ in 0..SHARE {
        begins.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let processes: Vec<(String, u32)> = (0..=CLEAN_UPS)
        .map(|_| create(&plot.client, plot.shell("sleep 1000").cleanup(Cleanup::All)))
        .collect();
    let (last, others) = processes.split_last().unwrap();
    for (id, _) in others {
        let own = id.clone();
        plot.client
            .submit_change(&starts, 0, id, &Call::new(), move |client, call| {
                client.start_container(&own, call)
            })
            .unwrap();
    }
    for (id, process) in others {
        kill(*process);
        plot.probe(id);
    }
    kill(last.1);
    let is_gone = |id: &str| {
        let found = plot.client.get_container(id, &Call::new());
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    // Clean-ups that wait for a lock on a thread would do so for 30 s.
    let began = Instant::now();
    while !is_gone(&last.0) {
        assert!(began.elapsed() < Duration::from_secs(15), "the other clean-ups hold it up");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(starts.receiver().is_empty() && !is_gone(&others[0].0));
    drop(release);
    for _ in others {
        assert_eq!(next(&starts).error().unwrap().kind(), ErrorKind::FailedPrecondition);
    }
    wait_until("the other clean-ups", || others.iter().all(|(id, _)| is_gone(id)));
    (0..SHARE).for_each(|_| drop(next(&queue)));
    assert_nothing_is_left(&plot, "the clean-ups");
}

#[test]
fn a_create_that_unpacks_its_image_waits_for_its_turn_among_long_calls() {
    let _alone = alone();
    let plot = Plot::new();
    let (reference, namespace) = (plot.ground.image().to_owned(), unique("packed"));
    let call = Call::new().namespace(&namespace);
    let pull = PullConfig::new(&reference).unpack(false);
    let image = plot.client.pull_image(&pull, &mut |_| {}, &call).unwrap();

    // Pulls from a registry that does not answer, as many as one client may run.
    let (pulls, cancel) = (a_queue(), Cancel::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    for tag in 0..SHARE / 2 {
        let pull = PullConfig::new(format!("{host}/x{tag}:latest")).plain_http(true);
        let call = call.clone().cancel(&cancel);
        plot.client
            .submit(&pulls, tag, &call, move |client, call| {
                client.pull_image(&pull, &mut |_| {}, call)
            })
            .unwrap();
    }
    let _connections: Vec<_> = (0..SHARE / 2).map(|_| listener.accept().unwrap()).collect();

    let (queue, id) = (a_queue(), unique("c"));
    let config = config(image.name(), &id, "sleep 1000");
    plot.client
        .submit_change(&queue, 1, &id, &call, move |client, call| {
            client.create_container(&config, call)
        })
        .unwrap();
    plot.client.submit(&queue, 2, &within(30), |client, call| client.version(call)).unwrap();
    assert_eq!(next(&queue).tag(), 2);
    let early = queue.next(&within(1)).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Timeout);
    cancel.fire();
    assert!(next(&queue).take_result::<NewProcess>().unwrap().pid() > 0);
    plot.client.destroy_container(&id, &DestroyConfig::new(), &call).unwrap();
    plot.client.remove_image(image.name(), &RemoveImageConfig::new().sync(true), &call).unwrap();
}
