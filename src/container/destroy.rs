//! Ending a container and removing it.

use std::sync::Arc;
use std::time::Duration;

use super::adopt::{adopt, of_record};
use super::lock::lock;
use super::remove::{keep_exit, remove, tell_another};
use super::task::{Deleted, LOOK_UP, no_answer, signal};
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::record::{
    DEFAULT_DRAIN, End, ExitLabel, KILLED, check_owner, clear_exit, generation, generation_number,
};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::submit;
use crate::watch::Watch;

/// How many processes of one container are ended, one after the other, if another client starts it
/// again.
const ATTEMPTS: u32 = 3;

/// How long a process has after SIGTERM, unless the caller chooses.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

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

    /// How long a destroy may take whose call names no timeout, if the client's call timeout is
    /// `call_timeout`: each of the two has a clock of its own. `None`: without a limit.
    pub fn default_timeout(&self, call_timeout: Duration) -> Option<Duration> {
        self.grace.checked_add(self.drain)?.checked_add(call_timeout)
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
    let before = submit::remember("watch", || client.watches.find(&ctx.namespace, id));
    let _lock = lock(client, ctx, id, "destroy_container")?;
    if !config.grace.is_zero() || config.drain > DEFAULT_DRAIN {
        submit::begin_long()?;
    }

    for _ in 0..ATTEMPTS {
        if let Some(message) = destroy_once(client, ctx, id, config, before.as_ref().as_ref())? {
            return Ok(message);
        }
    }
    Err(Error::new(ErrorKind::Aborted, "somebody starts it again and again").with_retryable(true))
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
            // Another call has destroyed it while this one waited, or it was cleaned up by itself, or
            // by another client: the message is ours too.
            let known = client.watches.find(&ctx.namespace, id);
            let Some(watch) = known.as_ref().or(before) else {
                return Err(e.step("look the record up"));
            };
            // Its exit may not have been heard of yet.
            client.watches.settle(watch, &ctx.limits);
            if watch.exit().is_none() {
                let runs = "the container's record is gone, and its process may run on";
                return Err(e.context(runs).step("look the record up"));
            }
            drain(ctx, watch, config)?;
            client.watches.forget(watch);
            // With the output that was lost.
            return Ok(watch.exit());
        }
        Err(e) => return Err(e.step("look the record up")),
    };
    check_owner(&record, &client.config.owner)?;
    let watch = match of_record(client, ctx, &record)? {
        Some(watch) => Some(watch),
        None => match adopt(client, ctx, &record, None) {
            Ok(watch) => Some(watch),
            // What a destroy that was interrupted has left.
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        },
    };
    let message = match &watch {
        Some(watch) => match unstarted(client, ctx, &record, watch)? {
            Unstarted::Changed => return Ok(None),
            Unstarted::Removed(message) => Some(message),
            Unstarted::No => Some(end(client, ctx, watch, config.grace)?),
        },
        None => None,
    };
    watch.iter().try_for_each(|watch| drain(ctx, watch, config))?;
    let deleted = remove(client, ctx, &record, watch.as_ref(), message.as_ref())?;
    if let (Deleted::Replaced, Some(watch)) = (&deleted, &watch) {
        // Its task may stand under the other record: so the watch does, which knows that it is told.
        watch.close_streams();
        return Ok(watch.exit());
    }
    watch.iter().for_each(|watch| client.watches.forget(watch));
    // With the output that was lost.
    let message = watch.as_ref().and_then(|watch| watch.exit()).or(message);
    match deleted {
        Deleted::No => Ok(None),
        Deleted::Yes | Deleted::Replaced => {
            Ok(Some(message.unwrap_or_else(|| without_task(client, ctx, &record))))
        }
        Deleted::Another(pid, exit) => {
            let other = tell_another(client, ctx, &record, pid, exit)?;
            client.watches.forget(&other);
            Ok(other.exit())
        }
    }
}

/// Whether a process was never started.
enum Unstarted {
    No,
    /// Its task is deleted, and all who wait were told.
    Removed(Message),
    /// The id is another container's by now.
    Changed,
}

/// Deletes a task whose process was created and never started, and says so to all who wait.
fn unstarted(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    watch: &Arc<Watch>,
) -> Result<Unstarted> {
    let id = watch.container();
    if watch.is_started() || watch.exit().is_some() {
        return Ok(Unstarted::No);
    }
    if stage(ctx, watch)? != Stage::Created {
        return Ok(Unstarted::No);
    }
    // Its Wait ends with the task, and what is then found of it is the end of runc's own process.
    let _held = watch.hold();
    // Before that, for whoever finds it should this break off.
    if !keep_exit(ctx, record, ExitLabel { pid: watch.process.pid, end: End::NeverRan })? {
        return Ok(Unstarted::Changed);
    }
    let mut stage_now = stage(ctx, watch)?;
    if stage_now == Stage::Created {
        if watch.has_streams() {
            // The delete would wait for the end of its output: 2 s, and 10 s from containerd 2.1 on.
            signal(ctx, id, libc::SIGKILL).step("send SIGKILL")?;
        }
        match tasks::delete(ctx, id) {
            Ok((_, exit)) => {
                // Another client may have started it, and it has ended since.
                let has_run = exit.at.is_some() && exit.code != KILLED;
                let end = if has_run { End::Exit(exit) } else { End::NeverRan };
                client.watches.tell_end(watch, Origin::Live, end);
                return Ok(watch.exit().map_or(Unstarted::Changed, Unstarted::Removed));
            }
            // Another client has started it, or has removed it.
            Err(e) if matches!(e.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) => {
                stage_now = stage(ctx, watch)?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                // The Wait may never be answered now.
                client.watches.look_again(watch, e.clone());
                return Err(e.step("delete the task"));
            }
        }
    }
    if stage_now == Stage::Started {
        clear_exit(ctx, id)?;
    }
    Ok(Unstarted::No)
}

#[derive(PartialEq, Eq)]
enum Stage {
    Created,
    Started,
    /// It has ended or is gone, or the task is another process's.
    Over,
}

fn stage(ctx: &Ctx, watch: &Watch) -> Result<Stage> {
    let found = match tasks::get(ctx, watch.container(), "") {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Stage::Over),
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    match found.status {
        Status::Unknown => Err(no_answer()),
        _ if found.pid != watch.process.pid => Ok(Stage::Over),
        Status::Created => Ok(Stage::Created),
        Status::Stopped | Status::Ending => Ok(Stage::Over),
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
        generation: generation_number(&generation(record)),
        error: Some(Error::new(ErrorKind::DataLoss, why)),
        ..client.bus.body(MessageKind::Exit)
    })
}

/// Ends the processes: SIGTERM, and SIGKILL once the grace period has passed.
fn end(client: &Inner, ctx: &Ctx, watch: &Arc<Watch>, grace: Duration) -> Result<Message> {
    let send = |number| {
        if !signal(ctx, watch.container(), number)? {
            // It has ended; but containerd never answers a Wait whose task's deletion broke off.
            client.watches.settle(watch, &ctx.limits);
            if watch.exit().is_none() {
                let why = "there was no process to be signalled";
                client.watches.look_again(watch, Error::new(ErrorKind::NotFound, why));
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

/// Waits for the output that is still in the pipes.
fn drain(ctx: &Ctx, watch: &Watch, config: &DestroyConfig) -> Result<()> {
    watch.drain(config.drain, &ctx.limits).step("wait for the output").map_err(unfinished)
}

/// The container was told to end, and may yet.
fn unfinished(error: Error) -> Error {
    error.with_outcome_unknown(true)
}
