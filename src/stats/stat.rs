//! The figures that there are.

use std::fmt;

/// A figure of a container. Bytes, nanoseconds and counts are whole numbers. Figures without a word
/// about the version are those of cgroup v1 and v2 alike. Counters count since the task was created.
///
/// A figure is absent if the kernel does not give it, and a limit is absent if there is none.
///
/// ```no_run
/// use ctrd::{Call, Client, Stat};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let stats = client.container_stats("web", &Call::new())?;
/// match stats.get(Stat::MemoryLimitBytes) {
///     Some(limit) => println!("at most {limit} bytes"),
///     None => println!("no limit"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stat {
    /// CPU time that the container has used, in nanoseconds.
    CpuUsageNs,
    /// The part of [`Stat::CpuUsageNs`] in user mode. On cgroup v1 the kernel counts it in steps of 10 ms.
    CpuUserNs,
    /// The part of [`Stat::CpuUsageNs`] in the kernel. On cgroup v1 the kernel counts it in steps of 10 ms.
    CpuSystemNs,
    /// How many periods of the CPU quota have passed. Absent, like the two that follow, until a quota
    /// has been in force: the kernel counts periods only with one.
    CpuPeriods,
    /// In how many of them the quota was used up.
    CpuThrottledPeriods,
    /// How long the container's processes were kept from running by the quota, in nanoseconds.
    CpuThrottledNs,
    /// Memory in use, page cache and kernel memory included.
    MemoryUsageBytes,
    /// The limit of the memory in use. Absent if there is none.
    MemoryLimitBytes,
    /// Memory in use without the page cache that has not been used lately ([`Stat::MemoryUsageBytes`]
    /// minus [`Stat::MemoryInactiveFileBytes`]; never below 0), as the kubelet counts it.
    MemoryWorkingSetBytes,
    /// The most memory that was ever in use. On cgroup v2 it needs containerd 2.1 and Linux 5.19.
    MemoryPeakBytes,
    /// Memory of the processes' own, not backed by a file: `rss` on cgroup v1, `anon` on v2.
    MemoryAnonBytes,
    /// Page cache, tmpfs and shared memory included: `cache` on cgroup v1, `file` on v2.
    MemoryFileBytes,
    /// Files that are mapped into processes.
    MemoryMappedFileBytes,
    /// Page cache that was changed and is not on the disk yet.
    MemoryDirtyBytes,
    /// Page cache that is being written to disk.
    MemoryWritebackBytes,
    /// The part of [`Stat::MemoryAnonBytes`] in transparent huge pages.
    MemoryAnonHugeBytes,
    /// Memory of the processes' own that has not been used lately.
    MemoryInactiveAnonBytes,
    /// Memory of the processes' own that has been used lately.
    MemoryActiveAnonBytes,
    /// Page cache that has not been used lately.
    MemoryInactiveFileBytes,
    /// Page cache that has been used lately.
    MemoryActiveFileBytes,
    /// Memory that cannot be reclaimed, such as locked memory.
    MemoryUnevictableBytes,
    /// How many page faults there were.
    MemoryPageFaults,
    /// How many of them had to read from a disk.
    MemoryMajorPageFaults,
    /// How often the memory in use met its limit.
    MemoryLimitHits,
    /// How many processes the kernel has killed because the memory was used up. On cgroup v1 it is 0
    /// before Linux 4.13.
    MemoryOomKills,
    /// How often an allocation was about to fail because of the limit. cgroup v2 only.
    MemoryOomEvents,
    /// How often memory was reclaimed although less than `memory.low` was in use. cgroup v2 only.
    MemoryLowEvents,
    /// How often processes were slowed down because more than `memory.high` was in use. cgroup v2 only.
    MemoryHighEvents,
    /// 1 while processes wait for memory because the kernel may not kill any, else 0. cgroup v1 only.
    MemoryUnderOom,
    /// 1 if the kernel may not kill processes when the memory is used up, else 0. cgroup v1 only.
    MemoryOomKillDisabled,
    /// The smallest limit of the cgroup and of those above it. Absent if none has one. cgroup v1 only.
    MemoryHierarchicalLimitBytes,
    /// Memory of the kernel's for the container. cgroup v1 only.
    MemoryKernelBytes,
    /// Buffers of TCP sockets. cgroup v1 only.
    MemoryKernelTcpBytes,
    /// Stacks of the kernel's. cgroup v2 only.
    MemoryKernelStackBytes,
    /// Data structures of the kernel's. cgroup v2 only.
    MemorySlabBytes,
    /// Buffers of sockets. cgroup v2 only.
    MemorySockBytes,
    /// The part of [`Stat::MemoryFileBytes`] that is shared memory or in a tmpfs. cgroup v2 only.
    MemoryShmemBytes,
    /// Swap space in use. cgroup v1 counts memory and swap together: there it is the difference of two
    /// numbers that were read one after the other.
    ///
    /// Absent if the kernel does not count swap. On cgroup v2 it is absent as well, like its limit, if
    /// the limit is 0 and nothing is in use: containerd then sends the same for both.
    SwapUsageBytes,
    /// The limit of the swap space. Absent if there is none. On cgroup v1 it is the limit of memory and
    /// swap minus that of memory.
    SwapLimitBytes,
    /// The most swap space that was ever in use. cgroup v2 only, with containerd 2.1 and Linux 6.5.
    SwapPeakBytes,
    /// Memory and swap space in use. cgroup v1 only.
    MemorySwapUsageBytes,
    /// The limit of memory and swap space together. Absent if there is none. cgroup v1 only.
    MemorySwapLimitBytes,
    /// The most memory and swap space that was ever in use. cgroup v1 only.
    MemorySwapPeakBytes,
    /// How often memory and swap space together met their limit. cgroup v1 only.
    MemorySwapLimitHits,
    /// How many processes and threads there are.
    PidsCurrent,
    /// The limit of processes and threads. Absent if there is none.
    PidsLimit,
    /// Bytes read from block devices, all together. Absent, like the three that follow, until the
    /// kernel lists a device: before the first input or output it lists none. On cgroup v1, Linux 6.x
    /// lists only devices that the container has a limit for.
    IoReadBytes,
    /// Bytes written to block devices.
    IoWriteBytes,
    /// How many operations read from block devices.
    IoReadOperations,
    /// How many operations wrote to block devices.
    IoWriteOperations,
    /// Huge pages in use, of all sizes together, in bytes.
    HugePagesUsageBytes,
    /// How long at least one process waited for a CPU, in nanoseconds. cgroup v2 only, with containerd
    /// 2.1.
    CpuPressureSomeNs,
    /// How long all processes waited for a CPU, in nanoseconds. cgroup v2 only, with
    /// containerd 2.1.
    CpuPressureFullNs,
    /// How long at least one process waited for memory, in nanoseconds. cgroup v2 only, with
    /// containerd 2.1.
    MemoryPressureSomeNs,
    /// How long all processes waited for memory, in nanoseconds. cgroup v2 only, with
    /// containerd 2.1.
    MemoryPressureFullNs,
    /// How long at least one process waited for input or output, in nanoseconds. cgroup v2 only, with
    /// containerd 2.1.
    IoPressureSomeNs,
    /// How long all processes waited for input or output, in nanoseconds. cgroup v2 only, with
    /// containerd 2.1.
    IoPressureFullNs,
}

