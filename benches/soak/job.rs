//! Jobs: this program started again as a process of its own, whose threads, memory and CPU time are
//! those of one client.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;

use rustix::process::{Signal, kill_process};

use crate::containerd::pid;
use crate::{JOB, events, outage, programs, server, watches};

/// Runs the job of this name in this process.
pub fn run(name: &str, arguments: &[String]) {
    match name {
        "server" => server::run(arguments),
        "watch" => watches::job(arguments),
        "receive" => events::receive(arguments),
        "publish" => events::publish(arguments),
        "outage" => outage::job(arguments),
        "program" => programs::job(arguments),
        _ => panic!("there is no job {name}"),
    }
}

/// The next line from the program that started this job. `None` if the job must end.
pub fn told() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(1..) => Some(line.trim_end().to_owned()),
        _ => None,
    }
}

/// A running job. The drop kills it.
pub struct Job {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Job {
    pub fn start(name: &str, arguments: &[&str]) -> Job {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([JOB, name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Job { child, input, lines }
    }

    /// Sends a line to the job.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads the next line that the job prints.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("the job has ended before its time").unwrap()
    }

    /// Reads the next number that the job prints.
    #[track_caller]
    pub fn number<T: FromStr>(&mut self) -> T {
        let line = self.line();
        line.parse().unwrap_or_else(|_| panic!("{line:?} is no number"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// Kills the job. Returns the printed lines that nobody has read.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.lines.by_ref().map(Result::unwrap).collect()
    }

    /// Lets the job finish.
    pub fn end(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a job failed: {status}");
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
