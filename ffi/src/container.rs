//! Containers
//!
//! An id has at most 76 letters and digits, joined by single '.', '_' or '-'.

use std::ffi::{CString, c_char};

use ctrd::{Cleanup, ContainerConfig, DestroyConfig, Error, ProcessInfo, Result};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, Nothing, Plain, c_string};
use crate::abi::times;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::io::{self, ctrd_io_t};
use crate::message::{ctrd_message_t, take};
use crate::process::ctrd_process_t;
use crate::status::ctrd_status_t;

/// A container's flag: create it and do not start it; ctrd_start_container() does.
pub const CTRD_CONTAINER_NO_START: u64 = 1;
/// A container's flag: apply the image's configuration to spec_json, as it is applied to the default.
/// Without spec_json it changes nothing; without an image it is refused.
///
/// Command: the image's entry point, followed by args or, if there are none, by the image's command. They
/// replace that of the specification, unless all of them are empty. Environment: the image's, or PATH with
/// the usual directories if it has none; an entry of the specification replaces the image's entry of the
/// same name, and an entry without "=" removes it. Working directory: the image's, if it names one. User,
/// group and additional groups: the image's, if it names a user; names are looked up in the container's
/// root file system.
pub const CTRD_CONTAINER_APPLY_IMAGE: u64 = 2;

/// A clean-up policy: keep everything. ctrd_destroy_container() removes the container.
pub const CTRD_CLEANUP_KEEP: u32 = 0;
/// A clean-up policy: remove the task when the container's process has ended. The record keeps the exit, and the
/// snapshot keeps what the process has written.
pub const CTRD_CLEANUP_TASK: u32 = 1;
/// A clean-up policy: remove task, snapshot and record when the container's process has ended. After that only the
/// client that watched the container still knows the exit. It gives it to ctrd_probe() any number of
/// times, and to one ctrd_destroy_container(), until another container gets the id; it knows at least the
/// last 1024 exits of this kind. Every other client answers CTRD_E_NOT_FOUND.
pub const CTRD_CLEANUP_ALL: u32 = 2;

/// The value for C.
pub(crate) fn cleanup_value(cleanup: Cleanup) -> u32 {
    match cleanup {
        Cleanup::Task => CTRD_CLEANUP_TASK,
        Cleanup::All => CTRD_CLEANUP_ALL,
        _ => CTRD_CLEANUP_KEEP,
    }
}

/// A time for the output (drain_ms): none. What is still in the pipes when the process has ended is lost.
pub const CTRD_DRAIN_NONE: i64 = -1;

/// The container that is to be created. The library does not keep the pointers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_container_config_t {
    /// sizeof(ctrd_container_config_t).
    pub size: usize,
    /// The container's id. Required.
    pub id: *const c_char,
    /// The image to make it from, which must have been pulled: that of exactly this name or, if there is
    /// none, that of the completed name ("docker.io/library/busybox:latest" for "busybox"). Either this
    /// or rootfs is required.
    pub image: *const c_char,
    /// A directory that is its root file system: an absolute path that means the same directory to
    /// containerd. The caller prepares it, and the library never removes anything in it.
    pub rootfs: *const c_char,
    /// The snapshotter. NULL: the client's.
    pub snapshotter: *const c_char,
    /// The key of its snapshot, at most 4096 bytes. The snapshot is prepared unless it exists. NULL: the
    /// container's id.
    pub snapshot_key: *const c_char,
    /// The runtime. NULL: "io.containerd.runc.v2".
    pub runtime: *const c_char,
    /// The OCI runtime specification, as JSON. Members that this library does not know are kept. The
    /// image's configuration is applied to it only with CTRD_CONTAINER_APPLY_IMAGE. NULL: the default
    /// (ctrd_default_spec()) with the image's configuration applied to it (ctrd_image_spec()).
    pub spec_json: *const c_char,
    /// The command: args_len strings. If the image's configuration is applied, they follow the image's
    /// entry point, in place of the image's command; else they replace the command of spec_json.
    pub args: *const *const c_char,
    /// The number of args; 0 leaves the command as it is.
    pub args_len: usize,
    /// The keys of the labels of the container's record: labels_len strings. Keys that begin with
    /// "io.ctrd." are the library's own.
    pub label_keys: *const *const c_char,
    /// The values of the labels: labels_len strings.
    pub label_values: *const *const c_char,
    /// The number of labels.
    pub labels_len: usize,
    /// Must be 0.
    pub reserved: usize,
    /// CTRD_CONTAINER_NO_START and CTRD_CONTAINER_APPLY_IMAGE, or 0.
    pub flags: u64,
    /// How long the library waits for output that is still in the pipes after the exit when it closes the
    /// streams by itself: for a clean-up, or because another client removed the container. In
    /// milliseconds; 0: 1000; CTRD_DRAIN_NONE: it does not wait; CTRD_FOREVER: until all is passed on.
    /// Output that is still unread then is lost: ctrd_message_output_lost() and ctrd_client_counters() count it. With
    /// CTRD_FOREVER a clean-up does not happen while a reader is stuck, or while a descendant of the
    /// process has the output open. A client that recovers the container keeps to the same time.
    pub drain_ms: i64,
    /// The clean-up when the process has ended and every hook that was called for it has returned:
    /// CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or CTRD_CLEANUP_ALL.
    pub cleanup: u32,
    /// Must be 0.
    pub reserved_2: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_container_config_t {}

