//! Recovery
//!
//! A program that was restarted takes its containers over: their streams, and the watch of their
//! processes. The exits that happened meanwhile are reported with their real codes as far as containerd
//! still knows them. Only containers with the client's owner label are taken over. A recovery removes
//! none of them; only the clean-up that a container was created with does.

use std::ffi::{CString, c_char, c_void};
use std::mem::size_of;

use ctrd::{ContainerInfo, Error, ErrorKind, Recovery, RecoveryState, Result, Stdio};

use crate::abi::arguments::{self, text};
use crate::abi::callbacks::{Userdata, ctrd_destroy_fn};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string, give_present};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::container_info::ctrd_container_info_t;
use crate::io::{self, ctrd_io_t};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// The state of a container: its process was created and not started, as when a program dies inside
/// ctrd_create_container(). It is watched. ctrd_start_container() starts it.
pub const CTRD_RECOVERY_CREATED: u32 = 1;
/// The state of a container: its process runs, or is paused. It is watched.
pub const CTRD_RECOVERY_RUNNING: u32 = 2;
/// The state of a container: its process has ended. Hooks, queues and ctrd_probe() report the exit.
pub const CTRD_RECOVERY_ENDED: u32 = 3;
/// The state of a container: it has no task, and nothing says that its process ever ended. It is left
/// unchanged.
pub const CTRD_RECOVERY_NO_TASK: u32 = 4;
/// The state of a container: it could not be taken over, because its shim or the server does not answer,
/// or because of its streams. It is left unchanged.
pub const CTRD_RECOVERY_FAILED: u32 = 5;

/// Room for the streams of one container, and for the members that a later header adds.
#[repr(C, align(16))]
struct Room([u8; 1024]);

const _: () = assert!(size_of::<Room>() >= size_of::<ctrd_io_t>());

/// Says where the streams of a container go.
///
/// It runs on the thread that called ctrd_recover_all(), for one container at a time, when the turn of the
/// container has come: at most 16 containers have descriptors that are not in use yet. It does not run for
/// containers that cannot be taken over. ctrd_client_close() of the same client answers CTRD_E_REENTRANT
/// inside it.
///
/// @param userdata  the pointer that ctrd_recover_all() was given.
/// @param info      the container's info, borrowed for the time of the call.
/// @param io        receives the streams: descriptors (CTRD_IO_FD or CTRD_IO_FD_TAKE), which are read
///                  when the function has returned, whatever it returns. The struct is initialised. If it
///                  is left unchanged, the output of the container is dropped.
/// @return 0; any other value leaves the container unchanged: CTRD_RECOVERY_FAILED.
pub type ctrd_recover_io_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        info: *const ctrd_container_info_t,
        io: *mut ctrd_io_t,
    ) -> i32,
>;

/// The outcome of the recovery of a container.
pub struct ctrd_recovery_t {
    id: CString,
    state: u32,
    pid: u32,
    generation: u64,
    exit_code: Option<u32>,
    error: Option<ctrd_error_t>,
}

/// The outcomes of a recovery, one for each container.
pub struct ctrd_recovery_list_t(Vec<ctrd_recovery_t>);

impl From<Recovery> for ctrd_recovery_t {
    fn from(recovery: Recovery) -> ctrd_recovery_t {
        ctrd_recovery_t {
            id: c_string(recovery.container_id()),
            state: match recovery.state() {
                RecoveryState::Created => CTRD_RECOVERY_CREATED,
                RecoveryState::Running => CTRD_RECOVERY_RUNNING,
                RecoveryState::Ended => CTRD_RECOVERY_ENDED,
                RecoveryState::NoTask => CTRD_RECOVERY_NO_TASK,
                RecoveryState::Failed => CTRD_RECOVERY_FAILED,
                _ => 0,
            },
            pid: recovery.pid().unwrap_or(0),
            generation: recovery.generation().unwrap_or(0),
            exit_code: recovery.exit_code(),
            error: recovery.error().map(|error| ctrd_error_t::new(error, "")),
        }
    }
}

/// Asks the caller for the streams of a container.
fn ask(io: ctrd_recover_io_fn, userdata: &Userdata, info: &ContainerInfo) -> Result<Stdio> {
    let Some(io) = io else { return Ok(Stdio::new()) };
    let mut room = Room([0; size_of::<Room>()]);
    let place = (&raw mut room).cast::<ctrd_io_t>();
    let info = ctrd_container_info_t::from(info);
    // SAFETY: the room is aligned and large enough; the caller gave the function together with its
    // userdata; what the caller leaves in the struct is as the header says.
    let (answer, streams) = unsafe {
        arguments::initialise(place, size_of::<Room>());
        let answer = io(userdata.pointer(), &raw const info, place);
        // Also if the container is refused: descriptors that were given away are closed.
        (answer, io::read(place))
    };
    if answer != 0 {
        return Err(Error::new(
            ErrorKind::Cancelled,
            format!("the callback refused the container ({answer})"),
        ));
    }
    streams
}

/// Takes a container over, also if its process has ended. If this client has already taken it over,
/// nothing changes.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param io      where its streams go: descriptors. Output without one is dropped; NULL: all of it. Read
///                before everything else.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the outcome, which the caller owns: ctrd_recovery_free(). Its state is
///                CTRD_RECOVERY_CREATED, CTRD_RECOVERY_RUNNING or CTRD_RECOVERY_ENDED. May be NULL. A
///                submitted call gives it by ctrd_message_take_recovery().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
///         task and nothing says that its process ever ended (CTRD_REASON_NO_TASK);
///         CTRD_E_FAILED_PRECONDITION if it belongs to another owner or to none
///         (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container(); CTRD_E_UNAVAILABLE also if
///         its shim does not answer; CTRD_E_IO also if a stream cannot be opened.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_recover_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    io: *const ctrd_io_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_recovery_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("recover_container", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's struct, strings and handle are as the header says.
        let (io, client, id) = unsafe { (io::read(io)?, live(client)?, text("id", id)?) };
        Ok(operation::change(client, id.clone(), move |client, call| {
            Ok(Box::new(ctrd_recovery_t::from(client.recover_container(&id, &io, call)?)))
        }))
    })
}

