//! Containers
//!
//! Ids are at most 76 letters and digits, joined by single '.', '_' or '-'.

use std::ffi::c_char;
use std::time::Duration;

use ctrd::{Cleanup, ContainerConfig, Error, Result};

use crate::args::{self, give, required, text};
use crate::call::{self, CTRD_FOREVER, CTRD_POLL, ctrd_call_t, milliseconds};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::message::ctrd_message_t;
use crate::status::ctrd_status_t;
use crate::stdio::{self, ctrd_io_t};

/// The grace period of a destroy that names none.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// A container's flag: create it and do not start it; ctrd_start_container() does.
pub const CTRD_CONTAINER_NO_START: u64 = 1;

/// What is removed of a container after its exit: nothing, ctrd_destroy_container() does it.
pub const CTRD_CLEANUP_KEEP: u32 = 0;
/// What is removed of a container after its exit: the task. The record keeps the exit, and the
/// snapshot what the process has written.
pub const CTRD_CLEANUP_TASK: u32 = 1;
/// What is removed of a container after its exit: task, snapshot and record. From then on only the
/// client that watched it can tell of the exit, to ctrd_probe() as often as it is asked and to one
/// ctrd_destroy_container(), as long as the id is not another container's: at least of the last 1024
/// containers that went so. To every other client it is CTRD_E_NOT_FOUND.
pub const CTRD_CLEANUP_ALL: u32 = 2;

/// What a new container is to be. Everything is only borrowed, for the time of the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_container_config_t {
    /// sizeof(ctrd_container_config_t).
    pub size: usize,
    /// Its id. Required.
    pub id: *const c_char,
    /// The image that it is made from, which must be there. Either this or rootfs.
    pub image: *const c_char,
    /// A directory that is its root file system, prepared by the caller, as an absolute path that
    /// containerd sees too. Nothing in it is ever removed.
    pub rootfs: *const c_char,
    /// NULL: the client's.
    pub snapshotter: *const c_char,
    /// The key of its snapshot, which is prepared unless it stands: at most 4096 bytes. NULL: the
    /// id.
    pub snapshot_key: *const c_char,
    /// NULL: "io.containerd.runc.v2".
    pub runtime: *const c_char,
    /// The OCI runtime specification, as JSON; members that this library does not know are kept.
    /// NULL: the default (ctrd_default_spec()) with the image's configuration applied to it.
    pub spec_json: *const c_char,
    /// The command, instead of the image's or the specification's: args_len strings. With
    /// args_len 0 it is as it is there.
    pub args: *const *const c_char,
    /// See args.
    pub args_len: usize,
    /// Labels of the container's record: labels_len keys, and as many values. Keys that begin with
    /// "io.ctrd." are the library's own. NULL, NULL and 0: none.
    pub label_keys: *const *const c_char,
    /// See label_keys.
    pub label_values: *const *const c_char,
    /// See label_keys.
    pub labels_len: usize,
    /// Where its input comes from and its output goes. NULL: nowhere.
    pub io: *const ctrd_io_t,
    /// What is removed by itself once its process has ended and every hook that was told of that has
    /// returned: CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or CTRD_CLEANUP_ALL.
    pub cleanup: u32,
    /// Must be 0.
    pub reserved: u32,
    /// CTRD_CONTAINER_NO_START, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_container_config_t {}

