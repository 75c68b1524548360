//! Executing a process in a container: an exec.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use super::exec_config::{CheckedExec, ExecConfig, check_exec_id};
use super::owned::{owned_record, specification};
use super::streams::{end_of_input, open_streams, prepare_stdio};
use super::task::{explain_state, no_answer};
use super::undo::{Undo, existed};
use crate::call::{Call, Limits, Timeout};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::message::{Body, Message, MessageKind};
use crate::record::{ProcessOutcome, generation};
use crate::rootfs::Rootfs;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::rpc::{Any, Ctx, snapshots};
use crate::spec;
use crate::stdio::{Paths, Stdio};
use crate::submit;
use crate::wait::block_on;
use crate::watch::{AfterExit, FoundProcess, Watch};

/// An exec that runs.
///
/// ```no_run
/// use ctrd::{Call, Client, ExecConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let process = client.exec_container(&ExecConfig::new("web").args(["date"]), &Call::new())?;
/// println!("exec {} has pid {}", process.exec_id(), process.pid());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecProcess {
    exec_id: String,
    pid: u32,
}

impl ExecProcess {
    /// Its id among the execs of the container.
    pub fn exec_id(&self) -> &str {
        &self.exec_id
    }

    /// Its pid, in the server's pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

/// How long one attempt to delete a process that has exited may take.
const DELETE_LIMIT: Duration = Duration::from_secs(10);

/// How long one request of a process's own clock may take.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

/// Executes a process in a container, and returns when it runs.
pub(crate) fn exec(client: &Arc<Inner>, config: &ExecConfig, call: &Call) -> Result<ExecProcess> {
    let config = CheckedExec::new(config)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, config.container(), &config.exec, "exec_container")?;
    client.bus.check_backlog()?;
    let record = owned_record(client, ctx, config.container())?;
    generation::number(&generation::of(&record)).into_iter().for_each(submit::begin_start);
    let mut undo = Undo::default();
    exec_steps(client, &ctx.settling(), &record, config, &mut undo)
        .map_err(|error| undo.run(ctx, error))
}

/// Keeps the exec's id for one call: the deletion of an exec must not meet the next one with the id.
fn lock(
    client: &Inner,
    ctx: &Ctx,
    container: &str,
    exec: &str,
    operation: &'static str,
) -> Result<Arc<KeyGuard>> {
    let key = format!("{}/exec {exec}", submit::lock_key(&ctx.namespace, container));
    submit::lock(&client.locks, &key, operation, &ctx.limits)
}

fn exec_steps(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    config: CheckedExec<'_>,
    undo: &mut Undo,
) -> Result<ExecProcess> {
    let (container, exec) = (record.id.as_str(), config.exec.as_str());
    let process = process_of(client, ctx, record, &config).step("make the process")?;
    let process = serde_json::to_vec(&process).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the process cannot be written: {e}"))
    })?;
    let (stdio, terminal) = (config.stdio.clone(), config.stdio.terminal);
    let prepared =
        prepare_stdio(client, ctx, container, Some(exec), stdio).step("prepare stdio")?;
    let paths = prepared.as_ref().map(|p| p.paths().clone()).unwrap_or_default();
    let request = tasks::Exec {
        id: container.to_owned(),
        exec: exec.to_owned(),
        spec: Any::process(process),
        stdin: paths.stdin,
        stdout: paths.stdout,
        stderr: paths.stderr,
        terminal,
    };
    let mut added = add(ctx, &request, undo);
    if matches!(&added, Err(e) if e.kind() == ErrorKind::AlreadyExists) {
        match tasks::get(ctx, container, exec).optional().step("look the exec up")? {
            Some(process) if process.status == Status::Unknown => return Err(no_answer()),
            Some(process) if process.status.runs() && config.asked.is_adoption() => {
                drop(prepared);
                let watch = adopt(client, ctx, record, exec, &process, Some(config.stdio))?;
                return Ok(ExecProcess { exec_id: config.exec, pid: watch.pid });
            }
            Some(process) if process.status.runs() || process.status == Status::Created => {}
            // One that has ended, and that nobody has deleted yet: of a program that was killed, or one
            // whose deletion is under way.
            _ => {
                delete_ended(client, ctx, container, exec).step("delete the earlier exec")?;
                added = add(ctx, &request, undo);
            }
        }
    }
    added
        .map_err(|e| explain_state(ctx, container, e, |status| status == Status::Running))
        .step("add the process")?;
    let pid = match tasks::start(ctx, container, exec) {
        Ok(pid) => pid,
        Err(error) => {
            let error = error.step("start the process");
            match error.is_outcome_unknown() {
                true => undo_start(container, exec, undo),
                false => report_start_error(client, ctx, record, exec, &error),
            }
            return Err(error);
        }
    };
    undo_start(container, exec, undo);
    let attached = match prepared {
        Some(prepared) => {
            let end = end_of_input(client, &ctx.namespace, container, Some(exec), terminal);
            Some(prepared.attach(config.asked.drain_time(), end).step("attach stdio")?)
        }
        None => None,
    };
    let found = FoundProcess {
        paths: attached.is_none().then(Paths::default),
        stdio: attached,
        after_exit: Some(deletion(client, &ctx.namespace)),
        ..found(client, ctx, record, exec, &tasks::Process::running(pid))
    };
    let watch = watch(client, ctx, record, exec, found)?;
    if let Some(stdio) = watch.stdio() {
        stdio.keep_fifos();
    }
    if let Some((time, grace)) = config.asked.clock() {
        end_after(client, &watch, time, grace);
    }
    Ok(ExecProcess { exec_id: config.exec, pid })
}

