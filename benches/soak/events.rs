//! Very many events: none is lost, and their receiver needs little CPU time for each. Only a burst
//! is judged, because at other times most of the receiver's CPU time is for waking up.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Client, ClientConfig, EventFilter, HookConfig, Message, MessageKind, Queue, QueueConfig,
    SubscriptionConfig,
};
use grpcio::{CallOption, ChannelBuilder, EnvBuilder, MetadataBuilder};
use rustix::process::Signal;

use crate::ground::plot::within;
use crate::ground::{Ground, unique};
use crate::job::Job;
use crate::report::Report;
use crate::wire::{Raw, bytes, message, number, unary};
use crate::{Options, usage};

const EVENTS: usize = 20_000;

/// How many times a burst is repeated. The reported CPU time is the median.
const ROUNDS: usize = 5;

/// How many programs publish at once. Each one publishes one event after the other.
const PUBLISHERS: usize = 4;

/// The topic of the wanted events. One of so many events has another topic.
const TOPIC: &str = "/tasks/start";
const OTHER_TOPIC: &str = "/tasks/oom";
const OTHERS: usize = 10;

/// How many seconds everything may take.
const LIMIT: u64 = 30;

/// An event that comes within this time after the last one is a surplus.
const REST: Duration = Duration::from_millis(500);

static PUBLISH: Raw = unary("/containerd.services.events.v1.Events/Publish");

pub fn run(options: &Options, report: &mut Report) {
    let count = options.share_of(EVENTS).next_multiple_of(PUBLISHERS);
    for (consumer, burst, rounds) in
        [("queue", true, ROUNDS), ("hook", true, ROUNDS), ("queue", false, 1)]
    {
        let manner = if burst { "in a burst" } else { "as they are published" };
        let name = format!("by a {consumer}, {manner}");
        let rounds: Vec<Round> = (0..rounds).map(|_| Round::run(count, consumer, burst)).collect();
        for round in &rounds {
            report.count(&format!("received {name}"), round.received, count);
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
            (format!("CPU of the receiver for each {name}"), format!("{cpu:.1} µs"));
        if burst {
            report.figure(&title, text, "at most 6 µs", cpu <= 6.0);
        } else {
            // It wakes up for nearly every event.
            report.note(&title, text);
        }
        let rate = 1.0 / middle(|round| round.time);
        report.note(&format!("events in a second {name}"), format!("{rate:.0}"));
    }
}

/// The result of one round of events.
struct Round {
    received: usize,
    wrong: usize,
    cpu: Duration,
    time: Duration,
}

impl Round {
    fn run(count: usize, consumer: &str, burst: bool) -> Round {
        let namespace = unique("events");
        let arguments = [Ground::get().address(), &namespace, &count.to_string(), consumer];
        let mut receiver = Job::start("receive", &arguments);
        assert_eq!(receiver.line(), "listening");
        if burst {
            receiver.signal(Signal::STOP);
        }
        Job::start("publish", &arguments[..3]).end();
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

/// The events that have come.
#[derive(Default)]
struct Arrivals {
    count: usize,
    received: usize,
    wrong: usize,
    next: [usize; PUBLISHERS],
    /// The CPU time and the clock at the first event, and at the last.
    begin: Option<(Duration, Duration)>,
    end: (Duration, Duration),
}

impl Arrivals {
    fn take(&mut self, message: &Message) {
        self.begin.get_or_insert_with(|| (usage::cpu(), usage::clock()));
        let mut numbers = message.container_id().split('-').map(|number| number.parse().ok());
        let (publisher, number) = (numbers.next().flatten(), numbers.next().flatten());
        match (publisher, number) {
            (Some(publisher @ 0..PUBLISHERS), Some(number)) if self.next[publisher] == number => {
                self.next[publisher] += 1;
                self.received += 1;
            }
            _ => self.wrong += 1,
        }
        if self.received == self.count {
            self.end = (usage::cpu(), usage::clock());
        }
    }

    fn all(&self) -> bool {
        self.received >= self.count
    }
}

/// The job: receives COUNT events by a queue or a hook. Prints how many came, how many of them
/// should not have come then, the CPU time, and the time from the first to the last.
pub fn receive(arguments: &[String]) {
    let [address, namespace, count, consumer] = arguments else { panic!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let config = ClientConfig::new().address(address).namespace(namespace);
    let client = Client::open(&config, &Call::new()).unwrap();
    let filters = vec![EventFilter::new().namespace(namespace.as_str()).topic(TOPIC)];
    let arrivals = Arc::new(Mutex::new(Arrivals { count, ..Default::default() }));
    if consumer == "queue" {
        let queue = Queue::new(&QueueConfig::new().capacity(count)).unwrap();
        let config = SubscriptionConfig::new([MessageKind::Event]).filters(filters);
        let _subscription = client.subscribe(&queue, &config, &Call::new()).unwrap();
        println!("listening");
        let mut arrivals = arrivals.lock().unwrap();
        let call = within(LIMIT);
        while !arrivals.all()
            && let Ok(message) = queue.next(&call)
        {
            arrivals.take(&message);
        }
        while let Ok(message) = queue.next(&Call::new().timeout(REST)) {
            arrivals.take(&message);
        }
    } else {
        let hooked = arrivals.clone();
        let (done, all) = mpsc::channel();
        let hook = move |message: &Message| {
            let mut arrivals = hooked.lock().unwrap();
            arrivals.take(message);
            if arrivals.all() {
                let _ = done.send(());
            }
        };
        client
            .add_hook(
                &HookConfig::new([MessageKind::Event]).filters(filters.clone()),
                hook,
                &Call::new(),
            )
            .unwrap();
        println!("listening");
        let _ = all.recv_timeout(Duration::from_secs(LIMIT));
        thread::sleep(REST);
        client.close(&Call::new()).unwrap();
    }
    let arrivals = arrivals.lock().unwrap();
    let (cpu, clock) = arrivals.begin.unwrap_or_default();
    let (cpu, clock) = (arrivals.end.0.saturating_sub(cpu), arrivals.end.1.saturating_sub(clock));
    let Arrivals { received, wrong, .. } = *arrivals;
    println!("{received}\n{wrong}\n{}\n{}", cpu.as_nanos(), clock.as_nanos());
}

/// The job: publishes COUNT events. Each is about a container whose id has the number of the
/// publisher and of the event.
pub fn publish(arguments: &[String]) {
    let [address, namespace, count] = arguments else { panic!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let environment = Arc::new(EnvBuilder::new().build());
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
