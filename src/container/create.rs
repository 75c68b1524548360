//! Creating a container, and starting its process.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::cleanup;
use super::config::{ContainerConfig, Plan};
use super::lock::lock;
use super::sandbox::{SANDBOX_LABEL, create_sandbox};
use super::start::run;
use super::streams::{end_of_input, prepare_stdio};
use super::task::delete_task;
use super::undo::{Undo, existed};
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{self, Unpacked};
use crate::inner::Inner;
use crate::lease::Lease;
use crate::record::{self, End, ExitLabel, GENERATION_LABEL};
use crate::rpc::containers::{self, Container};
use crate::rpc::snapshots::{self, Mount};
use crate::rpc::{Any, Ctx, tasks};
use crate::spec;
use crate::submit;
use crate::watch::Process;

pub(crate) fn create(client: &Arc<Inner>, config: ContainerConfig, call: &Call) -> Result<u32> {
    let plan = Plan::new(client, config)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, &plan.id, "create_container")?;
    client.bus.check_backlog()?;
    submit::begin_start(&(ctx.namespace.clone(), plan.id.clone()));
    let image = match &plan.image {
        Some(name) => {
            let unpacked = image::for_container(client, ctx, name).step("look the image up")?;
            Some((name.clone(), unpacked))
        }
        None => None,
    };
    // It holds what is made until the record refers to it all, and what a failure has to undo.
    let (held, _lease) = match &image {
        Some(_) => Lease::hold(client, ctx)?,
        None => (ctx.clone(), None),
    };
    let mut undo = Undo::default();
    create_steps(client, &held.settling(), plan, image, &mut undo)
        .map_err(|error| undo.run(ctx, error))
}

fn create_steps(
    client: &Arc<Inner>,
    ctx: &Ctx,
    plan: Plan,
    image: Option<(String, Unpacked)>,
    undo: &mut Undo,
) -> Result<u32> {
    let mounts = match (&image, &plan.rootfs) {
        (Some((name, unpacked)), _) => {
            prepare(client, ctx, &plan, name, unpacked, undo).step("prepare the snapshot")?
        }
        (None, rootfs) => rootfs.iter().cloned().collect(),
    };
    let spec = spec::build(spec::Sources {
        namespace: &ctx.namespace,
        id: &plan.id,
        spec: plan.spec.clone(),
        image_config: image.as_ref().map(|(_, unpacked)| &unpacked.config),
        args: &plan.args,
        terminal: plan.stdio.terminal,
        rootfs: &mounts,
    })
    .step("make the specification")?;
    let spec = serde_json::to_vec(&spec).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the specification cannot be written: {e}"))
    })?;

    let sandbox = plan.labels.contains_key(SANDBOX_LABEL).then(|| Any::spec(spec.clone()));
    create_record(ctx, &plan, image.map(|(name, _)| name), spec, undo).step("create the record")?;
    if let Some(spec) = sandbox {
        create_sandbox(ctx, &plan.id, &plan.runtime, spec, undo).step("create the sandbox")?;
    }
    let (ctx, id, generation) = (&ctx.without_lease(), &plan.id, plan.generation);
    let then = cleanup::job(client, &ctx.namespace, plan.cleanup).step("watch the task")?;
    let may_run = Rc::new(Cell::new(false));
    let terminal = plan.stdio.terminal;
    let prepared = prepare_stdio(client, ctx, id, plan.stdio).step("prepare stdio")?;
    let paths = prepared.as_ref().map(|p| p.paths().clone()).unwrap_or_default();
    let task = tasks::Create {
        id: id.to_owned(),
        rootfs: mounts,
        stdin: paths.stdin,
        stdout: paths.stdout,
        stderr: paths.stderr,
        terminal: paths.terminal,
    };
    let pid = create_task(ctx, task, &generation, &may_run, undo).step("create the task")?;
    // It is there until it is started: so this is it.
    let pidfd = client.watches.pidfd(pid);
    let attached = match prepared {
        Some(prepared) => {
            let end = end_of_input(client, &ctx.namespace, id, terminal);
            Some(prepared.attach(plan.drain, end).step("attach stdio")?)
        }
        None => None,
    };
    let process = Process::new(pid, generation, pidfd);
    let watch = client.watches.start(ctx, id, process, attached, then).step("watch the task")?;
    let (watches, watched) = (client.watches.clone(), watch.clone());
    undo.push("watch the task", move |_| {
        watches.forget(&watched);
        Ok(true)
    });
    if !plan.no_start {
        may_run.set(true);
        run(ctx, &watch)
            .inspect_err(|e| may_run.set(watch.is_started() || e.is_outcome_unknown()))?;
    }
    if let Some(stdio) = watch.stdio() {
        stdio.keep_fifos();
    }
    Ok(pid)
}

