//! Recovering
//!
//! Taking containers over after the program was started anew: their streams, and the watch of their
//! processes. What ended meanwhile is told of with its real exit, as far as containerd still knows.
//! Only containers with the client's owner label are taken over. None is ever removed, but by the
//! cleanup that it was created with.

use std::ffi::{CString, c_char, c_void};
use std::mem::size_of;

use ctrd::{Error, ErrorKind, Recovery, RecoveryState, Result, Stdio};

use crate::args::{self, c_string, text};
use crate::call::{self, ctrd_call_t};
use crate::callback::{Userdata, ctrd_destroy_fn};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;
use crate::stdio::{self, ctrd_io_t};

/// What a container was found to be: its process was created or runs, and is watched. One that was only
/// created waits for ctrd_start_container(), as where a program died within ctrd_create_container();
/// for one that runs that answers CTRD_E_FAILED_PRECONDITION.
pub const CTRD_RECOVERY_ALIVE: u32 = 1;
/// What a container was found to be: its process has ended, which hooks and queues are told, and who
/// probes.
pub const CTRD_RECOVERY_ENDED: u32 = 2;
/// What a container was found to be: it has no task, and nothing says that it ever ended. It was left
/// as it is.
pub const CTRD_RECOVERY_NO_TASK: u32 = 3;
/// What a container was found to be: it could not be looked at, as its shim is stuck or the server
/// does not answer; or its streams could not be taken. It was left as it is.
pub const CTRD_RECOVERY_FAILED: u32 = 4;

/// Room for the streams of one container, and for what a later header knows of them.
#[repr(C, align(16))]
struct Room([u8; 1024]);

const _: () = assert!(size_of::<Room>() >= size_of::<ctrd_io_t>());

/// Says where the streams of a container that is recovered go.
///
/// It runs on the thread that called ctrd_recover_all(), for each container before the first is
/// recovered. ctrd_client_close() of the same client answers CTRD_E_REENTRANT there.
///
/// @param userdata  what ctrd_recover_all() was given.
/// @param id        the container's id, borrowed for the time of the call.
/// @param io        is to be set to the streams: descriptors (CTRD_IO_FD), which are duplicated when the
///                  function has returned. It is initialised; left as it is, there are none, and what the
///                  container writes is dropped.
/// @return 0; anything else leaves the container as it is: CTRD_RECOVERY_FAILED.
pub type ctrd_recover_io_fn = Option<
    unsafe extern "C" fn(userdata: *mut c_void, id: *const c_char, io: *mut ctrd_io_t) -> i32,
>;

/// What became of several containers. Its texts are borrowed: they are valid until it is freed.
pub struct ctrd_recovery_t(Vec<Found>);

struct Found {
    id: CString,
    state: u32,
    error: Option<ctrd_error_t>,
}

impl From<Recovery> for Found {
    fn from(recovery: Recovery) -> Found {
        Found {
            id: c_string(&recovery.container_id),
            state: match recovery.state {
                RecoveryState::Alive => CTRD_RECOVERY_ALIVE,
                RecoveryState::Ended => CTRD_RECOVERY_ENDED,
                RecoveryState::NoTask => CTRD_RECOVERY_NO_TASK,
                RecoveryState::Failed => CTRD_RECOVERY_FAILED,
                _ => 0,
            },
            error: recovery.error.map(|error| ctrd_error_t::new(&error, "")),
        }
    }
}

/// Asks the caller for the streams of a container.
fn ask(io: ctrd_recover_io_fn, userdata: &Userdata, id: &str) -> Result<Stdio> {
    let Some(io) = io else { return Ok(Stdio::default()) };
    let mut room = Room([0; size_of::<Room>()]);
    let place = (&raw mut room).cast::<ctrd_io_t>();
    let id = c_string(id);
    // SAFETY: the room is aligned and large enough; the caller gave the function together with its
    // userdata; what the caller leaves in the struct is as the header says.
    unsafe {
        args::initialise(place, size_of::<Room>());
        match io(userdata.pointer(), id.as_ptr(), place) {
            0 => stdio::read(place),
            other => Err(Error::new(
                ErrorKind::Cancelled,
                format!("the callback does not want it to be recovered ({other})"),
            )),
        }
    }
}

