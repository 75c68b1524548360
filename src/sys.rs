//! The system calls that have no safe wrapper. Only this file of the core may have `unsafe` code.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `f` with every signal blocked on this thread. Threads that `f` makes block every signal
/// too, so they take none of the host's. The mask is restored afterwards, also if `f` panics.
pub(crate) fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was written by `pthread_sigmask` below.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }

    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` writes the whole set; `pthread_sigmask` reads it and writes the old one.
    // Neither fails with these arguments (POSIX).
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    f()
}

/// How many processors the machine has, including those that this process may not use.
pub(crate) fn processors() -> usize {
    // SAFETY: `sysconf` takes a number and returns one.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(count).unwrap_or(1)
}

/// Gives the calling thread its own mount namespace, a copy of the process's. It ends with the
/// thread: the caller makes a thread for the purpose.
pub(crate) fn unshare_mounts() -> rustix::io::Result<()> {
    // SAFETY: other code could break if the table of descriptors were no longer shared, but that is
    // not among the flags. `FS` gives the thread its own working directory, which `NEWNS` needs.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
}

fn failed(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes the kernel kill the program that `command` runs when the thread that spawns it ends.
pub(crate) fn dies_with_thread(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || -> io::Result<()> {
        // SAFETY: system calls with plain arguments, which are async-signal-safe.
        unsafe {
            failed(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() as u32 != parent {
                // The parent died before the call above.
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: as in `as_daemon`.
    unsafe { command.pre_exec(prepare) };
}

/// Makes the program that `command` runs independent of the state of this process: it inherits only
/// the three standard descriptors, no blocked or ignored signal, no terminal and no umask. The
/// caller spawns it with every signal blocked.
pub(crate) fn as_daemon(command: &mut Command) {
    let prepare = || -> io::Result<()> {
        // SAFETY: system calls with plain arguments; every pointer is to a local value. All of them
        // are async-signal-safe (signal-safety(7), or direct calls that take no lock).
        unsafe {
            failed(libc::setsid())?;
            libc::umask(0o022);
            // Before the mask is cleared, so that no handler of the host's runs here.
            for signal in 1..=libc::SIGRTMAX() {
                // It fails for SIGKILL, SIGSTOP and the C library's own signals.
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            failed(libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()))?;
            // The exec closes them, not this code: the standard library reports a failure over one
            // of them.
            let flags = libc::CLOSE_RANGE_CLOEXEC;
            if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) == -1 {
                // Kernels before Linux 5.11.
                let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
                failed(libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()))?;
                for fd in 3..limit.assume_init().rlim_cur.min(1 << 20) as libc::c_int {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` does what a child of a process with threads may do: it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// How the process of a pidfd exited, as a wait status. `None` if the kernel does not give it:
/// nobody has waited for the process yet, or the kernel is older than 6.15. Fails before 6.13.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    /// `struct pidfd_info` in its first version (linux/pidfd.h).
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        /// The fields from `pid` to `fsgid`.
        ids: [u32; 11],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xff, 11, struct pidfd_info)`.
    const PIDFD_GET_INFO: libc::c_ulong =
        3 << 30 | (size_of::<Info>() as libc::c_ulong) << 16 | 0xff << 8 | 11;

    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    // SAFETY: the request contains the size of `info`, which lives through the call. The kernel
    // writes no more than that, and every bit pattern is valid in it.
    if unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// The pid of the process that has bound the other end of a connected Unix socket. `None` if the
/// process is in a pid namespace that ours does not see. (`rustix` does not know that case.)
pub(crate) fn peer(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers are to local values, and the size is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    u32::try_from(peer.pid).ok().filter(|pid| result == 0 && *pid != 0)
}
