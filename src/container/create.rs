//! Creating a container, and starting its process.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::cleanup::{self, Cleanup};
use super::probe::{LOOK_UP, adopt};
use super::undo::Undo;
use super::{
    ContainerConfig, ExitLabel, GENERATION_LABEL, SANDBOX_LABEL, check_owner, delete_task,
    exit_label, turn,
};
use serde_json::Value;

use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::image::{self, ResolvedImage};
use crate::inner::Inner;
use crate::lease::{Lease, OWNER_LABEL, random_hex};
use crate::rpc::containers::{self, Container};
use crate::rpc::sandboxes;
use crate::rpc::snapshots::{self, Mount};
use crate::rpc::tasks::{self, Status};
use crate::rpc::{Any, Ctx};
use crate::snapshot;
use crate::spec;
use crate::stdio::{self, Prepared, Stdio, Stream};
use crate::wait::detach;
use crate::watch::{End, Process, Watch};

const DEFAULT_RUNTIME: &str = "io.containerd.runc.v2";

/// How long the shim may take to be told that the input has ended.
const CLOSE_STDIN: Duration = Duration::from_secs(10);

/// The most that a label's key and value may have together (containerd `labels.Validate`).
const MAX_LABEL: usize = 4096;

pub(crate) fn create(client: &Arc<Inner>, config: ContainerConfig, call: &Call) -> Result<u32> {
    let plan = Plan::new(client, config)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _turn = turn(client, ctx, &plan.id, "create_container")?;
    let image = match &plan.image {
        Some(name) => Some(image::resolve(client, ctx, name).step("look the image up")?),
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

/// A configuration that was checked.
struct Plan {
    id: String,
    image: Option<String>,
    rootfs: Option<Mount>,
    snapshotter: String,
    snapshot_key: String,
    runtime: String,
    spec: Option<Value>,
    apply_image: bool,
    args: Vec<String>,
    labels: HashMap<String, String>,
    generation: String,
    cleanup: Cleanup,
    stdio: Stdio,
    no_start: bool,
}

impl Plan {
    fn new(client: &Inner, config: ContainerConfig) -> Result<Plan> {
        identifier::check("id", &config.id)?;
        let rootfs = match (&config.image, config.rootfs) {
            (None, None) => {
                return Err(Error::invalid("image", "neither image nor rootfs is given"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid("rootfs", "both image and rootfs are given"));
            }
            (Some(_), None) => None,
            (None, Some(path)) => {
                let path = path
                    .into_os_string()
                    .into_string()
                    .map_err(|_| Error::invalid("rootfs", "is not UTF-8"))?;
                if !path.starts_with('/') {
                    return Err(Error::invalid("rootfs", format!("{path} is not absolute")));
                }
                if !std::path::Path::new(&path).is_dir() {
                    return Err(Error::invalid("rootfs", format!("{path} is not a directory")));
                }
                Some(Mount {
                    kind: "bind".into(),
                    source: path,
                    target: String::new(),
                    options: vec!["rbind".into(), "rw".into()],
                })
            }
        };
        config.image.as_deref().map_or(Ok(()), |image| image::check_name("image", image))?;
        if config.apply_image && config.image.is_none() {
            return Err(Error::invalid("apply_image", "there is no image, but a rootfs"));
        }
        let snapshotter = snapshot::snapshotter(client, config.snapshotter.as_deref())?;
        let snapshot_key = config.snapshot_key.unwrap_or_else(|| config.id.clone());
        identifier::check_snapshot_key("snapshot_key", &snapshot_key)?;
        let runtime = config.runtime.unwrap_or_else(|| DEFAULT_RUNTIME.to_owned());
        if runtime.is_empty() {
            return Err(Error::invalid("runtime", "must not be empty"));
        }
        let spec = config.spec.as_deref().map(spec::parse).transpose()?;
        let generation = random_hex()?;
        let mut labels = check_labels(config.labels)?;
        labels.insert(OWNER_LABEL.into(), client.config.owner.clone());
        labels.insert(GENERATION_LABEL.into(), generation.clone());
        labels.extend(config.cleanup.label());
        if client.config.keep_stopped_tasks {
            labels.insert(SANDBOX_LABEL.into(), String::new());
        }
        if let Some(position) = config.args.iter().position(|arg| arg.contains('\0')) {
            return Err(Error::invalid("args", format!("number {position} holds a NUL")));
        }
        Ok(Plan {
            snapshotter: snapshotter.to_owned(),
            snapshot_key,
            runtime,
            stdio: Stdio {
                // Where the specification asks for a terminal it is to have one.
                terminal: config.stdio.terminal || spec.as_ref().is_some_and(wants_terminal),
                ..config.stdio
            },
            spec,
            apply_image: config.apply_image,
            image: config.image,
            rootfs,
            args: config.args,
            labels,
            generation,
            cleanup: config.cleanup,
            no_start: config.no_start,
            id: config.id,
        })
    }
}

fn wants_terminal(spec: &Value) -> bool {
    spec.pointer("/process/terminal").and_then(Value::as_bool).unwrap_or(false)
}

fn check_labels(given: Vec<(String, String)>) -> Result<HashMap<String, String>> {
    let mut labels = HashMap::new();
    for (key, value) in given {
        let why = if key.is_empty() {
            "has an empty key"
        } else if key.starts_with("io.ctrd.") {
            "has a key of the library's own (io.ctrd.)"
        } else if key.len() + value.len() > MAX_LABEL {
            "has more than 4096 bytes in key and value"
        } else if labels.insert(key.clone(), value).is_some() {
            "is given twice"
        } else {
            continue;
        };
        let key: String = key.chars().take(80).collect();
        return Err(Error::invalid("labels", format!("{key:?} {why}")));
    }
    Ok(labels)
}

fn create_steps(
    client: &Arc<Inner>,
    ctx: &Ctx,
    plan: Plan,
    image: Option<ResolvedImage>,
    undo: &mut Undo,
) -> Result<u32> {
    let mounts = match (&image, &plan.rootfs) {
        (Some(image), _) => {
            prepare(client, ctx, &plan, image, undo).step("prepare the snapshot")?
        }
        (None, rootfs) => rootfs.iter().cloned().collect(),
    };
    let spec = spec::build(spec::SpecOptions {
        namespace: &ctx.namespace,
        id: &plan.id,
        spec: plan.spec.clone(),
        image_config: image.as_ref().map(|image| &image.content.config),
        apply_image: plan.apply_image,
        args: &plan.args,
        terminal: plan.stdio.terminal,
        rootfs: &|| Ok(mounts.clone()),
    })
    .step("make the specification")?;
    let spec = serde_json::to_vec(&spec).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the specification cannot be written: {e}"))
    })?;

    let sandbox = plan.labels.contains_key(SANDBOX_LABEL).then(|| Any::spec(spec.clone()));
    create_record(ctx, &plan, image.map(|image| image.name), spec, undo)
        .step("create the record")?;
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
            Some(prepared.attach(end).step("attach stdio")?)
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
        stdio.stand();
    }
    Ok(pid)
}

