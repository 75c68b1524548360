//! Statistics
//!
//! Statistics are what a container uses of the machine, at the time of the call: the figures of its cgroup,
//! each under a constant CTRD_STAT_. They are the same for both versions of cgroups, unless a constant's
//! comment names one. Bytes and nanoseconds are whole numbers. Counters count since the task was created.
//! A figure is absent if the kernel does not give it, and a limit is absent if there is none: 0 is a 0 that
//! the kernel gives.

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use ctrd::{Stat, Stats};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string, give_present};
use crate::abi::times::ctrd_time_t;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// CPU time that the container has used, in nanoseconds.
pub const CTRD_STAT_CPU_USAGE_NS: u32 = 1;
/// The part of CTRD_STAT_CPU_USAGE_NS in user mode. On cgroup v1 the kernel counts it in steps of 10 ms.
pub const CTRD_STAT_CPU_USER_NS: u32 = 2;
/// The part of CTRD_STAT_CPU_USAGE_NS in the kernel. On cgroup v1 the kernel counts it in steps of 10 ms.
pub const CTRD_STAT_CPU_SYSTEM_NS: u32 = 3;
/// How many periods of the CPU quota have passed. Absent, like the two that follow, until a quota has been in
/// force: the kernel counts periods only with one.
pub const CTRD_STAT_CPU_PERIODS: u32 = 4;
/// In how many of them the quota was used up.
pub const CTRD_STAT_CPU_THROTTLED_PERIODS: u32 = 5;
/// How long the container's processes were kept from running by the quota, in nanoseconds.
pub const CTRD_STAT_CPU_THROTTLED_NS: u32 = 6;
/// Memory in use, page cache and kernel memory included.
pub const CTRD_STAT_MEMORY_USAGE_BYTES: u32 = 7;
/// The limit of the memory in use. Absent if there is none.
pub const CTRD_STAT_MEMORY_LIMIT_BYTES: u32 = 8;
/// Memory in use without the page cache that has not been used lately (CTRD_STAT_MEMORY_USAGE_BYTES minus
/// CTRD_STAT_MEMORY_INACTIVE_FILE_BYTES; never below 0), as the kubelet counts it.
pub const CTRD_STAT_MEMORY_WORKING_SET_BYTES: u32 = 9;
/// The most memory that was ever in use. On cgroup v2 it needs containerd 2.1 and Linux 5.19.
pub const CTRD_STAT_MEMORY_PEAK_BYTES: u32 = 10;
/// Memory of the processes' own, not backed by a file: rss on cgroup v1, anon on v2.
pub const CTRD_STAT_MEMORY_ANON_BYTES: u32 = 11;
/// Page cache, tmpfs and shared memory included: cache on cgroup v1, file on v2.
pub const CTRD_STAT_MEMORY_FILE_BYTES: u32 = 12;
/// Files that are mapped into processes.
pub const CTRD_STAT_MEMORY_MAPPED_FILE_BYTES: u32 = 13;
/// Page cache that was changed and is not on the disk yet.
pub const CTRD_STAT_MEMORY_DIRTY_BYTES: u32 = 14;
/// Page cache that is being written to disk.
pub const CTRD_STAT_MEMORY_WRITEBACK_BYTES: u32 = 15;
/// The part of CTRD_STAT_MEMORY_ANON_BYTES in transparent huge pages.
pub const CTRD_STAT_MEMORY_ANON_HUGE_BYTES: u32 = 16;
/// Memory of the processes' own that has not been used lately.
pub const CTRD_STAT_MEMORY_INACTIVE_ANON_BYTES: u32 = 17;
/// Memory of the processes' own that has been used lately.
pub const CTRD_STAT_MEMORY_ACTIVE_ANON_BYTES: u32 = 18;
/// Page cache that has not been used lately.
pub const CTRD_STAT_MEMORY_INACTIVE_FILE_BYTES: u32 = 19;
/// Page cache that has been used lately.
pub const CTRD_STAT_MEMORY_ACTIVE_FILE_BYTES: u32 = 20;
/// Memory that cannot be reclaimed, such as locked memory.
pub const CTRD_STAT_MEMORY_UNEVICTABLE_BYTES: u32 = 21;
/// How many page faults there were.
pub const CTRD_STAT_MEMORY_PAGE_FAULTS: u32 = 22;
/// How many of them had to read from a disk.
pub const CTRD_STAT_MEMORY_MAJOR_PAGE_FAULTS: u32 = 23;
/// How often the memory in use met its limit.
pub const CTRD_STAT_MEMORY_LIMIT_HITS: u32 = 24;
/// How many processes the kernel has killed because the memory was used up. On cgroup v1 it is 0 before Linux
/// 4.13.
pub const CTRD_STAT_MEMORY_OOM_KILLS: u32 = 25;
/// How often an allocation was about to fail because of the limit. cgroup v2 only.
pub const CTRD_STAT_MEMORY_OOM_EVENTS: u32 = 26;
/// How often memory was reclaimed although less than memory.low was in use. cgroup v2 only.
pub const CTRD_STAT_MEMORY_LOW_EVENTS: u32 = 27;
/// How often processes were slowed down because more than memory.high was in use. cgroup v2 only.
pub const CTRD_STAT_MEMORY_HIGH_EVENTS: u32 = 28;
/// 1 while processes wait for memory because the kernel may not kill any, else 0. cgroup v1 only.
pub const CTRD_STAT_MEMORY_UNDER_OOM: u32 = 29;
/// 1 if the kernel may not kill processes when the memory is used up, else 0. cgroup v1 only.
pub const CTRD_STAT_MEMORY_OOM_KILL_DISABLED: u32 = 30;
/// The smallest limit of the cgroup and of those above it. Absent if none has one. cgroup v1 only.
pub const CTRD_STAT_MEMORY_HIERARCHICAL_LIMIT_BYTES: u32 = 31;
/// Memory of the kernel's for the container. cgroup v1 only.
pub const CTRD_STAT_MEMORY_KERNEL_BYTES: u32 = 32;
/// Buffers of TCP sockets. cgroup v1 only.
pub const CTRD_STAT_MEMORY_KERNEL_TCP_BYTES: u32 = 33;
/// Stacks of the kernel's. cgroup v2 only.
pub const CTRD_STAT_MEMORY_KERNEL_STACK_BYTES: u32 = 34;
/// Data structures of the kernel's. cgroup v2 only.
pub const CTRD_STAT_MEMORY_SLAB_BYTES: u32 = 35;
/// Buffers of sockets. cgroup v2 only.
pub const CTRD_STAT_MEMORY_SOCK_BYTES: u32 = 36;
/// The part of CTRD_STAT_MEMORY_FILE_BYTES that is shared memory or in a tmpfs. cgroup v2 only.
pub const CTRD_STAT_MEMORY_SHMEM_BYTES: u32 = 37;
/// Swap space in use. cgroup v1 counts memory and swap together: there it is the difference of two numbers
/// that were read one after the other. Absent if the kernel does not count swap. On cgroup v2 it is absent as
/// well, like its limit, if the limit is 0 and nothing is in use: containerd then sends the same for both.
pub const CTRD_STAT_SWAP_USAGE_BYTES: u32 = 38;
/// The limit of the swap space. Absent if there is none. On cgroup v1 it is the limit of memory and swap
/// minus that of memory.
pub const CTRD_STAT_SWAP_LIMIT_BYTES: u32 = 39;
/// The most swap space that was ever in use. cgroup v2 only, with containerd 2.1 and Linux 6.5.
pub const CTRD_STAT_SWAP_PEAK_BYTES: u32 = 40;
/// Memory and swap space in use. cgroup v1 only.
pub const CTRD_STAT_MEMORY_SWAP_USAGE_BYTES: u32 = 41;
/// The limit of memory and swap space together. Absent if there is none. cgroup v1 only.
pub const CTRD_STAT_MEMORY_SWAP_LIMIT_BYTES: u32 = 42;
/// The most memory and swap space that was ever in use. cgroup v1 only.
pub const CTRD_STAT_MEMORY_SWAP_PEAK_BYTES: u32 = 43;
/// How often memory and swap space together met their limit. cgroup v1 only.
pub const CTRD_STAT_MEMORY_SWAP_LIMIT_HITS: u32 = 44;
/// How many processes and threads there are.
pub const CTRD_STAT_PIDS_CURRENT: u32 = 45;
/// The limit of processes and threads. Absent if there is none.
pub const CTRD_STAT_PIDS_LIMIT: u32 = 46;
/// Bytes read from block devices, all together. Absent, like the three that follow, until the kernel lists a
/// device: before the first input or output it lists none. On cgroup v1, Linux 6.x lists only devices that
/// the container has a limit for.
pub const CTRD_STAT_IO_READ_BYTES: u32 = 47;
/// Bytes written to block devices.
pub const CTRD_STAT_IO_WRITE_BYTES: u32 = 48;
/// How many operations read from block devices.
pub const CTRD_STAT_IO_READ_OPERATIONS: u32 = 49;
/// How many operations wrote to block devices.
pub const CTRD_STAT_IO_WRITE_OPERATIONS: u32 = 50;
/// Huge pages in use, of all sizes together, in bytes.
pub const CTRD_STAT_HUGE_PAGES_USAGE_BYTES: u32 = 51;
/// How long at least one process waited for a CPU, in nanoseconds. cgroup v2 only, with containerd 2.1.
pub const CTRD_STAT_CPU_PRESSURE_SOME_NS: u32 = 52;
/// How long all processes waited for a CPU, in nanoseconds. cgroup v2 only, with containerd 2.1.
pub const CTRD_STAT_CPU_PRESSURE_FULL_NS: u32 = 53;
/// How long at least one process waited for memory, in nanoseconds. cgroup v2 only, with containerd 2.1.
pub const CTRD_STAT_MEMORY_PRESSURE_SOME_NS: u32 = 54;
/// How long all processes waited for memory, in nanoseconds. cgroup v2 only, with containerd 2.1.
pub const CTRD_STAT_MEMORY_PRESSURE_FULL_NS: u32 = 55;
/// How long at least one process waited for input or output, in nanoseconds. cgroup v2 only, with containerd
/// 2.1.
pub const CTRD_STAT_IO_PRESSURE_SOME_NS: u32 = 56;
/// How long all processes waited for input or output, in nanoseconds. cgroup v2 only, with containerd 2.1.
pub const CTRD_STAT_IO_PRESSURE_FULL_NS: u32 = 57;

