//! The streams of a process in a container: made for a new process, or taken over from an earlier program.

use std::time::Duration;

use crate::call::Limits;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::record;
use crate::rpc::containers::Container;
use crate::rpc::{Ctx, tasks};
use crate::stdio::{self, Attached, Paths, Prepared, Stdio, Stream};
use crate::wait::detach;

/// Opens the streams that the caller asks for. `None` if there are none.
pub(super) fn prepare_stdio(
    client: &Inner,
    ctx: &Ctx,
    id: &str,
    exec: Option<&str>,
    stdio: Stdio,
) -> Result<Option<Prepared>> {
    let streams = [&stdio.stdin, &stdio.stdout, &stdio.stderr];
    if !stdio.terminal && streams.iter().all(|stream| matches!(stream, Stream::None)) {
        return Ok(None);
    }
    stdio::prepare(&client.pump, client.fifo_dir(&ctx.namespace), id, exec, stdio).map(Some)
}

/// Returns the function that runs when the host's input for a process has ended. It closes the shim's
/// end.
pub(super) fn end_of_input(
    client: &Inner,
    namespace: &str,
    id: &str,
    exec: Option<&str>,
    terminal: bool,
) -> Box<dyn FnOnce() + Send> {
    let connection = client.connection.clone();
    let (namespace, id) = (namespace.to_owned(), id.to_owned());
    let exec = exec.unwrap_or_default().to_owned();
    Box::new(move || {
        if terminal {
            // That would hang the terminal up, which ends the process.
            return;
        }
        // The pump's thread must not wait for the answer.
        detach(async move {
            let ctx = Ctx::new(&connection, &namespace, Limits::within(CLOSE_STDIN));
            let closed = match tasks::close_stdin(&ctx, &id, &exec) {
                Ok(answer) => answer.await,
                Err(e) => Err(e),
            };
            if let Err(e) = closed {
                log::debug!("the end of container {id}'s input: {e}");
            }
        });
    })
}

/// How long that request to the shim may take.
const CLOSE_STDIN: Duration = Duration::from_secs(10);

/// Opens the streams of a process whose FIFOs an earlier program made. `None` if there are none.
pub(super) fn open_streams(
    client: &Inner,
    ctx: &Ctx,
    record: &Container,
    exec: Option<&str>,
    paths: &Paths,
    stdio: Stdio,
) -> Result<Option<Attached>> {
    let (state_dir, id) = (&client.config.state_dir, &record.id);
    let reopened = match stdio::reopen(&client.pump, state_dir, id, paths, stdio) {
        Ok(reopened) => reopened,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            log::warn!("the streams of container {id} are gone: {e}");
            None
        }
        Err(e) => return Err(e.step("reopen stdio")),
    };
    let Some(prepared) = reopened else { return Ok(None) };
    let end = end_of_input(client, &ctx.namespace, id, exec, paths.terminal);
    prepared.attach(record::drain(record), end).step("attach stdio").map(Some)
}
