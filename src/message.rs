//! What a client is told: of a process's end, of an event, of what it may have missed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::error::Error;

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

/// What a client is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message(Arc<Body>);

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
    pub(crate) dropped: u64,
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
            dropped: 0,
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
        Message(Arc::new(body))
    }

    /// What it is about.
    pub fn kind(&self) -> MessageKind {
        self.0.kind
    }

    /// How the library came to know.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Its number among the messages of the client. They rise in the order in which it came to know;
    /// messages that are about different things may be told in another.
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// The namespace that it is from; empty where it is about none.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The container; empty where it is about none.
    pub fn container_id(&self) -> &str {
        &self.0.container_id
    }

    /// The exec, where the message is not about the container's first process.
    pub fn exec_id(&self) -> Option<&str> {
        self.0.exec_id.as_deref()
    }

    /// The exit code: 128 and the signal's number where a signal ended the process. `None` where no
    /// source holds it; it is never a guess.
    pub fn exit_code(&self) -> Option<u32> {
        self.0.exit_code
    }

    /// When the process ended, by the server's clock. `None` where that is not known.
    pub fn exit_time(&self) -> Option<SystemTime> {
        self.0.exit_time
    }

    /// Why details are missing, where they are.
    pub fn error(&self) -> Option<&Error> {
        self.0.error.as_ref()
    }

    /// Why the process never ran, where it did not.
    pub fn start_error(&self) -> Option<&Error> {
        self.0.start_error.as_ref()
    }

    /// An event's topic, as `/tasks/start`; the reference of the image that progress is about.
    pub fn topic(&self) -> Option<&str> {
        self.0.detail.as_ref().map(|detail| detail.topic.as_str())
    }

    /// When an event happened, by the server's clock.
    pub fn event_time(&self) -> Option<SystemTime> {
        self.0.detail.as_ref()?.time
    }

    /// An event as JSON, with the fields as containerd names them; progress as an array of what is
    /// fetched. Made when it is asked for first.
    pub fn json(&self) -> Option<&str> {
        let detail = self.0.detail.as_ref()?;
        Some(detail.json.get_or_init(|| (detail.make)()))
    }

    /// How many messages were dropped, of an [`MessageKind::Overflow`].
    pub fn dropped(&self) -> u64 {
        self.0.dropped
    }
}
