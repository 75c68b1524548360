//! The watched processes of a client: finding a watch, beginning one, and forgetting it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::{Generation, Key, Process};
use super::pidfd::{self, Pidfd};
use super::process::{AfterExit, Watch};
use super::queue::Queue;
use super::table::{Inserted, Table, closed, removed};
use crate::call::Limits;
use crate::delivery::Bus;
use crate::error::Result;
use crate::executor::Executor;
use crate::record::ProcessOutcome;
use crate::rpc::{Connection, Ctx};
use crate::stdio::{Attached, Paths};

/// The watched processes of a client.
#[derive(Clone)]
pub(crate) struct Watches(pub(super) Arc<Shared>);

pub(super) struct Shared {
    connection: Arc<Connection>,
    pub(super) executor: Executor,
    pub(super) bus: Bus,
    /// Whether a pid from the server is valid in our own pid namespace.
    shares_pids: bool,
    table: Mutex<Table>,
    /// The watches that are to be looked up.
    pub(super) queue: Queue,
}

/// A process that the server has, or had.
pub(crate) struct FoundProcess {
    pub(crate) process: Process,
    /// The paths of its streams that the shim got, if the server has it.
    pub(crate) paths: Option<Paths>,
    /// The streams that this client pumps for it.
    pub(crate) stdio: Option<Attached>,
    /// Whether it is known to have been started.
    pub(crate) started: bool,
    /// What is to be done after its exit.
    pub(crate) after_exit: Option<AfterExit>,
    /// How it ended, if it has.
    pub(crate) outcome: Option<ProcessOutcome>,
}

impl FoundProcess {
    /// A process that has ended, and that the server has deleted.
    pub(crate) fn without_task(process: Process, outcome: ProcessOutcome) -> FoundProcess {
        FoundProcess {
            process,
            paths: None,
            stdio: None,
            started: outcome != ProcessOutcome::NeverStarted,
            after_exit: None,
            outcome: Some(outcome),
        }
    }
}

