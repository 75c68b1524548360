//! A private containerd
//!
//! A containerd of the program's own, with its own root, state and sockets.
//!
//! It is supervised. When it dies by itself it is started again, at the same address and with the
//! environment of the start: the first time at once, then after 100 ms, doubled each time up to 10 s,
//! for as long as it takes; one that has run for 30 s makes the next time the first again. Its
//! containers live on meanwhile, and clients that are open find it again by themselves. What it died
//! of goes to the log hook. One that hangs is not dead, and is left alone: it shows in calls that time
//! out.

use std::ffi::{CString, c_char};
use std::mem::ManuallyDrop;

use ctrd::{Daemon, DaemonConfig, Error, ErrorKind, Result};

use crate::args::{self, c_string, text};
use crate::call::{self, ctrd_call_t};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;

/// A private containerd's flag: it is left dead when it dies by itself.
pub const CTRD_DAEMON_NO_RESTART: u64 = 1;
/// A private containerd's flag: only ctrd_daemon_stop() ends it, and neither the end of the process
/// nor ctrd_daemon_free().
pub const CTRD_DAEMON_OUTLIVE: u64 = 2;

/// A containerd of the program's own.
pub struct ctrd_daemon_t {
    daemon: ManuallyDrop<Daemon>,
    address: CString,
    process: u32,
}

impl Drop for ctrd_daemon_t {
    fn drop(&mut self) {
        // A child of the process must not stop its parent's.
        if std::process::id() == self.process {
            // SAFETY: it is dropped here alone, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.daemon) };
        }
    }
}

/// How a private containerd is to run. Everything is only borrowed, for the time of the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_daemon_config_t {
    /// sizeof(ctrd_daemon_config_t).
    pub size: usize,
    /// The directory of everything that it has: root, state, sockets, configuration, log. An
    /// absolute path, short enough for a socket's. Made with mode 0700 where it does not exist;
    /// otherwise it must be empty, or a daemon's that was not stopped. Required.
    pub directory: *const c_char,
    /// The containerd to run: a path, or a name to be searched for. NULL: "containerd".
    pub binary: *const c_char,
    /// path_len directories that are put before PATH, where containerd, its shims and runc are
    /// searched for. NULL and 0: none.
    pub path: *const *const c_char,
    /// See path.
    pub path_len: usize,
    /// CTRD_DAEMON_NO_RESTART, CTRD_DAEMON_OUTLIVE, both, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_daemon_config_t {}

/// Reads how a private containerd is to run.
///
/// # Safety
/// `given` is NULL or as `args::input` wants it, its strings as `args::text` does.
unsafe fn read_config(given: *const ctrd_daemon_config_t) -> Result<DaemonConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { args::input("config", given)? };
    args::flags("flags", given.flags, CTRD_DAEMON_NO_RESTART | CTRD_DAEMON_OUTLIVE)?;
    // SAFETY: as the caller promises.
    let (directory, binary, path) = unsafe {
        (
            text("directory", given.directory)?,
            args::optional_text("binary", given.binary)?,
            args::texts("path", given.path, given.path_len)?,
        )
    };
    Ok(DaemonConfig {
        binary: binary.map(Into::into),
        directory: directory.into(),
        path: path.into_iter().map(Into::into).collect(),
        no_restart: given.flags & CTRD_DAEMON_NO_RESTART != 0,
        outlive_owner: given.flags & CTRD_DAEMON_OUTLIVE != 0,
    })
}

/// Initialises a ctrd_daemon_config_t as CTRD_DAEMON_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_config_init(config: *mut ctrd_daemon_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(config, size) });
}

