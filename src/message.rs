//! What a program receives: exits, events, gaps, progress, and the completions of submitted calls.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A container's first process has ended.
    Exit,
    /// A process that was executed in a container has ended.
    ExecExit,
    /// An event of the server's.
    Event,
    /// Events may have been missed: the connection was broken, and the server does not repeat them.
    /// What the library itself tells of, it has looked up meanwhile.
    Gap,
    /// A queue or hook was full, and so many messages for it were dropped: [`Message::dropped`].
    Overflow,
    /// A step of a pull.
    Progress,
    /// A submitted call is over: [`Message::error`] says why it failed, if it did, and
    /// [`Message::take_result`] gives what it made. Its tag is the call's.
    Done,
    /// A client that was subscribed to is closed. It is the last message of its subscription.
    Closed,
}

/// How the library came to know what a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// From the server, as it happened.
    Live,
    /// Looked up afterwards: the connection was broken, or the program is a later one.
    Recovered,
    /// It happened while nobody could see it, and no source holds the details.
    Gap,
}

/// What a program receives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message {
    body: Arc<Body>,
    tag: u64,
    /// The room that it takes in a queue.
    permit: Option<Arc<Permit>>,
}

/// The room that a message takes in a queue, or a call among those in flight. It is given back once:
/// when the message is taken from the queue, or with the last clone.
#[derive(Debug)]
pub(crate) struct Permit {
    count: Arc<AtomicUsize>,
    returned: AtomicBool,
}

impl Permit {
    /// Room for one more, if there are fewer than `most`.
    pub(crate) fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Permit> {
        let more = |count: usize| (count < most).then_some(count + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Permit { count: count.clone(), returned: AtomicBool::new(false) })
    }

    fn give_back(&self) {
        if !self.returned.swap(true, Ordering::SeqCst) {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How many messages a subscription has lost. It grows until somebody takes the message about it.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<LostState>);

#[derive(Debug, Default)]
struct LostState {
    count: u64,
    /// Whether a message about it waits in the queue.
    announced: bool,
}

impl Lost {
    /// Counts one more. Says whether a message is to announce it: one does so for all until it is taken.
    pub(crate) fn add(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        !std::mem::replace(&mut state.announced, true)
    }

    fn take(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.announced = false;
        std::mem::take(&mut state.count)
    }
}

/// How many messages were dropped, of a message that says so.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    lost: Option<Arc<Lost>>,
    /// Fixed when the message is taken.
    count: OnceLock<u64>,
}

impl Dropped {
    /// As many as there are when the message is taken.
    pub(crate) fn of(lost: Arc<Lost>) -> Dropped {
        Dropped { lost: Some(lost), count: OnceLock::new() }
    }

    /// So many.
    pub(crate) fn number(count: u64) -> Dropped {
        Dropped { lost: None, count: OnceLock::from(count) }
    }

