//! A private containerd
//!
//! A program can have a containerd of its own, with its own root, state and sockets.
//!
//! The library supervises it. If it dies, the library starts it again at the same address, with the
//! environment of the first start. The first restart comes at once, the next one 100 ms after the next
//! death, and each further delay is twice as long, up to 10 s. After a containerd has run for 30 s, the
//! delays begin from the first again. The containers keep running meanwhile, and open clients find the
//! new containerd by themselves. The log hook receives the cause of each death. A containerd that hangs
//! is not dead: it is left alone, and calls time out.

use std::ffi::{CString, c_char};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use ctrd::{Daemon, DaemonConfig, Error, Result};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::{self, Maker};
use crate::abi::outputs::{Handle, Nothing, c_string};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A private containerd's flag: it is not started again when it dies.
pub const CTRD_DAEMON_NO_RESTART: u64 = 1;
/// A private containerd's flag: only ctrd_daemon_stop() ends it; it survives the end of the process and
/// ctrd_daemon_free().
pub const CTRD_DAEMON_OUTLIVE: u64 = 2;

/// A private containerd.
pub struct ctrd_daemon_t {
    /// In a child it is never dropped: the containerd is the parent's.
    daemon: ManuallyDrop<Arc<Daemon>>,
    address: CString,
    maker: Maker,
}

impl ctrd_daemon_t {
    /// The core's daemon, unless this is a child of the process that started it.
    fn own(&self) -> Option<&Daemon> {
        self.maker.is_here().then_some(&**self.daemon)
    }
}

impl Drop for ctrd_daemon_t {
    fn drop(&mut self) {
        if self.maker.is_here() {
            // SAFETY: it is dropped only here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.daemon) };
        }
    }
}

/// How a private containerd is to run. The library does not keep the pointers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_daemon_config_t {
    /// sizeof(ctrd_daemon_config_t).
    pub size: usize,
    /// The directory of everything that it has: root, state, sockets, configuration, log. It is an
    /// absolute path, short enough for that of a socket. If it does not exist, it is made with mode 0700;
    /// otherwise it must be empty, or that of a private containerd that was not stopped. Required.
    pub directory: *const c_char,
    /// The containerd to run: a path, or a name to search for. NULL: "containerd".
    pub binary: *const c_char,
    /// path_len directories in which containerd, its shims and runc are searched for before those of PATH.
    pub path: *const *const c_char,
    /// The number of directories in path.
    pub path_len: usize,
    /// Must be 0.
    pub reserved: usize,
    /// CTRD_DAEMON_NO_RESTART, CTRD_DAEMON_OUTLIVE, both, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_daemon_config_t {}

/// Reads how a private containerd is to run.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does.
unsafe fn read_config(given: *const ctrd_daemon_config_t) -> Result<DaemonConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::flags("flags", given.flags, CTRD_DAEMON_NO_RESTART | CTRD_DAEMON_OUTLIVE)?;
    arguments::reserved(given.reserved as u64)?;
    // SAFETY: as the caller promises.
    let (directory, binary, path) = unsafe {
        (
            text("directory", given.directory)?,
            arguments::optional_text("binary", given.binary)?,
            arguments::texts("path", given.path, given.path_len)?,
        )
    };
    let mut config = DaemonConfig::new(directory)
        .path(path)
        .restart(given.flags & CTRD_DAEMON_NO_RESTART == 0)
        .outlive_owner(given.flags & CTRD_DAEMON_OUTLIVE != 0);
    if let Some(binary) = binary {
        config = config.binary(binary);
    }
    Ok(config)
}

