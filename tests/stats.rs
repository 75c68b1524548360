//! What containers use of the machine, compared with the files of their cgroups.

mod ground;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ctrd::{Call, Client, ContainerConfig, ErrorKind, Stat, Stats, default_spec};
use ground::plot::{Plot, at_once, create, kill, shim_of, stop, within};
use ground::{unique, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

fn get(client: &Client, id: &str) -> Stats {
    client.container_stats(id, &within(20)).unwrap()
}

fn list(client: &Client, ids: &[&str]) -> Vec<Stats> {
    client.list_stats(ids, &within(20)).unwrap()
}

fn ids(all: &[Stats]) -> Vec<&str> {
    all.iter().map(Stats::container_id).collect()
}

/// The directories of a process's cgroup, by controller. On cgroup v2 there is one, with the name "".
struct Cgroup(BTreeMap<String, String>);

impl Cgroup {
    fn of(pid: u32) -> Cgroup {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let mut directories = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
            for controller in controllers.split(',') {
                let directory = format!("/sys/fs/cgroup/{controller}{path}");
                directories.insert(controller.to_owned(), directory);
            }
        }
        Cgroup(directories)
    }

    fn version(&self) -> u32 {
        if self.0.contains_key("memory") { 1 } else { 2 }
    }

    /// The text of a file: its name on cgroup v1 with the controller, and that on v2.
    fn text(&self, controller: &str, v1: &str, v2: &str) -> String {
        let path = match self.version() {
            1 => format!("{}/{v1}", self.0[controller]),
            _ => format!("{}/{v2}", self.0[""]),
        };
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn number(&self, controller: &str, v1: &str, v2: &str) -> u64 {
        self.text(controller, v1, v2).trim().parse().unwrap()
    }

    /// The number behind a word.
    fn member(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) -> u64 {
        let word = if self.version() == 1 { v1.1 } else { v2.1 };
        let text = self.text(controller, v1.0, v2.0);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{word} ")));
        line.unwrap_or_else(|| panic!("{word} in {text}")).trim().parse().unwrap()
    }

    /// The CPU time in nanoseconds.
    fn cpu(&self) -> u64 {
        match self.version() {
            1 => self.number("cpuacct", "cpuacct.usage", ""),
            _ => self.member("", ("", ""), ("cpu.stat", "usage_usec")) * 1_000,
        }
    }
}

/// A container that runs a script with these resources of a controller.
fn limited(plot: &Plot, script: &str, controller: &str, resources: Value) -> ContainerConfig {
    let config = plot.shell(script);
    let spec = default_spec("default", config.id()).unwrap();
    let mut spec: Value = serde_json::from_str(&spec).unwrap();
    spec["linux"]["resources"][controller] = resources;
    config.spec_json(spec.to_string()).apply_image(true)
}

#[test]
fn memory_is_what_the_kernel_counts() {
    let plot = Plot::new();
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); \
                  dd if=/dev/zero of=/dev/shm/x bs=1M count=10 2>/dev/null; echo $x >/dev/null; \
                  sleep 1000; exit";
    let config = limited(&plot, script, "memory", json!({ "limit": 256 * MIB, "swap": 320 * MIB }));
    let (id, pid) = create(&plot.client, config);
    let cgroup = Cgroup::of(pid);
    let inactive = ("memory.stat", "total_inactive_file");
    wait_until("the memory to be in use", || {
        let stats = get(&plot.client, &id);
        stats.get(Stat::MemoryAnonBytes) > Some(20_000_000)
            && stats.get(Stat::MemoryFileBytes) >= Some(10 * MIB)
            && stats.get(Stat::PidsCurrent) == Some(2)
    });
    // The container sleeps, and its memory stays as it is.
    let stats = get(&plot.client, &id);
    assert_eq!(stats.cgroup_version(), Some(cgroup.version()));
    let usage = cgroup.number("memory", "memory.usage_in_bytes", "memory.current");
    let inactive = cgroup.member("memory", inactive, ("memory.stat", "inactive_file"));
    let near = |stat, expected: u64| {
        let given = stats.get(stat).unwrap();
        // The kernel keeps some of its numbers for each CPU, and adds them up late.
        assert!(given.abs_diff(expected) <= MIB, "{stat}: {given}, not {expected}");
    };
    near(Stat::MemoryUsageBytes, usage);
    near(Stat::MemoryWorkingSetBytes, usage - inactive);
    near(
        Stat::MemoryAnonBytes,
        cgroup.member("memory", ("memory.stat", "total_rss"), ("memory.stat", "anon")),
    );
    near(
        Stat::MemoryFileBytes,
        cgroup.member("memory", ("memory.stat", "total_cache"), ("memory.stat", "file")),
    );
    assert_eq!(stats.get(Stat::MemoryLimitBytes), Some(256 * MIB));
    assert_eq!(stats.get(Stat::SwapLimitBytes), Some(64 * MIB));
    assert!(stats.get(Stat::SwapUsageBytes).unwrap() < MIB);
    assert_eq!(stats.get(Stat::MemoryOomKills), Some(0));
    if cgroup.version() == 1 {
        let peak = stats.get(Stat::MemoryPeakBytes).unwrap();
        assert!(peak >= usage, "{peak} {usage}");
        assert_eq!(stats.get(Stat::MemorySwapLimitBytes), Some(320 * MIB));
        assert_eq!(stats.get(Stat::MemoryHierarchicalLimitBytes), Some(256 * MIB));
        assert_eq!(stats.get(Stat::MemoryUnderOom), Some(0));
        assert_eq!(stats.get(Stat::MemorySlabBytes), None);
        assert_eq!(stats.get(Stat::CpuPressureSomeNs), None);
    }
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn no_limit_is_absent() {
    let plot = Plot::new();
    let (id, _) = create(&plot.client, plot.shell("sleep 1000"));
    let stats = get(&plot.client, &id);
    for stat in [
        Stat::MemoryLimitBytes,
        Stat::MemoryHierarchicalLimitBytes,
        Stat::MemorySwapLimitBytes,
        Stat::SwapLimitBytes,
        Stat::PidsLimit,
        Stat::CpuPeriods,
        Stat::CpuThrottledPeriods,
        Stat::CpuThrottledNs,
    ] {
        assert_eq!(stats.get(stat), None, "{stat}");
    }
    let huge = |(_, value): (Stat, u64)| value >= 1 << 60;
    assert!(!stats.iter().any(huge), "{stats:?}");
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn a_process_killed_for_memory_is_counted() {
    let plot = Plot::new();
    // The kernel is to kill any other process before the first one.
    let script = "(echo 1000 >/proc/self/oom_score_adj; \
                  head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null); sleep 1000";
    let config = limited(&plot, script, "memory", json!({ "limit": 32 * MIB }));
    let (id, pid) = create(&plot.client, config);
    let cgroup = Cgroup::of(pid);
    wait_until("the kernel to kill it", || {
        let stats = get(&plot.client, &id);
        stats.get(Stat::MemoryOomKills) >= Some(1) && stats.get(Stat::PidsCurrent) == Some(1)
    });
    let stats = get(&plot.client, &id);
    let kills =
        cgroup.member("memory", ("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill"));
    assert_eq!(stats.get(Stat::MemoryOomKills), Some(kills));
    let hits = match cgroup.version() {
        1 => cgroup.number("memory", "memory.failcnt", ""),
        _ => cgroup.member("", ("", ""), ("memory.events", "max")),
    };
    assert!(hits > 0);
    assert_eq!(stats.get(Stat::MemoryLimitHits), Some(hits));
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn cpu_time_and_throttling_are_what_the_kernel_counts() {
    let plot = Plot::new();
    let quota = json!({ "quota": 20_000, "period": 100_000 });
    let (id, pid) = create(&plot.client, limited(&plot, "while :; do :; done", "cpu", quota));
    let cgroup = Cgroup::of(pid);
    let throttled = |stats: &Stats| stats.get(Stat::CpuThrottledPeriods).unwrap_or(0);
    wait_until("the quota to be used up", || throttled(&get(&plot.client, &id)) >= 3);
    let read = || {
        let of_quota = |v1, v2| cgroup.member("cpu", ("cpu.stat", v1), ("cpu.stat", v2));
        let time = |v1, v2| cgroup.member("cpuacct", ("cpuacct.stat", v1), ("cpu.stat", v2));
        // What the units of the files are in nanoseconds: cgroup v1 has hundredths of a second.
        let (in_ns, throttled_in_ns) =
            if cgroup.version() == 1 { (10_000_000, 1) } else { (1_000, 1_000) };
        [
            (Stat::CpuUsageNs, cgroup.cpu()),
            (Stat::CpuUserNs, time("user", "user_usec") * in_ns),
            (Stat::CpuSystemNs, time("system", "system_usec") * in_ns),
            (Stat::CpuPeriods, of_quota("nr_periods", "nr_periods")),
            (Stat::CpuThrottledPeriods, of_quota("nr_throttled", "nr_throttled")),
            (Stat::CpuThrottledNs, of_quota("throttled_time", "throttled_usec") * throttled_in_ns),
        ]
    };
    let before = read();
    let stats = get(&plot.client, &id);
    for ((stat, least), (_, most)) in before.into_iter().zip(read()) {
        let given = stats.get(stat).unwrap();
        assert!((least..=most).contains(&given), "{stat}: {given}, not {least} to {most}");
    }
    let usage = stats.get(Stat::CpuUsageNs).unwrap();
    assert!(usage > 10_000_000, "{usage}");
    assert!(stats.get(Stat::CpuThrottledNs) > Some(0));
    // It goes on.
    wait_until("more CPU time", || get(&plot.client, &id).get(Stat::CpuUsageNs) > Some(usage));
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn processes_and_their_limit_are_counted() {
    let plot = Plot::new();
    let script = "sleep 1000 & sleep 1000 & sleep 1000 & wait";
    let (id, pid) = create(&plot.client, limited(&plot, script, "pids", json!({ "limit": 20 })));
    wait_until("all processes", || get(&plot.client, &id).get(Stat::PidsCurrent) == Some(4));
    assert_eq!(Cgroup::of(pid).number("pids", "pids.current", "pids.current"), 4);
    assert_eq!(get(&plot.client, &id).get(Stat::PidsLimit), Some(20));
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

/// The numbers of the disk below a directory.
fn disk_below(directory: &Path) -> (u64, u64) {
    let device = rustix::fs::stat(directory).unwrap().st_dev;
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let device = fs::canonicalize(format!("/sys/dev/block/{number}")).unwrap();
    let is_partition = device.join("partition").exists();
    let disk = if is_partition { device.parent().unwrap() } else { &device };
    let text = fs::read_to_string(disk.join("dev")).unwrap();
    let (major, minor) = text.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn input_and_output_are_counted_by_device() {
    let plot = Plot::new();
    let script = "dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null; sleep 1000";
    let (major, minor) = disk_below(plot.ground.dir());
    // On cgroup v1, new kernels count only what may be limited.
    let limit = json!([{ "major": major, "minor": minor, "rate": 1_u64 << 40 }]);
    let resources = json!({ "throttleWriteBpsDevice": limit });
    let (id, pid) = create(&plot.client, limited(&plot, script, "blockIO", resources));
    wait_until("the output", || get(&plot.client, &id).get(Stat::IoWriteBytes) >= Some(4 * MIB));
    let cgroup = Cgroup::of(pid);
    // What is written to the disk, as the kernel counts it. The end of the output may still come.
    let written = || match cgroup.version() {
        1 => {
            let file = "blkio.throttle.io_service_bytes";
            let word = format!("{major}:{minor} Write");
            cgroup.member("blkio", (file, &word), ("", ""))
        }
        _ => {
            let text = cgroup.text("", "", "io.stat");
            let line = text.lines().find(|line| line.starts_with(&format!("{major}:{minor} ")));
            let value = line.unwrap().split(' ').find_map(|part| part.strip_prefix("wbytes="));
            value.unwrap().parse().unwrap()
        }
    };
    let before = written();
    let stats = get(&plot.client, &id);
    let after = written();
    assert!(stats.get(Stat::IoWriteOperations) > Some(0));
    assert!(stats.get(Stat::IoReadBytes).is_some() && stats.get(Stat::IoReadOperations).is_some());
    let json: Value = serde_json::from_str(&stats.json()).unwrap();
    let devices = json["io_devices"].as_array().unwrap();
    let sum = |member: &str| devices.iter().map(|d| d[member].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(sum("write_bytes")), stats.get(Stat::IoWriteBytes));
    assert_eq!(Some(sum("read_bytes")), stats.get(Stat::IoReadBytes));
    let numbers = |d: &Value| (d["major"].as_u64(), d["minor"].as_u64());
    let device = devices.iter().find(|d| numbers(d) == (Some(major), Some(minor))).unwrap();
    let given = device["write_bytes"].as_u64().unwrap();
    assert!((before..=after).contains(&given), "{given}, not {before} to {after}");
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn the_json_and_the_raw_message_have_all_of_it() {
    let plot = Plot::new();
    let before = SystemTime::now() - Duration::from_secs(1);
    let (id, _) = create(&plot.client, plot.shell("sleep 1000"));
    let stats = get(&plot.client, &id);
    assert_eq!((stats.container_id(), stats.error().is_none()), (&*id, true));
    let time = stats.time().unwrap();
    assert!(time > before && time <= SystemTime::now(), "{time:?}");
    let json: Value = serde_json::from_str(&stats.json()).unwrap();
    assert_eq!(json["container_id"], id);
    assert_eq!(json["cgroup_version"], stats.cgroup_version().unwrap());
    assert!(json["time"].as_str().unwrap().ends_with('Z'));
    for stat in Stat::all() {
        assert_eq!(json.get(stat.name()).and_then(Value::as_u64), stats.get(stat), "{stat}");
    }
    assert!(stats.iter().count() > 25, "{json}");
    assert!(stats.iter().all(|(stat, value)| stats.get(stat) == Some(value)));
    if stats.cgroup_version() == Some(1) {
        let each = json["cpu_usage_ns_by_cpu"].as_array().unwrap();
        let sum: u64 = each.iter().map(|used| used.as_u64().unwrap()).sum();
        // They are read after the sum.
        let later = get(&plot.client, &id);
        let (least, most) = (stats.get(Stat::CpuUsageNs), later.get(Stat::CpuUsageNs));
        assert!(least <= Some(sum) && Some(sum) <= most, "{json} {later:?}");
    }
    let (type_url, bytes) = stats.raw();
    let version = stats.cgroup_version().unwrap();
    assert_eq!(type_url, format!("io.containerd.cgroups.v{version}.Metrics"));
    assert!(bytes.len() > 100);
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn only_a_container_with_processes_has_figures() {
    let plot = Plot::new();
    let client = &plot.client;
    let refused = |id: &str, expected: ErrorKind, why: &str| {
        let error = client.container_stats(id, &within(20)).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (expected, "container_stats"), "{error}");
        assert_eq!(error.subject(), id);
        assert!(error.message().contains(why), "{error}");
        assert_eq!(ids(&list(client, &[id])), Vec::<&str>::new());
    };
    refused("nobody", ErrorKind::NotFound, "");
    let record = unique("c");
    let namespace = ["-n", &plot.namespace];
    let ctr = |arguments: &[&str]| plot.ground.ctr(&[&namespace, arguments].concat());
    ctr(&["containers", "create", &plot.image, &record]);
    refused(&record, ErrorKind::NotFound, "");

    let (id, pid) = create(client, plot.shell("sleep 1000").start(false));
    assert!(get(client, &id).get(Stat::CpuUsageNs) > Some(0));
    client.start_container(&id, &Call::new()).unwrap();
    ctr(&["tasks", "pause", &id]);
    assert_eq!(get(client, &id).get(Stat::PidsCurrent), Some(1));
    assert_eq!(ids(&list(client, &[])), [&*id]);
    ctr(&["tasks", "resume", &id]);
    kill(pid);
    plot.probe(&id);
    refused(&id, ErrorKind::FailedPrecondition, "has ended");
    assert_eq!(ids(&list(client, &[])), Vec::<&str>::new());
    client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
    refused(&id, ErrorKind::NotFound, "");
    ctr(&["containers", "rm", &record]);

    for (bad, argument) in [("", "id: "), ("a/b", "id: ")] {
        let error = client.container_stats(bad, &within(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with(argument), "{error}");
    }
    let error = client.list_stats(&["a", "\"", "b"], &within(20)).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidArgument, "list_stats"));
    assert!(error.message().starts_with("ids[1]: "), "{error}");
}

#[test]
fn many_containers_are_asked_about_in_one_call() {
    let plot = Plot::new();
    let mut all: Vec<_> = ["x.1", "x-1", "x_1", "x1"]
        .iter()
        .map(|name| create(&plot.client, plot.shell_of(&unique(name), "sleep 1000")).0)
        .collect();
    all.sort();
    assert_eq!(ids(&list(&plot.client, &[])), all);
    let some = [&*all[2], "nobody", &*all[0], &*all[2]];
    let given = list(&plot.client, &some);
    assert_eq!(ids(&given), [&*all[0], &*all[2]]);
    assert!(given.iter().all(|stats| stats.get(Stat::PidsCurrent) == Some(1)));
    let elsewhere = within(20).namespace("nothing-is-here");
    assert_eq!(plot.client.list_stats(&[], &elsewhere).unwrap().len(), 0);
    for id in &all {
        plot.client.destroy_container(id, &at_once(), &Call::new()).unwrap();
    }
}

#[test]
fn a_shim_that_does_not_answer_delays_no_other() {
    let plot = Plot::new();
    let created: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| create(&plot.client, plot.shell_of(&unique(name), "sleep 1000")))
        .collect();
    let all: Vec<&str> = created.iter().map(|(id, _)| id.as_str()).collect();
    let shims = [shim_of(created[0].1), shim_of(created[2].1)];
    shims.into_iter().for_each(stop);

    // Of the namespace, of some, and with less time than the shims have.
    for (asked, call) in [
        (&[][..], within(20)),
        (&all[..], within(20)),
        (&all[..], Call::new().timeout(Duration::from_millis(1_500))),
    ] {
        let start = Instant::now();
        let given = plot.client.list_stats(asked, &call).unwrap();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert_eq!(ids(&given), all);
        for (i, stats) in given.iter().enumerate() {
            let known = i % 2 == 1;
            assert_eq!(stats.get(Stat::PidsCurrent), known.then_some(1), "{stats:?}");
            assert_eq!(
                stats.error().map(ctrd::Error::kind),
                (!known).then_some(ErrorKind::Unavailable)
            );
            if let Some(error) = stats.error() {
                assert_eq!((error.operation(), error.subject()), ("list_stats", all[i]));
                assert!(error.is_retryable());
                assert_eq!(
                    (stats.iter().count(), stats.raw(), stats.time()),
                    (0, ("", &[][..]), None)
                );
                let json: Value = serde_json::from_str(&stats.json()).unwrap();
                assert_eq!(json["container_id"], all[i]);
                assert!(json["error"].is_string());
            }
        }
    }
    assert_eq!(ids(&list(&plot.client, &[all[1], all[3]])), [all[1], all[3]]);
    get(&plot.client, all[1]);
    let error = plot.client.container_stats(all[0], &within(20)).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "container_stats"));
    let short = Call::new().timeout(Duration::from_millis(300));
    let error = plot.client.container_stats(all[0], &short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    for shim in shims {
        kill_process(shim, Signal::CONT).unwrap();
    }
    wait_until("all to answer", || {
        list(&plot.client, &[]).iter().all(|stats| stats.error().is_none())
    });
    for id in all {
        plot.client.destroy_container(id, &at_once(), &Call::new()).unwrap();
    }
}
