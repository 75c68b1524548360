//! Waiting for a container's end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cleanup::{self, Cleanup};
use super::create::end_of_input;
use super::{EXIT_LABEL, generation};
use crate::call::{Call, Timeout};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::rpc::Cx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Exit, Status};
use crate::stdio::{self, Paths, Stdio};
use crate::watch::{Find, Process, Watch};

/// The step in which a container without a task is found to be one.
pub(super) const LOOK_UP: &str = "look the task up";

pub(crate) fn probe(context: &Arc<Context>, id: &str, call: &Call) -> Result<Message> {
    identifier::check("id", id)?;
    let polls = call.timeout == Timeout::Poll;
    if let Some(message) = known(context, id, call, polls)? {
        return Ok(message);
    }
    if polls {
        // The look at the server is to be given a little time, the wait is not.
        let call = Call { timeout: Timeout::After(POLL_LOOK), ..call.clone() };
        let operation = context.begin(&call)?;
        let watch = watch(context, &operation.cx, id).map_err(|e| match e.kind() {
            ErrorKind::Timeout => e.with_kind(ErrorKind::WouldBlock),
            _ => e,
        })?;
        return watch.exit().ok_or_else(not_yet);
    }
    let operation = context.begin_with(call, None)?;
    let bounded =
        operation.cx.with_limits(operation.cx.limits.at_most(context.config.call_timeout));
    watch(context, &bounded, id)?.wait(&operation.cx.limits)
}

/// What is known of a container without a call: the exit that nobody was told yet. Who polls is told as
/// well that one which is watched has not ended. An exit that was told may be that of an earlier
/// container of the id.
fn known(context: &Context, id: &str, call: &Call, polls: bool) -> Result<Option<Message>> {
    let operation = context.begin(call)?;
    let Some(watch) = context.watches.find(&operation.cx.namespace, id) else { return Ok(None) };
    match watch.untold() {
        None if polls && watch.exit().is_none() => Err(not_yet()),
        untold => Ok(untold),
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::WouldBlock, "the container's process has not ended").with_retryable(true)
}

/// How long the look at the server may take where the caller polls.
const POLL_LOOK: Duration = Duration::from_secs(1);

/// The watch of a container's process. Where this client has none yet, it begins to watch what the
/// server has, which may have ended before.
pub(super) fn watch(context: &Arc<Context>, cx: &Cx, id: &str) -> Result<Arc<Watch>> {
    if let Some(watch) = context.watches.find(&cx.namespace, id) {
        if watch.exit().is_none() {
            return Ok(watch);
        }
        // It has ended: its id may be another container's by now, or another process its container's.
        match containers::get(cx, id) {
            Ok(record) if generation(&record) != watch.process.generation => {
                context.watches.forget(&watch);
                return adopt(context, cx, &record, None);
            }
            Ok(record) if has_another_task(cx, &watch) => {
                context.watches.forget(&watch);
                return adopt(context, cx, &record, None);
            }
            // Also where it is gone or cannot be asked for: what is known of it stays true.
            _ => return Ok(watch),
        }
    }
    adopt(context, cx, &containers::get(cx, id).step("look the record up")?, None)
}

/// Whether a container whose process has ended has another one: somebody has deleted the task and made
/// one anew.
pub(super) fn has_another_task(cx: &Cx, watch: &Watch) -> bool {
    tasks::get(cx, watch.container(), "")
        .is_ok_and(|found| found.pid != 0 && found.pid != watch.process.pid)
}

