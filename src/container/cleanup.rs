//! What is removed of a container by itself, once its process has ended and the hooks have returned.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::destroy::{remove, remove_task, tell_another};
use super::probe::has_another_task;
use super::{Deleted, generation, turn};
use crate::call::Call;
use crate::context::Context;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::executor::Kept;
use crate::lease::OWNER_LABEL;
use crate::rpc::containers::{self, Container};
use crate::watch::{Then, Watch};

/// What is removed of a container once its process has ended and every hook that was told has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleanup {
    /// Nothing: [`crate::Client::destroy_container`] does it.
    #[default]
    Keep,
    /// The task. The record keeps the exit, and the snapshot what the process has written.
    Task,
    /// Everything: task, snapshot and record.
    All,
}

/// The label that says it, for whoever recovers the container.
pub(super) const LABEL: &str = "io.ctrd.cleanup";

impl Cleanup {
    pub(super) fn label(self) -> Option<(String, String)> {
        let word = match self {
            Cleanup::Keep => return None,
            Cleanup::Task => "task",
            Cleanup::All => "all",
        };
        Some((LABEL.into(), word.into()))
    }

    /// What a record says.
    pub(super) fn of(record: &Container) -> Cleanup {
        match record.labels.get(LABEL).map(String::as_str) {
            Some("task") => Cleanup::Task,
            Some("all") => Cleanup::All,
            _ => Cleanup::Keep,
        }
    }
}

/// What is to be done about a container after its exit.
pub(super) fn job(
    context: &Arc<Context>,
    namespace: &str,
    cleanup: Cleanup,
) -> Result<Option<Then>> {
    if cleanup == Cleanup::Keep {
        return Ok(None);
    }
    let kept = context.executor.keep()?;
    let context = Arc::downgrade(context);
    let namespace = namespace.to_owned();
    Ok(Some(Box::new(move |watch| {
        Work { context, namespace, watch, cleanup, pause: FIRST_PAUSE, _kept: kept }.run();
    })))
}

/// The pause before a clean-up is tried again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How long one attempt may take, also where calls have no limit: others wait for the thread.
const LIMIT: Duration = Duration::from_secs(30);

struct Work {
    context: Weak<Context>,
    namespace: String,
    /// The process that has ended: another one of the id is none of our business.
    watch: Arc<Watch>,
    cleanup: Cleanup,
    pause: Duration,
    /// Who has it tried again: then a thread for it might be refused.
    _kept: Kept,
}

impl Work {
    fn run(mut self) {
        let Some(context) = self.context.upgrade() else { return };
        let result = clean_up(&context, &self.namespace, &self.watch, self.cleanup);
        match result.at("cleanup", self.watch.container()) {
            Ok(()) => {}
            // A recover of a later client takes it up again.
            Err(e) if e.kind() == ErrorKind::Closed => {}
            Err(e) => {
                log::warn!("{e}");
                // The server may be away.
                let sleep = context.executor.sleep(self.pause);
                self.pause = LAST_PAUSE.min(self.pause * 2);
                let bus = context.bus.clone();
                let again = async move {
                    sleep.await;
                    bus.run(Box::new(move || self.run()));
                };
                if let Err(e) = context.executor.spawn(again) {
                    log::warn!("a clean-up is given up: {e}");
                }
            }
        }
    }
}

fn clean_up(
    context: &Context,
    namespace: &str,
    watch: &Arc<Watch>,
    cleanup: Cleanup,
) -> Result<()> {
    let limit = context.config.call_timeout.min(LIMIT);
    let operation = context.begin_with(&Call::new().namespace(namespace), Some(limit))?;
    let cx = &operation.cx;
    let id = watch.container();
    let _turn = turn(context, cx, id, "cleanup")?;
    let record = match containers::get(cx, id) {
        // Somebody has replaced it.
        Ok(record) if generation(&record) != watch.process.generation() => {
            watch.drain_and_close(&cx.limits);
            return Ok(());
        }
        Ok(record)
            if record.labels.get(OWNER_LABEL) == Some(&context.config.owner)
                && Cleanup::of(&record) == cleanup =>
        {
            record
        }
        // Somebody has other plans.
        Ok(_) => return Ok(()),
        // Somebody has destroyed it.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            watch.drain_and_close(&cx.limits);
            watch.close_stdio(context.place(namespace));
            context.watches.retire(watch);
            return Ok(());
        }
        Err(e) => return Err(e.step("look the record up")),
    };
    if has_another_task(cx, watch).step("look the task up")? {
        watch.drain_and_close(&cx.limits);
        return Ok(());
    }
    watch.drain(&cx.limits);
    let remove = match cleanup {
        Cleanup::Keep => return Ok(()),
        Cleanup::Task => remove_task,
        Cleanup::All => remove,
    };
    let keeps_record = cleanup == Cleanup::Task;
    match remove(context, cx, &record, Some(watch), watch.exit().as_ref())? {
        Deleted::Yes => {}
        Deleted::Another(pid, exit) => {
            let other = tell_another(context, cx, &record, pid, exit)?;
            if !keeps_record {
                context.watches.retire(&other);
            }
        }
        Deleted::No | Deleted::Replaced => {
            watch.drain_and_close(&cx.limits);
            return Ok(());
        }
    }
    if !keeps_record {
        // Its exit can be asked for still.
        context.watches.retire(watch);
    }
    Ok(())
}
