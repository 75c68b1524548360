//! The Wait of one process: a call that the server answers when the process exits.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::process::{WaitGuard, Watch};
use super::watches::Watches;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Origin;
use crate::record::SIGKILL_CODE;
use crate::rpc::tasks;
use crate::wait::detach;

impl Watches {
    /// Sends a Wait for the watch, unless one is outstanding, and has the answer reported.
    pub(super) fn send_wait(&self, watch: &Arc<Watch>) -> Result<()> {
        let Some(guard) = WaitGuard::new(watch) else { return Ok(()) };
        // The answer may take as long as the process runs: no deadline.
        let ctx = self.ctx(&watch.key.namespace, Limits::default());
        let mut reply = tasks::wait(&ctx, watch.container(), watch.exec_id())?;
        // Keeps the thread of the reconciler: when the Wait breaks off, no new one might be had.
        let kept = self.0.executor.keep()?;
        let watches = self.clone();
        let watch = watch.clone();
        let mut guard = Some(guard);
        detach(poll_fn(move |cx| {
            // This drops the Wait.
            if watch.poll_over(cx) {
                return Poll::Ready(());
            }
            let Poll::Ready(answer) = Pin::new(&mut reply).poll(cx) else {
                return Poll::Pending;
            };
            // A look-up may send the next Wait.
            drop(guard.take());
            match answer {
                Ok(_) if watch.is_exit_held() => watches.reconcile(&watch, exit_held()),
                Ok(exit) if exit.code == SIGKILL_CODE && !watch.is_started() => {
                    watches.reconcile(&watch, not_started());
                }
                Ok(exit) if exit.at.is_none() => watches.reconcile(&watch, without_time()),
                Ok(exit) => watches.report_exit(&watch, Origin::Live, Some(exit), None),
                Err(why) => watches.reconcile(&watch, why),
            }
            let _ = &kept;
            Poll::Ready(())
        }));
        Ok(())
    }
}

/// Another client may have removed the container, which kills the process, or may have started it.
fn not_started() -> Error {
    Error::new(ErrorKind::Aborted, "the process was killed, and may never have run")
}

/// The process never ran, or its shim does not know yet how it exited.
fn without_time() -> Error {
    Error::new(ErrorKind::Protocol, "the server sent an exit without a time")
}

pub(super) fn exit_held() -> Error {
    Error::new(ErrorKind::Aborted, "another call is about to report the exit")
}
