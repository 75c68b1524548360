//! Messages
//!
//! A message reports the end of a process, an event, progress, the completion of a submitted call, or that
//! something may have been missed. Messages do not change, except that the result of a submitted call can
//! be taken out. The texts and errors of a message are borrowed from it.

use std::ffi::{CString, c_char};
use std::sync::{Arc, OnceLock};

use ctrd::{Error, Message, MessageKind, Origin, OutputLost, Result};

use crate::abi::arguments;
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string, give, give_present, nullable};
use crate::abi::times::ctrd_time_t;
use crate::abi::{fork, guard};
use crate::process::ctrd_process_t;
use crate::progress::ctrd_progress_list_t;
use crate::status::{CTRD_OK, ctrd_status_t};

/// A kind of message: a container's first process has ended.
pub const CTRD_KIND_EXIT: u32 = 1;
/// A kind of message: a process that was executed in a container has ended.
pub const CTRD_KIND_EXEC_EXIT: u32 = 2;
/// A kind of message: the server published an event.
pub const CTRD_KIND_EVENT: u32 = 4;
/// A kind of message: events may have been missed, because the connection was broken and the server does
/// not repeat them. Exits are not missed: the library looks them up.
pub const CTRD_KIND_GAP: u32 = 8;
/// A kind of message: a queue or a hook was full, and messages for it were dropped:
/// ctrd_message_dropped().
pub const CTRD_KIND_OVERFLOW: u32 = 16;
/// A kind of message: a pull made progress: ctrd_message_progress().
pub const CTRD_KIND_PROGRESS: u32 = 32;
/// A kind of message: a submitted call is over. ctrd_message_tag() gives the call's tag,
/// ctrd_message_status() its outcome.
pub const CTRD_KIND_DONE: u32 = 64;
/// A kind of message: a process has written output. No message has this kind yet.
#[allow(dead_code)]
pub const CTRD_KIND_OUTPUT: u32 = 128;
/// A kind of message: a client that a queue was subscribed to is closed. It is the last message of the
/// subscription.
pub const CTRD_KIND_CLOSED: u32 = 256;

/// Every kind of message of the core's.
pub(crate) const KINDS: [(u32, MessageKind); 8] = [
    (CTRD_KIND_EXIT, MessageKind::Exit),
    (CTRD_KIND_EXEC_EXIT, MessageKind::ExecExit),
    (CTRD_KIND_EVENT, MessageKind::Event),
    (CTRD_KIND_GAP, MessageKind::Gap),
    (CTRD_KIND_OVERFLOW, MessageKind::Overflow),
    (CTRD_KIND_PROGRESS, MessageKind::Progress),
    (CTRD_KIND_DONE, MessageKind::Done),
    (CTRD_KIND_CLOSED, MessageKind::Closed),
];

/// Reads the kinds that a program asks for.
pub(crate) fn read_kinds(given: u32) -> Result<Vec<MessageKind>> {
    let known = KINDS.iter().fold(0, |all, (value, _)| all | value);
    arguments::flags("kinds", given.into(), known.into())?;
    Ok(KINDS.iter().filter(|(value, _)| given & value != 0).map(|(_, kind)| *kind).collect())
}

/// A message's origin: the server reported it when it happened.
pub const CTRD_ORIGIN_LIVE: u32 = 1;
/// A message's origin: the library looked it up later, because the connection was broken or the program
/// was restarted.
pub const CTRD_ORIGIN_RECOVERED: u32 = 2;
/// A message's origin: it happened unseen, and nothing holds the details any more.
pub const CTRD_ORIGIN_GAP: u32 = 3;

/// A report about a process, an event, a pull, a submitted call, or messages that are missing.
pub struct ctrd_message_t(Arc<Content>);

struct Content {
    message: Message,
    namespace: CString,
    container_id: CString,
    exec_id: Option<CString>,
    topic: CString,
    /// Made when it is first asked for.
    json: OnceLock<CString>,
    progress: Option<ctrd_progress_list_t>,
    pid: u32,
    generation: u64,
    error: Option<ctrd_error_t>,
    start_error: Option<ctrd_error_t>,
}

/// Takes the result of a submitted call out of its message: a handle.
///
/// # Safety
/// `message` is NULL or a handle that is valid.
pub(crate) unsafe fn take<T: Send + 'static>(message: *const ctrd_message_t) -> Result<Box<T>> {
    // SAFETY: as the caller promises.
    unsafe { take_value(message) }
}

/// The same of a result of any type.
///
/// # Safety
/// As for [`take`].
pub(crate) unsafe fn take_value<V: 'static>(message: *const ctrd_message_t) -> Result<V> {
    // SAFETY: as the caller promises.
    let message = unsafe { message.as_ref() };
    let message = message.ok_or_else(|| Error::invalid("message", "must not be NULL"))?;
    // Taking locks it.
    fork::check()?;
    message.0.message.take_result()
}

