//! Looking containers up: one by its id, or all that match a filter.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::Value;

use super::task::LOOK_UP;
use crate::call::Call;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::filter;
use crate::identifier;
use crate::inner::Inner;
use crate::record::{Cleanup, ExitLabel, LABEL_PREFIX, OWNER_LABEL, ProcessOutcome, generation};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Exit, Process, Status};

/// A container, and the state of its process, at the time of the call.
///
/// ```no_run
/// # fn f(client: &ctrd::Client) -> ctrd::Result<()> {
/// use ctrd::{Call, ContainerStatus};
///
/// let web = [r#"labels."org.example.role"==web"#];
/// for container in client.list_containers(&web, &Call::new())? {
///     if container.status() == ContainerStatus::Stopped {
///         println!("{}: exit code {:?}", container.id(), container.exit_code());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ContainerInfo {
    id: String,
    image: String,
    labels: Vec<(String, String)>,
    owner: Option<String>,
    cleanup: Cleanup,
    runtime: String,
    snapshotter: String,
    snapshot_key: String,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
    terminal: bool,
    /// The generation as the record has it.
    generation: String,
    /// How the record says that a process ended.
    exit_label: Option<ExitLabel>,
    status: ContainerStatus,
    pid: Option<u32>,
    outcome: Option<ProcessOutcome>,
}

/// The state of a container's first process.
///
/// ```no_run
/// use ctrd::{Call, Client, ContainerStatus};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// if client.get_container("web", &Call::new())?.status() == ContainerStatus::Created {
///     client.start_container("web", &Call::new())?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContainerStatus {
    /// The container has no task: it was never created, or it was deleted after the exit.
    NoTask,
    /// The process was created and not started.
    Created,
    /// The process runs.
    Running,
    /// The process is paused.
    Paused,
    /// The process is about to be paused.
    Pausing,
    /// The process has ended.
    Stopped,
    /// The shim does not answer.
    Unknown,
}

impl ContainerInfo {
    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the image that it was made from. `None` if its record names none, as with a root
    /// file system that the caller prepared.
    pub fn image(&self) -> Option<&str> {
        some(&self.image)
    }

    /// The labels of the record, sorted, without those of this library (`io.ctrd.`).
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The value of one of these labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(label, _)| label.as_str().cmp(key)).ok()?;
        self.labels.get(found).map(|(_, value)| value.as_str())
    }

    /// The owner whose client made it ([`crate::ClientConfig::owner`]). `None` if another program made
    /// it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The parts that are removed after the exit.
    pub fn cleanup(&self) -> Cleanup {
        self.cleanup
    }

    /// The runtime, for example `io.containerd.runc.v2`.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The snapshotter of its root file system. `None` if that is no snapshot.
    pub fn snapshotter(&self) -> Option<&str> {
        some(&self.snapshotter)
    }

    /// The key of the snapshot that is its root file system. `None` if that is no snapshot.
    pub fn snapshot_key(&self) -> Option<&str> {
        some(&self.snapshot_key)
    }

    /// When its record was made, by the server's clock.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }

    /// When its record was last changed, by the server's clock.
    pub fn updated_at(&self) -> Option<SystemTime> {
        self.updated_at
    }

    /// Whether its process has a terminal.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// Tells this container from another of the same id, before or after it:
    /// [`crate::Message::generation`] is the same number.
    pub fn generation(&self) -> Option<u64> {
        generation::number(&self.generation)
    }

    /// The state of its process.
    pub fn status(&self) -> ContainerStatus {
        self.status
    }

    /// The id of its first process, in the server's pid namespace. `None` without a task, and if the
    /// shim does not answer and this client does not watch the container. After the exit another
    /// process may have the id.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The exit code of a process that has ended, also if its task is deleted and the record or this
    /// client knows it. `None` if the process has not ended, never ran, or no source has the code.
    pub fn exit_code(&self) -> Option<u32> {
        self.exit().map(|exit| exit.code)
    }

    /// When the process ended, by the server's clock. `None` if that is not known.
    pub fn exit_time(&self) -> Option<SystemTime> {
        self.exit().and_then(|exit| exit.at)
    }

    /// Whether it is known how the process ended, or that nobody knows how.
    pub(super) fn has_outcome(&self) -> bool {
        self.outcome.is_some()
    }

    fn exit(&self) -> Option<Exit> {
        match self.outcome {
            Some(ProcessOutcome::Exited(exit)) => Some(exit),
            Some(ProcessOutcome::NeverStarted | ProcessOutcome::Unknown) | None => None,
        }
    }

    /// The content of the record. The state of the process is not known yet.
    pub(super) fn new(record: Container) -> ContainerInfo {
        let (generation, exit_label) = (generation::of(&record), ExitLabel::of(&record));
        let (cleanup, terminal) = (Cleanup::of(&record), has_terminal(&record.spec.value));
        let Container { id, mut labels, image, runtime, snapshotter, snapshot_key, .. } = record;
        let owner = labels.remove(OWNER_LABEL);
        let mut labels: Vec<_> =
            labels.into_iter().filter(|(key, _)| !key.starts_with(LABEL_PREFIX)).collect();
        labels.sort();
        ContainerInfo {
            id,
            image,
            labels,
            owner,
            cleanup,
            runtime,
            snapshotter,
            snapshot_key,
            created_at: record.created_at,
            updated_at: record.updated_at,
            terminal,
            generation,
            exit_label,
            status: ContainerStatus::Unknown,
            pid: None,
            outcome: None,
        }
    }

    /// The same with the state of the process: of the task that the server has, if it has one, and as
    /// far as this client knows more. `missing` is the status without a task if this client waits for
    /// the exit.
    fn with_task(
        mut self,
        client: &Inner,
        namespace: &str,
        task: Option<&Process>,
        missing: ContainerStatus,
    ) -> ContainerInfo {
        let watch = client.watches.find(namespace, &self.id, None);
        let watch = watch.filter(|watch| watch.generation() == self.generation);
        let is_watched = watch.as_ref().is_some_and(|watch| watch.exit().is_none());
        self.status = match task {
            Some(task) => task.status.into(),
            None if is_watched => missing,
            None => ContainerStatus::NoTask,
        };
        self.pid = match task {
            Some(task) if task.pid != 0 => Some(task.pid),
            _ if is_watched && self.status == ContainerStatus::Unknown => {
                watch.as_ref().map(|watch| watch.pid)
            }
            _ => None,
        };
        if matches!(self.status, ContainerStatus::Stopped | ContainerStatus::NoTask) {
            // The state of another process of the container says nothing about this one.
            let is_its = |pid| task.is_none_or(|task| task.pid == pid);
            let recorded = self.exit_label.filter(|label| is_its(label.pid));
            let recorded = recorded.map(|label| label.outcome);
            let watch = watch.filter(|watch| is_its(watch.pid));
            let reported = watch.and_then(|watch| {
                let message = watch.exit()?;
                Some(ExitLabel::of_message(watch.pid, &message).outcome)
            });
            self.outcome = reported.or_else(|| match task {
                Some(task) => ProcessOutcome::of_process(task, recorded, false),
                None => recorded,
            });
        }
        self
    }
}

