//! Which processes are watched, and how they ended.
//!
//! A watch has one outstanding Wait at the server, however many callers probe it, and no thread of
//! its own. It gives at most one exit. A Wait that ends in anything but an answer says nothing of the
//! process: the watch then goes on the list of those that [`reconcile`] looks up.

mod pidfd;
mod reconcile;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::call::Limits;
use crate::delivery::{self, Bus, Job};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::message::{Body, Message, MessageKind, Origin};
use crate::rpc::tasks::{self, Exit, Status};
use crate::rpc::{Connection, Cx};
use crate::stdio::{self, Attached, Paths, Place};
use crate::wait::{block_on, detach};
pub(crate) use pidfd::Pidfd;
use pidfd::Sight;
use reconcile::{Look, Reconciler};

/// How often a process is looked at that must have ended, and the pause between.
const ENDING_LOOKS: u32 = 10;
const ENDING_PAUSE: Duration = Duration::from_millis(20);

/// How long a process is looked at again and again whose Wait is not relied on.
const DOUBT: Duration = Duration::from_secs(10);

/// How long a look may take for which a call waits.
const SETTLE: Duration = Duration::from_secs(2);

/// How many exits are kept of containers that were removed by themselves.
const MAX_RETIRED: usize = 1024;

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
    /// Those whose containers were removed by themselves, the oldest first.
    retired: Mutex<VecDeque<Arc<Watch>>>,
    reconciler: Reconciler,
}

#[derive(Default)]
struct Table {
    watches: HashMap<Key, Arc<Watch>>,
    /// Those whose process is yet to end though their id is another one's by now.
    displaced: Vec<Arc<Watch>>,
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

/// What a watch is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    container: String,
}

/// What tells a process from another one under the same id, and what else is known of it.
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Which of the containers that have the id, one after the other, it belongs to. Another one where
    /// somebody has replaced the record under the process.
    generation: Mutex<String>,
    /// Gone once its exit is known.
    pidfd: Mutex<Option<Pidfd>>,
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

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(Exit),
    /// No source holds the code.
    Unknown,
    /// It was created and never started.
    NeverRan,
}

impl End {
    /// What containerd says of a process, and its record keeps; `None` where it has not ended, or its shim
    /// has yet to say how.
    pub(crate) fn seen(found: &tasks::Process, kept: Option<End>, started: bool) -> Option<End> {
        // What a destroy that broke off has ended.
        let was_removed = kept == Some(End::NeverRan) && !started;
        match found.status {
            Status::Stopped if was_removed && found.exit.code == KILLED => Some(End::NeverRan),
            Status::Stopped => Some(End::Exit(found.exit)),
            Status::Ending if was_removed => Some(End::NeverRan),
            _ => None,
        }
    }

    /// What the answer to a deletion says.
    pub(crate) fn of(exit: Exit) -> End {
        if exit.at.is_some() { End::Exit(exit) } else { End::NeverRan }
    }
}

/// The exit code of what SIGKILL has ended. That of a process that was never started says nothing: it
/// is how such a one is removed.
pub(crate) const KILLED: u32 = 128 + 9;

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

/// What is to be done after the exit of a process, once the hooks have returned.
pub(crate) type Then = Box<dyn FnOnce(Arc<Watch>) + Send>;

/// One watched process: the container's first.
pub(crate) struct Watch {
    key: Key,
    pub(crate) process: Process,
    /// What the shim was told of its streams, where that is known.
    paths: OnceLock<Paths>,
    /// The streams that we pump for it.
    stdio: OnceLock<Attached>,
    /// Whether it is known to have been started, and not only created.
    started: AtomicBool,
    /// Whether somebody is about to say how it ended.
    held: AtomicBool,
    after: Mutex<After>,
    state: Mutex<State>,
}

/// What is to be done after an exit, once the hooks have returned: said once, done once.
#[derive(Default)]
struct After {
    said: bool,
    then: Option<Then>,
    /// Once the exit is told: there while hooks are told of it.
    telling: Option<Weak<delivery::After>>,
}

