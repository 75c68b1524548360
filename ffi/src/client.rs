//! The client
//!
//! A connection to a containerd, which most functions take first. It may be used from any thread,
//! and by any number of them at once. One is enough for a program.

use std::ffi::c_char;

use ctrd::{Client, ClientConfig, Error, Result};

use crate::args;
use crate::call::{self, ctrd_call_t, milliseconds};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;

/// A client's flag: containers are made so that containerd 1.7 and 2.x still know how a process ended
/// after they were started anew themselves, which they forget otherwise. For that a sandbox of the
/// container's id is written down, which other clients see in their lists. containerd 1.6 needs it not,
/// and nothing is done there.
pub const CTRD_CLIENT_KEEP_STOPPED_TASKS: u64 = 1;

/// A connection to a containerd.
pub struct ctrd_client_t {
    client: Client,
}

/// The client of a call, where this process may use it.
pub(crate) fn live(client: Option<&ctrd_client_t>) -> Result<Client> {
    let client = client.ok_or_else(|| Error::invalid("client", "must not be NULL"))?;
    client.client.check_process()?;
    // One of the call's own: a hook or callback that runs inside it may free the handle.
    Ok(client.client.clone())
}

/// What a client is opened with. All-zero is the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_client_config_t {
    /// sizeof(ctrd_client_config_t).
    pub size: usize,
    /// containerd's socket: an absolute path without a comma, or "unix:" and one. NULL:
    /// /run/containerd/containerd.sock.
    pub address: *const c_char,
    /// The namespace of calls that name none. NULL: "default".
    pub namespace_name: *const c_char,
    /// Who this program is to the other users of the same containerd: what the client makes
    /// carries it as a label. NULL: "ctrd".
    pub owner: *const c_char,
    /// The snapshotter of calls that name none. NULL: "overlayfs".
    pub snapshotter: *const c_char,
    /// Where the FIFOs of containers are made: an absolute path that containerd's shims see too.
    /// Made with mode 0700 when it is first needed. NULL: /run/ctrd.
    pub state_dir: *const c_char,
    /// The timeout, in milliseconds, of calls that name none and whose function has none of its
    /// own; 0: 30000; CTRD_FOREVER.
    pub call_timeout_ms: i64,
    /// CTRD_CLIENT_KEEP_STOPPED_TASKS, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_client_config_t {}

/// Reads a client's configuration.
///
/// # Safety
/// As `args::input` and `args::text` want it.
unsafe fn read_config(given: *const ctrd_client_config_t) -> Result<ClientConfig> {
    let mut config = ClientConfig::default();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { args::input("config", given)? };
    let set = |name, value, member: &mut String| {
        // SAFETY: as the caller promises.
        if let Some(value) = unsafe { args::optional_text(name, value)? } {
            value.clone_into(member);
        }
        Ok::<_, Error>(())
    };
    set("address", given.address, &mut config.address)?;
    set("namespace_name", given.namespace_name, &mut config.namespace)?;
    set("owner", given.owner, &mut config.owner)?;
    set("snapshotter", given.snapshotter, &mut config.snapshotter)?;
    // SAFETY: as the caller promises.
    if let Some(path) = unsafe { args::optional_text("state_dir", given.state_dir)? } {
        config.state_dir = path.into();
    }
    match given.call_timeout_ms {
        0 => {}
        call::CTRD_FOREVER => config.call_timeout = std::time::Duration::MAX,
        ms => config.call_timeout = milliseconds("call_timeout_ms", ms)?,
    }
    args::flags("flags", given.flags, CTRD_CLIENT_KEEP_STOPPED_TASKS)?;
    config.keep_stopped_tasks = given.flags & CTRD_CLIENT_KEEP_STOPPED_TASKS != 0;
    Ok(config)
}

/// Initialises a ctrd_client_config_t as CTRD_CLIENT_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_config_init(config: *mut ctrd_client_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(config, size) });
}

