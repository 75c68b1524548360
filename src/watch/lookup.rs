//! Looking one process up: whether it runs, and how it ended if it does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pidfd;
use super::process::Watch;
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind};
use crate::record::{ExitLabel, ProcessOutcome, SIGKILL_CODE, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};

/// How long one request may take. If a shim is stuck, containerd answers for it after 2 s.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the list of all tasks may take: containerd asks one shim after the other.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a process may be a zombie. The kernel gives its exit code only after its parent has
/// waited for it.
const ZOMBIE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a look-up.
pub(super) enum Lookup {
    /// The exit is reported, or a Wait is outstanding again.
    Done,
    /// containerd has another process, or none, and ours has not exited yet.
    Other(Error),
    /// Nothing is known yet.
    Retry(Error),
}

impl Watches {
    /// Looks one process up. `why` says why that is necessary.
    pub(super) async fn look_up(&self, watch: &Arc<Watch>, why: Error) -> Lookup {
        if watch.is_over() {
            return Lookup::Done;
        }
        if watch.is_exit_held() {
            return Lookup::Retry(why);
        }
        let ctx = || self.ctx(&watch.key.namespace, Limits::within(LOOKUP_TIMEOUT));
        let key = &watch.key;
        let id = &key.container;
        let record = match containers::get_async(ctx(), id.clone()).await {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The task may exist without a record.
                return self.look_up_in_list(watch, why).await;
            }
            Err(error) => return Lookup::Retry(error),
        };
        let is_own = generation::of(&record) == watch.generation();
        // The record keeps the exit of the first process only.
        let recorded_outcome = |record: &Container| {
            let label = ExitLabel::of(record).filter(|_| is_own && key.is_first());
            label.filter(|label| label.pid == watch.pid).map(|label| label.outcome)
        };
        let mut recorded = recorded_outcome(&record);
        let process = match tasks::get_async(ctx(), id.clone(), key.exec_id().to_owned()).await {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let how = match is_own {
                    true => format!("{} is gone from containerd", key.subject()),
                    false => "another container has its id".to_owned(),
                };
                return self.resolve(watch, recorded, &how, why);
            }
            Err(error) => return Lookup::Retry(error),
        };
        let is_another = match process.pid {
            // An exec has no pid before its start. It is watched from its start on.
            0 => !key.is_first() && process.status == Status::Created,
            pid => pid != watch.pid,
        };
        if is_another {
            return self.resolve(watch, recorded, "another process has its id", why);
        }
        watch.lock().absent = None;
        let may_have_run = watch.is_started() || process.exit.code != SIGKILL_CODE;
        if process.status == Status::Stopped && is_own && !may_have_run && recorded.is_none() {
            // The record may say by now that the process was not to run.
            match containers::get_async(ctx(), id.clone()).await {
                Ok(record) => recorded = recorded_outcome(&record),
                Err(error) => return Lookup::Retry(error),
            }
        }
        if watch.is_exit_held() {
            return Lookup::Retry(why);
        }
        if process.status == Status::Stopped && !is_own {
            // Probably the process of another container, which has the same pid by chance.
            return self.resolve(watch, recorded, "another container has its id", why);
        }
        if let Some(outcome) = ProcessOutcome::of_process(&process, recorded, watch.is_started()) {
            self.report_recovered(watch, outcome);
            return Lookup::Done;
        }
        match process.status {
            Status::Unknown | Status::Stopped => Lookup::Retry(why),
            Status::Ending => self.wait_for_shim(watch, recorded, why),
            Status::Created | Status::Running | Status::Paused | Status::Pausing => {
                if !is_own {
                    use pidfd::State::{Exited, ExitedUnknown};
                    if matches!(watch.kernel_state(), Exited(_) | ExitedUnknown) {
                        return self.resolve(watch, recorded, "another process has its id", why);
                    }
                    // Another client has replaced the record while the process runs.
                    watch.generation.set(generation::of(&record));
                }
                if process.status != Status::Created {
                    note_start(watch);
                }
                match self.send_wait(watch) {
                    Ok(()) if watch.is_wait_unreliable() => Lookup::Retry(why),
                    Ok(()) => Lookup::Done,
                    Err(error) => Lookup::Retry(error),
                }
            }
        }
    }

    /// Waits until the shim knows how the process exited. If a deletion of the task broke off, it never
    /// will.
    fn wait_for_shim(
        &self,
        watch: &Arc<Watch>,
        recorded: Option<ProcessOutcome>,
        why: Error,
    ) -> Lookup {
        if watch.lock().ending_since().elapsed() < ZOMBIE_TIMEOUT {
            // The Wait is answered if the shim finds out.
            return Lookup::Retry(self.send_wait(watch).err().unwrap_or(why));
        }
        self.resolve(watch, recorded, "its shim does not say how it ended", why)
    }

    /// Looks a process up whose container has no record. The server's Get finds no task then, but
    /// the list has it.
    async fn look_up_in_list(&self, watch: &Arc<Watch>, why: Error) -> Lookup {
        let how = "its container is gone from containerd";
        let ctx = self.ctx(&watch.key.namespace, Limits::within(LIST_TIMEOUT));
        let list = match tasks::list_async(ctx).await {
            Ok(list) => list,
            // Some shim does not answer. It may be another container's.
            Err(_) if matches!(watch.kernel_state(), pidfd::State::Exited(_)) => {
                return self.resolve(watch, None, how, why);
            }
            Err(error) => return Lookup::Retry(error),
        };
        let is_exec = !watch.key.is_first();
        let own = list.into_iter().find(|(id, process)| {
            // If a shim does not answer, its task is listed without a pid.
            *id == watch.key.container && (is_exec || [0, watch.pid].contains(&process.pid))
        });
        let Some((_, process)) = own else {
            // Some versions leave the task of a shim that does not answer out of the list.
            let has_no_pidfd = watch.kernel_state() == pidfd::State::Unknown;
            let since = *watch.lock().absent.get_or_insert_with(Instant::now);
            if has_no_pidfd && since.elapsed() < LOOKUP_TIMEOUT {
                return Lookup::Retry(why);
            }
            return self.resolve(watch, None, how, why);
        };
        watch.lock().absent = None;
        if is_exec {
            // The list has first processes only. An exec ends with its container at the latest.
            use pidfd::State::{Exited, ExitedUnknown};
            let has_ended = process.status == Status::Stopped
                || matches!(watch.kernel_state(), Exited(_) | ExitedUnknown);
            return if has_ended {
                self.resolve(watch, None, how, why)
            } else {
                Lookup::Retry(why)
            };
        }
        match process.status {
            // The record is gone that may have said that the process was not to run.
            Status::Stopped if process.exit.code == SIGKILL_CODE && !watch.is_started() => {
                self.resolve(watch, None, how, why)
            }
            Status::Stopped => {
                self.report_recovered(watch, ProcessOutcome::Exited(process.exit));
                Lookup::Done
            }
            Status::Ending => self.wait_for_shim(watch, None, why),
            Status::Unknown | Status::Created => Lookup::Retry(why),
            Status::Running | Status::Paused | Status::Pausing => {
                note_start(watch);
                Lookup::Retry(why)
            }
        }
    }

    /// Reports the end of a process that containerd does not know any more: from the container's
    /// record, or from the kernel.
    pub(super) fn resolve(
        &self,
        watch: &Arc<Watch>,
        recorded: Option<ProcessOutcome>,
        how: &str,
        why: Error,
    ) -> Lookup {
        use pidfd::State;
        match recorded {
            Some(exited @ ProcessOutcome::Exited(_)) => self.report_recovered(watch, exited),
            Some(ProcessOutcome::NeverStarted) if !watch.is_started() => {
                self.report_recovered(watch, ProcessOutcome::NeverStarted);
            }
            Some(ProcessOutcome::NeverStarted | ProcessOutcome::Unknown) | None => {
                match watch.kernel_state() {
                    // containerd kills a process that it does not know any more, or will find it again.
                    State::Running => return Lookup::Other(why),
                    // Its parent may never wait for it.
                    State::Zombie if watch.lock().ending_since().elapsed() < ZOMBIE_TIMEOUT => {
                        return Lookup::Other(why);
                    }
                    State::Zombie | State::Exited(_) | State::ExitedUnknown | State::Unknown => {
                        self.report_unknown_to_containerd(watch, how, why);
                    }
                }
            }
        }
        Lookup::Done
    }
}

/// Notes the start of a process that another client has started, or that a call of ours has started
/// that broke off.
fn note_start(watch: &Watch) {
    if let Err(e) = watch.note_start() {
        log::warn!("the input of {}: {e}", watch.key);
    }
}
