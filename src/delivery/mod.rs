//! The consumers of messages: hooks on threads of the library, hooks that the host's own thread runs,
//! and subscriptions of queues.
//!
//! A thread that publishes a message, which may be gRPC's, only puts it into the consumers' lists: no
//! code of the host's runs here, and nothing waits.

mod after;
mod counters;
mod dispatch;
mod hook;
mod liveness;
mod subscription;
mod threads;
mod wants;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::queue::Queue;
use crate::submit;
pub(crate) use after::{After, Job};
use counters::Counters;
use dispatch::Dispatch;
use hook::{Hook, QueuedMessage, SharedHook, still_runs};
pub use hook::{HookConfig, HookId, HookMode};
pub(crate) use hook::{Run, inside};
pub(crate) use liveness::Liveness;
use liveness::{Alive, liveness};
use subscription::{End, Subscriber};
pub use subscription::{Subscription, SubscriptionConfig};
use threads::Threads;
use wants::Wants;

/// How many hooks may run at once. Hooks that hang make other hooks wait, but no job.
const MAX_HOOKS: usize = 16;

/// How many jobs may run at once. A job may take as long as a call, and no hook waits for that.
const MAX_JOBS: usize = 4;

/// How long to wait for a hook that already runs, if adding it fails.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The consumers of a client's messages.
#[derive(Clone)]
pub(crate) struct Bus(Arc<Shared>);

struct Shared {
    counters: Arc<Counters>,
    consumers: Mutex<Consumers>,
    hooks: Threads<SharedHook>,
    jobs: Threads<Job>,
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

/// A consumer that was added.
pub(crate) struct Added<T> {
    pub(crate) consumer: T,
    pub(crate) sink: Sink,
    pub(crate) liveness: Liveness,
}

/// Where a consumer's messages go.
#[derive(Clone)]
pub(crate) enum Sink {
    Hook(Arc<Hook>),
    Queue(Arc<Subscriber>),
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
            counters: Arc::default(),
            consumers: Mutex::default(),
            hooks: Threads::new(executor.clone(), "ctrd-hook", MAX_HOOKS),
            jobs: Threads::new(executor.clone(), "ctrd-job", MAX_JOBS),
            dispatch: Dispatch::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Consumers> {
        self.0.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty message body of this kind, with the next number.
    pub(crate) fn body(&self, kind: MessageKind) -> Body {
        self.0.counters.body(kind)
    }

    /// How many messages were dropped because a queue or hook was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.counters.dropped()
    }

    /// Whether any consumer wants messages of this kind.
    pub(crate) fn wants(&self, kind: MessageKind) -> bool {
        self.lock().list.iter().any(|consumer| consumer.wants.includes_kind(kind))
    }

