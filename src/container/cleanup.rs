//! The clean-up that the library does by itself after the exit of a container's process, when the hooks have
//! returned.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::remove::{finish_execs, remove, remove_task, report_other_process};
use super::task::{Deletion, has_another_process};
use crate::call::Call;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::executor::Kept;
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::record::{Cleanup, OWNER_LABEL, drain, generation};
use crate::rpc::containers;
use crate::submit;
use crate::watch::{AfterExit, Watch};

/// The clean-up as a job for the time after the exit. `None` if there is nothing to remove.
pub(super) fn job(
    client: &Arc<Inner>,
    namespace: &str,
    cleanup: Cleanup,
) -> Result<Option<AfterExit>> {
    if cleanup == Cleanup::Keep {
        return Ok(None);
    }
    let kept = client.executor.keep()?;
    let client = Arc::downgrade(client);
    let namespace = namespace.to_owned();
    Ok(Some(Box::new(move |watch| {
        Work { client, namespace, watch, cleanup, pause: FIRST_PAUSE, _kept: kept }.run_drained();
    })))
}

/// The pause before a clean-up is tried again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How long one attempt may take, even if calls have no limit: other jobs wait for the thread.
const LIMIT: Duration = Duration::from_secs(30);

struct Work {
    client: Weak<Inner>,
    namespace: String,
    /// The process that has exited. Another process of the same id is not cleaned up.
    watch: Arc<Watch>,
    cleanup: Cleanup,
    pause: Duration,
    /// Keeps the retry thread alive: later it may be impossible to start one.
    _kept: Kept,
}

impl Work {
    /// Waits for the output first.
    fn run_drained(self) {
        let Some(client) = self.client.upgrade() else { return };
        let watch = self.watch.clone();
        client.watches.run_drained(&watch, Box::new(move || self.run()));
    }

    /// Waits for the container's lock without a thread: a submitted change may hold it for long while it
    /// waits for its turn, and few clean-ups have a thread at a time.
    fn run(self) {
        let Some(client) = self.client.upgrade() else { return };
        let key = submit::lock_key(&self.namespace, self.watch.container());
        let mut locking = Box::pin(client.locks.locking(key, "cleanup"));
        if let Poll::Ready(lock) = locking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return self.run_locked(&client, lock);
        }
        let bus = client.bus.clone();
        let unlocked = async move {
            // It would hold the lock while it waits for a thread, so it takes it then.
            drop(locking.await);
            bus.run(Box::new(move || self.run()));
        };
        if let Err(e) = client.executor.spawn(unlocked) {
            log::debug!("a clean-up is given up: {e}");
        }
    }

    fn run_locked(mut self, client: &Inner, lock: KeyGuard) {
        let result = clean_up(client, &self.namespace, &self.watch, self.cleanup);
        drop(lock);
        match result.at("cleanup", self.watch.container()) {
            Ok(()) => {}
            // A later client that recovers the container cleans up.
            Err(e) if e.kind() == ErrorKind::Closed => {}
            Err(e) => {
                log::warn!("{e}");
                // The server may not answer for a while.
                let sleep = client.executor.sleep(self.pause);
                self.pause = LAST_PAUSE.min(self.pause * 2);
                let bus = client.bus.clone();
                let again = async move {
                    sleep.await;
                    bus.run(Box::new(move || self.run()));
                };
                if let Err(e) = client.executor.spawn(again) {
                    log::warn!("a clean-up is given up: {e}");
                }
            }
        }
    }
}

/// The caller holds the container's lock.
fn clean_up(client: &Inner, namespace: &str, watch: &Arc<Watch>, cleanup: Cleanup) -> Result<()> {
    let limit = client.config.call_timeout.min(LIMIT);
    let operation = client.begin_with(&Call::new().namespace(namespace), Some(limit))?;
    let ctx = &operation.ctx;
    let id = watch.container();
    let record = match containers::get(ctx, id) {
        // Another client has replaced the container.
        Ok(record) if generation::of(&record) != watch.generation() => {
            watch.close_streams();
            return Ok(());
        }
        Ok(record)
            if record.labels.get(OWNER_LABEL) == Some(&client.config.owner)
                && Cleanup::of(&record) == cleanup =>
        {
            record
        }
        // Another client has changed the owner or the policy.
        Ok(_) => return Ok(()),
        // Another call has destroyed the container.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            watch.close_stdio(client.fifo_dir(namespace));
            client.watches.retire(watch);
            return Ok(());
        }
        Err(e) => return Err(e.step("look the record up")),
    };
    if has_another_process(ctx, watch).step("look the task up")? {
        watch.close_streams();
        return Ok(());
    }
    // The time for the output is over. It is dropped only under the lock: a destroy may give it more time.
    watch.drain(Duration::ZERO, &ctx.limits).step("drop the output")?;
    finish_execs(client, ctx, id, drain(&record)).step("wait for the output of execs")?;
    let remove = match cleanup {
        Cleanup::Keep => return Ok(()),
        Cleanup::Task => remove_task,
        Cleanup::All => remove,
    };
    let keeps_record = cleanup == Cleanup::Task;
    match remove(client, ctx, &record, Some(watch), watch.exit().as_ref())? {
        Deletion::Done => {}
        Deletion::OtherProcess(pid, exit) => {
            let other = report_other_process(client, ctx, &record, pid, exit)?;
            if !keeps_record {
                client.watches.retire(&other);
            }
        }
        Deletion::OtherRuns | Deletion::OtherContainer => {
            watch.close_streams();
            return Ok(());
        }
    }
    if !keeps_record {
        // Its exit is kept for callers that probe late.
        client.watches.retire(watch);
    }
    Ok(())
}
