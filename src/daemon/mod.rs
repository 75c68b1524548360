//! A private containerd: its start, its supervision and its stop.

mod config;
mod directory;
mod leftovers;
mod process;
mod supervisor;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

pub use self::config::DaemonConfig;
use self::directory::Directory;
use self::process::{KILL_TIMEOUT, Process, SearchPath, tick};
use self::supervisor::{LaunchConfig, Supervisor};
use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::rpc::{self, Connection, Ctx};
use crate::submit;
use crate::wait::block_on;

/// How long a stop asks the containerd to end its containers, before it does so itself.
const TASKS_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one task may delay the others: its shim may be stuck.
const TASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a containerd may take to end after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);

/// The plugins without which no container runs.
const NEEDED_PLUGINS: [(&str, &str); 5] = [
    ("io.containerd.content.v1", "content"),
    ("io.containerd.metadata.v1", "bolt"),
    ("io.containerd.snapshotter.v1", "overlayfs"),
    ("io.containerd.runtime.v2", "task"),
    ("io.containerd.grpc.v1", "tasks"),
];

/// A private containerd of this process, without CRI. The drop stops it as [`Daemon::stop`] does,
/// with the default timeout.
///
/// If containerd dies by itself, it is started again, at the same address and with the environment
/// of the start: the first time at once, then after 100 ms, and after twice the pause each time up
/// to 10 s, without an end. Once it has run for 30 s, the pauses begin again. Its containers run on
/// meanwhile, and open clients connect again by themselves. The cause of death is logged, and
/// [`Daemon::last_error`] has it. A containerd that hangs is not dead, and nothing is done about
/// it: calls time out.
///
/// When this process dies, the kernel kills containerd. With [`DaemonConfig::outlive_owner`]
/// containerd runs on without supervision (unless a service manager kills it with the process's
/// control group). Either way the containers run on, and the next daemon that is started in the
/// same directory takes them over: it kills a containerd that still runs there, and starts its own.
/// While the owner lives, a second daemon in the directory is refused.
///
/// Two things of the containers belong to the machine and not to the directory: runc's state
/// (`/run/containerd/runc/<namespace>/<id>`) and the cgroups. So no other containerd of the machine
/// may have a container with the same id and namespace.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, Daemon, DaemonConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let daemon = Daemon::start(&DaemonConfig::new("/run/example/containerd"), &Call::new())?;
/// let config = ClientConfig::new().address(daemon.address());
/// let client = Client::open(&config, &Call::new())?;
/// # drop(client);
/// daemon.stop(&Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the drop stops the daemon"]
pub struct Daemon {
    launch: Arc<LaunchConfig>,
    address: String,
    supervisor: Supervisor,
    /// The process that owns it.
    owner: u32,
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Running,
    Stopping,
    Stopped,
}

impl Daemon {
    /// How long a start may take if the call names no timeout.
    pub const START_TIMEOUT: Duration = Duration::from_secs(20);

    /// How long a stop may take until the files are removed, if the call names no timeout. A drop takes
    /// no longer either.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);

    /// Starts a containerd, and waits until it answers and its plugins are loaded.
    ///
    /// Blocks for at most 20 s unless `call` says otherwise. Fails with
    /// [`ErrorKind::InvalidArgument`] if the directory cannot be used; with [`ErrorKind::NotFound`]
    /// if containerd, its shim or runc is not installed; with [`ErrorKind::PermissionDenied`] if
    /// the binary cannot be run; and with [`ErrorKind::FailedPrecondition`] if another daemon runs
    /// in the directory, if containerd ended before it was ready (the error has the end of its
    /// log), or if it did not load a plugin that containers need. A failed start removes what it
    /// has made, which may take up to 10 s beyond the call's timeout.
    pub fn start(config: &DaemonConfig, call: &Call) -> Result<Daemon> {
        Daemon::start_in(config, &call.limits(Some(Daemon::START_TIMEOUT)))
            .at("daemon_start", &config.directory.to_string_lossy())
    }

