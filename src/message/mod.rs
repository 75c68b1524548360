//! Messages to a program: exits, events, gaps, progress, and the completions of submitted calls.

mod made;
mod progress;
mod room;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
pub(crate) use made::{CallResult, Discard};
pub use progress::{Progress, ProgressStatus};
pub(crate) use room::{Dropped, Lost, Permit};

/// What a message is about.
///
/// ```
/// use ctrd::{Message, MessageKind};
///
/// fn show(message: &Message) {
///     match message.kind() {
///         MessageKind::Exit => println!("{} has ended", message.container_id()),
///         MessageKind::Event => println!("{:?}: {:?}", message.topic(), message.json()),
///         MessageKind::Overflow => println!("{} messages are lost", message.dropped()),
///         _ => {}
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A container's first process has ended.
    Exit,
    /// A process that was executed in a container has ended.
    ExecExit,
    /// An event of the server.
    Event,
    /// Events may have been missed: the connection was broken, and the server does not repeat them.
    /// Exits are not missed: the library looks them up.
    Gap,
    /// A queue or hook was full, and messages for it were dropped: [`Message::dropped`].
    Overflow,
    /// A step of a pull.
    Progress,
    /// A submitted call has ended. [`Message::error`] returns the reason if it failed, and
    /// [`Message::take_result`] returns the result. The message has the call's tag.
    Done,
    /// The subscribed client is closed. This is the last message of the subscription.
    Closed,
}

/// How the library learned the content of a message.
///
/// ```no_run
/// # fn f(message: &ctrd::Message) {
/// if message.origin() != ctrd::Origin::Live {
///     println!("{} ended while nobody watched", message.container_id());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// From the server, at the time when it happened.
    Live,
    /// Looked up later, because the connection was broken or the program was started again.
    Recovered,
    /// It happened while no client watched, and no source has the details.
    Gap,
}

/// How many bytes of a process's output did not reach the host.
///
/// ```no_run
/// # fn f(message: &ctrd::Message) {
/// if let Some(lost) = message.output_lost() {
///     println!("{} of {} lost bytes are standard error", lost.stderr(), lost.total());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct OutputLost {
    stdout: u64,
    stderr: u64,
}

impl OutputLost {
    pub(crate) fn new(stdout: u64, stderr: u64) -> OutputLost {
        OutputLost { stdout, stderr }
    }

    /// Lost bytes of standard output. With a terminal, of all output.
    pub fn stdout(&self) -> u64 {
        self.stdout
    }

    /// Lost bytes of standard error.
    pub fn stderr(&self) -> u64 {
        self.stderr
    }

    /// Lost bytes of both.
    pub fn total(&self) -> u64 {
        self.stdout.saturating_add(self.stderr)
    }
}

impl fmt::Display for OutputLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of stdout, {} bytes of stderr", self.stdout, self.stderr)
    }
}

/// A message to a client. It never changes. Cheap to clone.
///
/// ```no_run
/// use ctrd::{Call, Client, Message};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let message: Message = client.wait("web", &Call::new())?;
/// match (message.exit_code(), message.start_error()) {
///     (Some(code), _) => println!("exit code {code}"),
///     (None, Some(error)) => println!("it never ran: {error}"),
///     (None, None) => println!("nobody knows its exit code"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    body: Arc<Body>,
    tag: u64,
    /// The room that the message takes in a queue.
    permit: Option<Arc<Permit>>,
    /// The output that was lost before the body was made, and after.
    output_lost: OutputLost,
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) kind: MessageKind,
    pub(crate) origin: Origin,
    pub(crate) seq: u64,
    pub(crate) namespace: String,
    pub(crate) container_id: String,
    pub(crate) exec_id: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) generation: Option<u64>,
    pub(crate) exit_code: Option<u32>,
    pub(crate) exit_time: Option<SystemTime>,
    pub(crate) error: Option<Error>,
    pub(crate) start_error: Option<Error>,
    pub(crate) output_lost: OutputLost,
    pub(crate) detail: Option<Detail>,
    pub(crate) dropped: Dropped,
    pub(crate) result: Option<CallResult>,
}

impl Body {
    /// An empty message of this kind.
    pub(crate) fn new(kind: MessageKind, seq: u64) -> Body {
        Body {
            kind,
            origin: Origin::Live,
            seq,
            namespace: String::new(),
            container_id: String::new(),
            exec_id: None,
            pid: None,
            generation: None,
            exit_code: None,
            exit_time: None,
            error: None,
            start_error: None,
            output_lost: OutputLost::default(),
            detail: None,
            dropped: Dropped::default(),
            result: None,
        }
    }
}

/// An event or a step of progress.
#[derive(Clone)]
pub(crate) struct Detail {
    pub(crate) topic: String,
    pub(crate) time: Option<SystemTime>,
    json: Arc<Json>,
    progress: Option<Arc<[Progress]>>,
}

/// JSON that is made at the first request.
struct Json {
    text: OnceLock<String>,
    make: Box<dyn Fn() -> String + Send + Sync>,
}

