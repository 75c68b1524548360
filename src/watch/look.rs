//! Looking one process up: whether it runs, and how it ended if not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pidfd::Sight;
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind};
use crate::record::{End, ExitLabel, KILLED, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};

/// How long one question may take: a shim that is stuck is answered for by containerd after 2 s.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// The same for the list of all tasks: containerd asks the shims one after the other.
pub(super) const LIST: Duration = Duration::from_secs(30);

/// How long a process that has ended may take to be reaped, before which the kernel does not tell how.
const REAPED: Duration = Duration::from_secs(10);

/// What a look at one process gave.
pub(super) enum Look {
    /// It is told how it ended, or followed.
    Settled,
    /// containerd has another one, or none, and ours is yet to end.
    Another(Error),
    /// Nothing is known yet.
    Again(Error),
}

impl Watches {
    /// Looks one process up. `why` is what ended its Wait.
    pub(super) async fn look(&self, watch: &Arc<Watch>, why: Error) -> Look {
        if watch.is_over() {
            return Look::Settled;
        }
        if watch.is_held() {
            return Look::Again(why);
        }
        let ctx = || self.ctx(&watch.key.namespace, Limits::within(LOOK));
        let id = &watch.key.container;
        let record = match containers::look(ctx(), id.clone()).await {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Its task may stand all the same.
                return self.look_in_list(watch, why).await;
            }
            Err(error) => return Look::Again(error),
        };
        let is_own = generation(&record) == watch.process.generation();
        let kept = |record: &Container| {
            let kept = ExitLabel::of(record).filter(|kept| is_own && kept.pid == watch.process.pid);
            kept.map(|kept| kept.end)
        };
        let mut kept_end = kept(&record);
        let process = match tasks::look(ctx(), id.clone(), String::new()).await {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let how = match is_own {
                    true => "its task is gone from containerd",
                    false => "its id is another container's",
                };
                return self.gone(watch, kept_end, how, why);
            }
            Err(error) => return Look::Again(error),
        };
        if process.pid != 0 && process.pid != watch.process.pid {
            return self.gone(watch, kept_end, "another process has its id", why);
        }
        watch.lock().absent = None;
        let may_have_run = watch.is_started() || process.exit.code != KILLED;
        if process.status == Status::Stopped && is_own && !may_have_run && kept_end.is_none() {
            // It may have been written since that it was not to run.
            match containers::look(ctx(), id.clone()).await {
                Ok(record) => kept_end = kept(&record),
                Err(error) => return Look::Again(error),
            }
        }
        if watch.is_held() {
            return Look::Again(why);
        }
        if process.status == Status::Stopped && !is_own {
            // Of another container whose process has the number by chance, as likely as not.
            return self.gone(watch, kept_end, "its id is another container's", why);
        }
        if let Some(end) = End::seen(&process, kept_end, watch.is_started()) {
            self.recovered(watch, end);
            return Look::Settled;
        }
        match process.status {
            Status::Unknown | Status::Stopped => Look::Again(why),
            Status::Ending => self.ending(watch, kept_end, why),
            Status::Created | Status::Running | Status::Paused | Status::Pausing => {
                if !is_own {
                    if matches!(watch.process.look(), Sight::Ended(_) | Sight::Gone) {
                        return self.gone(watch, kept_end, "another process has its id", why);
                    }
                    // Somebody has replaced the record under it.
                    watch.process.set_generation(generation(&record));
                }
                if process.status != Status::Created {
                    note_start(watch);
                }
                match self.follow(watch) {
                    Ok(()) if watch.is_in_doubt() => Look::Again(why),
                    Ok(()) => Look::Settled,
                    Err(error) => Look::Again(error),
                }
            }
        }
    }

    /// The shim has yet to note how it ended; where its deletion broke off, it never will.
    fn ending(&self, watch: &Arc<Watch>, kept: Option<End>, why: Error) -> Look {
        if watch.lock().ending_since().elapsed() < REAPED {
            // It may be noted all the same.
            return Look::Again(self.follow(watch).err().unwrap_or(why));
        }
        self.gone(watch, kept, "its shim does not say how it ended", why)
    }

    /// Get finds no task where the container's record is gone; the list shows it still.
    async fn look_in_list(&self, watch: &Arc<Watch>, why: Error) -> Look {
        let how = "its container is gone from containerd";
        let ctx = self.ctx(&watch.key.namespace, Limits::within(LIST));
        let list = match tasks::look_at_all(ctx).await {
            Ok(list) => list,
            // Some shim does not answer, and need not be its own.
            Err(_) if matches!(watch.process.look(), Sight::Ended(_)) => {
                return self.gone(watch, None, how, why);
            }
            Err(error) => return Look::Again(error),
        };
        let ours = list.into_iter().find(|(id, process)| {
            // A shim that does not answer is listed without its process.
            *id == watch.key.container && [0, watch.process.pid].contains(&process.pid)
        });
        let Some((_, process)) = ours else {
            // And some versions leave it out of the list for as long.
            let unseen = watch.process.look() == Sight::Unseen;
            let since = *watch.lock().absent.get_or_insert_with(Instant::now);
            if unseen && since.elapsed() < LOOK {
                return Look::Again(why);
            }
            return self.gone(watch, None, how, why);
        };
        watch.lock().absent = None;
        match process.status {
            // The record that may have said that it never ran is gone.
            Status::Stopped if process.exit.code == KILLED && !watch.is_started() => {
                self.gone(watch, None, how, why)
            }
            Status::Stopped => {
                self.recovered(watch, End::Exit(process.exit));
                Look::Settled
            }
            Status::Ending => self.ending(watch, None, why),
            Status::Unknown | Status::Created => Look::Again(why),
            Status::Running | Status::Paused | Status::Pausing => {
                note_start(watch);
                Look::Again(why)
            }
        }
    }

    /// containerd knows nothing of it any more: tells what its record keeps, or the kernel knows.
    pub(super) fn gone(
        &self,
        watch: &Arc<Watch>,
        kept: Option<End>,
        how: &str,
        why: Error,
    ) -> Look {
        match kept {
            Some(end @ End::Exit(_)) => self.recovered(watch, end),
            Some(end @ End::NeverRan) if !watch.is_started() => self.recovered(watch, end),
            Some(End::NeverRan | End::Unknown) | None => match watch.process.look() {
                // containerd ends what it does not know any more, or will find it again.
                Sight::Runs => return Look::Another(why),
                // Whoever is to reap it may never do so.
                Sight::Ending if watch.lock().ending_since().elapsed() < REAPED => {
                    return Look::Another(why);
                }
                Sight::Ending | Sight::Ended(_) | Sight::Gone | Sight::Unseen => {
                    self.tell_gone(watch, how, why);
                }
            },
        }
        Look::Settled
    }
}

/// Somebody else has started it, or our call broke off that did.
fn note_start(watch: &Watch) {
    if let Err(e) = watch.note_start() {
        log::warn!("the input of container {}: {e}", watch.key.container);
    }
}
