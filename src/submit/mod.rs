//! Submitted calls: operations that run on the library's threads, and whose completions come through a
//! queue.
//!
//! The threads are a bounded pool for the whole process; they are made on demand and end when idle. An
//! operation that has to wait for an exit, for a hook that it removes, or for another call that changes
//! its container, gives its thread up: it returns an error, and the call runs again from its start when
//! the wait is over. A change can do so only before it has changed anything.

mod job;
mod pool;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, Limits, Timeout};
use crate::error::{Error, ErrorKind, Result};
use crate::keyed_mutex::{KeyGuard, KeyedMutex};
use crate::message::Message;
use crate::queue::{Generation, Queue};
use crate::wait::block_on;
use job::{Job, Parked};
pub(crate) use pool::Group;
pub use pool::set_call_threads;

/// How one call is submitted: to which queue, with which tag, and for which client.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, Queue, QueueConfig, Submission};
///
/// # fn main() -> ctrd::Result<()> {
/// let queue = Queue::new(&QueueConfig::new())?;
/// // Opening a client belongs to no client yet.
/// Submission::new(&queue, 7).submit(&Call::new(), |call| {
///     Client::open(&ClientConfig::new(), call)
/// })?;
/// let completion = queue.next(&Call::new())?;
/// assert_eq!(completion.tag(), 7);
/// let client: Client = completion.take_result()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Submission<'a> {
    queue: &'a Queue,
    tag: u64,
    group: Option<Arc<Group>>,
    operation: &'static str,
    subject: String,
    counts: bool,
    changes: Option<Changes>,
    default_timeout: Option<Duration>,
}

/// The container that a call changes: its client's locks, and the namespace of calls that name none.
#[derive(Clone, Debug)]
struct Changes {
    locks: KeyedMutex,
    namespace: String,
    id: String,
}

/// The key of a container's lock.
pub(crate) fn lock_key(namespace: &str, id: &str) -> String {
    format!("{namespace} {id}")
}

impl<'a> Submission<'a> {
    /// A call whose completion comes through `queue` with `tag`.
    pub fn new(queue: &'a Queue, tag: u64) -> Submission<'a> {
        let (operation, subject) = ("submit", String::new());
        Submission {
            queue,
            tag,
            group: None,
            operation,
            subject,
            counts: true,
            changes: None,
            default_timeout: None,
        }
    }

    /// It is a call of this client: closing the client completes it, and it counts towards the client's
    /// limits.
    pub(crate) fn of(mut self, group: &Arc<Group>) -> Submission<'a> {
        self.group = Some(group.clone());
        self
    }

    /// What the error of a call names that ends before it began. Default: `submit`.
    pub fn named(mut self, operation: &'static str, subject: impl Into<String>) -> Submission<'a> {
        self.operation = operation;
        self.subject = subject.into();
        self
    }

    /// The call changes this container: it runs after the calls that were accepted before it and change
    /// the container too, in the order of their submission. `locks` and `namespace` are the client's.
    pub(crate) fn changing(
        mut self,
        locks: &KeyedMutex,
        namespace: &str,
        id: impl Into<String>,
    ) -> Submission<'a> {
        let (locks, namespace, id) = (locks.clone(), namespace.to_owned(), id.into());
        self.changes = Some(Changes { locks, namespace, id });
        self
    }

