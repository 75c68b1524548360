//! Looking up the processes whose Wait broke off: whether they run, and how they ended if not.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Watch, Watches};
use crate::call::Limits;
use crate::error::{Error, ErrorKind};
use crate::message::Origin;
use crate::rpc::tasks::{self, Status};
use crate::rpc::version;

/// How long one look may take: a shim that is stuck is answered for by containerd after 2 s.
const LOOK: Duration = Duration::from_secs(5);
/// The pause between looks while the server cannot be reached: from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The watches whose Wait broke off. One job on the pool works through them while there are any.
#[derive(Default)]
pub(super) struct Reconciler {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lost: Vec<(Arc<Watch>, Error)>,
    running: bool,
    closed: bool,
}

impl Reconciler {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.lost.clear();
        self.changed.notify_all();
    }

    /// Sleeps; less where the client is closed meanwhile. Says whether to go on.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, pause, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }
}

/// What a look at one process gave.
enum Look {
    /// It is followed again, or its exit was delivered.
    Settled,
    /// Nothing is known yet.
    Again(Error),
}

impl Watches {
    /// Puts the watch on the list of those to be looked up; `why` is what ended its Wait.
    pub(super) fn reconcile(&self, watch: &Arc<Watch>, why: Error) {
        log::debug!("the wait for container {} broke off: {why}", watch.key.container);
        let mut state = self.0.reconciler.lock();
        if state.closed {
            return;
        }
        state.lost.push((watch.clone(), why));
        if state.running {
            return;
        }
        state.running = true;
        drop(state);
        let watches = self.clone();
        if self.0.pool.run(move || watches.work_through()).is_err() {
            self.0.reconciler.lock().running = false;
        }
    }

    fn work_through(&self) {
        let reconciler = &self.0.reconciler;
        let (first, longest) = PAUSES;
        let mut pause = first;
        loop {
            let lost = {
                let mut state = reconciler.lock();
                if state.closed || state.lost.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.lost)
            };
            let mut again = Vec::new();
            if version::version(&self.cx("default", Limits::within(LOOK))).is_ok() {
                for (watch, why) in lost {
                    if let Look::Again(why) = self.look(&watch, why) {
                        again.push((watch, why));
                    }
                }
            } else {
                again = lost;
            }
            if again.is_empty() {
                pause = first;
                continue;
            }
            reconciler.lock().lost.extend(again);
            if !reconciler.pause(pause) {
                reconciler.lock().running = false;
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Looks one process up. `why` is what ended its Wait.
    fn look(&self, watch: &Arc<Watch>, why: Error) -> Look {
        if watch.is_over() {
            return Look::Settled;
        }
        let cx = self.cx(&watch.key.namespace, Limits::within(LOOK));
        match tasks::get(&cx, &watch.key.container, "") {
            Ok(process) if process.pid != 0 && process.pid != watch.process.pid => {
                watch.deliver(Origin::Gap, None, Some(unknown("another process has its id")));
                Look::Settled
            }
            Ok(process) => match process.status {
                Status::Stopped => {
                    watch.deliver(Origin::Recovered, Some(process.exit), None);
                    Look::Settled
                }
                Status::Unknown => Look::Again(why),
                Status::Created | Status::Running | Status::Paused | Status::Pausing => {
                    match self.follow(watch) {
                        Ok(()) => Look::Settled,
                        Err(error) => Look::Again(error),
                    }
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => self.look_in_list(watch, why),
            Err(error) => Look::Again(error),
        }
    }

    /// Get finds no task also where only the container's record is gone; the list shows it still.
    fn look_in_list(&self, watch: &Arc<Watch>, why: Error) -> Look {
        let cx = self.cx(&watch.key.namespace, Limits::within(LOOK));
        let list = match tasks::list(&cx) {
            Ok(list) => list,
            Err(error) => return Look::Again(error),
        };
        let ours = list
            .into_iter()
            .find(|(id, process)| *id == watch.key.container && process.pid == watch.process.pid);
        match ours {
            Some((_, process)) if process.status != Status::Stopped => Look::Again(why),
            Some((_, process)) => {
                watch.deliver(Origin::Recovered, Some(process.exit), None);
                Look::Settled
            }
            None => {
                let error = unknown("its task is gone from containerd").caused_by(why);
                watch.deliver(Origin::Gap, None, Some(error));
                Look::Settled
            }
        }
    }
}

/// An exit of which no source holds the code.
fn unknown(why: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("the exit code is not known: {why}"))
}
