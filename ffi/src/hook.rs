//! Hooks
//!
//! A hook is a function of the program's that receives messages about exits or events. There may be any
//! number of hooks. One hook never runs twice at once, and receives the messages in the order in which
//! the library learnt of them; different hooks run at the same time.
//!
//! A hook may call any function of this library except ctrd_dispatch(), which answers CTRD_E_REENTRANT.
//! Inside a hook ctrd_remove_hook(), ctrd_client_close() and ctrd_client_free() do not wait.

use std::ffi::{c_char, c_void};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ctrd::{Error, EventFilter, HookId, HookMode, Message, Result};

use crate::abi::arguments::{self, optional_text};
use crate::abi::callbacks::{Userdata, ctrd_destroy_fn};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Nothing, Number, give};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::ctrd_message_t;
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

/// Adds a hook that receives the exits of containers' first processes: of those that this client watches
/// because it has created, started, recovered or probed them. No exit is dropped.
///
/// @param client    the client.
/// @param id        a container's id, in any namespace; NULL: all containers.
/// @param mode      where the hook runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback  the hook. It may run before this function has returned.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, when the hook was removed or the client is closed,
///                  and the hook does not run any more; or when this function fails. May be NULL.
/// @param hook_out  receives the hook's number, for ctrd_remove_hook(). It is never 0, and the client
///                  never uses it again. May be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_CLOSED if the client is closed.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_stop_hook(
    client: *mut ctrd_client_t,
    id: *const c_char,
    mode: u32,
    callback: ctrd_message_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    hook_out: Option<&mut u64>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::status("add_stop_hook", err, || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, optional_text("id", id)?) };
        let (hook, mode) = (Hook::new(callback, userdata)?, read_mode(mode)?);
        let added = client.add_stop_hook(id.as_deref(), mode, move |message| hook.run(message))?;
        give(hook_out, added.get());
        Ok(())
    })
}

/// Adds a hook that receives the exits of processes that were executed in containers. Otherwise as
/// ctrd_add_stop_hook().
///
/// @param client    the client.
/// @param id        a container's id, in any namespace; NULL: all containers.
/// @param mode      where the hook runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback  the hook. It may run before this function has returned.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, as for ctrd_add_stop_hook(). May be NULL.
/// @param hook_out  receives the hook's number, as for ctrd_add_stop_hook(). May be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_CLOSED if the client is closed.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_exit_hook(
    client: *mut ctrd_client_t,
    id: *const c_char,
    mode: u32,
    callback: ctrd_message_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    hook_out: Option<&mut u64>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::status("add_exit_hook", err, || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, optional_text("id", id)?) };
        let (hook, mode) = (Hook::new(callback, userdata)?, read_mode(mode)?);
        let added = client.add_exit_hook(id.as_deref(), mode, move |message| hook.run(message))?;
        give(hook_out, added.get());
        Ok(())
    })
}

/// Adds a hook that receives the server's events: those that pass at least one of the filters, or all if
/// there is no filter; from every namespace unless the filters name one. The hook receives each event
/// that is published after this function has returned, once, until the connection breaks. Then it
/// receives a message of kind CTRD_KIND_GAP before the first event of the new connection. Up to 16384
/// messages wait for the hook; more are dropped, and a message of kind CTRD_KIND_OVERFLOW says so.
///
/// @param client       the client.
/// @param filters      filters in containerd's language, as "ctr events" takes them: filters_len strings
///                     like "topic==\"/tasks/exit\",namespace==default".
/// @param filters_len  the number of filters.
/// @param mode         where the hook runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback     the hook. It may run before this function has returned.
/// @param userdata     handed to it.
/// @param destroy      called exactly once with userdata, as for ctrd_add_stop_hook(). May be NULL. If
///                     this function fails while the hook runs, it waits for the hook, at most 1 s; the
///                     userdata of a hook that takes longer is destroyed when the hook returns.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param hook_out     receives the hook's number, as for ctrd_add_stop_hook(). May be NULL.
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: until the server sends events. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_event_hook(
    client: *mut ctrd_client_t,
    filters: *const *const c_char,
    filters_len: usize,
    mode: u32,
    callback: ctrd_message_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    call: *const ctrd_call_t,
    hook_out: Option<&mut u64>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    operation::run("add_event_hook", call, err, Number::optional("hook_out", hook_out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, filters) = unsafe { (live(client)?, read_filters(filters, filters_len)?) };
        let (hook, mode) = (Arc::new(Hook::new(callback, userdata)?), read_mode(mode)?);
        Ok(move |call: &_| {
            let hook = hook.clone();
            let run = move |message: &Message| hook.run(message);
            client.add_event_hook(&filters, mode, run, call).map(HookId::get)
        })
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
        Ok(move |call: &_| client.remove_hook(HookId::from_number(hook), call))
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
