//! Which processes are watched, and how they ended.
//!
//! A watch has one outstanding Wait at the server, however many callers probe it, and no thread of
//! its own. It gives at most one exit. A Wait that ends in anything but an answer says nothing of the
//! process: the watch then goes on the list of those that [`reconcile`] looks up.

mod pidfd;
mod process;
mod reconcile;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::call::Limits;
use crate::delivery::Bus;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::record::{End, KILLED};
use crate::rpc::tasks::{self, Exit};
use crate::rpc::{Connection, Ctx, containers};
use crate::stdio::{Attached, DRAIN, Paths};
use crate::wait::{block_on, detach};
pub(crate) use pidfd::Pidfd;
use pidfd::Sight;
use process::{Following, Key};
pub(crate) use process::{Process, Then, Watch};
use reconcile::{LIST, LOOK, Look, Reconciler};

/// How often a process is looked at that must have ended, and the pause between.
const ENDING_LOOKS: u32 = 10;
const ENDING_PAUSE: Duration = Duration::from_millis(20);

/// How long a look may take for which a call waits.
const SETTLE: Duration = Duration::from_secs(2);

/// How many exits are kept of containers that are gone without a call of this client.
const MAX_RETIRED: usize = 1024;

/// How many are remembered that were let go of. It is to cover what is looked up at one time.
const MAX_FORGOTTEN: usize = 256;

/// The watched processes of a client.
#[derive(Clone)]
pub(crate) struct Watches(Arc<Shared>);

struct Shared {
    connection: Arc<Connection>,
    executor: Executor,
    bus: Bus,
    /// Whether the server's numbers of processes are ours too.
    sees_processes: bool,
    table: Mutex<Table>,
    /// Those whose containers are gone without a call of this client, the oldest first.
    retired: Mutex<VecDeque<Arc<Watch>>>,
    reconciler: Reconciler,
}

#[derive(Default)]
struct Table {
    watches: HashMap<Key, Arc<Watch>>,
    /// Those whose process is yet to end though their id is another one's by now.
    displaced: Vec<Arc<Watch>>,
    /// How many exits were told since it was last looked which containers are gone, and how many of those
    /// that had ended were there then.
    told: usize,
    standing: usize,
    /// The last whose exit was told and which were let go of: who finds one of them at the server now has
    /// looked before.
    forgotten: VecDeque<(Key, u32, String)>,
    closed: bool,
}

impl Table {
    /// Fails once the client is closed: nothing would end a wait that begins now.
    fn check_open(&self) -> Result<()> {
        if self.closed { Err(closed()) } else { Ok(()) }
    }

    /// Whether the id is the watch's own still.
    fn has(&self, watch: &Arc<Watch>) -> bool {
        self.watches.get(&watch.key).is_some_and(|current| Arc::ptr_eq(current, watch))
    }

    fn remove(&mut self, watch: &Arc<Watch>) {
        if self.has(watch) {
            self.watches.remove(&watch.key);
        }
        self.displaced.retain(|other| !Arc::ptr_eq(other, watch));
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.watches.values().chain(&self.displaced)
    }
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

/// What a look gave for which a call waited.
pub(crate) enum Settled {
    /// The id is its own.
    Own,
    /// It has ended.
    Over,
    /// The id is another process's.
    Another,
    Unknown(Error),
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

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the process that has this number now, where the server means the same one by
    /// it. The caller makes sure afterwards that it still has.
    pub(crate) fn pidfd(&self, pid: u32) -> Option<Pidfd> {
        if self.0.sees_processes { Pidfd::open(pid) } else { None }
    }

    /// Tells an exit, or why its code is not known.
    fn deliver(
        &self,
        watch: &Arc<Watch>,
        origin: Origin,
        exit: Option<Exit>,
        error: Option<Error>,
    ) {
        let body = Body {
            origin,
            exit_code: exit.map(|exit| exit.code),
            exit_time: exit.and_then(|exit| exit.at),
            error,
            ..self.0.bus.body(MessageKind::Exit)
        };
        self.tell(watch, body);
    }