/// Reads what to create.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does.
unsafe fn read_config(given: *const ctrd_container_config_t) -> Result<ContainerConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { arguments::optional_text(name, value) };
    // SAFETY: as the caller promises.
    let texts = |name, value, len| unsafe { arguments::texts(name, value, len) };
    let has_flag = |flag| given.flags & flag != 0;
    arguments::flags("flags", given.flags, CTRD_CONTAINER_NO_START | CTRD_CONTAINER_APPLY_IMAGE)?;
    if has_flag(CTRD_CONTAINER_APPLY_IMAGE) && given.image.is_null() {
        return Err(Error::invalid("flags", "CTRD_CONTAINER_APPLY_IMAGE needs an image"));
    }
    let cleanup = match given.cleanup {
        CTRD_CLEANUP_KEEP => Cleanup::Keep,
        CTRD_CLEANUP_TASK => Cleanup::Task,
        CTRD_CLEANUP_ALL => Cleanup::All,
        other => return Err(Error::invalid("cleanup", format!("{other} is not known"))),
    };
    arguments::reserved(given.reserved as u64)?;
    arguments::reserved_as("reserved_2", given.reserved_2)?;
    let keys = texts("label_keys", given.label_keys, given.labels_len)?;
    let values = texts("label_values", given.label_values, given.labels_len)?;
    // SAFETY: as the caller promises.
    let mut config = ContainerConfig::new(unsafe { text("id", given.id)? })
        .args(texts("args", given.args, given.args_len)?)
        .labels(keys.into_iter().zip(values))
        .cleanup(cleanup)
        .apply_image(has_flag(CTRD_CONTAINER_APPLY_IMAGE))
        .start(!has_flag(CTRD_CONTAINER_NO_START));
    if let Some(image) = optional("image", given.image)? {
        config = config.image(image);
    }
    if let Some(rootfs) = optional("rootfs", given.rootfs)? {
        config = config.rootfs(rootfs);
    }
    if let Some(snapshotter) = optional("snapshotter", given.snapshotter)? {
        config = config.snapshotter(snapshotter);
    }
    if let Some(key) = optional("snapshot_key", given.snapshot_key)? {
        config = config.snapshot_key(key);
    }
    if let Some(runtime) = optional("runtime", given.runtime)? {
        config = config.runtime(runtime);
    }
    if let Some(json) = optional("spec_json", given.spec_json)? {
        config = config.spec_json(json);
    }
    if let Some(drain) = times::optional_span("drain_ms", given.drain_ms, CTRD_DRAIN_NONE)? {
        config = config.drain(drain);
    }
    Ok(config)
}

