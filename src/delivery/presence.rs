//! Whether a consumer is still there, for whoever brings it what it wants.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// The consumer's end. Dropped, it says that the consumer has gone.
pub(crate) struct Present(Arc<Mutex<State>>);

/// The other end.
pub(crate) struct Presence(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gone: bool,
    waker: Option<Waker>,
}

pub(crate) fn presence() -> (Present, Presence) {
    let state = Arc::<Mutex<State>>::default();
    (Present(state.clone()), Presence(state))
}

impl Presence {
    /// Whether it has gone. Otherwise the last one who asked is woken when it goes.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.gone {
            state.waker = Some(cx.waker().clone());
        }
        state.gone
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.gone = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
