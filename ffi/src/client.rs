//! The client
//!
//! A client is a connection to a containerd. Most functions take one first. Any number of threads may use
//! it at once, so one is enough for a program.

use std::ffi::c_char;

use ctrd::{Client, ClientConfig, Error, Result};

use crate::abi::arguments;
use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::{self, Maker};
use crate::abi::outputs::{Handle, Nothing};
use crate::abi::times::{self, span};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A client's flag: containerd 1.7 and 2.x, which forget the processes that have ended when they are
/// restarted, keep those of the containers that this client creates. To that end the client records a
/// sandbox with the container's id, which other clients see in their lists. containerd 1.6 does not
/// forget, and the flag changes nothing there.
pub const CTRD_CLIENT_KEEP_STOPPED_TASKS: u64 = 1;

/// A connection to a containerd.
pub struct ctrd_client_t {
    client: Client,
    maker: Maker,
}

/// The core's client, for one call. It is a clone, so that a hook or callback that runs inside the call
/// may free the handle.
///
/// # Safety
/// `client` is NULL or a handle that is valid.
pub(crate) unsafe fn live(client: *const ctrd_client_t) -> Result<Client> {
    // SAFETY: as the caller promises.
    let client =
        unsafe { client.as_ref() }.ok_or_else(|| Error::invalid("client", "must not be NULL"))?;
    client.maker.check("client")?;
    Ok(client.client.clone())
}

/// How a client is opened. All-zero gives the defaults. The strings are only borrowed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_client_config_t {
    /// sizeof(ctrd_client_config_t).
    pub size: usize,
    /// containerd's socket: an absolute path without a comma, or "unix:" and such a path. NULL:
    /// /run/containerd/containerd.sock.
    pub address: *const c_char,
    /// The namespace of calls that do not name one. NULL: "default".
    pub namespace_name: *const c_char,
    /// The name of this program among the users of the same containerd. The client labels what it makes
    /// with it, and takes over only what has it. NULL: "ctrd".
    pub owner: *const c_char,
    /// The snapshotter of calls that do not name one. NULL: "overlayfs".
    pub snapshotter: *const c_char,
    /// The directory of the FIFOs of containers: an absolute path that means the same directory to
    /// containerd's shims. The client makes it with mode 0700 when it first needs it. NULL: /run/ctrd.
    pub state_dir: *const c_char,
    /// The timeout, in milliseconds, of calls that do not name one and whose function has none of its
    /// own. 0: 30000; CTRD_FOREVER.
    pub call_timeout_ms: i64,
    /// CTRD_CLIENT_KEEP_STOPPED_TASKS, or 0.
    pub flags: u64,
    /// How many submitted calls of the client may be in flight; completions that nobody has fetched
    /// count. 0: 1024.
    pub max_calls: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_client_config_t {}

/// Reads a client's configuration.
///
/// # Safety
/// As `arguments::input` and `arguments::text` want it.
unsafe fn read_config(given: *const ctrd_client_config_t) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { arguments::optional_text(name, value) };
    if let Some(address) = optional("address", given.address)? {
        config = config.address(address);
    }
    if let Some(namespace) = optional("namespace_name", given.namespace_name)? {
        config = config.namespace(namespace);
    }
    if let Some(owner) = optional("owner", given.owner)? {
        config = config.owner(owner);
    }
    if let Some(snapshotter) = optional("snapshotter", given.snapshotter)? {
        config = config.snapshotter(snapshotter);
    }
    if let Some(directory) = optional("state_dir", given.state_dir)? {
        config = config.state_dir(directory);
    }
    match given.call_timeout_ms {
        0 => {}
        times::FOREVER => config = config.call_timeout(std::time::Duration::MAX),
        ms => config = config.call_timeout(span("call_timeout_ms", ms)?),
    }
    if given.max_calls != 0 {
        config = config.max_calls(given.max_calls as usize);
    }
    arguments::reserved(given.reserved)?;
    arguments::flags("flags", given.flags, CTRD_CLIENT_KEEP_STOPPED_TASKS)?;
    Ok(config.keep_stopped_tasks(given.flags & CTRD_CLIENT_KEEP_STOPPED_TASKS != 0))
}

/// Initialises a ctrd_client_config_t as CTRD_CLIENT_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_config_init(config: *mut ctrd_client_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Opens a client, and makes sure that a containerd answers. The first client starts threads of the
/// library, so a daemon opens it after it has forked.
///
/// @param config  how to open it; NULL: the defaults.
/// @param call    limits of the call; NULL: the defaults (at most 10 s).
/// @param out     receives the client, which the caller owns: ctrd_client_free(). A submitted call gives
///                it by ctrd_message_take_client().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also if the address is not that of a socket;
///         CTRD_E_NOT_FOUND if there is no socket; CTRD_E_PERMISSION_DENIED if the program may not use
///         it; CTRD_E_UNAVAILABLE, at once, if no process listens at it, as while a private containerd
///         of this library is being restarted; CTRD_E_TIMEOUT if containerd does not answer.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_open(
    config: *const ctrd_client_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_client_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("client_open", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's struct and strings are as the header says.
        let config = unsafe { read_config(config)? };
        let address = ctrd::ffi::address(&config).to_owned();
        let timeout = Some(Client::OPEN_TIMEOUT);
        Ok(operation::of_none(address, timeout, move |call: &_| {
            let used = fork::Use::begin();
            let client = Client::open(&config, call)?;
            used.keep();
            Ok(Box::new(ctrd_client_t { client, maker: Maker::here() }))
        }))
    })
}