#[derive(Default)]
struct State {
    exit: Option<Message>,
    /// Whether somebody who waits, or asks for it, was told of it.
    told: bool,
    /// Why nothing more will be heard: the client was closed, the watch was given up.
    over: Option<Error>,
    /// Those who wait, by a number of their own.
    waiters: HashMap<u64, Waker>,
    next_waiter: u64,
    /// Whether a Wait is outstanding, and the future that holds it.
    followed: bool,
    driver: Option<Waker>,
    /// When a Wait broke off last, and the pause after it.
    loss: Option<(Instant, Duration)>,
    /// When the process was first seen to have ended and not to be reaped.
    ending: Option<Instant>,
    /// Since when containerd does not list it, though it was not seen to end.
    absent: Option<Instant>,
    /// Until when a Wait that is outstanding is not relied on.
    doubt: Option<Instant>,
    listed: Listed,
}

/// Whether a watch stands on the list of those that are looked up.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    No,
    Yes,
    /// And something has happened since.
    Again,
}

/// Waits that break off again within this time are sent anew ever more slowly.
const LOSS_COUNTS: Duration = Duration::from_secs(10);

impl State {
    fn ending_since(&mut self) -> Instant {
        *self.ending.get_or_insert_with(Instant::now)
    }

    /// Says whether it is to be put on the list: it stands there once.
    fn begin_listing(&mut self) -> bool {
        let is_new = self.listed == Listed::No;
        self.listed = if is_new { Listed::Yes } else { Listed::Again };
        is_new
    }

    /// Takes it off the list; says whether it is to stay there all the same.
    fn end_listing(&mut self) -> bool {
        let stays = self.listed == Listed::Again && self.exit.is_none() && self.over.is_none();
        self.listed = if stays { Listed::Yes } else { Listed::No };
        stays
    }

    /// Counts a Wait that broke off. Gives the pause before anything is done about it: none for the
    /// first one.
    fn loss(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let now = Instant::now();
        let pause = match self.loss {
            Some((at, pause)) if now.duration_since(at) < LOSS_COUNTS => {
                (pause * 2).clamp(first, longest)
            }
            _ => Duration::ZERO,
        };
        self.loss = Some((now, pause));
        pause
    }
}

impl Process {
    pub(crate) fn new(pid: u32, generation: String, pidfd: Option<Pidfd>) -> Process {
        Process { pid, generation: Mutex::new(generation), pidfd: Mutex::new(pidfd) }
    }