/// Every figure, in the order of the declaration, with its name.
const NAMES: [(Stat, &str); 57] = [
    (Stat::CpuUsageNs, "cpu_usage_ns"),
    (Stat::CpuUserNs, "cpu_user_ns"),
    (Stat::CpuSystemNs, "cpu_system_ns"),
    (Stat::CpuPeriods, "cpu_periods"),
    (Stat::CpuThrottledPeriods, "cpu_throttled_periods"),
    (Stat::CpuThrottledNs, "cpu_throttled_ns"),
    (Stat::MemoryUsageBytes, "memory_usage_bytes"),
    (Stat::MemoryLimitBytes, "memory_limit_bytes"),
    (Stat::MemoryWorkingSetBytes, "memory_working_set_bytes"),
    (Stat::MemoryPeakBytes, "memory_peak_bytes"),
    (Stat::MemoryAnonBytes, "memory_anon_bytes"),
    (Stat::MemoryFileBytes, "memory_file_bytes"),
    (Stat::MemoryMappedFileBytes, "memory_mapped_file_bytes"),
    (Stat::MemoryDirtyBytes, "memory_dirty_bytes"),
    (Stat::MemoryWritebackBytes, "memory_writeback_bytes"),
    (Stat::MemoryAnonHugeBytes, "memory_anon_huge_bytes"),
    (Stat::MemoryInactiveAnonBytes, "memory_inactive_anon_bytes"),
    (Stat::MemoryActiveAnonBytes, "memory_active_anon_bytes"),
    (Stat::MemoryInactiveFileBytes, "memory_inactive_file_bytes"),
    (Stat::MemoryActiveFileBytes, "memory_active_file_bytes"),
    (Stat::MemoryUnevictableBytes, "memory_unevictable_bytes"),
    (Stat::MemoryPageFaults, "memory_page_faults"),
    (Stat::MemoryMajorPageFaults, "memory_major_page_faults"),
    (Stat::MemoryLimitHits, "memory_limit_hits"),
    (Stat::MemoryOomKills, "memory_oom_kills"),
    (Stat::MemoryOomEvents, "memory_oom_events"),
    (Stat::MemoryLowEvents, "memory_low_events"),
    (Stat::MemoryHighEvents, "memory_high_events"),
    (Stat::MemoryUnderOom, "memory_under_oom"),
    (Stat::MemoryOomKillDisabled, "memory_oom_kill_disabled"),
    (Stat::MemoryHierarchicalLimitBytes, "memory_hierarchical_limit_bytes"),
    (Stat::MemoryKernelBytes, "memory_kernel_bytes"),
    (Stat::MemoryKernelTcpBytes, "memory_kernel_tcp_bytes"),
    (Stat::MemoryKernelStackBytes, "memory_kernel_stack_bytes"),
    (Stat::MemorySlabBytes, "memory_slab_bytes"),
    (Stat::MemorySockBytes, "memory_sock_bytes"),
    (Stat::MemoryShmemBytes, "memory_shmem_bytes"),
    (Stat::SwapUsageBytes, "swap_usage_bytes"),
    (Stat::SwapLimitBytes, "swap_limit_bytes"),
    (Stat::SwapPeakBytes, "swap_peak_bytes"),
    (Stat::MemorySwapUsageBytes, "memory_swap_usage_bytes"),
    (Stat::MemorySwapLimitBytes, "memory_swap_limit_bytes"),
    (Stat::MemorySwapPeakBytes, "memory_swap_peak_bytes"),
    (Stat::MemorySwapLimitHits, "memory_swap_limit_hits"),
    (Stat::PidsCurrent, "pids_current"),
    (Stat::PidsLimit, "pids_limit"),
    (Stat::IoReadBytes, "io_read_bytes"),
    (Stat::IoWriteBytes, "io_write_bytes"),
    (Stat::IoReadOperations, "io_read_operations"),
    (Stat::IoWriteOperations, "io_write_operations"),
    (Stat::HugePagesUsageBytes, "huge_pages_usage_bytes"),
    (Stat::CpuPressureSomeNs, "cpu_pressure_some_ns"),
    (Stat::CpuPressureFullNs, "cpu_pressure_full_ns"),
    (Stat::MemoryPressureSomeNs, "memory_pressure_some_ns"),
    (Stat::MemoryPressureFullNs, "memory_pressure_full_ns"),
    (Stat::IoPressureSomeNs, "io_pressure_some_ns"),
    (Stat::IoPressureFullNs, "io_pressure_full_ns"),
];

impl Stat {
    /// Every figure.
    pub fn all() -> impl Iterator<Item = Stat> {
        NAMES.iter().map(|(stat, _)| *stat)
    }

    /// Its name, as in the JSON: `cpu_usage_ns`.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize].1
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_name() {
        for (position, (stat, name)) in NAMES.iter().enumerate() {
            assert_eq!(*stat as usize, position, "{name}");
            let variant = format!("{stat:?}");
            assert_eq!(variant.to_lowercase(), name.replace('_', ""));
        }
    }
}