/// Deletes an exec that has ended. If this client passes its output on, waits for that first.
fn delete_ended(client: &Inner, ctx: &Ctx, container: &str, exec: &str) -> Result<()> {
    if let Some(watch) = client.watches.find(&ctx.namespace, container, Some(exec))
        && let Some(stdio) = watch.stdio()
    {
        watch.drain(stdio.drain_time(), &ctx.limits)?;
    }
    tasks::delete_exec(ctx, container, exec).optional().map(drop)
}

/// The process for the server: the container's own, changed as the configuration says.
fn process_of(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    config: &CheckedExec<'_>,
) -> Result<Value> {
    let spec = specification(record)?;
    spec::exec_process(config.options(
        &spec,
        &|| root_file_system(client, ctx, record),
        &own_capabilities,
    ))
}

/// The container's root file system as its processes see it. If the server's pids mean nothing here, or
/// its process cannot be reached: its snapshot.
fn root_file_system(client: &Inner, ctx: &Ctx, record: &Container) -> Result<Rootfs> {
    let live = || Rootfs::of_process(tasks::get(ctx, &record.id, "")?.pid);
    let snapshot =
        || Rootfs::open(&snapshots::mounts(ctx, &record.snapshotter, &record.snapshot_key)?);
    match (client.watches.shares_pids(), record.snapshot_key.is_empty()) {
        (true, true) => live(),
        (true, false) => live().or_else(|_| snapshot()),
        (false, false) => snapshot(),
        (false, true) => {
            let why =
                "the container's files cannot be reached to look the user up: give its numbers";
            Err(Error::new(ErrorKind::Unsupported, why))
        }
    }
}

/// The capabilities of this program (proc_pid_status(5)), as containerd's own client takes them. The server
/// may not have others to give either, as in a virtual machine or a container.
fn own_capabilities() -> Result<u64> {
    const FILE: &str = "/proc/thread-self/status";
    let status = std::fs::read_to_string(FILE).map_err(|e| Error::io(FILE, e))?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, format!("{FILE} names no capabilities")))
}

