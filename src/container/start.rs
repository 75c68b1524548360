//! Starting the process of a container.

use std::sync::Arc;

use super::adopt::{adopt, watch};
use super::lock::lock;
use super::owned::owned_record;
use super::processes::NewProcess;
use super::task::LOOK_UP;
use crate::call::Call;
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::record::{ExitLabel, ProcessOutcome, clear_exit, generation};
use crate::rpc::Ctx;
use crate::rpc::tasks::{self, Status};
use crate::submit;
use crate::watch::Watch;

/// Starts the process that was created, and its input.
pub(super) fn run(ctx: &Ctx, watch: &Watch) -> Result<()> {
    tasks::start(ctx, watch.container(), "").step("start the task")?;
    watch.note_start().step("start stdin")
}

pub(crate) fn start(client: &Arc<Inner>, id: &str, call: &Call) -> Result<NewProcess> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, "start_container")?;
    client.bus.check_backlog()?;
    let record = owned_record(client, ctx, id)?;
    generation::number(&generation::of(&record)).into_iter().for_each(submit::begin_start);
    let mut watch = watch(client, ctx, id)?;
    let process = tasks::get(ctx, id, "").missing(ErrorReason::NoTask).step(LOOK_UP)?;
    if process.pid != watch.pid {
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
    if ExitLabel::of(&record).is_some_and(|label| label.outcome == ProcessOutcome::NeverStarted) {
        // A destroy that was interrupted wrote this label.
        clear_exit(ctx, id)?;
    }
    run(ctx, &watch)?;
    Ok(NewProcess::new(watch.pid, &watch.generation()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Limits;
    use crate::client_config::ClientConfig;
    use crate::rpc::TestServer;

    #[test]
    fn a_refused_start_does_not_count_as_a_start() {
        let server = TestServer::of_killed("c");
        let config = ClientConfig::new().owner("us");
        let client = Arc::new(Inner::new(config, &server.socket(), false));
        let error = start(&client, "c", &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        // If it were, the 137 of a process that never ran would count as its exit code.
        let namespace = &client.config.namespace;
        assert!(!client.watches.find(namespace, "c", None).unwrap().is_started());
        client.close(&Limits::default()).unwrap();
    }
}