    /// The call takes no slot of those in flight: for waits for an exit, of which there may be many.
    pub fn without_slot(mut self) -> Submission<'a> {
        self.counts = false;
        self
    }

    /// Sets how long the call may take if it names no timeout, counted from [`Submission::submit`].
    ///
    /// Each operation has a default timeout of its own, but the library does not know which operation
    /// `operation` will call. So a call that names no timeout, and has no default here, waits for a thread
    /// without a limit. Once its operation runs, the operation's own default holds. That also counts from
    /// [`Submission::submit`]: an operation that has waited longer fails at once with
    /// [`ErrorKind::Timeout`]. Default: none.
    pub fn default_timeout(mut self, timeout: Duration) -> Submission<'a> {
        self.default_timeout = Some(timeout);
        self
    }

    /// Submits a call: `operation` runs on a thread of the library, and its result comes as a message of
    /// kind [`crate::MessageKind::Done`], exactly once, also if the call is cancelled, its deadline
    /// passes or its client is closed. The call's time counts from now, time in the pool's line
    /// included.
    ///
    /// `operation` hands the call that it receives to one operation of the library. **It may run several
    /// times**: if that operation has to wait for an exit, a hook, a container or its turn, it returns an
    /// error, and `operation` runs again from its start when the wait is over. Until then every further
    /// operation fails too, and the library drops the value or error that `operation` returns. So
    /// `operation` passes errors on with `?`, clones what it gives away, and does nothing of its own
    /// before the operation that must not happen twice. From its second operation on it runs once.
    ///
    /// A call that names no timeout has none while it waits for a thread: see
    /// [`Submission::default_timeout`].
    ///
    /// Does not block. An error says that nothing was submitted: [`ErrorKind::InvalidArgument`] for a
    /// call that polls, [`ErrorKind::Timeout`] if the deadline has passed, [`ErrorKind::Cancelled`],
    /// [`ErrorKind::ResourceExhausted`] if too many calls are in flight, [`ErrorKind::Closed`],
    /// [`ErrorKind::Io`] if there is no thread and none can be made. A call that was accepted has a
    /// thread, whether or not another one can be made later.
    pub fn submit<T: Send + 'static>(
        self,
        call: &Call,
        mut operation: impl FnMut(&Call) -> Result<T> + Send + 'static,
    ) -> Result<()> {
        let Submission {
            queue,
            tag,
            group,
            operation: name,
            subject,
            counts,
            changes,
            default_timeout,
        } = self;
        let submit = || {
            let queue = queue.shared();
            queue.check_process()?;
            if call.timeout == Timeout::Poll {
                return Err(Error::invalid("timeout", "a submitted call cannot poll"));
            }
            let call = call.accepted(default_timeout);
            let limits = call.limits(None);
            limits.check()?;
            let slot = match &group {
                _ if !counts => None,
                Some(group) => Some(group.slot().ok_or_else(too_many)?),
                None => Some(queue.slot().ok_or_else(too_many)?),
            };
            let group = group.as_ref().map_or(pool::NO_CLIENT, |group| group.number);
            let job = Job::new(
                group,
                (name, subject.clone()),
                call.clone(),
                Box::new(move |call| operation(call).map(|made| Box::new(made) as _)),
                (queue.clone(), tag),
                slot,
                // A destructor may block, if there is one.
                if std::mem::needs_drop::<T>() { pool::discard } else { drop },
            );
            let first = changes.map(|changes| changes.wait(name, &call));
            pool::begin(job, &limits, first)
        };
        submit().map_err(|error| error.at(name, &subject))
    }
}

impl Changes {
    /// The wait for the container's lock, in the line for it from now on.
    fn wait(self, operation: &'static str, call: &Call) -> Parked {
        let namespace = call.namespace.as_ref().unwrap_or(&self.namespace);
        let key = lock_key(namespace, &self.id);
        let locking = self.locks.locking(key.clone(), operation);
        let output = Box::pin(async move { Arc::new(locking.await) as _ });
        let (locks, name) = (self.locks, key.clone());
        Parked::new(Some(key), output, Box::new(move |error| busy(&locks, &name, error)))
    }
}

/// The error of a call whose limits have ended its wait for a container's lock.
fn busy(locks: &KeyedMutex, key: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout | ErrorKind::WouldBlock => {
            locks.blame(key, error).with_kind(ErrorKind::Busy)
        }
        _ => error,
    }
}

/// Waits for the lock of a container, and keeps others from changing it until the drop. `operation` names
/// this call in the errors of those that wait. A submitted call waits without a thread.
pub(crate) fn lock(
    locks: &KeyedMutex,
    key: &str,
    operation: &'static str,
    limits: &Limits,
) -> Result<Arc<KeyGuard>> {
    // A submitted call may hold it since it was accepted, and holds it until it is over.
    if let Some(held) = job::current().and_then(|job| job.held(key)?.downcast().ok()) {
        return Ok(held);
    }
    let (all, name) = (locks.clone(), key.to_owned());
    hold(limits, key, locks.locking(key.to_owned(), operation), move |error| {
        busy(&all, &name, error)
    })
}

