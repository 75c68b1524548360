//! Submitted calls against the real containerd: order, faults, bounds, the close of a client.

mod ground;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, ContainerConfig, DestroyConfig, ErrorKind, Image, Message, MessageKind,
    NewProcess, PullConfig, Queue, QueueConfig, RemoveImageConfig, Submission, SubscriptionConfig,
};
use ground::plot::{Plot, assert_nothing_is_left, client_of, kill, pid, stop, within};
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