/// Every figure, and its name.
const STATS: [(u32, Stat, &CStr); 57] = [
    (CTRD_STAT_CPU_USAGE_NS, Stat::CpuUsageNs, c"cpu_usage_ns"),
    (CTRD_STAT_CPU_USER_NS, Stat::CpuUserNs, c"cpu_user_ns"),
    (CTRD_STAT_CPU_SYSTEM_NS, Stat::CpuSystemNs, c"cpu_system_ns"),
    (CTRD_STAT_CPU_PERIODS, Stat::CpuPeriods, c"cpu_periods"),
    (CTRD_STAT_CPU_THROTTLED_PERIODS, Stat::CpuThrottledPeriods, c"cpu_throttled_periods"),
    (CTRD_STAT_CPU_THROTTLED_NS, Stat::CpuThrottledNs, c"cpu_throttled_ns"),
    (CTRD_STAT_MEMORY_USAGE_BYTES, Stat::MemoryUsageBytes, c"memory_usage_bytes"),
    (CTRD_STAT_MEMORY_LIMIT_BYTES, Stat::MemoryLimitBytes, c"memory_limit_bytes"),
    (CTRD_STAT_MEMORY_WORKING_SET_BYTES, Stat::MemoryWorkingSetBytes, c"memory_working_set_bytes"),
    (CTRD_STAT_MEMORY_PEAK_BYTES, Stat::MemoryPeakBytes, c"memory_peak_bytes"),
    (CTRD_STAT_MEMORY_ANON_BYTES, Stat::MemoryAnonBytes, c"memory_anon_bytes"),
    (CTRD_STAT_MEMORY_FILE_BYTES, Stat::MemoryFileBytes, c"memory_file_bytes"),
    (CTRD_STAT_MEMORY_MAPPED_FILE_BYTES, Stat::MemoryMappedFileBytes, c"memory_mapped_file_bytes"),
    (CTRD_STAT_MEMORY_DIRTY_BYTES, Stat::MemoryDirtyBytes, c"memory_dirty_bytes"),
    (CTRD_STAT_MEMORY_WRITEBACK_BYTES, Stat::MemoryWritebackBytes, c"memory_writeback_bytes"),
    (CTRD_STAT_MEMORY_ANON_HUGE_BYTES, Stat::MemoryAnonHugeBytes, c"memory_anon_huge_bytes"),
    (
        CTRD_STAT_MEMORY_INACTIVE_ANON_BYTES,
        Stat::MemoryInactiveAnonBytes,
        c"memory_inactive_anon_bytes",
    ),
    (CTRD_STAT_MEMORY_ACTIVE_ANON_BYTES, Stat::MemoryActiveAnonBytes, c"memory_active_anon_bytes"),
    (
        CTRD_STAT_MEMORY_INACTIVE_FILE_BYTES,
        Stat::MemoryInactiveFileBytes,
        c"memory_inactive_file_bytes",
    ),
    (CTRD_STAT_MEMORY_ACTIVE_FILE_BYTES, Stat::MemoryActiveFileBytes, c"memory_active_file_bytes"),
    (CTRD_STAT_MEMORY_UNEVICTABLE_BYTES, Stat::MemoryUnevictableBytes, c"memory_unevictable_bytes"),
    (CTRD_STAT_MEMORY_PAGE_FAULTS, Stat::MemoryPageFaults, c"memory_page_faults"),
    (CTRD_STAT_MEMORY_MAJOR_PAGE_FAULTS, Stat::MemoryMajorPageFaults, c"memory_major_page_faults"),
    (CTRD_STAT_MEMORY_LIMIT_HITS, Stat::MemoryLimitHits, c"memory_limit_hits"),
    (CTRD_STAT_MEMORY_OOM_KILLS, Stat::MemoryOomKills, c"memory_oom_kills"),
    (CTRD_STAT_MEMORY_OOM_EVENTS, Stat::MemoryOomEvents, c"memory_oom_events"),
    (CTRD_STAT_MEMORY_LOW_EVENTS, Stat::MemoryLowEvents, c"memory_low_events"),
    (CTRD_STAT_MEMORY_HIGH_EVENTS, Stat::MemoryHighEvents, c"memory_high_events"),
    (CTRD_STAT_MEMORY_UNDER_OOM, Stat::MemoryUnderOom, c"memory_under_oom"),
    (CTRD_STAT_MEMORY_OOM_KILL_DISABLED, Stat::MemoryOomKillDisabled, c"memory_oom_kill_disabled"),
    (
        CTRD_STAT_MEMORY_HIERARCHICAL_LIMIT_BYTES,
        Stat::MemoryHierarchicalLimitBytes,
        c"memory_hierarchical_limit_bytes",
    ),
    (CTRD_STAT_MEMORY_KERNEL_BYTES, Stat::MemoryKernelBytes, c"memory_kernel_bytes"),
    (CTRD_STAT_MEMORY_KERNEL_TCP_BYTES, Stat::MemoryKernelTcpBytes, c"memory_kernel_tcp_bytes"),
    (
        CTRD_STAT_MEMORY_KERNEL_STACK_BYTES,
        Stat::MemoryKernelStackBytes,
        c"memory_kernel_stack_bytes",
    ),
    (CTRD_STAT_MEMORY_SLAB_BYTES, Stat::MemorySlabBytes, c"memory_slab_bytes"),
    (CTRD_STAT_MEMORY_SOCK_BYTES, Stat::MemorySockBytes, c"memory_sock_bytes"),
    (CTRD_STAT_MEMORY_SHMEM_BYTES, Stat::MemoryShmemBytes, c"memory_shmem_bytes"),
    (CTRD_STAT_SWAP_USAGE_BYTES, Stat::SwapUsageBytes, c"swap_usage_bytes"),
    (CTRD_STAT_SWAP_LIMIT_BYTES, Stat::SwapLimitBytes, c"swap_limit_bytes"),
    (CTRD_STAT_SWAP_PEAK_BYTES, Stat::SwapPeakBytes, c"swap_peak_bytes"),
    (CTRD_STAT_MEMORY_SWAP_USAGE_BYTES, Stat::MemorySwapUsageBytes, c"memory_swap_usage_bytes"),
    (CTRD_STAT_MEMORY_SWAP_LIMIT_BYTES, Stat::MemorySwapLimitBytes, c"memory_swap_limit_bytes"),
    (CTRD_STAT_MEMORY_SWAP_PEAK_BYTES, Stat::MemorySwapPeakBytes, c"memory_swap_peak_bytes"),
    (CTRD_STAT_MEMORY_SWAP_LIMIT_HITS, Stat::MemorySwapLimitHits, c"memory_swap_limit_hits"),
    (CTRD_STAT_PIDS_CURRENT, Stat::PidsCurrent, c"pids_current"),
    (CTRD_STAT_PIDS_LIMIT, Stat::PidsLimit, c"pids_limit"),
    (CTRD_STAT_IO_READ_BYTES, Stat::IoReadBytes, c"io_read_bytes"),
    (CTRD_STAT_IO_WRITE_BYTES, Stat::IoWriteBytes, c"io_write_bytes"),
    (CTRD_STAT_IO_READ_OPERATIONS, Stat::IoReadOperations, c"io_read_operations"),
    (CTRD_STAT_IO_WRITE_OPERATIONS, Stat::IoWriteOperations, c"io_write_operations"),
    (CTRD_STAT_HUGE_PAGES_USAGE_BYTES, Stat::HugePagesUsageBytes, c"huge_pages_usage_bytes"),
    (CTRD_STAT_CPU_PRESSURE_SOME_NS, Stat::CpuPressureSomeNs, c"cpu_pressure_some_ns"),
    (CTRD_STAT_CPU_PRESSURE_FULL_NS, Stat::CpuPressureFullNs, c"cpu_pressure_full_ns"),
    (CTRD_STAT_MEMORY_PRESSURE_SOME_NS, Stat::MemoryPressureSomeNs, c"memory_pressure_some_ns"),
    (CTRD_STAT_MEMORY_PRESSURE_FULL_NS, Stat::MemoryPressureFullNs, c"memory_pressure_full_ns"),
    (CTRD_STAT_IO_PRESSURE_SOME_NS, Stat::IoPressureSomeNs, c"io_pressure_some_ns"),
    (CTRD_STAT_IO_PRESSURE_FULL_NS, Stat::IoPressureFullNs, c"io_pressure_full_ns"),
];

