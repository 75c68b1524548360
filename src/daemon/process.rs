//! Programs and processes: finding a program, running it, waiting for it, and killing it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::config::DaemonConfig;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sys;

/// How long the kernel may take to end a process that was killed.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a thread that waits checks the call's cancel handle.
const TICK: Duration = Duration::from_millis(50);

/// How long to wait until the limits are checked again.
pub(super) fn tick(limits: &Limits) -> Duration {
    limits.remaining().map_or(TICK, |left| left.min(TICK))
}

/// The shim of the default runtime, `io.containerd.runc.v2`.
pub(super) const SHIM: &str = "containerd-shim-runc-v2";

/// The directories in which a daemon searches for its programs.
#[derive(Clone, Debug)]
pub(super) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// The search path and the containerd of a configuration. Fails if a program is missing that
    /// containers need.
    pub(super) fn new(config: &DaemonConfig) -> Result<(SearchPath, PathBuf)> {
        let mut path = SearchPath(config.path.clone());
        for (i, directory) in path.0.iter().enumerate() {
            let why = match directory {
                relative if !relative.is_absolute() => "is not an absolute path",
                other if other.as_os_str().as_bytes().contains(&b':') => "holds a colon",
                _ => continue,
            };
            return Err(Error::invalid(&format!("path[{i}]"), format!("{directory:?} {why}")));
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
            // For containerd, a relative entry would be another directory.
            path.0.extend(std::env::split_paths(&inherited).filter(|entry| entry.is_absolute()));
        }
        // Of the other directories, only the binary's own may have a colon in its path.
        if std::env::join_paths(&path.0).is_err() {
            return Err(Error::invalid("binary", format!("{name:?} holds a colon")));
        }
        let binary = if !given {
            path.require(name)?
        } else {
            check_program(name).map_err(|e| e.context("binary")).step("find containerd")?;
            name.to_owned()
        };
        path.require(Path::new(SHIM))?;
        path.require(Path::new("runc"))?;
        Ok((path, binary))
    }

    /// The first program with this name.
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
        // It was joined before, when it was made.
        std::env::join_paths(&self.0).unwrap_or_default()
    }
}

pub(super) fn is_program(file: &Path) -> bool {
    check_program(file).is_ok()
}

/// Fails if a file cannot be run, with the error of running it.
pub(super) fn check_program(file: &Path) -> Result<()> {
    let found = std::fs::metadata(file).and_then(|found| match found.is_file() {
        true => Ok(access(file, Access::EXEC_OK)?),
        false => Err(Errno::ACCESS.into()),
    });
    found.map_err(|e| Error::io(format_args!("{} is not a program", file.display()), e))
}

/// A child process.
///
/// Everything goes through its pidfd, which never means another process. The pidfd reports the exit
/// even if the host waits for our child.
#[derive(Debug)]
pub(super) struct Process {
    id: u32,
    pidfd: OwnedFd,
    /// How it exited, in words. Set once it was waited for.
    how: OnceLock<String>,
}

impl Process {
    /// Runs a program. The child has only the three standard descriptors, no signal blocked or
    /// ignored, and its own session.
    pub(super) fn spawn(mut command: Command) -> Result<Process> {
        sys::as_daemon(&mut command);
        // No handler of the host's may run in the child before its signals are reset.
        let mut child = sys::with_signals_blocked(|| command.spawn())
            .map_err(|e| Error::io(command.get_program().display(), e))?;
        let id = child.id();
        let pidfd = i32::try_from(id)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match pidfd {
            Ok(pidfd) => Ok(Process { id, pidfd, how: OnceLock::new() }),
            Err(e) => {
                // If it does not exist, the host has waited for it, and another process may have
                // its pid.
                if e != Errno::SRCH {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                Err(Error::io("pidfd_open", e))
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn has_ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for its exit. Says whether it has exited.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let ended = ended_within(&self.pidfd, Some(timeout));
        if ended {
            self.reap();
        }
        ended
    }

    /// Waits for its exit without a limit.
    pub(super) fn wait_for_end(&self) {
        while !ended_within(&self.pidfd, None) {}
        self.reap();
    }

    /// Waits for its exit within the limits. Says whether it has exited.
    pub(super) fn wait_within(&self, limits: &Limits) -> bool {
        loop {
            if self.wait(tick(limits)) {
                return true;
            }
            if limits.check().is_err() {
                return false;
            }
        }
    }

    /// How it exited, in words.
    pub(super) fn how_it_ended(&self) -> &str {
        self.reap()
    }

    fn reap(&self) -> &str {
        self.how.get_or_init(|| {
            let id = WaitId::PidFd(self.pidfd.as_fd());
            let (code, signal) = match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => (status.exit_status(), status.terminating_signal()),
                // The host has waited for it. A newer kernel still reports the exit code.
                _ => match sys::exit_status(self.pidfd.as_fd()) {
                    Ok(Some(status)) => {
                        let status = ExitStatus::from_raw(status);
                        (status.code(), status.signal())
                    }
                    _ => (None, None),
                },
            };
            match (code, signal) {
                (Some(code), _) => format!("exit code {code}"),
                (_, Some(signal)) => format!("signal {signal}"),
                _ => "its status was taken by another wait of this process".into(),
            }
        })
    }

    /// Sends a signal, unless the process has exited.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(Error::io("pidfd_send_signal", e)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If it has exited, it is waited for.
        self.has_ended();
    }
}

/// Waits for the exit of a pidfd's process. Says whether it has exited.
pub(super) fn ended_within(pidfd: &OwnedFd, timeout: Option<Duration>) -> bool {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], time.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            // The kernel is short of memory.
            Err(_) => std::thread::sleep(left.unwrap_or(TICK).min(TICK)),
        }
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
    }
}