/// Takes the client out of the completion of a submitted ctrd_client_open(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the client, which the caller owns: ctrd_client_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_client(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_client_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_client", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Closes a client. No further call begins. Calls that wait for an exit end with CTRD_E_CLOSED, and so do
/// submitted calls that wait. No hook is started any more. The function waits for the other calls that are
/// under way, for clean-ups (CTRD_CLEANUP_ALL) and for hooks that run; then it destroys the userdata of all
/// hooks. Each subscription's queue receives a message of kind CTRD_KIND_CLOSED. Containers keep running.
/// A second close does nothing, or goes on waiting. The handle stays valid until ctrd_client_free().
///
/// Inside a hook it does not wait.
///
/// @param client  the client.
/// @param call    limits of the call; NULL: the defaults (at most 10 s).
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED if calls or clean-ups are
///         still under way or a hook still runs; CTRD_E_REENTRANT in a callback of a call of the same
///         client.
///
/// Blocking: until no call is under way and no hook runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_close(
    client: *mut ctrd_client_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("client_close", call, err, Nothing, || {
        // SAFETY: the caller's handle is as the header says.
        let client = unsafe { live(client)? };
        let address = ctrd::ffi::address(client.config()).to_owned();
        let timeout = Some(Client::OPEN_TIMEOUT);
        let close = move |call: &_| client.close(call);
        Ok(operation::of_none(address, timeout, close).without_slot())
    })
}

/// Frees a client, and closes it first if it is open. No other thread may use the handle any more, or be
/// in a call with it, except hooks: they are waited for, and may use it until they return. A hook that
/// does not return within 10 s is left to end by itself; its userdata is destroyed when it does, and it
/// must not use the client any more. Inside a hook the function returns at once. After that
/// no other hook may use the client. In a child of the process that opened the client it does nothing.
///
/// @param client  the client; NULL does nothing.
///
/// Blocking: until the client's threads have ended, at most 10 s. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_free(client: *mut ctrd_client_t) {
    guard::value(|| {
        // SAFETY: NULL or what ctrd_client_open() gave.
        let Some(handle) = (unsafe { client.as_ref() }) else { return };
        if !handle.maker.is_here() {
            return;
        }
        // Hooks may use the handle until it goes. A call of theirs has a clone of the client, so the drop
        // below may not be that of the last one.
        ctrd::ffi::close_before_free(&handle.client);
        // SAFETY: as above; only the caller still uses it.
        drop(unsafe { Box::from_raw(client) });
    });
}

/// The counters of a client since it was opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_counters_t {
    /// sizeof(ctrd_counters_t).
    pub size: usize,
    /// Always 0.
    pub reserved: usize,
    /// How often a connection broke. Each subscription to events counts for itself; waits for exits that
    /// broke off within one second count once.
    pub reconnects: u64,
    /// How many processes were looked up successfully, because a connection broke or because an answer
    /// left a doubt.
    pub reconciled: u64,
    /// How many messages were dropped because a queue or a hook was full.
    pub dropped: u64,
    /// How many processes are watched now whose exit is not known.
    pub outstanding: u64,
    /// How many bytes of output of containers did not reach the program's descriptors, because a
    /// descriptor failed, or because the streams were closed while a reader was behind: by a destroy, a
    /// clean-up, another client that removed the container, or the close of the client.
    pub output_lost: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_counters_t {}

/// Initialises a ctrd_counters_t as CTRD_COUNTERS_INIT does, for languages without macros.
///
/// @param counters  the struct; NULL does nothing.
/// @param size      its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_counters_init(counters: *mut ctrd_counters_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(counters, size) });
}

/// Gives what a client has counted. The struct's size says how much of it the caller's header knows; only
/// so much is written. Members that this library does not know become 0.
///
/// @param client  the client; it may be closed.
/// @param out     receives the counters; initialised, so that its size is set.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK, or an error.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_counters(
    client: Option<&ctrd_client_t>,
    out: *mut ctrd_counters_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("client_counters", err, || {
        // SAFETY: the caller's handle and struct are as the header says.
        unsafe {
            let client = client.map_or(std::ptr::null(), std::ptr::from_ref);
            let counters = live(client)?.counters();
            let counters = ctrd_counters_t {
                size: size_of::<ctrd_counters_t>(),
                reserved: 0,
                reconnects: counters.reconnects(),
                reconciled: counters.reconciled(),
                dropped: counters.dropped(),
                outstanding: counters.outstanding(),
                output_lost: counters.output_lost(),
            };
            arguments::fill("out", out, counters)
        }
    })
}
