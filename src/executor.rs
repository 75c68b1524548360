//! The thread that runs background tasks of a client, for example those that look processes up after an
//! outage. The tasks are futures: it waits for many answers at once and blocks on none.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// One thread. It exists only while it has tasks, or while it is kept for later ones. It blocks
/// every signal.
#[derive(Clone)]
pub(crate) struct Executor {
    name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The number of the next task or timer.
    next: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The tasks that have not ended, by number.
    tasks: HashMap<u64, Arc<Task>>,
    ready: VecDeque<Arc<Task>>,
    /// The wakers, by the time at which to wake them and a number that tells equal times apart.
    timers: BTreeMap<(Instant, u64), Waker>,
    /// The thread, also if it has ended.
    thread: Option<JoinHandle<()>>,
    running: bool,
    /// How many [`Kept`] keep the thread for later tasks.
    keepers: usize,
    closed: bool,
}

/// How long the thread waits for more tasks before it ends.
const LINGER: Duration = Duration::from_secs(1);

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    number: u64,
    /// Whether it is in the list of tasks that are ready.
    queued: AtomicBool,
    /// `None` once the task has ended.
    job: Mutex<Option<Job>>,
    shared: Weak<Shared>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().ready.push_back(self);
            shared.changed.notify_one();
        }
    }
}

