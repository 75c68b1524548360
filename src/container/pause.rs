//! Pausing the processes of a container, and resuming them.

use super::lock::lock;
use super::owned::owned_record;
use super::task::explain_state;
use crate::call::Call;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::Ctx;
use crate::rpc::tasks::{self, Status};

/// How a container is paused or resumed.
///
/// ```no_run
/// use ctrd::{Call, Client, PauseConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// // A container that has gone meanwhile is no error.
/// let config = PauseConfig::new().ignore_not_found(true);
/// client.pause_container("web", &config, &Call::new())?;
/// client.resume_container("web", &config, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct PauseConfig {
    ignore_not_found: bool,
}

impl PauseConfig {
    /// A container that does not exist is an error.
    pub fn new() -> PauseConfig {
        PauseConfig::default()
    }

    /// Whether the call succeeds if there is no such container, or it has no task. Default: no.
    pub fn ignore_not_found(mut self, ignore: bool) -> PauseConfig {
        self.ignore_not_found = ignore;
        self
    }
}

pub(crate) fn pause(client: &Inner, id: &str, config: PauseConfig, call: &Call) -> Result<()> {
    change(client, id, config, call, "pause_container", |ctx| {
        tasks::pause(ctx, id).step("pause the task").map_err(|e| {
            explain_state(ctx, id, e, |status| matches!(status, Status::Created | Status::Running))
        })
    })
}

pub(crate) fn resume(client: &Inner, id: &str, config: PauseConfig, call: &Call) -> Result<()> {
    change(client, id, config, call, "resume_container", |ctx| {
        tasks::resume(ctx, id)
            .step("resume the task")
            .map_err(|e| explain_state(ctx, id, e, |status| status == Status::Paused))
    })
}

fn change(
    client: &Inner,
    id: &str,
    config: PauseConfig,
    call: &Call,
    name: &'static str,
    send: impl FnOnce(&Ctx) -> Result<()>,
) -> Result<()> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, name)?;
    match owned_record(client, ctx, id).and_then(|_| send(ctx)) {
        Err(e) if config.ignore_not_found && e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