/// Opens a client, and makes sure that a containerd answers. The first one starts the library's
/// threads: a daemon opens its client after it has forked.
///
/// @param config  how; NULL: the default. Only borrowed.
/// @param call    bounds of the call; NULL: the default, at most 10 s.
/// @param out     receives the client, which the caller owns: ctrd_client_free().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where the address is no socket's;
///         CTRD_E_NOT_FOUND where there is no socket; CTRD_E_PERMISSION_DENIED where it may not be
///         used; CTRD_E_UNAVAILABLE where nobody listens, at once, as while a daemon of this library's
///         is yet to start its containerd again; CTRD_E_TIMEOUT where nobody answers; CTRD_E_IO where
///         no descriptor or thread is left; CTRD_E_CANCELLED; CTRD_E_FORKED in a child of a process that has opened one.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_open(
    config: *const ctrd_client_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_client_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("client_open", Out::required("out", out), err, || {
        // SAFETY: the caller's structs and strings are as the header says.
        let (config, call) = unsafe { (read_config(config)?, call::read(call)?) };
        Ok(Box::new(ctrd_client_t { client: Client::open(config, &call)? }))
    })
}

/// Closes a client: no further call begins, those that wait for an exit end with CTRD_E_CLOSED, no
/// hook is started any more, and other calls under way, clean-ups (CTRD_CLEANUP_ALL) among them, and
/// hooks that run are waited for. Then the userdata of all hooks is destroyed. Containers run on.
/// Closing again does nothing, or goes on waiting. The handle stays valid until ctrd_client_free().
///
/// From inside a hook it waits for nothing and nobody.
///
/// @param client  the client.
/// @param call    bounds of the call; NULL: the default, at most 10 s.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK (with CTRD_POLL) or
///         CTRD_E_CANCELLED where calls or clean-ups are still under way or a hook still runs;
///         CTRD_E_REENTRANT from a callback of one of those calls; CTRD_E_FORKED.
///
/// Blocking: until no call is under way and no hook runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_close(
    client: Option<&ctrd_client_t>,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("client_close", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        client.close(&unsafe { call::read(call)? })
    })
}

/// Frees a client, and closes it if that has not been done. No other thread may use the handle any
/// more, nor be in a call with it, but for hooks: these are waited for, whatever call they are in, and
/// may use it so long. A hook that does not return within 10 s is left to end by itself, and its
/// userdata is destroyed when it does; it must not use the client any more. From inside a hook it waits
/// for nothing: then no other hook may. Queues stay valid, and are closed. In a child of the process
/// that opened it, it does nothing.
///
/// @param client  the client, which the call takes; NULL does nothing.
///
/// Blocking: until the client's threads have ended, at most 10 s. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_free(client: *mut ctrd_client_t) {
    guard::value(|| {
        // SAFETY: NULL or what ctrd_client_open() gave.
        let Some(handle) = (unsafe { client.as_ref() }) else { return };
        // Before the handle goes, which hooks may use so long. A call of theirs has a client of its own,
        // so that its drop here may not be that of the last.
        ctrd::ffi::close_before_free(&handle.client);
        // SAFETY: as above; nobody but the caller uses it any more.
        drop(unsafe { Box::from_raw(client) });
    });
}

/// What a client has counted since it was opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_counters_t {
    /// sizeof(ctrd_counters_t).
    pub size: usize,
    /// How often a connection broke, as seen by what has to be begun anew: each subscription to events
    /// by itself, and waits for exits that broke off together, within a second, once.
    pub reconnects: u64,
    /// How many processes were looked up after that, or because of an answer that leaves a doubt, with
    /// a result.
    pub reconciled: u64,
    /// How many messages were dropped because a queue or a hook was full.
    pub dropped: u64,
    /// How many processes are watched now whose exit is not known.
    pub outstanding: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl args::Struct for ctrd_counters_t {}

/// Initialises a ctrd_counters_t as CTRD_COUNTERS_INIT does, for languages without macros.
///
/// @param counters  the struct; NULL does nothing.
/// @param size      its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_counters_init(counters: *mut ctrd_counters_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(counters, size) });
}

/// Gives what a client has counted. The struct's size, which the caller has set, says how much of it
/// his header knows: only that is written, and what the library does not know of it becomes 0.
///
/// @param client  the client; it may be closed.
/// @param out     receives the counters.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_FORKED.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_client_counters(
    client: Option<&ctrd_client_t>,
    out: *mut ctrd_counters_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("client_counters", err, || {
        let counters = live(client)?.counters();
        let counters = ctrd_counters_t {
            size: size_of::<ctrd_counters_t>(),
            reconnects: counters.reconnects,
            reconciled: counters.reconciled,
            dropped: counters.dropped,
            outstanding: counters.outstanding,
        };
        // SAFETY: the caller's struct is as the header says.
        unsafe { args::fill("out", out, counters) }
    })
}