/// Initialises a ctrd_container_config_t as CTRD_CONTAINER_CONFIG_INIT does, for languages without
/// macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_config_init(
    config: *mut ctrd_container_config_t,
    size: usize,
) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Creates a container and starts its process, unless a flag says not to. If a step fails, the steps
/// before it are undone, and the error names the step. If the server does not answer or cannot be
/// reached, undoing may take up to 15 s, also beyond the call's timeout.
///
/// @param client       the client.
/// @param config       what to create.
/// @param io           the streams of the process; NULL: none. Read before everything else.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param process_out  receives the process; may be NULL. A submitted call gives its id by
///                     ctrd_message_pid(), and its generation by ctrd_message_generation().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if something is missing, and ctrd_error_reason() says what: the image
///         (CTRD_REASON_NO_IMAGE), a part of its content (CTRD_REASON_NO_CONTENT), a snapshot that another
///         client has removed meanwhile (CTRD_REASON_NO_SNAPSHOT), the lease (CTRD_REASON_NO_LEASE);
///         CTRD_E_ALREADY_EXISTS if there is a container with the id; CTRD_E_BUSY if another call changes
///         the container for longer than this one may wait; CTRD_E_UNKNOWN if runc fails, as it does if
///         the command is not in the image, and if there is no such runtime (CTRD_REASON_NO_RUNTIME);
///         CTRD_E_INVALID_ARGUMENT also if there is no such snapshotter (CTRD_REASON_NO_SNAPSHOTTER);
///         CTRD_E_IO also if there is no room for FIFOs.
///
/// Blocking: until the process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_create_container(
    client: *mut ctrd_client_t,
    config: *const ctrd_container_config_t,
    io: *const ctrd_io_t,
    call: *const ctrd_call_t,
    process_out: Option<&mut ctrd_process_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let out = Plain::optional("process_out", process_out);
    operation::run("create_container", call, err, out, || {
        // SAFETY: the caller's structs, strings and handle are as the header says.
        let (io, client, config) = unsafe { (io::read(io)?, live(client)?, read_config(config)?) };
        let (id, config) = (config.id().to_owned(), config.stdio(io));
        Ok(operation::change(client, id, move |client, call| {
            client.create_container(&config, call).map(ctrd_process_t::from)
        }))
    })
}

/// Starts the process of a container that was created with CTRD_CONTAINER_NO_START.
///
/// @param client       the client.
/// @param id           the container's id.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param process_out  receives the process; may be NULL. A submitted call gives its id by
///                     ctrd_message_pid(), and its generation by ctrd_message_generation().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task (CTRD_REASON_NO_TASK); CTRD_E_FAILED_PRECONDITION if it was started before, or belongs to
///         another owner (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container();
///         CTRD_E_UNKNOWN if runc fails.
///
/// Blocking: until the process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_start_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    call: *const ctrd_call_t,
    process_out: Option<&mut ctrd_process_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let out = Plain::optional("process_out", process_out);
    operation::run("start_container", call, err, out, || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, text("id", id)?) };
        Ok(operation::change(client, id.clone(), move |client, call| {
            client.start_container(&id, call).map(ctrd_process_t::from)
        }))
    })
}

/// How to wait for a process. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_probe_config_t {
    /// sizeof(ctrd_probe_config_t).
    pub size: usize,
    /// Must be 0.
    pub reserved: usize,
    /// Must be 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_probe_config_t {}

/// Initialises a ctrd_probe_config_t as CTRD_PROBE_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_probe_config_init(config: *mut ctrd_probe_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Checks how to wait for a process, and gives the id of the exec if one is meant.
///
/// # Safety
/// `exec_id` is as `arguments::text` wants it, and `given` as `arguments::input` does.
unsafe fn check_probe(
    exec_id: *const c_char,
    given: *const ctrd_probe_config_t,
) -> Result<Option<String>> {
    if !given.is_null() {
        // SAFETY: as the caller promises.
        let given = unsafe { arguments::input("config", given)? };
        arguments::reserved(given.reserved as u64)?;
        arguments::flags("flags", given.flags, 0)?;
    }
    // SAFETY: as the caller promises.
    unsafe { arguments::optional_text("exec_id", exec_id) }
}