    /// Tells that the process was created and never ran.
    fn never_ran(&self, watch: &Arc<Watch>, origin: Origin) {
        let why = Error::new(ErrorKind::NotFound, "the container's process never ran");
        let body = Body {
            origin,
            error: Some(why.clone()),
            start_error: Some(why),
            ..self.0.bus.body(MessageKind::Exit)
        };
        self.tell(watch, body);
    }

    /// Tells what was found out afterwards.
    fn recovered(&self, watch: &Arc<Watch>, end: End) {
        self.tell_end(watch, Origin::Recovered, end);
    }

    /// Tells how a process has ended.
    pub(crate) fn tell_end(&self, watch: &Arc<Watch>, origin: Origin, end: End) {
        match end {
            End::Exit(exit) => self.deliver(watch, origin, Some(exit), None),
            End::NeverRan => self.never_ran(watch, origin),
            End::Unknown => {
                let what = "the exit code is not known: nobody saw it, says the record";
                self.deliver(watch, Origin::Gap, None, Some(lost(what)));
            }
        }
    }

    /// Gives the message to all who wait, then to hooks and queues. The first one counts: a process
    /// ends once.
    fn tell(&self, watch: &Arc<Watch>, body: Body) {
        let message = Message::new(Body {
            namespace: watch.key.namespace.clone(),
            container_id: watch.key.container.clone(),
            ..body
        });
        if watch.set_exit(&message) {
            self.0.bus.publish(&message, Some(watch.take_after(&self.0.bus)));
            self.end_displaced(watch);
            self.count_told();
        }
    }

    /// Has it looked, when as many exits were told as were kept the last time, which containers are gone.
    fn count_told(&self) {
        {
            let mut table = self.lock();
            table.told += 1;
            if table.told < table.standing.max(MAX_RETIRED) {
                return;
            }
            table.told = 0;
        }
        if let Err(e) = self.0.executor.spawn(self.clone().retire_removed()) {
            log::debug!("containers that are gone are not looked for: {e}");
        }
    }

    /// Retires the watches whose containers other clients have removed, of which nobody tells us.
    async fn retire_removed(self) {
        let mut told: Vec<_> = self.lock().watches.values().cloned().collect();
        told.retain(|watch| {
            let state = watch.lock();
            state.exit.is_some() && !state.retired
        });
        let mut tasks = HashMap::new();
        let (mut standing, mut with_streams) = (0, Vec::new());
        for watch in told {
            match self.is_removed(&watch, &mut tasks).await {
                Ok(false) => standing += 1,
                Ok(true) if watch.stdio().is_some() => with_streams.push(watch),
                Ok(true) => self.retire(&watch),
                Err(e) => {
                    // The server is away: another time.
                    log::debug!("looking for containers that are gone: {e}");
                    break;
                }
            }
        }
        self.lock().standing = standing;
        if with_streams.is_empty() {
            return;
        }
        let watches = self.clone();
        self.0.bus.run(Box::new(move || {
            // One time for all of them: others wait for the thread.
            let limits = Limits::within(DRAIN);
            for watch in with_streams {
                watch.drain_and_close(&limits);
                watches.retire(&watch);
            }
        }));
    }

    /// Whether a container has neither a record nor a task. `tasks` has the ids of those that were listed;
    /// none where a namespace's cannot be.
    async fn is_removed(
        &self,
        watch: &Watch,
        tasks: &mut HashMap<String, Option<HashSet<String>>>,
    ) -> Result<bool> {
        let Key { namespace, container } = &watch.key;
        let ctx = |limit| self.ctx(namespace, Limits::within(limit));
        match containers::look(ctx(LOOK), container.clone()).await {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other.map(|_| false),
        }
        if !tasks.contains_key(namespace) {
            let list = tasks::look_at_all(ctx(LIST)).await.ok();
            let ids = list.map(|list| list.into_iter().map(|(id, _)| id).collect());
            tasks.insert(namespace.clone(), ids);
        }
        let listed = tasks.get(namespace).and_then(Option::as_ref);
        Ok(listed.is_some_and(|ids| !ids.contains(container)))
    }

