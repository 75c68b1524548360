//! The example `epolld`: a daemon of one thread that keeps containers running. It is killed, its containerd
//! is killed or stopped, and no container is lost, doubled, or started again without need.

#[path = "../../tests/ground/mod.rs"]
mod ground;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ground::image::Recipe;
use ground::plot::{kill, pid, stop};
use ground::{Ground, fifos_below, runs, unique, wait_until};
use rustix::process::{Signal, kill_process};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// The program, compiled as a reader of the header compiles it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| support::compile("ffi/examples/epolld.c", "epolld", &[]))
}

/// A directory, a namespace and a list for daemons that follow one another. Dropped, it kills the last.
struct Site {
    ground: &'static Ground,
    namespace: String,
    directory: PathBuf,
}

impl Site {
    fn new(ground: &'static Ground) -> Site {
        let directory = ground.dir().join(unique("epolld"));
        fs::create_dir(&directory).unwrap();
        Site { ground, namespace: unique("epolld"), directory }
    }

    /// Writes the list: id, policy and script of each container.
    fn list<'a>(&self, lines: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) {
        let image = self.ground.image();
        let text: String = lines
            .into_iter()
            .map(|(id, policy, script)| format!("{id} {image} {policy} {script}\n"))
            .collect();
        fs::write(self.path("list"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The program, with the arguments that make it a daemon of this site.
    fn command(&self, before: &[&str]) -> Command {
        let mut words = before.iter().map(std::ffi::OsStr::new);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program()).arg("-f");
                command
            }
            None => Command::new(program()),
        };
        command.arg(self.ground.address()).arg(&self.namespace).arg(&self.directory);
        command.arg(self.path("list"));
        command
    }

    /// Starts a daemon, and gives its process id. It listens by then.
    fn start(&self) -> u32 {
        let output = self.command(&[]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.pid().unwrap()
    }

    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.path("epolld.pid")).ok()?.trim().parse().ok()
    }

    fn connect(&self) -> Peer {
        Peer::connect(&self.path("epolld.sock")).unwrap()
    }

    /// One request on a connection of its own.
    fn ask(&self, request: &str) -> Vec<String> {
        self.connect().ask(request)
    }

    /// The daemon's report about its containers: by id, the state and the rest.
    fn states(&self) -> BTreeMap<String, (String, String)> {
        let mut lines = self.ask("list");
        assert_eq!(lines.pop().as_deref(), Some("ok"));
        let parse = |line: String| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            (word(), (word(), word()))
        };
        lines.into_iter().map(parse).collect()
    }

    fn until(&self, id: &str, state: &str) {
        let mut last = BTreeMap::new();
        let start = Instant::now();
        while last.get(id).is_none_or(|(is, _): &(String, String)| is != state) {
            assert!(
                start.elapsed() < ANSWER,
                "{id} does not become {state}: {last:?}\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20));
            last = self.states();
        }
    }

    /// The output of a container, in all its lives.
    fn output(&self, id: &str) -> String {
        fs::read_to_string(self.path(&format!("{id}.log"))).unwrap_or_default()
    }

    fn starts(&self, id: &str) -> usize {
        self.output(id).lines().filter(|line| *line == "start").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("epolld.log")).unwrap_or_default()
    }

    /// Kills the daemon, and waits until its process has gone.
    fn kill(&self) {
        let daemon = self.pid().unwrap();
        kill(daemon);
        wait_until("the end of the killed daemon", || !runs(daemon));
        // Its first thread may end before the others, which keep its files open.
        let threads = || fs::read_dir(format!("/proc/{daemon}/task")).map_or(0, Iterator::count);
        wait_until("the end of its threads", || threads() <= 1);
    }

    /// Has the daemon destroy its containers and end. Nothing is left of either.
    fn quit(&self) {
        let daemon = self.pid().unwrap();
        assert_eq!(self.ask("quit --stop"), ["ok"], "{}", self.log());
        self.assert_ended(daemon);
        self.assert_empty();
    }

    /// Waits until containerd has nothing but images.
    fn assert_empty(&self) {
        let left = || self.ground.holdings(&self.namespace);
        let start = Instant::now();
        while !left().only_images() {
            assert!(start.elapsed() < ANSWER, "left: {:?}", left());
            sleep(Duration::from_millis(100));
        }
    }

    /// Has the leases of creates and pulls that were broken off end now, which end by themselves after a
    /// day.
    fn expire_leases(&self) {
        for row in self.ground.ctr(&["-n", &self.namespace, "leases", "ls"]).lines().skip(1) {
            assert!(row.contains("containerd.io/gc.expire="), "{row}");
            let id = row.split_whitespace().next().unwrap();
            self.ground.ctr(&["-n", &self.namespace, "leases", "rm", "--sync", id]);
        }
    }

    fn assert_ended(&self, daemon: u32) {
        wait_until("the end of the daemon", || !runs(daemon));
        for file in ["epolld.pid", "epolld.sock"] {
            assert!(!self.path(file).exists(), "{file} is left");
        }
        assert_eq!(fifos_below(&self.directory), Vec::<String>::new());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(daemon) = self.pid().filter(|pid| runs(*pid)) {
            kill(daemon);
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// A connection to the control socket.
struct Peer(BufReader<UnixStream>);

impl Peer {
    fn connect(path: &Path) -> std::io::Result<Peer> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Peer(BufReader::new(stream)))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        line.trim_end().to_owned()
    }

    /// The lines of an answer, up to the last one.
    fn answer(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the answer ends too soon: {lines:?}");
            let is_last = line == "ok" || line.starts_with("error ");
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    fn ask(&mut self, request: &str) -> Vec<String> {
        self.send(request);
        self.answer()
    }
}

/// Runs until it is told to end.
const STEADY: &str = "exec 2>/dev/null; trap 'echo end; exit 0' TERM; echo start; \
                      while :; do sleep 0.1; done";
/// Ends by itself, and is started again.
const FLAPPING: &str = "echo start; sleep 0.2; echo end; exit 1";
/// Is to run once.
const ONCE: &str = "echo start; echo end; exit 7";

/// Each life of the container ended before the next began.
fn assert_lives_follow(site: &Site, id: &str) {
    let output = site.output(id);
    let lives: Vec<&str> = output.lines().collect();
    for life in lives.chunks(2) {
        assert!(
            matches!(life, ["start", "end"] | ["start"]),
            "two lives of {id} at once, or a life that was ended: {lives:?}"
        );
    }
}

#[test]
fn killed_under_load_it_loses_doubles_and_restarts_nothing() {
    const EACH: usize = 6;
    let site = Site::new(Ground::get());
    let ids = |kind: &str| (0..EACH).map(|n| unique(&format!("{kind}{n}"))).collect::<Vec<_>>();
    let (steady, flapping, once) = (ids("steady"), ids("flapping"), ids("once"));
    let lines =
        [(&steady, "always", STEADY), (&flapping, "always", FLAPPING), (&once, "never", ONCE)];
    site.list(lines.iter().flat_map(|(ids, policy, script)| {
        ids.iter().map(move |id| (id.as_str(), *policy, *script))
    }));
    // From the first moments of the first daemon, while it pulls and creates, to quiet times.
    for round in 0..20 {
        site.start();
        sleep(Duration::from_millis(50 + round * 97 % 700));
        site.kill();
    }
    site.start();
    for id in &steady {
        site.until(id, "running");
    }
    let before: Vec<_> = flapping.iter().map(|id| site.starts(id)).collect();
    for (id, before) in flapping.iter().zip(before) {
        wait_until("another start", || site.starts(id) > before);
        assert_lives_follow(&site, id);
    }
    for id in &once {
        site.until(id, "ended");
        assert!(site.states()[id].1.contains(" exit=7 "), "{:?}", site.states()[id]);
        assert_eq!(site.output(id), "start\nend\n");
    }
    for id in &steady {
        assert_eq!(site.output(id), "start\n", "{id}");
    }
    let holdings = site.ground.holdings(&site.namespace);
    assert!(holdings.containers <= 3 * EACH && holdings.tasks <= 3 * EACH, "{holdings:?}");
    assert_eq!(site.states().len(), 3 * EACH);
    let daemon = site.pid().unwrap();
    assert_eq!(site.ask("quit --stop"), ["ok"]);
    site.assert_ended(daemon);
    site.expire_leases();
    site.assert_empty();
    for id in &steady {
        assert_eq!(site.output(id), "start\nend\n", "{id}");
    }
}

#[test]
fn its_socket_answers_while_containerd_is_stopped() {
    const REQUESTS: usize = 500;
    let ground: &'static Ground = Box::leak(Box::new(Ground::raise()));
    let site = Site::new(ground);
    let [steady, flapping, other] = ["steady", "flapping", "other"].map(unique);
    site.list([
        (steady.as_str(), "always", STEADY),
        (flapping.as_str(), "always", FLAPPING),
        (other.as_str(), "always", STEADY),
    ]);
    site.start();
    site.until(&steady, "running");
    site.until(&other, "running");

    let containerd = pid(ground.daemon().pid());
    stop(containerd);
    // Requests that need containerd wait, and no other request waits for them.
    let (mut stopping, mut pulling) = (site.connect(), site.connect());
    stopping.send(&format!("stop {other}"));
    pulling.send(&format!("pull {}", ground.image()));
    let mut peer = site.connect();
    let mut times: Vec<Duration> = (0..REQUESTS)
        .map(|n| {
            let request = if n % 2 == 0 { "list".to_owned() } else { format!("status {steady}") };
            let start = Instant::now();
            let answer = peer.ask(&request);
            let time = start.elapsed();
            assert!(time < Duration::from_secs(1), "{request}: {time:?}");
            assert_eq!(answer.last().unwrap(), "ok");
            // It all takes a while, in which the daemon's calls time out and are made again.
            sleep(Duration::from_millis(2));
            time
        })
        .collect();
    kill_process(containerd, Signal::CONT).unwrap();
    times.sort();
    let (p99, last) = (times[REQUESTS * 99 / 100], times[REQUESTS - 1]);
    println!("{REQUESTS} requests while containerd is stopped: p99 {p99:?}, longest {last:?}");

    assert_eq!(stopping.answer(), ["ok"]);
    assert_eq!(pulling.answer().last().unwrap(), "ok");
    assert_eq!(site.starts(&steady), 1);
    site.quit();
}

#[test]
fn containerd_is_killed_under_it() {
    let ground: &'static Ground = Box::leak(Box::new(Ground::raise()));
    let site = Site::new(ground);
    let [steady, flapping, once] = ["steady", "flapping", "once"].map(unique);
    site.list([
        (steady.as_str(), "always", STEADY),
        (flapping.as_str(), "always", "echo start; sleep 1; echo end; exit 1"),
        (once.as_str(), "never", ONCE),
    ]);
    site.start();
    site.until(&steady, "running");
    site.until(&once, "ended");
    for _ in 0..3 {
        let before = site.starts(&flapping);
        wait_until("another start", || site.starts(&flapping) > before);
        // While no call of the daemon is under way. A containerd that dies while it makes or deletes a task
        // may lose track of the task's files, and then no client can make another one of that id.
        sleep(Duration::from_millis(300));
        kill(ground.daemon().pid());
        assert_eq!(site.ask("list").last().unwrap(), "ok");
    }
    let before = site.starts(&flapping);
    wait_until("another start", || site.starts(&flapping) > before);
    site.until(&steady, "running");
    assert_eq!(site.output(&steady), "start\n");
    assert_eq!(site.output(&once), "start\nend\n");
    assert_lives_follow(&site, &flapping);
    site.quit();
}

#[test]
fn it_waits_for_containerd_to_come() {
    let site = Site::new(Ground::get());
    let steady = unique("steady");
    site.list([(steady.as_str(), "always", STEADY)]);
    // Another name for the socket, which comes later.
    let address = site.path("containerd.sock");
    let mut command = Command::new(program());
    command.arg(&address).arg(&site.namespace).arg(&site.directory).arg(site.path("list"));
    assert!(command.status().unwrap().success());
    assert_eq!(site.states()[&steady].0, "unknown");
    std::os::unix::fs::symlink(site.ground.address().trim_start_matches("unix:"), &address)
        .unwrap();
    site.until(&steady, "running");
    site.quit();
}

#[test]
fn it_serves_while_it_pulls() {
    let site = Site::new(Ground::get());
    let recipe = Recipe { more_layers: vec![3 << 20; 3], ..Recipe::default() };
    let image = site.ground.registry().push(&unique("ctrd/large"), "latest", &recipe);
    let steady = unique("steady");
    // Its image is missing, and is pulled too.
    site.list([(steady.as_str(), "always", STEADY)]);
    let daemon = site.start();
    let mut pulling = site.connect();
    wait_until("the client", || {
        pulling.send(&format!("pull {image}"));
        pulling.line().starts_with("progress ")
    });
    assert_eq!(site.ask("list").last().unwrap(), "ok");
    let answer = pulling.answer();
    assert!(answer.iter().rev().skip(1).all(|line| line.starts_with("progress ")), "{answer:?}");
    assert_eq!(answer.last().unwrap(), "ok");
    site.until(&steady, "running");

    let unknown = format!("pull {}/ctrd/unknown:latest", site.ground.registry().host());
    assert!(site.ask(&unknown).last().unwrap().starts_with("error "));

    // A registry that never answers: the pull does not hold up the end.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut pulling = site.connect();
    pulling.send(&format!("pull {}/ctrd/mute:latest", mute.local_addr().unwrap()));
    let _connection = mute.accept().unwrap();
    assert_eq!(site.ask("list").last().unwrap(), "ok");
    kill_process(pid(daemon), Signal::TERM).unwrap();
    site.assert_ended(daemon);
    site.start();
    site.until(&steady, "running");
    site.quit();
    assert_eq!(site.output(&steady), "start\nend\n");
}

#[test]
fn it_ends_in_order_and_takes_its_containers_over() {
    let site = Site::new(Ground::get());
    let [steady, other, failing] = ["steady", "other", "failing"].map(unique);
    let lines = [
        (steady.as_str(), "always", STEADY),
        (other.as_str(), "on-failure", STEADY),
        (failing.as_str(), "on-failure:2", "echo start; exit 3"),
    ];
    site.list(lines);
    let daemon = site.start();
    site.until(&steady, "running");
    site.until(&other, "running");
    wait_until("the last start", || site.starts(&failing) == 3);
    site.until(&failing, "ended");

    // There is one daemon for a directory.
    let second = site.command(&[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("pid file"), "{second:?}");

    assert_eq!(site.ask(&format!("stop {other}")), ["ok"]);
    assert_eq!(site.ask("quit"), ["ok"]);
    site.assert_ended(daemon);
    let holdings = site.ground.holdings(&site.namespace);
    assert_eq!((holdings.containers, holdings.tasks), (2, 2), "{holdings:?}");

    // A container that was stopped stays stopped. One that used up its restarts is not restarted.
    site.start();
    site.until(&steady, "running");
    site.until(&failing, "ended");
    assert!(site.states()[&failing].1.contains(" restarts=2 exit=3 "), "{:?}", site.states());
    assert_eq!(site.states()[&other].0, "absent");
    assert_eq!((site.starts(&steady), site.starts(&other), site.starts(&failing)), (1, 1, 3));
    assert_eq!(site.ask(&format!("start {other}")), ["ok"]);
    assert_eq!(site.ask(&format!("start {failing}")), ["ok"]);
    wait_until("three more starts", || site.starts(&failing) == 6);

    // A changed list: one container is replaced, one goes, one comes.
    let added = unique("added");
    let changed = format!("echo changed; {STEADY}");
    site.list([
        (steady.as_str(), "on-failure", STEADY),
        (other.as_str(), "always", changed.as_str()),
        (added.as_str(), "always", STEADY),
    ]);
    kill_process(pid(site.pid().unwrap()), Signal::HUP).unwrap();
    site.until(&added, "running");
    wait_until("the changed command", || site.output(&other).contains("changed"));
    wait_until("the end of what the list has no more", || !site.states().contains_key(&failing));
    site.until(&other, "running");
    assert_eq!(site.output(&steady), "start\n");

    // A wrong list changes nothing.
    fs::write(site.path("list"), "x image sometimes true\n").unwrap();
    kill_process(pid(site.pid().unwrap()), Signal::HUP).unwrap();
    wait_until("a word about it", || site.log().contains("list:1: the policy is invalid"));
    assert_eq!(site.states().len(), 3);

    // While no daemon runs, a container leaves the list.
    site.kill();
    site.list([(steady.as_str(), "on-failure", STEADY), (other.as_str(), "always", &changed)]);
    site.start();
    wait_until("the end of what the list has no more", || {
        site.states().len() == 2 && site.ground.holdings(&site.namespace).containers == 2
    });
    assert_eq!(site.starts(&steady), 1);
    site.quit();
}

#[test]
fn many_peers_and_bad_ones_are_served() {
    let site = Site::new(Ground::get());
    let steady = unique("steady");
    site.list([(steady.as_str(), "always", STEADY)]);
    site.start();
    site.until(&steady, "running");
    // More than it has at once; the others wait for their turn.
    let mut peers: Vec<Peer> = (0..100).map(|_| site.connect()).collect();
    peers.iter_mut().for_each(|peer| peer.send("list"));
    for mut peer in peers {
        assert_eq!(peer.answer().last().unwrap(), "ok");
    }
    // Several requests at once, and the end of the sender.
    let mut peer = site.connect();
    peer.send("status status");
    assert!(peer.answer()[0].starts_with("error "));
    peer.send(&["list"; 50].join("\n"));
    peer.0.get_mut().shutdown(Shutdown::Write).unwrap();
    for _ in 0..50 {
        assert_eq!(peer.answer().len(), 2);
    }
    let mut rest = String::new();
    peer.0.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    // A line that is too long ends the connection.
    let mut peer = site.connect();
    let _ = peer.0.get_mut().write_all(&[b'x'; 4096]);
    assert!(peer.0.read_to_string(&mut rest).map_or(true, |len| len == 0));
    // One that asks and does not read: its own answers wait.
    let peer = site.connect();
    peer.0.get_ref().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while peer.0.get_ref().write_all(b"list\nlist\nlist\n").is_ok() {}
    assert_eq!(site.ask("list").last().unwrap(), "ok");
    drop(peer);
    site.quit();
}

#[test]
fn valgrind_finds_nothing() {
    let site = Site::new(Ground::get());
    // valgrind does not know the system calls that look users up in an image.
    let recipe = Recipe { user: "0:0".into(), ..Recipe::default() };
    let image = site.ground.registry().push(&unique("ctrd/numbers"), "latest", &recipe);
    let [steady, once] = ["steady", "once"].map(unique);
    let list = format!("{steady} {image} always {STEADY}\n{once} {image} never {ONCE}\n");
    fs::write(site.path("list"), list).unwrap();
    let suppressions = support::root().join("ffi/tests/valgrind.supp");
    let mut daemon = site
        .command(&[
            "valgrind",
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
            "--fair-sched=yes",
            &format!("--suppressions={}", suppressions.display()),
        ])
        .stdout(Stdio::null())
        .stderr(fs::File::create(site.path("epolld.log")).unwrap())
        .spawn()
        .unwrap();
    wait_until("the socket", || Peer::connect(&site.path("epolld.sock")).is_ok());
    site.until(&steady, "running");
    site.until(&once, "ended");
    assert_eq!(site.ask(&format!("stop {steady}")), ["ok"]);
    assert_eq!(site.ask(&format!("start {steady}")), ["ok"]);
    site.quit();
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{status}\n{}", site.log());
}
