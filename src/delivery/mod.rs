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

/// How long to wait for a hook that already runs, if adding it fails.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The consumers of a client's messages.
#[derive(Clone)]
pub(crate) struct Bus(Arc<Shared>);

struct Shared {
    seq: AtomicU64,
    /// How many messages were dropped, summed over all full consumers.
    dropped: AtomicU64,
    reconnects: AtomicU64,
    consumers: Mutex<Consumers>,
    threads: Threads,
    dispatch: Dispatch,
}

#[derive(Default)]
struct Consumers {
    list: Vec<Consumer>,
    /// Hooks that were removed and may still run: another call that removes the same hook waits for
    /// them.
    leaving: Vec<Arc<Hook>>,
    next: u64,
    closed: bool,
}

struct Consumer {
    id: u64,
    wants: Wants,
    sink: Sink,
    /// Dropped with the consumer, which ends the subscription that brings it events.
    _alive: Alive,
}

/// Which messages a consumer wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    /// Events in this list come by a subscription of the consumer's own, and not from the bus.
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
    /// Ensures that the removed hooks are not started again. This happens under the lock of the
    /// list, so a caller that does not find a hook on the list can rely on it.
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
    /// If no thread can be made, `executor` tries again later.
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

    /// An empty message body of this kind, with the next number.
    pub(crate) fn body(&self, kind: MessageKind) -> Body {
        Body::new(kind, self.0.seq.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// How many messages were dropped because a queue or hook was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Whether any consumer wants messages of this kind.
    pub(crate) fn wants(&self, kind: MessageKind) -> bool {
        self.lock().list.iter().any(|consumer| consumer.wants.kinds.contains(&kind))
    }

    /// A job that a thread of the library runs once all hooks have handled a message.
    pub(crate) fn after(&self, job: Option<Job>) -> Arc<After> {
        Arc::new(After { job: Mutex::new(job), threads: self.0.threads.clone() })
    }

    /// Delivers a message to every consumer that wants it. Each consumer gets messages in the order
    /// of these calls. `after` runs once all hooks have returned.
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

    /// Delivers a message to one consumer.
    pub(crate) fn tell(&self, sink: &Sink, message: Message) {
        match sink {
            Sink::Hook(hook) => {
                let hook = self.give(hook, Item { message, _after: None });
                hook.into_iter().for_each(|hook| self.0.threads.wake(hook));
            }
            Sink::Queue(subscriber) => subscriber.push(&self.0, &message),
        }
    }

    /// Fails if a queue holds so many exits that no further process may be made.
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

    /// Gives a message to a hook. Returns the hook if the caller must wake a thread for it.
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
        // Subscriptions whose queue the program has freed.
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

    /// Takes a consumer off the list. The caller must end it.
    fn remove(&self, id: u64) -> Option<Consumer> {
        let mut consumers = self.lock();
        let position = consumers.list.iter().position(|consumer| consumer.id == id)?;
        Some(consumers.list.remove(position))
    }

    /// Removes a hook. When this returns, the hook does not run, and its function is dropped; but a
    /// call from inside a hook does not wait for that. If the limits end the wait, the hook is not
    /// started again, and another call can go on waiting.
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

    /// Removes a hook whose subscription to events failed. If events have come before the failure,
    /// the hook may run; this waits only a short time for it.
    pub(crate) fn withdraw_hook(&self, id: HookId) {
        if let Err(e) = self.remove_hook(id, &Limits::within(WITHDRAWAL)) {
            log::debug!("hook {}: {e}", id.0);
        }
    }

    /// A descriptor that is readable while a message waits for a dispatch.
    pub(crate) fn dispatch_fd(&self) -> Result<std::os::fd::BorrowedFd<'_>> {
        self.0.dispatch.fd()
    }

    /// Runs hooks on the calling thread, for at most `max` messages. Returns the number of
    /// messages.
    pub(crate) fn dispatch(&self, max: usize) -> Result<usize> {
        self.0.dispatch.run(max)
    }

    /// Runs a job that may block, on a thread of the library. After the close it drops the job.
    pub(crate) fn run(&self, job: Job) {
        self.0.threads.run(job);
    }

    /// Runs the hooks that wait because no thread could be made. Every operation calls this when it
    /// begins.
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

    /// Starts no more hooks, and tells the queues that the client is closed.
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
                subscriber.end(Some(&Message::new(self.body(MessageKind::Closed))));
            }
        }
        leaving.iter().for_each(|hook| hook.end());
        self.0.threads.shut();
    }

    /// Waits until every hook is gone and the threads have ended. Must not be called inside a hook.
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

/// The message that reports how many messages were dropped.
fn overflow(seq: u64, dropped: u64) -> Message {
    Message::new(Body {
        dropped: Dropped::number(dropped),
        ..Body::new(MessageKind::Overflow, seq)
    })
}

/// The message that reports a broken subscription.
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
mod backlog_tests;
#[cfg(test)]
mod tests;