/// Adds the process, which then does not run yet.
fn add(ctx: &Ctx, request: &tasks::Exec, undo: &mut Undo) -> Result<()> {
    let added = tasks::exec(ctx, request.clone());
    let may_exist = match &added {
        Ok(()) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_exist {
        let (container, exec) = (request.id.clone(), request.exec.clone());
        undo.push("add the process", move |ctx| {
            existed(tasks::delete_exec(ctx, &container, &exec).map(drop))
        });
    }
    added
}

/// Notes how to undo the start: the process is killed, and then it can be deleted.
fn undo_start(container: &str, exec: &str, undo: &mut Undo) {
    let (container, exec) = (container.to_owned(), exec.to_owned());
    undo.push("start the process", move |ctx| {
        let signal = libc::SIGKILL.unsigned_abs();
        let killed = match tasks::kill(ctx, &container, &exec, signal, false) {
            // It was not started.
            Err(e) if e.kind() == ErrorKind::FailedPrecondition => return Ok(false),
            other => other.optional()?.is_some(),
        };
        if killed {
            block_on(&ctx.limits, tasks::wait(ctx, &container, &exec)?)?.optional()?;
        }
        Ok(killed)
    });
}

/// Reports a process that could not be started, as the exit of a process that never ran.
fn report_start_error(client: &Inner, ctx: &Ctx, record: &Container, exec: &str, error: &Error) {
    let message = Message::new(Body {
        namespace: ctx.namespace.clone(),
        container_id: record.id.clone(),
        exec_id: Some(exec.to_owned()),
        generation: generation::number(&generation::of(record)),
        error: Some(error.clone()),
        start_error: Some(error.clone()),
        ..client.bus.body(MessageKind::ExecExit)
    });
    client.bus.publish(&message, None);
}

/// Begins to watch an exec that the server has and, with `stdio`, passes its streams on, unless this
/// client does so already. A caller that only wants the exit leaves the deletion to the exec's owner.
fn adopt(
    client: &Arc<Inner>,
    ctx: &Ctx,
    record: &Container,
    exec: &str,
    process: &tasks::Process,
    stdio: Option<Stdio>,
) -> Result<Arc<Watch>> {
    let known = client.watches.find(&ctx.namespace, &record.id, Some(exec));
    let has_streams =
        known.is_some_and(|watch| watch.pid == process.pid && watch.stdio().is_some());
    let paths = Paths {
        stdin: process.stdin.clone(),
        stdout: process.stdout.clone(),
        stderr: process.stderr.clone(),
        terminal: process.terminal,
    };
    let after_exit = stdio.as_ref().map(|_| deletion(client, &ctx.namespace));
    let attached = match stdio {
        Some(stdio) if !has_streams => {
            open_streams(client, ctx, record, Some(exec), &paths, stdio)?
        }
        _ => None,
    };
    let found = FoundProcess {
        paths: Some(paths),
        stdio: attached,
        after_exit,
        ..found(client, ctx, record, exec, process)
    };
    watch(client, ctx, record, exec, found)
}

/// An exec that was started, without streams and without a job for the time after its exit.
fn found(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    exec: &str,
    process: &tasks::Process,
) -> FoundProcess {
    let (watches, generation) = (&client.watches, generation::of(record));
    FoundProcess {
        process: watches.exec_process(&ctx.namespace, &record.id, generation, exec, process.pid),
        paths: None,
        stdio: None,
        started: true,
        after_exit: None,
        outcome: ProcessOutcome::of_process(process, None, true),
    }
}

/// Begins to watch an exec that was started.
fn watch(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    exec: &str,
    found: FoundProcess,
) -> Result<Arc<Watch>> {
    let watches = &client.watches;
    watches
        .adopt(ctx, &record.id, found)
        .inspect_err(|_| {
            let begun = watches.find(&ctx.namespace, &record.id, Some(exec));
            begun.iter().for_each(|begun| watches.forget(begun));
        })
        .step("watch the process")
}

/// The job that deletes an exec from its shim after its exit, when the hooks have returned and its output
/// is passed on.
fn deletion(client: &Arc<Inner>, namespace: &str) -> AfterExit {
    let client = Arc::downgrade(client);
    let namespace = namespace.to_owned();
    Box::new(move |watch| {
        let Some(upgraded) = client.upgrade() else { return };
        let its = watch.clone();
        let job = move || delete(&client, &namespace, &its);
        upgraded.watches.run_drained(&watch, Box::new(job));
    })
}

fn delete(client: &Weak<Inner>, namespace: &str, watch: &Arc<Watch>) {
    let Some(client) = client.upgrade() else { return };
    let deleted = || -> Result<()> {
        let operation = client.begin_with(&Call::new().namespace(namespace), Some(DELETE_LIMIT))?;
        let ctx = &operation.ctx;
        let (container, exec) = (watch.container(), watch.exec_id());
        let _lock = lock(&client, ctx, container, exec, "delete an exec")?;
        if client.watches.is_current(watch) {
            watch.drain(Duration::ZERO, &ctx.limits)?;
            tasks::delete_exec(ctx, container, exec).optional()?;
        }
        Ok(())
    }();
    if let Err(e) = &deleted {
        // It is deleted with its task at the latest, and another exec with the id deletes it before.
        log::debug!("an exec that has exited is not deleted: {e}");
    }
    watch.close_stdio(client.fifo_dir(namespace));
    client.watches.retire(watch);
}

/// Ends a process when its time is over: SIGTERM, and SIGKILL after the grace period.
fn end_after(client: &Inner, watch: &Arc<Watch>, time: Duration, grace: Duration) {
    let mut steps = vec![(time, libc::SIGTERM), (grace, libc::SIGKILL)];
    if grace.is_zero() {
        steps = vec![(time, libc::SIGKILL)];
    }
    let (connection, executor) = (client.connection.clone(), client.executor.clone());
    let (namespace, watch) = (watch.namespace().to_owned(), watch.clone());
    let clock = async move {
        for (pause, signal) in steps {
            // `Err` is a client that was closed.
            if executor.within(pause, watch.waiting()).await.is_some() {
                return;
            }
            let ctx = Ctx::new(&connection, &namespace, Limits::within(SIGNAL_LIMIT));
            let signal = signal.unsigned_abs();
            let sent = tasks::kill_async(ctx, watch.container(), watch.exec_id(), signal).await;
            if let Err(e) = sent {
                log::debug!("a process whose time is over gets no signal: {e}");
            }
        }
    };
    if let Err(e) = client.executor.spawn(clock) {
        log::warn!("the time of a process is not limited: {e}");
    }
}

/// Waits for the exit of an exec.
pub(crate) fn wait_exec(client: &Arc<Inner>, id: &str, exec: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    check_exec_id(id, exec)?;
    if call.timeout == Timeout::Poll {
        return poll(client, id, exec, call);
    }
    let operation = client.begin_with(call, None)?;
    let ctx = &operation.ctx;
    let key = format!("wait {} {id} {exec}", ctx.namespace);
    let watch = match submit::remembered::<Arc<Watch>>(&key) {
        Some(watch) => watch,
        None => {
            // An exit that no caller has got yet is that of the process which the caller means.
            let known = client.watches.find(&ctx.namespace, id, Some(exec));
            if let Some(message) = known.and_then(|watch| watch.take_unseen_exit()) {
                return Ok(message);
            }
            let bounded = ctx.with_limits(ctx.limits.at_most(client.config.call_timeout));
            let watch = find_or_adopt(client, &bounded, id, exec)?;
            submit::remember(&key, || watch)
        }
    };
    submit::wait(&ctx.limits, watch.waiting())?
}

/// Returns what this client knows. Asks nobody.
fn poll(client: &Inner, id: &str, exec: &str, call: &Call) -> Result<Message> {
    let operation = client.begin(call)?;
    let Some(watch) = client.watches.find(&operation.ctx.namespace, id, Some(exec)) else {
        let why = "this client does not watch the exec; wait for it without a poll first";
        return Err(Error::new(ErrorKind::FailedPrecondition, why));
    };
    watch.exit().ok_or_else(|| {
        Error::new(ErrorKind::WouldBlock, "the exec has not ended").with_retryable(true)
    })
}

/// Begins to watch an exec.
pub(crate) fn watch_exec(client: &Arc<Inner>, id: &str, exec: &str, call: &Call) -> Result<()> {
    identifier::check("id", id)?;
    check_exec_id(id, exec)?;
    let operation = client.begin(call)?;
    find_or_adopt(client, &operation.ctx, id, exec).map(drop)
}

/// The watch of an exec. If this client has none, it begins to watch the process that the server has.
fn find_or_adopt(client: &Arc<Inner>, ctx: &Ctx, id: &str, exec: &str) -> Result<Arc<Watch>> {
    if let Some(watch) = client.watches.find(&ctx.namespace, id, Some(exec)) {
        if watch.exit().is_none() {
            return Ok(watch);
        }
        // It has ended. By now another client may have executed another process with the id.
        match tasks::get(ctx, id, exec) {
            Ok(process) if process.pid != 0 && process.pid != watch.pid => {
                client.watches.release(&watch);
            }
            // If the exec is gone or the server does not answer, the exit is still true.
            _ => return Ok(watch),
        }
    }
    let record = containers::get(ctx, id).step("look the record up")?;
    let process = tasks::get(ctx, id, exec).step("look the exec up")?;
    if process.status == Status::Unknown {
        return Err(no_answer());
    }
    adopt(client, ctx, &record, exec, &process, None)
}
