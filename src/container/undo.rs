//! What an operation has done so far, so that it can be undone.

use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, Result, ResultExt};
use crate::rpc::Ctx;
use crate::wait::until_removed;

/// How long undoing may take, whatever limits the operation had.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Says whether there was what it undoes.
type Step = Box<dyn Fn(&Ctx) -> Result<bool>>;

/// The steps that undo an operation, in the order in which it did them.
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<(&'static str, Step)>,
}

impl Undo {
    /// Notes how to undo what was just done, or may have been; `step` says whether it was there. It may
    /// be tried more than once.
    pub(super) fn push(
        &mut self,
        what: &'static str,
        step: impl Fn(&Ctx) -> Result<bool> + 'static,
    ) {
        self.steps.push((what, Box::new(step)));
    }

    /// Undoes everything, newest first, and gives the error on. It ends at what cannot be undone,
    /// which is then the error's cause: what is older is still in use by it, as a record by its task.
    pub(super) fn run(self, ctx: &Ctx, error: Error) -> Error {
        let ctx = ctx.with_limits(Limits::within(TIMEOUT));
        // What was done before the call that broke off is there: no time is lost with it.
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

/// Whether what a step has removed existed.
pub(super) fn existed(removed: Result<()>) -> Result<bool> {
    removed.optional().map(|removed| removed.is_some())
}
