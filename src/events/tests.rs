//! Streams of a real containerd's events.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::subscription::{SeenEvents, Stream, open};
use crate::call::{Call, Limits};
use crate::daemon::{Daemon, DaemonConfig};
use crate::error::{ErrorKind, Result};
use crate::executor::Executor;
use crate::filter::tests::{READABLE, UNREADABLE};
use crate::filter::{EventFilter, render};
use crate::rpc::content::Descriptor;
use crate::rpc::events::{self, Envelope};
use crate::rpc::{Any, Connection, Ctx, event_types, images};
use crate::timestamp::rfc3339;
use crate::wait::{block_on, detach};

/// Longer than any test takes. It ends a test that hangs.
const LONG: Duration = Duration::from_secs(60);

/// A containerd that only one test uses.
struct Server {
    daemon: Daemon,
    connection: Arc<Connection>,
    executor: Executor,
    directory: Directory,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.executor.close();
    }
}

/// A directory that is removed when this is dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server {
    fn start() -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ctrd-events-{}-{number}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        fs::create_dir(&directory.0).unwrap();
        let config = DaemonConfig::new(directory.0.join("d"));
        let daemon = Daemon::start(&config, &Call::new()).unwrap();
        let connection = Arc::new(Connection::new(Path::new(daemon.address())));
        Server { daemon, connection, executor: Executor::new("events"), directory }
    }

    fn ctx(&self) -> Ctx {
        Ctx::new(&self.connection, "default", Limits::within(LONG))
    }

    fn open(&self, filters: &[EventFilter]) -> Result<Stream> {
        let filters = render(filters)?;
        self.open_rendered(filters)
    }

    fn open_rendered(&self, filters: Vec<String>) -> Result<Stream> {
        let (sender, receiver) = channel();
        let executor = self.executor.clone();
        let ctx = self.ctx();
        let job = async move {
            let opened = open(ctx, filters, SeenEvents::new(), |time| executor.sleep(time)).await;
            sender.send(opened).unwrap();
        };
        self.executor.spawn(job).unwrap();
        receiver.recv_timeout(LONG).unwrap()
    }

    fn publish(&self, topic: &str, event: Any) {
        let ctx = self.ctx();
        let answer = events::publish(&ctx, topic, event).unwrap();
        block_on(&ctx.limits, answer).unwrap().unwrap();
    }

    /// The output of ctr.
    fn ctr(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.daemon.address()).args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The stream's next event.
fn next(stream: &mut Stream) -> Envelope {
    let next = std::future::poll_fn(|cx| stream.poll_next(cx));
    block_on(&Limits::within(LONG), next).unwrap().unwrap().unwrap()
}

/// `containerd.events.TaskOOM`, whose only field is the container's id.
fn out_of_memory(container: &str) -> Any {
    let mut value = vec![0x0a, container.len().try_into().unwrap()];
    value.extend(container.as_bytes());
    Any { type_url: "containerd.events.TaskOOM".into(), value }
}

fn container_of(envelope: &Envelope) -> String {
    event_types::process(&envelope.event).unwrap().0
}

#[test]
fn nothing_that_follows_the_opening_is_missed() {
    let server = Server::start();
    let filter = EventFilter::new().topic("/test/oom").namespace("default");
    for i in 0..500 {
        let filters = if i % 2 == 0 { vec![] } else { vec![filter.clone()] };
        let mut stream = server.open(&filters).unwrap();
        let name = format!("c{i}");
        server.publish("/test/oom", out_of_memory(&name));
        let envelope = next(&mut stream);
        assert_eq!(container_of(&envelope), name);
        assert_eq!((&*envelope.topic, &*envelope.namespace), ("/test/oom", "default"));
        let age = SystemTime::now().duration_since(envelope.timestamp.unwrap()).unwrap();
        assert!(age < LONG, "{age:?}");
    }
}

#[test]
fn filters_are_read_as_containerd_reads_them() {
    let server = Server::start();
    for filter in READABLE {
        let opened = server.open_rendered(vec![filter.to_owned()]);
        assert!(opened.is_ok(), "{filter:?}: {:?}", opened.err());
    }
    for filter in UNREADABLE {
        let Err(error) = server.open_rendered(vec![filter.to_owned()]) else {
            panic!("containerd can read {filter:?}");
        };
        assert!(error.message().contains("parsing"), "{filter:?}: {error}");
    }
}

