//! Messages
//!
//! What the library tells: of a process's end, of an event, of what may have been missed. Messages do
//! not change.

use std::ffi::{CString, c_char};
use std::sync::{Arc, OnceLock};

use ctrd::{Message, MessageKind, Origin};

use crate::args::{c_string, give};
use crate::error::ctrd_error_t;
use crate::guard;
use crate::time::{self, ctrd_time_t};

/// A message's kind: a container's first process has ended.
pub const CTRD_MESSAGE_EXIT: u32 = 1;
/// A message's kind: a process that was executed in a container has ended.
pub const CTRD_MESSAGE_EXEC_EXIT: u32 = 2;
/// A message's kind: an event of the server's.
pub const CTRD_MESSAGE_EVENT: u32 = 3;
/// A message's kind: events may have been missed, because the connection was broken and the server
/// does not repeat them. Exits are not among them: those are looked up.
pub const CTRD_MESSAGE_GAP: u32 = 4;
/// A message's kind: a queue or a hook was full, and messages for it were dropped:
/// ctrd_message_dropped().
pub const CTRD_MESSAGE_OVERFLOW: u32 = 5;
/// A message's kind: a step of a pull.
pub const CTRD_MESSAGE_PROGRESS: u32 = 6;

/// A message's origin: from the server, as it happened.
pub const CTRD_ORIGIN_LIVE: u32 = 1;
/// A message's origin: looked up afterwards, because the connection was broken or the program is a
/// later one.
pub const CTRD_ORIGIN_RECOVERED: u32 = 2;
/// A message's origin: it happened while nobody could see it, and no source holds the details.
pub const CTRD_ORIGIN_GAP: u32 = 3;

/// What the library tells. Its texts are borrowed: they are valid until it is freed.
pub struct ctrd_message_t(Arc<Content>);

struct Content {
    message: Message,
    namespace: CString,
    container_id: CString,
    exec_id: Option<CString>,
    topic: Option<CString>,
    /// Made when it is asked for.
    json: OnceLock<Option<CString>>,
    error: Option<ctrd_error_t>,
    start_error: Option<ctrd_error_t>,
}

impl ctrd_message_t {
    pub(crate) fn new(message: Message) -> Box<ctrd_message_t> {
        let content = Content {
            namespace: c_string(message.namespace()),
            container_id: c_string(message.container_id()),
            exec_id: message.exec_id().map(c_string),
            topic: message.topic().map(c_string),
            json: OnceLock::new(),
            error: message.error().map(|error| ctrd_error_t::new(error, "")),
            start_error: message.start_error().map(|error| ctrd_error_t::new(error, "")),
            message,
        };
        Box::new(ctrd_message_t(Arc::new(content)))
    }
}

/// A text that may not be there.
fn optional(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

/// What a message is about: one of the CTRD_MESSAGE_ values.
///
/// @param message  the message; NULL gives 0.
/// @return the kind; values that are not named here may be added.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_kind(message: Option<&ctrd_message_t>) -> u32 {
    guard::read(message, |message| match message.0.message.kind() {
        MessageKind::Exit => CTRD_MESSAGE_EXIT,
        MessageKind::ExecExit => CTRD_MESSAGE_EXEC_EXIT,
        MessageKind::Event => CTRD_MESSAGE_EVENT,
        MessageKind::Gap => CTRD_MESSAGE_GAP,
        MessageKind::Overflow => CTRD_MESSAGE_OVERFLOW,
        MessageKind::Progress => CTRD_MESSAGE_PROGRESS,
        _ => 0,
    })
}

/// How the library came to know: CTRD_ORIGIN_LIVE, CTRD_ORIGIN_RECOVERED or CTRD_ORIGIN_GAP.
///
/// @param message  the message; NULL gives 0.
/// @return the origin; 0 for one that has no value yet.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_origin(message: Option<&ctrd_message_t>) -> u32 {
    guard::read(message, |message| match message.0.message.origin() {
        Origin::Live => CTRD_ORIGIN_LIVE,
        Origin::Recovered => CTRD_ORIGIN_RECOVERED,
        Origin::Gap => CTRD_ORIGIN_GAP,
        _ => 0,
    })
}

