//! What a client is told of a process's end.

use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;

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

/// What is told of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message(Arc<Body>);

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) origin: Origin,
    pub(crate) container_id: String,
    pub(crate) exec_id: Option<String>,
    pub(crate) exit_code: Option<u32>,
    pub(crate) exit_time: Option<SystemTime>,
    pub(crate) error: Option<Error>,
    pub(crate) start_error: Option<Error>,
}

impl Message {
    pub(crate) fn new(body: Body) -> Message {
        Message(Arc::new(body))
    }

    /// How the library came to know.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The container.
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
}
