//! The threads that submitted calls run on, and the line of calls that wait for one.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Duration;

use super::job::{Job, Parked};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Permit;
use crate::per_process::PerProcess;
use crate::sys;
use crate::wait::wait_while;

/// How many threads there are at most, unless the program says otherwise.
const THREADS: usize = 16;

/// The smallest number allowed: one client gets half of the threads, and its long calls half of that.
const FEWEST: usize = 4;
const MOST: usize = 1024;

/// How long a thread waits for something to do before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// The group of the calls that belong to no client.
pub(super) const NO_CLIENT: u64 = 0;

/// Sets how many threads submitted calls run on at most, in this process: 4 to 1,024. Default 16.
///
/// One client never holds more than half of them. Calls that may last long hold fewer, so that the others
/// are not kept waiting: those of one client a quarter of the threads, those of all clients half. Such
/// calls are pulls, destroys with a grace period, closes of clients, and creates that have to unpack their
/// image. Another quarter is for what belongs to no client: opening a client, starting and stopping a
/// private containerd, and dropping results that nobody has taken.
///
/// A higher number takes effect at once, also for calls that wait for a thread already. If more threads
/// run than the new number, they end when their calls do.
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
    let pool = pool();
    let mut state = pool.lock();
    state.threads = threads;
    // Calls may wait that now have a thread.
    pool.kick(state);
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

/// The numbers of jobs and groups, in the order in which they were accepted. [`NO_CLIENT`] is none.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// A value whose drop may take long.
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
    /// Whether the last thread sleeps until it is woken, because calls wait without a thread.
    kept: bool,
    /// How many long calls of clients run.
    long: usize,
    groups: HashMap<u64, Line>,
    /// Results that nobody has taken, to be dropped.
    discarded: VecDeque<Made>,
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
            kept: false,
            long: 0,
            groups: HashMap::from([(NO_CLIENT, Line::default())]),
            discarded: VecDeque::new(),
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

    /// Whether one more call of this group that lasts long may run.
    fn may_run_long(&self, group: u64, line: &Line) -> bool {
        let (_, long_share) = self.share();
        // What belongs to no client does not wait for the pulls of clients, which may have no end.
        let has_room = group == NO_CLIENT || self.long < self.threads / 2;
        line.running_long < long_share && has_room
    }

    /// The number of the job that is to run next of a line, and whether it may last long.
    fn candidate(&self, group: u64, line: &Line) -> Option<(u64, bool)> {
        let (share, _) = self.share();
        if line.running >= share {
            return None;
        }
        let may_be_long = self.may_run_long(group, line);
        let short = line.short.keys().next().map(|number| (*number, false));
        let long = line.long.keys().next().filter(|_| may_be_long).map(|number| (*number, true));
        short.into_iter().chain(long).min()
    }

    /// Takes the job that was accepted first, of those that may run.
    fn pop(&mut self) -> Option<Work> {
        if self.may_discard()
            && let Some(discarded) = self.discarded.pop_front()
        {
            self.began(NO_CLIENT, true);
            return Some(Work::Drop(discarded));
        }
        let candidates = self.groups.iter();
        let (number, is_long, group) = candidates
            .filter_map(|(group, line)| {
                self.candidate(*group, line).map(|(number, long)| (number, long, *group))
            })
            .min()?;
        let line = self.groups.get_mut(&group)?;
        let job = if is_long { line.long.remove(&number) } else { line.short.remove(&number) }?;
        self.began(group, is_long);
        job.counts_as_long.store(is_long, Ordering::SeqCst);
        Some(Work::Run(job))
    }

    /// Whether something that nobody has taken may be dropped: that may last long.
    fn may_discard(&self) -> bool {
        let (share, _) = self.share();
        let line = self.groups.get(&NO_CLIENT);
        line.is_some_and(|line| line.running < share && self.may_run_long(NO_CLIENT, line))
    }

    fn has_work(&self) -> bool {
        !self.discarded.is_empty() && self.may_discard()
            || self.groups.iter().any(|(group, line)| self.candidate(*group, line).is_some())
    }

    /// Whether a call is under way or waits.
    fn has_jobs(&self) -> bool {
        self.groups.values().any(|line| !line.jobs.is_empty())
    }

    /// Counts one of a group's that begins to run.
    fn began(&mut self, group: u64, is_long: bool) {
        if let Some(line) = self.groups.get_mut(&group) {
            line.running += 1;
        }
        if is_long {
            self.began_long(group);
        }
    }

    fn began_long(&mut self, group: u64) {
        if let Some(line) = self.groups.get_mut(&group) {
            line.running_long += 1;
        }
        self.long += usize::from(group != NO_CLIENT);
    }

    /// Puts one that has run out of the count of those that run.
    fn stopped(&mut self, group: u64, is_long: bool) {
        if let Some(line) = self.groups.get_mut(&group) {
            line.running -= 1;
            line.running_long -= usize::from(is_long);
        }
        self.long -= usize::from(is_long && group != NO_CLIENT);
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

    /// Makes a thread.
    fn make_thread(&'static self, state: &mut State) -> Result<()> {
        #[cfg(test)]
        if NO_THREADS.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Io, "a test lets no thread be made"));
        }
        sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-call".into()).spawn(move || self.run())
        })
        .map_err(|e| Error::io("starting a thread", e))?;
        state.starting += 1;
        Ok(())
    }

    /// Makes a thread if there is none. While a job is not over, the last thread stays. So a job that
    /// was accepted runs even if no further thread can be made.
    fn have_thread(&'static self, state: &mut State) -> Result<()> {
        if state.running + state.starting == 0 { self.make_thread(state) } else { Ok(()) }
    }

    /// Makes a thread if there is work that none is free for. If none can be made, one that is busy does
    /// the work later.
    fn add_thread(&'static self, state: &mut State) {
        let all = state.running + state.starting;
        if state.idle + state.starting == 0
            && all < state.threads
            && state.has_work()
            && let Err(error) = self.make_thread(state)
        {
            log::debug!("submitted calls wait for the threads that there are: {error}");
        }
    }

    /// Has the work done that was just added: by a thread that is free, or by a new one.
    fn kick(&'static self, mut state: MutexGuard<'_, State>) {
        self.add_thread(&mut state);
        drop(state);
        self.work.notify_one();
    }

    fn run(&'static self) {
        let mut state = self.lock();
        state.starting -= 1;
        state.running += 1;
        // Whether this thread has waited for something to do in vain.
        let mut lingered = false;
        loop {
            if state.running <= state.threads
                && let Some(work) = state.pop()
            {
                lingered = false;
                // There may be more than this thread can do.
                self.add_thread(&mut state);
                if state.idle > 0 && state.has_work() {
                    self.work.notify_one();
                }
                drop(state);
                state = self.work_on(work);
                continue;
            }
            let is_kept = state.running == 1 && state.has_jobs();
            if state.running > state.threads || lingered && !is_kept {
                break;
            }
            state.idle += 1;
            if lingered {
                state.kept = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.kept = false;
            } else {
                let (waited, timeout) =
                    self.work.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
                state = waited;
                lingered = timeout.timed_out();
            }
            state.idle -= 1;
        }
        state.running -= 1;
    }

    fn work_on(&self, work: Work) -> MutexGuard<'_, State> {
        match work {
            Work::Run(job) => {
                let goes_on = job.run();
                let mut state = self.lock();
                state.stopped(job.group, job.counts_as_long.swap(false, Ordering::SeqCst));
                if goes_on && !job.is_over() {
                    state.line_up(job.clone());
                }
                drop(state);
                // The last reference is not dropped under the lock.
                drop(job);
                self.changed.notify_all();
                self.lock()
            }
            Work::Drop(made) => {
                drop_made(made);
                let mut state = self.lock();
                state.stopped(NO_CLIENT, true);
                state
            }
        }
    }
}

