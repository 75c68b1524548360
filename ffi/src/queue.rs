//! Queues
//!
//! A queue holds messages until they are fetched, and has a descriptor for the program's own loop. If
//! several threads fetch from a queue, each message goes to one of them.

use std::ffi::c_char;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use ctrd::{Call, Queue, QueueConfig, Result, Subscription, SubscriptionConfig};

use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::Maker;
use crate::abi::outputs::Handle;
use crate::abi::queues::{ctrd_queue_t, live_queue};
use crate::abi::{arguments, fork, guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::hook::read_filters;
use crate::message::{ctrd_message_t, read_kinds, take};
use crate::status::ctrd_status_t;

/// How a queue is made. All-zero gives the defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_queue_config_t {
    /// sizeof(ctrd_queue_config_t).
    pub size: usize,
    /// Must be 0.
    pub reserved: usize,
    /// How many events and steps of progress the queue holds before further ones are dropped, at most
    /// 1048576; 0: 1024. Exits and completions are never dropped.
    pub capacity: u32,
    /// How many exits may wait in the queue before the clients that are subscribed make no further
    /// process: creating and starting then answers CTRD_E_RESOURCE_EXHAUSTED. 0: 65536.
    pub max_exits: u32,
    /// How many calls that belong to no client may be in flight; completions that nobody has fetched
    /// count. 0: 1024.
    pub max_calls: u32,
    /// Must be 0.
    pub reserved_2: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers.
unsafe impl arguments::Struct for ctrd_queue_config_t {}

/// Initialises a ctrd_queue_config_t as CTRD_QUEUE_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_config_init(config: *mut ctrd_queue_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads a queue's configuration.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it.
unsafe fn read_config(given: *const ctrd_queue_config_t) -> Result<QueueConfig> {
    let mut config = QueueConfig::new();
    if given.is_null() {
        return Ok(config);
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    arguments::reserved(given.reserved as u64)?;
    arguments::reserved_as("reserved_2", given.reserved_2)?;
    if given.capacity != 0 {
        config = config.capacity(given.capacity as usize);
    }
    if given.max_exits != 0 {
        config = config.max_exits(given.max_exits as usize);
    }
    if given.max_calls != 0 {
        config = config.max_calls(given.max_calls as usize);
    }
    Ok(config)
}

/// Makes a queue. It belongs to no client: subscriptions to any number of clients, and submitted calls,
/// fill it. It makes no thread.
///
/// A queue never holds anything up. If it is full, events and steps of progress that come are dropped,
/// and a message of kind CTRD_KIND_OVERFLOW says how many. Exits and completions are never dropped.
///
/// @param config  how; NULL: the defaults. Only borrowed.
/// @param out     receives the queue, which the caller owns: ctrd_queue_free().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_new(
    config: *const ctrd_queue_config_t,
    out: Option<&mut *mut ctrd_queue_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("queue_new", Handle::required("out", out), err, || {
        // SAFETY: the caller's struct is as the header says.
        let queue = Arc::new(Queue::new(&unsafe { read_config(config)? })?);
        Ok(Box::new(ctrd_queue_t { queue, maker: Maker::here() }))
    })
}

/// What a queue receives of a client. All-zero is refused: a subscription needs kinds. Everything is only
/// borrowed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_subscription_config_t {
    /// sizeof(ctrd_subscription_config_t).
    pub size: usize,
    /// Filters of events, as in ctrd_hook_config_t: filters_len strings. Only with CTRD_KIND_EVENT.
    pub filters: *const *const c_char,
    /// The number of filters.
    pub filters_len: usize,
    /// Must be 0.
    pub reserved: usize,
    /// The tag of its messages: ctrd_message_tag().
    pub tag: u64,
    /// The kinds of messages, at least one: CTRD_KIND_EXIT, CTRD_KIND_EXEC_EXIT, CTRD_KIND_EVENT,
    /// CTRD_KIND_PROGRESS. CTRD_KIND_GAP and CTRD_KIND_OVERFLOW come with them, and CTRD_KIND_CLOSED
    /// when the client is closed.
    pub kinds: u32,
    /// Must be 0.
    pub reserved_2: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_subscription_config_t {}

/// Initialises a ctrd_subscription_config_t as CTRD_SUBSCRIPTION_CONFIG_INIT does, for languages without
/// macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_subscription_config_init(
    config: *mut ctrd_subscription_config_t,
    size: usize,
) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Reads a subscription's configuration.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does.
unsafe fn read_subscription(
    given: *const ctrd_subscription_config_t,
) -> Result<SubscriptionConfig> {
    // SAFETY: as the caller promises.
    let (given, filters) = unsafe {
        let given = arguments::input("config", given)?;
        (given, read_filters(given.filters, given.filters_len)?)
    };
    arguments::reserved(given.reserved as u64)?;
    arguments::reserved_as("reserved_2", given.reserved_2)?;
    Ok(SubscriptionConfig::new(read_kinds(given.kinds)?).filters(filters).tag(given.tag))
}

