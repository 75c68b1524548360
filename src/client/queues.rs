//! Queues: subscriptions of them, and submitted calls.

use super::Client;
use crate::call::Call;
use crate::delivery::{Subscription, SubscriptionConfig};
use crate::error::{Result, ResultExt};
use crate::filter;
use crate::inner::Inner;
use crate::queue::Queue;
use crate::submit::Submission;

impl Client {
    /// Subscribes a queue to messages of this client. See [`SubscriptionConfig`]; which exits and events
    /// come, and how long it blocks, is as for [`Client::add_hook`].
    pub fn subscribe(
        &self,
        queue: &Queue,
        config: &SubscriptionConfig,
        call: &Call,
    ) -> Result<Subscription> {
        let subscribe = || {
            config.check()?;
            queue.shared().check_process()?;
            let filters = filter::render(&config.filters)?;
            let operation = self.inner.begin(call)?;
            let added = self.inner.bus.subscribe(queue, config)?;
            if config.wants_events() {
                self.feed(&operation, filters, added.sink, added.liveness)?;
            }
            Ok(added.consumer)
        };
        subscribe().at("queue_subscribe", "")
    }

    /// Submits a call of this client: `operation` runs on a thread of the library, and its completion
    /// comes through `queue` with `tag`. Does not block. See [`Submission::submit`] for the errors.
    ///
    /// **`operation` may run several times** until its first operation of the library is over. It passes
    /// that operation's error on with `?`, and does nothing of its own before it that must not happen
    /// twice. See [`Submission::submit`].
    ///
    /// A call that names no timeout has none while it waits for a thread or for its container:
    /// [`Submission::default_timeout`] sets one.
    ///
    /// The call keeps the client open until it completes, also if the program drops its last handle of
    /// the client. [`Client::close`] completes it with [`crate::ErrorKind::Closed`] if it waits, and
    /// otherwise waits for it.
    ///
    /// ```no_run
    /// use ctrd::{Call, Client, ClientConfig, Image, Queue, QueueConfig};
    ///
    /// # fn main() -> ctrd::Result<()> {
    /// let client = Client::open(&ClientConfig::new(), &Call::new())?;
    /// let queue = Queue::new(&QueueConfig::new())?;
    /// client.submit(&queue, 1, &Call::new(), |client, call| client.get_image("busybox", call))?;
    /// let image: Image = queue.next(&Call::new())?.take_result()?;
    /// # drop(image);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit<T: Send + 'static>(
        &self,
        queue: &Queue,
        tag: u64,
        call: &Call,
        mut operation: impl FnMut(&Client, &Call) -> Result<T> + Send + 'static,
    ) -> Result<()> {
        let client = self.clone();
        self.submission(queue, tag).submit(call, move |call| operation(&client, call))
    }

    /// Submits a call that changes the container `id`: it runs after the calls that were submitted
    /// before it in this way and change the same container. Otherwise as [`Client::submit`].
    ///
    /// ```no_run
    /// use ctrd::{Call, Client, ClientConfig, NewProcess, Queue, QueueConfig};
    ///
    /// # fn main() -> ctrd::Result<()> {
    /// let client = Client::open(&ClientConfig::new(), &Call::new())?;
    /// let queue = Queue::new(&QueueConfig::new())?;
    /// client.submit_change(&queue, 1, "hello", &Call::new(), |client, call| {
    ///     client.start_container("hello", call)
    /// })?;
    /// let process: NewProcess = queue.next(&Call::new())?.take_result()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_change<T: Send + 'static>(
        &self,
        queue: &Queue,
        tag: u64,
        id: &str,
        call: &Call,
        mut operation: impl FnMut(&Client, &Call) -> Result<T> + Send + 'static,
    ) -> Result<()> {
        let client = self.clone();
        self.change(queue, tag, id).submit(call, move |call| operation(&client, call))
    }

    /// A call of this client that is to be submitted, to set more than [`Client::submit`] does.
    pub fn submission<'a>(&self, queue: &'a Queue, tag: u64) -> Submission<'a> {
        Submission::new(queue, tag).of(&self.inner.calls)
    }

    /// The same of a call that changes the container `id`: see [`Client::submit_change`].
    pub fn change<'a>(&self, queue: &'a Queue, tag: u64, id: &str) -> Submission<'a> {
        let Inner { locks, config, .. } = &*self.inner;
        self.submission(queue, tag).changing(locks, &config.namespace, id)
    }
}
