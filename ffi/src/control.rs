//! Controlling containers
//!
//! Signals, pauses, restarts, resources and labels of containers that exist. These functions refuse a
//! container that belongs to another owner.

use std::ffi::c_char;

use ctrd::{Error, KillConfig, PauseConfig, RestartConfig, Result, Stdio, UpdateConfig};

use crate::abi::arguments::{self, optional_text, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Nothing, Plain};
use crate::abi::times;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::container::{CTRD_DRAIN_NONE, CTRD_GRACE_NONE};
use crate::io::{self, ctrd_io_t};
use crate::process::ctrd_process_t;
use crate::status::ctrd_status_t;

/// A flag of a kill: the signal goes to all processes of the container.
pub const CTRD_KILL_ALL: u64 = 1;

/// A signal, and the processes that get it. All-zero sends SIGTERM to one process. The string is
/// only borrowed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_kill_config_t {
    /// sizeof(ctrd_kill_config_t).
    pub size: usize,
    /// The signal by its name, as ctrd_signal_number() takes it. NULL: by its number.
    pub signal_name: *const c_char,
    /// CTRD_KILL_ALL, or 0.
    pub flags: u64,
    /// The signal by its number, at most 64. 0: SIGTERM, unless signal_name is given.
    pub signal: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_kill_config_t {}

/// Initialises a ctrd_kill_config_t as CTRD_KILL_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_kill_config_init(config: *mut ctrd_kill_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads which signal is sent. `is_exec` says whether it is for an executed process.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its string as `arguments::text` does.
unsafe fn read_kill(given: *const ctrd_kill_config_t, is_exec: bool) -> Result<KillConfig> {
    let config = KillConfig::new();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::reserved(given.reserved)?;
    arguments::flags("flags", given.flags, CTRD_KILL_ALL)?;
    let all = given.flags & CTRD_KILL_ALL != 0;
    if all && is_exec {
        return Err(Error::invalid("flags", "CTRD_KILL_ALL cannot be set if exec_id is given"));
    }
    // SAFETY: as the caller promises.
    let name = unsafe { optional_text("signal_name", given.signal_name)? };
    let config = config.all(all);
    Ok(match (name, given.signal) {
        (Some(_), 1..) => return Err(Error::invalid("signal", "signal_name is given too")),
        (Some(name), 0) => config.signal_name(name),
        (None, 0) => config,
        (None, number) => config.signal(number),
    })
}

/// Sends a signal to a process of a container, or to all of them. If the process ends by it, its exit is
/// reported as any other. A process that is paused gets the signal when it is resumed. The function does
/// not wait for other calls that change the container.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param exec_id  the id of a process that was executed in the container. NULL: the container's first
///                 process.
/// @param config   the signal; NULL: SIGTERM to this process.
/// @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container or process, or the process has ended
///         (with CTRD_KILL_ALL the end of the first process is no error, because others may remain);
///         CTRD_E_FAILED_PRECONDITION if the container belongs to another owner, or the executed process
///         was not started.
///
/// Blocking: until the signal is sent. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_kill_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    exec_id: *const c_char,
    config: *const ctrd_kill_config_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("kill_container", call, err, Nothing, || {
        // SAFETY: the caller's struct, strings and handle are as the header says.
        let (client, id, config) = unsafe {
            let (client, id) = (live(client)?, text("id", id)?);
            let exec_id = optional_text("exec_id", exec_id)?;
            let config = read_kill(config, exec_id.is_some())?;
            let config = match exec_id {
                Some(exec_id) => config.exec_id(exec_id),
                None => config,
            };
            (client, id, config)
        };
        Ok(operation::of(client, id.clone(), move |client, call| {
            client.kill_container(&id, &config, call)
        }))
    })
}

/// The number of a signal.
///
/// @param name  its name: "SIGTERM", "TERM", "RTMIN+3", "RTMAX-1", or a number from "0" to "64". Case does
///              not matter. NULL gives -1.
/// @return the number; -1 if there is no such signal.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_signal_number(name: *const c_char) -> i32 {
    guard::descriptor(|| {
        // SAFETY: the caller's string is as the header says.
        let name = unsafe { optional_text("name", name).ok()?? };
        i32::try_from(ctrd::signal_number(&name)?).ok()
    })
}

/// A flag of a pause or a resume: if there is no such container, or it has no task, the function succeeds.
pub const CTRD_PAUSE_IGNORE_NOT_FOUND: u64 = 1;

/// How a container is paused or resumed. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_pause_config_t {
    /// sizeof(ctrd_pause_config_t).
    pub size: usize,
    /// Must be 0.
    pub reserved: usize,
    /// CTRD_PAUSE_IGNORE_NOT_FOUND, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_pause_config_t {}