/// The number of a message among those of its client: of two, the library came to know the one with
/// the lower number first.
///
/// @param message  the message; NULL gives 0.
/// @return the number, from 1.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_seq(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.message.seq())
}

/// The namespace that a message is from.
///
/// @param message  the message; NULL gives NULL.
/// @return its name, borrowed from the message; empty where it is about none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_namespace(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| message.0.namespace.as_ptr())
}

/// The container that the message is about.
///
/// @param message  the message; NULL gives NULL.
/// @return its id, borrowed from the message; empty where it is about none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_container_id(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| message.0.container_id.as_ptr())
}

/// The exec that the message is about.
///
/// @param message  the message; NULL gives NULL.
/// @return its id, borrowed from the message; NULL where it is about the container's first process.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exec_id(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| optional(message.0.exec_id.as_ref()))
}

/// The process's exit code: 128 and the signal's number where a signal ended it. It is never a
/// guess.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the code where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the code is known, 0 where no source holds it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exit_code(
    message: Option<&ctrd_message_t>,
    out: Option<&mut u32>,
) -> i32 {
    guard::read(message, |message| match message.0.message.exit_code() {
        Some(code) => {
            give(out, code);
            1
        }
        None => 0,
    })
}

/// When the process ended, by the server's clock.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_exit_time(
    message: Option<&ctrd_message_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(message, |message| time::give(message.0.message.exit_time(), out))
}

/// Why the exit code or time is missing; of a gap, why the connection was broken.
///
/// @param message  the message; NULL gives NULL.
/// @return the error, borrowed from the message and not to be freed; NULL where nothing is missing.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_error(message: Option<&ctrd_message_t>) -> Option<&ctrd_error_t> {
    guard::read(message, |message| message.0.error.as_ref())
}

/// Why the process never ran.
///
/// @param message  the message; NULL gives NULL.
/// @return the error, borrowed from the message and not to be freed; NULL where the process ran.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_start_error(
    message: Option<&ctrd_message_t>,
) -> Option<&ctrd_error_t> {
    guard::read(message, |message| message.0.start_error.as_ref())
}

/// An event's topic, as "/tasks/start"; the reference of the image that progress is about.
///
/// @param message  the message; NULL gives NULL.
/// @return the text, borrowed from the message; NULL where it has none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_topic(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| optional(message.0.topic.as_ref()))
}

/// An event as JSON, with the fields as containerd names them; progress as an array of everything
/// that the pull fetches. It is made when it is asked for first.
///
/// @param message  the message; NULL gives NULL.
/// @return the text, borrowed from the message; NULL where it has none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_json(message: Option<&ctrd_message_t>) -> *const c_char {
    guard::read(message, |message| {
        let content = &message.0;
        optional(content.json.get_or_init(|| content.message.json().map(c_string)).as_ref())
    })
}

/// When an event happened, by the server's clock.
///
/// @param message  the message; NULL gives 0.
/// @param out      receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_event_time(
    message: Option<&ctrd_message_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(message, |message| time::give(message.0.message.event_time(), out))
}

/// How many messages were dropped, of a CTRD_MESSAGE_OVERFLOW.
///
/// @param message  the message; NULL gives 0.
/// @return the number; 0 of every other kind.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_dropped(message: Option<&ctrd_message_t>) -> u64 {
    guard::read(message, |message| message.0.message.dropped())
}

/// Gives one more handle of a message, which outlives the first.
///
/// @param message  the message; NULL gives NULL.
/// @return the new handle, which the caller owns: ctrd_message_free().
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_ref(
    message: Option<&ctrd_message_t>,
) -> Option<Box<ctrd_message_t>> {
    guard::read(message, |message| Some(Box::new(ctrd_message_t(message.0.clone()))))
}

/// Frees one handle of a message.
///
/// @param message  the handle, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_message_free(message: Option<Box<ctrd_message_t>>) {
    guard::value(|| drop(message));
}