fn too_many() -> Error {
    let why = "too many calls are in flight, completions that nobody has taken included";
    Error::new(ErrorKind::ResourceExhausted, why).with_retryable(true)
}

/// Begins an operation. In a submitted call, only the first one may give the thread up. If it has, the
/// call will be repeated from its start, so the operations that follow it fail.
pub(crate) fn begin_operation() -> Result<()> {
    if job::begin_operation() { Ok(()) } else { Err(parked()) }
}

/// What `make` gives. If the first operation of a submitted call is begun again, it finds what it gave
/// the first time.
pub(crate) fn remember<T: Send + Sync + 'static>(key: &str, make: impl FnOnce() -> T) -> Arc<T> {
    if let Some(known) = remembered(key) {
        return known;
    }
    let made = Arc::new(make());
    if let Some(job) = job::parkable() {
        job.hold(key, made.clone());
    }
    made
}

/// What the first operation of a submitted call has remembered under this key before it was begun again.
pub(crate) fn remembered<T: Send + Sync + 'static>(key: &str) -> Option<Arc<T>> {
    job::parkable()?.held(key)?.downcast().ok()
}

/// Waits for `future`. A submitted call gives its thread up meanwhile, and finds the output under `key`
/// when it is begun again; it holds the output until it is over.
pub(crate) fn hold<T: Send + Sync + 'static>(
    limits: &Limits,
    key: &str,
    future: impl Future<Output = T> + Send + 'static,
    refuse: impl Fn(Error) -> Error + Send + 'static,
) -> Result<Arc<T>> {
    let Some(job) = job::parkable() else {
        return block_on(limits, future).map(Arc::new).map_err(refuse);
    };
    if let Some(held) = remembered(key) {
        return Ok(held);
    }
    let mut future = Box::pin(future);
    if let Some(output) = job::poll_once(future.as_mut()) {
        let output = Arc::new(output);
        job.hold(key, output.clone());
        return Ok(output);
    }
    let output = Box::pin(async move { Arc::new(future.await) as _ });
    job.wait(Parked::new(Some(key.to_owned()), output, Box::new(refuse)));
    Err(parked())
}

/// Waits for `future`, which can be waited for again. A submitted call gives its thread up meanwhile.
pub(crate) fn wait<T: Send + Sync + 'static>(
    limits: &Limits,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let Some(job) = job::parkable() else { return block_on(limits, future) };
    let mut future = Box::pin(future);
    if let Some(output) = job::poll_once(future.as_mut()) {
        return Ok(output);
    }
    let output = Box::pin(async move {
        drop(future.await);
        Arc::new(()) as _
    });
    job.wait(Parked::new(None, output, Box::new(|error| error)));
    Err(parked())
}

/// Begins what may last long. The pool has only so many threads for such calls, so that short ones are not
/// kept waiting: a submitted call waits in the line for one.
pub(crate) fn begin_long() -> Result<()> {
    match job::parkable() {
        Some(job) if !pool::begin_long(&job) => Err(parked()),
        _ => Ok(()),
    }
}

/// The same, of an operation that is not begun with a client.
pub(crate) fn begin_long_operation() -> Result<()> {
    begin_operation()?;
    begin_long()
}

/// Lets the exit of this container come after the completion of the submitted call that starts it, in the
/// call's own queue.
pub(crate) fn begin_start(container: Generation) {
    if let Some(job) = job::current() {
        job.begin_start(container);
    }
}

/// Adds a message to the queue of the submitted call that runs on this thread, with its tag. `make` is
/// called only if there is such a call.
pub(crate) fn report(make: impl FnOnce() -> Message) {
    if let Some(job) = job::current() {
        job.report(&make());
    }
}

/// The error of an operation that gave its thread up. The program never gets it in a completion: the call
/// is begun again, whatever its closure makes of the error.
fn parked() -> Error {
    Error::new(ErrorKind::Internal, "the call waits without a thread")
}

#[cfg(test)]
mod tests;
