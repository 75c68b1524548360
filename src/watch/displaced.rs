//! Watches whose id is another process's or another container's by now.

use std::sync::Arc;
use std::time::Duration;

use super::look::Look;
use super::pidfd::Sight;
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind};
use crate::wait::block_on;

/// How often a process is looked at that must have ended, and the pause between.
const ENDING_LOOKS: u32 = 10;

pub(super) const ENDING_PAUSE: Duration = Duration::from_millis(20);

/// How long a look may take for which a call waits.
const SETTLE: Duration = Duration::from_secs(2);

/// What a look gave for which a call waited.
pub(crate) enum Settled {
    /// The id is its own.
    Own,
    /// It has ended.
    Over,
    /// The id is another process's.
    Another,
    Unknown(Error),
}

impl Watches {
    /// Tells how the process of a watch has ended whose task was made anew: so containerd knows nothing of
    /// it any more.
    pub(super) fn replaced(&self, before: &Arc<Watch>) {
        self.wait_for_answer(before);
        let how = "its task was made anew";
        let why = Error::new(ErrorKind::NotFound, how);
        if before.is_over() || matches!(self.gone(before, None, how, why.clone()), Look::Settled) {
            return self.end_displaced(before);
        }
        // It is killed, and yet to end.
        self.reconcile(before, why);
    }

    /// Looks a process up whose container another client has removed, and may have made anew: it has
    /// ended, or another record may be its own. Where that is not known within the limits, or it runs
    /// on, it is watched on.
    pub(crate) fn settle(&self, watch: &Arc<Watch>, limits: &Limits) -> Settled {
        self.wait_for_answer(watch);
        let why = Error::new(ErrorKind::NotFound, "its container was removed by another client");
        let looked = block_on(&limits.at_most(SETTLE), self.look(watch, why));
        if watch.is_over() {
            return Settled::Over;
        }
        let (settled, why) = match looked {
            Ok(Look::Settled) => return Settled::Own,
            Ok(Look::Another(why)) => (Settled::Another, why),
            Ok(Look::Again(why)) | Err(why) => (Settled::Unknown(why.clone()), why),
        };
        log::debug!("looking container {} up: {why}", watch.key.container);
        if !watch.is_followed() {
            self.reconcile(watch, why);
        }
        settled
    }

    /// Looks a process up until its Wait is to be relied on again.
    pub(crate) fn look_again(&self, watch: &Arc<Watch>, why: Error) {
        watch.doubt();
        self.reconcile(watch, why);
    }

    /// Gives the id of a watch to another one: its process is yet to end.
    pub(crate) fn displace(&self, watch: &Arc<Watch>) {
        {
            let mut table = self.lock();
            if table.has(watch) {
                table.watches.remove(&watch.key);
                table.displaced.push(watch.clone());
            }
        }
        // It may have ended just now.
        if watch.is_over() {
            self.end_displaced(watch);
        }
    }

    /// Drops a watch whose id is another one's, once its exit is told.
    pub(super) fn end_displaced(&self, watch: &Arc<Watch>) {
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

    /// Waits a moment for the answer to Wait of what was killed a moment ago.
    fn wait_for_answer(&self, watch: &Watch) {
        for _ in 0..ENDING_LOOKS {
            if watch.is_over() || matches!(watch.process.look(), Sight::Ended(_)) {
                break;
            }
            std::thread::sleep(ENDING_PAUSE);
        }
    }
}