impl Watches {
    pub(crate) fn new(
        connection: Arc<Connection>,
        executor: Executor,
        bus: Bus,
        shares_pids: bool,
    ) -> Watches {
        Watches(Arc::new(Shared {
            connection,
            executor,
            bus,
            shares_pids,
            table: Mutex::default(),
            queue: Queue::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ctx(&self, namespace: &str, limits: Limits) -> Ctx {
        Ctx::new(&self.0.connection, namespace, limits)
    }

    /// Whether a pid from the server is valid in our own pid namespace.
    pub(crate) fn shares_pids(&self) -> bool {
        self.0.shares_pids
    }

    /// A descriptor of the process that has this pid now. `None` if the server may mean another
    /// process by it. The caller must check afterwards that its process still has the pid.
    pub(crate) fn pidfd(&self, pid: u32) -> Option<Pidfd> {
        if self.0.shares_pids { Pidfd::open(pid) } else { None }
    }

    /// An exec in the container that has this generation, to be watched.
    pub(crate) fn exec_process(
        &self,
        namespace: &str,
        container: &str,
        generation: String,
        exec: &str,
        pid: u32,
    ) -> Process {
        let first = self.find(namespace, container, None);
        let first = first.filter(|first| first.generation() == generation);
        // Without a request: the kernel says whether the pid is still that of a child of the same shim.
        let pidfd = first.as_ref().and_then(|first| {
            let pidfd = self.pidfd(pid)?;
            let shim = pidfd::parent(first.pid)?;
            (pidfd::parent(pid) == Some(shim)).then_some(pidfd)
        });
        match first {
            Some(first) => first.exec(exec, pid, pidfd),
            None => {
                let generation = Generation::new(generation);
                Process { exec: Some(exec.to_owned()), pid, generation, pidfd }
            }
        }
    }

    /// The watches of a container's execs.
    pub(crate) fn execs(&self, namespace: &str, container: &str) -> Vec<Arc<Watch>> {
        let table = self.lock();
        let of = |watch: &&Arc<Watch>| {
            let key = &watch.key;
            !key.is_first() && key.container == container && key.namespace == namespace
        };
        table.watches.values().filter(of).cloned().collect()
    }

    /// Whether the watch is that of the process which has its name now.
    pub(crate) fn is_current(&self, watch: &Arc<Watch>) -> bool {
        self.lock().has(watch)
    }

    /// How many processes are watched whose exit is not known.
    pub(crate) fn outstanding(&self) -> usize {
        let watches: Vec<_> = self.lock().all().cloned().collect();
        watches.iter().filter(|watch| !watch.is_over()).count()
    }

    /// How often a connection broke while waits were outstanding, and how many processes were looked up
    /// with a result.
    pub(crate) fn reconciled(&self) -> (u64, u64) {
        self.0.queue.counts()
    }

    /// The watch of a process: of a container's first one, or of an exec.
    pub(crate) fn find(
        &self,
        namespace: &str,
        container: &str,
        exec: Option<&str>,
    ) -> Option<Arc<Watch>> {
        let key = Key::new(namespace, container, exec);
        let watch = self.lock().watches.get(&key).cloned();
        if watch.is_some() {
            // The reconciler may have found no thread.
            self.run_reconciler();
        }
        watch
    }

    fn insert(
        &self,
        ctx: &Ctx,
        container: &str,
        process: Process,
        is_same: impl Fn(&Watch, &Process) -> bool,
    ) -> Result<Inserted> {
        let key = Key::new(&ctx.namespace, container, process.exec.as_deref());
        self.lock().insert(key, process, is_same)
    }

    /// Starts to watch a process that this client has created and not started yet. When this
    /// returns, the Wait is on its way.
    pub(crate) fn start(
        &self,
        ctx: &Ctx,
        container: &str,
        process: Process,
        stdio: Option<Attached>,
        after_exit: Option<AfterExit>,
    ) -> Result<Arc<Watch>> {
        // Another caller that probes the container may have found the process first.
        let inserted = self.insert(ctx, container, process, Watch::is_of)?;
        let watch = inserted.watch;
        watch.set_after_exit(&self.0.bus, after_exit);
        // That caller has no streams of the process.
        watch.set_streams(stdio.is_none().then(Paths::default), stdio);
        inserted.displaced.iter().for_each(|other| self.resolve_replaced(other, &ctx.limits));
        self.send_wait(&watch).inspect_err(|_| self.forget(&watch))?;
        Ok(watch)
    }

    /// Starts to watch a process that the server has, unless another caller has done so at the same
    /// time.
    pub(crate) fn adopt(
        &self,
        ctx: &Ctx,
        container: &str,
        found: FoundProcess,
    ) -> Result<Arc<Watch>> {
        // The generation may differ: another client may have replaced the record while the process
        // runs.
        let is_same = |known: &Watch, process: &Process| known.pid == process.pid;
        let inserted = self.insert(ctx, container, found.process, is_same)?;
        let watch = inserted.watch;
        // Before the exit can be reported: the job after it needs them.
        watch.set_streams(found.paths, found.stdio);
        if found.started {
            watch.set_started();
        }
        watch.set_after_exit(&self.0.bus, found.after_exit);
        inserted.displaced.iter().for_each(|other| self.resolve_replaced(other, &ctx.limits));
        match found.outcome {
            Some(outcome) => self.report_recovered(&watch, outcome),
            None if inserted.is_new => {
                self.send_wait(&watch).inspect_err(|_| self.give_up(&watch))?;
            }
            None => {}
        }
        if found.started {
            watch.note_start()?;
        }
        Ok(watch)
    }

    /// Notes that the process of the watch belongs to another record, which has replaced the first one.
    pub(crate) fn set_generation(&self, watch: &Watch, generation: String) {
        watch.generation.set(generation);
        watch.lock().set_retired(false);
    }

    /// Drops a watch whose process is gone, or was never completed. Callers that wait get an
    /// error unless the exit is known. The FIFOs are removed.
    pub(crate) fn forget(&self, watch: &Arc<Watch>) {
        if watch.exit().is_some() {
            self.lock().note_forgotten(watch);
        }
        self.give_up(watch);
        watch.close_streams();
    }

    /// Drops a watch whose exit is reported and whose id another process has. The output that is
    /// still in the pipes is passed on.
    pub(crate) fn release(&self, watch: &Arc<Watch>) {
        self.lock().note_forgotten(watch);
        self.give_up(watch);
        self.close_drained(watch);
    }

    /// Takes back a watch that was released, because there is no other process after all. Callers that
    /// wait get its exit.
    pub(crate) fn restore(&self, watch: &Arc<Watch>) {
        self.lock().restore(watch);
    }

    /// Drops a watch.
    fn give_up(&self, watch: &Arc<Watch>) {
        self.lock().remove(watch);
        watch.end(removed(&watch.key));
    }

    /// Ends every wait: the client is closed.
    pub(crate) fn close(&self) {
        let table = self.lock().close();
        table.all().for_each(|watch| watch.end(closed()));
        self.0.queue.close();
    }
}
