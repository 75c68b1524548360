//! The statistics of one container, or of many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::task::{LOOK_UP, no_answer};
use crate::call::{Call, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::Ctx;
use crate::rpc::containers;
use crate::rpc::metrics::{self, Answer, Metric};
use crate::rpc::tasks::{self, Status};
use crate::stats::{Stat, Stats};
use crate::wait::block_on;

/// How long a shim may take, as long as containerd waits for one that it asks for the state.
const SHIM: Duration = Duration::from_secs(2);

/// How long one call for all containers may take. It lasts longer only with a thousand containers, or
/// with a shim that does not answer.
const TOGETHER: Duration = Duration::from_secs(1);

/// How many containers are asked about at once if they are asked about one by one.
const AT_ONCE: usize = 64;

/// How long containers are asked about one by one after a shim has not answered. Each call for all that
/// breaks off makes containerd log an error for every container behind that shim.
const APART: Duration = Duration::from_secs(60);

/// The step that asks for the figures.
const READ: &str = "read the figures";

/// The figures of one container.
pub(crate) fn stats(client: &Inner, id: &str, call: &Call) -> Result<Stats> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let bounded = ctx.with_limits(ctx.limits.at_most(SHIM));
    let metrics = match metrics::get(&bounded, &[id.to_owned()]) {
        Err(e) if e.kind() == ErrorKind::Timeout && ctx.limits.check().is_ok() => {
            return Err(no_answer());
        }
        metrics => metrics.step(READ)?,
    };
    if metrics.is_empty() && has_passed(&bounded.limits) && ctx.limits.check().is_ok() {
        return Err(no_answer());
    }
    if let Some(stats) = metrics.into_iter().next().map(Stats::new).transpose()?
        && !is_empty(&stats)
    {
        return Ok(stats);
    }
    Err(why_not(ctx, id))
}

/// Whether the container has no process any more. The kernel keeps the cgroup until the task is deleted.
fn is_empty(stats: &Stats) -> bool {
    stats.get(Stat::PidsCurrent) == Some(0)
}

/// Why there are no figures of a container.
fn why_not(ctx: &Ctx, id: &str) -> Error {
    let why = match tasks::get(ctx, id, "") {
        Ok(process) => match process.status {
            Status::Stopped | Status::Ending => "the container's process has ended",
            Status::Unknown => return no_answer(),
            _ => "containerd has no figures of the container: its log says why",
        },
        Err(e) if e.kind() == ErrorKind::Timeout && ctx.limits.check().is_ok() => {
            return no_answer();
        }
        Err(e) => return e.step(LOOK_UP),
    };
    Error::new(ErrorKind::FailedPrecondition, why).step(READ)
}

/// The figures of these containers, or of all of the namespace if there are none.
pub(crate) fn list_stats(client: &Inner, ids: &[&str], call: &Call) -> Result<Vec<Stats>> {
    for (i, id) in ids.iter().enumerate() {
        identifier::check(&format!("ids[{i}]"), id)?;
    }
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    ids.sort();
    ids.dedup();
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let apart = || client.stats_one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
    let is_apart = apart().is_some_and(|until| Instant::now() < until);
    let metrics = if is_apart { None } else { together(ctx, &ids)? };
    let mut all: Vec<Stats> = match metrics {
        Some(metrics) => metrics.into_iter().filter_map(read).collect(),
        None => {
            if ids.is_empty() {
                containers::list(ctx, &[], |record| ids.push(record.id))
                    .step("list the containers")?;
            }
            let all = one_by_one(ctx, ids)?;
            let is_stuck = |error: &Error| error.kind() == ErrorKind::Unavailable;
            let one_is_stuck = all.iter().any(|stats| stats.error().is_some_and(is_stuck));
            *apart() = if one_is_stuck { Instant::now().checked_add(APART) } else { None };
            all
        }
    };
    all.sort_by(|a, b| a.container_id().cmp(b.container_id()));
    Ok(all)
}

/// Whether the deadline has passed. At the deadline containerd gives up, and answers without the
/// containers that it has not heard of: such an answer says nothing about them.
fn has_passed(limits: &Limits) -> bool {
    limits.remaining().is_some_and(|left| left.is_zero())
}

