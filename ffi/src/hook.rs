//! Hooks
//!
//! A hook is a function of the program's that receives messages about exits, events or progress. There
//! may be any number of hooks, and they run at the same time. A hook receives the messages about one
//! container in the order in which the library learnt of them.
//!
//! A hook may call any function of this library except ctrd_dispatch(), which answers CTRD_E_REENTRANT.
//! Inside a hook ctrd_remove_hook(), ctrd_client_close() and ctrd_client_free() do not wait.

use std::ffi::{c_char, c_void};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ctrd::{Client, Error, EventFilter, HookConfig, HookMode, Message, Result};

use crate::abi::arguments::{self, optional_text};
use crate::abi::callbacks::{Userdata, ctrd_destroy_fn};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Nothing, Plain, give};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, read_kinds};
use crate::status::ctrd_status_t;

/// A hook's mode: it runs on a thread of the library's, which blocks every signal. Up to 16 hooks of a
/// client run at once; a hook that does not return keeps its thread.
pub const CTRD_HOOK_THREAD: u32 = 0;
/// A hook's mode: it runs only inside ctrd_dispatch(), on the thread that calls that.
pub const CTRD_HOOK_DISPATCH: u32 = 1;

/// The number of messages that a dispatch handles if the caller names none.
const DEFAULT_DISPATCH: u32 = 1024;

/// Receives messages.
///
/// @param userdata  the pointer that was given with the hook.
/// @param message   the message, borrowed for the time of the call; ctrd_message_ref() keeps it.
pub type ctrd_message_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, message: *const ctrd_message_t)>;

type MessageFn = unsafe extern "C" fn(*mut c_void, *const ctrd_message_t);

/// A hook of the caller's as the core runs it. Its drop destroys its userdata.
struct Hook {
    run: MessageFn,
    userdata: Userdata,
}

impl Hook {
    fn new(run: ctrd_message_fn, userdata: Userdata) -> Result<Hook> {
        let run = run.ok_or_else(|| Error::invalid("callback", "must not be NULL"))?;
        Ok(Hook { run, userdata })
    }

    fn run(&self, message: &Message) {
        let message = ctrd_message_t::new(message.clone());
        // SAFETY: the caller gave the function together with its userdata, for use from any thread; the
        // message lives until it returns.
        unsafe { (self.run)(self.userdata.pointer(), &raw const *message) };
    }
}

fn read_mode(given: u32) -> Result<HookMode> {
    match given {
        CTRD_HOOK_THREAD => Ok(HookMode::Thread),
        CTRD_HOOK_DISPATCH => Ok(HookMode::Dispatch),
        other => Err(Error::invalid("mode", format!("{other} is not known"))),
    }
}

/// Reads filters of events.
///
/// # Safety
/// As `arguments::texts` wants them.
pub(crate) unsafe fn read_filters(
    given: *const *const c_char,
    len: usize,
) -> Result<Vec<EventFilter>> {
    // SAFETY: as the caller promises.
    let texts = unsafe { arguments::texts("filters", given, len)? };
    Ok(texts.into_iter().map(EventFilter::raw).collect())
}

/// What a hook receives, and how it runs. All-zero is refused: a hook needs kinds. Everything is only
/// borrowed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_hook_config_t {
    /// sizeof(ctrd_hook_config_t).
    pub size: usize,
    /// Only exits of the container with this id, in any namespace. NULL: of all containers.
    pub id: *const c_char,
    /// Only exits of the exec with this id. NULL: of all.
    pub exec_id: *const c_char,
    /// Filters of events in containerd's language, as "ctr events" takes them:
    /// "topic==\"/tasks/exit\",namespace==default". An event has to pass any of the filters_len
    /// filters. NULL and 0: all events of every namespace. Only with CTRD_KIND_EVENT.
    pub filters: *const *const c_char,
    /// The number of filters.
    pub filters_len: usize,
    /// Must be 0.
    pub reserved: usize,
    /// The kinds of messages, at least one: CTRD_KIND_EXIT, CTRD_KIND_EXEC_EXIT, CTRD_KIND_EVENT,
    /// CTRD_KIND_PROGRESS. With events come CTRD_KIND_GAP and CTRD_KIND_OVERFLOW.
    pub kinds: u32,
    /// Where the hook runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
    pub mode: u32,
    /// How often the hook may run at once, at most 16; 0: 1. Messages about one container always reach
    /// it one after the other, in order; with 1 that holds for all messages.
    pub concurrency: u32,
    /// Must be 0.
    pub reserved_2: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_hook_config_t {}

/// Initialises a ctrd_hook_config_t as CTRD_HOOK_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_hook_config_init(config: *mut ctrd_hook_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads a hook's configuration.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does.
unsafe fn read_config(given: *const ctrd_hook_config_t) -> Result<HookConfig> {
    // SAFETY: as the caller promises.
    let (given, id, exec_id, filters) = unsafe {
        let given = arguments::input("config", given)?;
        (
            given,
            optional_text("id", given.id)?,
            optional_text("exec_id", given.exec_id)?,
            read_filters(given.filters, given.filters_len)?,
        )
    };
    arguments::reserved(given.reserved as u64)?;
    arguments::reserved_as("reserved_2", given.reserved_2)?;
    let mut config = HookConfig::new(read_kinds(given.kinds)?)
        .filters(filters)
        .mode(read_mode(given.mode)?)
        .concurrency(given.concurrency.max(1) as usize);
    if let Some(id) = id {
        config = config.container(id);
    }
    if let Some(exec_id) = exec_id {
        config = config.exec(exec_id);
    }
    Ok(config)
}

