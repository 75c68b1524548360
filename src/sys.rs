//! The system calls that no safe wrapper offers. The one file of the core that may hold `unsafe`.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `f` with every signal blocked on this thread, so that threads made inside block them all
/// and the host's signals stay the host's. The mask is put back also where `f` panics.
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

/// Gives the calling thread a mount namespace of its own, a copy of the process's. It ends with the
/// thread: call it on one that was made for the purpose.
pub(crate) fn unshare_mounts() -> rustix::io::Result<()> {
    // SAFETY: what may break other code is a table of descriptors that is no longer shared; it is
    // not among the flags. `FS` gives the thread its own working directory, which `NEWNS` needs.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
}
