//! The one thread that passes on the input and output of every container of a client.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::flow::{BUFFER, Flow, Step};
use super::lost::LostCounter;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::message::OutputLost;
use crate::sys;
use crate::wait::wait_while;

/// How many reports one call of epoll_wait returns.
const EVENTS: usize = 64;

/// What epoll reports when the thread has to end. The numbers of processes begin with 1.
const WAKE: u64 = 0;

/// How many streams a process has. The number of a stream is that of its descriptor.
pub(super) const STREAMS: u64 = 3;
pub(super) const STDIN: u64 = 0;
pub(super) const STDOUT: u64 = 1;
pub(super) const STDERR: u64 = 2;

/// Called when the host's input has ended.
pub(super) type InputClosed = Box<dyn FnOnce() + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client is closed")
}

/// The thread that pumps the FIFOs of every container of a client. Started on first use.
pub(crate) struct Pump {
    /// The process that has the thread. A forked child must not end its parent's thread.
    process: u32,
    /// How many bytes of output did not reach the host.
    lost: Arc<AtomicU64>,
    state: Mutex<PumpState>,
}

impl Default for Pump {
    fn default() -> Pump {
        Pump { process: std::process::id(), lost: Arc::default(), state: Mutex::default() }
    }
}

#[derive(Default)]
struct PumpState {
    running: Option<(Arc<Engine>, JoinHandle<()>)>,
    closed: bool,
}

impl Pump {
    /// The engine of the thread. Starts the thread if it does not run yet.
    pub(super) fn engine(&self) -> Result<Arc<Engine>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(closed());
        }
        if let Some((engine, _)) = &state.running {
            return Ok(engine.clone());
        }
        let engine = Arc::new(Engine::new(self.lost.clone())?);
        let of_thread = engine.clone();
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-io".into()).spawn(move || of_thread.run())
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        state.running = Some((engine.clone(), thread));
        Ok(engine)
    }

    /// How many bytes of output did not reach the host, of all containers.
    pub(crate) fn output_lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// Ends the thread, and waits until it has ended unless the caller is that thread. Closes the
    /// streams that are still attached; the drop of their owner removes their FIFOs. Closing again
    /// does nothing.
    pub(crate) fn close(&self) {
        if std::process::id() != self.process {
            return;
        }
        let running = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.running.take()
        };
        let Some((engine, thread)) = running else { return };
        engine.end();
        // A callback on this thread may drop the last handle of a client.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.close();
    }
}

/// The state of the thread. Other threads add streams to it.
pub(super) struct Engine {
    epoll: Arc<OwnedFd>,
    /// Written once, at the end. At other times the descriptors of the streams wake the thread.
    wake: OwnedFd,
    next: AtomicU64,
    lost: Arc<AtomicU64>,
    /// `None` once the thread has to end.
    processes: Mutex<Option<HashMap<u64, Arc<Streams>>>>,
}

impl Engine {
    fn new(lost: Arc<AtomicU64>) -> Result<Engine> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|e| Error::io("epoll", e))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("eventfd", e))?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)
            .map_err(|e| Error::io("epoll_ctl", e))?;
        Ok(Engine {
            epoll: Arc::new(epoll),
            wake,
            next: AtomicU64::new(1),
            lost,
            processes: Mutex::new(Some(HashMap::new())),
        })
    }

    /// A counter for one stream.
    pub(super) fn lost_counter(&self) -> Arc<LostCounter> {
        Arc::new(LostCounter::new(&self.lost))
    }

    fn find(&self, process: u64) -> Option<Arc<Streams>> {
        lock(&self.processes).as_ref()?.get(&process).cloned()
    }

    fn end(&self) {
        let processes = lock(&self.processes).take();
        for streams in processes.into_iter().flat_map(HashMap::into_values) {
            streams.close();
        }
        // This is the only write, so the eventfd has room for it.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Runs the thread. It sleeps while no descriptor is ready.
    fn run(&self) {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::with_capacity(EVENTS);
        // The streams that have more to pass on. This is a set, because each stream gets one step
        // in a round.
        let mut ready = BTreeSet::new();
        loop {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let timeout = if ready.is_empty() { None } else { Some(&at_once) };
            events.clear();
            match epoll::wait(&*self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                // It cannot fail with these arguments (epoll_wait(2)).
                Err(_) => return,
            }
            for event in &events {
                let data = { event.data }.u64();
                if data == WAKE {
                    return;
                }
                let (process, stream, is_target) = split(data);
                let Some(streams) = self.find(process) else { continue };
                if streams.report(stream, is_target, event.flags) {
                    ready.insert((process, stream));
                }
            }
            for (process, stream) in std::mem::take(&mut ready) {
                let Some(streams) = self.find(process) else { continue };
                if streams.step(stream, &mut buffer) {
                    ready.insert((process, stream));
                }
            }
        }
    }
}

/// The number that epoll reports for an endpoint of a stream.
fn join(process: u64, stream: u64, is_target: bool) -> u64 {
    (process * STREAMS + stream) * 2 + u64::from(is_target)
}

fn split(data: u64) -> (u64, u64, bool) {
    (data / 2 / STREAMS, data / 2 % STREAMS, data % 2 == 1)
}

/// The streams of a process.
pub(super) struct Streams {
    engine: Arc<Engine>,
    /// The number of the process in the engine.
    process: u64,
    container: String,
    /// The counters of stdout and stderr, if the library passes them on.
    lost: [Arc<LostCounter>; 2],
    /// Whether the FIFOs stay when the streams are closed.
    keeps_fifos: AtomicBool,
    state: Mutex<State>,
    /// Notified when a stream ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    flows: HashMap<u64, Flow>,
    /// Runs at the end of the input.
    input_closed: Option<InputClosed>,
    closed: bool,
    /// The tasks that wait for the end of the output.
    wakers: Vec<Waker>,
}

