//! The statistics of a container: the figures of its cgroup.

pub(crate) mod stat;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::rpc::cgroups::{self, Sample};
use crate::rpc::metrics::Metric;
use crate::timestamp::rfc3339;
pub use stat::Stat;

/// The statistics of a container, at the time of the call.
///
/// ```no_run
/// use ctrd::{Call, Client, Stat};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// for stats in client.list_stats(&[], &Call::new())? {
///     if let Some(bytes) = stats.get(Stat::MemoryWorkingSetBytes) {
///         println!("{}: {bytes} bytes", stats.container_id());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stats {
    metric: Metric,
    sample: Sample,
    error: Option<Error>,
}

impl Stats {
    /// Decodes what a shim has read.
    pub(crate) fn new(metric: Metric) -> Result<Stats> {
        Ok(Stats { sample: cgroups::decode(&metric.data)?, metric, error: None })
    }

    /// A container whose figures are not known.
    pub(crate) fn unknown(container_id: String, error: Error) -> Stats {
        let metric = Metric { container_id, ..Metric::default() };
        Stats { metric, sample: Sample::default(), error: Some(error) }
    }

    /// The container's id.
    pub fn container_id(&self) -> &str {
        &self.metric.container_id
    }

    /// Why the figures are not known: [`crate::ErrorKind::Unavailable`] if the container's shim does not
    /// answer. Then every figure is absent. `None` if the shim has answered. Only
    /// [`crate::Client::list_stats`] gives containers with an error.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// When containerd asked for the figures, by the server's clock.
    pub fn time(&self) -> Option<SystemTime> {
        self.metric.at
    }

    /// The version of the cgroup, 1 or 2. `None` if the shim sent a message of another type: then every
    /// figure is absent, and [`Stats::raw`] has the message.
    pub fn cgroup_version(&self) -> Option<u32> {
        Some(self.sample.cgroup_version).filter(|version| *version != 0)
    }

    /// A figure. `None` if it is absent: the kernel does not give it, or it is a limit and there is
    /// none.
    pub fn get(&self, stat: Stat) -> Option<u64> {
        self.sample.figures.get(&stat).copied()
    }

    /// The figures that are not absent.
    pub fn iter(&self) -> impl Iterator<Item = (Stat, u64)> {
        self.sample.figures.iter().map(|(stat, value)| (*stat, *value))
    }

    /// All that is known as a JSON object: `container_id`, `time` (RFC 3339), `cgroup_version`, and each
    /// figure under its name ([`Stat::name`]). It also has what there are several of, with lists of
    /// objects that are left out if they are empty:
    ///
    /// - `cpu_usage_ns_by_cpu`: the CPU time on each CPU, as numbers (cgroup v1);
    /// - `io_devices`: `major`, `minor`, `device` (cgroup v1), `read_bytes`, `write_bytes`,
    ///   `read_operations`, `write_operations`;
    /// - `huge_pages`: `page_size`, `usage_bytes`; on cgroup v1 `peak_bytes` and `limit_hits`; on v2
    ///   `limit_bytes`, if there is a limit;
    /// - `networks`, of runtimes with virtual machines: `name`, `rx_bytes`, `rx_packets`, `rx_errors`,
    ///   `rx_dropped`, and the same with `tx_`;
    /// - `cpu_pressure`, `memory_pressure`, `io_pressure` (cgroup v2): objects with `some` and `full`,
    ///   each with the percentages `avg10`, `avg60` and `avg300`.
    ///
    /// If the figures are not known, it has only `container_id` and `error`, the text of the error.
    pub fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("container_id".into(), self.container_id().into());
        if let Some(error) = &self.error {
            object.insert("error".into(), error.to_string().into());
        }
        if let Some(since) = self.time().and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            object.insert("time".into(), rfc3339(seconds, since.subsec_nanos()).into());
        }
        if let Some(version) = self.cgroup_version() {
            object.insert("cgroup_version".into(), version.into());
        }
        object.extend(self.iter().map(|(stat, value)| (stat.name().to_owned(), value.into())));
        object.extend(self.sample.lists.clone());
        Value::from(object).to_string()
    }

    /// The message as the shim sent it: its type, such as `io.containerd.cgroups.v1.Metrics`, and its
    /// bytes, in the format of protobuf. Both are empty if the figures are not known.
    pub fn raw(&self) -> (&str, &[u8]) {
        (&self.metric.data.type_url, &self.metric.data.value)
    }
}
