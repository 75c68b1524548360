//! The processes of a container.

use crate::call::Call;
use crate::error::{Error, ErrorKind, ErrorReason, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::record::generation;
use crate::rpc::{Ctx, containers, tasks};

/// The process of a container that was created or started.
///
/// ```no_run
/// use ctrd::{Call, Client, ContainerConfig, Message};
///
/// # fn f(client: &Client, exit: &Message) -> ctrd::Result<()> {
/// let config = ContainerConfig::new("web").image("busybox");
/// let process = client.create_container(&config, &Call::new())?;
/// // Whether the exit is that of this container, and not of an earlier one with the same id.
/// let is_its = exit.generation() == process.generation();
/// # let _ = is_its;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewProcess {
    pid: u32,
    generation: Option<u64>,
}

impl NewProcess {
    pub(super) fn new(pid: u32, generation: &str) -> NewProcess {
        NewProcess { pid, generation: generation::number(generation) }
    }

    /// The id of the process, in the server's pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells its container from another of the same id, before or after it:
    /// [`crate::Message::generation`] is the same number. `None` only if another client made the
    /// container and the server does not know when.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }
}

/// A process of a container ([`crate::Client::container_pids`]).
///
/// ```no_run
/// # fn f(client: &ctrd::Client) -> ctrd::Result<()> {
/// for process in client.container_pids("web", &ctrd::Call::new())? {
///     println!("{} {}", process.pid(), process.exec_id().unwrap_or("-"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pid: u32,
    exec_id: Option<String>,
}

impl ProcessInfo {
    /// Its pid, in the server's pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The id with which it was executed in the container. `None` if it is the container's first
    /// process, or was started by another process of the container.
    pub fn exec_id(&self) -> Option<&str> {
        self.exec_id.as_deref()
    }
}

pub(crate) fn pid(client: &Inner, id: &str, call: &Call) -> Result<u32> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let process = tasks::get(&operation.ctx, id, "");
    process.map(|process| process.pid).map_err(|e| name_missing(&operation.ctx, id, e))
}

pub(crate) fn pids(client: &Inner, id: &str, call: &Call) -> Result<Vec<ProcessInfo>> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let listed = tasks::list_pids(&operation.ctx, id)
        .map_err(|e| name_missing(&operation.ctx, id, e))?
        .into_iter();
    Ok(listed.map(|(pid, exec_id)| ProcessInfo { pid, exec_id }).collect())
}

/// containerd gives the same error for a container that does not exist and for one without a task.
/// This gives the error the reason that is true.
fn name_missing(ctx: &Ctx, id: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    match containers::get(ctx, id) {
        Ok(_) => error.with_reason(Some(ErrorReason::NoTask)),
        Err(why) => error.with_reason(why.reason()),
    }
}
