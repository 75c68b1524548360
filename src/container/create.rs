//! Creating a container, and starting its process.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::cleanup;
use super::config::{CheckedConfig, ContainerConfig};
use super::lock::lock;
use super::owned::has_generation;
use super::processes::NewProcess;
use super::sandbox::{SANDBOX_LABEL, create_sandbox};
use super::start::run;
use super::streams::{end_of_input, prepare_stdio};
use super::task::delete_task;
use super::undo::{Undo, existed};
use crate::call::Call;
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};
use crate::image::{self, ResolvedImage};
use crate::inner::Inner;
use crate::lease::Lease;
use crate::record::{Cleanup, ExitLabel, ProcessOutcome, clear_exit, generation};
use crate::rpc::containers::{self, Container};
use crate::rpc::snapshots::{self, Mount};
use crate::rpc::{Any, Ctx, tasks};
use crate::spec;
use crate::stdio::Stdio;
use crate::submit;
use crate::watch::{Process, Watch};

pub(crate) fn create(
    client: &Arc<Inner>,
    config: &ContainerConfig,
    call: &Call,
) -> Result<NewProcess> {
    let config = CheckedConfig::new(client, config)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, &config.id, "create_container")?;
    client.bus.check_backlog()?;
    generation::number(&config.generation).into_iter().for_each(submit::begin_start);
    let image = match &config.image {
        Some(name) => Some(image::resolve(client, ctx, name).step("look the image up")?),
        None => None,
    };
    // The lease holds what is made until the record refers to it, and what a failure has to undo.
    let (held, _lease) = match &image {
        Some(_) => Lease::hold(client, ctx)?,
        None => (ctx.clone(), None),
    };
    let mut undo = Undo::default();
    create_steps(client, &held.settling(), config, image, &mut undo)
        .map_err(|error| undo.run(ctx, error))
}

fn create_steps(
    client: &Arc<Inner>,
    ctx: &Ctx,
    config: CheckedConfig,
    image: Option<ResolvedImage>,
    undo: &mut Undo,
) -> Result<NewProcess> {
    let mounts = match &image {
        Some(image) => prepare(client, ctx, &config, image, undo).step("prepare the snapshot")?,
        // The runtime mounts a directory by itself, in the container's mount namespace only. A mount of
        // the shim would outlive the container if something is mounted below the directory.
        None => Vec::new(),
    };
    let spec = spec::build(spec::SpecOptions {
        namespace: &ctx.namespace,
        id: &config.id,
        spec: config.spec.clone(),
        image_config: image.as_ref().map(|image| &image.content.config),
        apply_image: config.apply_image,
        args: &config.args,
        terminal: config.stdio.terminal,
        directory: config.rootfs.as_deref(),
        mounts: &|| Ok(mounts.clone()),
    })
    .step("make the specification")?;
    let spec = serde_json::to_vec(&spec).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the specification cannot be written: {e}"))
    })?;

    let sandbox = config.labels.contains_key(SANDBOX_LABEL).then(|| Any::spec(spec.clone()));
    create_record(ctx, &config, image.map(|image| image.name), spec, undo)
        .step("create the record")?;
    if let Some(spec) = sandbox {
        create_sandbox(ctx, &config.id, &config.runtime, spec, undo).step("create the sandbox")?;
    }
    let process = FirstProcess {
        id: config.id,
        generation: config.generation,
        rootfs: mounts,
        stdio: config.stdio,
        drain: config.drain,
        cleanup: config.cleanup,
        start: config.start,
        before: None,
    };
    make_process(client, &ctx.without_lease(), process, undo)
}

/// The first process that a container is to get.
pub(super) struct FirstProcess {
    pub(super) id: String,
    pub(super) generation: String,
    pub(super) rootfs: Vec<Mount>,
    pub(super) stdio: Stdio,
    pub(super) drain: Duration,
    pub(super) cleanup: Cleanup,
    pub(super) start: bool,
    /// The process that the container had before, which has ended.
    pub(super) before: Option<Before>,
}

/// The process that a container had before.
pub(super) struct Before {
    /// The watch of it, if there is one.
    pub(super) watch: Option<Arc<Watch>>,
}

/// Creates the task of a container, watches it, and starts the process unless it is not to be started.
pub(super) fn make_process(
    client: &Arc<Inner>,
    ctx: &Ctx,
    new: FirstProcess,
    undo: &mut Undo,
) -> Result<NewProcess> {
    let FirstProcess { id, generation, rootfs, stdio, drain, cleanup, start, before } = new;
    let id = &id;
    let after_exit = cleanup::job(client, &ctx.namespace, cleanup).step("watch the task")?;
    let may_run = Rc::new(Cell::new(false));
    let terminal = stdio.terminal;
    let prepared = prepare_stdio(client, ctx, id, None, stdio).step("prepare stdio")?;
    let paths = prepared.as_ref().map(|p| p.paths().clone()).unwrap_or_default();
    let task = tasks::Create {
        id: id.to_owned(),
        rootfs,
        stdin: paths.stdin,
        stdout: paths.stdout,
        stderr: paths.stderr,
        terminal: paths.terminal,
    };
    let pid = create_task(ctx, task, &generation, &may_run, undo).step("create the task")?;
    // A process that was not started keeps its pid, so this is the right one.
    let pidfd = client.watches.pidfd(pid);
    let attached = match prepared {
        Some(prepared) => {
            let end = end_of_input(client, &ctx.namespace, id, None, terminal);
            Some(prepared.attach(drain, end).step("attach stdio")?)
        }
        None => None,
    };
    if let Some(before) = before.as_ref().and_then(|before| before.watch.clone()) {
        // From here on the id is the new process's.
        client.watches.release(&before);
        let watches = client.watches.clone();
        undo.push("watch the task", move |_| {
            watches.restore(&before);
            Ok(true)
        });
    }
    let new_process = NewProcess::new(pid, &generation);
    let process = Process::first(pid, generation, pidfd);
    let watch = client.watches.start(ctx, id, process, attached, after_exit);
    let watch = watch.step("watch the task")?;
    let (watches, watched) = (client.watches.clone(), watch.clone());
    undo.push("watch the task", move |_| {
        watches.forget(&watched);
        Ok(true)
    });
    if before.is_some() {
        // If the new process were lost, the record would give it the exit of the process before.
        clear_exit(ctx, id)?;
    }
    if start {
        may_run.set(true);
        run(ctx, &watch)
            .inspect_err(|e| may_run.set(watch.is_started() || e.is_outcome_unknown()))?;
    }
    if let Some(stdio) = watch.stdio() {
        stdio.keep_fifos();
    }
    Ok(new_process)
}