impl ctrd_message_t {
    pub(crate) fn new(message: Message) -> Box<ctrd_message_t> {
        // The numbers that a submitted call gives stay in the message.
        let made: Option<ctrd_process_t> = ctrd::ffi::peek_result(&message);
        let pid = message.pid().or(made.map(|made| made.pid));
        let generation = message.generation().or(made.map(|made| made.generation));
        let content = Content {
            namespace: c_string(message.namespace()),
            container_id: c_string(message.container_id()),
            exec_id: message.exec_id().map(c_string),
            topic: c_string(message.topic().unwrap_or_default()),
            json: OnceLock::new(),
            progress: message.progress().map(ctrd_progress_list_t::from),
            pid: pid.or_else(|| ctrd::ffi::peek_result(&message)).unwrap_or(0),
            generation: generation.unwrap_or(0),
            error: message.error().map(|error| ctrd_error_t::new(error, "")),
            start_error: message.start_error().map(|error| ctrd_error_t::new(error, "")),
            message,
        };
        Box::new(ctrd_message_t(Arc::new(content)))
    }
}

/// What a message reports: one of the CTRD_KIND_ values.
///
/// @param message  the message; NULL gives 0.
/// @return the kind; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_kind(message: Option<&ctrd_message_t>) -> u32 {
    guard::read(message, |message| {
        let entry = KINDS.iter().find(|(_, kind)| *kind == message.0.message.kind());
        entry.map_or(0, |(value, _)| *value)
    })
}

/// The tag of the submitted call or of the subscription that a message belongs to.
///
/// @param message  the message; NULL gives 0.
/// @return the tag; 0 for the messages of hooks, and for those that functions give.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_tag(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.message.tag())
}

/// The outcome of a submitted call; of a message of another kind than CTRD_KIND_DONE, the status of
/// ctrd_message_error().
///
/// @param message  the message; NULL gives CTRD_OK.
/// @return CTRD_OK, or the CTRD_E_ value that the call would have returned.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_status(message: Option<&ctrd_message_t>) -> ctrd_status_t {
    guard::read(message, |message| message.0.error.as_ref().map_or(CTRD_OK, |error| error.status))
}

/// The process that a message is about, or the process id that a submitted ctrd_create_container(),
/// ctrd_start_container() or ctrd_container_pid() gives. By the time of an exit's message another process
/// may have the id.
///
/// @param message  the message; NULL gives 0.
/// @return the process id in the host's pid namespace; 0 if there is none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_pid(message: Option<&ctrd_message_t>) -> u32 {
    guard::read(message, |message| message.0.pid)
}

/// How the library learnt of it: CTRD_ORIGIN_LIVE, CTRD_ORIGIN_RECOVERED or CTRD_ORIGIN_GAP.
///
/// @param message  the message; NULL gives 0.
/// @return the origin; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_origin(message: Option<&ctrd_message_t>) -> u32 {
    guard::read(message, |message| match message.0.message.origin() {
        Origin::Live => CTRD_ORIGIN_LIVE,
        Origin::Recovered => CTRD_ORIGIN_RECOVERED,
        Origin::Gap => CTRD_ORIGIN_GAP,
        _ => 0,
    })
}

/// The number of a message among those of its client. Of two messages, the library learnt first of the
/// one with the lower number.
///
/// @param message  the message; NULL gives 0.
/// @return the number, from 1.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_seq(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.message.seq())
}

/// The namespace that a message is from.
///
/// @param message  the message; NULL gives "".
/// @return its name, borrowed from the message; "" if it is from none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_namespace(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::text(message, |message| Some(&message.0.namespace))
}

/// The container that a message is about.
///
/// @param message  the message; NULL gives "".
/// @return its id, borrowed from the message; "" if it is about none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_container_id(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::text(message, |message| Some(&message.0.container_id))
}

/// The executed process that a message is about. The result can be given as the exec_id of a function.
///
/// @param message  the message; NULL gives NULL.
/// @return its id, borrowed from the message; NULL if the message is about a container's first process,
///         or about none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exec_id(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| nullable(message.0.exec_id.as_deref()))
}

/// A number that tells the container of a message from those that had its id before it, or get the id
/// later. It is the same in all messages about the container, also in those that a later run of the
/// program receives, and ctrd_container_info_generation() gives the same. It has no other meaning. The
/// completion of a submitted ctrd_create_container() or ctrd_start_container() has it too.
///
/// @param message  the message; NULL gives 0.
/// @return the number; 0 if the message is not about a container, and for the completions of other calls.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_generation(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.generation)
}

