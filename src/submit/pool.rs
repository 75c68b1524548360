//! The threads that submitted calls run on, and the line of calls that wait for one.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::job::{Job, Parked};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Permit;
use crate::per_process::PerProcess;
use crate::wait::wait_while;
use crate::{sys, watchdog};

/// How many threads there are at most, unless the program says otherwise.
const THREADS: usize = 16;

/// How few they can be: a client has half of them, and its long calls half of that.
const FEWEST: usize = 4;
const MOST: usize = 1024;

/// How long a thread waits for something to do before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// The pause before another thread is tried.
const RETRY: Duration = Duration::from_millis(100);

/// Sets how many threads submitted calls run on at most, in this process: 4 to 1,024. Default 16. One
/// client never holds more than half of them, and calls that may last long (pulls, destroys with a grace
/// period) never more than half of those. Fewer than run now takes effect as calls end.
///
/// ```
/// ctrd::set_call_threads(32)?;
/// # Ok::<(), ctrd::Error>(())
/// ```
pub fn set_call_threads(threads: usize) -> Result<()> {
    if !(FEWEST..=MOST).contains(&threads) {
        let why = format!("{threads} is not between {FEWEST} and {MOST}");
        return Err(Error::invalid("threads", why));
    }
    pool().lock().threads = threads;
    Ok(())
}

/// The calls of one client.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) number: u64,
    calls: Arc<AtomicUsize>,
    max_calls: usize,
}

impl Group {
    /// A group that may have so many calls in flight.
    pub(crate) fn new(max_calls: usize) -> Group {
        Group { number: next_number(), calls: Arc::default(), max_calls }
    }

    /// A slot for one more call.
    pub(super) fn slot(&self) -> Option<Permit> {
        Permit::take(&self.calls, self.max_calls)
    }

    /// Accepts no further calls, and completes those that wait, in the line or without a thread.
    pub(crate) fn shut(&self) {
        let jobs: Vec<Arc<Job>> = {
            let mut state = pool().lock();
            let line = state.groups.entry(self.number).or_default();
            line.closed = true;
            line.jobs.values().cloned().collect()
        };
        for job in jobs {
            job.end_wait(Error::new(ErrorKind::Closed, "the client is closed"));
        }
    }

    /// Does what [`Group::shut`] does, and waits for the calls that run, but not for one that runs on the
    /// calling thread.
    pub(crate) fn close(&self, limits: &Limits) -> Result<()> {
        let pool = pool();
        loop {
            self.shut();
            let has = |state: &State, is: fn(&Job) -> bool| {
                let line = state.groups.get(&self.number);
                line.is_some_and(|line| line.jobs.values().any(|job| is(job)))
            };
            let is_busy = |state: &State| has(state, Job::is_busy_elsewhere);
            let state = wait_while(&pool.changed, pool.lock(), limits, is_busy)
                .map_err(|e| e.context("submitted calls are still under way"))?;
            // A call that ran may have begun to wait. The next round completes it.
            if !has(&state, |job| !job.runs_here()) {
                return Ok(());
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let line = pool().lock().groups.remove(&self.number);
        drop(line);
    }
}

/// The numbers of jobs and groups, in the order in which they were accepted. 0 is no group's.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// Something that may take long to drop.
type Made = Box<dyn Any + Send>;

struct Pool {
    state: Mutex<State>,
    /// Something is to be done.
    work: Condvar,
    /// A call has ended, or waits.
    changed: Condvar,
}

struct State {
    threads: usize,
    running: usize,
    idle: usize,
    /// Threads that were made and have not begun.
    starting: usize,
    /// How many long calls run.
    long: usize,
    groups: HashMap<u64, Line>,
    /// What nobody has taken.
    discarded: VecDeque<Made>,
    /// Whether the watchdog tries again to make a thread.
    retries: bool,
}

/// The calls of one client, or those of none.
#[derive(Default)]
struct Line {
    /// Those that are not over.
    jobs: HashMap<u64, Arc<Job>>,
    /// Those that wait for a thread, by when they were accepted.
    short: BTreeMap<u64, Arc<Job>>,
    long: BTreeMap<u64, Arc<Job>>,
    /// How many run, and how many of these may last long.
    running: usize,
    running_long: usize,
    closed: bool,
}

enum Work {
    Run(Arc<Job>),
    Drop(Made),
}

fn pool() -> &'static Pool {
    static POOL: PerProcess<Pool> = PerProcess::new();
    POOL.get_or_init(|| Pool {
        state: Mutex::new(State {
            threads: THREADS,
            running: 0,
            idle: 0,
            starting: 0,
            long: 0,
            groups: HashMap::new(),
            discarded: VecDeque::new(),
            retries: false,
        }),
        work: Condvar::new(),
        changed: Condvar::new(),
    })
}

impl State {
    /// How many threads one client may hold, and how many its long calls.
    fn share(&self) -> (usize, usize) {
        let share = (self.threads / 2).max(1);
        (share, (share / 2).max(1))
    }