/// A subscription of a queue to the messages of a client.
pub struct ctrd_subscription_t {
    subscription: Subscription,
    maker: Maker,
}

/// Subscribes a queue to the messages of a client: the queue receives what happens from then on. Which
/// exits and events come is as for ctrd_add_hook(). When the client is closed, the queue receives the
/// exits that are known, and then one last message of kind CTRD_KIND_CLOSED with the subscription's tag.
///
/// @param queue   the queue.
/// @param client  the client.
/// @param config  what the queue receives.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the subscription, which the caller owns: ctrd_subscription_free(). It may be
///                freed before or after the queue and the client. A submitted call gives it by
///                ctrd_message_take_subscription().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: with CTRD_KIND_EVENT until the server sends events, else no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_subscribe(
    queue: *mut ctrd_queue_t,
    client: *mut ctrd_client_t,
    config: *const ctrd_subscription_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_subscription_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("queue_subscribe", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's struct, strings and handles are as the header says.
        let (queue, client, config) =
            unsafe { (live_queue(queue)?, live(client)?, read_subscription(config)?) };
        Ok(operation::of(client, String::new(), move |client, call| {
            let subscription = client.subscribe(&queue, &config, call)?;
            Ok(Box::new(ctrd_subscription_t { subscription, maker: Maker::here() }))
        }))
    })
}

/// Takes the subscription out of the completion of a submitted ctrd_queue_subscribe(). It works once,
/// with any handle of the message.
///
/// @param message  the message.
/// @param out      receives the subscription, which the caller owns: ctrd_subscription_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_subscription(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_subscription_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_subscription", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Ends a subscription. What the queue holds already stays there. In a child of the process that made the
/// subscription, it does nothing.
///
/// @param subscription  the subscription; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_subscription_free(subscription: Option<Box<ctrd_subscription_t>>) {
    guard::value(|| {
        let Some(subscription) = subscription else { return };
        let ctrd_subscription_t { subscription, maker } = *subscription;
        if maker.is_here() {
            drop(subscription);
        } else {
            std::mem::forget(subscription);
        }
    });
}

/// A descriptor that is readable while a queue holds a message (level-triggered). The program may only
/// poll it: the library keeps it, and closes it with ctrd_queue_free(). It is made when it is first asked
/// for, and stays the same.
///
/// @param queue  the queue; NULL gives -1.
/// @return the descriptor; -1 in a child of the process that made the queue, and if no descriptor is left.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_queue_fd(queue: Option<&ctrd_queue_t>) -> i32 {
    guard::descriptor(|| {
        let queue = queue.filter(|queue| queue.maker.is_here())?;
        Some(queue.queue.fd().ok()?.as_fd().as_raw_fd())
    })
}

/// Waits for the next message, and fetches it. ctrd_queue_try_next() does not wait.
///
/// @param queue  the queue.
/// @param call   limits of the call; NULL: the defaults (no end). It cannot be submitted, and its
///               namespace and lease are not used.
/// @param out    receives the message, which the caller owns: ctrd_message_free().
/// @param err    receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_WOULD_BLOCK with CTRD_POLL if there is no message.
///
/// Blocking: until there is a message. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_next(
    queue: *mut ctrd_queue_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("queue_next", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's handle is as the header says.
        let queue = unsafe { live_queue(queue)? };
        let next = move |call: &_| queue.next(call).map(ctrd_message_t::new);
        Ok(operation::of_none(String::new(), None, next).never_submitted())
    })
}

/// Fetches the next message if there is one. Several messages may have come, so a loop that polls the
/// descriptor calls this function until it does not return CTRD_OK.
///
/// @param queue  the queue.
/// @param out    receives the message, which the caller owns: ctrd_message_free().
/// @param err    receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_WOULD_BLOCK if there is no message.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_queue_try_next(
    queue: *mut ctrd_queue_t,
    out: Option<&mut *mut ctrd_message_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("queue_try_next", Handle::required("out", out), err, || {
        fork::check()?;
        // SAFETY: the caller's handle is as the header says.
        let queue = unsafe { live_queue(queue)? };
        queue.next(&Call::new().poll()).map(ctrd_message_t::new)
    })
}

/// Frees a queue with the messages that it holds. Subscriptions to it end. Submitted calls that are under
/// way run on, and their completions are dropped. In a child of the process that made the queue it does
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
            // A submitted call may still hold the core's queue.
            ctrd::ffi::free_queue(&queue.queue);
            drop(queue);
        } else {
            // What it holds is the parent's, and may be locked.
            std::mem::forget(queue);
        }
    });
}