/// Takes a container over, also where its process has ended. One that is recovered already stays as it
/// is.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param io      where its streams go: descriptors, which are duplicated; what is not given is fetched
///                and dropped. NULL: all of it.
/// @param call    bounds of the call; NULL: the default, at most the client's call timeout.
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no container, or it has
///         no task and nothing says that it ever ended;
///         CTRD_E_FAILED_PRECONDITION where it is another owner's; CTRD_E_BUSY as
///         ctrd_create_container(); CTRD_E_UNAVAILABLE, also where its shim does not answer;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED; CTRD_E_IO where a stream
///         cannot be opened, or no descriptor or thread is left.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_recover_container(
    client: Option<&ctrd_client_t>,
    id: *const c_char,
    io: *const ctrd_io_t,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("recover_container", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (id, io, call) = unsafe { (text("id", id)?, stdio::read(io)?, call::read(call)?) };
        client.recover_container(id, io, &call)
    })
}

/// Takes every container of the namespace over that carries the client's owner label, 16 at once by
/// threads that end with the call, each within 5 s: one that is stuck does not hold up the rest, nor
/// make the call fail. FIFOs of containers that do not stand any more are removed.
///
/// @param client    the client.
/// @param io        asked for the streams of each; NULL: none have any, and what they write is dropped.
/// @param userdata  handed to io.
/// @param destroy   called exactly once with userdata before the function returns, also where it
///                  fails; may be NULL.
/// @param call      bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out       receives what became of each, in the order of their ids; the caller owns it:
///                  ctrd_recovery_free(). May be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_UNAVAILABLE, CTRD_E_TIMEOUT or CTRD_E_CANCELLED
///         where they could not be listed; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until all have been looked at. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_recover_all(
    client: Option<&ctrd_client_t>,
    io: ctrd_recover_io_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_recovery_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::produce("recover_all", Out::optional("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let call = unsafe { call::read(call)? };
        let found = client.recover_all(&mut |info| ask(io, &userdata, info.id()), &call)?;
        Ok(Box::new(ctrd_recovery_t(found.into_iter().map(Found::from).collect())))
    })
}

/// How many containers were looked at.
///
/// @param recovery  what became of them; NULL gives 0.
/// @return the number.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_len(recovery: Option<&ctrd_recovery_t>) -> usize {
    guard::read(recovery, |recovery| recovery.0.len())
}

/// The id of one of the containers.
///
/// @param recovery  what became of them; NULL gives NULL.
/// @param index     which one, from 0.
/// @return the id, borrowed from what it was asked of; NULL beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_id(
    recovery: Option<&ctrd_recovery_t>,
    index: usize,
) -> *const c_char {
    guard::read(recovery, |recovery| {
        recovery.0.get(index).map_or(std::ptr::null(), |found| found.id.as_ptr())
    })
}

/// What one of the containers was found to be: one of the CTRD_RECOVERY_ values.
///
/// @param recovery  what became of them; NULL gives 0.
/// @param index     which one, from 0.
/// @return the value; 0 beyond the last. Values that are not named here may be added.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_state(recovery: Option<&ctrd_recovery_t>, index: usize) -> u32 {
    guard::read(recovery, |recovery| recovery.0.get(index).map_or(0, |found| found.state))
}

/// Why one of the containers was not recovered.
///
/// @param recovery  what became of them; NULL gives NULL.
/// @param index     which one, from 0.
/// @return the error, borrowed from what it was asked of and not to be freed; NULL where it was
///         recovered, and beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_error(
    recovery: Option<&ctrd_recovery_t>,
    index: usize,
) -> Option<&ctrd_error_t> {
    guard::read(recovery, |recovery| recovery.0.get(index)?.error.as_ref())
}

/// Frees what became of several containers.
///
/// @param recovery  the handle, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_free(recovery: Option<Box<ctrd_recovery_t>>) {
    guard::value(|| drop(recovery));
}
