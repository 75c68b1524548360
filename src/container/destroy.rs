//! Destroying a container: stopping its processes, and removing it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::{adopt, watch_of_record};
use super::lock::lock;
use super::remove::{finish_execs, keep_exit, remove, report_other_process};
use super::task::{Deletion, LOOK_UP, no_answer, signal};
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::record::{
    DEFAULT_DRAIN, ExitLabel, ProcessOutcome, SIGKILL_CODE, check_owner, clear_exit, generation,
};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::submit::{self, Held, Note};
use crate::watch::Watch;

/// How many processes of one container are stopped, one after the other, if another client starts it
/// again.
pub(super) const ATTEMPTS: u32 = 3;

/// How long a process has after SIGTERM, unless the caller chooses.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// How a container is destroyed.
///
/// ```
/// use std::time::Duration;
///
/// // SIGTERM, SIGKILL after 30 s; then up to a minute for a slow reader of its output.
/// let config = ctrd::DestroyConfig::new()
///     .grace(Duration::from_secs(30))
///     .drain(Duration::from_secs(60));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DestroyConfig {
    grace: Duration,
    drain: Duration,
}

impl Default for DestroyConfig {
    fn default() -> DestroyConfig {
        DestroyConfig { grace: DEFAULT_GRACE, drain: DEFAULT_DRAIN }
    }
}

impl DestroyConfig {
    /// A grace period of 5 s, and 1 s for the output.
    pub fn new() -> DestroyConfig {
        DestroyConfig::default()
    }

    /// Sets how long the processes have after SIGTERM before SIGKILL. Zero: SIGKILL at once, without a
    /// SIGTERM. [`Duration::MAX`]: no SIGKILL.
    pub fn grace(mut self, grace: Duration) -> DestroyConfig {
        self.grace = grace;
        self
    }

    /// Sets how long output that is still in the pipes after the exit is waited for, if its reader is
    /// behind. What is left then is dropped, and counted in [`Message::output_lost`]. Zero: it is not
    /// waited for. [`Duration::MAX`]: until all is passed on; nothing is dropped.
    ///
    /// If the call's time is over before, the destroy fails with [`ErrorKind::Timeout`], nothing is
    /// dropped, and another destroy goes on with it. A descendant of the process that is outside of
    /// the container's pid namespace can keep the output open for ever: then all of this time passes.
    pub fn drain(mut self, drain: Duration) -> DestroyConfig {
        self.drain = drain;
        self
    }

    /// The default timeout of a destroy: grace period, time for the output and `call_timeout`, the
    /// client's call timeout, together. `None`: without a limit.
    pub(crate) fn default_timeout(&self, call_timeout: Duration) -> Option<Duration> {
        self.grace.checked_add(self.drain)?.checked_add(call_timeout)
    }

    /// Whether it may last long.
    pub(super) fn is_long(&self) -> bool {
        !self.grace.is_zero() || self.drain > DEFAULT_DRAIN
    }
}

pub(crate) fn destroy(
    client: &Arc<Inner>,
    id: &str,
    config: &DestroyConfig,
    call: &Call,
) -> Result<Message> {
    identifier::check("id", id)?;
    let timeout = config.default_timeout(client.config.call_timeout);
    let operation = client.begin_with(call, timeout)?;
    let ctx = &operation.ctx;
    // Another call may destroy it while this one waits for the lock.
    let before = submit::remember(&watch_key(&ctx.namespace, id), || {
        client.watches.find(&ctx.namespace, id, None)
    });
    // Before the lock, so that it holds no lock while it waits for its turn.
    if config.is_long() {
        submit::begin_long()?;
    }
    let _lock = lock(client, ctx, id, "destroy_container")?;

    for _ in 0..ATTEMPTS {
        if let Some(message) = destroy_once(client, ctx, id, config, before.as_ref().as_ref())? {
            return Ok(message);
        }
    }
    Err(started_again())
}

/// The error if another client starts a container again whenever its process was stopped.
pub(super) fn started_again() -> Error {
    Error::new(ErrorKind::Aborted, "another client starts the container again and again")
        .with_retryable(true)
}

/// The key under which a destroy finds the watch that the container had when the call was accepted.
fn watch_key(namespace: &str, id: &str) -> String {
    format!("destroy {namespace} {id}")
}

/// Notes the watch of a container when a call that changes it is submitted: the calls before it may
/// destroy the container.
pub(crate) fn note_watch(client: &Inner, id: &str) -> Note {
    let (watches, id) = (client.watches.clone(), id.to_owned());
    Arc::new(move |namespace| {
        (watch_key(namespace, &id), Arc::new(watches.find(namespace, &id, None)) as Held)
    })
}

