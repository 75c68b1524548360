//! The watched processes of a client: finding them, beginning to watch and letting go.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::lost::Reconciler;
use super::pidfd::Pidfd;
use super::process::{Following, Key, Process, Then, Watch};
use super::table::{Table, closed, gone};
use crate::call::Limits;
use crate::delivery::Bus;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::Origin;
use crate::record::{End, KILLED};
use crate::rpc::{Connection, Ctx, tasks};
use crate::stdio::{Attached, Paths};
use crate::wait::detach;

/// The watched processes of a client.
#[derive(Clone)]
pub(crate) struct Watches(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) connection: Arc<Connection>,
    pub(super) executor: Executor,
    pub(super) bus: Bus,
    /// Whether the server's numbers of processes are ours too.
    pub(super) sees_processes: bool,
    pub(super) table: Mutex<Table>,
    /// Those whose containers are gone without a call of this client, the oldest first.
    pub(super) retired: Mutex<VecDeque<Arc<Watch>>>,
    pub(super) reconciler: Reconciler,
}

/// A process that was found at the server.
pub(crate) struct Find {
    pub(crate) process: Process,
    /// What the shim was told of its streams, where there is a task to tell.
    pub(crate) paths: Option<Paths>,
    /// The streams that we pump for it.
    pub(crate) stdio: Option<Attached>,
    /// Whether it is known to have been started.
    pub(crate) started: bool,
    /// What is to be done after its exit, once the hooks have returned.
    pub(crate) then: Option<Then>,
    /// How it ended, where it has.
    pub(crate) end: Option<End>,
}

impl Find {
    /// One that has ended, and whose task is gone.
    pub(crate) fn ended(process: Process, end: End) -> Find {
        let started = end != End::NeverRan;
        Find { process, paths: None, stdio: None, started, then: None, end: Some(end) }
    }
}