/// How much of the process's output did not reach the program's descriptors, because a descriptor failed,
/// or because the time for the output (drain_ms) was over while its reader was behind. Bytes that are in
/// the program's own pipe or file have reached it.
///
/// A message says what was known when it was given out. All is known when the streams have ended: in the
/// message of ctrd_destroy_container(), and in that of a ctrd_probe() after a clean-up.
///
/// @param message     the message; NULL gives 0.
/// @param stdout_out  receives the number of bytes of standard output, or, of a process with a terminal,
///                    of everything that it wrote. May be NULL.
/// @param stderr_out  receives the number of bytes of standard error. May be NULL.
/// @return 1 if output was lost; 0 if not, and then both numbers are 0.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_output_lost(
    message: Option<&ctrd_message_t>,
    stdout_out: Option<&mut u64>,
    stderr_out: Option<&mut u64>,
) -> i32 {
    guard::value(|| {
        let lost = message.and_then(|message| message.0.message.output_lost());
        let of = |stream: fn(&OutputLost) -> u64| lost.as_ref().map_or(0, stream);
        give(stdout_out, of(OutputLost::stdout));
        give(stderr_out, of(OutputLost::stderr));
        lost.is_some().into()
    })
}

/// The process's exit code: 128 plus the number of the signal if a signal ended it. It is never a guess.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the code if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the code is known, 0 if nothing holds it.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exit_code(
    message: Option<&ctrd_message_t>,
    out: Option<&mut u32>,
) -> i32 {
    guard::read(message, |message| give_present(message.0.message.exit_code(), out))
}

/// When the process ended, by the server's clock.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exit_time(
    message: Option<&ctrd_message_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(message, |message| {
        give_present(message.0.message.exit_time().map(ctrd_time_t::from), out)
    })
}

/// Why the exit code or the time of the exit is missing; for a gap, why the connection broke; for the
/// completion of a submitted call, why it failed.
///
/// @param message  the message; NULL gives NULL.
/// @return the error, borrowed from the message and not to be freed; NULL if nothing is
///         missing or failed.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_error(message: Option<&ctrd_message_t>) -> Option<&ctrd_error_t> {
    guard::read(message, |message| message.0.error.as_ref())
}

/// Why the process never ran.
///
/// @param message  the message; NULL gives NULL.
/// @return the error, borrowed from the message and not to be freed; NULL if the process ran.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_start_error(
    message: Option<&ctrd_message_t>,
) -> Option<&ctrd_error_t> {
    guard::read(message, |message| message.0.start_error.as_ref())
}

/// An event's topic, as in "/tasks/start"; for progress, the reference of the image.
///
/// @param message  the message; NULL gives "".
/// @return the text, borrowed from the message; "" for messages of other kinds.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_topic(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::text(message, |message| Some(&message.0.topic))
}

/// An event as JSON, with its fields named as in containerd; for progress, an array of the items of
/// ctrd_message_progress(). The text is made when it is first asked for; in a child of the process that
/// received the message it is not made any more.
///
/// @param message  the message; NULL gives "".
/// @return the text, borrowed from the message; "" for messages of other kinds.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_json(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::text(message, |message| {
        let content = &message.0;
        // Making it locks it, and in a child it may be locked for good.
        if fork::is_child() {
            return content.json.get().map(CString::as_c_str);
        }
        let make = || c_string(content.message.json().unwrap_or_default());
        Some(content.json.get_or_init(make))
    })
}

/// The progress of a pull: the state of everything that it fetches, as the callback of a pull receives it.
/// ctrd_message_topic() gives the reference of the image.
///
/// @param message  the message; NULL gives NULL.
/// @return the list, borrowed from the message; NULL for messages of other kinds than CTRD_KIND_PROGRESS.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_progress(
    message: Option<&ctrd_message_t>,
) -> Option<&ctrd_progress_list_t> {
    guard::read(message, |message| message.0.progress.as_ref())
}

/// When an event happened, by the server's clock.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_event_time(
    message: Option<&ctrd_message_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(message, |message| {
        give_present(message.0.message.event_time().map(ctrd_time_t::from), out)
    })
}

/// How many messages were dropped, of a message of kind CTRD_KIND_OVERFLOW.
///
/// @param message  the message; NULL gives 0.
/// @return the number; 0 for messages of other kinds.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_dropped(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.message.dropped())
}

/// Takes the message of the exit out of the completion of a submitted ctrd_probe() or
/// ctrd_destroy_container(). It works once, with any handle of the message.
///
/// @param message  the message.
/// @param out      receives the message of the exit, which the caller owns: ctrd_message_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_message(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_message", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Makes another handle of a message, which stays valid when the first is freed.
///
/// @param message  the message; NULL gives NULL.
/// @return the new handle, which the caller owns: ctrd_message_free().
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_ref(
    message: Option<&ctrd_message_t>,
) -> Option<Box<ctrd_message_t>> {
    guard::read(message, |message| Some(Box::new(ctrd_message_t(message.0.clone()))))
}

/// Frees one handle of a message. With the last one, a result that was not taken is released on a thread
/// of the library's.
///
/// @param message  the handle; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_free(message: Option<Box<ctrd_message_t>>) {
    guard::value(|| {
        if fork::is_child() {
            // What it holds may be the parent's, and may be locked.
            std::mem::forget(message);
        } else {
            drop(message);
        }
    });
}