/// They count from 1 in the order of the core's, and have the names of the core's.
const _: () = {
    let mut position = 0;
    while position < STATS.len() {
        let (value, stat, name) = STATS[position];
        assert!(value as usize == position + 1 && stat as usize == position);
        let (ours, cores) = (name.to_bytes(), stat.name().as_bytes());
        assert!(ours.len() == cores.len());
        let mut i = 0;
        while i < ours.len() {
            assert!(ours[i] == cores[i]);
            i += 1;
        }
        position += 1;
    }
};

/// The figure that a constant means, and its name. The constants count from 1.
fn find(stat: u32) -> Option<(Stat, &'static CStr)> {
    let (_, stat, name) = STATS.get(usize::try_from(stat).ok()?.checked_sub(1)?)?;
    Some((*stat, name))
}

/// The statistics of a container.
pub struct ctrd_stats_t {
    stats: Stats,
    container_id: CString,
    raw_type: CString,
    /// Made when it is first asked for.
    json: OnceLock<CString>,
    error: Option<ctrd_error_t>,
}

impl From<Stats> for ctrd_stats_t {
    fn from(stats: Stats) -> ctrd_stats_t {
        ctrd_stats_t {
            container_id: c_string(stats.container_id()),
            raw_type: c_string(stats.raw().0),
            json: OnceLock::new(),
            error: stats.error().map(|error| ctrd_error_t::new(error, "")),
            stats,
        }
    }
}

