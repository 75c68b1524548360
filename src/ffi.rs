//! Items of this crate that only the C interface needs. It is no part of the Rust API, and may change
//! with any version.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::client::{self, Client};
use crate::client_config::ClientConfig;
use crate::container::{DestroyConfig, RestartConfig};
use crate::delivery::HookId;
use crate::error::{ErrorKind, Result};
use crate::message::Message;
use crate::queue::Queue;
use crate::stdio::{self, Stream};

/// Every kind of error.
pub const ERROR_KINDS: &[ErrorKind] = ErrorKind::ALL;

/// Closes a client as the drop of its last handle does. That drop then does not wait again. A C
/// program frees its handle by a pointer, and its hooks may use the same pointer. So the hooks
/// must have ended before the handle is dropped; and the drop is not that of the last handle if
/// a call in a hook has a clone.
pub fn close_before_free(client: &Client) {
    client::close_before_free(client);
}

/// Frees what a queue holds, and closes its descriptor: also while a submitted call still holds the
/// queue.
pub fn free_queue(queue: &Queue) {
    queue.free();
}

/// The address that a client is opened with.
pub fn address(config: &ClientConfig) -> &str {
    &config.address
}

/// The timeout of a client's calls that name none.
pub fn call_timeout(client: &Client) -> Duration {
    client.config().call_timeout
}

/// How long a destroy may take if its call names no timeout. `None`: without a limit.
pub fn destroy_timeout(client: &Client, config: &DestroyConfig) -> Option<Duration> {
    config.default_timeout(call_timeout(client))
}

/// How long a restart may take if its call names no timeout. `None`: without a limit.
pub fn restart_timeout(client: &Client, config: &RestartConfig) -> Option<Duration> {
    config.default_timeout(call_timeout(client))
}

/// The number of a hook.
pub fn hook_number(hook: HookId) -> u64 {
    hook.0
}

/// The hook with a number.
pub fn hook_with_number(number: u64) -> HookId {
    HookId(number)
}

/// A stream of a duplicate of a descriptor that the program keeps. `argument` names the descriptor
/// in the error.
pub fn duplicate(argument: &str, fd: BorrowedFd<'_>) -> Result<Stream> {
    stdio::duplicate(argument, fd)
}

/// A copy of what a submitted call has made, which stays in the message. `None` if there is no
/// result of this type any more.
pub fn peek_result<T: Clone + 'static>(message: &Message) -> Option<T> {
    message.peek_result()
}
