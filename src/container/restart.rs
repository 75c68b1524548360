//! Restarting a container: its processes end, and its command runs again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::create::{Before, FirstProcess, make_process};
use super::destroy::{ATTEMPTS, DestroyConfig, Ended, end, started_again};
use super::lock::lock;
use super::owned::{has_generation, owned_record, specification};
use super::processes::NewProcess;
use super::remove::{remove_task, report_other_process};
use super::sandbox::{SANDBOX_LABEL, create_sandbox};
use super::task::{Deletion, LOOK_UP};
use super::undo::Undo;
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::record::{self, Cleanup, ExitLabel, OWNER_LABEL, clear_exit, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::snapshots::{self, Mount};
use crate::rpc::{Ctx, tasks};
use crate::stdio::{self, Stdio, Stream};
use crate::submit;
use crate::watch::Watch;

/// How a container is restarted.
///
/// ```no_run
/// use std::fs::File;
/// use std::time::Duration;
///
/// use ctrd::{Call, Client, RestartConfig, Stdio, Stream};
///
/// # fn f(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let log = Stream::fd(File::create("/var/log/example/web.log")?);
/// let config = RestartConfig::new()
///     .grace(Duration::from_secs(30))
///     .stdio(Stdio::new().stdout(log.clone()).stderr(log));
/// client.restart_container("web", &config, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RestartConfig {
    /// How the old processes end.
    end: DestroyConfig,
    stdio: Option<Stdio>,
}

impl RestartConfig {
    /// A grace period of 5 s, and 1 s for the output.
    pub fn new() -> RestartConfig {
        RestartConfig::default()
    }

    /// Sets how long the old processes have after SIGTERM before SIGKILL, as [`DestroyConfig::grace`].
    pub fn grace(mut self, grace: Duration) -> RestartConfig {
        self.end = self.end.grace(grace);
        self
    }

    /// Sets how long the output of the old process is waited for, as [`DestroyConfig::drain`]. It does
    /// not change how long that of the new one is waited for ([`crate::ContainerConfig::drain`]).
    pub fn drain(mut self, drain: Duration) -> RestartConfig {
        self.end = self.end.drain(drain);
        self
    }

    /// Sets the streams of the new process. Whether it has a terminal depends on the container's
    /// specification, so [`Stdio::terminal`] need not be set. Default: the paths and URIs that the old
    /// process had ([`Stream::Path`]), if its task still exists; nothing for a stream that was a
    /// descriptor.
    pub fn stdio(mut self, stdio: Stdio) -> RestartConfig {
        self.stdio = Some(stdio);
        self
    }

    /// How long a restart may take whose call names no timeout, as [`DestroyConfig::default_timeout`].
    pub(crate) fn default_timeout(&self, call_timeout: Duration) -> Option<Duration> {
        self.end.default_timeout(call_timeout)
    }
}

pub(crate) fn restart(
    client: &Arc<Inner>,
    id: &str,
    config: &RestartConfig,
    call: &Call,
) -> Result<NewProcess> {
    identifier::check("id", id)?;
    config.stdio.as_ref().map_or(Ok(()), stdio::check)?;
    let timeout = config.default_timeout(client.config.call_timeout);
    let operation = client.begin_with(call, timeout)?;
    let ctx = &operation.ctx;
    // Before the lock, so that it holds no lock while it waits for its turn.
    if config.end.is_long() {
        submit::begin_long()?;
    }
    let _lock = lock(client, ctx, id, "restart_container")?;
    client.bus.check_backlog()?;
    for _ in 0..ATTEMPTS {
        if let Some(process) = restart_once(client, ctx, id, config)? {
            return Ok(process);
        }
    }
    Err(started_again())
}

/// Restarts the container that has the id now. `None` if it got another process meanwhile.
fn restart_once(
    client: &Arc<Inner>,
    ctx: &Ctx,
    id: &str,
    config: &RestartConfig,
) -> Result<Option<NewProcess>> {
    let record = owned_record(client, ctx, id)?;
    // Everything that can be refused is, before the process is stopped.
    let spec = specification(&record)?;
    let rootfs = rootfs(ctx, &record, &spec)?;
    let stdio = streams(client, ctx, &record, &spec, config.stdio.as_ref())?;

    let Some(Ended { mut watch, message }) = end(client, ctx, &record, &config.end)? else {
        return Ok(None);
    };
    match remove_task(client, ctx, &record, watch.as_ref(), message.as_ref())? {
        Deletion::Done => {}
        Deletion::OtherProcess(pid, exit) => {
            watch.iter().for_each(|watch| client.watches.release(watch));
            watch = Some(report_other_process(client, ctx, &record, pid, exit)?);
        }
        Deletion::OtherRuns | Deletion::OtherContainer => {
            watch.iter().for_each(|watch| client.watches.release(watch));
            return Ok(None);
        }
    }
    // The exit of the old process is reported by now, and this is about that of the new one.
    generation::number(&generation::of(&record)).into_iter().for_each(submit::begin_start);
    let mut undo = Undo::default();
    start_again(client, &ctx.settling(), &record, watch, rootfs, stdio, &mut undo)
        .map(Some)
        .map_err(|error| undo.run(ctx, error))
}

