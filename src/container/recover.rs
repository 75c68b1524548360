//! Recovering containers: taking them over from an earlier run of the program.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::adopt::{adopt, watch_of_record};
use super::info::{ContainerInfo, ContainerStatus, look_task_up};
use super::lock::lock;
use super::task::{LOOK_UP, has_another_process, no_answer};
use crate::call::Call;
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::record::{OWNER_LABEL, generation};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::stdio::{self, Stdio};
use crate::{submit, sys};

/// How many containers are recovered at once.
const THREADS: usize = 16;

/// How long one container may take, without the time of the callback. If a shim is stuck,
/// containerd answers for it after 2 s.
const EACH: Duration = Duration::from_secs(5);

/// The outcome of the recovery of a container.
///
/// ```no_run
/// use ctrd::{Call, Client, Stdio};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// for recovery in client.recover_all(&mut |_id| Ok(Stdio::new()), &Call::new())? {
///     if let Some(error) = recovery.error() {
///         println!("{} is left as it is: {error}", recovery.container_id());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recovery {
    container_id: String,
    state: RecoveryState,
    pid: Option<u32>,
    generation: Option<u64>,
    exit_code: Option<u32>,
    error: Option<Error>,
}

impl Recovery {
    /// The id of the container.
    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    /// The state of the container.
    pub fn state(&self) -> RecoveryState {
        self.state
    }

    /// The id of the container's first process, in the server's pid namespace. If the process has
    /// exited, another one may have the id. `None` if it is not known, and if the container could not
    /// be recovered.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Tells this container from another of the same id, before or after it:
    /// [`crate::Message::generation`] is the same number.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// The exit code of a process that has exited. `None` if it has not, never ran, or no source has
    /// the code.
    pub fn exit_code(&self) -> Option<u32> {
        self.exit_code
    }

    /// Why the container could not be recovered. `None` if it was.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

/// The state of a container that was to be recovered.
///
/// ```no_run
/// # fn f(recovery: &ctrd::Recovery) {
/// if recovery.state() == ctrd::RecoveryState::NoTask {
///     println!("{} has no process", recovery.container_id());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryState {
    /// Its process was created and not started, and the client watches it.
    /// [`crate::Client::start_container`] starts it.
    Created,
    /// Its process runs, or is paused, and the client watches it.
    Running,
    /// Its process has exited. Hooks, queues and callers that probe get the exit.
    Ended,
    /// It has no task, and its record does not say how its process ended. It was left as it is.
    NoTask,
    /// It could not be looked up, because its shim is stuck or the server does not answer, or the
    /// caller gave no streams for it. It was left as it is.
    Failed,
}

pub(crate) fn recover(
    client: &Arc<Inner>,
    id: &str,
    stdio: &Stdio,
    call: &Call,
) -> Result<Recovery> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, "recover_container")?;
    let record = containers::get(ctx, id).map_err(|e| match e.kind() {
        ErrorKind::NotFound => e.context("container"),
        _ => e,
    });
    take_over(client, ctx, &record.step("look the record up")?, stdio.clone())
}

fn take_over(client: &Arc<Inner>, ctx: &Ctx, record: &Container, stdio: Stdio) -> Result<Recovery> {
    let owner = record.labels.get(OWNER_LABEL).map_or("", String::as_str);
    if owner != client.config.owner {
        let why = match owner {
            "" => "the container has no owner".to_owned(),
            owner => format!("the container is the owner {owner}'s, not {}'s", client.config.owner),
        };
        let error = Error::new(ErrorKind::FailedPrecondition, why);
        return Err(error.with_reason(Some(ErrorReason::OtherOwner)));
    }
    if let Some(known) = watch_of_record(client, ctx, record)?
        && known.exit().is_some()
        && has_another_process(ctx, &known).step(LOOK_UP)?
    {
        client.watches.release(&known);
    }
    let watch = adopt(client, ctx, record, Some(stdio))?;
    let exit = watch.exit();
    Ok(Recovery {
        container_id: record.id.clone(),
        state: match &exit {
            Some(_) => RecoveryState::Ended,
            None if watch.is_started() => RecoveryState::Running,
            None => RecoveryState::Created,
        },
        pid: Some(watch.pid).filter(|pid| *pid != 0),
        generation: generation::number(&watch.generation()),
        exit_code: exit.and_then(|message| message.exit_code()),
        error: None,
    })
}