#[test]
fn only_events_that_match_the_filter_come() {
    let server = Server::start();
    // As values of a filter, and as prefixes of a topic if a topic may have these characters.
    for id in ["plain", "é ü", r#"a"b\c,d==e"#, "a\nb\0c\u{7f}", "/|'`", "\u{fffd}", r"\x41", ".*"]
    {
        let mut stream = server.open(&[EventFilter::new().container(id)]).unwrap();
        server.publish("/tasks/oom", out_of_memory("other"));
        server.publish("/tasks/oom", out_of_memory(id));
        assert_eq!(container_of(&next(&mut stream)), id);
    }

    let prefix = EventFilter::new().topic_prefix("/a.b/").namespace("default");
    let exact = EventFilter::new().topic("/tasks/oom").container("c");
    let raw = EventFilter::raw(r#"topic~="^/raw",event.container_id"#).namespace("default");
    let mut stream = server.open(&[prefix, exact, raw]).unwrap();
    let elsewhere = Ctx::new(&server.connection, "elsewhere", Limits::within(LONG));
    events::publish(&elsewhere, "/a.b/c", out_of_memory("")).unwrap();
    for (topic, id, passes) in [
        ("/aXb/c", "", false),
        ("/x/a.b/c", "", false),
        ("/a.b/c", "", true),
        ("/tasks/oom", "d", false),
        ("/tasks/paused", "c", false),
        ("/tasks/oom", "c", true),
        ("/raw", "", false),
        ("/raw/1", "x", true),
    ] {
        server.publish(topic, out_of_memory(id));
        if passes {
            assert_eq!(next(&mut stream).topic, topic);
        }
    }
    // The events with which other clients find out that they listen are not for us, whatever the
    // filter.
    let mut all = server.open(&[]).unwrap();
    drop(server.open(&[]).unwrap());
    server.publish("/ctrd/sync/0", out_of_memory(""));
    server.publish("/last", out_of_memory(""));
    assert_eq!(next(&mut all).topic, "/last");
}

#[test]
fn a_stream_needs_no_thread_and_reports_its_end() {
    let server = Server::start();
    let mut stream = server.open(&[EventFilter::new().topic("/test")]).unwrap();
    let (sender, receiver) = channel();
    detach(async move {
        loop {
            let next = std::future::poll_fn(|cx| stream.poll_next(cx)).await;
            let is_last = next.is_none();
            sender.send((next, thread::current().name().map(String::from))).unwrap();
            if is_last {
                return;
            }
        }
    });
    for i in 0..1000 {
        server.publish("/test", out_of_memory(&i.to_string()));
    }
    for i in 0..1000 {
        let (next, thread) = receiver.recv_timeout(LONG).unwrap();
        assert_eq!(container_of(&next.unwrap().unwrap()), i.to_string());
        assert!(i == 0 || thread.unwrap().starts_with("ctrd-grpc"));
    }
    server.daemon.stop(&Call::new()).unwrap();
    let (end, _) = receiver.recv_timeout(LONG).unwrap();
    assert_eq!(end.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(receiver.recv_timeout(LONG).unwrap().0.is_none());
    // A subscription that cannot be opened.
    let error = server.open(&[]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A line of `ctr events`: time, namespace, topic and JSON.
fn read_line(line: &str) -> [String; 4] {
    let mut words = line.splitn(7, ' ');
    let mut word = || words.next().unwrap().to_owned();
    let [day, hour, _zone, _utc, namespace, topic] = [(); 6].map(|()| word());
    [format!("{day}T{hour}Z"), namespace, topic, canonical(&word())]
}

/// JSON with its members in order. Since 1.7, `ctr` writes a time as two numbers.
fn canonical(json: &str) -> String {
    fn walk(value: &mut Value) {
        if let Some(members) = value.as_object_mut() {
            if let Some(seconds) = members.get("seconds").and_then(Value::as_i64) {
                let nanos = members.get("nanos").and_then(Value::as_u64).unwrap_or_default();
                *value = rfc3339(seconds, nanos.try_into().unwrap()).into();
                return;
            }
            members.values_mut().for_each(walk);
        }
    }
    let mut value: Value = serde_json::from_str(json).unwrap();
    walk(&mut value);
    value.to_string()
}

/// A `ctr events` that writes to a file.
struct Ctr {
    child: Child,
    path: PathBuf,
}

impl Ctr {
    fn start(server: &Server) -> Ctr {
        let path = server.directory.0.join("events");
        let file = fs::File::create(&path).unwrap();
        let mut command = Command::new("ctr");
        command.arg("-a").arg(server.daemon.address()).arg("events").stdout(file);
        let ctr = Ctr { child: command.spawn().unwrap(), path };
        let deadline = Instant::now() + LONG;
        while !ctr.lines().iter().any(|line| line[2] == "/test/begin") {
            assert!(Instant::now() < deadline);
            server.publish("/test/begin", out_of_memory(""));
            thread::sleep(Duration::from_millis(20));
        }
        ctr
    }

    fn lines(&self) -> Vec<[String; 4]> {
        let text = fs::read_to_string(&self.path).unwrap();
        // The last line may not be complete yet.
        text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(read_line).collect()
    }
}

impl Drop for Ctr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Causes every kind of event that containerd publishes and that a test can cause.
fn let_things_happen(server: &Server) {
    let root = server.directory.0.join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    symlink("busybox", root.join("bin/sleep")).unwrap();
    let id = &*format!("ctrd-events-{}", std::process::id());
    let run = ["run", "-d", "--rootfs", "--label", "a=b <&>\u{2028}", root.to_str().unwrap(), id];
    server.ctr(&[&run[..], &["/bin/sleep", "1000"]].concat());
    server.ctr(&["task", "exec", "--exec-id", "e", id, "/bin/busybox", "true"]);
    server.ctr(&["task", "pause", id]);
    server.ctr(&["task", "resume", id]);
    server.ctr(&["container", "label", id, "x=\"y\""]);
    server.ctr(&["task", "kill", "-s", "KILL", id]);
    // A task is deleted only once its process has ended.
    let deadline = Instant::now() + LONG;
    while !server.ctr(&["task", "ls"]).contains("STOPPED") {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    server.ctr(&["task", "delete", id]);
    server.ctr(&["container", "rm", id]);

    server.ctr(&["namespaces", "create", "n", "a=b"]);
    server.ctr(&["namespaces", "label", "n", "c=d"]);
    server.ctr(&["namespaces", "remove", "n"]);
    server.ctr(&["snapshots", "prepare", "s"]);
    server.ctr(&["snapshots", "commit", "t", "s"]);
    server.ctr(&["snapshots", "prepare", "u", "t"]);
    server.ctr(&["snapshots", "rm", "u"]);

    let ctx = server.ctx();
    let labels = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let target = Descriptor {
        digest: format!("sha256:{}", "0".repeat(64)),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size: 1,
        ..Descriptor::default()
    };
    let image = images::Image::new("i", target, labels.into_iter().collect());
    images::create(&ctx, image.clone()).unwrap();
    images::update(&ctx, image, &["labels"]).unwrap();
    images::delete(&ctx, "i", true).unwrap();
}

#[test]
fn json_is_as_ctr_prints_it() {
    let server = Server::start();
    let mut stream = server.open(&[]).unwrap();
    let ctr = Ctr::start(&server);
    let_things_happen(&server);
    drop(server.open(&[]).unwrap());
    server.publish("/test/end", out_of_memory(""));

    let mut ours = Vec::new();
    loop {
        let envelope = next(&mut stream);
        let since = envelope.timestamp.unwrap().duration_since(UNIX_EPOCH).unwrap();
        let time = rfc3339(since.as_secs().try_into().unwrap(), since.subsec_nanos());
        let json = canonical(&event_types::json(&envelope.event));
        let topic = envelope.topic.clone();
        ours.push([time, envelope.namespace, envelope.topic, json]);
        if topic == "/test/end" {
            break;
        }
    }
    let deadline = Instant::now() + LONG;
    let theirs = loop {
        let lines = ctr.lines();
        if lines.last().is_some_and(|line| line[2] == "/test/end") {
            break lines;
        }
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    };
    // Other clients do not stumble over the event with which a stream is opened.
    let (syncs, theirs): (Vec<_>, Vec<_>) =
        theirs.into_iter().partition(|line| line[2].starts_with("/ctrd/sync/"));
    assert!(syncs.last().is_some_and(|line| line[3] == "{}"), "{syncs:?}");
    // It may have missed events from before it was seen to listen.
    let begin = ours.iter().rposition(|line| line[2] == "/test/begin").unwrap();
    let begun = theirs.iter().rposition(|line| line[2] == "/test/begin").unwrap();
    assert_eq!(ours[begin..], theirs[begun..]);

    let mut topics: BTreeMap<&str, &str> = BTreeMap::new();
    for line in &ours {
        topics.insert(&line[2], &line[3]);
    }
    let expected = [
        "/containers/create",
        "/containers/delete",
        "/containers/update",
        "/images/create",
        "/images/delete",
        "/images/update",
        "/namespaces/create",
        "/namespaces/delete",
        "/namespaces/update",
        "/snapshot/commit",
        "/snapshot/prepare",
        "/snapshot/remove",
        "/tasks/create",
        "/tasks/delete",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/start",
    ];
    for topic in expected {
        let members: Map<String, Value> = serde_json::from_str(topics[topic]).unwrap();
        assert!(!members.is_empty() && !members.contains_key("type_url"), "{topic}: {members:?}");
    }
}