/// The statistics of several containers.
pub struct ctrd_stats_list_t(Vec<ctrd_stats_t>);

/// Gives the statistics of a container. It need not be this client's.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the statistics, which the caller owns: ctrd_stats_free(). A submitted call gives
///                them by ctrd_message_take_stats().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container or it has no task;
///         CTRD_E_FAILED_PRECONDITION if its process has ended; CTRD_E_UNAVAILABLE also if its shim does
///         not answer within 2 s.
///
/// Blocking: until the container's shim has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_stats(
    client: *mut ctrd_client_t,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_stats_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("container_stats", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, text("id", id)?) };
        Ok(operation::of(client, id.clone(), move |client, call| {
            Ok(Box::new(ctrd_stats_t::from(client.container_stats(&id, call)?)))
        }))
    })
}

/// Takes the statistics out of the completion of a submitted ctrd_container_stats(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the statistics, which the caller owns: ctrd_stats_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_stats(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_stats_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_stats", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Gives the statistics of each of these containers; without an id, each container of the namespace.
/// They are in the order of their ids. Containers that do not exist, have no task, or whose process has
/// ended are left out.
///
/// The function asks the server about all of them with one call. If that has no answer after 1 s, or after a
/// fourth of the call's time, it asks about each by itself, 64 at once. So a shim that does not answer delays
/// the others little: after 2 s its container is given with an error (ctrd_stats_error()) and without
/// figures. While a shim does not answer, later calls ask one by one from the start.
///
/// @param client   the client.
/// @param ids      the containers' ids: ids_len strings.
/// @param ids_len  the number of ids; 0: all containers of the namespace.
/// @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out      receives the statistics, which the caller owns: ctrd_stats_list_free(). A submitted call
///                 gives them by ctrd_message_take_stats_list().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK, also if shims do not answer; CTRD_E_INVALID_ARGUMENT also for a bad id, named by its
///         position: "ids[1]".
///
/// Blocking: until the containers' shims have answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_list_stats(
    client: *mut ctrd_client_t,
    ids: *const *const c_char,
    ids_len: usize,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_stats_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("list_stats", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, ids) = unsafe { (live(client)?, arguments::texts("ids", ids, ids_len)?) };
        Ok(operation::of(client, String::new(), move |client, call| {
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let all = client.list_stats(&ids, call)?;
            Ok(Box::new(ctrd_stats_list_t(all.into_iter().map(ctrd_stats_t::from).collect())))
        }))
    })
}

