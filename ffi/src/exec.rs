//! Execs
//!
//! An exec is a process that is executed in a container beside its first one. It runs as the container's
//! own process does, unless its configuration says otherwise. ctrd_probe() waits for its exit, and hooks and
//! queues get the exit as CTRD_KIND_EXEC_EXIT.

use std::ffi::{CString, c_char};

use ctrd::{ExecConfig, ExecProcess, Result};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string};
use crate::abi::times;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::container::{CTRD_DRAIN_NONE, CTRD_GRACE_NONE};
use crate::io::{self, ctrd_io_t};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A flag of an exec: it has all capabilities that the program has, and no AppArmor profile, SELinux label or
/// noNewPrivileges. The container's seccomp filter and namespaces hold for it all the same.
pub const CTRD_EXEC_PRIVILEGED: u64 = 1;
/// A flag of an exec: if the container has a running exec with the id, that one is taken over: its exit is
/// watched, and if no streams of it are open in this client, the given ones are attached. So "run it, or
/// attach to it" is one call. The rest of the configuration is then not used. Needs an exec_id.
pub const CTRD_EXEC_ADOPT: u64 = 2;

/// A process that is to be executed. All-zero is refused: a command is needed. The library does not keep the
/// pointers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_exec_config_t {
    /// sizeof(ctrd_exec_config_t).
    pub size: usize,
    /// Its id among the execs of the container, in the form of a container's id, and not the container's
    /// own. NULL: a random one, which ctrd_exec_info_id() gives.
    pub exec_id: *const c_char,
    /// The command: args_len strings. Required, unless process_json has args.
    pub args: *const *const c_char,
    /// The number of args.
    pub args_len: usize,
    /// Changes of the environment of the container's process, env_len strings: "NAME=value" sets a variable,
    /// "NAME" removes it. With a terminal, "TERM=xterm" is added unless TERM is set.
    pub env: *const *const c_char,
    /// The number of strings in env.
    pub env_len: usize,
    /// Its user: "user" or "user:group", each a name or a number. Names are looked up in the container's
    /// /etc/passwd and /etc/group, and the process gets the additional groups that list the user. NULL: the
    /// user of the container's process.
    pub user: *const c_char,
    /// Its working directory, an absolute path. NULL: that of the container's process.
    pub cwd: *const c_char,
    /// Members of the process as a JSON object (OCI runtime specification, "process"). They replace those of
    /// the container's process. A value in another member of this struct replaces the one of the same name.
    /// NULL: none.
    pub process_json: *const c_char,
    /// Must be 0.
    pub reserved: usize,
    /// CTRD_EXEC_PRIVILEGED and CTRD_EXEC_ADOPT, or 0.
    pub flags: u64,
    /// How long the process may run, in milliseconds: then it gets SIGTERM, and SIGKILL after grace_ms. The
    /// time counts from the start, and the timeout of the call has nothing to do with it. Only the process
    /// itself gets the signals. A client that takes the process over does not know the time. 0: no limit.
    pub run_ms: i64,
    /// How long the process has after SIGTERM, in milliseconds. 0: 5000; CTRD_GRACE_NONE: SIGKILL at once;
    /// CTRD_FOREVER: no SIGKILL.
    pub grace_ms: i64,
    /// How long output that is still in the pipes after the exit is waited for, in milliseconds, before the
    /// streams are closed. Output that is still unread then is lost: ctrd_message_output_lost(). 0: 1000;
    /// CTRD_DRAIN_NONE: it is not waited for; CTRD_FOREVER: until all is passed on.
    pub drain_ms: i64,
    /// The first size of its terminal, in characters: columns and rows. Both 0: the runtime's.
    pub console_width: u32,
    /// See console_width.
    pub console_height: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_exec_config_t {}

