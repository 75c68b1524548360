//! The figures in the messages of the cgroups library, `io.containerd.cgroups.v1.Metrics` and
//! `v2.Metrics`.
//!
//! The messages have a 0 for every number that the library could not read. What follows is therefore
//! absent: the numbers of a controller that none of whose files could be read, and every number that is
//! never 0 if the kernel gives it.

use std::collections::BTreeMap;

use protobuf::Message;
use serde_json::{Map, Value, json};

use super::any::Any;
use super::wire::{cgroups_v1 as v1, cgroups_v2 as v2};
use crate::error::{Error, ErrorKind, Result};
use crate::stats::stat::Stat;

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// 1 or 2; 0 if the message is of another type.
    pub(crate) cgroup_version: u32,
    /// In the order of the figures.
    pub(crate) figures: BTreeMap<Stat, u64>,
    /// The lists of figures, such as those by device, as members of the JSON.
    pub(crate) lists: Map<String, Value>,
}

/// A limit from here on is none: on cgroup v1 it is the largest multiple of the page size that an `i64`
/// can hold, and pages have at most 64 KiB. On cgroup v2 it is `u64::MAX`.
const NO_LIMIT: u64 = 0x7fff_ffff_ffff_0000;

fn limit(value: u64) -> Option<u64> {
    (value < NO_LIMIT).then_some(value)
}

