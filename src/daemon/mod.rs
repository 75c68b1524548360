//! A private containerd: start, wait until it is ready, supervise, stop and clean up.

mod config;
mod directory;
mod leftovers;
mod process;
mod supervisor;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

pub use self::config::DaemonConfig;
use self::directory::Directory;
use self::process::{KILL_TIMEOUT, Process, SearchPath, tick};
use self::supervisor::{Recipe, Supervisor};
use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::rpc::{self, Connection, Ctx};
use crate::submit;
use crate::wait::block_on;

/// How long a start may take, unless the call says otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a stop may take until it removes the files, unless the call says otherwise. This also
/// bounds a drop.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a stop lets containerd end its containers, before the stop ends them without
/// containerd.
const TASKS_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a stop waits for one task before it goes on to the next: the task's shim may be stuck.
const TASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a containerd may take to end by itself.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);

/// Without these plugins no container runs.
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
/// If containerd dies by itself, this library starts it again, at the same address and with the
/// environment of the first start. The first restart is immediate. The next one comes after 100 ms,
/// and the delay doubles up to 10 s, without an end. Once a containerd has run for 30 s, the delays
/// begin from the start. The containers go on running meanwhile, and open clients connect again by
/// themselves. The cause of the death is logged, and [`Daemon::last_error`] returns it. A
/// containerd that hangs is not restarted: calls to it time out.
///
/// When this process dies, the kernel kills containerd. With [`DaemonConfig::outlive_owner`]
/// containerd runs on without supervision, unless a service manager ends it with the process's
/// control group. In both cases the containers live on. The next daemon that is started in the same
/// directory takes them over: it ends a containerd that still runs there and starts its own. While
/// the owner lives, a second daemon in the directory is refused.
///
/// Two things of a container are not in the directory but shared by the whole machine: runc's state
/// (`/run/containerd/runc/<namespace>/<id>`) and the cgroups. So no other containerd on the machine
/// may have a container with the same namespace and id.
#[derive(Debug)]
pub struct Daemon {
    recipe: Arc<Recipe>,
    address: String,
    supervisor: Supervisor,
    /// The process that started it. A forked child must not stop it.
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
    /// Starts a containerd, and waits until it answers and its plugins are loaded.
    ///
    /// Blocks for at most 20 s unless `call` says otherwise. Fails with
    ///
    /// - [`ErrorKind::InvalidArgument`] if the directory cannot be used,
    /// - [`ErrorKind::NotFound`] if containerd, its shim or runc is not installed,
    /// - [`ErrorKind::PermissionDenied`] if the binary that the configuration names cannot be run,
    /// - [`ErrorKind::FailedPrecondition`] if another daemon runs in the directory, if containerd
    ///   ended before it was ready (the error holds the end of its log), or if it did not load a
    ///   plugin that containers need.
    ///
    /// A failed start removes what it made. That may take up to 10 s beyond the call's timeout.
    pub fn start(config: &DaemonConfig, call: &Call) -> Result<Daemon> {
        Daemon::start_in(config, &call.limits(Some(START_TIMEOUT)))
            .at("daemon_start", &config.directory.to_string_lossy())
    }