/// Reads what a new container is to be.
///
/// # Safety
/// `given` is NULL or as `args::input` wants it, its strings as `args::text` does, and its io as
/// `stdio::read`.
unsafe fn read_config(given: *const ctrd_container_config_t) -> Result<ContainerConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { args::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { args::optional_text(name, value) };
    // SAFETY: as the caller promises.
    let texts = |name, value, len| unsafe { args::texts(name, value, len) };
    args::flags("flags", given.flags, CTRD_CONTAINER_NO_START)?;
    let cleanup = match given.cleanup {
        CTRD_CLEANUP_KEEP => Cleanup::Keep,
        CTRD_CLEANUP_TASK => Cleanup::Task,
        CTRD_CLEANUP_ALL => Cleanup::All,
        other => return Err(Error::invalid("cleanup", format!("{other} is not known"))),
    };
    if given.reserved != 0 {
        return Err(Error::invalid("reserved", "must be 0"));
    }
    let keys = texts("label_keys", given.label_keys, given.labels_len)?;
    let values = texts("label_values", given.label_values, given.labels_len)?;
    Ok(ContainerConfig {
        // SAFETY: as the caller promises.
        id: unsafe { text("id", given.id)? }.to_owned(),
        image: optional("image", given.image)?.map(str::to_owned),
        rootfs: optional("rootfs", given.rootfs)?.map(Into::into),
        snapshotter: optional("snapshotter", given.snapshotter)?.map(str::to_owned),
        snapshot_key: optional("snapshot_key", given.snapshot_key)?.map(str::to_owned),
        runtime: optional("runtime", given.runtime)?.map(str::to_owned),
        spec: optional("spec_json", given.spec_json)?.map(str::to_owned),
        apply_image: false,
        args: texts("args", given.args, given.args_len)?.into_iter().map(str::to_owned).collect(),
        labels: keys
            .into_iter()
            .zip(values)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        // SAFETY: as the caller promises.
        stdio: unsafe { stdio::read(given.io)? },
        cleanup,
        no_start: given.flags & CTRD_CONTAINER_NO_START != 0,
    })
}

/// Initialises a ctrd_container_config_t as CTRD_CONTAINER_CONFIG_INIT does, for languages without
/// macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_config_init(
    config: *mut ctrd_container_config_t,
    size: usize,
) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(config, size) });
}

/// Creates a container and starts its process, unless a flag says not to. Where a step fails, the
/// steps before it are undone, and the error names the step; where the server does not answer or cannot
/// be reached, that may take up to 15 s, also beyond the call's timeout.
///
/// @param client   the client.
/// @param config   what the container is to be. Only borrowed; descriptors are duplicated.
/// @param call     bounds of the call; NULL: the default, at most the client's call timeout.
/// @param pid_out  receives the process's id, in the host's pid namespace; may be NULL.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such image;
///         CTRD_E_BUSY where another call that changes the container takes longer than this one may;
///         CTRD_E_ALREADY_EXISTS where the id is taken; CTRD_E_UNKNOWN where runc refuses, as it
///         does a command that is not in the image; CTRD_E_IO where no descriptor, thread or room for
///         FIFOs is left; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED;
///         CTRD_E_FORKED.
///
/// Blocking: until the process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_create_container(
    client: Option<&ctrd_client_t>,
    config: *const ctrd_container_config_t,
    call: *const ctrd_call_t,
    pid_out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("create_container", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (config, call) = unsafe { (read_config(config)?, call::read(call)?) };
        give(pid_out, client.create_container(config, &call)?);
        Ok(())
    })
}

/// Starts the process of a container that was created with CTRD_CONTAINER_NO_START.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param call     bounds of the call; NULL: the default, at most the client's call timeout.
/// @param pid_out  receives the process's id, in the host's pid namespace; may be NULL.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_BUSY as
///         ctrd_create_container(); CTRD_E_FAILED_PRECONDITION where it was started before or is
///         another owner's; CTRD_E_UNKNOWN where runc refuses; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT;
///         CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED; CTRD_E_IO where no thread can be made.
///
/// Blocking: until the process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_start_container(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    call: *const ctrd_call_t,
    pid_out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("start_container", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, call) = unsafe { (text("id", id)?, call::read(call)?) };
        give(pid_out, client.start_container(id, &call)?);
        Ok(())
    })
}