/// Starts a private containerd, and waits until it answers and its plugins are loaded. What a failed
/// start has made is removed, which may take up to 10 s beyond the call's timeout.
///
/// When this process dies, the kernel kills containerd; with CTRD_DAEMON_OUTLIVE it runs on,
/// unsupervised (unless a service manager ends it with the process's control group). Either way its
/// containers live on, and the next daemon in the same directory has them: it ends a containerd that
/// still runs there and starts its own. While the owner lives a second daemon in the directory is
/// refused.
///
/// A container's id and namespace together must be unlike those of any other containerd's on the
/// machine, for runc's state and the cgroups are the machine's.
///
/// @param config  how it is to run.
/// @param call    bounds of the call; NULL: the default, at most 20 s.
/// @param out     receives the daemon, which the caller owns: ctrd_daemon_free().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a directory that cannot be used;
///         CTRD_E_NOT_FOUND where containerd, its shim or runc is not installed;
///         CTRD_E_FAILED_PRECONDITION where another daemon runs in the directory, or containerd ended
///         before it was ready; CTRD_E_PERMISSION_DENIED, also where the binary
///         that is named cannot be run; CTRD_E_IO; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_FORKED.
///
/// Blocking: until the daemon is ready. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_start(
    config: *const ctrd_daemon_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_daemon_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("daemon_start", Out::required("out", out), err, || {
        // SAFETY: the caller's structs and strings are as the header says.
        let (config, call) = unsafe { (read_config(config)?, call::read(call)?) };
        let daemon = Daemon::start(&config, &call)?;
        Ok(Box::new(ctrd_daemon_t {
            address: c_string(daemon.address()),
            daemon: ManuallyDrop::new(daemon),
            process: std::process::id(),
        }))
    })
}

/// The address of a private containerd's socket, for ctrd_client_config_t.
///
/// @param daemon  the daemon; NULL gives NULL.
/// @return the text, borrowed from the daemon.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_address(daemon: Option<&ctrd_daemon_t>) -> *const c_char {
    guard::read(daemon, |daemon| daemon.address.as_ptr())
}

/// The process id of a private containerd: another after each restart.
///
/// @param daemon  the daemon; NULL gives 0.
/// @return the id; 0 while none runs, and in a child of the process that started it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_pid(daemon: Option<&ctrd_daemon_t>) -> u32 {
    guard::read(daemon, |daemon| daemon.daemon.pid())
}

/// How many times a private containerd that had died was started again, or could not be. A number
/// that keeps growing is a containerd that does not come up; what it dies of goes to the log hook.
///
/// @param daemon  the daemon; NULL gives 0.
/// @return the number; 0 in a child of the process that started it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_restarts(daemon: Option<&ctrd_daemon_t>) -> u64 {
    guard::read(daemon, |daemon| daemon.daemon.restarts())
}

/// Stops a private containerd: its containers are killed and deleted, then it is ended, and its
/// directory is removed with all that is in it, but for files that are not its own. So it does where
/// containerd is dead. Stopping it again does nothing; after a failure it goes on, and meanwhile
/// nothing is started again. The handle stays valid until ctrd_daemon_free().
///
/// The call's timeout and cancel handle end the wait for processes; one that the kernel does not
/// end although it was killed is waited for up to 5 s more. The files are removed however long it
/// takes.
///
/// @param daemon  the daemon.
/// @param call    bounds of the call; NULL: the default, at most 60 s until the files are removed.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_IO;
///         CTRD_E_FORKED.
///
/// Blocking: until it has ended and its files are removed. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_stop(
    daemon: Option<&ctrd_daemon_t>,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("daemon_stop", err, || {
        let daemon = daemon.ok_or_else(|| Error::invalid("daemon", "must not be NULL"))?;
        if std::process::id() != daemon.process {
            return Err(Error::new(ErrorKind::Forked, "the daemon is the parent process's"));
        }
        // SAFETY: the caller's structs and strings are as the header says.
        daemon.daemon.stop(&unsafe { call::read(call)? })
    })
}

/// Frees a private containerd, and stops it if that has not been done. With CTRD_DAEMON_OUTLIVE one
/// that no call has begun to stop runs on, unsupervised. In a child of the process that started it,
/// nothing is stopped.
///
/// @param daemon  the daemon, which the call takes; NULL does nothing.
///
/// Blocking: as ctrd_daemon_stop() does by default; at most 5 s where it runs on. Threads: owner.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_free(daemon: Option<Box<ctrd_daemon_t>>) {
    guard::value(|| drop(daemon));
}