    fn start_in(config: &DaemonConfig, limits: &Limits) -> Result<Daemon> {
        submit::begin_long_operation()?;
        rpc::check_process()?;
        rpc::check_threads()?;
        limits.check()?;
        let (path, binary) = SearchPath::new(config)?;
        let directory = Arc::new(Directory::open(&config.directory, limits)?);
        let launch = Arc::new(LaunchConfig {
            directory: directory.clone(),
            binary,
            path,
            environment: std::env::vars_os().collect(),
            outlives_owner: config.outlive_owner,
        });
        let started = (|| {
            // An earlier process may have died without its containerd.
            leftovers::kill_daemons(&directory)?;
            directory.prepare()?;
            Supervisor::start(launch.clone())
        })();
        let supervisor = match started {
            Ok(supervisor) => supervisor,
            Err(error) => {
                directory.abandon();
                return Err(error);
            }
        };
        if let Err(error) = wait_until_ready(&launch, &supervisor.process(), limits) {
            // The clean-up has its own time, because the call's time may be over.
            if end(&supervisor, &Limits::within(TERM_TIMEOUT + KILL_TIMEOUT)).is_ok() {
                directory.abandon();
            }
            return Err(error);
        }
        supervisor.supervise(config.restart);
        Ok(Daemon {
            address: directory.socket().to_string_lossy().into_owned(),
            launch,
            supervisor,
            owner: std::process::id(),
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
        })
    }

    /// The address of the socket, for [`crate::ClientConfig::address`].
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its directory: [`DaemonConfig::directory`].
    pub fn directory(&self) -> &Path {
        self.launch.directory.path()
    }

    /// The pid of containerd. It changes with each restart, and is 0 while none runs.
    ///
    /// This method, `is_running`, `restarts` and `last_error` do not block. In a child of the
    /// process they answer as if containerd had never run.
    pub fn pid(&self) -> u32 {
        let process = self.supervisor().map(Supervisor::process);
        process.filter(|process| !process.has_ended()).map_or(0, |process| process.id())
    }

    /// Whether containerd runs. Just after a restart it may not be listening yet.
    pub fn is_running(&self) -> bool {
        self.pid() != 0
    }

    /// How many restarts there were, including failed ones.
    pub fn restarts(&self) -> u64 {
        self.supervisor().map_or(0, Supervisor::restarts)
    }

    /// Why containerd died last, or why the last restart failed. It stays after a successful restart.
    pub fn last_error(&self) -> Option<Error> {
        self.supervisor().and_then(Supervisor::last_error)
    }

    /// `None` in a child of the process: a thread that the child does not have may hold the lock.
    fn supervisor(&self) -> Option<&Supervisor> {
        (std::process::id() == self.owner).then_some(&self.supervisor)
    }

    /// Stops containerd: kills and deletes its containers, ends containerd, and removes its
    /// directory with everything in it. If containerd is dead, the rest is done nevertheless. Once
    /// a stop has begun, containerd is not started again, even if the stop fails.
    ///
    /// Blocks for at most 60 s unless `call` says otherwise, and then until the files are removed,
    /// however long that takes. If the kernel does not end a process that was killed, it waits up
    /// to 5 s more. A second stop does nothing, or continues a stop that has failed. Files in the
    /// directory that are not the daemon's are left, and then the directory is left too.
    pub fn stop(&self, call: &Call) -> Result<()> {
        self.stop_within(&call.limits(Some(Daemon::STOP_TIMEOUT)))
            .at("daemon_stop", &self.directory().to_string_lossy())
    }