/// Destroys the container that has the id now. `None` if it got another process meanwhile.
fn destroy_once(
    client: &Arc<Inner>,
    ctx: &Ctx,
    id: &str,
    config: &DestroyConfig,
    before: Option<&Arc<Watch>>,
) -> Result<Option<Message>> {
    let record = match containers::get(ctx, id) {
        Ok(record) => record,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // While this call waited, another call has destroyed the container, a clean-up has removed
            // it, or another client has. This call gets the message too.
            let known = client.watches.find(&ctx.namespace, id, None);
            let Some(watch) = known.as_ref().or(before) else {
                return Err(e.step("look the record up"));
            };
            // Its exit may not be known yet.
            client.watches.find_id_owner(watch, &ctx.limits);
            if watch.exit().is_none() {
                let runs = "the container's record is gone, and its process may run on";
                return Err(e.context(runs).step("look the record up"));
            }
            drain(client, ctx, watch, config)?;
            client.watches.forget(watch);
            // With the output that was lost.
            return Ok(watch.exit());
        }
        Err(e) => return Err(e.step("look the record up")),
    };
    check_owner(&record, &client.config.owner)?;
    let Some(Ended { watch, message }) = end(client, ctx, &record, config)? else {
        return Ok(None);
    };
    let deleted = remove(client, ctx, &record, watch.as_ref(), message.as_ref())?;
    if let (Deletion::OtherContainer, Some(watch)) = (&deleted, &watch) {
        // Its task may exist under the other record. The watch stays, so that its exit is not
        // reported again.
        watch.close_streams();
        return Ok(watch.exit());
    }
    watch.iter().for_each(|watch| client.watches.forget(watch));
    // With the output that was lost.
    let message = watch.as_ref().and_then(|watch| watch.exit()).or(message);
    match deleted {
        Deletion::OtherRuns => Ok(None),
        Deletion::Done | Deletion::OtherContainer => {
            Ok(Some(message.unwrap_or_else(|| without_task(client, ctx, &record))))
        }
        Deletion::OtherProcess(pid, exit) => {
            let other = report_other_process(client, ctx, &record, pid, exit)?;
            client.watches.forget(&other);
            Ok(other.exit())
        }
    }
}

/// A container whose processes have ended.
pub(super) struct Ended {
    /// The watch of its first process. `None` if it had no task.
    pub(super) watch: Option<Arc<Watch>>,
    pub(super) message: Option<Message>,
}

/// Ends the processes of a container, and waits for their output. Deletes a task that was not started.
/// `None` if another container has the id by now.
pub(super) fn end(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    config: &DestroyConfig,
) -> Result<Option<Ended>> {
    let watch = match watch_of_record(client, ctx, record)? {
        Some(watch) => Some(watch),
        None => match adopt(client, ctx, record, None) {
            Ok(watch) => Some(watch),
            // An interrupted destroy has left no task.
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        },
    };
    let message = match &watch {
        Some(watch) => match delete_unstarted(client, ctx, record, watch)? {
            Unstarted::OtherContainer => return Ok(None),
            Unstarted::Deleted(message) => Some(message),
            Unstarted::Started => Some(stop(client, ctx, watch, config.grace)?),
        },
        None => None,
    };
    watch.iter().try_for_each(|watch| drain(client, ctx, watch, config))?;
    Ok(Some(Ended { watch, message }))
}

/// The state of a task whose process may not have been started.
enum Unstarted {
    /// Its process was started: nothing was deleted.
    Started,
    /// It is deleted, and this was reported.
    Deleted(Message),
    /// Another container has the id by now.
    OtherContainer,
}