/// Prepares the snapshot, or takes the one that stands, and gives its mounts.
fn prepare(
    client: &Inner,
    ctx: &Ctx,
    plan: &Plan,
    image: &ResolvedImage,
    undo: &mut Undo,
) -> Result<Vec<Mount>> {
    let (snapshotter, key) = (&plan.snapshotter, &plan.snapshot_key);
    let labels = [(GENERATION_LABEL.to_owned(), plan.generation.clone())];
    let chain_id = &image.content.chain_id;
    let attempt = || snapshots::prepare(ctx, snapshotter, key, chain_id, &labels);
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
                    there(snapshots::remove(ctx, &snapshotter, &key))
                }
                other => there(other.map(drop)),
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
            true => there(containers::delete(ctx, &id)),
            false => Ok(false),
        });
    }
    created
}

/// Writes a sandbox of the container's id down: a shim with one is kept when containerd starts anew,
/// even where its processes have all ended (containerd 1.7 to 2.1, `runtime/v2` loading its shims).
fn create_sandbox(ctx: &Ctx, id: &str, runtime: &str, spec: Any, undo: &mut Undo) -> Result<()> {
    match sandboxes::create(ctx, id, runtime, spec) {
        // containerd 1.6 keeps tasks without one.
        Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(()),
        // Of a container that was removed by somebody who does not know of it.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) if !e.is_outcome_unknown() => return Err(e),
        other => {
            let id = id.to_owned();
            undo.push("create the sandbox", move |ctx| there(sandboxes::delete(ctx, &id)));
            other?;
        }
    }
    Ok(())
}

