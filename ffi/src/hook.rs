//! Hooks
//!
//! A hook is a function of the caller's that is told of exits or events. There may be any number of
//! them. One hook is never run twice at once, and is told in the order in which the library came to
//! know; different hooks run at the same time.
//!
//! Any function of this library may be called from a hook, but for ctrd_dispatch(), which answers
//! CTRD_E_REENTRANT. ctrd_remove_hook(), ctrd_client_close() and ctrd_client_free() do not wait there.

use std::ffi::{c_char, c_void};
use std::os::fd::AsRawFd;

use ctrd::{Error, EventFilter, HookId, HookMode, Message, Result};

use crate::args::{self, give, optional_text};
use crate::call::{self, ctrd_call_t};
use crate::callback::{Userdata, ctrd_destroy_fn};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard;
use crate::message::ctrd_message_t;
use crate::status::ctrd_status_t;

/// A hook's mode: it runs on a thread of the library's, which blocks every signal. Up to 16 hooks of a
/// client run at once; one that does not return keeps its thread.
pub const CTRD_HOOK_THREAD: u32 = 0;
/// A hook's mode: it runs inside ctrd_dispatch() alone, on the thread that calls that.
pub const CTRD_HOOK_DISPATCH: u32 = 1;

/// For how many messages a dispatch runs hooks that is not told a number.
const DEFAULT_DISPATCH: u32 = 1024;

/// Receives messages.
///
/// @param userdata  what was given along with the hook.
/// @param message   the message, borrowed for the time of the call; ctrd_message_ref() keeps it.
pub type ctrd_message_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, message: *const ctrd_message_t)>;

type MessageFn = unsafe extern "C" fn(*mut c_void, *const ctrd_message_t);

/// A hook of the caller's as the core runs it. Dropped, its userdata is destroyed.
struct Hook {
    run: MessageFn,
    userdata: Userdata,
}

impl Hook {
    fn new(run: ctrd_message_fn, userdata: Userdata) -> Result<Hook> {
        let run = run.ok_or_else(|| Error::invalid("callback", "must not be NULL"))?;
        Ok(Hook { run, userdata })
    }

    fn tell(&self, message: &Message) {
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
/// As `args::texts` wants them.
pub(crate) unsafe fn read_filters(
    given: *const *const c_char,
    len: usize,
) -> Result<Vec<EventFilter>> {
    // SAFETY: as the caller promises.
    let texts = unsafe { args::texts("filters", given, len)? };
    Ok(texts.into_iter().map(EventFilter::raw).collect())
}

/// Adds a hook that is told of the exits of containers' first processes: of those that this client
/// watches, which it has created, started, recovered or probed. No exit is dropped.
///
/// @param client    the client.
/// @param id        a container's id, of any namespace; NULL: of all containers.
/// @param mode      where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback  the hook. It may run before this function has returned.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, also where this function fails: when the hook
///                  was removed or the client is closed, and the hook does not run any more. May be
///                  NULL.
/// @param hook_out  receives the hook's number, for ctrd_remove_hook(): never 0, and never used again
///                  by this client; may be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_stop_hook(
    client: Option<&ctrd_client_t>,
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
        let hook = Hook::new(callback, userdata)?;
        let (client, mode) = (live(client)?, read_mode(mode)?);
        // SAFETY: the caller's strings are as the header says.
        let id = unsafe { optional_text("id", id)? };
        let added = client.add_stop_hook(id, mode, move |message| hook.tell(message))?;
        give(hook_out, added.get());
        Ok(())
    })
}

/// Adds a hook that is told of the exits of processes that were executed in containers. Otherwise as
/// ctrd_add_stop_hook().
///
/// @param client    the client.
/// @param id        a container's id, of any namespace; NULL: of all containers.
/// @param mode      where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback  the hook. It may run before this function has returned.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, as for ctrd_add_stop_hook(); may be NULL.
/// @param hook_out  receives the hook's number, as of ctrd_add_stop_hook(); may be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_exit_hook(
    client: Option<&ctrd_client_t>,
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
        let hook = Hook::new(callback, userdata)?;
        let (client, mode) = (live(client)?, read_mode(mode)?);
        // SAFETY: the caller's strings are as the header says.
        let id = unsafe { optional_text("id", id)? };
        let added = client.add_exit_hook(id, mode, move |message| hook.tell(message))?;
        give(hook_out, added.get());
        Ok(())
    })
}

