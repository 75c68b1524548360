//! The processes of a container.

use crate::call::Call;
use crate::error::Result;
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::tasks;

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
    tasks::get(&operation.ctx, id, "").map(|process| process.pid)
}

pub(crate) fn pids(client: &Inner, id: &str, call: &Call) -> Result<Vec<ProcessInfo>> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let listed = tasks::list_pids(&operation.ctx, id)?.into_iter();
    Ok(listed.map(|(pid, exec_id)| ProcessInfo { pid, exec_id }).collect())
}
