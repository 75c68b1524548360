//! The steps that an operation has done so far, so that a failure can undo them.

use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, Result, ResultExt};
use crate::rpc::Ctx;
use crate::wait::until_removed;

/// How long undoing may take, whatever limits the operation has.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Undoes a step. Says whether there was something to undo.
type Step = Box<dyn Fn(&Ctx) -> Result<bool>>;

/// The steps that undo an operation, in the order in which it did them.
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<(&'static str, Step)>,
}

impl Undo {
    /// Notes how to undo a step that was just done, or may have been done. `step` says whether
    /// there was something to undo. It may run more than once.
    pub(super) fn push(
        &mut self,
        what: &'static str,
        step: impl Fn(&Ctx) -> Result<bool> + 'static,
    ) {
        self.steps.push((what, Box::new(step)));
    }

    /// Undoes everything, newest step first, and passes the error on. It stops at a step that
    /// cannot be undone, which becomes the error's cause: the older steps are still in use by it,
    /// as a record by its task.
    pub(super) fn run(self, ctx: &Ctx, error: Error) -> Error {
        let ctx = ctx.with_limits(Limits::within(TIMEOUT));
        // Everything before a call that broke off exists, so this costs no time for it.
        let unknown = error.is_outcome_unknown();
        for (what, step) in self.steps.into_iter().rev() {
            if let Err(e) = until_removed(&ctx.limits, unknown, || step(&ctx)) {
                let e = e.context(format_args!("could not undo: {what}"));
                log::warn!("{e}");
                return error.caused_by(e);
            }
        }
        error
    }
}

/// Whether the thing that was to be removed existed.
pub(super) fn existed(removed: Result<()>) -> Result<bool> {
    removed.optional().map(|removed| removed.is_some())
}
