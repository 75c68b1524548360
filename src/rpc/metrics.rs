//! Metrics: the method of `containerd.services.tasks.v1.Tasks` that reads the cgroups of containers.

use std::time::SystemTime;

use super::any::{Any, time};
use super::channel::Ctx;
use super::method::{Reply, call, methods, start};
use super::wire::tasks::{MetricsRequest, MetricsResponse};
use crate::error::Result;

methods! { "containerd.services.tasks.v1.Tasks":
    METRICS = read "Metrics" (MetricsRequest) -> MetricsResponse;
}

/// The figures of a container, as its shim has read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metric {
    pub(crate) container_id: String,
    /// When containerd asked the shim.
    pub(crate) at: Option<SystemTime>,
    /// The message of the cgroups library: [`super::cgroups`] decodes it.
    pub(crate) data: Any,
}

/// Asks for the metrics of these containers, or of all of the namespace if there are none. containerd
/// asks the shims one after the other, without a limit: one that does not answer keeps it until the
/// deadline. It leaves out a container that has no task, or whose shim fails.
pub(crate) fn get(ctx: &Ctx, ids: &[String]) -> Result<Vec<Metric>> {
    call(ctx, &METRICS, &request(ids)).map(metrics)
}

/// An answer that is awaited.
pub(crate) type Answer = Reply<Vec<Metric>>;

/// Asks for the metrics of one container, without blocking.
pub(crate) fn ask(ctx: &Ctx, id: &str) -> Result<Answer> {
    start(ctx, &METRICS, &request(&[id.to_owned()]), metrics)
}

fn request(ids: &[String]) -> MetricsRequest {
    // An id needs no escapes (`identifier`).
    let filters = ids.iter().map(|id| format!("id=={id:?}")).collect();
    MetricsRequest { filters, ..MetricsRequest::default() }
}

fn metrics(response: MetricsResponse) -> Vec<Metric> {
    response
        .metrics
        .into_iter()
        .map(|metric| Metric {
            at: time(metric.timestamp.as_ref()),
            container_id: metric.id,
            data: metric.data.into_option().map(Any::from_wire).unwrap_or_default(),
        })
        .collect()
}
