//! The table of the watches of a client.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::identity::{Key, Process};
use super::process::Watch;
use crate::error::{Error, ErrorKind, Result};

/// How many processes that were forgotten are remembered: enough for those that are looked up at one
/// time.
const MAX_FORGOTTEN: usize = 256;

#[derive(Default)]
pub(super) struct Table {
    pub(super) watches: HashMap<Key, Arc<Watch>>,
    /// The watches whose id another process has by now, and whose own process has not exited yet.
    pub(super) displaced: Vec<Arc<Watch>>,
    pub(super) retired: Retired,
    /// The last processes whose exit was reported and whose watch was forgotten. A caller that
    /// finds one of them at the server has asked before the container was removed.
    forgotten: VecDeque<(Key, u32, String)>,
    closed: bool,
}

/// The watches whose process the server has forgotten, and whose exit is kept for a while.
#[derive(Default)]
pub(super) struct Retired {
    /// Those of containers' first processes, and those of execs, the oldest first: many execs must not
    /// push the exits of containers out.
    pub(super) first: VecDeque<Arc<Watch>>,
    pub(super) execs: VecDeque<Arc<Watch>>,
    /// How many exits of containers were reported since the last search for containers that are gone.
    pub(super) reported: usize,
    /// How many exits of containers that still existed the last search has found.
    pub(super) existing: usize,
}

/// The result of [`Table::insert`].
pub(super) struct Inserted {
    pub(super) watch: Arc<Watch>,
    /// Whether the watch is new.
    pub(super) is_new: bool,
    /// The watch that had the id before, for another process. It continues among the displaced ones.
    pub(super) displaced: Option<Arc<Watch>>,
}

impl Table {
    /// The watch of a process: the one that exists if `is_same` holds for the two processes, or a
    /// new one. Fails if the client is closed, because nothing would end a wait that begins now,
    /// and if the process was watched and forgotten.
    pub(super) fn insert(
        &mut self,
        key: Key,
        process: Process,
        is_same: impl Fn(&Watch, &Process) -> bool,
    ) -> Result<Inserted> {
        if self.closed {
            return Err(closed());
        }
        let existing = self.watches.get(&key).cloned();
        if let Some(watch) = existing.as_ref().filter(|watch| is_same(watch, &process)) {
            return Ok(Inserted { watch: watch.clone(), is_new: false, displaced: None });
        }
        let is_it = |(of, pid, generation): &(Key, u32, String)| {
            *pid == process.pid && *of == key && *generation == process.generation.get()
        };
        if self.forgotten.iter().any(is_it) {
            return Err(removed(&key));
        }
        let watch = Arc::new(Watch::new(key.clone(), process));
        self.watches.insert(key, watch.clone());
        self.displaced.extend(existing.clone());
        Ok(Inserted { watch, is_new: true, displaced: existing })
    }

    /// Whether the watch still has its id.
    pub(super) fn has(&self, watch: &Arc<Watch>) -> bool {
        self.watches.get(&watch.key).is_some_and(|current| Arc::ptr_eq(current, watch))
    }

    pub(super) fn remove(&mut self, watch: &Arc<Watch>) {
        if self.has(watch) {
            self.watches.remove(&watch.key);
        }
        self.displaced.retain(|other| !Arc::ptr_eq(other, watch));
    }

    /// Remembers a process whose exit was reported and whose watch is about to be forgotten.
    pub(super) fn note_forgotten(&mut self, watch: &Watch) {
        let process = (watch.key.clone(), watch.pid, watch.generation());
        self.forgotten.push_back(process);
        if self.forgotten.len() > MAX_FORGOTTEN {
            self.forgotten.pop_front();
        }
    }

    /// Takes back a watch whose exit is reported, and whose id was meant for a process that is gone.
    pub(super) fn restore(&mut self, watch: &Arc<Watch>) {
        if self.closed {
            return;
        }
        let process = (watch.key.clone(), watch.pid, watch.generation());
        self.forgotten.retain(|forgotten| *forgotten != process);
        self.watches.entry(watch.key.clone()).or_insert_with(|| watch.clone());
    }

    /// Accepts no further watch, and gives the table as it was.
    pub(super) fn close(&mut self) -> Table {
        std::mem::replace(self, Table { closed: true, ..Table::default() })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.watches.values().chain(&self.displaced)
    }
}

pub(super) fn removed(key: &Key) -> Error {
    Error::new(ErrorKind::NotFound, format!("{key} was removed"))
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
