//! Operations: the exports that take a `ctrd_call_t`.
//!
//! Each of them has three parts. It checks its arguments and copies them; it does its work with the
//! copies, through the core; it gives the caller the result. All three meet in [`run`], and only there:
//! it does the work at once, or submits it to the call's queue. Then the result is in the completion.

use std::time::Duration;

use ctrd::{Call, Client, Error, ErrorKind, Result, Submission};

use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::Output;
use crate::abi::{fork, guard};
use crate::call::{self, Target, ctrd_call_t};
use crate::status::ctrd_status_t;

/// An operation whose arguments are checked and copied.
pub(crate) struct Operation<W> {
    work: W,
    /// Its client, unless it belongs to none.
    client: Option<Client>,
    /// What it acts on, for the error of a call that ends before the work begins.
    subject: String,
    /// Whether the subject is a container that it changes.
    is_change: bool,
    takes_slot: bool,
    /// How long it may take if the call names no timeout.
    default_timeout: Option<Duration>,
    /// The argument because of which it cannot be submitted, and why not.
    refused: Option<(&'static str, &'static str)>,
}

impl<W> Operation<W> {
    fn new(work: W, subject: String, default_timeout: Option<Duration>) -> Operation<W> {
        Operation {
            work,
            client: None,
            subject,
            is_change: false,
            takes_slot: true,
            default_timeout,
            refused: None,
        }
    }

    /// How long it may take if the call names no timeout. `None`: without a limit.
    pub(crate) fn default_timeout(self, default_timeout: Option<Duration>) -> Operation<W> {
        Operation { default_timeout, ..self }
    }

    /// It takes no slot of the calls in flight if it is submitted.
    pub(crate) fn without_slot(self) -> Operation<W> {
        Operation { takes_slot: false, ..self }
    }

    /// It cannot be submitted: it was given a callback as this argument.
    pub(crate) fn with_callback(self, argument: &'static str) -> Operation<W> {
        Operation { refused: Some((argument, "a submitted call takes no callback")), ..self }
    }

    /// It can never be submitted.
    pub(crate) fn never_submitted(self) -> Operation<W> {
        Operation { refused: Some(("queue", "this function cannot be submitted")), ..self }
    }
}

/// An operation that belongs to no client.
pub(crate) fn of_none<V, F>(subject: String, timeout: Option<Duration>, work: F) -> Operation<F>
where
    F: FnMut(&Call) -> Result<V> + Send + 'static,
{
    Operation::new(work, subject, timeout)
}

/// An operation of a client. If the call names no timeout, it has the client's call timeout.
pub(crate) fn of<V, F>(
    client: Client,
    subject: String,
    mut work: F,
) -> Operation<impl FnMut(&Call) -> Result<V> + Send + use<V, F> + 'static>
where
    F: FnMut(&Client, &Call) -> Result<V> + Send + 'static,
{
    let own = client.clone();
    let timeout = ctrd::ffi::call_timeout(&client);
    let work = move |call: &Call| work(&own, call);
    Operation { client: Some(client), ..Operation::new(work, subject, Some(timeout)) }
}

/// An operation of a client that changes the container `id`: if it is submitted, it runs after the
/// changes that were submitted before it.
pub(crate) fn change<V, F>(
    client: Client,
    id: String,
    work: F,
) -> Operation<impl FnMut(&Call) -> Result<V> + Send + use<V, F> + 'static>
where
    F: FnMut(&Client, &Call) -> Result<V> + Send + 'static,
{
    Operation { is_change: true, ..of(client, id, work) }
}

/// Runs an operation, or submits it.
///
/// `accept` checks and copies the arguments. It runs first, whatever else is wrong: what the caller gives
/// away is the library's from there on. The work owns what it needs, may run on another thread, and may
/// be run again from its start.
pub(crate) fn run<O, W>(
    operation: &'static str,
    given: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
    mut out: O,
    accept: impl FnOnce() -> Result<Operation<W>>,
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
        if given.target.is_none() {
            out.check()?;
        }
        let mut accepted = accepted?;
        if given.target.is_some() {
            if let Some((argument, why)) = accepted.refused {
                return Err(Error::invalid(argument, why));
            }
            if out.is_given() {
                return Err(Error::invalid(out.name(), "must be NULL if the call is submitted"));
            }
        }
        if given.is_over {
            return Err(Error::new(ErrorKind::Timeout, "the deadline passed before the call"));
        }
        match given.target {
            Some(target) => submit(operation, accepted, &given.call, &target),
            None => {
                out.put((accepted.work)(&given.call)?);
                Ok(())
            }
        }
    })
}

fn submit<V, W>(
    name: &'static str,
    accepted: Operation<W>,
    call: &Call,
    target: &Target,
) -> Result<()>
where
    V: Send + 'static,
    W: FnMut(&Call) -> Result<V> + Send + 'static,
{
    let Operation { work, client, subject, is_change, takes_slot, default_timeout, .. } = accepted;
    let (queue, tag) = (&target.queue, target.tag);
    let mut submission = match client {
        Some(client) if is_change => client.change(queue, tag, &subject),
        Some(client) => client.submission(queue, tag),
        None => Submission::new(queue, tag),
    };
    submission = submission.named(name, subject);
    if !takes_slot {
        submission = submission.without_slot();
    }
    if let Some(timeout) = default_timeout {
        submission = submission.default_timeout(timeout);
    }
    // From here on a child cannot use the library: the threads that the call runs on are not there.
    let used = fork::Use::begin();
    submission.submit(call, work)?;
    used.keep();
    Ok(())
}
