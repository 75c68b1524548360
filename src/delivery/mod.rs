//! The consumers of messages: hooks on threads of the library, hooks that the host's own thread runs,
//! and subscriptions of queues.
//!
//! A thread that publishes a message, which may be gRPC's, only puts it into the consumers' lists: no
//! code of the host's runs here, and nothing waits.

mod dispatch;
mod hook;
mod liveness;
mod subscription;
mod threads;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::{Body, Dropped, Message, MessageKind, Origin};
use crate::queue::Queue;
use dispatch::Dispatch;
use hook::Hook;
pub use hook::{HookConfig, HookId, HookMode};
pub(crate) use hook::{Run, inside};
pub(crate) use liveness::Liveness;
use liveness::{Alive, liveness};
use subscription::Subscriber;
pub use subscription::{Subscription, SubscriptionConfig};
pub(crate) use threads::Job;
use threads::Threads;

/// How long a hook that runs already is waited for where adding it fails.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The consumers of a client's messages.
#[derive(Clone)]
pub(crate) struct Bus(Arc<Shared>);

struct Shared {
    seq: AtomicU64,
    /// How many messages were dropped, over all that were full.
    dropped: AtomicU64,
    reconnects: AtomicU64,
    consumers: Mutex<Consumers>,
    threads: Threads,
    dispatch: Dispatch,
}

#[derive(Default)]
struct Consumers {
    list: Vec<Consumer>,
    /// Hooks that were removed and may not be gone yet: another call that removes them waits for that.
    leaving: Vec<Arc<Hook>>,
    next: u64,
    closed: bool,
}

struct Consumer {
    id: u64,
    wants: Wants,
    sink: Sink,
    /// Gone with the consumer: the subscription that brings it events then ends.
    _alive: Alive,
}

/// Which messages a consumer wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    /// Events come by a subscription of the consumer's own.
    pub(crate) kinds: Vec<MessageKind>,
    /// Only messages about this container, of any namespace.
    pub(crate) container: Option<String>,
    /// Only messages about this exec.
    pub(crate) exec: Option<String>,
}

/// A consumer that was added.
pub(crate) struct Added<T> {
    pub(crate) consumer: T,
    pub(crate) sink: Sink,
    pub(crate) liveness: Liveness,
}

impl Wants {
    fn include(&self, message: &Message) -> bool {
        self.kinds.contains(&message.kind())
            && self.container.as_ref().is_none_or(|id| id == message.container_id())
            && self.exec.as_deref().is_none_or(|id| Some(id) == message.exec_id())
    }
}

/// Where a consumer's messages go.
#[derive(Clone)]
pub(crate) enum Sink {
    Hook(Arc<Hook>),
    Queue(Arc<Subscriber>),
}

/// A message for a hook, and the job that runs once all hooks that got the message have returned.
pub(crate) struct Item {
    message: Message,
    /// Held until the hook has returned.
    _after: Option<Arc<After>>,
}

/// Runs its job when the last hook that holds it has returned.
pub(crate) struct After {
    job: Mutex<Option<Job>>,
    threads: Threads,
}

impl After {
    /// Sets the job, also while hooks run.
    pub(crate) fn set(&self, job: Job) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }
}

impl Drop for After {
    fn drop(&mut self) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        job.into_iter().for_each(|job| self.threads.run(job));
    }
}

impl Consumers {
    /// Sees to it that the hooks among those that were taken off the list are not started again: under
    /// the same lock, so that a caller that does not find one on the list can rely on it.
    fn leave(&mut self, removed: &[Consumer]) {
        for consumer in removed {
            if let Sink::Hook(hook) = &consumer.sink {
                hook.remove();
                self.leaving.push(hook.clone());
            }
        }
    }
}