/// Whether it was there.
fn there(result: Result<()>) -> Result<bool> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether the container of this id is the one that was made here: it may be another client's.
fn is_ours(ctx: &Ctx, id: &str, generation: &str) -> Result<bool> {
    match containers::get(ctx, id) {
        Ok(record) => Ok(super::generation(&record) == generation),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Opens the streams that are asked for, where there are any.
fn prepare_stdio(client: &Inner, ctx: &Ctx, id: &str, stdio: Stdio) -> Result<Option<Prepared>> {
    let streams = [&stdio.stdin, &stdio.stdout, &stdio.stderr];
    if !stdio.terminal && streams.iter().all(|stream| matches!(stream, Stream::None)) {
        return Ok(None);
    }
    stdio::prepare(&client.pump, client.place(&ctx.namespace), id, "", stdio).map(Some)
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

/// Tells the shim that the input of a container's process has ended.
pub(super) fn end_of_input(
    client: &Inner,
    namespace: &str,
    id: &str,
    terminal: bool,
) -> Box<dyn FnOnce() + Send> {
    let connection = client.connection.clone();
    let (namespace, id) = (namespace.to_owned(), id.to_owned());
    Box::new(move || {
        if terminal {
            // It would hang the terminal up, which ends the process.
            return;
        }
        // The pump's thread must not wait for the answer.
        detach(async move {
            let ctx = Ctx::new(&connection, &namespace, Limits::within(CLOSE_STDIN));
            let closed = match tasks::close_stdin(&ctx, &id, "") {
                Ok(answer) => answer.await,
                Err(e) => Err(e),
            };
            if let Err(e) = closed {
                log::debug!("the end of container {id}'s input: {e}");
            }
        });
    })
}

/// Starts the process that stands, and its input.
fn run(ctx: &Ctx, watch: &Watch) -> Result<()> {
    tasks::start(ctx, watch.container(), "").step("start the task")?;
    watch.note_start().step("start stdin")
}

pub(crate) fn start(client: &Arc<Inner>, id: &str, call: &Call) -> Result<u32> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _turn = turn(client, ctx, id, "start_container")?;
    let record = containers::get(ctx, id).step("look the record up")?;
    check_owner(client, &record)?;
    let mut watch = super::probe::watch(client, ctx, id)?;
    let process = tasks::get(ctx, id, "").step(LOOK_UP)?;
    if process.pid != watch.process.pid {
        watch = adopt(client, ctx, &record, None)?;
    }
    if process.status != Status::Created {
        if process.status.runs() {
            watch.note_start().step("start stdin")?;
        }
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("the container's process is {}", process.status.word()),
        ));
    }
    if ExitLabel::of(&record).is_some_and(|kept| kept.end == End::NeverRan) {
        // A destroy that broke off has said so.
        exit_label::clear(ctx, id)?;
    }
    run(ctx, &watch)?;
    Ok(watch.process.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::ClientConfig;
    use crate::rpc::TestServer;

    #[test]
    fn a_start_that_is_refused_has_not_started_anything() {
        let server = TestServer::of_killed("c");
        let config = ClientConfig { owner: "us".into(), ..Default::default() };
        let client = Arc::new(Inner::new(config, &server.socket(), false));
        let error = start(&client, "c", &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        // Its 137 would count as a code then.
        let namespace = &client.config.namespace;
        assert!(!client.watches.find(namespace, "c").unwrap().is_started());
        client.close(&Limits::default()).unwrap();
    }
}
