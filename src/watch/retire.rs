//! Watches whose process the server has forgotten. Their exits are kept for a while, for callers that
//! probe late. Nobody reports that another client has removed a container, so such containers are
//! searched for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::lookup::{LIST_TIMEOUT, LOOKUP_TIMEOUT};
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{ErrorKind, Result};
use crate::rpc::{containers, tasks};

/// How many exits are kept of containers that are gone without a call of this client, and how many of
/// execs.
pub(super) const MAX_RETIRED: usize = 1024;

impl Watches {
    /// Counts the exit of a container that was reported. When as many were reported as the last search
    /// has kept, searches for containers that are gone.
    pub(super) fn count_report(&self) {
        {
            let mut table = self.lock();
            let retired = &mut table.retired;
            retired.reported += 1;
            if retired.reported < retired.existing.max(MAX_RETIRED) {
                return;
            }
            retired.reported = 0;
        }
        if let Err(e) = self.0.executor.spawn(self.clone().retire_removed()) {
            log::debug!("cannot search for containers that are gone: {e}");
        }
    }

    /// Retires the watches whose containers other clients have removed.
    async fn retire_removed(self) {
        let mut exited: Vec<_> = self.lock().watches.values().cloned().collect();
        exited.retain(|watch| watch.key.is_first() && watch.lock().has_lasting_exit());
        let mut tasks = HashMap::new();
        let mut existing = 0;
        for watch in exited {
            match self.is_removed(&watch, &mut tasks).await {
                Ok(false) => existing += 1,
                Ok(true) => {
                    self.close_drained(&watch);
                    self.retire(&watch);
                }
                Err(e) => {
                    // The server does not answer. The next search will find them.
                    log::debug!("searching for containers that are gone: {e}");
                    break;
                }
            }
        }
        self.lock().retired.existing = existing;
    }

    /// Whether a container has neither a record nor a task. `tasks` caches the ids of each
    /// namespace's tasks: `None` if they cannot be listed.
    async fn is_removed(
        &self,
        watch: &Watch,
        tasks: &mut HashMap<String, Option<HashSet<String>>>,
    ) -> Result<bool> {
        let (namespace, container) = (&watch.key.namespace, &watch.key.container);
        let ctx = |limit| self.ctx(namespace, Limits::within(limit));
        match containers::get_async(ctx(LOOKUP_TIMEOUT), container.clone()).await {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other.map(|_| false),
        }
        if !tasks.contains_key(namespace) {
            let list = tasks::list_async(ctx(LIST_TIMEOUT)).await.ok();
            let ids = list.map(|list| list.into_iter().map(|(id, _)| id).collect());
            tasks.insert(namespace.clone(), ids);
        }
        let listed = tasks.get(namespace).and_then(Option::as_ref);
        Ok(listed.is_some_and(|ids| !ids.contains(container)))
    }

    /// Keeps the exit of a process that is gone until [`MAX_RETIRED`] others follow it.
    pub(crate) fn retire(&self, watch: &Arc<Watch>) {
        let is_listed = self.lock().has(watch);
        if !is_listed || !watch.lock().set_retired(true) {
            return;
        }
        let oldest = {
            let mut table = self.lock();
            let retired = &mut table.retired;
            let list = if watch.key.is_first() { &mut retired.first } else { &mut retired.execs };
            list.push_back(watch.clone());
            if list.len() > MAX_RETIRED { list.pop_front() } else { None }
        };
        let stays = |oldest: &Arc<Watch>| oldest.lock().is_retired();
        oldest.into_iter().filter(stays).for_each(|oldest| self.forget(&oldest));
    }
}