/// Waits until a process has ended. Any number of threads may wait for the same one, and they all get the
/// message. Later calls give the message again, until the container is destroyed or restarted. If a
/// clean-up or another client has removed the container, the comment of CTRD_CLEANUP_ALL says how long.
/// If the message has no exit code, ctrd_message_error() says why.
///
/// A client watches the containers that it has created, started, recovered, probed, or begun to watch
/// (ctrd_watch_container()), until it destroys them. If another client has replaced a container since, a
/// probe with CTRD_POLL still gives the exit that is known; any other probe asks the server.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param exec_id  the id of an exec (ctrd_exec_container()). NULL: the container's first process.
/// @param config   how to wait; NULL: the defaults.
/// @param call     limits of the call; NULL: the defaults (no end). With CTRD_POLL the function never asks
///                 the server: it gives what this client knows.
/// @param out      receives the message, which the caller owns: ctrd_message_free(); may be NULL. A
///                 submitted call gives it by ctrd_message_take_message().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND as ctrd_watch_container(), or if there is no such exec;
///         with CTRD_POLL also CTRD_E_WOULD_BLOCK if the process has not ended, and
///         CTRD_E_FAILED_PRECONDITION if this client does not watch the container.
///
/// Blocking: until the process has ended. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_probe(
    client: *mut ctrd_client_t,
    id: *const c_char,
    exec_id: *const c_char,
    config: *const ctrd_probe_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("probe", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's struct, strings and handle are as the header says.
        let (client, id, exec_id) =
            unsafe { (live(client)?, text("id", id)?, check_probe(exec_id, config)?) };
        let probe = operation::of(client, id.clone(), move |client, call| {
            let message = match &exec_id {
                Some(exec_id) => client.wait_exec(&id, exec_id, call),
                None => client.probe(&id, call),
            };
            message.map(ctrd_message_t::new)
        });
        Ok(probe.default_timeout(None).without_slot())
    })
}

/// Begins to watch a process of a container that another client made, or that an earlier run of this
/// program made. Then hooks and queues report its exit, and ctrd_probe() can poll it. Streams and clean-up
/// stay with the container's owner; ctrd_recover_container() would take them over. If this client watches
/// the process already, nothing changes. If it already knows the exit, it asks the server whether
/// a newer container or process has the id, and watches that one.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param exec_id  the id of an exec (ctrd_exec_container()). NULL: the container's first process.
/// @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task and nothing says that its process ever ended (CTRD_REASON_NO_TASK); CTRD_E_NOT_FOUND
///         also if there is no such exec; CTRD_E_UNAVAILABLE also if its shim does not answer.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_watch_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    exec_id: *const c_char,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("watch_container", call, err, Nothing, || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, id, exec_id) = unsafe {
            (live(client)?, text("id", id)?, arguments::optional_text("exec_id", exec_id)?)
        };
        Ok(operation::of(client, id.clone(), move |client, call| match &exec_id {
            Some(exec_id) => client.watch_exec(&id, exec_id, call),
            None => client.watch_container(&id, call),
        }))
    })
}

/// How to destroy a container. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_destroy_config_t {
    /// sizeof(ctrd_destroy_config_t).
    pub size: usize,
    /// Must be 0.
    pub reserved: usize,
    /// How long the processes may take to end after SIGTERM, in milliseconds; then they get SIGKILL. 0:
    /// 5000; CTRD_GRACE_NONE: SIGKILL at once; CTRD_FOREVER: no SIGKILL. The call's timeout does not
    /// count for it.
    pub grace_ms: i64,
    /// How long the function waits for output that is still in the pipes after the exit, if its reader is
    /// behind, in milliseconds. Output that is still unread then is lost: ctrd_message_output_lost(). 0: 1000;
    /// CTRD_DRAIN_NONE: it does not wait; CTRD_FOREVER: until all is passed on, so that nothing is lost.
    /// If the time of the call is over first, the function fails with CTRD_E_TIMEOUT, nothing is lost,
    /// and another destroy continues. A descendant of the process that is not in the container's pid
    /// namespace may keep the output open; then all of this time passes.
    pub drain_ms: i64,
}

/// A grace period: SIGKILL at once.
pub const CTRD_GRACE_NONE: i64 = -1;

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_destroy_config_t {}

/// Initialises a ctrd_destroy_config_t as CTRD_DESTROY_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_destroy_config_init(config: *mut ctrd_destroy_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads how to destroy a container.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it.
unsafe fn read_destroy(given: *const ctrd_destroy_config_t) -> Result<DestroyConfig> {
    let mut config = DestroyConfig::new();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::reserved(given.reserved as u64)?;
    if let Some(grace) = times::optional_span("grace_ms", given.grace_ms, CTRD_GRACE_NONE)? {
        config = config.grace(grace);
    }
    if let Some(drain) = times::optional_span("drain_ms", given.drain_ms, CTRD_DRAIN_NONE)? {
        config = config.drain(drain);
    }
    Ok(config)
}

