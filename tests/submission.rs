//! Submitted calls against the real containerd: order, faults, bounds, the close of a client.

mod ground;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Cleanup, Client, ContainerConfig, DestroyConfig, ErrorKind, Image, Message,
    MessageKind, NewProcess, PullConfig, Queue, QueueConfig, RemoveImageConfig, Submission,
    SubscriptionConfig,
};
use ground::plot::{Plot, assert_nothing_is_left, client_of, create, kill, pid, stop, within};
use ground::{Ground, unique, wait_until};
use rustix::process::{Signal, kill_process};

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

/// How many threads one client may hold.
const SHARE: u64 = 8;

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
    plot.client.submit(&bounded, 1, &within(10), |client, call| client.version(call)).unwrap();
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
    let plot = plot_of_its_own();
    let queue = a_queue();
    let id = plot.create(plot.shell("sleep 1000"));
    let submit = |tag: u64| {
        let own = id.clone();
        let call = within(60);
        match tag % 4 {
            0 => plot.client.submit(&queue, tag, &call, |client, call| client.version(call)),
            1 => plot
                .client
                .submit(&queue, tag, &call, move |client, call| client.container_pid(&own, call)),
            2 => {
                plot.client.submit(&queue, tag, &call, |client, call| client.list_images(&[], call))
            }
            _ => plot.client.submit_change(&queue, tag, "none", &call, |client, call| {
                client.start_container("none", call)
            }),
        }
    };
    (0..MANY).for_each(|tag| submit(tag).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(20));
                wait_until("a containerd to kill", || plot.ground.daemon().pid() != 0);
                kill(plot.ground.daemon().pid());
            }
        });
        let mut completed: BTreeMap<u64, u32> = BTreeMap::new();
        while completed.values().sum::<u32>() < u32::try_from(MANY).unwrap() {
            let message = next(&queue);
            assert_eq!(message.kind(), MessageKind::Done);
            *completed.entry(message.tag()).or_default() += 1;
        }
        assert!(completed.values().all(|times| *times == 1));
    });
    assert_eq!(queue.next(&Call::new().poll()).unwrap_err().kind(), ErrorKind::WouldBlock);
    wait_until("containerd's return", || plot.client.version(&within(1)).is_ok());
    plot.destroy(&id);
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
