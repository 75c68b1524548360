//! Very many events: none is lost, and their receiver needs little time for each. That is measured where
//! they come in a burst; at other times most of what it needs is for waking up.

use std::thread;
use std::time::Duration;

use ctrd::{Call, Client, ClientConfig, EventFilter, MessageKind, QueueConfig};
use grpcio::{CallOption, ChannelBuilder, EnvBuilder, MetadataBuilder};
use rustix::process::Signal;

use crate::ground::plot::within;
use crate::ground::{Ground, unique};
use crate::job::Job;
use crate::report::Report;
use crate::wire::{Raw, bytes, message, number, unary};
use crate::{Options, usage};

const EVENTS: usize = 20_000;

/// How often they come in a burst; what is told of the CPU is the median.
const ROUNDS: usize = 5;

/// How many publish at once, each one event after the other.
const PUBLISHERS: usize = 4;

/// What is wanted, and one event in so many that is not.
const TOPIC: &str = "/tasks/start";
const OTHER_TOPIC: &str = "/tasks/oom";
const OTHERS: usize = 10;

static PUBLISH: Raw = unary("/containerd.services.events.v1.Events/Publish");

pub fn run(options: &Options, report: &mut Report) {
    let count = options.share_of(EVENTS).next_multiple_of(PUBLISHERS);
    for (name, burst, rounds) in [("in a burst", true, ROUNDS), ("as they are published", false, 1)]
    {
        let rounds: Vec<Round> = (0..rounds).map(|_| Round::run(count, burst)).collect();
        for round in &rounds {
            report.count(&format!("received, {name}"), round.received, count);
        }
        let wrong = rounds.iter().map(|round| round.wrong).sum();
        report.count(&format!("out of order, twice, not asked for, {name}"), wrong, 0);
        let middle = |number: fn(&Round) -> Duration| {
            let mut numbers: Vec<Duration> = rounds.iter().map(number).collect();
            numbers.sort_unstable();
            numbers[numbers.len() / 2].as_secs_f64() / count as f64
        };
        let cpu = middle(|round| round.cpu) * 1e6;
        let (title, text) =
            (format!("CPU of the receiver for each, {name}"), format!("{cpu:.1} µs"));
        if burst {
            report.figure(&title, text, "at most 6 µs", cpu <= 6.0);
        } else {
            // It is woken for nearly each.
            report.note(&title, text);
        }
        let rate = 1.0 / middle(|round| round.time);
        report.note(&format!("events in a second, {name}"), format!("{rate:.0}"));
    }
}

/// What became of so many events.
struct Round {
    received: usize,
    wrong: usize,
    cpu: Duration,
    time: Duration,
}

impl Round {
    fn run(count: usize, burst: bool) -> Round {
        let namespace = unique("events");
        let arguments = [Ground::get().address(), &namespace, &count.to_string()];
        let mut receiver = Job::start("receive", &arguments);
        assert_eq!(receiver.line(), "listening");
        if burst {
            receiver.signal(Signal::STOP);
        }
        Job::start("publish", &arguments).end();
        receiver.signal(Signal::CONT);
        let round = Round {
            received: receiver.number(),
            wrong: receiver.number(),
            cpu: Duration::from_nanos(receiver.number()),
            time: Duration::from_nanos(receiver.number()),
        };
        receiver.end();
        round
    }
}

/// The job: receives COUNT events, and prints how many came, how many of them should not have then, the
/// CPU time, and the time from the first to the last.
pub fn receive(arguments: &[String]) {
    let [address, namespace, count] = arguments else { panic!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let config = ClientConfig {
        address: address.clone(),
        namespace: namespace.clone(),
        ..Default::default()
    };
    let client = Client::open(config, &Call::new()).unwrap();
    let config = QueueConfig {
        kinds: vec![MessageKind::Event],
        filters: vec![EventFilter::new().namespace(namespace.as_str()).topic(TOPIC)],
        capacity: count,
    };
    let queue = client.open_queue(&config, &Call::new()).unwrap();
    println!("listening");
    let (mut received, mut wrong) = (0, 0);
    let mut next = [0; PUBLISHERS];
    let mut begin = None;
    let call = within(30);
    while received < count {
        let Ok(message) = queue.next(&call) else { break };
        begin.get_or_insert_with(|| (usage::cpu(), usage::clock()));
        let mut numbers = message.container_id().split('-').map(|number| number.parse().ok());
        let (publisher, number) = (numbers.next().flatten(), numbers.next().flatten());
        match (publisher, number) {
            (Some(publisher @ 0..PUBLISHERS), Some(number)) if next[publisher] == number => {
                next[publisher] += 1;
                received += 1;
            }
            _ => wrong += 1,
        }
    }
    let (cpu, clock) = begin.unwrap_or_default();
    let (cpu, clock) = (usage::cpu() - cpu, usage::clock() - clock);
    // What comes after the last is one too many.
    while queue.next(&Call::new().timeout(Duration::from_millis(500))).is_ok() {
        wrong += 1;
    }
    println!("{received}\n{wrong}\n{}\n{}", cpu.as_nanos(), clock.as_nanos());
}

/// The job: publishes COUNT events, each of a container that is named by its publisher and its number.
pub fn publish(arguments: &[String]) {
    let [address, namespace, count] = arguments else { panic!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let environment = std::sync::Arc::new(EnvBuilder::new().build());
    let channel = ChannelBuilder::new(environment)
        .default_authority("localhost")
        .connect(&format!("unix:{address}"));
    let client = grpcio::Client::new(channel);
    let publish = |topic: &str, container: &str| {
        let mut metadata = MetadataBuilder::new();
        metadata.add_str("containerd-namespace", namespace).unwrap();
        let options = CallOption::default().headers(metadata.build());
        let start = [bytes(1, container), number(2, 1)].concat();
        let event = message(2, &[bytes(1, "containerd.events.TaskStart"), bytes(2, start)]);
        let request = [bytes(1, topic), event].concat();
        client.unary_call(&PUBLISH, &request, options).unwrap();
    };
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                for number in 0..count / PUBLISHERS {
                    if number % OTHERS == 0 {
                        publish(OTHER_TOPIC, "other");
                    }
                    publish(TOPIC, &format!("{publisher}-{number}"));
                }
            });
        }
    });
}