/// Initialises a ctrd_pause_config_t as CTRD_PAUSE_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pause_config_init(config: *mut ctrd_pause_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads how a container is paused or resumed.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it.
unsafe fn read_pause(given: *const ctrd_pause_config_t) -> Result<PauseConfig> {
    let config = PauseConfig::new();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::reserved(given.reserved as u64)?;
    arguments::flags("flags", given.flags, CTRD_PAUSE_IGNORE_NOT_FOUND)?;
    Ok(config.ignore_not_found(given.flags & CTRD_PAUSE_IGNORE_NOT_FOUND != 0))
}

/// Pauses all processes of a container, until ctrd_resume_container().
///
/// @param client  the client.
/// @param id      the container's id.
/// @param config  how it is paused; NULL: the defaults.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or it has no task, unless a flag says
///         otherwise; CTRD_E_FAILED_PRECONDITION if it is paused already, its process has ended, or it
///         belongs to another owner; CTRD_E_BUSY as ctrd_create_container().
///
/// Blocking: until the processes are paused. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pause_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_pause_config_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("pause_container", call, err, Nothing, || {
        // SAFETY: the caller's struct, string and handle are as the header says.
        let (client, id, config) = unsafe { (live(client)?, text("id", id)?, read_pause(config)?) };
        Ok(operation::change(client, id.clone(), move |client, call| {
            client.pause_container(&id, &config, call)
        }))
    })
}

/// Resumes all processes of a container that is paused.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param config  how it is resumed; NULL: the defaults.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or it has no task, unless a flag says
///         otherwise; CTRD_E_FAILED_PRECONDITION if it is not paused or belongs to another owner;
///         CTRD_E_BUSY as ctrd_create_container().
///
/// Blocking: until the processes are resumed. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_resume_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_pause_config_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("resume_container", call, err, Nothing, || {
        // SAFETY: the caller's struct, string and handle are as the header says.
        let (client, id, config) = unsafe { (live(client)?, text("id", id)?, read_pause(config)?) };
        Ok(operation::change(client, id.clone(), move |client, call| {
            client.resume_container(&id, &config, call)
        }))
    })
}

/// How a container is restarted. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_restart_config_t {
    /// sizeof(ctrd_restart_config_t).
    pub size: usize,
    /// Must be 0.
    pub reserved: usize,
    /// How long the old processes may take to end after SIGTERM, as grace_ms of ctrd_destroy_config_t.
    pub grace_ms: i64,
    /// How long the function waits for the output of the old process, as drain_ms of
    /// ctrd_destroy_config_t. The new process keeps the time that the container was created with.
    pub drain_ms: i64,
    /// Must be 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_restart_config_t {}

/// Initialises a ctrd_restart_config_t as CTRD_RESTART_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_restart_config_init(config: *mut ctrd_restart_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads how a container is restarted. `stdio` has the new streams if the caller gives any.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it.
unsafe fn read_restart(
    given: *const ctrd_restart_config_t,
    stdio: Option<Stdio>,
) -> Result<RestartConfig> {
    let mut config = RestartConfig::new();
    if let Some(stdio) = stdio {
        config = config.stdio(stdio);
    }
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::reserved(given.reserved as u64)?;
    arguments::flags("flags", given.flags, 0)?;
    if let Some(grace) = times::optional_span("grace_ms", given.grace_ms, CTRD_GRACE_NONE)? {
        config = config.grace(grace);
    }
    if let Some(drain) = times::optional_span("drain_ms", given.drain_ms, CTRD_DRAIN_NONE)? {
        config = config.drain(drain);
    }
    Ok(config)
}