    fn start_in(config: &DaemonConfig, limits: &Limits) -> Result<Daemon> {
        submit::begin_long()?;
        rpc::check_process()?;
        rpc::check_threads()?;
        limits.check()?;
        let (path, binary) = SearchPath::new(config)?;
        let directory = Arc::new(Directory::open(&config.directory, limits)?);
        let recipe = Arc::new(Recipe {
            directory: directory.clone(),
            binary,
            path,
            environment: std::env::vars_os().collect(),
            outlives_owner: config.outlive_owner,
        });
        let started = (|| {
            // An earlier process may have died while its containerd lived on.
            leftovers::kill_daemons(&directory)?;
            directory.prepare()?;
            Supervisor::start(recipe.clone())
        })();
        let supervisor = match started {
            Ok(supervisor) => supervisor,
            Err(error) => {
                directory.abandon();
                return Err(error);
            }
        };
        if let Err(error) = wait_until_ready(&recipe, &supervisor.process(), limits) {
            // The clean-up has its own time, because the start may have failed at its deadline.
            if end(&supervisor, &Limits::within(TERM_TIMEOUT + KILL_TIMEOUT)).is_ok() {
                directory.abandon();
            }
            return Err(error);
        }
        supervisor.supervise(!config.no_restart);
        Ok(Daemon {
            address: directory.socket().to_string_lossy().into_owned(),
            recipe,
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

    /// The id of containerd's process. It changes with each restart, and is 0 while none runs.
    ///
    /// This method and the next three report the present state and do not wait. In a forked child
    /// they report what they would if containerd had never run.
    pub fn pid(&self) -> u32 {
        let process = self.supervisor().map(Supervisor::process);
        process.filter(|process| !process.has_ended()).map_or(0, |process| process.id())
    }

    /// Whether containerd's process runs. Just after a restart it may not listen yet.
    pub fn is_running(&self) -> bool {
        self.pid() != 0
    }

    /// How many restarts there were, including those that failed.
    pub fn restarts(&self) -> u64 {
        self.supervisor().map_or(0, Supervisor::restarts)
    }

    /// Why containerd died last, or why the last restart failed. A later restart that succeeds does
    /// not clear it.
    pub fn last_error(&self) -> Option<Error> {
        self.supervisor().and_then(Supervisor::last_error)
    }

    /// `None` in a forked child: a thread that does not exist there may hold the supervisor's lock.
    fn supervisor(&self) -> Option<&Supervisor> {
        (std::process::id() == self.owner).then_some(&self.supervisor)
    }

    /// Stops containerd: kills and deletes its containers, ends it, and removes its directory with
    /// everything in it. This also works if containerd is dead. Once a stop has begun, nothing is
    /// started again, even if the stop fails.
    ///
    /// Blocks for at most 60 s unless `call` says otherwise, and then for as long as the removal of
    /// the files takes. It waits up to 5 s more for a killed process that the kernel does not end.
    /// Stopping again does nothing; after a failed stop it goes on with what is left. If the
    /// directory has a file that is not the daemon's, the file and the directory stay.
    pub fn stop(&self, call: &Call) -> Result<()> {
        self.stop_within(&call.limits(Some(STOP_TIMEOUT)))
            .at("daemon_stop", &self.recipe.directory.path().to_string_lossy())
    }

    fn stop_within(&self, limits: &Limits) -> Result<()> {
        submit::begin_long()?;
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
        let directory = &*self.recipe.directory;
        let process = self.supervisor.end(limits).step("end the supervision")?;
        if !process.has_ended() {
            // The steps below also handle what fails here.
            if let Err(error) = end_tasks(directory, &limits.at_most(TASKS_TIMEOUT)) {
                log::warn!("{}: {error}", self.address);
            }
        }
        end(&self.supervisor, limits).step("end containerd")?;
        leftovers::remove(directory, &self.recipe.path, limits)?;
        directory.remove().step("remove the directory")
    }

    /// Leaves containerd running, and unlocks the directory for the next daemon. The thread lives
    /// as long as containerd, to reap it.
    fn let_go(&self) {
        if let Err(error) = self.supervisor.end(&Limits::within(KILL_TIMEOUT)) {
            log::warn!("{}: {error}", self.address);
        }
        self.recipe.directory.release();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A forked child must not stop it.
        if std::process::id() != self.owner {
            return;
        }
        // If a stop has begun, containerd is to be stopped even if it may outlive its owner.
        if self.recipe.outlives_owner && !self.supervisor.is_over() {
            return self.let_go();
        }
        if let Err(error) = self.stop(&Call::new()) {
            log::warn!("{error}");
        }
    }
}

/// Waits until the containerd answers, and makes sure that it can run containers.
fn wait_until_ready(recipe: &Recipe, process: &Process, limits: &Limits) -> Result<()> {
    let directory = &*recipe.directory;
    loop {
        if process.wait(Duration::from_millis(10)) {
            return Err(recipe.end_of(process)).step("wait for containerd");
        }
        limits.check().map_err(|e| directory.with_log(e)).step("wait for containerd")?;
        // If nobody listens yet, gRPC would fail, and wait before it connects again.
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

/// Kills and deletes every task. It kills them all before it waits for the first.
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

/// Ends the supervision and then containerd: with SIGTERM first, and SIGKILL if that is not enough.
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