/// Takes the statistics out of the completion of a submitted ctrd_list_stats(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the statistics, which the caller owns: ctrd_stats_list_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_stats_list(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_stats_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_stats_list", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The name of a figure, as in the JSON: "cpu_usage_ns" for CTRD_STAT_CPU_USAGE_NS. The constants count from
/// 1 without a gap.
///
/// @param stat  a CTRD_STAT_ constant.
/// @return the text, which is valid for ever; "" if the library does not know the constant.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stat_name(stat: u32) -> *const c_char {
    guard::text(Some(&stat), |stat| find(*stat).map(|(_, name)| name))
}

/// A figure.
///
/// @param stats  the statistics; NULL gives 0.
/// @param stat   the figure: a CTRD_STAT_ constant.
/// @param out    receives the figure if it is not absent; else it is left unchanged. May be NULL.
/// @return 1 if the figure is there; 0 if it is absent or the library does not know the constant.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_get(
    stats: Option<&ctrd_stats_t>,
    stat: u32,
    out: Option<&mut u64>,
) -> i32 {
    guard::read(stats, |stats| {
        give_present(find(stat).and_then(|(stat, _)| stats.stats.get(stat)), out)
    })
}

/// The id of the container.
///
/// @param stats  the statistics; NULL gives "".
/// @return the text, borrowed from the statistics.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_container_id(stats: Option<&ctrd_stats_t>) -> *const c_char {
    guard::text(stats, |stats| Some(&stats.container_id))
}

