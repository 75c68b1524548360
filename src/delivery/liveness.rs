//! Whether a consumer still exists, for the subscription that brings it events.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// Held by the consumer. The drop reports that the consumer is gone.
pub(crate) struct Alive(Arc<Mutex<State>>);

/// The other end, held by the subscription.
pub(crate) struct Liveness(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gone: bool,
    waker: Option<Waker>,
}

pub(crate) fn liveness() -> (Alive, Liveness) {
    let state = Arc::<Mutex<State>>::default();
    (Alive(state.clone()), Liveness(state))
}

impl Liveness {
    /// Returns whether the consumer is gone. If it is not, the task that polled last is woken when
    /// it goes.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.gone {
            state.waker = Some(cx.waker().clone());
        }
        state.gone
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.gone = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