impl Task {
    /// Polls it. Returns whether it has ended.
    fn poll(self: &Arc<Self>) -> bool {
        // Before the poll, so that a wake-up from here on leads to another poll.
        self.queued.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic must not end the thread, because other tasks need it.
        let over = catch_unwind(AssertUnwindSafe(|| {
            job.as_mut().is_none_or(|job| job.as_mut().poll(&mut cx).is_ready())
        }))
        .unwrap_or_else(|_| {
            log::error!("a job of the library panicked");
            true
        });
        if over {
            *job = None;
        }
        over
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the thread.
    fn run(&self) {
        let mut state = self.lock();
        // The time since which there is no task.
        let mut idle = None;
        loop {
            let due = state.timers.keys().next().map(|(at, _)| *at);
            let ends = if state.tasks.is_empty() && state.keepers == 0 {
                Some(*idle.get_or_insert_with(Instant::now) + LINGER)
            } else {
                idle = None;
                None
            };
            if state.closed || ends.is_some_and(|ends| ends <= Instant::now()) {
                state.running = false;
                return;
            }
            if let Some(task) = state.ready.pop_front() {
                drop(state);
                let (over, number) = (task.poll(), task.number);
                // After a close, this may be the last reference.
                drop(task);
                state = self.lock();
                if over {
                    state.tasks.remove(&number);
                }
                continue;
            }
            let until = due.into_iter().chain(ends).min();
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => {
                    let timer = state.timers.pop_first();
                    drop(state);
                    timer.into_iter().for_each(|(_, waker)| waker.wake());
                    self.lock()
                }
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Executor {
    /// An executor whose thread gets this name. It has no thread yet.
    pub(crate) fn new(name: &'static str) -> Executor {
        Executor { name, shared: Arc::default() }
    }

    /// Runs `job` to its end. Fails after the close.
    pub(crate) fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        // Made before the lock is taken, because a job that is refused must not be dropped under
        // the lock.
        let task = Arc::new(Task {
            number: self.shared.next.fetch_add(1, Ordering::Relaxed),
            queued: AtomicBool::new(true),
            job: Mutex::new(Some(Box::pin(job))),
            shared: Arc::downgrade(&self.shared),
        });
        let mut state = self.running()?;
        state.tasks.insert(task.number, task.clone());
        state.ready.push_back(task);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Keeps the thread for later tasks: it might be impossible to make one then. Fails if no thread can
    /// be made now, and after the close.
    pub(crate) fn keep(&self) -> Result<Kept> {
        self.running()?.keepers += 1;
        Ok(Kept(self.shared.clone()))
    }

    /// Starts the thread if it does not run.
    fn running(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        if !state.running {
            let shared = self.shared.clone();
            // The previous thread has ended, so its handle can be dropped.
            state.thread = Some(
                sys::with_signals_blocked(|| {
                    std::thread::Builder::new().name(self.name.into()).spawn(move || shared.run())
                })
                .map_err(|e| Error::io("starting a thread", e))?,
            );
            state.running = true;
        }
        Ok(state)
    }

    /// A future that is ready after this time. Only for jobs of this executor.
    pub(crate) fn sleep(&self, time: Duration) -> Sleep {
        // A time beyond the clock's range counts as never.
        let at = Instant::now().checked_add(time.min(Duration::from_secs(1 << 32)));
        Sleep { shared: self.shared.clone(), at: at.unwrap_or_else(Instant::now), timer: None }
    }

    /// The result of a future, or `None` if it is not ready within this time. Only for jobs of this
    /// executor.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep(time));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Drops every job and ends the thread. It waits only a moment, because no job blocks.
    pub(crate) fn close(&self) {
        let (tasks, timers, thread) = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.ready.clear();
            (
                std::mem::take(&mut state.tasks),
                std::mem::take(&mut state.timers),
                state.thread.take(),
            )
        };
        self.shared.changed.notify_one();
        let is_me = thread.as_ref().is_some_and(|t| t.thread().id() == std::thread::current().id());
        if is_me {
            // A job that runs now cannot wait for itself. It is dropped when it returns.
            return;
        }
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        for task in tasks.into_values() {
            task.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        drop(timers);
    }
}

/// See [`Executor::keep`].
pub(crate) struct Kept(Arc<Shared>);

impl Drop for Kept {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.0.lock();
            state.keepers -= 1;
            state.keepers == 0
        };
        if is_last {
            self.0.changed.notify_one();
        }
    }
}

/// See [`Executor::sleep`].
pub(crate) struct Sleep {
    shared: Arc<Shared>,
    at: Instant,
    /// Its number among the timers.
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let next = || this.shared.next.fetch_add(1, Ordering::Relaxed);
        let number = *this.timer.get_or_insert_with(next);
        let mut state = this.shared.lock();
        let old = state.timers.insert((this.at, number), cx.waker().clone());
        drop(state);
        // This may be the last reference to a task, which must not be dropped under the lock.
        drop(old);
        this.shared.changed.notify_one();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.timer {
            let waker = self.shared.lock().timers.remove(&(self.at, number));
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;

    use super::*;

    fn is_running(executor: &Executor) -> bool {
        executor.shared.lock().running
    }

    #[test]
    fn drives_many_at_once_and_ends_with_the_last() {
        let executor = Executor::new("test");
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        for i in 0..100 {
            let (sender, sleep) = (sender.clone(), executor.sleep(Duration::from_millis(50)));
            let job = async move {
                sleep.await;
                sender.send(i).unwrap();
            };
            executor.spawn(job).unwrap();
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), 100);
        assert!(start.elapsed() >= Duration::from_millis(50));
        while is_running(&executor) {
            std::thread::yield_now();
        }
        let kept = executor.keep().unwrap();
        std::thread::sleep(LINGER + Duration::from_millis(100));
        assert!(is_running(&executor));
        drop(kept);
        while is_running(&executor) {
            std::thread::yield_now();
        }
        // It starts again.
        let (sender, receiver) = mpsc::channel();
        executor.spawn(async move { sender.send(()).unwrap() }).unwrap();
        receiver.recv().unwrap();
    }

    #[test]
    fn a_panic_ends_the_job_alone() {
        std::panic::set_hook(Box::new(|_| {}));
        let executor = Executor::new("test");
        executor.spawn(async { panic!("on purpose") }).unwrap();
        let (sender, receiver) = mpsc::channel();
        executor.spawn(async move { sender.send(()).unwrap() }).unwrap();
        receiver.recv().unwrap();
    }

    #[test]
    fn the_close_drops_what_has_not_ended() {
        struct Dropped(mpsc::Sender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let executor = Executor::new("test");
        let (sender, receiver) = mpsc::channel();
        let dropped = Dropped(sender);
        let job = async move {
            let _dropped = dropped;
            pending::<()>().await;
        };
        executor.spawn(job).unwrap();
        executor.close();
        receiver.try_recv().unwrap();
        assert!(!is_running(&executor));
        let error = executor.spawn(async { unreachable!("it is closed") }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        executor.close();
    }
}
