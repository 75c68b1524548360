//! Operations: the exports that take a `ctrd_call_t`.
//!
//! Each of them has three parts. It checks its arguments and copies them; it does its work with the
//! copies, through the core; it gives the caller what came of that. All three meet in [`run`], and only
//! there. So it is `run` that would have the work done by another thread, and the outcome delivered by
//! a message: no export would change.

use ctrd::{Call, Error, ErrorKind, Result};

use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::Output;
use crate::abi::{fork, guard};
use crate::call::{self, ctrd_call_t};
use crate::status::ctrd_status_t;

/// Runs an operation.
///
/// `accept` checks and copies the arguments, and gives the work. It runs first, whatever else is
/// wrong: what the caller gives away is the library's from there on. The work owns what it needs, may
/// run on another thread, and may be run again from its start.
pub(crate) fn run<O, W>(
    operation: &'static str,
    given: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
    out: O,
    accept: impl FnOnce() -> Result<W>,
) -> ctrd_status_t
where
    O: Output,
    W: FnMut(&Call) -> Result<O::Value> + Send + 'static,
{
    run_if(operation, given, err, out, accept, |_| {
        Err(Error::new(ErrorKind::Unsupported, "calls cannot be submitted to a queue yet"))
    })
}

/// Runs an operation that cannot be submitted.
pub(crate) fn run_here<O, W>(
    operation: &'static str,
    given: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
    out: O,
    accept: impl FnOnce() -> Result<W>,
) -> ctrd_status_t
where
    O: Output,
    W: FnMut(&Call) -> Result<O::Value> + Send + 'static,
{
    run_if(operation, given, err, out, accept, |_| {
        Err(Error::invalid("queue", "this function cannot be submitted"))
    })
}

fn run_if<O, W>(
    operation: &'static str,
    given: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
    mut out: O,
    accept: impl FnOnce() -> Result<W>,
    submit: impl FnOnce(W) -> Result<()>,
) -> ctrd_status_t
where
    O: Output,
    W: FnMut(&Call) -> Result<O::Value> + Send + 'static,
{
    out.clear();
    guard::outcome(operation, err, || {
        let accepted = accept();
        guard::check_not_inside_log_hook()?;
        fork::check()?;
        // SAFETY: the caller's struct, its strings and its handles are as the header says.
        let given = unsafe { call::read(given)? };
        if given.is_submitted && out.is_given() {
            return Err(Error::invalid(out.name(), "must be NULL if the call is submitted"));
        }
        if !given.is_submitted {
            out.check()?;
        }
        let mut work = accepted?;
        if given.is_over {
            return Err(Error::new(ErrorKind::Timeout, "the deadline passed before the call"));
        }
        if given.is_submitted {
            return submit(work);
        }
        out.put(work(&given.call)?);
        Ok(())
    })
}
