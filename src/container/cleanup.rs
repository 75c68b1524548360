//! What is removed of a container by itself, once its process has ended and the hooks have returned.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::lock::lock;
use super::remove::{remove, remove_task, tell_another};
use super::task::{Deleted, has_another_task};
use crate::call::Call;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::executor::Kept;
use crate::inner::Inner;
use crate::record::{Cleanup, OWNER_LABEL, generation};
use crate::rpc::containers;
use crate::watch::{Then, Watch};

/// What is to be done about a container after its exit.
pub(super) fn job(client: &Arc<Inner>, namespace: &str, cleanup: Cleanup) -> Result<Option<Then>> {
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

/// How long one attempt may take, also where calls have no limit: others wait for the thread.
const LIMIT: Duration = Duration::from_secs(30);

struct Work {
    client: Weak<Inner>,
    namespace: String,
    /// The process that has ended: another one of the id is none of our business.
    watch: Arc<Watch>,
    cleanup: Cleanup,
    pause: Duration,
    /// Who has it tried again: then a thread for it might be refused.
    _kept: Kept,
}

impl Work {
    /// Waits for the output first.
    fn run_drained(self) {
        let Some(client) = self.client.upgrade() else { return };
        let watch = self.watch.clone();
        client.watches.run_drained(&watch, Box::new(move || self.run()));
    }

    fn run(mut self) {
        let Some(client) = self.client.upgrade() else { return };
        let result = clean_up(&client, &self.namespace, &self.watch, self.cleanup);
        match result.at("cleanup", self.watch.container()) {
            Ok(()) => {}
            // A recover of a later client takes it up again.
            Err(e) if e.kind() == ErrorKind::Closed => {}
            Err(e) => {
                log::warn!("{e}");
                // The server may be away.
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

fn clean_up(client: &Inner, namespace: &str, watch: &Arc<Watch>, cleanup: Cleanup) -> Result<()> {
    let limit = client.config.call_timeout.min(LIMIT);
    let operation = client.begin_with(&Call::new().namespace(namespace), Some(limit))?;
    let ctx = &operation.ctx;
    let id = watch.container();
    let _lock = lock(client, ctx, id, "cleanup")?;
    let record = match containers::get(ctx, id) {
        // Somebody has replaced it.
        Ok(record) if generation(&record) != watch.process.generation() => {
            watch.close_streams();
            return Ok(());
        }
        Ok(record)
            if record.labels.get(OWNER_LABEL) == Some(&client.config.owner)
                && Cleanup::of(&record) == cleanup =>
        {
            record
        }
        // Somebody has other plans.
        Ok(_) => return Ok(()),
        // Somebody has destroyed it.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            watch.close_stdio(client.fifo_dir(namespace));
            client.watches.retire(watch);
            return Ok(());
        }
        Err(e) => return Err(e.step("look the record up")),
    };
    if has_another_task(ctx, watch).step("look the task up")? {
        watch.close_streams();
        return Ok(());
    }
    let remove = match cleanup {
        Cleanup::Keep => return Ok(()),
        Cleanup::Task => remove_task,
        Cleanup::All => remove,
    };
    let keeps_record = cleanup == Cleanup::Task;
    match remove(client, ctx, &record, Some(watch), watch.exit().as_ref())? {
        Deleted::Yes => {}
        Deleted::Another(pid, exit) => {
            let other = tell_another(client, ctx, &record, pid, exit)?;
            if !keeps_record {
                client.watches.retire(&other);
            }
        }
        Deleted::No | Deleted::Replaced => {
            watch.close_streams();
            return Ok(());
        }
    }
    if !keeps_record {
        // Its exit can be asked for still.
        client.watches.retire(watch);
    }
    Ok(())
}