    /// The number of the job that is to run next of a line, and whether it may last long.
    fn candidate(&self, line: &Line) -> Option<(u64, bool)> {
        let (share, long_share) = self.share();
        if line.running >= share {
            return None;
        }
        let may_be_long = line.running_long < long_share && self.long < self.threads / 2;
        let short = line.short.keys().next().map(|number| (*number, false));
        let long = line.long.keys().next().filter(|_| may_be_long).map(|number| (*number, true));
        short.into_iter().chain(long).min()
    }

    /// Takes the job that was accepted first, of those that may run.
    fn pop(&mut self) -> Option<Work> {
        if let Some(discarded) = self.discarded.pop_front() {
            return Some(Work::Drop(discarded));
        }
        let candidates = self.groups.iter();
        let (number, is_long, group) = candidates
            .filter_map(|(group, line)| self.candidate(line).map(|(n, long)| (n, long, *group)))
            .min()?;
        let line = self.groups.get_mut(&group)?;
        let job = if is_long { line.long.remove(&number) } else { line.short.remove(&number) }?;
        line.running += 1;
        line.running_long += usize::from(is_long);
        self.long += usize::from(is_long);
        job.counts_as_long.store(is_long, Ordering::SeqCst);
        Some(Work::Run(job))
    }

    fn has_work(&self) -> bool {
        !self.discarded.is_empty()
            || self.groups.values().any(|line| self.candidate(line).is_some())
    }

    /// Puts a job that has run out of the count of those that run.
    fn stopped(&mut self, job: &Job) {
        let is_long = job.counts_as_long.swap(false, Ordering::SeqCst);
        if let Some(line) = self.groups.get_mut(&job.group) {
            line.running -= 1;
            line.running_long -= usize::from(is_long);
        }
        self.long -= usize::from(is_long);
    }

