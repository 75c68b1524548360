//! One watched process: what is known of it, who waits for its exit, and what is to be done after that.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::pidfd::{Pidfd, Sight};
use crate::call::Limits;
use crate::delivery::{self, Bus, Job};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::message::Message;
use crate::stdio::{self, Attached, FifoDir, Paths};
use crate::wait::block_on;

/// How long a process is looked at again and again whose Wait is not relied on.
const DOUBT: Duration = Duration::from_secs(10);

/// How long the shim may take to pass on what it still holds of output that is dropped: until then it
/// is counted.
const DISCARD: Duration = Duration::from_millis(100);

/// Waits that break off again within this time are sent anew ever more slowly.
const LOSS_COUNTS: Duration = Duration::from_secs(10);

/// What a watch is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) container: String,
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
    pub(super) fn look(&self) -> Sight {
        self.lock().as_ref().map_or(Sight::Unseen, Pidfd::look)
    }

    /// Whether both are the same one.
    pub(super) fn is(&self, other: &Process) -> bool {
        self.pid == other.pid && self.generation() == other.generation()
    }
}

/// What is to be done after the exit of a process, once the hooks have returned.
pub(crate) type Then = Box<dyn FnOnce(Arc<Watch>) + Send>;

/// One watched process: the container's first.
pub(crate) struct Watch {
    pub(super) key: Key,
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

impl Watch {
    pub(super) fn new(key: Key, process: Process) -> Watch {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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

    /// Closes the streams, and removes the FIFOs, also those that another program has left. Called when
    /// the task is deleted.
    pub(crate) fn close_stdio(&self, dir: FifoDir<'_>) {
        match (self.stdio.get(), self.paths.get()) {
            (Some(stdio), _) => stdio.close(),
            (None, Some(paths)) => stdio::remove_fifos(dir.state_dir, paths),
            // No task has named their paths.
            (None, None) => stdio::remove_fifo_sets_of(dir, &self.key.container),
        }
    }

    /// Waits until the output of a process that has ended is passed on, at most for this time. After
    /// it, what is left is dropped and counted as lost. Fails if the limits end the wait before: then
    /// nothing is dropped.
    pub(crate) fn drain(&self, time: Duration, limits: &Limits) -> Result<()> {
        let Some(stdio) = self.stdio() else { return Ok(()) };
        if stdio.drain(&limits.at_most(time)).is_err() {
            limits.check()?;
            stdio.discard();
            let _ = stdio.drain(&limits.at_most(DISCARD));
        }
        Ok(())
    }

    /// The same without blocking, and for the time that was chosen when the container was created.
    pub(super) async fn drained(&self, executor: &Executor) {
        let Some(stdio) = self.stdio() else { return };
        let within = async |time| executor.within(time, stdio.drained()).await;
        if within(stdio.drain_time()).await.is_none() {
            stdio.discard();
            within(DISCARD).await;
        }
    }

    /// Closes the streams that this client passes on, and removes their FIFOs.
    pub(crate) fn close_streams(&self) {
        self.stdio().into_iter().for_each(Attached::close);
    }

    /// What is known of its streams; what was known before stands.
    pub(super) fn set_streams(&self, paths: Option<Paths>, stdio: Option<Attached>) {
        paths.into_iter().for_each(|paths| drop(self.paths.set(paths)));
        stdio.into_iter().for_each(|stdio| drop(self.stdio.set(stdio)));
    }

    /// Notes that its process runs, or has run.
    pub(super) fn set_started(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    /// Notes that its process runs, or has run, and lets its input go.
    pub(crate) fn note_start(&self) -> Result<()> {
        self.set_started();
        self.stdio().map_or(Ok(()), Attached::start_input)
    }

    /// Whether it is known to have been started; another client may have done it since.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Its deletion broke off, or there was no process to be signalled: containerd may not answer its Wait
    /// any more.
    pub(super) fn doubt(&self) {
        self.lock().doubt = Some(Instant::now() + DOUBT);
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.lock().doubt.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn is_held(&self) -> bool {
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
        let known = {
            let mut state = self.lock();
            let known = state.exit.clone().filter(|_| !state.told);
            state.told |= known.is_some();
            known
        };
        known.map(|message| self.with_output_lost(message))
    }

    /// The exit, if it is known.
    pub(crate) fn exit(&self) -> Option<Message> {
        let known = self.lock().exit.clone();
        known.map(|message| self.with_output_lost(message))
    }

    /// The message with the loss that is known by now.
    pub(super) fn with_output_lost(&self, message: Message) -> Message {
        match self.stdio() {
            Some(stdio) => message.with_output_lost(stdio.lost()),
            None => message,
        }
    }

    /// Waits for the exit.
    pub(crate) fn wait(self: &Arc<Self>, limits: &Limits) -> Result<Message> {
        block_on(limits, self.waiting())?
    }

    /// A future that gives the exit.
    pub(crate) fn waiting(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        Waiting { watch: self.clone(), number: None }
    }

    /// Has this done after its exit, once the hooks have returned. The first one counts.
    pub(super) fn do_after(self: &Arc<Self>, bus: &Bus, then: Option<Then>) {
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
    pub(super) fn take_after(self: &Arc<Self>, bus: &Bus) -> Arc<delivery::After> {
        let mut after = self.lock_after();
        let telling = bus.after(after.then.take().map(|then| self.job(then)));
        after.telling = Some(Arc::downgrade(&telling));
        telling
    }

    fn lock_after(&self) -> MutexGuard<'_, After> {
        self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how it ended, and tells those who wait. Says whether this is the first word of it: a process
    /// ends once.
    pub(super) fn set_exit(&self, message: &Message) -> bool {
        let mut is_first = false;
        self.change(|state| {
            is_first = state.exit.is_none() && state.over.is_none();
            if is_first {
                state.exit = Some(message.clone());
            }
        });
        if is_first {
            drop(self.process.lock().take());
        }
        is_first
    }

    /// Ends the watch: who waits gets this error, unless the exit is known.
    pub(super) fn end(&self, why: Error) {
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
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        if state.exit.is_some() || state.over.is_some() {
            return true;
        }
        state.driver = Some(cx.waker().clone());
        false
    }

    /// Whether a Wait is outstanding.
    pub(super) fn is_followed(&self) -> bool {
        self.lock().followed
    }

    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.exit.is_some() || state.over.is_some()
    }
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
pub(super) struct State {
    pub(super) exit: Option<Message>,
    /// Whether somebody who waits, or asks for it, was told of it.
    told: bool,
    /// Whether its container is gone, and the exit kept for a while.
    pub(super) retired: bool,
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
    pub(super) absent: Option<Instant>,
    /// Until when a Wait that is outstanding is not relied on.
    doubt: Option<Instant>,
    listed: Listed,
}

impl State {
    pub(super) fn ending_since(&mut self) -> Instant {
        *self.ending.get_or_insert_with(Instant::now)
    }

    /// Says whether it is to be put on the list: it stands there once.
    pub(super) fn begin_listing(&mut self) -> bool {
        let is_new = self.listed == Listed::No;
        self.listed = if is_new { Listed::Yes } else { Listed::Again };
        is_new
    }

    /// Takes it off the list; says whether it is to stay there all the same.
    pub(super) fn end_listing(&mut self) -> bool {
        let stays = self.listed == Listed::Again && self.exit.is_none() && self.over.is_none();
        self.listed = if stays { Listed::Yes } else { Listed::No };
        stays
    }

    /// Counts a Wait that broke off. Gives the pause before anything is done about it: none for the
    /// first one.
    pub(super) fn loss(&mut self, (first, longest): (Duration, Duration)) -> Duration {
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

/// Whether a watch stands on the list of those that are looked up.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    No,
    Yes,
    /// And something has happened since.
    Again,
}

/// The outstanding Wait of a watch. Dropped, there is none.
pub(super) struct Following(Arc<Watch>);

impl Following {
    /// `None` where there is one already.
    pub(super) fn begin(watch: &Arc<Watch>) -> Option<Following> {
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let this = &mut *self;
        let mut state = this.watch.lock();
        if let Some(message) = state.exit.clone() {
            state.told = true;
            return Poll::Ready(Ok(this.watch.with_output_lost(message)));
        }
        if let Some(why) = &state.over {
            return Poll::Ready(Err(why.clone()));
        }
        let number = *this.number.get_or_insert_with(|| {
            state.next_waiter += 1;
            state.next_waiter
        });
        state.waiters.insert(number, cx.waker().clone());
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