impl Bus {
    /// `executor` tries again what no thread can be made for.
    pub(crate) fn new(executor: &Executor) -> Bus {
        Bus(Arc::new(Shared {
            seq: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            consumers: Mutex::default(),
            threads: Threads::new(executor.clone()),
            dispatch: Dispatch::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Consumers> {
        self.0.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of this kind that says nothing yet, with its number.
    pub(crate) fn body(&self, kind: MessageKind) -> Body {
        Body::new(kind, self.0.seq.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// How many messages were dropped because a queue or hook was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Whether anybody wants messages of this kind.
    pub(crate) fn wants(&self, kind: MessageKind) -> bool {
        self.lock().list.iter().any(|consumer| consumer.wants.kinds.contains(&kind))
    }

    /// What is to be done after a message, on a thread of the library's.
    pub(crate) fn after(&self, job: Option<Job>) -> Arc<After> {
        Arc::new(After { job: Mutex::new(job), threads: self.0.threads.clone() })
    }

    /// Tells everybody who wants it, each in the order of these calls. `after` comes once all hooks have
    /// returned.
    pub(crate) fn publish(&self, message: &Message, after: Option<Arc<After>>) {
        let mut hooks = Vec::new();
        {
            let consumers = self.lock();
            for consumer in consumers.list.iter().filter(|c| c.wants.include(message)) {
                match &consumer.sink {
                    Sink::Hook(hook) => {
                        let item = Item { message: message.clone(), _after: after.clone() };
                        hooks.extend(self.give(hook, item));
                    }
                    Sink::Queue(subscriber) => subscriber.push(&self.0, message),
                }
            }
        }
        hooks.into_iter().for_each(|hook| self.0.threads.wake(hook));
        drop(after);
    }

    /// Tells one consumer.
    pub(crate) fn tell(&self, sink: &Sink, message: Message) {
        match sink {
            Sink::Hook(hook) => {
                let hook = self.give(hook, Item { message, _after: None });
                hook.into_iter().for_each(|hook| self.0.threads.wake(hook));
            }
            Sink::Queue(subscriber) => subscriber.push(&self.0, &message),
        }
    }

    /// Fails if so many exits wait in a queue that no further process is to be made.
    pub(crate) fn check_backlog(&self) -> Result<()> {
        let is_full = |consumer: &Consumer| match &consumer.sink {
            Sink::Queue(subscriber) => subscriber.is_full_of_exits(),
            Sink::Hook(_) => false,
        };
        if self.lock().list.iter().any(is_full) {
            let why = "a queue of this client holds too many exits that nobody has fetched";
            return Err(Error::new(ErrorKind::ResourceExhausted, why).with_retryable(true));
        }
        Ok(())
    }

    /// Puts a message where the hook finds it; gives the hook where a thread is to be woken for it.
    fn give(&self, hook: &Arc<Hook>, item: Item) -> Option<Arc<Hook>> {
        if !hook.push(item) {
            return None;
        }
        match hook.mode() {
            HookMode::Thread => Some(hook.clone()),
            HookMode::Dispatch => {
                self.0.dispatch.push(hook.clone());
                None
            }
        }
    }

    fn add(&self, wants: Wants, make: impl FnOnce(u64) -> Sink) -> Result<Added<u64>> {
        let (alive, liveness) = liveness();
        let mut consumers = self.lock();
        // Queues that the program has freed.
        let freed: Vec<Consumer> = consumers.list.extract_if(.., |c| c.is_freed()).collect();
        if consumers.closed {
            drop(consumers);
            drop(freed);
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        consumers.next += 1;
        let id = consumers.next;
        let sink = make(id);
        let consumer = Consumer { id, wants, sink: sink.clone(), _alive: alive };
        consumers.list.push(consumer);
        drop(consumers);
        drop(freed);
        Ok(Added { consumer: id, sink, liveness })
    }

    /// Adds a hook.
    pub(crate) fn add_hook(&self, config: &HookConfig, run: Run) -> Result<Added<HookId>> {
        let bus = Arc::downgrade(&self.0);
        let make = |id| Sink::Hook(Arc::new(Hook::new(id, config, run, bus)));
        let Added { consumer, sink, liveness } = self.add(config.wants(), make)?;
        Ok(Added { consumer: HookId(consumer), sink, liveness })
    }

    /// Adds a subscription of a queue.
    pub(crate) fn subscribe(
        &self,
        queue: &Queue,
        config: &SubscriptionConfig,
    ) -> Result<Added<Subscription>> {
        let subscriber = Arc::new(Subscriber::new(queue.shared().clone(), config.tag));
        let added = self.add(config.wants(), |_| Sink::Queue(subscriber))?;
        let Added { consumer, sink, liveness } = added;
        let bus = Arc::downgrade(&self.0);
        Ok(Added { consumer: Subscription::new(bus, consumer), sink, liveness })
    }

    /// Takes a consumer off the list, for the caller to see to the rest.
    fn remove(&self, id: u64) -> Option<Consumer> {
        let mut consumers = self.lock();
        let position = consumers.list.iter().position(|consumer| consumer.id == id)?;
        Some(consumers.list.remove(position))
    }

    /// Removes a hook. When this returns, the hook does not run, and its function is dropped; a call from
    /// inside a hook does not wait for that. If the limits end the wait, the hook is not started again,
    /// and another call can go on waiting.
    pub(crate) fn remove_hook(&self, id: HookId, limits: &Limits) -> Result<()> {
        let (hook, removed) = {
            let mut consumers = self.lock();
            consumers.leaving.retain(|hook| !hook.is_gone());
            let is_it = |consumer: &Consumer| match &consumer.sink {
                Sink::Hook(_) => consumer.id == id.0,
                Sink::Queue(_) => false,
            };
            let removed = consumers.list.iter().position(is_it).map(|at| consumers.list.remove(at));
            consumers.leave(removed.as_slice());
            let hook = consumers.leaving.iter().find(|hook| hook.id() == id.0).cloned();
            (hook, removed)
        };
        let Some(hook) = hook else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no hook {}", id.0)));
        };
        drop(removed);
        hook.end();
        if inside() { Ok(()) } else { hook.wait_until_gone(limits) }
    }

    /// Removes a hook whose subscription to events failed. Events may have come before the call's limits
    /// ended it: then the hook may run, and is not waited for much longer.
    pub(crate) fn withdraw_hook(&self, id: HookId) {
        if let Err(e) = self.remove_hook(id, &Limits::within(WITHDRAWAL)) {
            log::debug!("hook {}: {e}", id.0);
        }
    }

    /// A descriptor that is readable while there is something to dispatch.
    pub(crate) fn dispatch_fd(&self) -> Result<std::os::fd::BorrowedFd<'_>> {
        self.0.dispatch.fd()
    }

    /// Runs hooks on the calling thread, for at most so many messages. Gives their number.
    pub(crate) fn dispatch(&self, max: usize) -> Result<usize> {
        self.0.dispatch.run(max)
    }

    /// Runs a job that may block on a thread of the library's. After the close it is dropped.
    pub(crate) fn run(&self, job: Job) {
        self.0.threads.run(job);
    }

    /// Has hooks run for which no thread could be made before. Any operation that begins calls it.
    pub(crate) fn retry(&self) {
        self.0.threads.retry();
    }

    /// Counts a subscription to events that was opened again.
    pub(crate) fn count_reconnect(&self) {
        self.0.reconnects.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.0.reconnects.load(Ordering::SeqCst)
    }

    /// Starts no hook any more, and tells the queues that the client is closed.
    pub(crate) fn shut(&self) {
        let (consumers, leaving) = {
            let mut consumers = self.lock();
            consumers.closed = true;
            let list = std::mem::take(&mut consumers.list);
            consumers.leave(&list);
            (list, consumers.leaving.clone())
        };
        for consumer in consumers {
            if let Sink::Queue(subscriber) = &consumer.sink {
                subscriber.push(&self.0, &Message::new(self.body(MessageKind::Closed)));
            }
        }
        leaving.iter().for_each(|hook| hook.end());
        self.0.threads.shut();
    }

    /// Waits until every hook is gone, and the threads have ended. Not for who is inside a hook.
    pub(crate) fn end(&self, limits: &Limits) -> Result<()> {
        self.0.dispatch.end(limits)?;
        let leaving = self.lock().leaving.clone();
        leaving.iter().try_for_each(|hook| hook.wait_until_gone(limits))?;
        self.0.threads.end(limits)
    }
}

impl Consumer {
    fn is_freed(&self) -> bool {
        matches!(&self.sink, Sink::Queue(subscriber) if subscriber.is_freed())
    }
}

/// The message that says that so many were dropped.
fn overflow(seq: u64, dropped: u64) -> Message {
    Message::new(Body {
        dropped: Dropped::number(dropped),
        ..Body::new(MessageKind::Overflow, seq)
    })
}

/// The message about a subscription that was broken.
pub(crate) fn gap(bus: &Bus, why: Error) -> Message {
    Message::new(Body { origin: Origin::Gap, error: Some(why), ..bus.body(MessageKind::Gap) })
}

impl Shared {
    /// Counts a message that was dropped.
    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }

    fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[cfg(test)]
mod tests;
