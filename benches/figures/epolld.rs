//! How soon the example `ffi/examples/epolld.c`, a daemon of one thread, answers on its socket while
//! containerd runs, and while containerd is stopped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::ground::plot::{kill, pid, stop};
use crate::ground::{Ground, runs, unique, wait_until};
use crate::{Unit, row};

const REQUESTS: usize = 500;

/// Between two requests, so that all of them take longer than the calls of the daemon that time out.
const PAUSE: Duration = Duration::from_millis(2);

/// Prints the figures. The daemon has its own containerd, which is stopped.
pub fn figures() {
    let ground = Ground::raise();
    let daemon = Daemon::start(&ground);
    let running = daemon.times();
    let containerd = pid(ground.daemon().pid());
    stop(containerd);
    // Requests that need containerd wait, and the others do not wait for them.
    let mut stopping = daemon.connect();
    stopping.send(&format!("stop {}", daemon.ids[1]));
    let mut pulling = daemon.connect();
    pulling.send(&format!("pull {}", ground.image()));
    let stopped = daemon.times();
    kill_process(containerd, Signal::CONT).unwrap();
    assert_eq!((stopping.answer(), pulling.answer()), (true, true));
    assert!(daemon.connect().ask("quit --stop"));
    wait_until("the end of the daemon", || !runs(daemon.pid));

    println!("| {REQUESTS} requests to `epolld` | containerd stopped | containerd runs | ratio |");
    println!("|---|---:|---:|---:|");
    for (title, at) in
        [("p50", REQUESTS / 2), ("p99", REQUESTS * 99 / 100), ("longest", REQUESTS - 1)]
    {
        row(title, [stopped[at], running[at]], Unit::Micro);
    }
}

struct Daemon {
    pid: u32,
    socket: PathBuf,
    ids: [String; 2],
}

impl Daemon {
    /// Starts a daemon that keeps two containers running, and waits until they run.
    fn start(ground: &Ground) -> Daemon {
        let directory = ground.dir().join("epolld");
        fs::create_dir(&directory).unwrap();
        let ids = [unique("bench"), unique("bench")];
        let line = |id| format!("{id} {} always exec sleep 1000\n", ground.image());
        let list = directory.join("list");
        fs::write(&list, ids.iter().map(line).collect::<String>()).unwrap();
        let mut command = Command::new(compile(ground.dir()));
        command.args([ground.address(), "bench"]).args([&directory, &list]);
        assert!(command.status().unwrap().success());
        let pid = fs::read_to_string(directory.join("epolld.pid")).unwrap().trim().parse().unwrap();
        let daemon = Daemon { pid, socket: directory.join("epolld.sock"), ids };
        let is_running = |line: &String| line.contains(" running ");
        wait_until("the containers of the daemon", || {
            daemon.connect().lines("list").iter().filter(|line| is_running(line)).count() == 2
        });
        daemon
    }

    fn connect(&self) -> Peer {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Peer(BufReader::new(stream))
    }

    /// How long the answers take, in nanoseconds, sorted.
    fn times(&self) -> Vec<u64> {
        let mut peer = self.connect();
        let requests = ["list".to_owned(), format!("status {}", self.ids[0])];
        let mut times: Vec<u64> = requests
            .iter()
            .cycle()
            .take(REQUESTS)
            .map(|request| {
                let start = Instant::now();
                assert!(peer.ask(request), "{request}");
                let time = start.elapsed().as_nanos();
                sleep(PAUSE);
                time.try_into().unwrap()
            })
            .collect();
        times.sort_unstable();
        times
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if runs(self.pid) {
            kill(self.pid);
        }
    }
}

/// A connection to the daemon's socket.
struct Peer(BufReader<UnixStream>);

impl Peer {
    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    /// The lines of an answer. The last one is `ok`, or the error.
    fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the daemon closed the connection");
            let is_last = line == "ok\n" || line.starts_with("error ");
            lines.push(line.trim_end().to_owned());
            if is_last {
                return lines;
            }
        }
    }

    fn lines(&mut self, request: &str) -> Vec<String> {
        self.send(request);
        self.rest()
    }

    /// Whether the answer is `ok`.
    fn answer(&mut self) -> bool {
        self.rest().last().is_some_and(|line| line == "ok")
    }

    fn ask(&mut self, request: &str) -> bool {
        self.send(request);
        self.answer()
    }
}

/// Compiles the example against the library that `make lib` has built.
fn compile(directory: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (lib, program) = (root.join("target/release/lib"), directory.join("epolld-program"));
    let status = Command::new("cc")
        .current_dir(root)
        .args(["-std=c99", "-O2", "-Iinclude", "ffi/examples/epolld.c", "-lctrd", "-o"])
        .arg(&program)
        .arg(format!("-L{}", lib.display()))
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .status();
    assert!(status.unwrap().success(), "make lib");
    program
}
