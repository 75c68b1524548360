//! The callers that wait for the exit of one process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::process::{Waiters, Watch};
use crate::call::Limits;
use crate::error::Result;
use crate::message::Message;
use crate::wait::block_on;

impl Waiters {
    /// Sets what wakes a caller. The caller gets its number the first time.
    fn set(&mut self, number: &mut Option<u64>, waker: &Waker) {
        let number = *number.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.wakers.insert(number, waker.clone());
    }
}

impl Watch {
    /// Waits for the exit.
    pub(crate) fn wait(self: &Arc<Self>, limits: &Limits) -> Result<Message> {
        block_on(limits, self.waiting())?
    }

    /// A future that gives the exit.
    pub(crate) fn waiting(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        ExitWait { watch: self.clone(), number: None }
    }
}

/// One caller that waits for the exit.
struct ExitWait {
    watch: Arc<Watch>,
    number: Option<u64>,
}

impl Future for ExitWait {
    type Output = Result<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let this = &mut *self;
        let end = {
            let mut state = this.watch.lock();
            let end = state.see_end();
            if end.is_none() {
                state.waiters.set(&mut this.number, cx.waker());
            }
            end
        };
        match end {
            Some(end) => Poll::Ready(end.map(|message| this.watch.with_output_lost(message))),
            None => Poll::Pending,
        }
    }
}

impl Drop for ExitWait {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.watch.lock().waiters.wakers.remove(&number);
            drop(waker);
        }
    }
}
