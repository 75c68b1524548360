//! Watches whose id another process or another container has by now.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::lookup::Lookup;
use super::pidfd;
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::wait::block_on;

/// How often a process that was killed is checked for its exit, and the pause between two checks.
const EXIT_CHECKS: u32 = 10;
pub(super) const EXIT_PAUSE: Duration = Duration::from_millis(20);

/// How long a look-up may take if a call waits for it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The process that has the id of a watch.
pub(crate) enum IdOwner {
    /// The process of the watch still has it.
    Same,
    /// The process of the watch has exited.
    Exited,
    /// Another process has it.
    Other,
    Unknown(Error),
}

impl Watches {
    /// Finds out how a process ended that another client has deleted, to create another one with its
    /// name. containerd does not know the process any more.
    pub(super) fn resolve_replaced(&self, watch: &Arc<Watch>, limits: &Limits) {
        let how = format!("{} was deleted and created again", watch.key.subject());
        let why = Error::new(ErrorKind::NotFound, how.clone());
        let waited = self.wait_for_exit(watch, limits);
        if watch.is_over() {
            return self.drop_displaced(watch);
        }
        if waited.is_ok() && matches!(self.resolve(watch, None, &how, why.clone()), Lookup::Done) {
            return self.drop_displaced(watch);
        }
        // It was killed and has not exited yet, or the call has no time to wait for that.
        self.reconcile(watch, why);
    }

    /// Looks a process up whose container another client has removed, and may have created again.
    /// The process may have exited, or another record may be its own. If that cannot be found out
    /// within the limits, or if the process still runs, the watch goes on.
    pub(crate) fn find_id_owner(&self, watch: &Arc<Watch>, limits: &Limits) -> IdOwner {
        // The look-up fails at once if the limits have ended this.
        let _ = self.wait_for_exit(watch, limits);
        let why = Error::new(ErrorKind::NotFound, "its container was removed by another client");
        let looked_up = block_on(&limits.at_most(LOOKUP_TIMEOUT), self.look_up(watch, why));
        if watch.is_over() {
            return IdOwner::Exited;
        }
        let (owner, why) = match looked_up {
            Ok(Lookup::Done) => return IdOwner::Same,
            Ok(Lookup::Other(why)) => (IdOwner::Other, why),
            Ok(Lookup::Retry(why)) | Err(why) => (IdOwner::Unknown(why.clone()), why),
        };
        log::debug!("looking {} up: {why}", watch.key);
        if !watch.is_wait_outstanding() {
            self.reconcile(watch, why);
        }
        owner
    }

    /// Has the process looked up until its Wait is reliable again.
    pub(crate) fn look_up_again(&self, watch: &Arc<Watch>, why: Error) {
        watch.set_wait_unreliable();
        self.reconcile(watch, why);
    }

    /// Frees the id of a watch for a new process. The old process is watched until it exits.
    pub(crate) fn displace(&self, watch: &Arc<Watch>) {
        {
            let mut table = self.lock();
            if table.has(watch) {
                table.watches.remove(&watch.key);
                table.displaced.push(watch.clone());
            }
        }
        // It may have exited before it was displaced.
        if watch.is_over() {
            self.drop_displaced(watch);
        }
    }

    /// Drops a displaced watch whose exit is reported.
    pub(super) fn drop_displaced(&self, watch: &Arc<Watch>) {
        let was_displaced = {
            let mut table = self.lock();
            let before = table.displaced.len();
            table.displaced.retain(|other| !Arc::ptr_eq(other, watch));
            table.displaced.len() < before
        };
        if was_displaced {
            self.close_drained(watch);
        }
    }

    /// Waits a moment for the exit of a process that was killed just now. Fails if the limits end
    /// the wait.
    pub(super) fn wait_for_exit(&self, watch: &Watch, limits: &Limits) -> Result<()> {
        for _ in 0..EXIT_CHECKS {
            if watch.is_over() || matches!(watch.kernel_state(), pidfd::State::Exited(_)) {
                break;
            }
            // Unlike a sleep, this ends when the cancel handle is fired.
            let _ = block_on(&limits.at_most(EXIT_PAUSE), pending::<()>());
            limits.check()?;
        }
        Ok(())
    }
}