/// Ends the processes of a container, as ctrd_destroy_container() does, and starts its command again: in
/// a new task, with the same record, specification and snapshot. What the processes have written to the
/// snapshot stays. A container whose process has ended, was never started, or has no task, gets a new
/// process too.
///
/// The exit of the old process is reported once, as any other, before the new process starts. Then
/// ctrd_probe() waits for the exit of the new process. Both have one ctrd_message_generation(), which
/// belongs to the container's record: ctrd_message_pid() tells them apart. What the container's clean-up
/// removes (CTRD_CLEANUP_ALL) is not removed after the exit of the old process, but after that of the new
/// one.
///
/// If a step fails after the old process has ended, the steps of the new process are undone, and the error
/// names the step. Then the container has no task, and another restart can start its command; but with
/// CTRD_CLEANUP_ALL it is removed.
///
/// @param client   the client.
/// @param id       the container's id.
/// @param config   how it is restarted; NULL: the defaults.
/// @param io       the streams of the new process. Read before everything else. The container's
///                 specification decides about a terminal: terminal may be 0, and 1 is refused if there is
///                 none. NULL: the paths and URIs that the old process had (CTRD_IO_PATH), if its task
///                 still exists; nothing for a stream that was a descriptor.
/// @param call     limits of the call; NULL: the defaults (at most the sum of the grace period, the time
///                 for the output and the client's call timeout; no end if one of them is CTRD_FOREVER).
///                 Undoing may take up to 10 s more.
/// @param process_out  receives the new process; may be NULL. A submitted call gives its id by
///                     ctrd_message_pid(), and its generation by ctrd_message_generation().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or its snapshot is gone;
///         CTRD_E_FAILED_PRECONDITION if it belongs to another owner, or its record does not say what its
///         root file system is; CTRD_E_BUSY as ctrd_create_container(); CTRD_E_ABORTED if another client
///         starts it again and again; CTRD_E_UNKNOWN if runc fails.
///
/// Blocking: until the new process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_restart_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_restart_config_t,
    io: *const ctrd_io_t,
    call: *const ctrd_call_t,
    process_out: Option<&mut ctrd_process_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let out = Plain::optional("process_out", process_out);
    operation::run("restart_container", call, err, out, || {
        // SAFETY: the caller's structs, string and handle are as the header says.
        let (client, id, config) = unsafe {
            let stdio = if io.is_null() { None } else { Some(io::read(io)?) };
            (live(client)?, text("id", id)?, read_restart(config, stdio)?)
        };
        let timeout = ctrd::ffi::restart_timeout(&client, &config);
        let restart = operation::change(client, id.clone(), move |client, call| {
            client.restart_container(&id, &config, call).map(ctrd_process_t::from)
        });
        Ok(restart.default_timeout(timeout))
    })
}

/// A change of a container's resources. The library does not keep the pointer.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_update_config_t {
    /// sizeof(ctrd_update_config_t).
    pub size: usize,
    /// The resources that change, as JSON: an object like linux.resources of the OCI runtime
    /// specification. A member that it does not name stays as it is. null removes a member from the
    /// specification, without an effect before the next restart. Arrays are replaced as a whole. Required.
    pub resources_json: *const c_char,
    /// Must be 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_update_config_t {}

/// Initialises a ctrd_update_config_t as CTRD_UPDATE_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_update_config_init(config: *mut ctrd_update_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads a change of a container's resources.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its string as `arguments::text` does.
unsafe fn read_update(given: *const ctrd_update_config_t) -> Result<UpdateConfig> {
    // SAFETY: as the caller promises.
    let (given, json) = unsafe {
        let given = arguments::input("config", given)?;
        (given, text("resources_json", given.resources_json)?)
    };
    arguments::flags("flags", given.flags, 0)?;
    Ok(UpdateConfig::new().resources_json(json))
}

/// Changes the resources that a container may use: those of the processes that run, and those in the
/// specification of its record, which count for its next process. If the process has ended, or there is
/// no task, only the record changes. If the runtime refuses the change, the record gets its old
/// specification back.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param config  what changes.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout). If the server
///                does not answer, undoing may take up to 10 s more.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
///         belongs to another owner; CTRD_E_BUSY as ctrd_create_container(); CTRD_E_UNKNOWN if the runtime
///         refuses the change.
///
/// Blocking: until the resources are changed. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_update_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_update_config_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("update_container", call, err, Nothing, || {
        // SAFETY: the caller's struct, string and handle are as the header says.
        let (client, id, config) =
            unsafe { (live(client)?, text("id", id)?, read_update(config)?) };
        Ok(operation::change(client, id.clone(), move |client, call| {
            client.update_container(&id, &config, call)
        }))
    })
}

/// Sets and removes labels of a container's record. The other labels stay. Labels that begin with
/// "io.ctrd." are the library's own, and cannot be changed.
///
/// @param client        the client.
/// @param id            the container's id.
/// @param label_keys    the keys: labels_len strings, all of them different.
/// @param label_values  their values: labels_len strings. NULL or "" removes the label.
/// @param labels_len    the number of labels.
/// @param call          limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err           receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
///         belongs to another owner; CTRD_E_BUSY as ctrd_create_container().
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_set_container_labels(
    client: *mut ctrd_client_t,
    id: *const c_char,
    label_keys: *const *const c_char,
    label_values: *const *const c_char,
    labels_len: usize,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("set_container_labels", call, err, Nothing, || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, id, keys, values) = unsafe {
            (
                live(client)?,
                text("id", id)?,
                arguments::texts("label_keys", label_keys, labels_len)?,
                arguments::optional_texts("label_values", label_values, labels_len)?,
            )
        };
        let labels: Vec<(String, String)> =
            keys.into_iter().zip(values.into_iter().map(Option::unwrap_or_default)).collect();
        Ok(operation::change(client, id.clone(), move |client, call| {
            let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            client.set_container_labels(&id, &labels, call)
        }))
    })
}
