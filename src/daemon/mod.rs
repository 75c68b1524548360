//! A private containerd: started, waited for, supervised, stopped and cleaned up after.

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

/// How long a stop may take until the files are removed, unless the call says otherwise; a drop
/// takes no longer either.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a stop asks the containerd to end its containers, before it does so itself.
const TASKS_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one task of these may hold the others up: its shim may be stuck.
const TASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a containerd may take to end by itself.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);

/// Without these no container runs.
const NEEDED_PLUGINS: [(&str, &str); 5] = [
    ("io.containerd.content.v1", "content"),
    ("io.containerd.metadata.v1", "bolt"),
    ("io.containerd.snapshotter.v1", "overlayfs"),
    ("io.containerd.runtime.v2", "task"),
    ("io.containerd.grpc.v1", "tasks"),
];

/// A private containerd of this process, without CRI. Dropped, it is stopped as by [`Daemon::stop`]
/// with the default timeout.
///
/// A containerd that dies by itself is started again, at the same address and with the environment
/// of the start: the first time at once, then after 100 ms, doubled each time up to 10 s, for as long
/// as it takes; one that has run for 30 s makes the next time the first again. Its containers live
/// on meanwhile, and clients that are open find it again by themselves. What it died of is logged,
/// and told by [`Daemon::last_error`]. One that hangs is not dead, and left alone: it shows in calls
/// that time out.
///
/// When this process dies, the kernel kills containerd. With [`DaemonConfig::outlive_owner`] it runs
/// on, unsupervised (unless a service manager ends it with the process's control group). Either way
/// the containers live on, and the next daemon that is started in the same directory has them: it
/// ends a containerd that still runs there and starts its own. While the owner lives a second
/// daemon in the directory is refused.
///
/// Two things of its containers are the machine's and not the directory's: runc's state
/// (`/run/containerd/runc/<namespace>/<id>`) and their cgroups. So a container's id and namespace
/// together must be unlike those of any other containerd's on the machine.
#[derive(Debug)]
pub struct Daemon {
    recipe: Arc<Recipe>,
    address: String,
    supervisor: Supervisor,
    /// The process that it belongs to.
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
    /// Starts one, and waits until it answers and its plugins are loaded.
    ///
    /// Blocks for at most 20 s unless `call` says otherwise. Fails with
    /// [`ErrorKind::InvalidArgument`] for a directory that cannot be used, with
    /// [`ErrorKind::NotFound`] where containerd, its shim or runc is not installed, with
    /// [`ErrorKind::PermissionDenied`] where what is named as the binary cannot be run, with
    /// [`ErrorKind::FailedPrecondition`] where another daemon runs in the directory, where
    /// containerd ended before it was ready (the error holds the end of its log) or did not load a
    /// plugin that containers need. What a failed start had made is removed, which may take up to
    /// 10 s beyond the call's timeout.
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
            // A predecessor's, where the process died and its containerd did not.
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
            // Whatever ended the start, this has a time of its own.
            if end(&supervisor, &Limits::within(TERM_TIMEOUT + KILL_TIMEOUT)).is_ok() {
                directory.abandon();
            }
            return Err(error);
        }
        supervisor.supervise(config.restart);
        Ok(Daemon {
            address: directory.socket().to_string_lossy().into_owned(),
            recipe,
            supervisor,
            owner: std::process::id(),
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
        })
    }

    /// The address of its socket, for [`crate::ClientConfig::address`].
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The id of its process: another after each restart, and 0 while none runs.
    ///
    /// This and what follows tells of the moment, without waiting. In a child of the process it
    /// gives what it gives where nothing ever ran.
    pub fn pid(&self) -> u32 {
        let process = self.supervisor().map(Supervisor::process);
        process.filter(|process| !process.has_ended()).map_or(0, |process| process.id())
    }

    /// Whether its process runs. Just started again, it may not be listening yet.
    pub fn is_running(&self) -> bool {
        self.pid() != 0
    }

    /// How many restarts there were, those that failed included.
    pub fn restarts(&self) -> u64 {
        self.supervisor().map_or(0, Supervisor::restarts)
    }

    /// What containerd died of last, or why the last restart failed. It stays after a restart that
    /// succeeds.
    pub fn last_error(&self) -> Option<Error> {
        self.supervisor().and_then(Supervisor::last_error)
    }

    /// Not for a child of the process, where a thread that is not there may hold its lock.
    fn supervisor(&self) -> Option<&Supervisor> {
        (std::process::id() == self.owner).then_some(&self.supervisor)
    }

    /// Stops it: its containers are killed and deleted, then it is ended, and its directory removed
    /// with all that is in it. So it does where containerd is dead. Once a stop has begun, also one
    /// that fails, nothing is started again.
    ///
    /// Blocks for at most 60 s unless `call` says otherwise, then until the files are removed,
    /// however long that takes. A process that the kernel does not end although it was killed is
    /// waited for up to 5 s more. Stopping again does nothing; after a failure it takes up where it
    /// stopped. A file that is not the daemon's is left in the directory, which then stays.
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
            // Of what fails here the rest takes care.
            if let Err(error) = end_tasks(directory, &limits.at_most(TASKS_TIMEOUT)) {
                log::warn!("{}: {error}", self.address);
            }
        }
        end(&self.supervisor, limits).step("end containerd")?;
        leftovers::remove(directory, &self.recipe.path, limits)?;
        directory.remove().step("remove the directory")
    }

    /// Leaves it running, and the directory to the next. The thread stays as long as it runs, to
    /// reap it.
    fn let_go(&self) {
        if let Err(error) = self.supervisor.end(&Limits::within(KILL_TIMEOUT)) {
            log::warn!("{}: {error}", self.address);
        }
        self.recipe.directory.release();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In a child of the process it is not the child's to stop.
        if std::process::id() != self.owner {
            return;
        }
        // Where a stop has begun it is to be stopped.
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
        // Before somebody listens gRPC would only learn to wait.
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

/// Kills and deletes every task. All are killed before the first is waited for.
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

/// Ends the supervision and then the containerd: asked first, killed then.
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