    fn stop_within(&self, limits: &Limits) -> Result<()> {
        submit::begin_long_operation()?;
        if std::process::id() != self.owner {
            return Err(Error::new(
                ErrorKind::Forked,
                "the process forked after the daemon was started; it belongs to the parent",
            ));
        }
        let mut phase = self.phase();
        loop {
            match *phase {
                Phase::Stopped => return Ok(()),
                Phase::Running => break,
                Phase::Stopping => {
                    limits.check().map_err(|e| e.context("another call is stopping it"))?;
                    phase = self
                        .changed
                        .wait_timeout(phase, tick(limits))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
        *phase = Phase::Stopping;
        drop(phase);
        let result = self.tear_down(limits);
        *self.phase() = if result.is_ok() { Phase::Stopped } else { Phase::Running };
        self.changed.notify_all();
        result
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tear_down(&self, limits: &Limits) -> Result<()> {
        limits.check()?;
        let directory = &*self.launch.directory;
        let process = self.supervisor.end(limits).step("end the supervision")?;
        if !process.has_ended() {
            // If this fails, the next steps end the tasks instead.
            if let Err(error) = end_tasks(directory, &limits.at_most(TASKS_TIMEOUT)) {
                log::warn!("{}: {error}", self.address);
            }
        }
        end(&self.supervisor, limits).step("end containerd")?;
        leftovers::remove(directory, &self.launch.path, limits)?;
        directory.remove().step("remove the directory")
    }

    /// Lets containerd run on, and leaves the directory to the next daemon. The thread stays as
    /// long as containerd runs, to wait for its exit.
    fn let_go(&self) {
        if let Err(error) = self.supervisor.end(&Limits::within(KILL_TIMEOUT)) {
            log::warn!("{}: {error}", self.address);
        }
        self.launch.directory.release();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A child of the process must not stop it.
        if std::process::id() != self.owner {
            return;
        }
        // A stop that has begun is continued.
        if self.launch.outlives_owner && !self.supervisor.is_over() {
            return self.let_go();
        }
        if let Err(error) = self.stop(&Call::new()) {
            log::warn!("{error}");
        }
    }
}

/// Waits until the containerd answers, and makes sure that it can run containers.
fn wait_until_ready(launch: &LaunchConfig, process: &Process, limits: &Limits) -> Result<()> {
    let directory = &*launch.directory;
    loop {
        if process.wait(Duration::from_millis(10)) {
            return Err(launch.end_of(process)).step("wait for containerd");
        }
        limits.check().map_err(|e| directory.with_log(e)).step("wait for containerd")?;
        // Before a process listens, a failed attempt of gRPC would only make its back-off longer.
        if UnixStream::connect(directory.socket()).is_err() {
            continue;
        }
        match rpc::introspection::plugins(&ctx(directory, limits.clone()), &[]) {
            Ok(plugins) => return check_plugins(&plugins).map_err(|e| directory.with_log(e)),
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(directory.with_log(error)).step("ask for the plugins"),
        }
    }
}

fn check_plugins(plugins: &[rpc::introspection::Plugin]) -> Result<()> {
    for (kind, id) in NEEDED_PLUGINS {
        let why = match plugins.iter().find(|plugin| plugin.kind == kind && plugin.id == id) {
            Some(plugin) => match &plugin.init_error {
                None => continue,
                Some(error) => error.as_str(),
            },
            None => "it has no such plugin",
        };
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("containerd did not load {kind}.{id}: {why}"),
        ))
        .step("look at the plugins");
    }
    Ok(())
}

fn ctx(directory: &Directory, limits: Limits) -> Ctx {
    Ctx::new(&Arc::new(Connection::new(&directory.socket())), "default", limits)
}

/// Kills and deletes every task. It kills all of them before it waits for the first.
fn end_tasks(directory: &Directory, limits: &Limits) -> Result<()> {
    let ctx = ctx(directory, limits.clone());
    let mut tasks = Vec::new();
    for namespace in rpc::namespaces::list(&ctx)? {
        let ctx = Ctx { namespace, ..ctx.clone() };
        for (id, _) in rpc::tasks::list(&ctx)? {
            tasks.push((ctx.clone(), id));
        }
    }
    let mut result = Ok(());
    let each = |ctx: &Ctx| ctx.with_limits(limits.at_most(TASK_TIMEOUT));
    for (ctx, id) in &tasks {
        if let Err(error) = rpc::tasks::kill(&each(ctx), id, "", Signal::KILL.as_raw() as u32, true)
        {
            result = Err(error.context(format!("killing {id}")));
        }
    }
    for (ctx, id) in &tasks {
        let ctx = each(ctx);
        let deleted = rpc::tasks::wait(&ctx, id, "")
            .and_then(|exit| block_on(&ctx.limits, exit)?)
            .and_then(|_| rpc::tasks::delete(&ctx, id));
        if let Err(error) = deleted {
            result = Err(error.context(format!("deleting {id}")));
        }
    }
    result
}

/// Ends the supervision, and then containerd: by SIGTERM first, then by SIGKILL.
fn end(supervisor: &Supervisor, limits: &Limits) -> Result<()> {
    let process = supervisor.end(limits)?;
    for (signal, timeout) in [(Signal::TERM, TERM_TIMEOUT), (Signal::KILL, KILL_TIMEOUT)] {
        process.signal(signal)?;
        if process.wait_within(&limits.at_most(timeout)) {
            supervisor.join(&limits.at_most(KILL_TIMEOUT));
            return Ok(());
        }
        limits.check()?;
    }
    Err(Error::new(ErrorKind::Timeout, format!("process {} does not end", process.id())))
}