impl Detail {
    pub(crate) fn new(
        topic: String,
        time: Option<SystemTime>,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Detail {
        let json = Arc::new(Json { text: OnceLock::new(), make: Box::new(make) });
        Detail { topic, time, json, progress: None }
    }

    /// The same with the items of a pull.
    pub(crate) fn with_progress(self, items: Arc<[Progress]>) -> Detail {
        Detail { progress: Some(items), ..self }
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detail").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Message {
    pub(crate) fn new(body: Body) -> Message {
        Message { output_lost: body.output_lost, body: Arc::new(body), tag: 0, permit: None }
    }

    /// The same message for a subscription or call with this tag. `permit` is the room that it
    /// takes.
    pub(crate) fn tagged(&self, tag: u64, permit: Option<Permit>) -> Message {
        Message { tag, permit: permit.map(Arc::new), ..self.clone() }
    }

    /// Records that the message was taken from its queue.
    pub(crate) fn taken(&self) {
        self.permit.iter().for_each(|permit| permit.give_back());
        self.body.dropped.fix();
    }

    /// The tag of the subscription or call to which the message belongs. 0 for messages to hooks
    /// and for messages that an operation returns.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// The kind of the message.
    pub fn kind(&self) -> MessageKind {
        self.body.kind
    }

    /// How the library learned the content.
    pub fn origin(&self) -> Origin {
        self.body.origin
    }

    /// The number among the messages of the client. The numbers rise in the order in which the
    /// client learned the facts. Messages about different things may be delivered in another order.
    pub fn seq(&self) -> u64 {
        self.body.seq
    }

    /// The namespace. Empty if the message is not about one.
    pub fn namespace(&self) -> &str {
        &self.body.namespace
    }

    /// The container's id. Empty if the message is not about a container.
    pub fn container_id(&self) -> &str {
        &self.body.container_id
    }

    /// The exec's id. `None` if the message is about the container's first process, or not about a
    /// process.
    pub fn exec_id(&self) -> Option<&str> {
        self.body.exec_id.as_deref()
    }

    /// The id of the process, in the server's pid namespace. `None` if the message is not about a
    /// process, or if the id is not known. The id may belong to another process by now.
    pub fn pid(&self) -> Option<u32> {
        self.body.pid
    }

    /// Distinguishes containers that had the same id one after the other. All messages about one
    /// container have the same number, also those of a later run of the program. Messages about a
    /// later container with the same id have another number. [`crate::ContainerInfo::generation`]
    /// is the same number. It has no other meaning and is never 0. `None` if the message is not
    /// about a container.
    pub fn generation(&self) -> Option<u64> {
        self.body.generation
    }

    /// How much of the process's output did not reach the host. `None` if none is lost. Output is
    /// lost if the host's descriptor failed, or if its reader was too slow and the time for the
    /// output ran out ([`crate::DestroyConfig::drain`], [`crate::ContainerConfig::drain`]).
    ///
    /// A message reports what is known when the library delivers it, and it never changes. Output
    /// that is lost later is in the next message that [`crate::Client::wait`] or
    /// [`crate::Client::destroy_container`] returns. The number is final once the streams have
    /// ended: in the message of the destroy, and in that of a wait after a clean-up. Bytes in the
    /// host's own pipe count as delivered.
    pub fn output_lost(&self) -> Option<OutputLost> {
        Some(self.output_lost).filter(|lost| lost.total() > 0)
    }

    /// The same message with this loss.
    pub(crate) fn with_output_lost(&self, output_lost: OutputLost) -> Message {
        Message { output_lost, ..self.clone() }
    }

    /// The exit code. If a signal ended the process, it is 128 plus the signal's number. `None` if
    /// no source has the code; it is never a guess.
    pub fn exit_code(&self) -> Option<u32> {
        self.body.exit_code
    }

    /// When the process ended, by the server's clock. `None` if the time is not known.
    pub fn exit_time(&self) -> Option<SystemTime> {
        self.body.exit_time
    }

    /// Why details are missing. `None` if none are.
    pub fn error(&self) -> Option<&Error> {
        self.body.error.as_ref()
    }

    /// Why the process never ran. `None` if it ran, or if that is not known.
    pub fn start_error(&self) -> Option<&Error> {
        self.body.start_error.as_ref()
    }

    /// The topic of an event, for example `/tasks/start`. For progress, the reference of the image.
    pub fn topic(&self) -> Option<&str> {
        self.body.detail.as_ref().map(|detail| detail.topic.as_str())
    }

    /// When the event happened, by the server's clock.
    pub fn event_time(&self) -> Option<SystemTime> {
        self.body.detail.as_ref()?.time
    }

    /// An event as JSON with containerd's names of the fields, or progress as an array of the items
    /// of the pull. The text is made at the first call.
    pub fn json(&self) -> Option<&str> {
        let json = &self.body.detail.as_ref()?.json;
        Some(json.text.get_or_init(|| (json.make)()))
    }

    /// The state of every item of a pull, if this is a [`MessageKind::Progress`]: what the function
    /// for the progress of [`crate::Client::pull_image`] receives.
    pub fn progress(&self) -> Option<&[Progress]> {
        self.body.detail.as_ref()?.progress.as_deref()
    }

    /// How many messages were dropped, if this is an [`MessageKind::Overflow`]. Otherwise 0.
    pub fn dropped(&self) -> u64 {
        self.body.dropped.get()
    }

    /// Takes the result of a submitted call, whose type `T` depends on the operation. Fails with
    /// [`ErrorKind::FailedPrecondition`] if there is no result, if it has another type, or if it
    /// was taken before. A result that nobody takes is dropped on a thread of the library.
    pub fn take_result<T: 'static>(&self) -> Result<T> {
        self.body.result.as_ref().and_then(CallResult::take).ok_or_else(|| {
            Error::new(ErrorKind::FailedPrecondition, "the message holds no such result")
        })
    }

    /// A copy of the result of a submitted call, which stays in the message. `None` if there is no
    /// result of this type any more.
    pub(crate) fn peek_result<T: Clone + 'static>(&self) -> Option<T> {
        self.body.result.as_ref()?.peek()
    }
}