    fn line_up(&mut self, job: Arc<Job>) {
        let line = self.groups.entry(job.group).or_default();
        let is_long = job.long.load(Ordering::SeqCst);
        let waiting = if is_long { &mut line.long } else { &mut line.short };
        waiting.insert(job.number, job);
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a thread if there is work that none is free for.
    fn make_thread(&'static self, state: &mut State) -> Result<()> {
        let all = state.running + state.starting;
        if state.idle + state.starting > 0 || all >= state.threads || !state.has_work() {
            return Ok(());
        }
        sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-call".into()).spawn(move || self.run())
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        state.starting += 1;
        Ok(())
    }

    /// Has the work done that was just added: by a thread that is free, or by a new one.
    fn kick(&'static self, mut state: MutexGuard<'_, State>) {
        let made = self.make_thread(&mut state);
        let is_alone = state.running + state.starting == 0;
        let retries = made.is_err() && is_alone && !std::mem::replace(&mut state.retries, true);
        drop(state);
        self.work.notify_one();
        if retries {
            // No thread will come by that could do it.
            let at = Instant::now() + RETRY;
            let watched = watchdog::watch(Some(at), None, Waker::from(Arc::new(Retry)));
            if watched.is_none() {
                self.lock().retries = false;
            }
            // Its drop would end the watch.
            std::mem::forget(watched);
        }
    }

    fn run(&'static self) {
        let mut state = self.lock();
        state.starting -= 1;
        state.running += 1;
        loop {
            if state.running <= state.threads
                && let Some(work) = state.pop()
            {
                // There may be more than this thread can do.
                let _ = self.make_thread(&mut state);
                if state.idle > 0 && state.has_work() {
                    self.work.notify_one();
                }
                drop(state);
                match work {
                    Work::Run(job) => {
                        let goes_on = job.run();
                        state = self.lock();
                        state.stopped(&job);
                        if goes_on && !job.is_over() {
                            state.line_up(job.clone());
                        }
                        drop(state);
                        // Its last reference does not go under the lock.
                        drop(job);
                        self.changed.notify_all();
                        state = self.lock();
                    }
                    Work::Drop(made) => {
                        if catch_unwind(AssertUnwindSafe(|| drop(made))).is_err() {
                            log::error!("the end of a result panicked");
                        }
                        state = self.lock();
                    }
                }
                continue;
            }
            state.idle += 1;
            let (waited, timeout) =
                self.work.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = waited;
            state.idle -= 1;
            if timeout.timed_out() && !state.has_work() || state.running > state.threads {
                break;
            }
        }
        state.running -= 1;
    }
}

/// Tries again to make a thread.
struct Retry;

impl Wake for Retry {
    fn wake(self: Arc<Self>) {
        let pool = pool();
        let mut state = pool.lock();
        state.retries = false;
        pool.kick(state);
    }
}

/// Accepts a job; one that waits first comes into the line later. Fails if no thread can be made and
/// there is none.
pub(super) fn begin(job: Arc<Job>, limits: &Limits, first: Option<Parked>) -> Result<()> {
    job.watch(limits)?;
    let pool = pool();
    let mut state = pool.lock();
    let line = state.groups.entry(job.group).or_default();
    if line.closed {
        drop(state);
        return refuse(&job, Error::new(ErrorKind::Closed, "the client is closed"));
    }
    line.jobs.insert(job.number, job.clone());
    if let Some(first) = first {
        drop(state);
        job.wait_first(first);
        forget_if_over(&job);
        job.wake();
        return Ok(());
    }
    state.line_up(job.clone());
    if let Err(error) = pool.make_thread(&mut state)
        && state.running + state.starting == 0
    {
        if let Some(line) = state.groups.get_mut(&job.group) {
            line.jobs.remove(&job.number);
            line.short.remove(&job.number);
        }
        drop(state);
        return refuse(&job, error);
    }
    drop(state);
    pool.work.notify_one();
    forget_if_over(&job);
    Ok(())
}

/// Refuses a job, unless the watchdog has completed it already: then it was accepted.
fn refuse(job: &Job, error: Error) -> Result<()> {
    if job.refuse() { Err(error) } else { Ok(()) }
}

/// Forgets a job that the watchdog completed before it was in the line. A thread that still completes a job
/// forgets it afterwards.
fn forget_if_over(job: &Arc<Job>) {
    if job.is_completed() {
        over(job);
    }
}

/// Puts a job that has waited without a thread back into the line.
pub(super) fn resume(job: Arc<Job>) {
    let pool = pool();
    let mut state = pool.lock();
    state.line_up(job);
    pool.kick(state);
}

/// Forgets a job that is over.
pub(super) fn over(job: &Arc<Job>) {
    let pool = pool();
    let mut state = pool.lock();
    if let Some(line) = state.groups.get_mut(&job.group) {
        line.jobs.remove(&job.number);
        line.short.remove(&job.number);
        line.long.remove(&job.number);
    }
    drop(state);
    pool.changed.notify_all();
}

/// Whether a job that runs may last long now. Otherwise it is to be run when others have ended.
pub(super) fn begin_long(job: &Arc<Job>) -> bool {
    if job.long.load(Ordering::SeqCst) {
        return true;
    }
    let mut state = pool().lock();
    let (_, long_share) = state.share();
    let has_room = state.long < state.threads / 2;
    let line = state.groups.entry(job.group).or_default();
    job.long.store(true, Ordering::SeqCst);
    if line.running_long < long_share && has_room {
        line.running_long += 1;
        state.long += 1;
        job.counts_as_long.store(true, Ordering::SeqCst);
        return true;
    }
    drop(state);
    job.wait_for_long();
    false
}

/// Drops something on a thread of the pool: its destructor may block.
pub(super) fn discard(made: Made) {
    let pool = pool();
    let mut state = pool.lock();
    state.discarded.push_back(made);
    pool.kick(state);
}

/// How many threads there are.
#[cfg(test)]
pub(super) fn threads() -> usize {
    let state = pool().lock();
    state.running + state.starting
}