/// Why the figures of a container in a list are not known. All of them are absent then.
///
/// @param stats  the statistics; NULL gives NULL.
/// @return the error, borrowed from the statistics and not to be freed: CTRD_E_UNAVAILABLE if the container's
///         shim does not answer. NULL if the figures are known, as they are in what ctrd_container_stats()
///         gives.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_error(stats: Option<&ctrd_stats_t>) -> Option<&ctrd_error_t> {
    guard::read(stats, |stats| stats.error.as_ref())
}

/// When the server asked the shim for the figures, by the server's clock.
///
/// @param stats  the statistics; NULL gives 0.
/// @param out    receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_time(
    stats: Option<&ctrd_stats_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(stats, |stats| give_present(stats.stats.time().map(ctrd_time_t::from), out))
}

/// The version of the container's cgroup.
///
/// @param stats  the statistics; NULL gives 0.
/// @return 1 or 2; 0 if the figures are not known, or the shim sent a message that the library cannot read:
///         then every figure is absent, and ctrd_stats_raw_data() gives the message.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_cgroup_version(stats: Option<&ctrd_stats_t>) -> u32 {
    guard::read(stats, |stats| stats.stats.cgroup_version().unwrap_or(0))
}

/// All that is known as a JSON object: "container_id", "time" (RFC 3339), "cgroup_version", and each figure
/// that is not absent under its name (ctrd_stat_name()). It also has what there are several of, with members
/// that are left out if they are empty:
///
///     cpu_usage_ns_by_cpu   numbers: the CPU time on each CPU (cgroup v1)
///     io_devices            objects: major, minor, device (cgroup v1), read_bytes, write_bytes,
///                           read_operations, write_operations
///     huge_pages            objects: page_size, usage_bytes; on cgroup v1 peak_bytes and limit_hits; on v2
///                           limit_bytes, if there is a limit
///     networks              objects, of runtimes with virtual machines: name, rx_bytes, rx_packets,
///                           rx_errors, rx_dropped, and the same with tx_
///     cpu_pressure, memory_pressure, io_pressure
///                           objects with some and full (cgroup v2), and in each of these the percentages
///                           avg10, avg60 and avg300
///
/// If the figures are not known, it has only "container_id" and "error", the text of the error.
///
/// @param stats  the statistics; NULL gives "".
/// @return the text, borrowed from the statistics.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_json(stats: Option<&ctrd_stats_t>) -> *const c_char {
    guard::text(stats, |stats| Some(stats.json.get_or_init(|| c_string(&stats.stats.json()))))
}