/// Asks for all at once. `None` if that takes too long: a shim may not answer, which keeps containerd
/// from asking those behind it.
fn together(ctx: &Ctx, ids: &[String]) -> Result<Option<Vec<Metric>>> {
    let most = ctx.limits.remaining().map_or(TOGETHER, |left| TOGETHER.min(left / 4));
    let bounded = ctx.with_limits(ctx.limits.at_most(most));
    match metrics::get(&bounded, ids) {
        Ok(_) if has_passed(&bounded.limits) => {
            ctx.limits.check()?;
            Ok(None)
        }
        // Or the answer is larger than a message may be.
        Err(e) if matches!(e.kind(), ErrorKind::Timeout | ErrorKind::ResourceExhausted) => {
            ctx.limits.check()?;
            Ok(None)
        }
        metrics => metrics.step(READ).map(Some),
    }
}

/// The figures of a container. `None` if it has no process any more.
fn read(metric: Metric) -> Option<Stats> {
    let container_id = metric.container_id.clone();
    match Stats::new(metric) {
        Ok(stats) => (!is_empty(&stats)).then_some(stats),
        Err(e) => Some(unknown(container_id, e)),
    }
}

fn unknown(container_id: String, error: Error) -> Stats {
    let error = error.at("list_stats", &container_id);
    Stats::unknown(container_id, error)
}

/// Asks about each container with a call of its own, so that a shim that does not answer delays no other.
fn one_by_one(ctx: &Ctx, ids: Vec<String>) -> Result<Vec<Stats>> {
    // The answer is to come before the deadline of the whole call.
    let most = ctx.limits.remaining().map_or(Duration::MAX, |left| left / 10 * 9);
    let ctx = ctx.with_limits(ctx.limits.at_most(most));
    let mut round =
        Round { ctx: &ctx, left: ids.into_iter(), under_way: Vec::new(), all: Vec::new() };
    match block_on(&ctx.limits, poll_fn(|cx| round.poll(cx))) {
        Ok(result) => result?,
        Err(e) if e.kind() == ErrorKind::Timeout => round.give_up(),
        Err(e) => return Err(e),
    }
    Ok(round.all)
}

/// Containers that are asked about one by one.
struct Round<'a> {
    ctx: &'a Ctx,
    left: std::vec::IntoIter<String>,
    under_way: Vec<(String, Limits, Answer)>,
    all: Vec<Stats>,
}

impl Round<'_> {
    /// Ready when there is an answer, or an error, for every container. Fails if the connection breaks.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            while self.under_way.len() < AT_ONCE
                && let Some(id) = self.left.next()
            {
                let bounded = self.ctx.with_limits(self.ctx.limits.at_most(SHIM));
                let answer = metrics::ask(&bounded, &id)?;
                self.under_way.push((id, bounded.limits, answer));
            }
            let before = self.under_way.len();
            let mut waiting = Vec::with_capacity(before);
            for (id, limits, mut answer) in self.under_way.drain(..) {
                match Pin::new(&mut answer).poll(cx) {
                    Poll::Pending => waiting.push((id, limits, answer)),
                    Poll::Ready(Ok(metrics)) if metrics.is_empty() && has_passed(&limits) => {
                        self.all.push(unknown(id, no_answer()));
                    }
                    Poll::Ready(Ok(metrics)) => {
                        self.all.extend(metrics.into_iter().filter_map(read));
                    }
                    Poll::Ready(Err(e)) => match e.kind() {
                        ErrorKind::NotFound => {}
                        ErrorKind::Timeout => self.all.push(unknown(id, no_answer())),
                        ErrorKind::Unavailable => return Poll::Ready(Err(e.step(READ))),
                        _ => self.all.push(unknown(id, e.step(READ))),
                    },
                }
            }
            self.under_way = waiting;
            if self.under_way.is_empty() && self.left.len() == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.under_way.len() == before {
                return Poll::Pending;
            }
        }
    }

    /// The time is over: nothing is known of the containers for which there is no answer yet.
    fn give_up(&mut self) {
        let under_way = std::mem::take(&mut self.under_way).into_iter().map(|(id, ..)| id);
        for id in under_way.chain(self.left.by_ref()) {
            self.all.push(unknown(id, no_answer()));
        }
    }
}
