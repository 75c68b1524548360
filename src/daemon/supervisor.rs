//! The supervisor: it starts a containerd, and starts it again when it has died.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::leftovers;
use super::process::{Process, SearchPath, check_program, tick};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sys;

/// How long the second restart in a row waits. Each further one waits twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// How long a restart waits at most.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// If a containerd has run for this long, its death begins a new row of restarts.
const STABLE: Duration = Duration::from_secs(30);

/// How to run a daemon's containerd.
#[derive(Debug)]
pub(super) struct LaunchConfig {
    pub(super) directory: Arc<Directory>,
    pub(super) binary: PathBuf,
    pub(super) path: SearchPath,
    /// The environment of this process at the start: the host may change its environment during a
    /// restart.
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) outlives_owner: bool,
}

impl LaunchConfig {
    fn run(&self) -> Result<Arc<Process>> {
        let run = || {
            // Checked here, because a failing child process might be reaped by the host before this
            // thread waits for it.
            check_program(&self.binary)?;
            leftovers::remove_renamed_bundles(&self.directory);
            let mut command =
                self.directory.command(&self.binary, &self.path, &self.environment)?;
            if !self.outlives_owner {
                sys::dies_with_thread(&mut command);
            }
            Process::spawn(command).map(Arc::new)
        };
        // A panic must not end the thread: the kernel would then kill containerd.
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "running it panicked")))
            .step("run containerd")
    }

    /// The error of a containerd that has ended.
    pub(super) fn end_of(&self, process: &Process) -> Error {
        let how = format!("containerd ended ({})", process.how_it_ended());
        self.directory.with_log(Error::new(ErrorKind::FailedPrecondition, how))
    }
}

/// The thread that starts the containerd, and each one after it.
///
/// There is one such thread from the start to the stop, because the kernel sends the parent-death
/// signal when the *thread* ends that has started the child.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that has the thread.
    owner: u32,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// The containerd that runs, or that ran last.
    process: Arc<Process>,
    /// Whether one is being started, outside of the lock.
    spawning: bool,
    restarts: u64,
    last_error: Option<Error>,
    /// Whether the thread has ended its work.
    gone: bool,
}

/// The meaning of an end of containerd.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// The start fails: it still waits until containerd is ready.
    Starting,
    /// It is an accident. containerd is started again if `restart` says so.
    Supervised { restart: bool },
    /// It was asked for.
    Over,
}