impl State {
    /// Whether no more output will come.
    fn output_has_ended(&self) -> bool {
        self.flows.keys().all(|&stream| stream == STDIN)
    }

    /// Ends a stream, and closes its endpoints: under the lock, so that they are closed when another
    /// call finds the stream removed. Returns the callback, which must not be dropped under the lock.
    #[must_use]
    fn remove(&mut self, stream: u64) -> Option<InputClosed> {
        self.flows.remove(&stream);
        if stream == STDIN { self.input_closed.take() } else { None }
    }
}

impl Streams {
    /// A process without streams yet. `lost` are the counters of stdout and stderr.
    pub(super) fn new(
        engine: &Arc<Engine>,
        container: &str,
        lost: [Arc<LostCounter>; 2],
    ) -> Result<Arc<Streams>> {
        let streams = Arc::new(Streams {
            engine: engine.clone(),
            process: engine.next.fetch_add(1, Ordering::Relaxed),
            container: container.to_owned(),
            lost,
            keeps_fifos: AtomicBool::new(false),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let mut processes = lock(&engine.processes);
        processes.as_mut().ok_or_else(closed)?.insert(streams.process, streams.clone());
        Ok(streams)
    }

    /// Begins to pass on a stream. After the close, it drops the stream.
    pub(super) fn add(
        &self,
        stream: u64,
        mut flow: Flow,
        input_closed: Option<InputClosed>,
    ) -> Result<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Ok(());
        }
        // Epoll at once reports each endpoint that is ready, so nothing else has to wake the
        // thread.
        flow.register(
            &self.engine.epoll,
            join(self.process, stream, false),
            join(self.process, stream, true),
        )?;
        state.flows.insert(stream, flow);
        if input_closed.is_some() {
            state.input_closed = input_closed;
        }
        Ok(())
    }

    /// Records a report of epoll. Returns whether there is something to do.
    fn report(&self, stream: u64, is_target: bool, events: EventFlags) -> bool {
        let mut state = lock(&self.state);
        let Some(flow) = state.flows.get_mut(&stream) else { return false };
        if !is_target {
            flow.source_is_ready();
            return true;
        }
        if flow.target_is_ready(events) {
            return true;
        }
        let callback = state.remove(stream);
        drop(state);
        drop(callback);
        false
    }

    /// Passes on a part of a stream. Returns whether there is more.
    fn step(&self, stream: u64, buffer: &mut [u8]) -> bool {
        let mut state = lock(&self.state);
        let Some(flow) = state.flows.get_mut(&stream) else { return false };
        match flow.step(buffer) {
            Step::Idle => return false,
            Step::Again => return true,
            Step::Done => {}
        }
        let source_has_ended = flow.source_has_ended();
        let callback = state.remove(stream);
        self.wake(state);
        if let Some(callback) = callback.filter(|_| source_has_ended) {
            // A panic of the callback must not end the thread, because other streams need it.
            let _ = catch_unwind(AssertUnwindSafe(callback));
        }
        false
    }

    /// Wakes the threads and tasks that wait for the end of the output, if it has ended.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakers = match state.output_has_ended() {
            true => std::mem::take(&mut state.wakers),
            false => Vec::new(),
        };
        drop(state);
        self.ended.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends the input.
    pub(super) fn end_input(&self) {
        let callback = lock(&self.state).remove(STDIN);
        drop(callback);
    }

    /// Waits until all output has been passed on.
    pub(super) fn wait(&self, limits: &Limits) -> Result<()> {
        wait_while(&self.ended, lock(&self.state), limits, |state| !state.output_has_ended())
            .map(drop)
    }

    /// The same without blocking.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.output_has_ended() {
            return Poll::Ready(());
        }
        state.wakers.retain(|waker| !waker.will_wake(cx.waker()));
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    /// From now on drops the output, and counts it as lost.
    pub(super) fn discard(&self) {
        lock(&self.state).flows.values_mut().for_each(Flow::discard);
    }

    /// Sets whether the FIFOs stay when the streams are closed.
    pub(super) fn set_keeps_fifos(&self, keeps: bool) {
        self.keeps_fifos.store(keeps, Ordering::SeqCst);
    }

    /// How many bytes of output are known to be lost.
    pub(super) fn lost(&self) -> OutputLost {
        let [stdout, stderr] = &self.lost;
        OutputLost::new(stdout.bytes(), stderr.bytes())
    }

    /// Closes every endpoint. When it returns, the thread touches none of them.
    pub(super) fn close(&self) {
        // This is a statement of its own, because a `let else` would hold the lock until its end.
        let known = lock(&self.engine.processes).as_mut().and_then(|p| p.remove(&self.process));
        drop(known);
        let fifos_stay = self.keeps_fifos.load(Ordering::SeqCst);
        let mut state = lock(&self.state);
        let is_first = !std::mem::replace(&mut state.closed, true);
        let mut callbacks = Vec::new();
        for stream in 0..STREAMS {
            if let Some(flow) = state.flows.remove(&stream) {
                flow.cut(fifos_stay);
            }
            callbacks.extend(state.remove(stream));
        }
        self.wake(state);
        drop(callbacks);
        let lost = self.lost();
        if is_first && lost.total() > 0 {
            log::warn!("output of container {} was lost: {lost}", self.container);
        }
    }
}