/// Deletes a task whose process was created and never started, and reports that.
fn delete_unstarted(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: &Arc<Watch>,
) -> Result<Unstarted> {
    let id = watch.container();
    if watch.is_started() || watch.exit().is_some() {
        return Ok(Unstarted::Started);
    }
    if stage(ctx, watch)? != Stage::Created {
        return Ok(Unstarted::Started);
    }
    // The Wait is answered when the task is deleted, with the exit of runc's own process.
    let _hold = watch.hold_exit();
    // First: if this breaks off, a client that finds the task must know that the process was not to
    // run.
    if !keep_exit(ctx, record, ExitLabel { pid: watch.pid, outcome: ProcessOutcome::NeverStarted })?
    {
        return Ok(Unstarted::OtherContainer);
    }
    let mut stage_now = stage(ctx, watch)?;
    if stage_now == Stage::Created {
        if watch.has_streams() {
            // The deletion would wait for the end of the output: 2 s, and 10 s from containerd 2.1 on.
            signal(ctx, id, libc::SIGKILL).step("send SIGKILL")?;
        }
        match tasks::delete(ctx, id) {
            Ok((_, exit)) => {
                // Another client may have started the process, and it has exited since.
                let has_run = exit.at.is_some() && exit.code != SIGKILL_CODE;
                let outcome = if has_run {
                    ProcessOutcome::Exited(exit)
                } else {
                    ProcessOutcome::NeverStarted
                };
                client.watches.report(watch, Origin::Live, outcome);
                return Ok(watch.exit().map_or(Unstarted::OtherContainer, Unstarted::Deleted));
            }
            // Another client has started the process, or has removed the task.
            Err(e) if matches!(e.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) => {
                stage_now = stage(ctx, watch)?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                // containerd may never answer the Wait now.
                client.watches.look_up_again(watch, e.clone());
                return Err(e.step("delete the task"));
            }
        }
    }
    if stage_now == Stage::Started {
        clear_exit(ctx, id)?;
    }
    Ok(Unstarted::Started)
}

/// How far a process is.
#[derive(PartialEq, Eq)]
enum Stage {
    Created,
    Started,
    /// It has exited, or the task is gone or has another process.
    Exited,
}

fn stage(ctx: &Ctx, watch: &Watch) -> Result<Stage> {
    let found = match tasks::get(ctx, watch.container(), "") {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Stage::Exited),
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    match found.status {
        Status::Unknown => Err(no_answer()),
        _ if found.pid != watch.pid => Ok(Stage::Exited),
        Status::Created => Ok(Stage::Created),
        Status::Stopped | Status::Ending => Ok(Stage::Exited),
        Status::Running | Status::Paused | Status::Pausing => {
            watch.note_start().step("start stdin")?;
            Ok(Stage::Started)
        }
    }
}

/// The message about a container without a task whose record does not say how its process ended.
fn without_task(client: &Inner, ctx: &Ctx, record: &Container) -> Message {
    let why = "the container has no task, and its record does not say how its process ended";
    Message::new(Body {
        origin: Origin::Gap,
        namespace: ctx.namespace.clone(),
        container_id: record.id.clone(),
        generation: generation::number(&generation::of(record)),
        error: Some(Error::new(ErrorKind::DataLoss, why)),
        ..client.bus.body(MessageKind::Exit)
    })
}

/// Stops the processes: SIGTERM, and SIGKILL when the grace period is over.
fn stop(client: &Inner, ctx: &Ctx, watch: &Arc<Watch>, grace: Duration) -> Result<Message> {
    let send = |number| {
        if !signal(ctx, watch.container(), number)? {
            // It has exited. But if a deletion of the task broke off, containerd never answers the
            // Wait.
            client.watches.find_id_owner(watch, &ctx.limits);
            if watch.exit().is_none() {
                let why = "there was no process that could be signalled";
                client.watches.look_up_again(watch, Error::new(ErrorKind::NotFound, why));
            }
        }
        Ok(())
    };
    if let Some(message) = watch.exit() {
        return Ok(message);
    }
    if !grace.is_zero() {
        send(libc::SIGTERM).step("send SIGTERM")?;
        match watch.wait(&ctx.limits.at_most(grace)) {
            Err(e) if e.kind() == ErrorKind::Timeout => {
                ctx.limits.check().step("wait for the grace period").map_err(unfinished)?;
            }
            other => return other.step("wait for the exit").map_err(unfinished),
        }
    }
    send(libc::SIGKILL).step("send SIGKILL")?;
    watch.wait(&ctx.limits).step("wait for the exit").map_err(unfinished)
}

/// Waits for the output of the process and of the container's execs that is still in the pipes.
fn drain(client: &Inner, ctx: &Ctx, watch: &Watch, config: &DestroyConfig) -> Result<()> {
    let start = Instant::now();
    watch
        .drain(config.drain, &ctx.limits)
        .and_then(|()| {
            let left = config.drain.saturating_sub(start.elapsed());
            finish_execs(client, ctx, watch.container(), left)
        })
        .step("wait for the output")
        .map_err(unfinished)
}

/// The processes got a signal, and may exit later.
fn unfinished(error: Error) -> Error {
    error.with_outcome_unknown(true)
}
