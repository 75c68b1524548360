//! The identity of a watched process: a container's first one, or an exec.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::pidfd::Pidfd;

/// The name of a process at the server. Another process may have it later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) container: String,
    /// `None` for the container's first process.
    pub(super) exec: Option<String>,
}

impl Key {
    pub(super) fn new(namespace: &str, container: &str, exec: Option<&str>) -> Key {
        Key {
            namespace: namespace.into(),
            container: container.into(),
            exec: exec.map(str::to_owned),
        }
    }

    /// The exec's id, as requests have it: empty for the first process.
    pub(super) fn exec_id(&self) -> &str {
        self.exec.as_deref().unwrap_or_default()
    }

    /// Whether it is a container's first process.
    pub(super) fn is_first(&self) -> bool {
        self.exec.is_none()
    }

    /// The subject of an error about the process at the server.
    pub(super) fn subject(&self) -> &'static str {
        if self.is_first() { "its task" } else { "the exec" }
    }
}

/// For the log.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            Some(exec) => write!(f, "exec {exec} of container {}", self.container),
            None => write!(f, "container {}", self.container),
        }
    }
}

/// The generation of a container. The watches of its processes share it, because it changes if another
/// client replaces the container's record while they run.
#[derive(Clone)]
pub(super) struct Generation(Arc<Mutex<String>>);

impl Generation {
    pub(super) fn new(generation: String) -> Generation {
        Generation(Arc::new(Mutex::new(generation)))
    }

    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, generation: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }
}

/// A process that is to be watched.
pub(crate) struct Process {
    pub(super) exec: Option<String>,
    pub(super) pid: u32,
    pub(super) generation: Generation,
    pub(super) pidfd: Option<Pidfd>,
}

impl Process {
    /// The first process of the container that has this generation.
    pub(crate) fn first(pid: u32, generation: String, pidfd: Option<Pidfd>) -> Process {
        Process { exec: None, pid, generation: Generation::new(generation), pidfd }
    }
}