/// Adds a hook that is told of the server's events: of those that pass any of the filters, and of all
/// where there is none; of every namespace where the filters name none. Whatever is published after
/// this function has returned is told, each event once, until the connection breaks: then a
/// CTRD_MESSAGE_GAP is told before the first event of the new one. Up to 16384 messages wait for the
/// hook; what is beyond is dropped, which a CTRD_MESSAGE_OVERFLOW says.
///
/// @param client       the client.
/// @param filters      filters_len filters in containerd's language, as "ctr events" takes them:
///                     "topic==\"/tasks/exit\",namespace==default". May be NULL if filters_len is 0.
/// @param filters_len  see filters.
/// @param mode         where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
/// @param callback     the hook. It may run before this function has returned.
/// @param userdata     handed to it.
/// @param destroy      called exactly once with userdata, as for ctrd_add_stop_hook(); may be NULL.
///                     Where the function fails while the hook runs already, it waits for that, at
///                     most 1 s; a hook that takes longer is destroyed when it returns.
/// @param call         bounds of the call; NULL: the default, at most the client's call timeout.
/// @param hook_out     receives the hook's number, as of ctrd_add_stop_hook(); may be NULL.
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by its
///         position: "filters[1]"; CTRD_E_IO where no thread can be made; CTRD_E_UNAVAILABLE;
///         CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED; CTRD_E_CLOSED;
///         CTRD_E_FORKED.
///
/// Blocking: until the server sends events. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_add_event_hook(
    client: Option<&ctrd_client_t>,
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
    guard::status("add_event_hook", err, || {
        let hook = Hook::new(callback, userdata)?;
        let (client, mode) = (live(client)?, read_mode(mode)?);
        // SAFETY: the caller's structs and strings are as the header says.
        let (filters, call) = unsafe { (read_filters(filters, filters_len)?, call::read(call)?) };
        let tell = move |message: &Message| hook.tell(message);
        give(hook_out, client.add_event_hook(&filters, mode, tell, &call)?.get());
        Ok(())
    })
}

/// Removes a hook. When this returns with CTRD_OK, the hook does not run and its userdata is destroyed;
/// after CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED it still runs, is not started again,
/// and its userdata is destroyed when it returns: another call waits for that. So does a call beside
/// another one that removes the hook, or closes the client.
///
/// From inside a hook, this one or another, it returns at once: what runs is then not waited for.
///
/// @param client  the client.
/// @param hook    the hook's number.
/// @param call    bounds of the call; NULL: the default, at most 10 s.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such hook, as when it
///         has gone; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED;
///         CTRD_E_FORKED.
///
/// Blocking: until the hook has returned. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_hook(
    client: Option<&ctrd_client_t>,
    hook: u64,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("remove_hook", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        client.remove_hook(HookId::from_number(hook), &unsafe { call::read(call)? })
    })
}

/// A descriptor that is readable while ctrd_dispatch() has something to do. It is only to be polled:
/// the library keeps it, and closes it with ctrd_client_free(). It is made when it is asked for first,
/// and is the same each time.
///
/// @param client  the client; NULL gives -1.
/// @return the descriptor; -1 where none is left, and in a child of the process that opened the
///         client.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_dispatch_fd(client: Option<&ctrd_client_t>) -> i32 {
    guard::descriptor(|| {
        let client = live(client).ok()?;
        let fd = client.dispatch_fd().ok()?.as_raw_fd();
        Some(fd)
    })
}

/// Runs hooks whose mode is CTRD_HOOK_DISPATCH on the calling thread, for messages that have come. It
/// does not wait for any; there may be nothing to do. Where more are left, the descriptor stays readable.
///
/// @param client   the client.
/// @param max      for how many messages at most; 0: 1024.
/// @param ran_out  receives for how many it has; may be NULL.
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_BUSY where another thread is dispatching;
///         CTRD_E_REENTRANT from inside a hook; CTRD_E_FORKED.
///
/// Blocking: as long as the hooks take. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_dispatch(
    client: Option<&ctrd_client_t>,
    max: u32,
    ran_out: Option<&mut u32>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("dispatch", err, || {
        let client = live(client)?;
        let max = if max == 0 { DEFAULT_DISPATCH } else { max };
        let ran = client.dispatch(usize::try_from(max).unwrap_or(usize::MAX))?;
        give(ran_out, u32::try_from(ran).unwrap_or(u32::MAX));
        Ok(())
    })
}
