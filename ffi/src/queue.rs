//! Queues
//!
//! A queue holds messages until they are fetched, and has a descriptor for the program's own loop. If
//! several threads fetch from a queue, each message goes to one of them.

use std::ffi::c_char;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ctrd::{Error, QueueConfig};

use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::Maker;
use crate::abi::outputs::Handle;
use crate::abi::queues::ctrd_queue_t;
use crate::abi::{arguments, guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::hook::read_filters;
use crate::message::{
    CTRD_KIND_EVENT, CTRD_KIND_EXEC_EXIT, CTRD_KIND_EXIT, CTRD_KIND_PROGRESS, KINDS, ctrd_message_t,
};
use crate::status::ctrd_status_t;

/// The kinds of messages that a queue can be opened for.
const QUEUED: u32 = CTRD_KIND_EXIT | CTRD_KIND_EXEC_EXIT | CTRD_KIND_EVENT | CTRD_KIND_PROGRESS;

/// Opens a queue. It receives what happens from then on. Messages of kind CTRD_KIND_OVERFLOW come in any
/// case, and with CTRD_KIND_EVENT those of kind CTRD_KIND_GAP.
///
/// A queue that is full holds up nothing: messages that come then are dropped, exits too. A message of
/// kind CTRD_KIND_OVERFLOW stands in their place, and says how many they were.
///
/// @param client       the client.
/// @param kinds        the kinds of messages, at least one: CTRD_KIND_EXIT, CTRD_KIND_EXEC_EXIT,
///                     CTRD_KIND_EVENT, CTRD_KIND_PROGRESS.
/// @param filters      filters of events, as for ctrd_add_event_hook(): filters_len strings. Only with
///                     CTRD_KIND_EVENT.
/// @param filters_len  the number of filters.
/// @param capacity     how many messages the queue holds, at most 1048576; 0: 1024.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out          receives the queue, which the caller owns: ctrd_queue_free().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: with CTRD_KIND_EVENT until the server sends events, else no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_open(
    client: *mut ctrd_client_t,
    kinds: u32,
    filters: *const *const c_char,
    filters_len: usize,
    capacity: u32,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_queue_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("queue_open", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, filters) = unsafe { (live(client)?, read_filters(filters, filters_len)?) };
        arguments::flags("kinds", kinds.into(), QUEUED.into())?;
        let mut config = QueueConfig { filters, ..QueueConfig::default() };
        config.kinds =
            KINDS.iter().filter(|(value, _)| kinds & value != 0).map(|(_, kind)| *kind).collect();
        if capacity != 0 {
            config.capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        }
        Ok(move |call: &_| {
            let queue = Arc::new(client.open_queue(&config, call)?);
            Ok(Box::new(ctrd_queue_t { queue, maker: Maker::here() }))
        })
    })
}

/// A descriptor that is readable while a queue holds a message, and once its client is closed
/// (level-triggered). The program may only poll it: the library keeps it, and closes it with
/// ctrd_queue_free().
///
/// @param queue  the queue; NULL gives -1.
/// @return the descriptor; -1 in a child of the process that opened the queue.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_queue_fd(queue: Option<&ctrd_queue_t>) -> i32 {
    guard::descriptor(|| {
        let queue = queue.filter(|queue| queue.maker.is_here())?;
        Some(queue.queue.fd().as_raw_fd())
    })
}

/// Fetches the next message. Several messages may have come, so a loop that polls the descriptor calls
/// this function with CTRD_POLL until it answers CTRD_E_WOULD_BLOCK.
///
/// @param queue  the queue.
/// @param call   limits of the call; NULL: the defaults (no end). It cannot be submitted, and its
///               namespace and lease are not used.
/// @param out    receives the message, which the caller owns: ctrd_message_free().
/// @param err    receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_WOULD_BLOCK with CTRD_POLL if there is no message; CTRD_E_CLOSED if the client
///         is closed or freed, and every message has been fetched.
///
/// Blocking: until there is a message. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_next(
    queue: *mut ctrd_queue_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run_here("queue_next", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's handle is as the header says.
        let queue = unsafe { queue.as_ref() };
        let queue = queue.ok_or_else(|| Error::invalid("queue", "must not be NULL"))?;
        queue.maker.check("queue")?;
        let queue = queue.queue.clone();
        Ok(move |call: &_| queue.next(call).map(ctrd_message_t::new))
    })
}

/// Frees a queue with the messages that it holds. In a child of the process that opened it, it does
/// nothing.
///
/// @param queue  the queue; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_queue_free(queue: Option<Box<ctrd_queue_t>>) {
    guard::value(|| {
        let Some(queue) = queue else { return };
        if queue.maker.is_here() {
            drop(queue);
        } else {
            // What it holds is the parent's, and may be locked.
            std::mem::forget(queue);
        }
    });
}
