//! Recovering containers: taking them over from an earlier run of the program.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::adopt::{adopt, watch_of_record};
use super::lock::lock;
use super::task::{LOOK_UP, has_another_process};
use crate::call::Call;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::record::OWNER_LABEL;
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::stdio::{self, Stdio};
use crate::{submit, sys};

/// How many containers are recovered at once.
const THREADS: usize = 16;

/// How long one container may take. If a shim is stuck, containerd answers for it after 2 s.
const EACH: Duration = Duration::from_secs(5);

/// What became of one container of [`crate::Client::recover_all`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recovery {
    /// The container.
    pub container_id: String,
    /// Its state.
    pub state: RecoveryState,
    /// Why the container could not be recovered. `None` if it was.
    pub error: Option<Error>,
}

/// The state of a container that was to be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryState {
    /// Its process was created or runs, and the client watches it.
    Alive,
    /// Its process has exited. Hooks, queues and callers that probe get the exit.
    Ended,
    /// It has no task, and its record does not say how its process ended. It was left as it is.
    NoTask,
    /// It could not be looked up, because its shim is stuck or the server does not answer, or the caller
    /// gave no streams for it. It was left as it is.
    Failed,
}

pub(crate) fn recover(client: &Arc<Inner>, id: &str, stdio: Stdio, call: &Call) -> Result<()> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, "recover_container")?;
    let record = containers::get(ctx, id).map_err(|e| match e.kind() {
        ErrorKind::NotFound => e.context("container"),
        _ => e,
    });
    take_over(client, ctx, &record.step("look the record up")?, stdio).map(drop)
}

fn take_over(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    stdio: Stdio,
) -> Result<RecoveryState> {
    let owner = record.labels.get(OWNER_LABEL).map_or("", String::as_str);
    if owner != client.config.owner {
        let whose = if owner.is_empty() { "nobody's" } else { owner };
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("the container is {whose}, not of the owner {}", client.config.owner),
        ));
    }
    if let Some(known) = watch_of_record(client, ctx, record)?
        && known.exit().is_some()
        && has_another_process(ctx, &known).step(LOOK_UP)?
    {
        client.watches.release(&known);
    }
    let watch = adopt(client, ctx, record, Some(stdio))?;
    Ok(if watch.exit().is_some() { RecoveryState::Ended } else { RecoveryState::Alive })
}

pub(crate) fn recover_all(
    client: &Arc<Inner>,
    streams: &mut dyn FnMut(&str) -> Result<Stdio>,
    call: &Call,
) -> Result<Vec<Recovery>> {
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    submit::begin_long()?;
    submit::keep_thread();
    // Before the containers are listed: what is made after that is not looked at.
    let fifo_sets = stdio::list_fifo_sets(client.fifo_dir(&ctx.namespace));
    // All of them where it is to be known which FIFOs are nobody's: what others have is theirs.
    let owner = &client.config.owner;
    let filter = format!("labels.{OWNER_LABEL:?}=={owner:?}");
    let filters = if fifo_sets.is_empty() { vec![filter] } else { Vec::new() };
    let (mut own, mut ids) = (Vec::new(), HashSet::new());
    let add = |record: Container| {
        if record.labels.get(OWNER_LABEL) == Some(owner) {
            own.push(record.id.clone());
        }
        ids.insert(record.id);
    };
    containers::list(ctx, &filters, add).step("list the containers")?;
    let unused = fifo_sets.iter().filter(|(id, _)| !ids.contains(id));
    unused.for_each(|(_, directory)| stdio::remove_fifo_set(directory));

    let work: Vec<(String, Mutex<Option<Result<Stdio>>>)> = own
        .into_iter()
        .map(|id| {
            let stdio = streams(&id);
            (id, Mutex::new(Some(stdio)))
        })
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(work.len())));
    let run = || {
        while let Some((id, stdio)) = work.get(next.fetch_add(1, Ordering::SeqCst)) {
            let stdio = stdio.lock().unwrap_or_else(PoisonError::into_inner).take();
            let stdio = stdio.unwrap_or_else(|| Ok(Stdio::default()));
            let recovery = recover_one(client, ctx, id, stdio);
            results.lock().unwrap_or_else(PoisonError::into_inner).extend(recovery);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(work.len()) {
            let thread = sys::with_signals_blocked(|| {
                std::thread::Builder::new().name("ctrd-recover".into()).spawn_scoped(scope, run)
            });
            // The other threads do its work.
            if thread.is_err() {
                break;
            }
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by(|a, b| a.container_id.cmp(&b.container_id));
    Ok(results)
}

/// Recovers one of the listed containers. `None` if it is gone by now.
fn recover_one(client: &Arc<Inner>, ctx: &Ctx, id: &str, stdio: Result<Stdio>) -> Option<Recovery> {
    let ctx = &ctx.with_limits(ctx.limits.at_most(EACH));
    let container_id = id.to_owned();
    let stdio = match stdio {
        Ok(stdio) => stdio,
        // It is left as it is: another call may recover it with other streams.
        Err(e) => {
            let error = Some(e.step("take the streams").at("recover_all", id));
            return Some(Recovery { container_id, state: RecoveryState::Failed, error });
        }
    };
    let recover = || {
        let _lock = lock(client, ctx, id, "recover_all")?;
        // Another call may have destroyed it since then, and may have created it again.
        let record = match containers::get(ctx, id) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            record => record.step("look the record up")?,
        };
        take_over(client, ctx, &record, stdio).map(Some)
    };
    let (state, error) = match recover().at("recover_all", id) {
        Ok(state) => (state?, None),
        Err(e) if e.reason() == Some(Reason::NoTask) => (RecoveryState::NoTask, Some(e)),
        Err(e) => (RecoveryState::Failed, Some(e)),
    };
    Some(Recovery { container_id, state, error })
}