/// A number that is not 0 if the kernel gives it.
fn positive(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

/// Decodes a message. One of an unknown type has no figures.
pub(crate) fn decode(message: &Any) -> Result<Sample> {
    let (_, name) = message.type_url.rsplit_once('/').unwrap_or(("", &message.type_url));
    let sample = match name {
        "io.containerd.cgroups.v1.Metrics" => {
            v1::Metrics::parse_from_bytes(&message.value).map(|metrics| of_v1(&metrics))
        }
        "io.containerd.cgroups.v2.Metrics" => {
            v2::Metrics::parse_from_bytes(&message.value).map(|metrics| of_v2(&metrics))
        }
        _ => Ok(Sample::default()),
    };
    sample
        .map_err(|e| Error::new(ErrorKind::Protocol, format!("the server sent a bad {name}: {e}")))
}

impl Sample {
    fn set(&mut self, stat: Stat, value: u64) {
        self.figures.insert(stat, value);
    }

    fn set_if(&mut self, stat: Stat, value: Option<u64>) {
        if let Some(value) = value {
            self.set(stat, value);
        }
    }

    /// The list is absent if it is empty.
    fn list(&mut self, name: &str, items: impl Iterator<Item = Value>) {
        let items: Vec<Value> = items.collect();
        if !items.is_empty() {
            self.lists.insert(name.into(), items.into());
        }
    }

    fn working_set(&mut self, usage: u64, inactive_file: u64) {
        self.set(Stat::MemoryWorkingSetBytes, usage.saturating_sub(inactive_file));
    }

    /// Throttling by the CPU quota. Without one, the kernel counts nothing.
    fn throttling(&mut self, periods: u64, throttled_periods: u64, throttled_ns: u64) {
        if periods > 0 {
            self.set(Stat::CpuPeriods, periods);
            self.set(Stat::CpuThrottledPeriods, throttled_periods);
            self.set(Stat::CpuThrottledNs, throttled_ns);
        }
    }

    fn devices(&mut self, devices: BTreeMap<(u64, u64), Device>) {
        if devices.is_empty() {
            return;
        }
        let sum = |number: fn(&Device) -> u64| {
            devices.values().fold(0_u64, |sum, device| sum.saturating_add(number(device)))
        };
        self.set(Stat::IoReadBytes, sum(|device| device.read_bytes));
        self.set(Stat::IoWriteBytes, sum(|device| device.write_bytes));
        self.set(Stat::IoReadOperations, sum(|device| device.read_operations));
        self.set(Stat::IoWriteOperations, sum(|device| device.write_operations));
        self.list(
            "io_devices",
            devices.into_iter().map(|((major, minor), device)| {
                let mut item = json!({
                    "major": major,
                    "minor": minor,
                    "read_bytes": device.read_bytes,
                    "write_bytes": device.write_bytes,
                    "read_operations": device.read_operations,
                    "write_operations": device.write_operations,
                });
                if !device.name.is_empty() {
                    item["device"] = device.name.into();
                }
                item
            }),
        );
    }

    fn huge_pages(
        &mut self,
        usages: impl Iterator<Item = u64>,
        items: impl Iterator<Item = Value>,
    ) {
        let sum = usages.reduce(u64::saturating_add);
        self.set_if(Stat::HugePagesUsageBytes, sum);
        self.list("huge_pages", items);
    }

    /// How long processes waited for a resource. The kernel counts microseconds.
    fn pressure(&mut self, name: &str, some: Stat, full: Stat, pressure: Option<&v2::PSIStats>) {
        let Some(pressure) = pressure else { return };
        let mut lines = Map::new();
        for (line, stat, data) in [("some", some, &pressure.some), ("full", full, &pressure.full)] {
            if let Some(data) = data.as_ref() {
                self.set(stat, nanoseconds(data.total));
                lines.insert(
                    line.into(),
                    json!({
                        "avg10": data.avg10,
                        "avg60": data.avg60,
                        "avg300": data.avg300,
                    }),
                );
            }
        }
        if !lines.is_empty() {
            self.lists.insert(name.into(), lines.into());
        }
    }
}

/// The input and output of a block device.
#[derive(Default)]
struct Device {
    name: String,
    read_bytes: u64,
    write_bytes: u64,
    read_operations: u64,
    write_operations: u64,
}

fn nanoseconds(microseconds: u64) -> u64 {
    microseconds.saturating_mul(1_000)
}

fn of_v1(metrics: &v1::Metrics) -> Sample {
    let mut sample = Sample { cgroup_version: 1, ..Sample::default() };
    // Every container has used some CPU time: runc has started its process.
    if let Some(usage) = metrics.cpu.usage.as_ref()
        && usage.total > 0
    {
        sample.set(Stat::CpuUsageNs, usage.total);
        sample.set(Stat::CpuUserNs, usage.user);
        sample.set(Stat::CpuSystemNs, usage.kernel);
        sample.list("cpu_usage_ns_by_cpu", usage.per_cpu.iter().map(|&used| used.into()));
    }
    if let Some(throttling) = metrics.cpu.throttling.as_ref() {
        let v1::Throttle { periods, throttled_periods, throttled_time, .. } = *throttling;
        sample.throttling(periods, throttled_periods, throttled_time);
    }
    if let Some(memory) = metrics.memory.as_ref() {
        memory_of_v1(&mut sample, memory);
    }
    if let Some(oom) = metrics.memory_oom_control.as_ref() {
        sample.set(Stat::MemoryOomKills, oom.oom_kill);
        sample.set(Stat::MemoryUnderOom, oom.under_oom);
        sample.set(Stat::MemoryOomKillDisabled, oom.oom_kill_disable);
    }
    if let Some(pids) = metrics.pids.as_ref() {
        sample.set(Stat::PidsCurrent, pids.current);
        // 0 stands for "max".
        sample.set_if(Stat::PidsLimit, positive(pids.limit));
    }
    if let Some(blkio) = metrics.blkio.as_ref() {
        sample.devices(devices_of_v1(blkio));
    }
    sample.huge_pages(
        metrics.hugetlb.iter().map(|size| size.usage),
        metrics.hugetlb.iter().map(|size| {
            json!({
                "page_size": size.pagesize,
                "usage_bytes": size.usage,
                "peak_bytes": size.max,
                "limit_hits": size.failcnt,
            })
        }),
    );
    // Only runtimes with virtual machines fill these in.
    sample.list(
        "networks",
        metrics.network.iter().map(|network| {
            json!({
                "name": network.name,
                "rx_bytes": network.rx_bytes,
                "rx_packets": network.rx_packets,
                "rx_errors": network.rx_errors,
                "rx_dropped": network.rx_dropped,
                "tx_bytes": network.tx_bytes,
                "tx_packets": network.tx_packets,
                "tx_errors": network.tx_errors,
                "tx_dropped": network.tx_dropped,
            })
        }),
    );
    sample
}

/// A group of memory files that the cgroups library has read. It reads the groups one after the other,
/// and gives up at the first that is missing.
fn entry(entry: Option<&v1::MemoryEntry>) -> Option<&v1::MemoryEntry> {
    entry.filter(|entry| entry.usage > 0 || entry.limit > 0)
}

fn memory_of_v1(sample: &mut Sample, memory: &v1::MemoryStat) {
    // The numbers of the cgroup with those below it, as in the usage.
    for (stat, value) in [
        (Stat::MemoryAnonBytes, memory.total_rss),
        (Stat::MemoryFileBytes, memory.total_cache),
        (Stat::MemoryMappedFileBytes, memory.total_mapped_file),
        (Stat::MemoryDirtyBytes, memory.total_dirty),
        (Stat::MemoryWritebackBytes, memory.total_writeback),
        (Stat::MemoryAnonHugeBytes, memory.total_rss_huge),
        (Stat::MemoryInactiveAnonBytes, memory.total_inactive_anon),
        (Stat::MemoryActiveAnonBytes, memory.total_active_anon),
        (Stat::MemoryInactiveFileBytes, memory.total_inactive_file),
        (Stat::MemoryActiveFileBytes, memory.total_active_file),
        (Stat::MemoryUnevictableBytes, memory.total_unevictable),
        (Stat::MemoryPageFaults, memory.total_pg_fault),
        (Stat::MemoryMajorPageFaults, memory.total_pg_maj_fault),
    ] {
        sample.set(stat, value);
    }
    sample.set_if(
        Stat::MemoryHierarchicalLimitBytes,
        positive(memory.hierarchical_memory_limit).and_then(limit),
    );
    let usage = entry(memory.usage.as_ref());
    if let Some(usage) = usage {
        sample.set(Stat::MemoryUsageBytes, usage.usage);
        sample.set_if(Stat::MemoryLimitBytes, limit(usage.limit));
        sample.set(Stat::MemoryPeakBytes, usage.max);
        sample.set(Stat::MemoryLimitHits, usage.failcnt);
        sample.working_set(usage.usage, memory.total_inactive_file);
    }
    if let Some(both) = entry(memory.swap.as_ref()) {
        sample.set(Stat::MemorySwapUsageBytes, both.usage);
        sample.set_if(Stat::MemorySwapLimitBytes, limit(both.limit));
        sample.set(Stat::MemorySwapPeakBytes, both.max);
        sample.set(Stat::MemorySwapLimitHits, both.failcnt);
        if let Some(usage) = usage {
            sample.set(Stat::SwapUsageBytes, both.usage.saturating_sub(usage.usage));
            let limits = limit(both.limit).zip(limit(usage.limit));
            sample.set_if(
                Stat::SwapLimitBytes,
                limits.map(|(both, memory)| both.saturating_sub(memory)),
            );
        }
    }
    if let Some(kernel) = entry(memory.kernel.as_ref()) {
        sample.set(Stat::MemoryKernelBytes, kernel.usage);
    }
    if let Some(tcp) = entry(memory.kernel_tcp.as_ref()) {
        sample.set(Stat::MemoryKernelTcpBytes, tcp.usage);
    }
}

fn devices_of_v1(blkio: &v1::BlkIOStat) -> BTreeMap<(u64, u64), Device> {
    let mut devices = BTreeMap::<_, Device>::new();
    let lists = [(&blkio.io_service_bytes_recursive, true), (&blkio.io_serviced_recursive, false)];
    for (entries, are_bytes) in lists {
        for entry in entries {
            // The others, "Sync" or "Total", count the same input and output once more.
            let reads = match entry.op.to_ascii_lowercase().as_str() {
                "read" => true,
                "write" => false,
                _ => continue,
            };
            let device = devices.entry((entry.major, entry.minor)).or_default();
            device.name.clone_from(&entry.device);
            *match (reads, are_bytes) {
                (true, true) => &mut device.read_bytes,
                (false, true) => &mut device.write_bytes,
                (true, false) => &mut device.read_operations,
                (false, false) => &mut device.write_operations,
            } = entry.value;
        }
    }
    devices
}

fn of_v2(metrics: &v2::Metrics) -> Sample {
    let mut sample = Sample { cgroup_version: 2, ..Sample::default() };
    if let Some(cpu) = metrics.cpu.as_ref() {
        if cpu.usage_usec > 0 {
            sample.set(Stat::CpuUsageNs, nanoseconds(cpu.usage_usec));
            sample.set(Stat::CpuUserNs, nanoseconds(cpu.user_usec));
            sample.set(Stat::CpuSystemNs, nanoseconds(cpu.system_usec));
        }
        sample.throttling(cpu.nr_periods, cpu.nr_throttled, nanoseconds(cpu.throttled_usec));
        sample.pressure(
            "cpu_pressure",
            Stat::CpuPressureSomeNs,
            Stat::CpuPressureFullNs,
            cpu.psi.as_ref(),
        );
    }
    if let Some(memory) = metrics.memory.as_ref() {
        // Without the controller there are no events, and everything is 0.
        if metrics.memory_events.is_some() || memory.usage > 0 {
            memory_of_v2(&mut sample, memory);
        }
        sample.pressure(
            "memory_pressure",
            Stat::MemoryPressureSomeNs,
            Stat::MemoryPressureFullNs,
            memory.psi.as_ref(),
        );
    }
    if let Some(events) = metrics.memory_events.as_ref() {
        sample.set(Stat::MemoryLimitHits, events.max);
        sample.set(Stat::MemoryOomKills, events.oom_kill);
        sample.set(Stat::MemoryOomEvents, events.oom);
        sample.set(Stat::MemoryLowEvents, events.low);
        sample.set(Stat::MemoryHighEvents, events.high);
    }
    if let Some(pids) = metrics.pids.as_ref()
        && (pids.current > 0 || pids.limit > 0)
    {
        sample.set(Stat::PidsCurrent, pids.current);
        sample.set_if(Stat::PidsLimit, limit(pids.limit));
    }
    if let Some(io) = metrics.io.as_ref() {
        let devices = io.usage.iter().map(|entry| {
            let device = Device {
                name: String::new(),
                read_bytes: entry.rbytes,
                write_bytes: entry.wbytes,
                read_operations: entry.rios,
                write_operations: entry.wios,
            };
            ((entry.major, entry.minor), device)
        });
        sample.devices(devices.collect());
        sample.pressure(
            "io_pressure",
            Stat::IoPressureSomeNs,
            Stat::IoPressureFullNs,
            io.psi.as_ref(),
        );
    }
    // Without the controller, the library lists the sizes with zeros.
    let sizes = || metrics.hugetlb.iter().filter(|size| size.max > 0 || size.current > 0);
    sample.huge_pages(
        sizes().map(|size| size.current),
        sizes().map(|size| {
            let mut item = json!({ "page_size": size.pagesize, "usage_bytes": size.current });
            if let Some(limit) = limit(size.max) {
                item["limit_bytes"] = limit.into();
            }
            item
        }),
    );
    sample
}

fn memory_of_v2(sample: &mut Sample, memory: &v2::MemoryStat) {
    for (stat, value) in [
        (Stat::MemoryUsageBytes, memory.usage),
        (Stat::MemoryAnonBytes, memory.anon),
        (Stat::MemoryFileBytes, memory.file),
        (Stat::MemoryMappedFileBytes, memory.file_mapped),
        (Stat::MemoryDirtyBytes, memory.file_dirty),
        (Stat::MemoryWritebackBytes, memory.file_writeback),
        (Stat::MemoryAnonHugeBytes, memory.anon_thp),
        (Stat::MemoryInactiveAnonBytes, memory.inactive_anon),
        (Stat::MemoryActiveAnonBytes, memory.active_anon),
        (Stat::MemoryInactiveFileBytes, memory.inactive_file),
        (Stat::MemoryActiveFileBytes, memory.active_file),
        (Stat::MemoryUnevictableBytes, memory.unevictable),
        (Stat::MemoryPageFaults, memory.pgfault),
        (Stat::MemoryMajorPageFaults, memory.pgmajfault),
        (Stat::MemoryKernelStackBytes, memory.kernel_stack),
        (Stat::MemorySlabBytes, memory.slab),
        (Stat::MemorySockBytes, memory.sock),
        (Stat::MemoryShmemBytes, memory.shmem),
    ] {
        sample.set(stat, value);
    }
    sample.working_set(memory.usage, memory.inactive_file);
    sample.set_if(Stat::MemoryLimitBytes, limit(memory.usage_limit));
    sample.set_if(Stat::MemoryPeakBytes, positive(memory.max_usage));
    // Two zeros may also mean that there are no files.
    if memory.swap_usage > 0 || memory.swap_limit > 0 {
        sample.set(Stat::SwapUsageBytes, memory.swap_usage);
        sample.set_if(Stat::SwapLimitBytes, limit(memory.swap_limit));
    }
    sample.set_if(Stat::SwapPeakBytes, positive(memory.swap_max_usage));
}

#[cfg(test)]
mod tests {
    use protobuf::MessageField;

    use super::*;

    fn sample(type_url: &str, message: &impl Message) -> Sample {
        let value = message.write_to_bytes().unwrap();
        decode(&Any { type_url: type_url.into(), value }).unwrap()
    }

    fn v1(metrics: &v1::Metrics) -> Sample {
        sample("io.containerd.cgroups.v1.Metrics", metrics)
    }

    fn v2(metrics: &v2::Metrics) -> Sample {
        sample("io.containerd.cgroups.v2.Metrics", metrics)
    }

    /// The figures must be these and no others.
    #[track_caller]
    fn assert_figures(sample: &Sample, expected: &[(Stat, u64)]) {
        let expected: BTreeMap<Stat, u64> = expected.iter().copied().collect();
        assert_eq!(sample.figures, expected);
    }

    /// Without the zeros of `memory.stat`, whose figures are there together.
    fn without_details(sample: &Sample) -> Sample {
        let mut sample = sample.clone();
        sample.figures.retain(|stat, value| *value > 0 || !stat.name().starts_with("memory_"));
        sample
    }

    const NONE_OF_V1: u64 = 0x7fff_ffff_ffff_f000;

    #[test]
    fn a_message_of_cgroup_v2_is_decoded() {
        let psi = |total| v2::PSIStats {
            some: MessageField::some(v2::PSIData { avg10: 1.5, total, ..Default::default() }),
            full: MessageField::some(v2::PSIData { total: total + 1, ..Default::default() }),
            ..Default::default()
        };
        let io = |major, minor, factor| v2::IOEntry {
            major,
            minor,
            rbytes: factor,
            wbytes: 2 * factor,
            rios: 3 * factor,
            wios: 4 * factor,
            ..Default::default()
        };
        let size = |pagesize: &str, current, max| v2::HugeTlbStat {
            pagesize: pagesize.into(),
            current,
            max,
            ..Default::default()
        };
        let sample = v2(&v2::Metrics {
            pids: MessageField::some(v2::PidsStat { current: 3, limit: 100, ..Default::default() }),
            cpu: MessageField::some(v2::CPUStat {
                usage_usec: 30,
                user_usec: 20,
                system_usec: 10,
                nr_periods: 7,
                nr_throttled: 5,
                throttled_usec: 40,
                psi: MessageField::some(psi(50)),
                ..Default::default()
            }),
            memory: MessageField::some(v2::MemoryStat {
                anon: 100,
                file: 200,
                inactive_file: 150,
                pgfault: 9,
                slab: 11,
                usage: 1000,
                usage_limit: 2000,
                swap_usage: 5,
                swap_limit: 50,
                max_usage: 1500,
                swap_max_usage: 6,
                ..Default::default()
            }),
            memory_events: MessageField::some(v2::MemoryEvents {
                low: 1,
                high: 2,
                max: 3,
                oom: 4,
                oom_kill: 5,
                ..Default::default()
            }),
            io: MessageField::some(v2::IOStat {
                usage: vec![io(8, 0, 1), io(254, 16, 10)],
                psi: MessageField::some(psi(70)),
                ..Default::default()
            }),
            hugetlb: vec![size("2MB", 2, 64), size("1GB", 4, u64::MAX), size("64KB", 0, 0)],
            ..Default::default()
        });
        assert_eq!(sample.cgroup_version, 2);
        assert_figures(
            &without_details(&sample),
            &[
                (Stat::CpuUsageNs, 30_000),
                (Stat::CpuUserNs, 20_000),
                (Stat::CpuSystemNs, 10_000),
                (Stat::CpuPeriods, 7),
                (Stat::CpuThrottledPeriods, 5),
                (Stat::CpuThrottledNs, 40_000),
                (Stat::CpuPressureSomeNs, 50_000),
                (Stat::CpuPressureFullNs, 51_000),
                (Stat::MemoryUsageBytes, 1000),
                (Stat::MemoryLimitBytes, 2000),
                (Stat::MemoryWorkingSetBytes, 850),
                (Stat::MemoryPeakBytes, 1500),
                (Stat::MemoryAnonBytes, 100),
                (Stat::MemoryFileBytes, 200),
                (Stat::MemoryInactiveFileBytes, 150),
                (Stat::MemoryPageFaults, 9),
                (Stat::MemorySlabBytes, 11),
                (Stat::MemoryLowEvents, 1),
                (Stat::MemoryHighEvents, 2),
                (Stat::MemoryLimitHits, 3),
                (Stat::MemoryOomEvents, 4),
                (Stat::MemoryOomKills, 5),
                (Stat::SwapUsageBytes, 5),
                (Stat::SwapLimitBytes, 50),
                (Stat::SwapPeakBytes, 6),
                (Stat::PidsCurrent, 3),
                (Stat::PidsLimit, 100),
                (Stat::IoReadBytes, 11),
                (Stat::IoWriteBytes, 22),
                (Stat::IoReadOperations, 33),
                (Stat::IoWriteOperations, 44),
                (Stat::IoPressureSomeNs, 70_000),
                (Stat::IoPressureFullNs, 71_000),
                (Stat::HugePagesUsageBytes, 6),
            ],
        );
        // A figure that the kernel gives as 0 is 0.
        assert_eq!(sample.figures.get(&Stat::MemoryDirtyBytes), Some(&0));
        assert_eq!(sample.figures.get(&Stat::MemoryKernelBytes), None);
        assert_eq!(
            Value::from(sample.lists),
            json!({
                "io_devices": [
                    { "major": 8, "minor": 0, "read_bytes": 1, "write_bytes": 2,
                      "read_operations": 3, "write_operations": 4 },
                    { "major": 254, "minor": 16, "read_bytes": 10, "write_bytes": 20,
                      "read_operations": 30, "write_operations": 40 },
                ],
                "huge_pages": [
                    { "page_size": "2MB", "usage_bytes": 2, "limit_bytes": 64 },
                    { "page_size": "1GB", "usage_bytes": 4 },
                ],
                "cpu_pressure": {
                    "some": { "avg10": 1.5, "avg60": 0.0, "avg300": 0.0 },
                    "full": { "avg10": 0.0, "avg60": 0.0, "avg300": 0.0 },
                },
                "io_pressure": {
                    "some": { "avg10": 1.5, "avg60": 0.0, "avg300": 0.0 },
                    "full": { "avg10": 0.0, "avg60": 0.0, "avg300": 0.0 },
                },
            })
        );
    }

    #[test]
    fn what_cgroup_v2_does_not_give_is_absent() {
        // Without controllers, containerd sends every message with zeros.
        let nothing = v2::Metrics {
            pids: MessageField::some(v2::PidsStat::new()),
            cpu: MessageField::some(v2::CPUStat::new()),
            memory: MessageField::some(v2::MemoryStat::new()),
            io: MessageField::some(v2::IOStat::new()),
            hugetlb: vec![v2::HugeTlbStat { pagesize: "2MB".into(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(v2(&nothing), Sample { cgroup_version: 2, ..Sample::default() });

        // Without limits.
        let sample = v2(&v2::Metrics {
            pids: MessageField::some(v2::PidsStat {
                current: 1,
                limit: u64::MAX,
                ..Default::default()
            }),
            memory: MessageField::some(v2::MemoryStat {
                usage: 10,
                usage_limit: u64::MAX,
                inactive_file: 11,
                swap_limit: u64::MAX,
                ..Default::default()
            }),
            ..Default::default()
        });
        assert_figures(
            &without_details(&sample),
            &[
                (Stat::PidsCurrent, 1),
                (Stat::MemoryUsageBytes, 10),
                (Stat::MemoryInactiveFileBytes, 11),
                (Stat::SwapUsageBytes, 0),
            ],
        );
        // It is never below 0.
        assert_eq!(sample.figures.get(&Stat::MemoryWorkingSetBytes), Some(&0));

        // A limit of 0 is one.
        let sample = v2(&v2::Metrics {
            pids: MessageField::some(v2::PidsStat { current: 1, ..Default::default() }),
            ..Default::default()
        });
        assert_figures(&sample, &[(Stat::PidsCurrent, 1), (Stat::PidsLimit, 0)]);
    }

    #[test]
    fn a_message_of_cgroup_v1_is_decoded() {
        let entry = |usage, limit| {
            MessageField::some(v1::MemoryEntry {
                usage,
                limit,
                max: usage + 1,
                failcnt: 2,
                ..Default::default()
            })
        };
        let io = |op: &str, value| v1::BlkIOEntry {
            op: op.into(),
            device: "/dev/vda".into(),
            major: 254,
            value,
            ..Default::default()
        };
        let sample = v1(&v1::Metrics {
            cpu: MessageField::some(v1::CPUStat {
                usage: MessageField::some(v1::CPUUsage {
                    total: 30,
                    kernel: 10,
                    user: 20,
                    per_cpu: vec![25, 5],
                    ..Default::default()
                }),
                throttling: MessageField::some(v1::Throttle {
                    periods: 7,
                    throttled_periods: 5,
                    throttled_time: 40,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            memory: MessageField::some(v1::MemoryStat {
                rss: 1,
                total_rss: 100,
                total_cache: 200,
                total_inactive_file: 150,
                hierarchical_memory_limit: 1900,
                usage: entry(1000, 2000),
                swap: entry(1005, 2050),
                kernel: entry(12, NONE_OF_V1),
                kernel_tcp: entry(0, NONE_OF_V1),
                ..Default::default()
            }),
            memory_oom_control: MessageField::some(v1::MemoryOomControl {
                oom_kill: 5,
                under_oom: 1,
                ..Default::default()
            }),
            pids: MessageField::some(v1::PidsStat { current: 3, limit: 100, ..Default::default() }),
            blkio: MessageField::some(v1::BlkIOStat {
                io_service_bytes_recursive: vec![io("Read", 11), io("Write", 22), io("Total", 33)],
                io_serviced_recursive: vec![io("Read", 3), io("Write", 4), io("Sync", 7)],
                ..Default::default()
            }),
            hugetlb: vec![v1::HugetlbStat {
                usage: 2,
                max: 3,
                failcnt: 1,
                pagesize: "2MB".into(),
                ..Default::default()
            }],
            network: vec![v1::NetworkStat {
                name: "eth0".into(),
                rx_bytes: 1,
                ..Default::default()
            }],
            ..Default::default()
        });
        assert_eq!(sample.cgroup_version, 1);
        assert_figures(
            &without_details(&sample),
            &[
                (Stat::CpuUsageNs, 30),
                (Stat::CpuUserNs, 20),
                (Stat::CpuSystemNs, 10),
                (Stat::CpuPeriods, 7),
                (Stat::CpuThrottledPeriods, 5),
                (Stat::CpuThrottledNs, 40),
                (Stat::MemoryUsageBytes, 1000),
                (Stat::MemoryLimitBytes, 2000),
                (Stat::MemoryWorkingSetBytes, 850),
                (Stat::MemoryPeakBytes, 1001),
                (Stat::MemoryAnonBytes, 100),
                (Stat::MemoryFileBytes, 200),
                (Stat::MemoryInactiveFileBytes, 150),
                (Stat::MemoryLimitHits, 2),
                (Stat::MemoryOomKills, 5),
                (Stat::MemoryUnderOom, 1),
                (Stat::MemoryHierarchicalLimitBytes, 1900),
                (Stat::MemoryKernelBytes, 12),
                (Stat::SwapUsageBytes, 5),
                (Stat::SwapLimitBytes, 50),
                (Stat::MemorySwapUsageBytes, 1005),
                (Stat::MemorySwapLimitBytes, 2050),
                (Stat::MemorySwapPeakBytes, 1006),
                (Stat::MemorySwapLimitHits, 2),
                (Stat::PidsCurrent, 3),
                (Stat::PidsLimit, 100),
                (Stat::IoReadBytes, 11),
                (Stat::IoWriteBytes, 22),
                (Stat::IoReadOperations, 3),
                (Stat::IoWriteOperations, 4),
                (Stat::HugePagesUsageBytes, 2),
            ],
        );
        assert_eq!(sample.figures.get(&Stat::MemoryKernelTcpBytes), Some(&0));
        assert_eq!(sample.figures.get(&Stat::MemoryOomKillDisabled), Some(&0));
        let lists = Value::from(sample.lists);
        assert_eq!(lists["cpu_usage_ns_by_cpu"], json!([25, 5]));
        assert_eq!(lists["io_devices"][0]["device"], "/dev/vda");
        assert_eq!(
            lists["huge_pages"],
            json!([{ "page_size": "2MB", "usage_bytes": 2, "peak_bytes": 3, "limit_hits": 1 }])
        );
        assert_eq!(lists["networks"][0]["rx_bytes"], 1);
    }

    #[test]
    fn what_cgroup_v1_does_not_give_is_absent() {
        let empty = || MessageField::some(v1::MemoryEntry::new());
        let sample = v1(&v1::Metrics {
            cpu: MessageField::some(v1::CPUStat {
                usage: MessageField::some(v1::CPUUsage::new()),
                throttling: MessageField::some(v1::Throttle::new()),
                ..Default::default()
            }),
            memory: MessageField::some(v1::MemoryStat {
                hierarchical_memory_limit: NONE_OF_V1,
                usage: MessageField::some(v1::MemoryEntry {
                    usage: 10,
                    max: 10,
                    limit: NONE_OF_V1,
                    ..Default::default()
                }),
                // The kernel does not count swap: the library stops there.
                swap: empty(),
                kernel: empty(),
                kernel_tcp: empty(),
                ..Default::default()
            }),
            pids: MessageField::some(v1::PidsStat { current: 1, ..Default::default() }),
            blkio: MessageField::some(v1::BlkIOStat::new()),
            ..Default::default()
        });
        assert_figures(
            &without_details(&sample),
            &[
                (Stat::MemoryUsageBytes, 10),
                (Stat::MemoryWorkingSetBytes, 10),
                (Stat::MemoryPeakBytes, 10),
                (Stat::PidsCurrent, 1),
            ],
        );
        assert!(sample.lists.is_empty());
        assert_eq!(v1(&v1::Metrics::new()), Sample { cgroup_version: 1, ..Sample::default() });
    }

    #[test]
    fn other_messages_have_no_figures() {
        let other = |type_url: &str, value: &[u8]| {
            decode(&Any { type_url: type_url.into(), value: value.to_vec() })
        };
        assert_eq!(other("", &[]).unwrap(), Sample::default());
        assert_eq!(other("io.containerd.windows.Stats", &[0xff]).unwrap(), Sample::default());
        let prefixed = other("type.googleapis.com/io.containerd.cgroups.v2.Metrics", &[]);
        assert_eq!(prefixed.unwrap().cgroup_version, 2);
        for version in [1, 2] {
            let bad = other(&format!("io.containerd.cgroups.v{version}.Metrics"), &[0xff]);
            assert_eq!(bad.unwrap_err().kind(), ErrorKind::Protocol);
        }
    }
}