    /// Lets go of a watch whose id is another one's, once its exit is told.
    fn end_displaced(&self, watch: &Arc<Watch>) {
        let was_displaced = {
            let mut table = self.lock();
            let before = table.displaced.len();
            table.displaced.retain(|other| !Arc::ptr_eq(other, watch));
            table.displaced.len() < before
        };
        if was_displaced && watch.stdio().is_some() {
            let watch = watch.clone();
            self.0.bus.run(Box::new(move || watch.drain_and_close(&Limits::default())));
        }
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

    /// Keeps the exit of a container that is gone, for who probes late, as long as not too many others
    /// go after it.
    pub(crate) fn retire(&self, watch: &Arc<Watch>) {
        let is_there = self.lock().has(watch);
        if !is_there || std::mem::replace(&mut watch.lock().retired, true) {
            return;
        }
        let oldest = {
            let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.push_back(watch.clone());
            if retired.len() > MAX_RETIRED { retired.pop_front() } else { None }
        };
        let stays = |oldest: &Arc<Watch>| oldest.lock().retired;
        oldest.into_iter().filter(stays).for_each(|oldest| self.forget(&oldest));
    }

    /// Notes that the process is that of another record, which was put under it.
    pub(crate) fn bind(&self, watch: &Watch, generation: String) {
        watch.process.set_generation(generation);
        watch.lock().retired = false;
    }

    /// Tells how the process of a watch has ended whose task was made anew: so containerd knows nothing of
    /// it any more.
    fn replaced(&self, before: &Arc<Watch>) {
        self.wait_for_answer(before);
        let how = "its task was made anew";
        let why = Error::new(ErrorKind::NotFound, how);
        if before.is_over() || matches!(self.gone(before, None, how, why.clone()), Look::Settled) {
            return self.end_displaced(before);
        }
        // It is killed, and yet to end.
        self.reconcile(before, why);
    }

    /// Looks a process up whose container another client has removed, and may have made anew: it has
    /// ended, or another record may be its own. Where that is not known within the limits, or it runs
    /// on, it is watched on.
    pub(crate) fn settle(&self, watch: &Arc<Watch>, limits: &Limits) -> Settled {
        self.wait_for_answer(watch);
        let why = Error::new(ErrorKind::NotFound, "its container was removed by another client");
        let looked = block_on(&limits.at_most(SETTLE), self.look(watch, why));
        if watch.is_over() {
            return Settled::Over;
        }
        let (settled, why) = match looked {
            Ok(Look::Settled) => return Settled::Own,
            Ok(Look::Another(why)) => (Settled::Another, why),
            Ok(Look::Again(why)) | Err(why) => (Settled::Unknown(why.clone()), why),
        };
        log::debug!("looking container {} up: {why}", watch.key.container);
        if !watch.is_followed() {
            self.reconcile(watch, why);
        }
        settled
    }

    /// Looks a process up until its Wait is to be relied on again.
    pub(crate) fn look_again(&self, watch: &Arc<Watch>, why: Error) {
        watch.doubt();
        self.reconcile(watch, why);
    }

    /// Gives the id of a watch to another one: its process is yet to end.
    pub(crate) fn displace(&self, watch: &Arc<Watch>) {
        {
            let mut table = self.lock();
            if table.has(watch) {
                table.watches.remove(&watch.key);
                table.displaced.push(watch.clone());
            }
        }
        // It may have ended just now.
        if watch.is_over() {
            self.end_displaced(watch);
        }
    }

    /// Waits a moment for the answer to Wait of what was killed a moment ago.
    fn wait_for_answer(&self, watch: &Watch) {
        for _ in 0..ENDING_LOOKS {
            if watch.is_over() || matches!(watch.process.look(), Sight::Ended(_)) {
                break;
            }
            std::thread::sleep(ENDING_PAUSE);
        }
    }

    /// Tells of a process that containerd knows nothing of any more. What it says of the end in events
    /// is then a guess of its own: only the kernel may know.
    fn tell_gone(&self, watch: &Arc<Watch>, how: &str, why: Error) {
        if watch.is_over() {
            return;
        }
        let started = watch.is_started();
        match watch.process.look() {
            Sight::Ended(code) if started || code != KILLED => {
                self.deliver(watch, Origin::Recovered, Some(Exit { code, at: None }), None);
            }
            _ => {
                let not = if started { "" } else { ", nor whether it was started" };
                let error = lost(&format!("the exit code is not known{not}: {how}")).caused_by(why);
                self.deliver(watch, Origin::Gap, None, Some(error));
            }
        }
    }

    /// Drops a watch: the container is gone, or was never completed. Who waits without an exit is
    /// told that there is none to come, and its FIFOs go.
    pub(crate) fn forget(&self, watch: &Arc<Watch>) {
        if watch.exit().is_some() {
            let id = (watch.key.clone(), watch.process.pid, watch.process.generation());
            let mut table = self.lock();
            table.forgotten.push_back(id);
            if table.forgotten.len() > MAX_FORGOTTEN {
                table.forgotten.pop_front();
            }
        }
        self.give_up(watch);
        if let Some(stdio) = watch.stdio() {
            stdio.close();
        }
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
    fn follow(&self, watch: &Arc<Watch>) -> Result<()> {
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

    fn ctx(&self, namespace: &str, limits: Limits) -> Ctx {
        Ctx::new(&self.0.connection, namespace, limits)
    }
}

fn gone(container: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("container {container} was removed"))
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::DataLoss, what)
}

/// Another client may have removed it, which ends it with SIGKILL, or have started it.
fn not_started() -> Error {
    Error::new(ErrorKind::Aborted, "it was killed, and may never have run")
}

/// Of a process that never ran, or whose shim has yet to note how it ended.
fn without_time() -> Error {
    Error::new(ErrorKind::Protocol, "an exit without a time is none")
}

fn held() -> Error {
    Error::new(ErrorKind::Aborted, "it is about to be told by somebody else")
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::delivery::{HookMode, Wants};
    use crate::rpc::TestServer;

    /// Watches of a server that is not there.
    fn watches() -> (Watches, Ctx) {
        watches_at(Path::new("/nonexistent/socket"))
    }

    fn watches_at(socket: &Path) -> (Watches, Ctx) {
        let connection = Arc::new(Connection::new(socket));
        let ctx = Ctx::new(&connection, "ns", Limits::default());
        let executor = Executor::new("test");
        let bus = Bus::new(&executor);
        (Watches::new(connection, executor, bus, true), ctx)
    }

    fn close(watches: &Watches) {
        watches.close();
        watches.0.executor.close();
    }

    fn process(pid: u32, generation: &str) -> Process {
        Process::new(pid, generation.into(), None)
    }

    fn find(pid: u32, generation: &str, exit: Option<Exit>) -> Find {
        Find {
            process: process(pid, generation),
            paths: None,
            stdio: None,
            started: false,
            then: None,
            end: exit.map(End::Exit),
        }
    }

    #[test]
    fn who_finds_a_process_before_its_maker_watches_it_has_the_same_watch() {
        let (watches, ctx) = watches();
        let found = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
        let made = watches.start(&ctx, "c", process(1, "a"), None, None).unwrap();
        assert!(Arc::ptr_eq(&found, &made));

        // Another process, or another container: the one before has gone.
        for (pid, generation) in [(2, "a"), (2, "b")] {
            let before = watches.find("ns", "c").unwrap();
            let made = watches.start(&ctx, "c", process(pid, generation), None, None).unwrap();
            assert!(!Arc::ptr_eq(&before, &made));
            let message = before.wait(&Limits::within(Duration::from_secs(30))).unwrap();
            assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
            assert!(made.exit().is_none());
        }
        close(&watches);
        assert_eq!(
            watches.start(&ctx, "c", process(3, "c"), None, None).err().unwrap().kind(),
            ErrorKind::Closed
        );
    }

    #[test]
    fn a_process_ends_once() {
        let (watches, ctx) = watches();
        let exit = |code| Some(Exit { code, at: None });
        let watch = watches.adopt(&ctx, "c", find(1, "a", exit(3))).unwrap();
        watches.deliver(&watch, Origin::Live, exit(4), None);
        watches.never_ran(&watch, Origin::Live);
        watches.replaced(&watch);
        let message = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap();
        assert_eq!((message.exit_code(), message.origin()), (Some(3), Origin::Recovered));
        // What is given up tells nothing any more.
        let watch = watches.adopt(&ctx, "d", find(1, "a", None)).unwrap();
        watches.forget(&watch);
        watches.deliver(&watch, Origin::Live, exit(4), None);
        let error = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        close(&watches);
    }

    #[test]
    fn a_watch_is_listed_once() {
        let (watches, ctx) = watches();
        let watch = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
        (0..100).for_each(|_| watches.look_again(&watch, held()));
        // None, where the keeper has it and waits for the server.
        assert!(watches.0.reconciler.len() <= 1);
        let mut state = watch.lock();
        assert!(state.end_listing() && !state.end_listing() && state.begin_listing());
        drop(state);
        close(&watches);
    }

    #[test]
    fn who_looked_before_a_container_was_destroyed_finds_nothing_new() {
        let (watches, ctx) = watches();
        let exit = Some(Exit { code: 3, at: None });
        let watch = watches.adopt(&ctx, "c", find(1, "a", exit)).unwrap();
        watches.forget(&watch);
        let error = watches.adopt(&ctx, "c", find(1, "a", exit)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        // Another one, and one that ended untold.
        let other = watches.adopt(&ctx, "c", find(1, "b", None)).unwrap();
        watches.forget(&other);
        watches.adopt(&ctx, "c", find(1, "b", exit)).unwrap();
        close(&watches);
    }

    #[test]
    fn told_exits_go_with_the_containers_that_other_clients_have_removed() {
        // One has its record still, and of one the task alone is there.
        let server = TestServer::of(vec!["c0".into()], vec!["c1".into()]);
        let (watches, ctx) = watches_at(&server.socket());
        let exit = Some(Exit { code: 3, at: None });
        let count = 2 + 2 * MAX_RETIRED;
        for number in 0..count {
            watches.adopt(&ctx, &format!("c{number}"), find(1, "a", exit)).unwrap();
        }
        let kept = || (0..count).filter(|n| watches.find("ns", &format!("c{n}")).is_some()).count();
        let began = Instant::now();
        // The later half of those that are gone can be asked for still, and the newest.
        while kept() > 2 + MAX_RETIRED + 2 {
            assert!(began.elapsed() < Duration::from_secs(30), "{} are kept", kept());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(["c0", "c1"].iter().all(|id| watches.find("ns", id).is_some()));
        close(&watches);
        watches.0.bus.shut();
    }

    #[test]
    fn an_answer_that_is_on_its_way_is_waited_for() {
        let (watches, ctx) = watches();
        let watch = watches.adopt(&ctx, "c", find(1, "a", None)).unwrap();
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| watches.replaced(&watch));
            std::thread::sleep(ENDING_PAUSE);
            watches.deliver(&watch, Origin::Live, Some(Exit { code: 3, at: None }), None);
            replacing.join().unwrap();
        });
        assert_eq!(watch.exit().unwrap().exit_code(), Some(3));
        close(&watches);
    }

    #[test]
    fn what_is_said_late_of_the_time_after_waits_for_the_hooks_too() {
        let (watches, ctx) = watches();
        let (begun, begins) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let run = Box::new(move |_: &Message| {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        let wants = Wants { kinds: vec![MessageKind::Exit], container: Some("c".into()) };
        watches.0.bus.add_hook(wants, HookMode::Thread, 1, run).unwrap();
        let exit = Some(Exit { code: 3, at: None });
        let (done, after) = mpsc::channel();
        let say = |container: &str| {
            let done = done.clone();
            let then: Then = Box::new(move |_| done.send(()).unwrap());
            let find = Find { then: Some(then), ..find(1, "a", exit) };
            watches.adopt(&ctx, container, find).unwrap();
        };
        for container in ["c", "d"] {
            watches.adopt(&ctx, container, find(1, "a", exit)).unwrap();
        }
        begins.recv().unwrap();
        say("c");
        assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
        // No hook is told of this one; and what was said is done once.
        (0..2).for_each(|_| say("d"));
        after.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(after.recv_timeout(Duration::from_millis(50)).is_err());
        release.send(()).unwrap();
        after.recv_timeout(Duration::from_secs(30)).unwrap();
        close(&watches);
        watches.0.bus.shut();
    }
}
