//! A process as the kernel reports it, without containerd: a descriptor of the process. The kernel
//! gives the exit code too if it can (`PIDFD_GET_INFO` with the exit, Linux 6.15 and later).

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys;

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// It has exited, and its parent has not waited for it yet.
    Zombie,
    /// It has exited with this code. As in containerd, a signal counts as 128 and its number.
    Exited(u32),
    /// It has exited, and the kernel does not give the code.
    ExitedUnknown,
    /// There is no descriptor of it.
    Unknown,
}

/// A descriptor of one process: never of a later process with the same pid.
#[derive(Debug)]
pub(crate) struct Pidfd(OwnedFd);

/// The parent of the process that has this pid now (proc_pid_stat(5)).
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state and the parent follow the name, which is in parentheses and may contain anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

impl Pidfd {
    /// Opens the process that has this pid now. The caller must check afterwards that its process still
    /// has the pid.
    pub(super) fn open(pid: u32) -> Option<Pidfd> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Pidfd)
    }

    pub(super) fn state(&self) -> State {
        match sys::exit_status(self.0.as_fd()) {
            Ok(Some(status)) => return State::Exited(code(status)),
            // The kernel gives no code: before 6.15 never, later until the parent has waited.
            Ok(None) => {}
            // The kernel does not know the request (before 6.13), or not for a process that is gone.
            Err(_) if self.has_exited() => return State::ExitedUnknown,
            Err(_) => return State::Running,
        }
        if self.has_exited() { State::Zombie } else { State::Running }
    }

    fn has_exited(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&at_once)) {
                Err(Errno::INTR) => {}
                result => return result.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

/// The exit code of a wait status.
fn code(status: i32) -> u32 {
    let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
    (if signal == 0 { code } else { 128 + signal }).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_followed_from_its_start_to_its_exit_code() {
        for (script, expected) in [("read _; exit 3", 3), ("read _; kill -9 $$", 137)] {
            let mut child =
                Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
            let pidfd = Pidfd::open(child.id()).unwrap();
            assert_eq!(pidfd.state(), State::Running);
            drop(child.stdin.take());
            while pidfd.state() == State::Running {
                std::thread::yield_now();
            }
            // This kernel may never give a code.
            let has_no_code = pidfd.state() == State::ExitedUnknown;
            assert!(has_no_code || pidfd.state() == State::Zombie);
            child.wait().unwrap();
            let expected = if has_no_code { State::ExitedUnknown } else { State::Exited(expected) };
            assert_eq!(pidfd.state(), expected);
        }
        assert!(Pidfd::open(0).is_none());
    }
}