/// Waits for the end of a container's process. Any number of threads may wait for the same one, and
/// the message can be had again until the container is destroyed; after CTRD_CLEANUP_ALL, or where
/// another client has removed it, as long as CTRD_CLEANUP_ALL says. A timeout is an error, not a
/// message. The message may be without a code: ctrd_message_error() then says why.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    bounds of the call; NULL: the default, without an end. CTRD_POLL tells what is known
///                without asking the server, but asks, for at most 1 s, of a container that this client
///                does not watch yet, and of one whose exit was told: its id may be another
///                container's by now.
/// @param out     receives the message, which the caller owns: ctrd_message_free(); may be NULL.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK
///         with CTRD_POLL; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_UNAVAILABLE where the container
///         could not be looked up; CTRD_E_FORKED; CTRD_E_IO where no thread can be made.
///
/// Blocking: until the process has ended. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_probe(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("probe", Out::optional("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, call) = unsafe { (text("id", id)?, call::read(call)?) };
        Ok(ctrd_message_t::new(client.probe(id, &call)?))
    })
}

/// Ends a container and removes it: SIGTERM to all its processes, SIGKILL once the grace period has
/// passed; then its task, its snapshot and its record are deleted. Where it fails half-way, calling it
/// again goes on. One that was removed already, by itself or by another call while this one waited,
/// is destroyed too, where this client knows its exit.
///
/// @param client    the client.
/// @param id        the container's id.
/// @param grace_ms  the grace period in milliseconds; 0: 5000; CTRD_POLL: SIGKILL at once;
///                  CTRD_FOREVER: no SIGKILL. It has a clock of its own, beside the call's timeout.
/// @param call      bounds of the call; NULL: the default, at most the grace period and the
///                  client's call timeout; with a grace period of CTRD_FOREVER without an end.
/// @param out       receives the message about the exit, which the caller owns:
///                  ctrd_message_free(); may be NULL. It has no code where no source holds one
///                  (ctrd_message_error()) or the process never ran
///                  (ctrd_message_start_error()); the call succeeds all the same.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such container;
///         CTRD_E_FAILED_PRECONDITION where it is another owner's; CTRD_E_BUSY as
///         ctrd_create_container(); CTRD_E_ABORTED where another client starts it again and again;
///         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED;
///         CTRD_E_IO where no thread can be made.
///
/// Blocking: until the container is gone. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_destroy_container(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    grace_ms: i64,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("destroy_container", Out::optional("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, call) = unsafe { (text("id", id)?, call::read(call)?) };
        let grace = match grace_ms {
            0 => DEFAULT_GRACE,
            CTRD_POLL => Duration::ZERO,
            CTRD_FOREVER => Duration::MAX,
            ms => milliseconds("grace_ms", ms)?,
        };
        Ok(ctrd_message_t::new(client.destroy_container(id, grace, &call)?))
    })
}

/// Gives the id of a container's first process; also of one that has ended and whose task stands, whose
/// number another process may have by then.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out     receives the process's id, in the host's pid namespace.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_pid(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("container_pid", err, || {
        let client = live(client)?;
        let out = required("out", out)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, call) = unsafe { (text("id", id)?, call::read(call)?) };
        *out = client.container_pid(id, &call)?;
        Ok(())
    })
}

/// Gives the ids of all processes of a container.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param call     bounds of the call; NULL: the default, at most the client's call timeout.
/// @param buf      receives the processes' ids, in the host's pid namespace; may be NULL if cap is 0.
/// @param cap      how many buf has room for.
/// @param len_out  receives how many processes there are, which may be more than cap; buf then holds
///                 the first cap of them.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_pids(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    call: *const ctrd_call_t,
    buf: *mut u32,
    cap: usize,
    len_out: Option<&mut usize>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("container_pids", err, || {
        let client = live(client)?;
        let len_out = required("len_out", len_out)?;
        if buf.is_null() && cap > 0 {
            return Err(Error::invalid("buf", format!("is NULL, and cap is {cap}")));
        }
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, call) = unsafe { (text("id", id)?, call::read(call)?) };
        let pids = client.container_pids(id, &call)?;
        if cap > 0 {
            // SAFETY: the caller's buffer has room for `cap`.
            unsafe { std::ptr::copy_nonoverlapping(pids.as_ptr(), buf, pids.len().min(cap)) };
        }
        *len_out = pids.len();
        Ok(())
    })
}