/// Initialises a ctrd_exec_config_t as CTRD_EXEC_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_exec_config_init(config: *mut ctrd_exec_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads what to execute.
///
/// # Safety
/// `given` is as `arguments::input` wants it, its strings as `arguments::text` does.
unsafe fn read_config(id: &str, given: *const ctrd_exec_config_t) -> Result<ExecConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { arguments::optional_text(name, value) };
    // SAFETY: as the caller promises.
    let texts = |name, value, len| unsafe { arguments::texts(name, value, len) };
    arguments::reserved(given.reserved as u64)?;
    arguments::flags("flags", given.flags, CTRD_EXEC_PRIVILEGED | CTRD_EXEC_ADOPT)?;
    let mut config = ExecConfig::new(id)
        .args(texts("args", given.args, given.args_len)?)
        .env(texts("env", given.env, given.env_len)?)
        .privileged(given.flags & CTRD_EXEC_PRIVILEGED != 0)
        .adopt(given.flags & CTRD_EXEC_ADOPT != 0);
    if let Some(exec_id) = optional("exec_id", given.exec_id)? {
        config = config.exec_id(exec_id);
    }
    if let Some(user) = optional("user", given.user)? {
        config = config.user(user);
    }
    if let Some(cwd) = optional("cwd", given.cwd)? {
        config = config.cwd(cwd);
    }
    if let Some(json) = optional("process_json", given.process_json)? {
        config = config.process_json(json);
    }
    if let Some(time) = times::optional_span("run_ms", given.run_ms, 0)? {
        config = config.run_time(time);
    }
    if let Some(grace) = times::optional_span("grace_ms", given.grace_ms, CTRD_GRACE_NONE)? {
        config = config.grace(grace);
    }
    if let Some(drain) = times::optional_span("drain_ms", given.drain_ms, CTRD_DRAIN_NONE)? {
        config = config.drain(drain);
    }
    if given.console_width != 0 || given.console_height != 0 {
        config = config.console_size(given.console_width, given.console_height);
    }
    Ok(config)
}

/// An exec that was started.
pub struct ctrd_exec_info_t {
    id: CString,
    pid: u32,
}

impl From<ExecProcess> for ctrd_exec_info_t {
    fn from(process: ExecProcess) -> ctrd_exec_info_t {
        ctrd_exec_info_t { id: c_string(process.exec_id()), pid: process.pid() }
    }
}

/// Executes a process in a container, and returns when it runs. ctrd_probe() waits for its exit. When it has
/// ended, and every hook that got the exit has returned, it is deleted from the container's shim, and its id
/// can be used again. If a step fails, the steps before it are undone, and the error names the step.
///
/// If the process cannot be started, the error's reason says why: there is no such program
/// (CTRD_REASON_PROGRAM_NOT_FOUND), it cannot be executed (CTRD_REASON_PROGRAM_NOT_EXECUTABLE), or something
/// else (CTRD_REASON_START_FAILED). Hooks and queues then get an exit with ctrd_message_start_error().
///
/// @param client  the client.
/// @param id      the container's id.
/// @param config  the process. Required.
/// @param io      the streams of the process; NULL: none. Read before everything else.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout). If the server
///                or the shim does not answer, undoing may take up to 15 s more.
/// @param out     receives the exec's info, which the caller owns: ctrd_exec_info_free(); may be NULL. A
///                submitted call gives it by ctrd_message_take_exec_info().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task; CTRD_E_ALREADY_EXISTS if the container has an exec with the id that has not ended;
///         CTRD_E_FAILED_PRECONDITION if the container is paused or has ended, belongs to another owner
///         (CTRD_REASON_OTHER_OWNER), or has no such user or group; CTRD_E_UNKNOWN if the runtime cannot
///         start the process.
///
/// Blocking: until the process runs. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_exec_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    config: *const ctrd_exec_config_t,
    io: *const ctrd_io_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_exec_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("exec_container", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's structs, strings and handle are as the header says.
        let (client, id, config) = unsafe {
            let io = io::read(io)?;
            let (client, id) = (live(client)?, text("id", id)?);
            let config = read_config(&id, config)?.stdio(io);
            (client, id, config)
        };
        Ok(operation::of(client, id, move |client, call| {
            let process = client.exec_container(&config, call)?;
            Ok(Box::new(ctrd_exec_info_t::from(process)))
        }))
    })
}

/// Takes the exec's info out of the completion of a submitted ctrd_exec_container(). It works once, with
/// any handle of the message.
///
/// @param message  the message.
/// @param out      receives the exec's info, which the caller owns: ctrd_exec_info_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_exec_info(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_exec_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_exec_info", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The id of an exec among those of its container.
///
/// @param info  the exec's info; NULL gives "".
/// @return the id, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_exec_info_id(info: Option<&ctrd_exec_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.id))
}

/// The id of an exec's process in the host's pid namespace.
///
/// @param info  the exec's info; NULL gives 0.
/// @return the process id.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_exec_info_pid(info: Option<&ctrd_exec_info_t>) -> u32 {
    guard::read(info, |info| info.pid)
}

/// Frees an exec's info.
///
/// @param info  the exec's info; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_exec_info_free(info: Option<Box<ctrd_exec_info_t>>) {
    guard::value(|| drop(info));
}