/// Ends the processes of a container and removes it. All its processes get SIGTERM, and SIGKILL when the
/// grace period has passed. Then the function waits for the output that is still in the pipes, and deletes
/// the task, the snapshot and the record. If it fails half-way, another call continues. If the container
/// was removed meanwhile, by its clean-up or by another call, the function succeeds as long as this client
/// knows the exit.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param config  how to destroy it; NULL: the defaults.
/// @param call    limits of the call; NULL: the defaults (at most the sum of the grace period, the time for
///                the output and the client's call timeout; no end if one of them is CTRD_FOREVER).
/// @param out     receives the message of the exit, which the caller owns: ctrd_message_free(); may be
///                NULL. A submitted call gives it by ctrd_message_take_message(). It has no exit code if
///                nothing holds it (ctrd_message_error() says why) or if the process never ran
///                (ctrd_message_start_error()); the call succeeds all the same.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
///         belongs to another owner (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container();
///         CTRD_E_ABORTED if another client starts it again and again.
///
/// Blocking: until the container is gone. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_destroy_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_destroy_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("destroy_container", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's struct, string and handle are as the header says.
        let (client, id, config) =
            unsafe { (live(client)?, text("id", id)?, read_destroy(config)?) };
        let timeout = ctrd::ffi::destroy_timeout(&client, &config);
        let destroy = operation::change(client, id.clone(), move |client, call| {
            client.destroy_container(&id, &config, call).map(ctrd_message_t::new)
        });
        Ok(destroy.default_timeout(timeout))
    })
}

/// Gives the process id of a container's first process. If the process has ended and its task still
/// exists, it gives the id too; another process may have that id by then.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the process id in the host's pid namespace. A submitted call gives it by
///                ctrd_message_pid().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task (CTRD_REASON_NO_TASK).
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_pid(
    client: *mut ctrd_client_t,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("container_pid", call, err, Plain::required("out", out), || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, text("id", id)?) };
        Ok(operation::of(client, id.clone(), move |client, call| client.container_pid(&id, call)))
    })
}

/// The process ids of a container, in the host's pid namespace.
pub struct ctrd_pid_list_t(Vec<(u32, CString)>);

/// Gives the process ids of all processes of a container, and the ids of those that were executed in it.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the process ids, which the caller owns: ctrd_pid_list_free(). A submitted call
///                gives them by ctrd_message_take_pid_list().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task (CTRD_REASON_NO_TASK).
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_pids(
    client: *mut ctrd_client_t,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_pid_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("container_pids", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, text("id", id)?) };
        Ok(operation::of(client, id.clone(), move |client, call| {
            let processes = client.container_pids(&id, call)?;
            let entry = |process: &ProcessInfo| {
                (process.pid(), c_string(process.exec_id().unwrap_or_default()))
            };
            Ok(Box::new(ctrd_pid_list_t(processes.iter().map(entry).collect())))
        }))
    })
}

/// Takes the process ids out of the completion of a submitted ctrd_container_pids(). It works once, with
/// any handle of the message.
///
/// @param message  the message.
/// @param out      receives the process ids, which the caller owns: ctrd_pid_list_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_pid_list(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_pid_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_pid_list", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The number of process ids in a list.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_pid_list_len(list: Option<&ctrd_pid_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One process id of a list.
///
/// @param list   the list; NULL gives 0.
/// @param index  its position, from 0.
/// @return the process id; 0 beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_pid_list_get(list: Option<&ctrd_pid_list_t>, index: usize) -> u32 {
    guard::read(list, |list| list.0.get(index).map_or(0, |(pid, _)| *pid))
}

/// The id with which a process of a list was executed in the container.
///
/// @param list   the list; NULL gives "".
/// @param index  its position, from 0.
/// @return the text, borrowed from the list; "" for the container's first process, for a process that
///         another process of the container started, and beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_pid_list_exec_id(
    list: Option<&ctrd_pid_list_t>,
    index: usize,
) -> *const c_char {
    guard::text(list, |list| list.0.get(index).map(|(_, exec_id)| exec_id.as_c_str()))
}

/// Frees a list of process ids.
///
/// @param list  the list; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_pid_list_free(list: Option<Box<ctrd_pid_list_t>>) {
    guard::value(|| drop(list));
}
