//! The exits of containers that are gone: kept for a while, found when another client removed them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use super::look::{LIST, LOOK};
use super::process::{Key, Watch};
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{ErrorKind, Result};
use crate::rpc::{containers, tasks};

/// How many exits are kept of containers that are gone without a call of this client.
pub(super) const MAX_RETIRED: usize = 1024;

impl Watches {
    /// Has it looked, when as many exits were told as were kept the last time, which containers are gone.
    pub(super) fn count_told(&self) {
        {
            let mut table = self.lock();
            table.told += 1;
            if table.told < table.standing.max(MAX_RETIRED) {
                return;
            }
            table.told = 0;
        }
        if let Err(e) = self.0.executor.spawn(self.clone().retire_removed()) {
            log::debug!("containers that are gone are not looked for: {e}");
        }
    }

    /// Retires the watches whose containers other clients have removed, of which nobody tells us.
    async fn retire_removed(self) {
        let mut told: Vec<_> = self.lock().watches.values().cloned().collect();
        told.retain(|watch| {
            let state = watch.lock();
            state.exit.is_some() && !state.retired
        });
        let mut tasks = HashMap::new();
        let mut standing = 0;
        for watch in told {
            match self.is_removed(&watch, &mut tasks).await {
                Ok(false) => standing += 1,
                Ok(true) => {
                    self.close_drained(&watch);
                    self.retire(&watch);
                }
                Err(e) => {
                    // The server is away: another time.
                    log::debug!("looking for containers that are gone: {e}");
                    break;
                }
            }
        }
        self.lock().standing = standing;
    }

    /// Whether a container has neither a record nor a task. `tasks` has the ids of those that were listed;
    /// none where a namespace's cannot be.
    async fn is_removed(
        &self,
        watch: &Watch,
        tasks: &mut HashMap<String, Option<HashSet<String>>>,
    ) -> Result<bool> {
        let Key { namespace, container } = &watch.key;
        let ctx = |limit| self.ctx(namespace, Limits::within(limit));
        match containers::look(ctx(LOOK), container.clone()).await {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other.map(|_| false),
        }
        if !tasks.contains_key(namespace) {
            let list = tasks::look_at_all(ctx(LIST)).await.ok();
            let ids = list.map(|list| list.into_iter().map(|(id, _)| id).collect());
            tasks.insert(namespace.clone(), ids);
        }
        let listed = tasks.get(namespace).and_then(Option::as_ref);
        Ok(listed.is_some_and(|ids| !ids.contains(container)))
    }

    /// Keeps the exit of a container that is gone, for who probes late, as long as not too many others
    /// go after it.
    pub(crate) fn retire(&self, watch: &Arc<Watch>) {
        let is_there = self.lock().has(watch);
        if !is_there || std::mem::replace(&mut watch.lock().retired, true) {
            return;
        }
        let oldest = {
            let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.push_back(watch.clone());
            if retired.len() > MAX_RETIRED { retired.pop_front() } else { None }
        };
        let stays = |oldest: &Arc<Watch>| oldest.lock().retired;
        oldest.into_iter().filter(stays).for_each(|oldest| self.forget(&oldest));
    }
}