/// Initialises a ctrd_daemon_config_t as CTRD_DAEMON_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_config_init(config: *mut ctrd_daemon_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Starts a private containerd, and waits until it answers and its plugins are loaded. If the start
/// fails, what it has made is removed, which may take up to 10 s beyond the call's timeout.
///
/// When this process dies, the kernel kills the containerd; with CTRD_DAEMON_OUTLIVE it keeps running,
/// unsupervised (unless a service manager ends it with the process's control group). In both cases its
/// containers keep running. The next start in the same directory ends a containerd that still runs there,
/// starts its own, and has the containers. While the owner lives, a second start in the directory fails.
///
/// No two containers on the machine may have the same id in namespaces of the same name, even in
/// different containerds: they would share runc's state and a cgroup.
///
/// @param config  how it is to run.
/// @param call    limits of the call; NULL: the defaults (at most 20 s).
/// @param out     receives the daemon, which the caller owns: ctrd_daemon_free(). A submitted call gives
///                it by ctrd_message_take_daemon().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a directory that cannot be used; CTRD_E_NOT_FOUND
///         if containerd, its shim or runc is not installed; CTRD_E_FAILED_PRECONDITION if another daemon
///         runs in the directory, or containerd ended before it was ready; CTRD_E_PERMISSION_DENIED also
///         if the binary cannot be executed.
///
/// Blocking: until the daemon is ready. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_start(
    config: *const ctrd_daemon_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_daemon_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("daemon_start", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's struct and strings are as the header says.
        let config = unsafe { read_config(config)? };
        let directory = config.directory().to_string_lossy().into_owned();
        Ok(operation::of_none(directory, Some(Daemon::START_TIMEOUT), move |call: &_| {
            let used = fork::Use::begin();
            let daemon = Daemon::start(&config, call)?;
            used.keep();
            Ok(Box::new(ctrd_daemon_t {
                address: c_string(daemon.address()),
                daemon: ManuallyDrop::new(Arc::new(daemon)),
                maker: Maker::here(),
            }))
        }))
    })
}

/// Takes the daemon out of the completion of a submitted ctrd_daemon_start(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the daemon, which the caller owns: ctrd_daemon_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_daemon(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_daemon_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_daemon", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The address of a private containerd's socket, for ctrd_client_config_t.
///
/// @param daemon  the daemon; NULL gives "".
/// @return the text, borrowed from the daemon.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_address(daemon: Option<&ctrd_daemon_t>) -> *const c_char {
    guard::text(daemon, |daemon| Some(&daemon.address))
}

/// The process id of a private containerd. Each restart changes it.
///
/// @param daemon  the daemon; NULL gives 0.
/// @return the id; 0 while none runs, and in a child of the process that started it.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_pid(daemon: Option<&ctrd_daemon_t>) -> u32 {
    guard::read(daemon, |daemon| daemon.own().map_or(0, Daemon::pid))
}

/// How often a private containerd that had died was started again, failed attempts included. If the
/// number keeps growing, containerd does not come up; the log hook receives the cause.
///
/// @param daemon  the daemon; NULL gives 0.
/// @return the number; 0 in a child of the process that started it.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_restarts(daemon: Option<&ctrd_daemon_t>) -> u64 {
    guard::read(daemon, |daemon| daemon.own().map_or(0, Daemon::restarts))
}

/// Stops a private containerd: its containers are killed and deleted, then containerd is ended, and its
/// directory is removed with everything in it, except files that are not its own. All this is done too if
/// containerd is dead. A second stop does nothing; after a failure, another call continues, and meanwhile
/// containerd is not started again. The handle stays valid until ctrd_daemon_free().
///
/// The call's timeout and cancel handle end the wait for processes; a process that was killed and does
/// not end is waited for up to 5 s more. Removing the files takes as long as it takes.
///
/// @param daemon  the daemon.
/// @param call    limits of the call; NULL: the defaults (at most 60 s until the files are removed).
/// @param err     receives the error, or NULL.
/// @return CTRD_OK, or an error.
///
/// Blocking: until it has ended and its files are removed. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_daemon_stop(
    daemon: *mut ctrd_daemon_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("daemon_stop", call, err, Nothing, || {
        // SAFETY: the caller's handle is as the header says.
        let daemon = unsafe { daemon.as_ref() };
        let daemon = daemon.ok_or_else(|| Error::invalid("daemon", "must not be NULL"))?;
        daemon.maker.check("daemon")?;
        let daemon = (*daemon.daemon).clone();
        let directory = daemon.directory().to_string_lossy().into_owned();
        let stop = move |call: &_| daemon.stop(call);
        Ok(operation::of_none(directory, Some(Daemon::STOP_TIMEOUT), stop).without_slot())
    })
}

/// Frees a private containerd, and stops it if that has not been done. One with CTRD_DAEMON_OUTLIVE that
/// no call has begun to stop keeps running, unsupervised. In a child of the process that started it,
/// nothing is stopped.
///
/// @param daemon  the daemon; NULL does nothing.
///
/// Blocking: like ctrd_daemon_stop() with the defaults; at most 5 s if containerd keeps running.
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_daemon_free(daemon: Option<Box<ctrd_daemon_t>>) {
    guard::value(|| drop(daemon));
}