    pub(crate) fn generation(&self) -> String {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_generation(&self, generation: String) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pidfd>> {
        self.pidfd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the kernel says of it.
    fn look(&self) -> Sight {
        self.lock().as_ref().map_or(Sight::Unseen, Pidfd::look)
    }

    /// Whether both are the same one.
    fn is(&self, other: &Process) -> bool {
        self.pid == other.pid && self.generation() == other.generation()
    }
}

impl Watch {
    fn new(key: Key, process: Process) -> Watch {
        Watch {
            key,
            process,
            paths: OnceLock::new(),
            stdio: OnceLock::new(),
            started: AtomicBool::new(false),
            held: AtomicBool::new(false),
            after: Mutex::default(),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container.
    pub(crate) fn container(&self) -> &str {
        &self.key.container
    }

    /// Whether its shim passes on any stream.
    pub(crate) fn has_streams(&self) -> bool {
        let given = |paths: &Paths| !paths.stdout.is_empty() || !paths.stdin.is_empty();
        self.stdio.get().is_some() || self.paths.get().is_some_and(given)
    }

    /// The streams that we pump for it.
    pub(crate) fn stdio(&self) -> Option<&Attached> {
        self.stdio.get()
    }

    /// Stops pumping, and removes the FIFOs, also those that another program has left. For when its task
    /// is deleted.
    pub(crate) fn close_stdio(&self, place: Place<'_>) {
        match (self.stdio.get(), self.paths.get()) {
            (Some(stdio), _) => {
                stdio.close();
            }
            (None, Some(paths)) => stdio::remove(place.state_dir, paths),
            // No task has told of them.
            (None, None) => stdio::remove_of(place, &self.key.container),
        }
    }

    /// Passes on what is left of the output of a process that has ended, and removes the FIFOs.
    pub(crate) fn drain_and_close(&self, limits: &Limits) {
        if let Some(stdio) = self.stdio() {
            stdio.drain(limits.at_most(stdio::DRAIN).remaining().unwrap_or_default());
            stdio.close();
        }
    }

    /// Notes that its process runs, or has run, and lets its input go.
    pub(crate) fn note_start(&self) -> Result<()> {
        self.started.store(true, Ordering::SeqCst);
        self.stdio().map_or(Ok(()), Attached::start_input)
    }

    /// Whether it is known to have been started; another client may have done it since.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Its deletion broke off, or there was no process to be signalled: containerd may not answer its Wait
    /// any more.
    fn doubt(&self) {
        self.lock().doubt = Some(Instant::now() + DOUBT);
    }

    fn is_in_doubt(&self) -> bool {
        self.lock().doubt.is_some_and(|until| Instant::now() < until)
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Keeps what is heard or found of the process from being told, until the drop.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.held.store(true, Ordering::SeqCst);
        Held(self)
    }

    /// The exit, where it is known and nobody was told yet: then it is that of the process which the
    /// caller means, whatever has become of its id since.
    pub(crate) fn untold(&self) -> Option<Message> {
        let mut state = self.lock();
        let known = state.exit.clone().filter(|_| !state.told);
        state.told |= known.is_some();
        known
    }

    /// The exit, where it is known.
    pub(crate) fn exit(&self) -> Option<Message> {
        self.lock().exit.clone()
    }

    /// Waits for the exit.
    pub(crate) fn wait(self: &Arc<Self>, limits: &Limits) -> Result<Message> {
        block_on(limits, Waiting { watch: self.clone(), number: None })?
    }

    /// Has this done after its exit, once the hooks have returned. The first one counts.
    fn do_after(self: &Arc<Self>, bus: &Bus, then: Option<Then>) {
        let Some(then) = then else { return };
        let telling = {
            let mut after = self.lock_after();
            if after.said {
                return;
            }
            after.said = true;
            match &after.telling {
                None => {
                    after.then = Some(then);
                    return;
                }
                // Who probed it before has not said what is to be done after the exit.
                Some(telling) => telling.upgrade(),
            }
        };
        let job = self.job(then);
        match telling {
            Some(telling) => telling.set(job),
            None => bus.run(job),
        }
    }

    fn job(self: &Arc<Self>, then: Then) -> Job {
        let watch = self.clone();
        Box::new(move || then(watch))
    }

    /// What is to be done now that its exit is told.
    fn take_after(self: &Arc<Self>, bus: &Bus) -> Arc<delivery::After> {
        let mut after = self.lock_after();
        let telling = bus.after(after.then.take().map(|then| self.job(then)));
        after.telling = Some(Arc::downgrade(&telling));
        telling
    }

    fn lock_after(&self) -> MutexGuard<'_, After> {
        self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the watch: who waits gets this error, unless the exit is known.
    fn end(&self, why: Error) {
        self.change(|state| {
            state.over.get_or_insert(why);
        });
    }

    /// Changes the state and wakes all whom it concerns, after the lock is released.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken: Vec<Waker> = {
            let mut state = self.lock();
            change(&mut state);
            let driver = state.driver.take();
            state.waiters.drain().map(|(_, waker)| waker).chain(driver).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing is left to be heard. Otherwise the driver is woken when that changes.
    fn poll_over(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        if state.exit.is_some() || state.over.is_some() {
            return true;
        }
        state.driver = Some(context.waker().clone());
        false
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.exit.is_some() || state.over.is_some()
    }
}

/// The outstanding Wait of a watch. Dropped, there is none.
struct Following(Arc<Watch>);

impl Following {
    /// `None` where there is one already.
    fn begin(watch: &Arc<Watch>) -> Option<Following> {
        let followed = std::mem::replace(&mut watch.lock().followed, true);
        (!followed).then(|| Following(watch.clone()))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.lock().followed = false;
    }
}

/// See [`Watch::hold`].
pub(crate) struct Held<'a>(&'a Watch);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::SeqCst);
    }
}

