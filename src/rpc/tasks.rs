//! `containerd.services.tasks.v1.Tasks`.

use std::time::SystemTime;

use protobuf::well_known_types::empty::Empty;
use protobuf::{Message, MessageField};

use super::any::{Any, time};
use super::channel::Ctx;
use super::method::{Reply, call, methods, start as send};
use super::snapshots::Mount;
use super::status::start_failure;
use super::wire::runc::ProcessDetails;
use super::wire::task_types::{Process as WireProcess, Status as WireStatus};
use super::wire::tasks::{
    CloseIORequest, CreateTaskRequest, CreateTaskResponse, DeleteProcessRequest, DeleteResponse,
    DeleteTaskRequest, ExecProcessRequest, GetRequest, GetResponse, KillRequest, ListPidsRequest,
    ListPidsResponse, ListTasksRequest, ListTasksResponse, PauseTaskRequest, ResumeTaskRequest,
    StartRequest, StartResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.tasks.v1.Tasks":
    CREATE = change "Create" (CreateTaskRequest) -> CreateTaskResponse;
    START = change "Start" (StartRequest) -> StartResponse;
    DELETE = change "Delete" (DeleteTaskRequest) -> DeleteResponse;
    EXEC = change "Exec" (ExecProcessRequest) -> Empty;
    DELETE_PROCESS = change "DeleteProcess" (DeleteProcessRequest) -> DeleteResponse;
    GET = read "Get" (GetRequest) -> GetResponse;
    LIST = read "List" (ListTasksRequest) -> ListTasksResponse;
    KILL = change "Kill" (KillRequest) -> Empty;
    CLOSE_IO = change "CloseIO" (CloseIORequest) -> Empty;
    LIST_PIDS = read "ListPids" (ListPidsRequest) -> ListPidsResponse;
    PAUSE = change "Pause" (PauseTaskRequest) -> Empty;
    RESUME = change "Resume" (ResumeTaskRequest) -> Empty;
    UPDATE = change "Update" (UpdateTaskRequest) -> Empty;
    WAIT = read "Wait" (WaitRequest) -> WaitResponse;
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The shim does not answer, or answers with an unknown state.
    Unknown,
    Created,
    Running,
    Stopped,
    /// It has exited, and the shim does not know how yet (`STOPPED` without a time; the code, 0, means
    /// nothing). If a deletion broke off before the start, the shim never will.
    Ending,
    Paused,
    Pausing,
}

impl Status {
    /// Whether it was started and has not exited.
    pub(crate) fn runs(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Pausing)
    }

    /// The word for it in an error.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Unknown => "in an unknown state",
            Status::Created => "created",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Ending => "ending",
            Status::Paused => "paused",
            Status::Pausing => "pausing",
        }
    }
}

/// How a process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    /// `None` if the process never ran: on the wire it is Go's zero time.
    pub(crate) at: Option<SystemTime>,
}

/// A process, as the server describes it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) status: Status,
    /// Only the exit of a stopped process has a meaning.
    pub(crate) exit: Exit,
    /// The paths of its streams that the shim got.
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

impl Process {
    /// A process without streams that was just started.
    pub(crate) fn running(pid: u32) -> Process {
        Process {
            pid,
            status: Status::Running,
            exit: Exit { code: 0, at: None },
            stdin: String::new(),
            stdout: String::new(),
            stderr: String::new(),
            terminal: false,
        }
    }

    fn from_wire(process: WireProcess) -> Process {
        let exit = Exit { code: process.exit_status, at: time(process.exited_at.as_ref()) };
        Process {
            pid: process.pid,
            status: match process.status.enum_value() {
                Ok(WireStatus::CREATED) => Status::Created,
                Ok(WireStatus::RUNNING) => Status::Running,
                Ok(WireStatus::STOPPED) if exit.at.is_none() => Status::Ending,
                Ok(WireStatus::STOPPED) => Status::Stopped,
                Ok(WireStatus::PAUSED) => Status::Paused,
                Ok(WireStatus::PAUSING) => Status::Pausing,
                Ok(WireStatus::UNKNOWN) | Err(_) => Status::Unknown,
            },
            exit,
            stdin: process.stdin,
            stdout: process.stdout,
            stderr: process.stderr,
            terminal: process.terminal,
        }
    }
}

