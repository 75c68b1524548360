//! A program with a client, as a separate process that can be killed and stopped. It is the test
//! program started once more, with only the test that is the program.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ctrd::{Call, Client, ClientConfig};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::plot::{Plot, stop};

/// The variable that has the job of the program.
const JOB: &str = "CTRD_TEST_JOB";

/// The name of the test that is the program.
const PROGRAM: &str = "the_program";

/// How long the test and the program may wait for each other.
const LONG: Duration = Duration::from_secs(60);

/// The process. The drop kills it.
pub struct Host {
    child: Child,
    line: Line,
}

impl Host {
    /// Starts it, for a client at this address in the namespace of the plot. The job has these
    /// words; no word may contain a space.
    pub fn start(plot: &Plot, address: &str, words: &[&str]) -> Host {
        let (ours, its) = UnixStream::pair().unwrap();
        let state = plot.ground.state_dir();
        let first = [address, &plot.namespace, state.to_str().unwrap()];
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", PROGRAM, "--nocapture"])
            .env(JOB, [&first, words].concat().join(" "))
            // The two talk over this socket. The test harness uses the other streams.
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut host = Host { child, line: Line::new(ours) };
        host.expect("open");
        host
    }

    /// Sends a line to the process.
    pub fn tell(&mut self, what: &str) {
        self.line.say(what);
    }

    /// Reads its next line.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        self.line.hear()
    }

    /// Checks that its next line is this one.
    #[track_caller]
    pub fn expect(&mut self, what: &str) {
        assert_eq!(self.hear(), what);
    }

    /// Stops it, and waits until all of its threads have stopped.
    pub fn stop(&self) {
        stop(self.pid());
    }

    /// Lets it continue.
    pub fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Kills it, and waits until it has ended.
    pub fn kill(mut self) {
        self.end();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program's client, its words, and the line to the process that has started it.
pub struct Job {
    pub client: Client,
    pub words: Vec<String>,
    pub line: Line,
}

/// The job of this process. `None` in the test program itself.
pub fn job() -> Option<Job> {
    let words = std::env::var(JOB).ok()?;
    // It ends with the thread that has started it, even if that one is killed.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let mut words = words.split(' ').map(str::to_owned);
    let mut next = || words.next().unwrap();
    let config = ClientConfig::new().address(next()).namespace(next()).state_dir(next());
    let client = Client::open(&config, &Call::new()).unwrap();
    let mut line = Line::new(std::io::stdin().as_fd().try_clone_to_owned().unwrap().into());
    line.say("open");
    Some(Job { client, words: words.collect(), line })
}

/// Lines in both directions.
pub struct Line(BufReader<UnixStream>);

impl Line {
    fn new(socket: UnixStream) -> Line {
        socket.set_read_timeout(Some(LONG)).unwrap();
        Line(BufReader::new(socket))
    }

    pub fn say(&mut self, what: impl Display) {
        writeln!(self.0.get_mut(), "{what}").unwrap();
    }

    #[track_caller]
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the other process says nothing");
        assert!(!line.is_empty(), "the other process is gone");
        line.trim_end().to_owned()
    }
}