/// The type of the message that the shim sent, such as "io.containerd.cgroups.v1.Metrics".
///
/// @param stats  the statistics; NULL gives "".
/// @return the text, borrowed from the statistics; "" if the figures are not known.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_raw_type(stats: Option<&ctrd_stats_t>) -> *const c_char {
    guard::text(stats, |stats| Some(&stats.raw_type))
}

/// The message as the shim sent it, in the format of protobuf: ctrd_stats_raw_len() bytes.
///
/// @param stats  the statistics; NULL gives NULL.
/// @return the bytes, borrowed from the statistics; NULL if there are none.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_raw_data(stats: Option<&ctrd_stats_t>) -> *const u8 {
    guard::read(stats, |stats| match stats.stats.raw().1 {
        [] => std::ptr::null(),
        bytes => bytes.as_ptr(),
    })
}

/// The length of the message that the shim sent, in bytes.
///
/// @param stats  the statistics; NULL gives 0.
/// @return the length; 0 if the figures are not known.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_raw_len(stats: Option<&ctrd_stats_t>) -> usize {
    guard::read(stats, |stats| stats.stats.raw().1.len())
}

/// Frees statistics that the caller owns. Those of a list are freed with the list.
///
/// @param stats  the statistics; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_free(stats: Option<Box<ctrd_stats_t>>) {
    guard::value(|| drop(stats));
}

/// The number of containers in a list.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_list_len(list: Option<&ctrd_stats_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// The statistics of one container of a list.
///
/// @param list   the list; NULL gives NULL.
/// @param index  its position, from 0.
/// @return the statistics, borrowed from the list and not to be freed; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_list_get(
    list: Option<&ctrd_stats_list_t>,
    index: usize,
) -> Option<&ctrd_stats_t> {
    guard::read(list, |list| list.0.get(index))
}

/// Frees a list and the statistics in it.
///
/// @param list  the list; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_stats_list_free(list: Option<Box<ctrd_stats_list_t>>) {
    guard::value(|| drop(list));
}