/// Prepares the snapshot, or takes the one that stands, and gives its mounts.
fn prepare(
    client: &Inner,
    ctx: &Ctx,
    plan: &Plan,
    image: &str,
    unpacked: &Unpacked,
    undo: &mut Undo,
) -> Result<Vec<Mount>> {
    let (snapshotter, key) = (&plan.snapshotter, &plan.snapshot_key);
    let labels = [(GENERATION_LABEL.to_owned(), plan.generation.clone())];
    let attempt = || snapshots::prepare(ctx, snapshotter, key, &unpacked.chain_id, &labels);
    let prepared = match attempt() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            image::unpack(client, ctx, image, snapshotter).step("unpack the image")?;
            attempt()
        }
        other => other,
    };
    let may_stand = match &prepared {
        Ok(_) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_stand {
        let (snapshotter, key) = (snapshotter.clone(), key.clone());
        let generation = plan.generation.clone();
        undo.push("prepare the snapshot", move |ctx| {
            // Another client may have removed ours, and made one of the same key.
            match snapshots::stat(ctx, &snapshotter, &key) {
                Ok(now) if now.labels.get(GENERATION_LABEL) == Some(&generation) => {
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
    plan: &Plan,
    image: Option<String>,
    spec: Vec<u8>,
    undo: &mut Undo,
) -> Result<()> {
    let has_snapshot = image.is_some();
    let record = Container {
        id: plan.id.clone(),
        labels: plan.labels.clone(),
        image: image.unwrap_or_default(),
        runtime: plan.runtime.clone(),
        spec: Any::spec(spec),
        snapshotter: if has_snapshot { plan.snapshotter.clone() } else { String::new() },
        snapshot_key: if has_snapshot { plan.snapshot_key.clone() } else { String::new() },
        ..Default::default()
    };
    let created = containers::create(ctx, record);
    let may_stand = match &created {
        Ok(()) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_stand {
        let (id, generation) = (plan.id.clone(), plan.generation.clone());
        undo.push("create the record", move |ctx| match is_ours(ctx, &id, &generation)? {
            true => existed(containers::delete(ctx, &id)),
            false => Ok(false),
        });
    }
    created
}

/// Whether the container of this id is the one that was made here: it may be another client's.
fn is_ours(ctx: &Ctx, id: &str, generation: &str) -> Result<bool> {
    match containers::get(ctx, id) {
        Ok(record) => Ok(record::generation(&record) == generation),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Creates the task, and gives its process. `may_run` says later whether it may have been started.
fn create_task(
    ctx: &Ctx,
    task: tasks::Create,
    generation: &str,
    may_run: &Rc<Cell<bool>>,
    undo: &mut Undo,
) -> Result<u32> {
    let id = task.id.clone();
    let created = tasks::create(ctx, task);
    let may_stand = match &created {
        Ok(_) => true,
        Err(e) => e.is_outcome_unknown(),
    };
    if may_stand {
        let (generation, may_run) = (generation.to_owned(), may_run.clone());
        let pid = created.as_ref().ok().copied();
        undo.push("create the task", move |ctx| match is_ours(ctx, &id, &generation)? {
            true => {
                let pid = match pid {
                    Some(pid) => Some(pid),
                    None => match tasks::get(ctx, &id, "") {
                        Ok(found) => Some(found.pid),
                        Err(e) if e.kind() == ErrorKind::NotFound => None,
                        Err(e) => return Err(e),
                    },
                };
                if let Some(pid) = pid.filter(|_| !may_run.get()) {
                    // For whoever finds it should this break off: how it ends then says nothing.
                    let label = ExitLabel { pid, end: End::NeverRan }.label(&generation);
                    let _ = containers::set_labels(ctx, &id, &[label]);
                }
                // The delete of one that was not started waits in vain for the end of its output: 2 s,
                // and from containerd 2.1 on all the time that an undo has. Whether this helps, it
                // finds out.
                let _ = tasks::kill(ctx, &id, "", libc::SIGKILL.unsigned_abs(), true);
                // Also of one that is not there: its shim may be.
                delete_task(ctx, &id, pid).map(|_| pid.is_some())
            }
            false => Ok(true),
        });
    }
    created
}
