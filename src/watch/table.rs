//! The table of the watches of a client.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::process::{Key, Watch};
use crate::error::{Error, ErrorKind, Result};

#[derive(Default)]
pub(super) struct Table {
    pub(super) watches: HashMap<Key, Arc<Watch>>,
    /// Those whose process is yet to end though their id is another one's by now.
    pub(super) displaced: Vec<Arc<Watch>>,
    /// How many exits were told since it was last looked which containers are gone, and how many of those
    /// that had ended were there then.
    pub(super) told: usize,
    pub(super) standing: usize,
    /// The last whose exit was told and which were let go of: who finds one of them at the server now has
    /// looked before.
    pub(super) forgotten: VecDeque<(Key, u32, String)>,
    pub(super) closed: bool,
}

/// How many are remembered that were let go of. It is to cover what is looked up at one time.
pub(super) const MAX_FORGOTTEN: usize = 256;

impl Table {
    /// Fails once the client is closed: nothing would end a wait that begins now.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed { Err(closed()) } else { Ok(()) }
    }

    /// Whether the id is the watch's own still.
    pub(super) fn has(&self, watch: &Arc<Watch>) -> bool {
        self.watches.get(&watch.key).is_some_and(|current| Arc::ptr_eq(current, watch))
    }

    pub(super) fn remove(&mut self, watch: &Arc<Watch>) {
        if self.has(watch) {
            self.watches.remove(&watch.key);
        }
        self.displaced.retain(|other| !Arc::ptr_eq(other, watch));
    }

    pub(super) fn note_forgotten(&mut self, process: (Key, u32, String)) {
        self.forgotten.push_back(process);
        if self.forgotten.len() > MAX_FORGOTTEN {
            self.forgotten.pop_front();
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.watches.values().chain(&self.displaced)
    }
}

pub(super) fn gone(container: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("container {container} was removed"))
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