fn start_again(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    watch: Option<Arc<Watch>>,
    rootfs: Vec<Mount>,
    stdio: Stdio,
    undo: &mut Undo,
) -> Result<NewProcess> {
    let id = record.id.clone();
    let generation = generation::of(record);
    let known =
        watch.as_ref().and_then(|watch| Some(ExitLabel::of_message(watch.pid, &watch.exit()?)));
    keep_exit_on_undo(&id, &generation, known.or_else(|| ExitLabel::of(record)), undo);
    if record.labels.contains_key(SANDBOX_LABEL) {
        create_sandbox(ctx, &id, &record.runtime, record.spec.clone(), undo)
            .step("create the sandbox")?;
    }
    let process = FirstProcess {
        id,
        generation,
        rootfs,
        stdio,
        drain: record::drain(record),
        cleanup: cleanup_of(client, record),
        start: true,
        before: Some(Before { watch }),
    };
    make_process(client, ctx, process, undo)
}

/// Has an undo write to the record how the old process ended: the steps of the new process, and their
/// undo, replace that.
fn keep_exit_on_undo(id: &str, generation: &str, label: Option<ExitLabel>, undo: &mut Undo) {
    let (id, generation) = (id.to_owned(), generation.to_owned());
    undo.push("keep the exit", move |ctx| {
        if has_generation(ctx, &id, &generation)? {
            match &label {
                Some(label) => {
                    drop(containers::set_labels(ctx, &id, &[label.label(&generation)])?);
                }
                None => clear_exit(ctx, &id)?,
            }
        }
        Ok(true)
    });
}

/// The clean-up policy for the new process. Only the owner's client cleans up.
fn cleanup_of(client: &Inner, record: &Container) -> Cleanup {
    match record.labels.get(OWNER_LABEL) {
        Some(owner) if *owner == client.config.owner => Cleanup::of(record),
        _ => Cleanup::Keep,
    }
}

/// The mounts of a container's root file system.
fn rootfs(ctx: &Ctx, record: &Container, spec: &Value) -> Result<Vec<Mount>> {
    if !record.snapshot_key.is_empty() {
        return snapshots::mounts(ctx, &record.snapshotter, &record.snapshot_key)
            .step("look the snapshot up");
    }
    match spec.pointer("/root/path").and_then(Value::as_str) {
        // A directory, which the runtime mounts.
        Some(path) if path.starts_with('/') => Ok(Vec::new()),
        _ => Err(Error::new(
            ErrorKind::FailedPrecondition,
            "the record does not say what the root file system of the container is",
        )),
    }
}

/// The streams of the new process.
fn streams(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    spec: &Value,
    given: Option<&Stdio>,
) -> Result<Stdio> {
    let terminal = spec.pointer("/process/terminal") == Some(&Value::Bool(true));
    match given {
        Some(stdio) if stdio.terminal && !terminal => {
            Err(Error::invalid("terminal", "the container's process has no terminal"))
        }
        Some(stdio) => {
            let stdio = stdio.clone().terminal(terminal);
            stdio::check(&stdio)?;
            Ok(stdio)
        }
        // The FIFOs that another client made for its own containers are of no use without it.
        None if record.labels.get(OWNER_LABEL) != Some(&client.config.owner) => {
            Ok(Stdio::new().terminal(terminal))
        }
        None => {
            let task = tasks::get(ctx, &record.id, "").optional().step(LOOK_UP)?;
            let path = |path: Option<&String>| match path {
                Some(path)
                    if !path.is_empty() && !stdio::is_own(&client.config.state_dir, path) =>
                {
                    Stream::Path(path.clone())
                }
                _ => Stream::None,
            };
            let stdio = Stdio::new()
                .stdin(path(task.as_ref().map(|task| &task.stdin)))
                .stdout(path(task.as_ref().map(|task| &task.stdout)))
                .stderr(path(task.as_ref().map(|task| &task.stderr)));
            Ok(stdio.terminal(terminal))
        }
    }
}
