//! A containerd that this program itself kills and starts again. The library's own supervisor is
//! not used, because it delays the restart of a containerd that dies again and again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ctrd::Daemon;
use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{runs, wait_until};

pub struct Containerd {
    arguments: Vec<OsString>,
    environment: Vec<OsString>,
    log: PathBuf,
    address: String,
    pid: u32,
    /// Set if this program has started it.
    child: Option<Child>,
}

impl Containerd {
    /// The containerd of a daemon that does not restart it by itself.
    pub fn of(daemon: &Daemon) -> Containerd {
        let pid = daemon.pid();
        let words = |file: &str| -> Vec<OsString> {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            words.map(|word| OsString::from_vec(word.to_vec())).collect()
        };
        Containerd {
            arguments: words("cmdline"),
            environment: words("environ"),
            log: fs::read_link(format!("/proc/{pid}/fd/2")).unwrap(),
            address: daemon.address().into(),
            pid,
            child: None,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.pid), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        match &mut self.child {
            Some(child) => drop(child.wait().unwrap()),
            None => wait_until("containerd's end", || !runs(self.pid)),
        }
    }

    /// Starts a containerd in place of the killed one, and waits until it listens.
    pub fn start(&mut self) {
        let log = File::options().append(true).open(&self.log).unwrap();
        let environment = self.environment.iter().filter_map(|variable| {
            let (name, value) = variable.to_str()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let child = Command::new(&self.arguments[0])
            .args(&self.arguments[1..])
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.pid = child.id();
        self.child = Some(child);
        wait_until("containerd's socket", || UnixStream::connect(&self.address).is_ok());
    }
}

impl Containerd {
    /// Whether containerd has lost a container's shim, which nobody can reach then. Either it has
    /// deleted the shim's directory, as it does if the connection breaks while the shim starts. Or
    /// its log says that it could not end the shim, as it does if the connection breaks after the
    /// shim's task was deleted.
    pub fn has_lost_the_shim(&self, shim: u32, container: &str) -> bool {
        // It renames the directory before it deletes it.
        let name = format!("/.{container}/");
        let files = fs::read_dir(format!("/proc/{shim}/fd")).into_iter().flatten().flatten();
        let mut paths = files.filter_map(|file| fs::read_link(file.path()).ok());
        if paths.any(|path| path.to_string_lossy().contains(&name)) {
            return true;
        }
        let log = fs::read_to_string(&self.log).unwrap();
        let name = format!("id={container}");
        let mut lines = log.lines().filter(|line| line.contains("failed to shutdown shim"));
        lines.any(|line| line.split(' ').any(|word| word == name))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// The shim of a container: the parent of its first process.
pub fn shim_of(container: u32) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{container}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    pid(rest.split(' ').nth(1).unwrap().parse().unwrap())
}