/// Whether no further thread can be made.
#[cfg(test)]
pub(super) static NO_THREADS: std::sync::atomic::AtomicBool =
    std::sync::atomic::AtomicBool::new(false);

fn drop_made(made: Made) {
    if catch_unwind(AssertUnwindSafe(|| drop(made))).is_err() {
        log::error!("the end of a result panicked");
    }
}

/// Accepts a job; one that waits first comes into the line later. Fails if there is no thread and none
/// can be made.
pub(super) fn begin(job: Arc<Job>, limits: &Limits, first: Option<Parked>) -> Result<()> {
    job.watch(limits)?;
    let pool = pool();
    let mut state = pool.lock();
    let accepted = match state.groups.entry(job.group).or_default().closed {
        true => Err(Error::new(ErrorKind::Closed, "the client is closed")),
        false => pool.have_thread(&mut state),
    };
    if let Err(error) = accepted {
        drop(state);
        // If the watchdog has completed it already, it was accepted.
        return if job.refuse() { Err(error) } else { Ok(()) };
    }
    if let Some(line) = state.groups.get_mut(&job.group) {
        line.jobs.insert(job.number, job.clone());
    }
    match first {
        None => {
            state.line_up(job.clone());
            pool.kick(state);
        }
        Some(first) => {
            drop(state);
            job.wait_first(first);
            job.clone().wake();
        }
    }
    if job.is_completed() {
        // The watchdog has completed it before it was in the line. A thread that still completes a job
        // forgets it afterwards.
        over(&job);
    }
    Ok(())
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
    let may_end = state.kept && !state.has_jobs();
    drop(state);
    pool.changed.notify_all();
    if may_end {
        pool.work.notify_all();
    }
}

/// Marks a running job as long. Returns false if too many long jobs run: the job then runs again later.
pub(super) fn begin_long(job: &Arc<Job>) -> bool {
    if job.long.load(Ordering::SeqCst) {
        return true;
    }
    let mut state = pool().lock();
    let Some(line) = state.groups.get(&job.group) else {
        // Its client is gone.
        return true;
    };
    job.long.store(true, Ordering::SeqCst);
    if state.may_run_long(job.group, line) {
        state.began_long(job.group);
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
    if pool.have_thread(&mut state).is_err() {
        drop(state);
        // Better here than never.
        return drop_made(made);
    }
    state.discarded.push_back(made);
    pool.kick(state);
}

/// How many threads there are.
#[cfg(test)]
pub(super) fn threads() -> usize {
    let state = pool().lock();
    state.running + state.starting
}
