//! Queues
//!
//! A queue holds messages until they are fetched, and has a descriptor for the caller's own loop.
//! Several threads may fetch from one: each message goes to one of them.

use std::ffi::c_char;
use std::os::fd::AsRawFd;

use ctrd::{Error, MessageKind, Queue, QueueConfig};

use crate::args;
use crate::call::{self, ctrd_call_t};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::hook::read_filters;
use crate::message::ctrd_message_t;
use crate::status::ctrd_status_t;

/// A kind that a queue is told of: the exits of containers' first processes, as
/// ctrd_add_stop_hook() is.
pub const CTRD_KIND_EXIT: u64 = 1;
/// A kind that a queue is told of: the exits of processes that were executed in containers.
pub const CTRD_KIND_EXEC_EXIT: u64 = 2;
/// A kind that a queue is told of: the server's events, as ctrd_add_event_hook() is; with them come
/// CTRD_MESSAGE_GAP.
pub const CTRD_KIND_EVENT: u64 = 4;
/// A kind that a queue is told of: the progress of this client's pulls.
pub const CTRD_KIND_PROGRESS: u64 = 8;

const KINDS: [(u64, MessageKind); 4] = [
    (CTRD_KIND_EXIT, MessageKind::Exit),
    (CTRD_KIND_EXEC_EXIT, MessageKind::ExecExit),
    (CTRD_KIND_EVENT, MessageKind::Event),
    (CTRD_KIND_PROGRESS, MessageKind::Progress),
];

/// Messages that wait to be fetched.
pub struct ctrd_queue_t {
    queue: Queue,
    process: u32,
}

/// Opens a queue. What happens from then on goes into it.
///
/// A queue that is full blocks nobody: what comes then is dropped, exits too, and a
/// CTRD_MESSAGE_OVERFLOW says how many, at the place where they are missing.
///
/// @param client       the client.
/// @param kinds        what the queue is told of: CTRD_KIND_ values, at least one.
/// @param filters      filters_len filters of events, any of which an event has to pass, as for
///                     ctrd_add_event_hook(). NULL and 0: none, and all events. Only with
///                     CTRD_KIND_EVENT.
/// @param filters_len  see filters.
/// @param capacity     how many messages it holds, at most 1048576; 0: 1024.
/// @param call         bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out          receives the queue, which the caller owns: ctrd_queue_free().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by its
///         position: "filters[1]"; CTRD_E_IO where no descriptor, or for events no thread, is left;
///         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED;
///         CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: with CTRD_KIND_EVENT until the server sends events. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_open(
    client: Option<&ctrd_client_t>,
    kinds: u64,
    filters: *const *const c_char,
    filters_len: usize,
    capacity: u32,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_queue_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("queue_open", Out::required("out", out), err, || {
        let client = live(client)?;
        args::flags("kinds", kinds, KINDS.iter().fold(0, |all, (flag, _)| all | flag))?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (filters, call) = unsafe { (read_filters(filters, filters_len)?, call::read(call)?) };
        let mut config = QueueConfig { filters, ..QueueConfig::default() };
        config.kinds =
            KINDS.iter().filter(|(flag, _)| kinds & flag != 0).map(|(_, k)| *k).collect();
        if capacity != 0 {
            config.capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        }
        let queue = client.open_queue(&config, &call)?;
        Ok(Box::new(ctrd_queue_t { queue, process: std::process::id() }))
    })
}

/// A descriptor that is readable while a queue holds a message, and once its client is closed. It is
/// only to be polled: the library keeps it, and closes it with ctrd_queue_free().
///
/// @param queue  the queue; NULL gives -1.
/// @return the descriptor; -1 in a child of the process that opened the queue.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_queue_fd(queue: Option<&ctrd_queue_t>) -> i32 {
    guard::descriptor(|| {
        let queue = queue.filter(|queue| queue.process == std::process::id())?;
        Some(queue.queue.fd().as_raw_fd())
    })
}

/// Fetches the next message. A loop that polls the descriptor calls it with CTRD_POLL until it answers
/// CTRD_E_WOULD_BLOCK: several messages may have come.
///
/// @param queue  the queue.
/// @param call   bounds of the call; NULL: the default, without an end. CTRD_POLL: not to wait. Its
///               namespace and lease are of no use.
/// @param out    receives the message, which the caller owns: ctrd_message_free().
/// @param err    receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_WOULD_BLOCK with CTRD_POLL where there is none;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED where the client is closed or freed and
///         what was in the queue is fetched; CTRD_E_FORKED.
///
/// Blocking: until there is a message. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_next(
    queue: Option<&ctrd_queue_t>,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("queue_next", Out::required("out", out), err, || {
        let queue = queue.ok_or_else(|| Error::invalid("queue", "must not be NULL"))?;
        // SAFETY: the caller's structs and strings are as the header says.
        let message = queue.queue.next(&unsafe { call::read(call)? })?;
        Ok(ctrd_message_t::new(message))
    })
}

/// Frees a queue with the messages that it holds. In a child of the process that opened it, it does
/// nothing to the parent's.
///
/// @param queue  the queue, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_queue_free(queue: Option<Box<ctrd_queue_t>>) {
    guard::value(|| drop(queue));
}