/// Takes the outcome out of the completion of a submitted ctrd_recover_container(). It works once, with
/// any handle of the message.
///
/// @param message  the message.
/// @param out      receives the outcome, which the caller owns: ctrd_recovery_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_recovery(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_recovery_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_recovery", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Takes over every container of the namespace that has the client's owner label: 16 at the same time, on
/// threads that end with the call, and each within 5 s, for which the time of the callback does not count.
/// One that is stuck delays the others little, and does not make the call fail. FIFOs of containers that
/// no longer exist are removed.
///
/// @param client    the client.
/// @param io        called for the streams of the containers; NULL: the output of all is dropped. A
///                  submitted call takes no callback: use ctrd_recover_container() for the containers
///                  whose streams are wanted.
/// @param userdata  handed to io.
/// @param destroy   called exactly once with userdata before this function returns. May be NULL.
/// @param call      limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out       receives the outcomes, in the order of the ids, which the caller owns:
///                  ctrd_recovery_list_free(). May be NULL. A submitted call gives them by
///                  ctrd_message_take_recovery_list().
/// @param err       receives the error, or NULL.
/// @return CTRD_OK, or an error if the containers could not be listed.
///
/// Blocking: until every container was looked at. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_recover_all(
    client: *mut ctrd_client_t,
    io: ctrd_recover_io_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_recovery_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    operation::run("recover_all", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's handle is as the header says.
        let client = unsafe { live(client)? };
        let recover = operation::of(client, String::new(), move |client, call| {
            let recovered = client.recover_all(&mut |info| ask(io, &userdata, info), call)?;
            let recovered = recovered.into_iter().map(ctrd_recovery_t::from).collect();
            Ok(Box::new(ctrd_recovery_list_t(recovered)))
        });
        Ok(if io.is_some() { recover.with_callback("io") } else { recover })
    })
}

/// Takes the outcomes out of the completion of a submitted ctrd_recover_all(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the outcomes, which the caller owns: ctrd_recovery_list_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_recovery_list(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_recovery_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_recovery_list", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The id of the container.
///
/// @param recovery  the outcome; NULL gives "".
/// @return the text, borrowed from the outcome.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_id(recovery: Option<&ctrd_recovery_t>) -> *const c_char {
    guard::text(recovery, |recovery| Some(&recovery.id))
}

/// The state of the container: one of the CTRD_RECOVERY_ values.
///
/// @param recovery  the outcome; NULL gives 0.
/// @return the state; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_state(recovery: Option<&ctrd_recovery_t>) -> u32 {
    guard::read(recovery, |recovery| recovery.state)
}

/// The process id of the container's first process, in the host's pid namespace. If the process has ended,
/// another process may have the id.
///
/// @param recovery  the outcome; NULL gives 0.
/// @return the process id; 0 if it is not known, and if the container was not taken over.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_pid(recovery: Option<&ctrd_recovery_t>) -> u32 {
    guard::read(recovery, |recovery| recovery.pid)
}

/// A number that tells the container from those that had its id before it, or get the id later.
/// ctrd_message_generation() gives the same number. It has no other meaning.
///
/// @param recovery  the outcome; NULL gives 0.
/// @return the number; 0 if it is not known.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_generation(recovery: Option<&ctrd_recovery_t>) -> u64 {
    guard::read(recovery, |recovery| recovery.generation)
}

/// The exit code of a process that has ended: 128 plus the number of the signal if a signal ended it.
///
/// @param recovery  the outcome; NULL gives 0.
/// @param out       receives the code if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the code is known; 0 if the process has not ended, never ran, or nothing holds its code.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_exit_code(
    recovery: Option<&ctrd_recovery_t>,
    out: Option<&mut u32>,
) -> i32 {
    guard::read(recovery, |recovery| give_present(recovery.exit_code, out))
}

/// Why the container was not taken over.
///
/// @param recovery  the outcome; NULL gives NULL.
/// @return the error, borrowed from the outcome and not to be freed; NULL if the container was taken over.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_error(recovery: Option<&ctrd_recovery_t>) -> Option<&ctrd_error_t> {
    guard::read(recovery, |recovery| recovery.error.as_ref())
}

/// Frees the outcome of the recovery of a container. The outcomes of a list are freed with the list.
///
/// @param recovery  the outcome; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_free(recovery: Option<Box<ctrd_recovery_t>>) {
    guard::value(|| drop(recovery));
}

/// The number of containers in a list.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_list_len(list: Option<&ctrd_recovery_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// The outcome of one container of a list.
///
/// @param list   the list; NULL gives NULL.
/// @param index  its position, from 0.
/// @return the outcome, borrowed from the list and not to be freed; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_list_get(
    list: Option<&ctrd_recovery_list_t>,
    index: usize,
) -> Option<&ctrd_recovery_t> {
    guard::read(list, |list| list.0.get(index))
}

/// Frees a list and the outcomes in it.
///
/// @param list  the list; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_recovery_list_free(list: Option<Box<ctrd_recovery_list_t>>) {
    guard::value(|| drop(list));
}
