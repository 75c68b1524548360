//! Containers: a file for each group of operations.

mod cleanup;
mod create;
mod destroy;
mod exit_label;
mod probe;
mod recover;
mod undo;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::call::Call;
use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::lease::OWNER_LABEL;
use crate::rpc::containers::Container;
use crate::rpc::tasks::{self, Exit};
use crate::rpc::{Ctx, sandboxes};
use crate::stdio::Stdio;
use crate::turns::Turn;

pub use cleanup::Cleanup;
pub(crate) use create::{create, start};
pub(crate) use destroy::destroy;
pub(crate) use exit_label::ExitLabel;
pub(crate) use probe::probe;
pub use recover::{Recovery, RecoveryState};
pub(crate) use recover::{recover, recover_all};

/// The label that tells one container from a later one of the same id.
const GENERATION_LABEL: &str = "io.ctrd.generation";

/// The label of a container for which a sandbox of its id stands, so that containerd keeps its task.
const SANDBOX_LABEL: &str = "io.ctrd.sandbox";

/// Deletes the sandbox that stands for a container.
fn delete_sandbox(ctx: &Ctx, record: &Container) -> Result<()> {
    if !record.labels.contains_key(SANDBOX_LABEL) {
        return Ok(());
    }
    match sandboxes::delete(ctx, &record.id) {
        // An older containerd knows of none.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(()),
        other => found(other),
    }
}

/// Fails where a container is another owner's: that one's program relies on it. What carries no owner may
/// be anybody's.
fn check_owner(client: &Inner, record: &Container) -> Result<()> {
    match record.labels.get(OWNER_LABEL) {
        Some(owner) if *owner != client.config.owner => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("the container is the owner {owner}'s, not {}'s", client.config.owner),
        )),
        _ => Ok(()),
    }
}

/// What tells this container from another of the same id, whoever made it.
pub(crate) fn generation(record: &Container) -> String {
    match record.labels.get(GENERATION_LABEL) {
        Some(generation) => generation.clone(),
        // The server sets it.
        None => record
            .created_at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or_else(String::new, |at| at.as_nanos().to_string()),
    }
}

/// What a new container is to be.
#[derive(Debug, Default)]
pub struct ContainerConfig {
    /// Its id: at most 76 letters and digits, joined by single `.`, `_` or `-`.
    pub id: String,
    /// The image that it is made from, which must have been pulled. Either this or `rootfs`. An image of
    /// exactly this name is used; if there is none, the one with the completed name: `busybox` means
    /// `docker.io/library/busybox:latest` then.
    pub image: Option<String>,
    /// A directory that is its root file system, prepared by the caller, as an absolute path that
    /// containerd sees too. Nothing in it is ever removed.
    pub rootfs: Option<PathBuf>,
    /// Default: the client's.
    pub snapshotter: Option<String>,
    /// The key of its snapshot, which is prepared unless it stands: at most 4096 bytes. Default:
    /// the id.
    pub snapshot_key: Option<String>,
    /// Default: `io.containerd.runc.v2`.
    pub runtime: Option<String>,
    /// The runtime specification, as JSON; members that this library does not know are kept.
    /// Default: [`crate::default_spec`] with the image's configuration applied to it, which is what
    /// [`crate::Client::image_spec`] returns.
    pub spec: Option<String>,
    /// Apply the image's configuration to `spec`, as it is applied to the default. Without `spec` it
    /// changes nothing. Without `image` it is an error.
    ///
    /// - **Command** (`process.args`): the image's entry point, followed by `args` or, if `args` is
    ///   empty, by the image's command. They replace the command of `spec`, which stays only if all of
    ///   them are empty.
    /// - **Environment** (`process.env`): the image's entries, or `PATH` with the usual directories if it
    ///   has none. An entry of `spec` replaces the image's entry with the same name, and one without `=`
    ///   removes it. With a terminal, `TERM=xterm` is added unless `TERM` is set.
    /// - **Working directory** (`process.cwd`): the image's. If it names none, that of `spec` stays, or
    ///   `/` is set.
    /// - **User** (`process.user`): the image's user, group and additional groups replace those of
    ///   `spec`; other members, such as `umask`, stay. Names are looked up in the container's root file
    ///   system. If the image names no user, that of `spec` stays; if `spec` has none either, or has root
    ///   without additional groups (as [`crate::default_spec`] has), root gets the groups that list it.
    pub apply_image: bool,
    /// The command. By default, and with `apply_image`, it follows the image's entry point, in place of
    /// the image's command. With a `spec` to which the image is not applied, it replaces `process.args`.
    pub args: Vec<String>,
    /// Labels of the record. Those that begin with `io.ctrd.` are the library's.
    pub labels: Vec<(String, String)>,
    /// Where its input comes from and its output goes.
    pub stdio: Stdio,
    /// What is removed by itself once its process has ended. Default: nothing.
    pub cleanup: Cleanup,
    /// Create it and do not start it.
    pub no_start: bool,
}

/// Waits until no other call of this client changes the container.
fn turn<'a>(client: &'a Inner, ctx: &Ctx, id: &str, what: &'static str) -> Result<Turn<'a>> {
    let key = format!("{} {id}", ctx.namespace);
    client.turns.take(key, what, &ctx.limits).map_err(|error| match error.kind() {
        ErrorKind::Timeout | ErrorKind::WouldBlock => error.with_kind(ErrorKind::Busy),
        _ => error,
    })
}

/// How long a task may take to become one that can be deleted.
const DELETE: Duration = Duration::from_secs(15);

/// What became of a task that was to be deleted.
enum Deleted {
    /// It is gone.
    Yes,
    /// It is gone, and was another process's, which had ended so.
    Another(u32, Exit),
    /// Another process runs.
    No,
    /// Nothing was deleted: the container's record is gone, or another one.
    Replaced,
}

/// Deletes a task, and ends it first where it still runs and is the one with this process. One that is
/// not there counts as deleted.
fn delete_task(ctx: &Ctx, id: &str, pid: Option<u32>) -> Result<Deleted> {
    let ctx = ctx.with_limits(ctx.limits.at_most(DELETE));
    let is_another = |found: u32| found != 0 && pid.is_some_and(|pid| pid != found);
    loop {
        match tasks::delete(&ctx, id) {
            Ok((found, exit)) if is_another(found) => return Ok(Deleted::Another(found, exit)),
            Ok(_) => return Ok(Deleted::Yes),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Deleted::Yes),
            // It runs. Also between its exit and the shim's notice of that it counts as running.
            Err(e) if matches!(e.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition) => {
                if ctx.limits.check().is_err() {
                    return Err(e);
                }
                match tasks::get(&ctx, id, "") {
                    Ok(process) if is_another(process.pid) => return Ok(Deleted::No),
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Deleted::Yes),
                    Err(e) => return Err(e),
                }
                found(tasks::kill(&ctx, id, "", libc::SIGKILL.unsigned_abs(), true))?;
                thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Takes what is not there for removed.
fn found(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(crate) fn pid(client: &Inner, id: &str, call: &Call) -> Result<u32> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    tasks::get(&operation.ctx, id, "").map(|process| process.pid)
}

pub(crate) fn pids(client: &Inner, id: &str, call: &Call) -> Result<Vec<u32>> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    tasks::list_pids(&operation.ctx, id)
}