/// A task that is to be created.
#[derive(Clone, Debug, Default)]
pub(crate) struct Create {
    pub(crate) id: String,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Creates the task of a container. Its process is created, and does not run yet. Returns its pid.
pub(crate) fn create(ctx: &Ctx, task: Create) -> Result<u32> {
    let request = CreateTaskRequest {
        container_id: task.id,
        rootfs: task.rootfs.into_iter().map(Mount::into_wire).collect(),
        stdin: task.stdin,
        stdout: task.stdout,
        stderr: task.stderr,
        terminal: task.terminal,
        ..Default::default()
    };
    let created = call(ctx, &CREATE, &request).missing(ErrorReason::NoContainer);
    created.map(|response| response.pid).map_err(start_failure)
}

/// Starts a process that was created. An empty `exec` means the container's first process.
pub(crate) fn start(ctx: &Ctx, id: &str, exec: &str) -> Result<u32> {
    let request =
        StartRequest { container_id: id.into(), exec_id: exec.into(), ..Default::default() };
    let started = call(ctx, &START, &request).missing(ErrorReason::NoTask);
    started.map(|response| response.pid).map_err(start_failure)
}

/// Asks for a process's exit. The server answers when the process has exited, and again until its
/// deletion.
pub(crate) fn wait(ctx: &Ctx, id: &str, exec: &str) -> Result<Reply<Exit>> {
    let request =
        WaitRequest { container_id: id.into(), exec_id: exec.into(), ..Default::default() };
    send(ctx, &WAIT, &request, |response| Exit {
        code: response.exit_status,
        at: time(response.exited_at.as_ref()),
    })
}

/// Deletes a task whose process has exited or never ran. Returns the pid and the exit.
pub(crate) fn delete(ctx: &Ctx, id: &str) -> Result<(u32, Exit)> {
    let request = DeleteTaskRequest { container_id: id.into(), ..Default::default() };
    call(ctx, &DELETE, &request).map(deleted)
}

/// A process that is to be executed in a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) exec: String,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
    /// See [`Any::process`].
    pub(crate) spec: Any,
}

/// Adds a process to a container that runs. It does not run, and has no pid, until it is started.
pub(crate) fn exec(ctx: &Ctx, exec: Exec) -> Result<()> {
    let request = ExecProcessRequest {
        container_id: exec.id,
        exec_id: exec.exec,
        stdin: exec.stdin,
        stdout: exec.stdout,
        stderr: exec.stderr,
        terminal: exec.terminal,
        spec: MessageField::some(exec.spec.into_wire()),
        ..Default::default()
    };
    call(ctx, &EXEC, &request).map(drop)
}

/// Deletes an exec whose process has exited or never ran. Returns the pid and the exit.
pub(crate) fn delete_exec(ctx: &Ctx, id: &str, exec: &str) -> Result<(u32, Exit)> {
    let request = DeleteProcessRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        ..Default::default()
    };
    call(ctx, &DELETE_PROCESS, &request).map(deleted)
}

fn deleted(response: DeleteResponse) -> (u32, Exit) {
    let exit = Exit { code: response.exit_status, at: time(response.exited_at.as_ref()) };
    (response.pid, exit)
}

/// Looks a process up.
pub(crate) fn get(ctx: &Ctx, id: &str, exec: &str) -> Result<Process> {
    let request =
        GetRequest { container_id: id.into(), exec_id: exec.into(), ..Default::default() };
    call(ctx, &GET, &request).and_then(process)
}

/// The same without blocking.
pub(crate) async fn get_async(ctx: Ctx, id: String, exec: String) -> Result<Process> {
    let request = GetRequest { container_id: id, exec_id: exec, ..Default::default() };
    send(&ctx, &GET, &request, process)?.await?
}