    fn get(&self) -> u64 {
        *self.count.get_or_init(|| self.lost.as_ref().map_or(0, |lost| lost.take()))
    }
}

/// What a submitted call has made, until somebody takes it.
type Made = Box<dyn Any + Send>;

/// Where a result that nobody has taken is dropped: its destructor may block, and the thread that drops
/// the message may be the host's.
pub(crate) type Discard = fn(Made);

/// The result of a submitted call.
pub(crate) struct Outcome {
    made: Mutex<Option<Made>>,
    discard: Discard,
}

impl Outcome {
    pub(crate) fn new(made: Made, discard: Discard) -> Outcome {
        Outcome { made: Mutex::new(Some(made)), discard }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        made.into_iter().for_each(self.discard);
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) kind: MessageKind,
    pub(crate) origin: Origin,
    pub(crate) seq: u64,
    pub(crate) namespace: String,
    pub(crate) container_id: String,
    pub(crate) exec_id: Option<String>,
    pub(crate) exit_code: Option<u32>,
    pub(crate) exit_time: Option<SystemTime>,
    pub(crate) error: Option<Error>,
    pub(crate) start_error: Option<Error>,
    pub(crate) detail: Option<Detail>,
    pub(crate) dropped: Dropped,
    pub(crate) outcome: Option<Outcome>,
}

impl Body {
    /// A message of this kind that says nothing yet.
    pub(crate) fn new(kind: MessageKind, seq: u64) -> Body {
        Body {
            kind,
            origin: Origin::Live,
            seq,
            namespace: String::new(),
            container_id: String::new(),
            exec_id: None,
            exit_code: None,
            exit_time: None,
            error: None,
            start_error: None,
            detail: None,
            dropped: Dropped::default(),
            outcome: None,
        }
    }
}

/// An event or a step of progress, whose JSON is made when it is asked for.
pub(crate) struct Detail {
    pub(crate) topic: String,
    pub(crate) time: Option<SystemTime>,
    json: OnceLock<String>,
    make: Box<dyn Fn() -> String + Send + Sync>,
}

impl Detail {
    pub(crate) fn new(
        topic: String,
        time: Option<SystemTime>,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Detail {
        Detail { topic, time, json: OnceLock::new(), make: Box::new(make) }
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detail").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Message {
    pub(crate) fn new(body: Body) -> Message {
        Message { body: Arc::new(body), tag: 0, permit: None }
    }

    /// The same message for a subscription or call with this tag; `permit` is the room that it takes.
    pub(crate) fn tagged(&self, tag: u64, permit: Option<Permit>) -> Message {
        Message { body: self.body.clone(), tag, permit: permit.map(Arc::new) }
    }

    /// Notes that it was taken from its queue.
    pub(crate) fn taken(&self) {
        self.permit.iter().for_each(|permit| permit.give_back());
        if self.body.dropped.lost.is_some() {
            self.dropped();
        }
    }

    /// What it is about.
    pub fn kind(&self) -> MessageKind {
        self.body.kind
    }

    /// The tag of the subscription or call that it came by; 0 for hooks and for what an operation gives.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// How the library came to know.
    pub fn origin(&self) -> Origin {
        self.body.origin
    }

    /// Its number among the messages of the client. They rise in the order in which it came to know;
    /// messages that are about different things may be told in another.
    pub fn seq(&self) -> u64 {
        self.body.seq
    }

    /// The namespace that it is from; empty where it is about none.
    pub fn namespace(&self) -> &str {
        &self.body.namespace
    }

    /// The container; empty where it is about none.
    pub fn container_id(&self) -> &str {
        &self.body.container_id
    }

    /// The exec, where the message is not about the container's first process.
    pub fn exec_id(&self) -> Option<&str> {
        self.body.exec_id.as_deref()
    }

    /// The exit code: 128 and the signal's number where a signal ended the process. `None` where no
    /// source holds it; it is never a guess.
    pub fn exit_code(&self) -> Option<u32> {
        self.body.exit_code
    }

    /// When the process ended, by the server's clock. `None` where that is not known.
    pub fn exit_time(&self) -> Option<SystemTime> {
        self.body.exit_time
    }

    /// Why details are missing, where they are.
    pub fn error(&self) -> Option<&Error> {
        self.body.error.as_ref()
    }

    /// Why the process never ran, where it did not.
    pub fn start_error(&self) -> Option<&Error> {
        self.body.start_error.as_ref()
    }

    /// An event's topic, as `/tasks/start`; the reference of the image that progress is about.
    pub fn topic(&self) -> Option<&str> {
        self.body.detail.as_ref().map(|detail| detail.topic.as_str())
    }

    /// When an event happened, by the server's clock.
    pub fn event_time(&self) -> Option<SystemTime> {
        self.body.detail.as_ref()?.time
    }

    /// An event as JSON, with the fields as containerd names them; progress as an array of what is
    /// fetched. Made when it is asked for first.
    pub fn json(&self) -> Option<&str> {
        let detail = self.body.detail.as_ref()?;
        Some(detail.json.get_or_init(|| (detail.make)()))
    }

    /// How many messages were dropped, of an [`MessageKind::Overflow`].
    pub fn dropped(&self) -> u64 {
        self.body.dropped.get()
    }

    /// Takes what a submitted call has made: the `T` that its operation gives. Fails with
    /// [`ErrorKind::FailedPrecondition`] if there is no result, if it is of another type, and if
    /// somebody has taken it before. A result that nobody takes is dropped on a thread of the library.
    pub fn take_result<T: 'static>(&self) -> Result<T> {
        let none = || Error::new(ErrorKind::FailedPrecondition, "the message holds no such result");
        let outcome = self.body.outcome.as_ref().ok_or_else(none)?;
        let mut made = outcome.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.as_ref().is_some_and(|made| made.is::<T>()) {
            return Err(none());
        }
        let taken = made.take().ok_or_else(none)?.downcast().map_err(|_| none())?;
        Ok(*taken)
    }

    /// A copy of what a submitted call has made, which stays there. `None` if there is no result of this
    /// type any more.
    pub fn peek_result<T: Clone + 'static>(&self) -> Option<T> {
        let outcome = self.body.outcome.as_ref()?;
        let made = outcome.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref()?.downcast_ref().cloned()
    }
}