/// Adds a hook. Exits are those of the processes that this client watches because it has created,
/// started, recovered, watched or probed them; none is dropped.
///
/// With CTRD_KIND_EVENT the function waits until the server sends events. The hook receives whatever is
/// published after the function has returned, each event once, until the connection breaks: then a
/// message of kind CTRD_KIND_GAP comes before the first event of the new connection. Up to 16384 events
/// wait for the hook; further ones are dropped, and a message of kind CTRD_KIND_OVERFLOW says how many.
///
/// @param client    the client.
/// @param config    what the hook receives, and how it runs.
/// @param callback  the hook. It may run before this function has returned.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, when the hook was removed or the client is closed,
///                  and the hook does not run any more; or when this function fails. If the function fails
///                  while the hook runs already, it waits for the hook, at most 1 s; a hook that takes
///                  longer is destroyed when it returns. May be NULL.
/// @param call      limits of the call; NULL: the defaults (at most the client's call timeout). A call
///                  with a callback cannot be submitted.
/// @param hook_out  receives the hook's number, for ctrd_remove_hook(). It is never 0, and the client
///                  never uses it again. May be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: with CTRD_KIND_EVENT until the server sends events, else no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_hook(
    client: *mut ctrd_client_t,
    config: *const ctrd_hook_config_t,
    callback: ctrd_message_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    call: *const ctrd_call_t,
    hook_out: Option<&mut u64>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    operation::run("add_hook", call, err, Plain::optional("hook_out", hook_out), || {
        // SAFETY: the caller's struct, strings and handle are as the header says.
        let (client, config) = unsafe { (live(client)?, read_config(config)?) };
        let hook = Arc::new(Hook::new(callback, userdata)?);
        let add = operation::of(client, String::new(), move |client, call| {
            let hook = hook.clone();
            let run = move |message: &Message| hook.run(message);
            client.add_hook(&config, run, call).map(ctrd::ffi::hook_number)
        });
        Ok(add.with_callback("callback"))
    })
}

/// Removes a hook. When this function has returned CTRD_OK, the hook does not run any more and its
/// userdata is destroyed. After CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED the hook still
/// runs; it is not started again, and its userdata is destroyed when it returns. Another call of this
/// function waits for that. So does a call on a second thread while the first one waits, or while the
/// client is being closed.
///
/// Inside a hook, whichever it is, the function returns at once and does not wait for the removed hook.
///
/// @param client  the client.
/// @param hook    the hook's number.
/// @param call    limits of the call; NULL: the defaults (at most 10 s).
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such hook, as after it was removed.
///
/// Blocking: until the hook has returned. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_hook(
    client: *mut ctrd_client_t,
    hook: u64,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("remove_hook", call, err, Nothing, || {
        // SAFETY: the caller's handle is as the header says.
        let client = unsafe { live(client)? };
        let remove = operation::of(client, hook.to_string(), move |client, call| {
            client.remove_hook(ctrd::ffi::hook_with_number(hook), call)
        });
        Ok(remove.default_timeout(Some(Client::REMOVE_HOOK_TIMEOUT)))
    })
}

/// A descriptor that is readable while ctrd_dispatch() has something to do (level-triggered). The program
/// may only poll it: the library keeps it, and closes it with ctrd_client_free(). It is made when it is
/// first asked for, and stays the same.
///
/// @param client  the client; NULL gives -1.
/// @return the descriptor; -1 if none is left, and in a child of the process that opened the client.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_dispatch_fd(client: Option<&ctrd_client_t>) -> i32 {
    guard::descriptor(|| {
        let client = client.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: it is NULL or a handle that is valid.
        let client = unsafe { live(client) }.ok()?;
        let fd = client.dispatch_fd().ok()?.as_raw_fd();
        Some(fd)
    })
}

/// Runs the hooks of mode CTRD_HOOK_DISPATCH on the calling thread, for messages that have come. It does
/// not wait for messages; there may be none. If more are left, the descriptor stays readable.
///
/// @param client   the client.
/// @param max      for how many messages at most; 0: 1024.
/// @param ran_out  receives for how many it ran hooks; may be NULL.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_BUSY if another thread is dispatching; CTRD_E_REENTRANT also inside a hook.
///
/// Blocking: as long as the hooks take. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_dispatch(
    client: *mut ctrd_client_t,
    max: u32,
    ran_out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("dispatch", err, || {
        // SAFETY: the caller's handle is as the header says.
        let client = unsafe { live(client)? };
        let max = if max == 0 { DEFAULT_DISPATCH } else { max };
        let ran = client.dispatch(usize::try_from(max).unwrap_or(usize::MAX))?;
        give(ran_out, u32::try_from(ran).unwrap_or(u32::MAX));
        Ok(())
    })
}
