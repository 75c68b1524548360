//! The one thread that passes on the input and output of every container of a client.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::flow::{BUFFER, Flow, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// How many reports are taken from epoll at once.
const EVENTS: usize = 64;

/// What epoll reports when the thread is to end. Streams are numbered from 1.
const WAKE: u64 = 0;

/// Which streams of a process there are.
pub(super) const STREAMS: u64 = 3;
pub(super) const STDIN: u64 = 0;

/// Told that the host's input ended.
pub(super) type Closed = Box<dyn FnOnce() + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client is closed")
}

/// The thread that pumps the FIFOs of every container of a client. Started on first use.
pub(crate) struct Pump {
    /// A child of the process has no such thread, and must not end its parent's.
    process: u32,
    state: Mutex<PumpState>,
}

impl Default for Pump {
    fn default() -> Pump {
        Pump { process: std::process::id(), state: Mutex::default() }
    }
}

#[derive(Default)]
struct PumpState {
    running: Option<(Arc<Engine>, JoinHandle<()>)>,
    closed: bool,
}

impl Pump {
    /// What the thread works on. Starts the thread where it does not run yet.
    pub(super) fn engine(&self) -> Result<Arc<Engine>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(closed());
        }
        if let Some((engine, _)) = &state.running {
            return Ok(engine.clone());
        }
        let engine = Arc::new(Engine::new()?);
        let of_thread = engine.clone();
        let thread = sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-io".into()).spawn(move || of_thread.run())
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        state.running = Some((engine.clone(), thread));
        Ok(engine)
    }

    /// Ends the thread, and waits until it has ended unless it is the caller. Streams that are still
    /// attached are closed; their FIFOs go when their owner goes. Closing again does nothing.
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
        // The last handle of a client may be dropped by a callback of ours.
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

/// What the thread works on, and what others hand it streams through.
pub(super) struct Engine {
    epoll: Arc<OwnedFd>,
    /// Written once, at the end: nothing else needs to wake the thread but its descriptors.
    wake: OwnedFd,
    next: AtomicU64,
    /// Gone at the end.
    processes: Mutex<Option<HashMap<u64, Arc<Streams>>>>,
}

impl Engine {
    fn new() -> Result<Engine> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|e| Error::io("epoll", e))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("eventfd", e))?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)
            .map_err(|e| Error::io("epoll_ctl", e))?;
        Ok(Engine {
            epoll: Arc::new(epoll),
            wake,
            next: AtomicU64::new(1),
            processes: Mutex::new(Some(HashMap::new())),
        })
    }

    fn find(&self, process: u64) -> Option<Arc<Streams>> {
        lock(&self.processes).as_ref()?.get(&process).cloned()
    }

    fn end(&self) {
        let processes = lock(&self.processes).take();
        for streams in processes.into_iter().flat_map(HashMap::into_values) {
            streams.close();
        }
        // It is the only write, so there is room for it.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// The thread. It sleeps as long as no descriptor is ready.
    fn run(&self) {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::with_capacity(EVENTS);
        // Streams that have more to pass on. A set: each gets one turn a round.
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
                if streams.note(stream, is_target, event.flags) {
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

/// What epoll is to report for an end of a stream.
fn join(process: u64, stream: u64, is_target: bool) -> u64 {
    (process * STREAMS + stream) * 2 + u64::from(is_target)
}

fn split(data: u64) -> (u64, u64, bool) {
    (data / 2 / STREAMS, data / 2 % STREAMS, data % 2 == 1)
}

/// The streams of a process.
pub(super) struct Streams {
    engine: Arc<Engine>,
    process: u64,
    state: Mutex<State>,
    /// Notified when a stream ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    flows: HashMap<u64, Flow>,
    /// Runs at the end of the input.
    input_closed: Option<Closed>,
    /// Bytes of output that the host did not get.
    dropped: u64,
    closed: bool,
    /// Whether it was closed while output could still come.
    cut: bool,
}

impl State {
    /// Whether no more output will come.
    fn is_drained(&self) -> bool {
        self.flows.keys().all(|&stream| stream == STDIN)
    }

    /// Ends a stream, and closes its ends. Gives what else there is to drop: not under the lock,
    /// for it is the host's code.
    #[must_use]
    fn remove(&mut self, stream: u64, cut: bool) -> Option<Closed> {
        self.dropped += self.flows.remove(&stream).map_or(0, |flow| flow.dropped(cut));
        if stream == STDIN { self.input_closed.take() } else { None }
    }
}

impl Streams {
    /// A process without streams yet.
    pub(super) fn new(engine: &Arc<Engine>) -> Result<Arc<Streams>> {
        let streams = Arc::new(Streams {
            engine: engine.clone(),
            process: engine.next.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let mut processes = lock(&engine.processes);
        processes.as_mut().ok_or_else(closed)?.insert(streams.process, streams.clone());
        Ok(streams)
    }

    /// Begins to pass on a stream. After the close it is dropped.
    pub(super) fn add(
        &self,
        stream: u64,
        mut flow: Flow,
        input_closed: Option<Closed>,
    ) -> Result<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Ok(());
        }
        // Each end that is ready is reported at once, so the thread need not be told.
        flow.watch(
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

    /// Takes note of a report of epoll's. Says whether there is something to do.
    fn note(&self, stream: u64, is_target: bool, events: EventFlags) -> bool {
        let mut state = lock(&self.state);
        let Some(flow) = state.flows.get_mut(&stream) else { return false };
        if !is_target {
            flow.source_is_ready();
            return true;
        }
        if flow.target_is_ready(events) {
            return true;
        }
        let callback = state.remove(stream, false);
        drop(state);
        drop(callback);
        false
    }

    /// Passes on some of a stream. Says whether there is more.
    fn step(&self, stream: u64, buffer: &mut [u8]) -> bool {
        let mut state = lock(&self.state);
        let Some(flow) = state.flows.get_mut(&stream) else { return false };
        match flow.step(buffer) {
            Step::Idle => return false,
            Step::Again => return true,
            Step::Done => {}
        }
        let has_ended = flow.has_ended();
        let callback = state.remove(stream, false);
        drop(state);
        self.ended.notify_all();
        if let Some(callback) = callback.filter(|_| has_ended) {
            // A panic of the callback must not take the thread with it: others rely on it.
            let _ = catch_unwind(AssertUnwindSafe(callback));
        }
        false
    }

    /// Ends the input.
    pub(super) fn end_input(&self) {
        let callback = lock(&self.state).remove(STDIN, false);
        drop(callback);
    }

    /// Waits until all output has been passed on. Says whether the host got all of it.
    pub(super) fn drain(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = lock(&self.state);
        while !state.is_drained() {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            state = match left {
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.dropped == 0 && !state.cut
    }

    /// Closes every end. When it returns, the thread touches none of them. Gives the number of bytes
    /// of output that the host did not get.
    pub(super) fn close(&self) -> u64 {
        // In a statement of its own, so that the lock is not held on.
        let known = lock(&self.engine.processes).as_mut().and_then(|p| p.remove(&self.process));
        drop(known);
        let mut state = lock(&self.state);
        if !state.closed {
            state.closed = true;
            state.cut = !state.is_drained();
        }
        let callbacks = (0..STREAMS).map(|stream| state.remove(stream, true)).collect::<Vec<_>>();
        let dropped = state.dropped;
        drop(state);
        self.ended.notify_all();
        drop(callbacks);
        dropped
    }
}
