//! A process seen without containerd: a descriptor of it, which tells how it ended where the kernel
//! can (`PIDFD_GET_INFO` with the exit, Linux 6.15 and later).

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys;

/// What a process is seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Runs,
    /// It has ended, and its parent is yet to take note.
    Ending,
    /// The code, as containerd counts: 128 and its number for a signal.
    Ended(u32),
    /// It has ended; the kernel does not tell how.
    Gone,
    /// There is no descriptor of it.
    Unseen,
}

/// A descriptor of one process, never of another that has its number later.
#[derive(Debug)]
pub(crate) struct Pidfd(OwnedFd);

impl Pidfd {
    /// Of the process that has this number now. It is for the caller to make sure, after this, that it
    /// still has.
    pub(super) fn open(pid: u32) -> Option<Pidfd> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Pidfd)
    }

    pub(super) fn look(&self) -> Sight {
        match sys::exit_status(self.0.as_fd()) {
            Ok(Some(status)) => return Sight::Ended(code(status)),
            // Until it is reaped (6.15), or always.
            Ok(None) => {}
            // The kernel does not know the question (before 6.13), or not for one that is reaped.
            Err(_) if self.has_ended() => return Sight::Gone,
            Err(_) => return Sight::Runs,
        }
        if self.has_ended() { Sight::Ending } else { Sight::Runs }
    }

    fn has_ended(&self) -> bool {
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
    fn sees_a_process_to_its_end() {
        for (script, expected) in [("read _; exit 3", 3), ("read _; kill -9 $$", 137)] {
            let mut child =
                Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
            let pidfd = Pidfd::open(child.id()).unwrap();
            assert_eq!(pidfd.look(), Sight::Runs);
            drop(child.stdin.take());
            while pidfd.look() == Sight::Runs {
                std::thread::yield_now();
            }
            // Here the kernel may keep silent for good.
            let silent = pidfd.look() == Sight::Gone;
            assert!(silent || pidfd.look() == Sight::Ending);
            child.wait().unwrap();
            assert_eq!(pidfd.look(), if silent { Sight::Gone } else { Sight::Ended(expected) });
        }
        assert!(Pidfd::open(0).is_none());
    }
}