impl Supervisor {
    /// Starts the first containerd.
    pub(super) fn start(launch: Arc<LaunchConfig>) -> Result<Supervisor> {
        let (sender, receiver) = mpsc::channel();
        let work = move || {
            let first = launch.run().map(|process| Arc::new(Shared::new(process)));
            let _ = sender.send(first.clone());
            if let Ok(shared) = first {
                shared.supervise(&launch);
            }
        };
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-daemon".into()).spawn(work)
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        match receiver.recv() {
            Ok(Ok(shared)) => {
                let thread = Mutex::new(Some(thread));
                Ok(Supervisor { shared, thread, owner: std::process::id() })
            }
            Ok(Err(error)) => {
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(Error::new(ErrorKind::Internal, "the thread that runs it panicked")),
        }
    }

    /// From now on an end of containerd is an accident.
    pub(super) fn supervise(&self, restart: bool) {
        self.shared.state().mode = Mode::Supervised { restart };
        self.shared.changed.notify_all();
    }

    /// From now on nothing is started. Returns the containerd that was started last.
    pub(super) fn end(&self, limits: &Limits) -> Result<Arc<Process>> {
        let mut state = self.shared.state();
        state.mode = Mode::Over;
        self.shared.changed.notify_all();
        while state.spawning {
            limits.check()?;
            state = self.shared.wait(state, Some(tick(limits)));
        }
        Ok(state.process.clone())
    }

    /// Waits until the thread has ended. It ends soon after containerd and the supervision have
    /// ended; only the host's logger can delay it.
    pub(super) fn join(&self, limits: &Limits) {
        let mut state = self.shared.state();
        while !state.gone {
            if limits.check().is_err() {
                return;
            }
            state = self.shared.wait(state, Some(tick(limits)));
        }
        drop(state);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.shared.state().mode == Mode::Over
    }

    /// The containerd that runs, or that ran last.
    pub(super) fn process(&self) -> Arc<Process> {
        self.shared.state().process.clone()
    }

    pub(super) fn restarts(&self) -> u64 {
        self.shared.state().restarts
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.shared.state().last_error.clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A child does not have the thread, and the thread may have held a lock at the fork.
        if std::process::id() != self.owner {
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(thread.take());
        }
    }
}

impl Shared {
    fn new(process: Arc<Process>) -> Shared {
        let state = State {
            mode: Mode::Starting,
            process,
            spawning: false,
            restarts: 0,
            last_error: None,
            gone: false,
        };
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match timeout {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// The body of the thread.
    fn supervise(&self, launch: &LaunchConfig) {
        let mut backoff = Backoff::default();
        let mut since = Instant::now();
        let mut run = Ok(self.state().process.clone());
        loop {
            if let Ok(process) = &run {
                process.wait_for_end();
            }
            if !self.goes_on(launch, run, backoff.after(since.elapsed())) {
                break;
            }
            since = Instant::now();
            run = launch.run();
            let mut state = self.state();
            state.spawning = false;
            if let Ok(process) = &run {
                state.process = process.clone();
            }
            drop(state);
            self.changed.notify_all();
        }
        self.state().gone = true;
        self.changed.notify_all();
    }

    /// Waits after an end or a failed restart. Says whether the next one is to be started.
    fn goes_on(&self, launch: &LaunchConfig, ended: Result<Arc<Process>>, delay: Duration) -> bool {
        let mut state = self.state();
        let restart = loop {
            match state.mode {
                Mode::Starting => state = self.wait(state, None),
                Mode::Supervised { restart } => break restart,
                Mode::Over => return false,
            }
        };
        drop(state);
        let error = match ended {
            Ok(process) => launch.end_of(&process),
            Err(error) => error,
        };
        let next = match restart {
            true => format!("it is started again in {delay:?}"),
            false => "it is not started again".to_owned(),
        };
        log::warn!("{}: {error}; {next}", launch.directory.path().display());
        let until = Instant::now() + delay;
        let mut state = self.state();
        state.last_error = Some(error);
        if !restart {
            return false;
        }
        loop {
            if state.mode == Mode::Over {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, Some(left));
        }
        state.spawning = true;
        state.restarts += 1;
        true
    }
}

/// The pauses before restarts.
#[derive(Default)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The pause after a containerd that has run for this long.
    fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STABLE {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = (delay * 2).clamp(FIRST_DELAY, MAX_DELAY);
        delay
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_childs_drop_takes_no_lock() {
        let process = Arc::new(Process::spawn(Command::new("true")).unwrap());
        let shared = Arc::new(Shared::new(process));
        // The state of a child whose parent held the lock at the fork.
        let thread = Mutex::new(Some(std::thread::spawn(|| {})));
        let supervisor = Supervisor { shared: shared.clone(), thread, owner: 0 };
        let held = shared.state();
        let (dropped, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            drop(supervisor);
            dropped.send(()).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(10)).expect("the drop waits for the lock");
        drop(held);
    }

    #[test]
    fn restarts_wait_ever_longer_until_one_has_run_for_a_while() {
        let mut backoff = Backoff::default();
        let mut after = |ran: Duration| backoff.after(ran).as_millis();
        let delays: Vec<_> = (0..10).map(|_| after(Duration::from_secs(29))).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
        assert_eq!(after(STABLE), 0);
        assert_eq!(after(Duration::ZERO), 100);
    }
}