fn process(response: GetResponse) -> Result<Process> {
    response
        .process
        .into_option()
        .map(Process::from_wire)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no process"))
}

/// The first processes of the namespace's tasks, each with its container's id. containerd ignores
/// the filter that the request has a field for.
pub(crate) fn list(ctx: &Ctx) -> Result<Vec<(String, Process)>> {
    call(ctx, &LIST, &ListTasksRequest::new()).map(processes)
}

/// The same without blocking.
pub(crate) async fn list_async(ctx: Ctx) -> Result<Vec<(String, Process)>> {
    send(&ctx, &LIST, &ListTasksRequest::new(), processes)?.await
}

fn processes(response: ListTasksResponse) -> Vec<(String, Process)> {
    // In the list, `id` is the container's id, and `container_id` is empty (containerd 1.6 to 2.1).
    response.tasks.into_iter().map(|p| (p.id.clone(), Process::from_wire(p))).collect()
}

/// Sends a signal to a process. With `all`, sends it to every process of the container.
pub(crate) fn kill(ctx: &Ctx, id: &str, exec: &str, signal: u32, all: bool) -> Result<()> {
    let request = KillRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        signal,
        all,
        ..Default::default()
    };
    call(ctx, &KILL, &request).map(drop)
}

/// Sends a signal to one process without blocking.
pub(crate) async fn kill_async(ctx: Ctx, id: &str, exec: &str, signal: u32) -> Result<()> {
    let request =
        KillRequest { container_id: id.into(), exec_id: exec.into(), signal, ..Default::default() };
    send(&ctx, &KILL, &request, drop)?.await
}

/// Closes the shim's end of a process's stdin. Before the start this has no effect.
pub(crate) fn close_stdin(ctx: &Ctx, id: &str, exec: &str) -> Result<Reply<()>> {
    let request = CloseIORequest {
        container_id: id.into(),
        exec_id: exec.into(),
        stdin: true,
        ..Default::default()
    };
    send(ctx, &CLOSE_IO, &request, drop)
}

/// The pids of all processes of a container, each with the id of the exec that it is the first process
/// of.
pub(crate) fn list_pids(ctx: &Ctx, id: &str) -> Result<Vec<(u32, Option<String>)>> {
    let request = ListPidsRequest { container_id: id.into(), ..Default::default() };
    let processes = call(ctx, &LIST_PIDS, &request)?.processes.into_iter();
    Ok(processes
        .map(|process| {
            let details = process.info.into_option();
            (process.pid, details.and_then(|info| exec_id(&info.type_url, &info.value)))
        })
        .collect())
}

/// The id that runc's shim gives in the details of a process. Another shim may give other details.
fn exec_id(type_url: &str, details: &[u8]) -> Option<String> {
    if !type_url.ends_with("containerd.runc.v1.ProcessDetails") {
        return None;
    }
    let id = ProcessDetails::parse_from_bytes(details).ok()?.exec_id;
    Some(id).filter(|id| !id.is_empty())
}

/// Pauses the processes of a container.
pub(crate) fn pause(ctx: &Ctx, id: &str) -> Result<()> {
    let request = PauseTaskRequest { container_id: id.into(), ..Default::default() };
    call(ctx, &PAUSE, &request).map(drop)
}

/// Resumes the processes of a container that is paused.
pub(crate) fn resume(ctx: &Ctx, id: &str) -> Result<()> {
    let request = ResumeTaskRequest { container_id: id.into(), ..Default::default() };
    call(ctx, &RESUME, &request).map(drop)
}

/// Changes the resources of a container: the JSON of `linux.resources`. Without any, the shim would die,
/// and the container with it (containerd 1.6 to 2.1).
pub(crate) fn update(ctx: &Ctx, id: &str, resources: Vec<u8>) -> Result<()> {
    let request = UpdateTaskRequest {
        container_id: id.into(),
        resources: MessageField::some(Any::resources(resources).into_wire()),
        ..Default::default()
    };
    call(ctx, &UPDATE, &request).map(drop)
}