impl From<Status> for ContainerStatus {
    fn from(status: Status) -> ContainerStatus {
        match status {
            Status::Created => ContainerStatus::Created,
            Status::Running => ContainerStatus::Running,
            Status::Paused => ContainerStatus::Paused,
            Status::Pausing => ContainerStatus::Pausing,
            Status::Stopped | Status::Ending => ContainerStatus::Stopped,
            Status::Unknown => ContainerStatus::Unknown,
        }
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Whether a specification asks for a terminal. Most do not name one, and need not be parsed.
fn has_terminal(spec: &[u8]) -> bool {
    std::str::from_utf8(spec).is_ok_and(|spec| spec.contains("\"terminal\""))
        && serde_json::from_slice::<Value>(spec)
            .is_ok_and(|spec| spec.pointer("/process/terminal") == Some(&Value::Bool(true)))
}

/// Looks one container up.
pub(crate) fn get(client: &Inner, id: &str, call: &Call) -> Result<ContainerInfo> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let info = ContainerInfo::new(containers::get(ctx, id).step("look the record up")?);
    look_task_up(client, ctx, info)
}

/// Adds the state of the process. A shim that does not answer makes it [`ContainerStatus::Unknown`].
pub(super) fn look_task_up(
    client: &Inner,
    ctx: &Ctx,
    mut info: ContainerInfo,
) -> Result<ContainerInfo> {
    let task = match tasks::get(ctx, &info.id, "") {
        Ok(task) => Some(task),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        // The server's own time for the shim is over, and not that of the call.
        Err(e) if e.kind() == ErrorKind::Timeout && ctx.limits.check().is_ok() => {
            info.status = ContainerStatus::Unknown;
            return Ok(info);
        }
        Err(e) => return Err(e.step(LOOK_UP)),
    };
    Ok(info.with_task(client, &ctx.namespace, task.as_ref(), ContainerStatus::NoTask))
}

/// Lists containers: two calls, however many there are.
pub(crate) fn list(client: &Inner, filters: &[&str], call: &Call) -> Result<Vec<ContainerInfo>> {
    for (i, filter) in filters.iter().enumerate() {
        filter::check(&format!("filters[{i}]"), filter)?;
    }
    let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    // Before the tasks: else the task of a new container would be missing.
    let mut infos = Vec::new();
    containers::list(ctx, &filters, |record| infos.push(ContainerInfo::new(record)))
        .step("list the containers")?;
    if infos.is_empty() {
        return Ok(infos);
    }
    let tasks: HashMap<_, _> = tasks::list(ctx).step("list the tasks")?.into_iter().collect();
    let mut infos: Vec<_> = infos
        .into_iter()
        .map(|info| {
            let task = tasks.get(&info.id);
            // containerd may leave the task of a shim that does not answer out of the list.
            info.with_task(client, &ctx.namespace, task, ContainerStatus::Unknown)
        })
        .collect();
    infos.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(infos)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::Limits;
    use crate::client_config::ClientConfig;
    use crate::rpc::TestServer;

    #[test]
    fn ten_thousand_containers_are_listed() {
        const COUNT: usize = 10_000;
        let server = TestServer::of_many(COUNT);
        let client = Arc::new(Inner::new(ClientConfig::new(), &server.socket(), false));
        let infos = list(&client, &[], &Call::new()).unwrap();
        assert_eq!(infos.len(), COUNT);
        assert!(infos.iter().all(|info| info.status() == ContainerStatus::Running));
        assert!(infos.is_sorted_by_key(|info| info.id()));
        client.close(&Limits::default()).unwrap();
    }

    #[test]
    fn a_terminal_is_what_the_process_asks_for() {
        for (spec, expected) in [
            (r#"{"process":{"terminal":true}}"#, true),
            (r#"{"process":{"terminal":false}}"#, false),
            (r#"{"process":{"args":["\"terminal\":true"]},"terminal":true}"#, false),
            (r#"{"process":{}}"#, false),
            (r#""terminal""#, false),
            ("", false),
        ] {
            assert_eq!(has_terminal(spec.as_bytes()), expected, "{spec}");
        }
        assert!(!has_terminal(&[0xff]));
    }
}