/// Begins to watch the process that the server has for a record, or tells what the record says of its
/// end. With `stdio`, its streams are taken over as well.
pub(super) fn adopt(
    context: &Arc<Context>,
    cx: &Cx,
    record: &Container,
    stdio: Option<Stdio>,
) -> Result<Arc<Watch>> {
    let watches = &context.watches;
    let generation = generation(record);
    let cleanup = Cleanup::of(record);
    // Who only looks at a container leaves it to its owner.
    let after = stdio
        .as_ref()
        .and_then(|_| cleanup::job(context, &cx.namespace, &record.id, &generation, cleanup));
    let found = match tasks::get(cx, &record.id, "") {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // The task may have been deleted and the record kept.
            let exit = recorded_exit(record)
                .ok_or_else(|| e.context("the container has no task").step(LOOK_UP))?;
            let find = Find {
                process: Process::new(0, generation, None),
                paths: Paths::default(),
                started: true,
                after,
                exit: Some(exit),
            };
            return watches.adopt(cx, &record.id, find);
        }
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    if found.status == Status::Unknown {
        let why = "the container's shim does not answer";
        return Err(Error::new(ErrorKind::Unavailable, why).step(LOOK_UP));
    }
    let exit = (found.status == Status::Stopped).then_some(found.exit);
    let pidfd = match watches.pidfd(found.pid).filter(|_| exit.is_none()) {
        // Whether it was opened before another process got the number.
        Some(pidfd) => {
            let now = tasks::get(cx, &record.id, "").step(LOOK_UP)?;
            let same = now.pid == found.pid && now.status != Status::Stopped;
            same.then_some(pidfd)
        }
        None => None,
    };
    let paths = Paths {
        stdin: found.stdin,
        stdout: found.stdout,
        stderr: found.stderr,
        terminal: found.terminal,
    };
    let find = Find {
        process: Process::new(found.pid, generation, pidfd),
        paths: paths.clone(),
        started: found.status != Status::Created,
        after,
        exit,
    };
    let watch = watches.adopt(cx, &record.id, find).step("watch the task")?;
    if let Some(stdio) = stdio.filter(|_| watch.stdio().is_none()) {
        take_streams(context, cx, &watch, &paths, stdio)?;
    }
    Ok(watch)
}

/// Takes the streams of a process over, as far as their FIFOs stand.
fn take_streams(
    context: &Context,
    cx: &Cx,
    watch: &Watch,
    paths: &Paths,
    stdio: Stdio,
) -> Result<()> {
    let id = watch.container();
    let state_dir = &context.config.state_dir;
    let reopened = match stdio::reopen(&context.pump, state_dir, paths, stdio) {
        Ok(reopened) => reopened,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            log::warn!("the streams of container {id} are gone: {e}");
            None
        }
        Err(e) => return Err(e.step("reopen stdio")),
    };
    let Some(prepared) = reopened else { return Ok(()) };
    let end = end_of_input(context, &cx.namespace, id, paths.terminal);
    let attached = prepared.attach(end).step("attach stdio")?;
    if watch.is_started() && watch.exit().is_none() {
        attached.start_input().step("start stdin")?;
    }
    context.watches.take_streams(watch, attached);
    Ok(())
}

/// The message about a container whose process was never started, and is not to be any more.
pub(super) fn never_ran(context: &Context, cx: &Cx, id: &str) -> Message {
    let why = Error::new(ErrorKind::NotFound, "the container's process never ran");
    Message::new(Body {
        origin: Origin::Recovered,
        namespace: cx.namespace.clone(),
        container_id: id.into(),
        error: Some(why.clone()),
        start_error: Some(why),
        ..context.bus.body(MessageKind::Exit)
    })
}

/// The label that keeps the exit of a container of this generation.
pub(super) fn exit_label(exit: Exit, generation: &str) -> (String, String) {
    let nanos = exit.at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_nanos());
    let at = nanos.map_or_else(|| "-".into(), |nanos| nanos.to_string());
    (EXIT_LABEL.into(), format!("{} {at} {generation}", exit.code))
}

/// The exit that the record's label keeps.
pub(super) fn recorded_exit(record: &Container) -> Option<Exit> {
    let mut words = record.labels.get(EXIT_LABEL)?.split(' ');
    let (code, at, of) = (words.next()?, words.next()?, words.next()?);
    if of != generation(record) {
        return None;
    }
    let since = at.parse().ok().map(Duration::from_nanos);
    Some(Exit {
        code: code.parse().ok()?,
        at: since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::GENERATION_LABEL;
    use crate::rpc::Any;

    #[test]
    fn a_label_keeps_the_exit_of_its_own_generation() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789);
        for exit in [Exit { code: 0, at: None }, Exit { code: 137, at: Some(at) }] {
            for of in ["one", "another"] {
                let labels = [(GENERATION_LABEL.into(), "one".into())];
                let labels = labels.into_iter().chain([exit_label(exit, of)]).collect();
                let record = Container { labels, spec: Any::default(), ..Default::default() };
                assert_eq!(recorded_exit(&record), (of == "one").then_some(exit));
            }
        }
        let labels = [(EXIT_LABEL.into(), "3 - ".into())].into();
        // One that others have made is told by the time of its creation.
        let record = Container { labels, ..Default::default() };
        assert_eq!(recorded_exit(&record), Some(Exit { code: 3, at: None }));
        for bad in ["", "3", "3 -", "x - ", "3 - y"] {
            let labels = [(EXIT_LABEL.into(), bad.into())].into();
            assert_eq!(recorded_exit(&Container { labels, ..Default::default() }), None);
        }
    }
}
