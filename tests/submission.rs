//! Submitted calls against the real containerd: order, faults, bounds, the close of a client.

mod ground;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, ContainerConfig, DestroyConfig, Error, ErrorKind, Image, Message,
    MessageKind, PullConfig, Queue, QueueConfig, Submission, SubscriptionConfig,
};
use ground::faulty_proxy::{BIG, BlobFault, FaultyProxy};
use ground::image::Recipe;
use ground::plot::{Plot, assert_nothing_is_left, at_once, client_of, kill, pid, stop, within};
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
                assert!(message.take_result::<u32>().unwrap() > 0);
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
            steps += 1;
            continue;
        }
        break message.take_result().unwrap();
    };
    assert!(steps > 0);
    let name = image.name().to_owned();
    client
        .submit(&queue, 3, &call, move |client, call| client.remove_image(&name, true, call))
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

/// How many threads the pool has, and how many of them one client holds at most.
const THREADS: usize = 16;
const SHARE: usize = THREADS / 2;

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
        for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, SHARE)) {
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
const LONG: u64 = 2 * THREADS as u64;

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