impl Watches {
    pub(crate) fn new(
        connection: Arc<Connection>,
        executor: Executor,
        bus: Bus,
        sees_processes: bool,
    ) -> Watches {
        Watches(Arc::new(Shared {
            connection,
            executor,
            bus,
            sees_processes,
            table: Mutex::default(),
            retired: Mutex::default(),
            reconciler: Reconciler::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the process that has this number now, where the server means the same one by
    /// it. The caller makes sure afterwards that it still has.
    pub(crate) fn pidfd(&self, pid: u32) -> Option<Pidfd> {
        if self.0.sees_processes { Pidfd::open(pid) } else { None }
    }

    /// How many processes are watched whose exit is not known.
    pub(crate) fn outstanding(&self) -> usize {
        let watches: Vec<_> = self.lock().all().cloned().collect();
        watches.iter().filter(|watch| !watch.is_over()).count()
    }

    /// How often the list of lost processes had to be seen to, and how many of them were settled.
    pub(crate) fn reconciled(&self) -> (u64, u64) {
        self.0.reconciler.counts()
    }

    /// The watch of a container's first process.
    pub(crate) fn find(&self, namespace: &str, container: &str) -> Option<Arc<Watch>> {
        let key = Key { namespace: namespace.into(), container: container.into() };
        let watch = self.lock().watches.get(&key).cloned();
        if watch.is_some() {
            self.see_to_lost();
        }
        watch
    }

    /// The watch of a process, whether it is new, and the one that had the id before, whose process is
    /// another one: it goes on apart from it.
    fn enter(
        &self,
        ctx: &Ctx,
        container: &str,
        process: Process,
        is_same: impl Fn(&Process, &Process) -> bool,
    ) -> Result<(Arc<Watch>, bool, Option<Arc<Watch>>)> {
        let key = Key { namespace: ctx.namespace.clone(), container: container.into() };
        let mut table = self.lock();
        table.check_open()?;
        let before = table.watches.get(&key).cloned();
        if let Some(found) = before.as_ref().filter(|found| is_same(&found.process, &process)) {
            return Ok((found.clone(), false, None));
        }
        let is_it = |(of, pid, generation): &(Key, u32, String)| {
            *pid == process.pid && *of == key && *generation == process.generation()
        };
        if table.forgotten.iter().any(is_it) {
            return Err(gone(container));
        }
        let watch = Arc::new(Watch::new(key.clone(), process));
        table.watches.insert(key, watch.clone());
        table.displaced.extend(before.clone());
        Ok((watch, true, before))
    }

    /// Starts to watch a process that this client has made and not started yet: its Wait is on its
    /// way when this returns.
    pub(crate) fn start(
        &self,
        ctx: &Ctx,
        container: &str,
        process: Process,
        stdio: Option<Attached>,
        then: Option<Then>,
    ) -> Result<Arc<Watch>> {
        // Somebody who probes may have found it first.
        let (watch, _, before) = self.enter(ctx, container, process, Process::is)?;
        watch.do_after(&self.0.bus, then);
        // Where it has streams and was found by somebody else, that one has none of them.
        watch.set_streams(stdio.is_none().then(Paths::default), stdio);
        before.iter().for_each(|before| self.replaced(before));
        self.follow(&watch).inspect_err(|_| self.forget(&watch))?;
        Ok(watch)
    }

    /// Starts to watch a process that was found at the server, unless another caller has found it
    /// at the same time.
    pub(crate) fn adopt(&self, ctx: &Ctx, container: &str, find: Find) -> Result<Arc<Watch>> {
        // Another record may have been put under it.
        let is_same = |found: &Process, process: &Process| found.pid == process.pid;
        let (watch, is_new, before) = self.enter(ctx, container, find.process, is_same)?;
        // Before its exit can be told: what is done after that needs them.
        watch.set_streams(find.paths, find.stdio);
        if find.started {
            watch.set_started();
        }
        watch.do_after(&self.0.bus, find.then);
        before.iter().for_each(|before| self.replaced(before));
        match find.end {
            Some(end) => self.recovered(&watch, end),
            None if is_new => self.follow(&watch).inspect_err(|_| self.give_up(&watch))?,
            None => {}
        }
        if find.started {
            watch.note_start()?;
        }
        Ok(watch)
    }

    /// Notes that the process is that of another record, which was put under it.
    pub(crate) fn bind(&self, watch: &Watch, generation: String) {
        watch.process.set_generation(generation);
        watch.lock().retired = false;
    }

    /// Drops a watch: the container is gone, or was never completed. Who waits without an exit is
    /// told that there is none to come, and its FIFOs go.
    pub(crate) fn forget(&self, watch: &Arc<Watch>) {
        if watch.exit().is_some() {
            self.note_forgotten(watch);
        }
        self.give_up(watch);
        watch.close_streams();
    }

    /// Drops a watch whose exit was told and whose id is another process's. The output that is still in
    /// the pipes is passed on.
    pub(crate) fn release(&self, watch: &Arc<Watch>) {
        self.note_forgotten(watch);
        self.give_up(watch);
        self.close_drained(watch);
    }

    fn note_forgotten(&self, watch: &Arc<Watch>) {
        let id = (watch.key.clone(), watch.process.pid, watch.process.generation());
        self.lock().note_forgotten(id);
    }

    /// Drops a watch of a container that stands.
    fn give_up(&self, watch: &Arc<Watch>) {
        self.lock().remove(watch);
        watch.end(gone(&watch.key.container));
    }

    /// Ends every wait: the client is closed.
    pub(crate) fn close(&self) {
        let all = {
            let mut table = self.lock();
            std::mem::replace(&mut *table, Table { closed: true, ..Table::default() })
        };
        all.all().for_each(|watch| watch.end(closed()));
        self.0.reconciler.close();
    }

    /// Sends a Wait for the watch and has its answer delivered.
    pub(super) fn follow(&self, watch: &Arc<Watch>) -> Result<()> {
        let Some(following) = Following::begin(watch) else { return Ok(()) };
        // It may take as long as the process runs: no deadline.
        let ctx = self.ctx(&watch.key.namespace, Limits::default());
        let mut reply = tasks::wait(&ctx, &watch.key.container, "")?;
        // Who looks it up once the Wait breaks off: then a thread for it might be refused.
        let kept = self.0.executor.keep()?;
        let watches = self.clone();
        let watch = watch.clone();
        let mut following = Some(following);
        detach(poll_fn(move |cx| {
            // Once it is over the future ends, and with it the Wait.
            if watch.poll_over(cx) {
                return Poll::Ready(());
            }
            let Poll::Ready(answer) = Pin::new(&mut reply).poll(cx) else {
                return Poll::Pending;
            };
            // Who looks it up may follow it anew.
            drop(following.take());
            match answer {
                Ok(_) if watch.is_held() => watches.reconcile(&watch, held()),
                Ok(exit) if exit.code == KILLED && !watch.is_started() => {
                    watches.reconcile(&watch, not_started());
                }
                Ok(exit) if exit.at.is_none() => watches.reconcile(&watch, without_time()),
                Ok(exit) => watches.deliver(&watch, Origin::Live, Some(exit), None),
                Err(why) => watches.reconcile(&watch, why),
            }
            let _ = &kept;
            Poll::Ready(())
        }));
        Ok(())
    }

    pub(super) fn ctx(&self, namespace: &str, limits: Limits) -> Ctx {
        Ctx::new(&self.0.connection, namespace, limits)
    }
}

/// Another client may have removed it, which ends it with SIGKILL, or have started it.
fn not_started() -> Error {
    Error::new(ErrorKind::Aborted, "it was killed, and may never have run")
}

/// Of a process that never ran, or whose shim has yet to note how it ended.
fn without_time() -> Error {
    Error::new(ErrorKind::Protocol, "an exit without a time is none")
}

pub(super) fn held() -> Error {
    Error::new(ErrorKind::Aborted, "it is about to be told by somebody else")
}
