//! Finding programs, running them, and ending exactly those.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::DaemonConfig;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sys;

/// The shim of the runtime `io.containerd.runc.v2`, the default everywhere.
pub(super) const SHIM: &str = "containerd-shim-runc-v2";

/// The directories in which a daemon finds its programs.
#[derive(Debug)]
pub(super) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// The search path that a configuration asks for, and the containerd it names. Everything that
    /// containers need must be there.
    pub(super) fn new(config: &DaemonConfig) -> Result<(SearchPath, PathBuf)> {
        let mut path = SearchPath(config.path.clone());
        if let Some(relative) = path.0.iter().find(|directory| !directory.is_absolute()) {
            return Err(Error::invalid(
                "path",
                format!("{} is not an absolute path", relative.display()),
            ));
        }
        let name = config.binary.as_deref().unwrap_or(Path::new("containerd"));
        if name.as_os_str().is_empty() {
            return Err(Error::invalid("binary", "must not be empty"));
        }
        let given = name.components().count() > 1;
        if given {
            if !name.is_absolute() {
                return Err(Error::invalid(
                    "binary",
                    format!("{} is neither an absolute path nor a name", name.display()),
                ));
            }
            path.0.extend(name.parent().map(Path::to_owned));
        }
        if let Some(inherited) = std::env::var_os("PATH") {
            // A relative entry would mean another directory to containerd.
            path.0.extend(std::env::split_paths(&inherited).filter(|entry| entry.is_absolute()));
        }
        if let Err(error) = std::env::join_paths(&path.0) {
            return Err(Error::invalid("path", error));
        }
        let binary = if !given {
            path.require(name)?
        } else if is_program(name) {
            name.to_owned()
        } else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("binary: {} is not a program", name.display()),
            ))
            .step("find containerd");
        };
        path.require(Path::new(SHIM))?;
        path.require(Path::new("runc"))?;
        Ok((path, binary))
    }

    /// The first program of this name.
    pub(super) fn find(&self, name: &Path) -> Option<PathBuf> {
        self.0.iter().map(|directory| directory.join(name)).find(|file| is_program(file))
    }

    fn require(&self, name: &Path) -> Result<PathBuf> {
        self.find(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "{} is not installed in any of {}",
                    name.display(),
                    self.joined().to_string_lossy()
                ),
            )
            .step("find containerd and runc")
        })
    }

    /// The value of `PATH` for a child.
    pub(super) fn joined(&self) -> OsString {
        // It was joined once before, when it was made.
        std::env::join_paths(&self.0).unwrap_or_default()
    }
}

pub(super) fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// A child process, watched by a thread of its own.
///
/// The kernel's parent-death signal comes when the *thread* that made the child ends, so that thread
/// stays as long as the child.
#[derive(Debug)]
pub(super) struct Process {
    id: u32,
    /// Signals go through it: it never means another process, even where the host reaps our child.
    pidfd: OwnedFd,
    ended: Arc<Ended>,
    thread: Option<JoinHandle<()>>,
    /// The process that made it, and has its thread.
    owner: u32,
}

#[derive(Debug, Default)]
struct Ended {
    how: Mutex<Option<How>>,
    changed: Condvar,
}

/// How a process ended: unknown where the host took its status with a wait of its own.
type How = Option<ExitStatus>;

impl Process {
    /// Runs a program. The child has no descriptor of ours but its standard three, no signal
    /// blocked or ignored, a session of its own, and is killed when our process dies.
    pub(super) fn spawn(mut command: Command) -> Result<Process> {
        let ended = Arc::new(Ended::default());
        let (sender, receiver) = mpsc::channel();
        let watch = {
            let ended = ended.clone();
            move || {
                sys::as_daemon(&mut command);
                let spawned = command.spawn().map_err(|e| Error::io("run", e)).and_then(|child| {
                    let pidfd = i32::try_from(child.id())
                        .ok()
                        .and_then(Pid::from_raw)
                        .ok_or(Errno::SRCH)
                        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
                    match pidfd {
                        Ok(pidfd) => Ok((child, pidfd)),
                        Err(e) => {
                            let mut child = child;
                            let _ = child.kill();
                            let _ = child.wait();
                            Err(Error::io("pidfd_open", e))
                        }
                    }
                });
                drop(command);
                let mut child = match spawned {
                    Ok((child, pidfd)) => {
                        let _ = sender.send(Ok((child.id(), pidfd)));
                        child
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                let how = child.wait().ok();
                *ended.how.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
                ended.changed.notify_all();
            }
        };
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-daemon".into()).spawn(watch)
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        match receiver.recv() {
            Ok(Ok((id, pidfd))) => {
                let owner = std::process::id();
                Ok(Process { id, pidfd, ended, thread: Some(thread), owner })
            }
            Ok(Err(error)) => {
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(Error::new(ErrorKind::Internal, "the thread that runs it panicked")),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn has_ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end; says whether it has come.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let how = self.ended.how.lock().unwrap_or_else(PoisonError::into_inner);
        let (how, _) = self
            .ended
            .changed
            .wait_timeout_while(how, timeout, |how| how.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        how.is_some()
    }

    /// Waits for its end until the limits are reached; says whether it has come.
    pub(super) fn wait_within(&self, limits: &Limits) -> bool {
        // A cancel handle is looked at now and then.
        let tick = Duration::from_millis(50);
        loop {
            if self.wait(limits.remaining().map_or(tick, |left| left.min(tick))) {
                return true;
            }
            if limits.check().is_err() {
                return false;
            }
        }
    }

    /// In words, for an error.
    pub(super) fn how_it_ended(&self) -> String {
        let how = *self.ended.how.lock().unwrap_or_else(PoisonError::into_inner);
        match how.flatten() {
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (_, Some(signal)) => format!("signal {signal}"),
                _ => status.to_string(),
            },
            None => "its status was taken by another wait of this process".into(),
        }
    }

    /// Sends a signal; one that has ended is left in peace.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(Error::io("pidfd_send_signal", e)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            // In a child the thread is not there, and may have held the lock when it was forked.
            std::mem::forget(self.thread.take());
            return;
        }
        // One that still runs, against all killing, keeps its thread.
        if let Some(thread) = self.thread.take().filter(|_| self.has_ended()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_drop_takes_no_lock() {
        let mut process = Process::spawn(Command::new("true")).unwrap();
        assert!(process.wait(Duration::from_secs(60)));
        // As the child finds it whose parent held the lock when it forked.
        process.owner = 0;
        let ended = process.ended.clone();
        let held = ended.how.lock().unwrap();
        let (dropped, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            drop(process);
            dropped.send(()).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(10)).expect("the drop waits for the lock");
        drop(held);
    }
}