/// One caller that waits for an exit.
struct Waiting {
    watch: Arc<Watch>,
    number: Option<u64>,
}

impl Future for Waiting {
    type Output = Result<Message>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Message>> {
        let this = &mut *self;
        let mut state = this.watch.lock();
        if let Some(message) = state.exit.clone() {
            state.told = true;
            return Poll::Ready(Ok(message));
        }
        if let Some(why) = &state.over {
            return Poll::Ready(Err(why.clone()));
        }
        let number = *this.number.get_or_insert_with(|| {
            state.next_waiter += 1;
            state.next_waiter
        });
        state.waiters.insert(number, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.watch.lock().waiters.remove(&number);
        }
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

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the process that has this number now, where the server means the same one by
    /// it. The caller makes sure afterwards that it still has.
    pub(crate) fn pidfd(&self, pid: u32) -> Option<Pidfd> {
        if self.0.sees_processes { Pidfd::open(pid) } else { None }
    }

    /// Tells how a process has ended.
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
    pub(crate) fn never_ran(&self, watch: &Arc<Watch>, origin: Origin) {
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
        match end {
            End::Exit(exit) => self.deliver(watch, Origin::Recovered, Some(exit), None),
            End::NeverRan => self.never_ran(watch, Origin::Recovered),
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
        let mut is_first = false;
        watch.change(|state| {
            is_first = state.exit.is_none() && state.over.is_none();
            if is_first {
                state.exit = Some(message.clone());
            }
        });
        if is_first {
            drop(watch.process.lock().take());
            self.0.bus.publish(&message, Some(watch.take_after(&self.0.bus)));
            self.end_displaced(watch);
        }
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
        cx: &Cx,
        container: &str,
        process: Process,
        is_same: impl Fn(&Process, &Process) -> bool,
    ) -> Result<(Arc<Watch>, bool, Option<Arc<Watch>>)> {
        let key = Key { namespace: cx.namespace.clone(), container: container.into() };
        let mut table = self.lock();
        table.check_open()?;
        let before = table.watches.get(&key).cloned();
        if let Some(found) = before.as_ref().filter(|found| is_same(&found.process, &process)) {
            return Ok((found.clone(), false, None));
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
        cx: &Cx,
        container: &str,
        process: Process,
        stdio: Option<Attached>,
        then: Option<Then>,
    ) -> Result<Arc<Watch>> {
        // Somebody who probes may have found it first.
        let (watch, _, before) = self.enter(cx, container, process, Process::is)?;
        watch.do_after(&self.0.bus, then);
        // Where it has streams and was found by somebody else, that one has none of them.
        if let Some(stdio) = stdio {
            let _ = watch.stdio.set(stdio);
        } else {
            let _ = watch.paths.set(Paths::default());
        }
        before.iter().for_each(|before| self.replaced(before));
        self.follow(&watch).inspect_err(|_| self.forget(&watch))?;
        Ok(watch)
    }

    /// Starts to watch a process that was found at the server, unless another caller has found it
    /// at the same time.
    pub(crate) fn adopt(&self, cx: &Cx, container: &str, find: Find) -> Result<Arc<Watch>> {
        // Another record may have been put under it.
        let is_same = |found: &Process, process: &Process| found.pid == process.pid;
        let (watch, is_new, before) = self.enter(cx, container, find.process, is_same)?;
        if let Some(paths) = find.paths {
            let _ = watch.paths.set(paths);
        }
        // Before its exit can be told: what is done after that needs them.
        if let Some(stdio) = find.stdio {
            let _ = watch.stdio.set(stdio);
        }
        if find.started {
            watch.started.store(true, Ordering::SeqCst);
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
        let oldest = {
            let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.push_back(watch.clone());
            if retired.len() > MAX_RETIRED { retired.pop_front() } else { None }
        };
        oldest.into_iter().for_each(|oldest| self.forget(&oldest));
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
        if !watch.lock().followed {
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
        let cx = self.cx(&watch.key.namespace, Limits::default());
        let mut reply = tasks::wait(&cx, &watch.key.container, "")?;
        // Who looks it up once the Wait breaks off: then a thread for it might be refused.
        let kept = self.0.executor.keep()?;
        let watches = self.clone();
        let watch = watch.clone();
        let mut following = Some(following);
        detach(poll_fn(move |context| {
            // Once it is over the future ends, and with it the Wait.
            if watch.poll_over(context) {
                return Poll::Ready(());
            }
            let Poll::Ready(answer) = Pin::new(&mut reply).poll(context) else {
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

    fn cx(&self, namespace: &str, limits: Limits) -> Cx {
        Cx::new(&self.0.connection, namespace, limits)
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

    use super::*;
    use crate::delivery::{HookMode, Wants};

    /// Watches of a server that is not there.
    fn watches() -> (Watches, Cx) {
        let connection = Arc::new(Connection::new(Path::new("/nonexistent/socket")));
        let cx = Cx::new(&connection, "ns", Limits::default());
        let executor = Executor::new("test");
        let bus = Bus::new(&executor);
        (Watches::new(connection, executor, bus, true), cx)
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
        let (watches, cx) = watches();
        let found = watches.adopt(&cx, "c", find(1, "a", None)).unwrap();
        let made = watches.start(&cx, "c", process(1, "a"), None, None).unwrap();
        assert!(Arc::ptr_eq(&found, &made));

        // Another process, or another container: the one before has gone.
        for (pid, generation) in [(2, "a"), (2, "b")] {
            let before = watches.find("ns", "c").unwrap();
            let made = watches.start(&cx, "c", process(pid, generation), None, None).unwrap();
            assert!(!Arc::ptr_eq(&before, &made));
            let message = before.wait(&Limits::within(Duration::from_secs(30))).unwrap();
            assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
            assert!(made.exit().is_none());
        }
        close(&watches);
        assert_eq!(
            watches.start(&cx, "c", process(3, "c"), None, None).err().unwrap().kind(),
            ErrorKind::Closed
        );
    }

    #[test]
    fn a_process_ends_once() {
        let (watches, cx) = watches();
        let exit = |code| Some(Exit { code, at: None });
        let watch = watches.adopt(&cx, "c", find(1, "a", exit(3))).unwrap();
        watches.deliver(&watch, Origin::Live, exit(4), None);
        watches.never_ran(&watch, Origin::Live);
        watches.replaced(&watch);
        let message = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap();
        assert_eq!((message.exit_code(), message.origin()), (Some(3), Origin::Recovered));
        // What is given up tells nothing any more.
        let watch = watches.adopt(&cx, "d", find(1, "a", None)).unwrap();
        watches.forget(&watch);
        watches.deliver(&watch, Origin::Live, exit(4), None);
        let error = watch.wait(&Limits::within(Duration::from_secs(30))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        close(&watches);
    }

    #[test]
    fn a_watch_is_listed_once() {
        let (watches, cx) = watches();
        let watch = watches.adopt(&cx, "c", find(1, "a", None)).unwrap();
        (0..100).for_each(|_| watches.look_again(&watch, held()));
        // None, where the keeper has it and waits for the server.
        assert!(watches.0.reconciler.len() <= 1);
        let mut state = watch.lock();
        assert!(state.end_listing() && !state.end_listing() && state.begin_listing());
        drop(state);
        close(&watches);
    }

    #[test]
    fn an_answer_that_is_on_its_way_is_waited_for() {
        let (watches, cx) = watches();
        let watch = watches.adopt(&cx, "c", find(1, "a", None)).unwrap();
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
        let (watches, cx) = watches();
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
            watches.adopt(&cx, container, find).unwrap();
        };
        for container in ["c", "d"] {
            watches.adopt(&cx, container, find(1, "a", exit)).unwrap();
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