    /// A job that a thread of the library runs once all hooks have handled a message.
    pub(crate) fn after(&self, job: Option<Job>) -> Arc<After> {
        Arc::new(After::new(job, self.0.jobs.clone()))
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
                        let item =
                            QueuedMessage { message: message.clone(), _after: after.clone() };
                        hooks.extend(self.give(hook, item));
                    }
                    Sink::Queue(subscriber) => subscriber.push(message),
                }
            }
        }
        hooks.into_iter().for_each(|hook| self.0.hooks.push(hook));
        drop(after);
    }

    /// Delivers a message to one consumer.
    pub(crate) fn deliver(&self, sink: &Sink, message: Message) {
        match sink {
            Sink::Hook(hook) => {
                let hook = self.give(hook, QueuedMessage { message, _after: None });
                hook.into_iter().for_each(|hook| self.0.hooks.push(hook));
            }
            Sink::Queue(subscriber) => subscriber.push(&message),
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
    fn give(&self, hook: &Arc<Hook>, item: QueuedMessage) -> Option<Arc<Hook>> {
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
        if consumers.closed {
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        consumers.next += 1;
        let id = consumers.next;
        let sink = make(id);
        let consumer = Consumer { id, wants, sink: sink.clone(), _alive: alive };
        consumers.list.push(consumer);
        Ok(Added { consumer: id, sink, liveness })
    }

    /// Adds a hook.
    pub(crate) fn add_hook(&self, config: &HookConfig, run: Run) -> Result<Added<HookId>> {
        let counters = self.0.counters.clone();
        let make = |id| Sink::Hook(Arc::new(Hook::new(id, config, run, counters)));
        let Added { consumer, sink, liveness } = self.add(config.wants(), make)?;
        Ok(Added { consumer: HookId(consumer), sink, liveness })
    }

    /// Adds a subscription of a queue.
    pub(crate) fn subscribe(
        &self,
        queue: &Queue,
        config: &SubscriptionConfig,
    ) -> Result<Added<Subscription>> {
        let (queue, counters) = (queue.shared().clone(), self.0.counters.clone());
        let subscriber = Arc::new(Subscriber::new(queue, config.tag, counters));
        let added = self.add(config.wants(), |_| Sink::Queue(subscriber.clone()))?;
        let Added { consumer, sink, liveness } = added;
        let bus = Arc::downgrade(&self.0);
        let end: End = Arc::new(move || {
            if let Some(bus) = bus.upgrade() {
                Bus(bus).unsubscribe(consumer);
            }
        });
        let at_free = end.clone();
        subscriber.at_free(move || at_free());
        Ok(Added { consumer: Subscription::new(end), sink, liveness })
    }

    /// Ends a subscription of a queue. Does nothing if it has ended.
    fn unsubscribe(&self, id: u64) {
        let removed = {
            let mut consumers = self.lock();
            let position = consumers.list.iter().position(|consumer| consumer.id == id);
            position.map(|position| consumers.list.remove(position))
        };
        if let Some(Sink::Queue(subscriber)) = removed.as_ref().map(|consumer| &consumer.sink) {
            subscriber.end(None);
        }
        drop(removed);
    }

    /// Removes a hook. When this returns, the hook does not run, and its function is dropped; but a
    /// call from inside a hook does not wait for that. If the limits end the wait, the hook is not
    /// started again, and another call can go on waiting. A submitted call waits without a thread.
    pub(crate) fn remove_hook(&self, id: HookId, limits: &Limits) -> Result<()> {
        let key = format!("remove_hook {}", id.0);
        if submit::remembered::<()>(&key).is_some() {
            // A submitted call has waited for it, and is begun again.
            return Ok(());
        }
        let hook = self.end_hook(id)?;
        if inside() {
            Ok(())
        } else {
            submit::hold(limits, &key, hook.gone(), still_runs).map(drop)
        }
    }

    /// Has a hook not started again, and gives it: it may still run.
    fn end_hook(&self, id: HookId) -> Result<SharedHook> {
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
        Ok(hook)
    }

    /// Removes a hook whose subscription to events failed. If events have come before the failure,
    /// the hook may run; this waits only a short time for it.
    pub(crate) fn withdraw_hook(&self, id: HookId) {
        let limits = Limits::within(WITHDRAWAL);
        if let Err(e) = self.end_hook(id).and_then(|hook| hook.wait_until_gone(&limits)) {
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
        self.0.jobs.push(job);
    }

    /// Runs the hooks and jobs that wait because no thread could be made. Every operation calls this
    /// when it begins.
    pub(crate) fn retry(&self) {
        self.0.hooks.retry();
        self.0.jobs.retry();
    }

    /// Counts a subscription to events that was opened again.
    pub(crate) fn count_reconnect(&self) {
        self.0.counters.count_reconnect();
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.0.counters.reconnects()
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
        self.0.hooks.shut();
        self.0.jobs.shut();
    }

    /// Waits until every hook is gone and the threads have ended. Must not be called inside a hook.
    pub(crate) fn end(&self, limits: &Limits) -> Result<()> {
        self.0.dispatch.end(limits)?;
        let leaving = self.lock().leaving.clone();
        leaving.iter().try_for_each(|hook| hook.wait_until_gone(limits))?;
        self.0.hooks.end(limits)?;
        self.0.jobs.end(limits)
    }
}

/// The message that reports a broken subscription.
pub(crate) fn gap(bus: &Bus, why: Error) -> Message {
    Message::new(Body { origin: Origin::Gap, error: Some(why), ..bus.body(MessageKind::Gap) })
}

#[cfg(test)]
mod backlog_tests;
#[cfg(test)]
mod tests;
