//! A queue that nobody reads.

use std::process::Command;
use std::time::SystemTime;

use super::*;
use crate::call::Call;
use crate::queue::QueueConfig;

/// The environment variable that makes this program run the test itself, and no other test beside it.
const ALONE: &str = "CTRD_TEST_ALONE";

const EXITS: usize = 100_000;
/// The defaults of a queue.
const MAX_EXITS: usize = 65_536;
const CAPACITY: usize = 1_024;

/// How many bytes of memory an exit may take, with an id of 64 characters.
const EXIT_BYTES: usize = 1_024;

/// The memory of this process that no file backs, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn exit(bus: &Bus, number: usize) -> Message {
    Message::new(Body {
        namespace: "example".into(),
        container_id: id(number),
        pid: Some(1_000_000),
        generation: Some(u64::MAX),
        exit_code: Some(0),
        exit_time: Some(SystemTime::now()),
        ..bus.body(MessageKind::Exit)
    })
}

fn backlog(bus: &Bus) -> Option<ErrorKind> {
    bus.check_backlog().err().map(|error| error.kind())
}

/// The memory is that of a process of its own, because tests run side by side.
#[test]
fn a_queue_that_nobody_reads_keeps_all_exits_and_is_bounded() {
    if std::env::var_os(ALONE).is_some() {
        return a_hundred_thousand_exits();
    }
    let path = module_path!().split_once("::").unwrap().1;
    let name = format!("{path}::a_queue_that_nobody_reads_keeps_all_exits_and_is_bounded");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn a_hundred_thousand_exits() {
    let bus = Bus::new(&Executor::new("test"));
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let config = SubscriptionConfig::new([MessageKind::Exit, MessageKind::Progress]);
    let subscription = bus.subscribe(&queue, &config).unwrap().consumer;
    let before = memory();
    for number in 0..EXITS {
        // Operations that make a process check this first.
        let expected = (number >= MAX_EXITS).then_some(ErrorKind::ResourceExhausted);
        assert_eq!(backlog(&bus), expected, "with {number} exits");
        bus.publish(&exit(&bus, number), None);
        bus.publish(&Message::new(bus.body(MessageKind::Progress)), None);
    }
    let each = (memory() - before) / EXITS;
    assert!(each <= EXIT_BYTES, "{each} bytes for each exit");
    // Progress is bounded by the capacity, and one message says that there was more of it.
    assert_eq!(queue.receiver().len(), EXITS + CAPACITY + 1);

    let mut overflows = 0;
    let mut fetched = 0;
    while let Ok(message) = queue.next(&Call::new().poll()) {
        match message.kind() {
            MessageKind::Exit => {
                assert_eq!(message.container_id(), id(fetched));
                fetched += 1;
                let waiting = EXITS - fetched;
                let expected = (waiting >= MAX_EXITS).then_some(ErrorKind::ResourceExhausted);
                assert_eq!(backlog(&bus), expected, "with {waiting} exits");
            }
            MessageKind::Progress => {}
            MessageKind::Overflow => {
                assert_eq!(message.dropped(), (EXITS - CAPACITY) as u64);
                overflows += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fetched, overflows), (EXITS, 1));
    drop(subscription);
}