/// Recovers every container of this client's owner. `streams` runs on the calling thread.
pub(crate) fn recover_all(
    client: &Arc<Inner>,
    streams: &mut dyn FnMut(&ContainerInfo) -> Result<Stdio>,
    call: &Call,
) -> Result<Vec<Recovery>> {
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    submit::begin_long()?;
    // From here on it keeps its thread: it cannot be begun again.
    submit::begin_operation()?;
    let own = list_own(client, ctx)?;
    let count = own.len();
    let (work, results) = (Mutex::new(own.into_iter()), Mutex::new(Vec::with_capacity(count)));
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let recover_each = |ask: &mut Ask<'_>| {
        while let Some(info) = next() {
            let Ok(recovery) = recover_one(client, ctx, info, ask) else { return };
            results.lock().unwrap_or_else(PoisonError::into_inner).extend(recovery);
        }
    };
    std::thread::scope(|scope| {
        // Without room, so that no container has its streams before a thread is at it.
        let (sender, questions) = mpsc::sync_channel(0);
        let mut threads = 0;
        for _ in 0..THREADS.min(count) {
            let sender = sender.clone();
            let thread = sys::with_signals_blocked(|| {
                let run = move || recover_each(&mut |info| ask_caller(&sender, info));
                std::thread::Builder::new().name("ctrd-recover".into()).spawn_scoped(scope, run)
            });
            if thread.is_err() {
                break;
            }
            threads += 1;
        }
        drop(sender);
        if threads == 0 {
            return recover_each(&mut |info| Ok(streams(&info)));
        }
        // If the callback panics, this drops the channel, which ends the threads.
        for Question { info, answer } in questions {
            let _ = answer.send(streams(&info));
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by(|a, b| a.container_id.cmp(&b.container_id));
    Ok(results)
}

/// The containers of this client's owner. Removes FIFOs whose container is gone.
fn list_own(client: &Inner, ctx: &Ctx) -> Result<Vec<ContainerInfo>> {
    // Before the containers, whose records are older than their FIFOs.
    let fifo_sets = stdio::list_fifo_sets(client.fifo_dir(&ctx.namespace));
    let owner = &client.config.owner;
    let filter = format!("labels.{OWNER_LABEL:?}=={owner:?}");
    // If there are FIFOs, all containers: some may be another owner's.
    let filters = if fifo_sets.is_empty() { vec![filter] } else { Vec::new() };
    let (mut own, mut ids) = (Vec::new(), HashSet::new());
    let add = |record: Container| {
        ids.insert(record.id.clone());
        if record.labels.get(OWNER_LABEL) == Some(owner) {
            own.push(ContainerInfo::new(record));
        }
    };
    containers::list(ctx, &filters, add).step("list the containers")?;
    let unused = fifo_sets.iter().filter(|(id, _)| !ids.contains(id));
    unused.for_each(|(_, directory)| stdio::remove_fifo_set(directory));
    Ok(own)
}

/// A question to the callback, for the streams of a container.
struct Question {
    info: ContainerInfo,
    answer: SyncSender<Result<Stdio>>,
}

/// The callback has panicked.
struct Panicked;

/// Asks for the streams of a container.
type Ask<'a> = dyn FnMut(ContainerInfo) -> std::result::Result<Result<Stdio>, Panicked> + 'a;

/// Has the calling thread ask the callback.
fn ask_caller(
    questions: &SyncSender<Question>,
    info: ContainerInfo,
) -> std::result::Result<Result<Stdio>, Panicked> {
    let (answer, answered) = mpsc::sync_channel(1);
    questions.send(Question { info, answer }).map_err(|_| Panicked)?;
    answered.recv().map_err(|_| Panicked)
}

/// Recovers one of the containers that were listed. `None` if it is gone by now.
fn recover_one(
    client: &Arc<Inner>,
    ctx: &Ctx,
    info: ContainerInfo,
    ask: &mut Ask<'_>,
) -> std::result::Result<Option<Recovery>, Panicked> {
    let (id, generation) = (info.id().to_owned(), info.generation());
    let id = id.as_str();
    let failed = |error| Ok(Some(failed(id, generation, error)));
    let start = Instant::now();
    let within = |time| ctx.with_limits(ctx.limits.at_most(time));
    let info = match look(client, &within(EACH), info) {
        Ok(info) => info,
        Err(e) => return failed(e),
    };
    // The callback has its own time, and the container is not locked meanwhile.
    let left = EACH.saturating_sub(start.elapsed());
    let stdio = match ask(info)? {
        Ok(stdio) => stdio,
        Err(e) => return failed(e.step("take the streams")),
    };
    let ctx = &within(left);
    let recover = || {
        let _lock = lock(client, ctx, id, "recover_all")?;
        // Another call may have destroyed the container meanwhile, or have replaced it.
        let record = match containers::get(ctx, id) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            record => record.step("look the record up")?,
        };
        take_over(client, ctx, &record, stdio).map(Some)
    };
    recover().or_else(failed)
}

/// Looks the task up, so that nobody gives streams for a container that cannot be recovered.
fn look(client: &Inner, ctx: &Ctx, info: ContainerInfo) -> Result<ContainerInfo> {
    ctx.limits.check().step(LOOK_UP)?;
    let info = look_task_up(client, ctx, info)?;
    match info.status() {
        ContainerStatus::Unknown => Err(no_answer()),
        ContainerStatus::NoTask if !info.has_outcome() => {
            let why = Error::new(ErrorKind::NotFound, "the container has no task");
            Err(why.step(LOOK_UP).with_reason(Some(ErrorReason::NoTask)))
        }
        _ => Ok(info),
    }
}

fn failed(id: &str, generation: Option<u64>, error: Error) -> Recovery {
    let state = match error.reason() {
        Some(ErrorReason::NoTask) => RecoveryState::NoTask,
        _ => RecoveryState::Failed,
    };
    let error = Some(error.at("recover_all", id));
    Recovery { container_id: id.to_owned(), state, pid: None, generation, exit_code: None, error }
}