/// Prepares the snapshot, unless one with the key exists, and gives its mounts.
fn prepare(
    client: &Inner,
    ctx: &Ctx,
    config: &CheckedConfig,
    image: &ResolvedImage,
    undo: &mut Undo,
) -> Result<Vec<Mount>> {
    let (snapshotter, key) = (&config.snapshotter, &config.snapshot_key);
    let labels = [(generation::LABEL.to_owned(), config.generation.clone())];
    let chain_id = &image.content.chain_id;
    let attempt = || snapshots::prepare(ctx, snapshotter, key, chain_id, &labels);
    let prepared = match attempt() {
        Err(e) if e.reason() == Some(ErrorReason::NoSnapshot) => {
            // Nothing is made yet but the lease, which goes if this call is begun again.
            submit::begin_long()?;
            image::unpack(client, ctx, image, snapshotter).step("unpack the image")?;
            attempt()
        }
        other => other,
    };
    let may_exist = match &prepared {
        Ok(_) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_exist {
        let (snapshotter, key) = (snapshotter.clone(), key.clone());
        let generation = config.generation.clone();
        undo.push("prepare the snapshot", move |ctx| {
            // Another client may have removed ours, and have prepared one with the same key.
            match snapshots::stat(ctx, &snapshotter, &key) {
                Ok(now) if now.labels.get(generation::LABEL) == Some(&generation) => {
                    existed(snapshots::remove(ctx, &snapshotter, &key))
                }
                other => existed(other.map(drop)),
            }
        });
    }
    match prepared {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => snapshots::mounts(ctx, snapshotter, key),
        other => other,
    }
}

fn create_record(
    ctx: &Ctx,
    config: &CheckedConfig,
    image: Option<String>,
    spec: Vec<u8>,
    undo: &mut Undo,
) -> Result<()> {
    let has_snapshot = image.is_some();
    let record = Container {
        id: config.id.clone(),
        labels: config.labels.clone(),
        image: image.unwrap_or_default(),
        runtime: config.runtime.clone(),
        spec: Any::spec(spec),
        snapshotter: if has_snapshot { config.snapshotter.clone() } else { String::new() },
        snapshot_key: if has_snapshot { config.snapshot_key.clone() } else { String::new() },
        ..Default::default()
    };
    let created = containers::create(ctx, record);
    let may_exist = match &created {
        Ok(()) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_exist {
        let (id, generation) = (config.id.clone(), config.generation.clone());
        undo.push("create the record", move |ctx| match has_generation(ctx, &id, &generation)? {
            true => existed(containers::delete(ctx, &id)),
            false => Ok(false),
        });
    }
    created
}

/// Creates the task, and gives its pid. When the task is undone, `may_run` says whether it may have
/// been started.
fn create_task(
    ctx: &Ctx,
    task: tasks::Create,
    generation: &str,
    may_run: &Rc<Cell<bool>>,
    undo: &mut Undo,
) -> Result<u32> {
    let id = task.id.clone();
    let created = tasks::create(ctx, task);
    let may_exist = match &created {
        Ok(_) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_exist {
        let (generation, may_run) = (generation.to_owned(), may_run.clone());
        let pid = created.as_ref().ok().copied();
        undo.push("create the task", move |ctx| match has_generation(ctx, &id, &generation)? {
            true => {
                let pid = match pid {
                    Some(pid) => Some(pid),
                    None => tasks::get(ctx, &id, "").optional()?.map(|process| process.pid),
                };
                if let Some(pid) = pid.filter(|_| !may_run.get()) {
                    // If this undo is interrupted, the label says to another client that the
                    // exit code of the process means nothing.
                    let label = ExitLabel { pid, outcome: ProcessOutcome::NeverStarted };
                    let label = label.label(&generation);
                    let _ = containers::set_labels(ctx, &id, &[label]);
                }
                // The deletion of a task that was not started waits in vain for the end of its
                // output: 2 s, and from containerd 2.1 on for all the time that an undo has. If
                // this fails, the deletion tries it again.
                let _ = tasks::kill(ctx, &id, "", libc::SIGKILL.unsigned_abs(), true);
                // Even if there is no task: its shim may exist.
                delete_task(ctx, &id, pid).map(|_| pid.is_some())
            }
            false => Ok(true),
        });
    }
    created
}
