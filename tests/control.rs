//! Changing containers that run: signals, pauses, resources, labels, restarts.

mod ground;

use std::error::Error as _;
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ctrd::{
    Call, Cleanup, Client, ClientConfig, ContainerStatus, Error, ErrorKind, KillConfig,
    PauseConfig, RestartConfig, SnapshotKey, Stdio, Stream, UpdateConfig,
};
use ground::plot::{
    Plot, assert_nothing_is_left, at_once, client_behind, client_of, create, keeps_stopped_tasks,
    kill, pipe, proxy_of, until_it_traps, within,
};
use ground::proxy::Fault;
use ground::{unique, wait_until};

/// A script that says with its exit code which signal ended it.
const TRAPS: &str = "trap 'exit 10' USR1; trap 'exit 15' TERM; while :; do sleep 0.1; done";

fn now() -> Call {
    within(30)
}

/// A container that runs [`TRAPS`]. Returns its id and the pid of its process.
fn trapping(plot: &Plot) -> (String, u32) {
    let (id, pid) = create(&plot.client, plot.shell(TRAPS));
    until_it_traps(pid, TRAPS);
    (id, pid)
}

fn status(client: &Client, id: &str) -> ContainerStatus {
    client.get_container(id, &now()).unwrap().status()
}

/// The client of another owner in the namespace of the plot.
fn stranger(plot: &Plot) -> Client {
    let config: ClientConfig = plot.client_config().owner("somebody-else");
    Client::open(&config, &Call::new()).unwrap()
}

/// Another client executes `sleep` in a container.
fn execute(plot: &Plot, id: &str, exec_id: &str) {
    let command = ["tasks", "exec", "-d", "--exec-id", exec_id, id, "/bin/sleep", "1000"];
    plot.ground.ctr(&[&["-n", plot.namespace.as_str()], &command[..]].concat());
}

/// What every operation that changes a container refuses.
fn refusals(plot: &Plot, id: &str, change: impl Fn(&Client, &str, &Call) -> Result<(), Error>) {
    let theirs = change(&stranger(plot), id, &now()).unwrap_err();
    assert_eq!(theirs.kind(), ErrorKind::FailedPrecondition, "{theirs}");
    assert!(theirs.message().contains("belongs to the owner"), "{theirs}");
    assert_eq!(theirs.subject(), id);
    let missing = change(&plot.client, "nobody", &now()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let bad = change(&plot.client, "a/b", &now()).unwrap_err();
    assert!(bad.message().starts_with("id: "), "{bad}");
    let late = change(&plot.client, id, &Call::new().timeout(Duration::ZERO)).unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::Timeout | ErrorKind::Busy), "{late}");
}

#[test]
fn a_signal_is_sent_by_its_number_or_its_name() {
    let plot = Plot::new();
    for (config, code) in [
        (KillConfig::new(), 15),
        (KillConfig::new().signal(10), 10),
        (KillConfig::new().signal_name("SIGUSR1"), 10),
        (KillConfig::new().signal_name("term").all(true), 15),
        (KillConfig::new().signal_name("9"), 137),
    ] {
        let (id, _) = trapping(&plot);
        // It only asks whether there is a process.
        plot.client.kill_container(&id, &KillConfig::new().signal(0), &now()).unwrap();
        plot.client.kill_container(&id, &config, &now()).unwrap();
        assert_eq!(plot.probe(&id).exit_code(), Some(code), "{config:?}");
        let error = plot.client.kill_container(&id, &KillConfig::new(), &now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(error.operation(), "kill_container");
        plot.client.kill_container(&id, &KillConfig::new().all(true), &now()).unwrap();
        plot.destroy(&id);
    }
    let (id, _) = trapping(&plot);
    refusals(&plot, &id, |client, id, call| {
        client.kill_container(id, &KillConfig::new().signal(0), call)
    });
    for (config, argument) in [
        (KillConfig::new().signal(65), "signal: "),
        (KillConfig::new().signal_name("SIGNONE"), "signal_name: "),
        (KillConfig::new().exec_id("a/b"), "exec_id: "),
        (KillConfig::new().exec_id("e").all(true), "all: "),
    ] {
        let error = plot.client.kill_container(&id, &config, &now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with(argument), "{error}");
    }
    assert_eq!(status(&plot.client, &id), ContainerStatus::Running);
    plot.destroy(&id);
}

#[test]
fn one_executed_process_is_killed_and_the_container_runs_on() {
    let plot = Plot::new();
    let (id, pid) = create(&plot.client, plot.shell("sleep 1000 & wait"));
    execute(&plot, &id, "other");
    execute(&plot, &id, "doomed");
    let listed = || plot.client.container_pids(&id, &now()).unwrap();
    let pid_of = |exec_id: &str| {
        let listed = listed();
        let mut found = listed.iter().filter(|process| process.exec_id() == Some(exec_id));
        let pid = found.next().map(|process| process.pid());
        assert_eq!(found.next(), None, "{listed:?}");
        pid
    };
    wait_until("four processes", || listed().len() == 4);
    let (doomed, other) = (pid_of("doomed").unwrap(), pid_of("other").unwrap());
    let first = listed().into_iter().find(|process| process.pid() == pid).unwrap();
    assert_eq!(first.exec_id(), None);

    let kill_it = |exec_id| {
        let config = KillConfig::new().signal_name("KILL");
        plot.client.kill_container(&id, &config.clone().exec_id(exec_id), &now())
    };
    kill_it("doomed").unwrap();
    wait_until("its end", || !ground::runs(doomed));
    assert!(ground::runs(other) && ground::runs(pid));
    wait_until("the error", || kill_it("doomed").is_err());
    for exec_id in ["doomed", "none"] {
        let error = kill_it(exec_id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    plot.client.kill_container(&id, &KillConfig::new().signal(9).all(true), &now()).unwrap();
    assert_eq!(plot.probe(&id).exit_code(), Some(137));
    wait_until("the end of the other", || !ground::runs(other));
    plot.destroy(&id);
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    let (id, _) = trapping(&plot);
    let config = PauseConfig::new();
    let pause = |client: &Client| client.pause_container(&id, &config, &now());
    let resume = |client: &Client| client.resume_container(&id, &config, &now());
    proxy.take();
    pause(&client).unwrap();
    assert_eq!(proxy.take(), ["Containers/Get", "Tasks/Pause"]);
    assert_eq!(status(&plot.client, &id), ContainerStatus::Paused);
    let error = pause(&client).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().starts_with("the container's process is paused"), "{error}");
    assert_eq!((error.operation(), error.is_retryable()), ("pause_container", false));
    // The signal waits.
    plot.client.kill_container(&id, &KillConfig::new(), &now()).unwrap();
    let short = Call::new().timeout(Duration::from_millis(200));
    assert_eq!(plot.client.probe(&id, &short).unwrap_err().kind(), ErrorKind::Timeout);
    refusals(&plot, &id, |client, id, call| client.resume_container(id, &config, call));
    resume(&client).unwrap();
    assert_eq!(plot.probe(&id).exit_code(), Some(15));
    for result in [pause(&client), resume(&client)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().starts_with("the container's process is stopped"), "{error}");
    }
    plot.destroy(&id);

    let (id, _) = trapping(&plot);
    let error = client.resume_container(&id, &config, &now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().starts_with("the container's process is running"), "{error}");
    refusals(&plot, &id, |client, id, call| client.pause_container(id, &config, call));
    let lenient = PauseConfig::new().ignore_not_found(true);
    client.pause_container("nobody", &lenient, &now()).unwrap();
    client.resume_container("nobody", &lenient, &now()).unwrap();
    // The processes that are paused can be ended.
    client.pause_container(&id, &lenient, &now()).unwrap();
    plot.client.destroy_container(&id, &at_once(), &now()).unwrap();
}

#[test]
fn one_change_at_a_time() {
    let plot = Plot::new();
    let (id, _) = create(&plot.client, plot.shell("trap '' TERM; while :; do sleep 0.1; done"));
    let gentle = ctrd::DestroyConfig::new().grace(Duration::from_secs(30));
    std::thread::scope(|scope| {
        let destroying = scope.spawn(|| plot.client.destroy_container(&id, &gentle, &now()));
        let short = Call::new().timeout(Duration::from_millis(50));
        // Until the destroy has begun.
        while plot.client.set_container_labels(&id, &[], &short).is_ok() {}
        let resources = UpdateConfig::new().resources_json("{}");
        for error in [
            plot.client.pause_container(&id, &PauseConfig::new(), &short),
            plot.client.resume_container(&id, &PauseConfig::new(), &short),
            plot.client.update_container(&id, &resources, &short),
            plot.client.set_container_labels(&id, &[], &short),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert!(error.message().contains("destroy_container"), "{error}");
        }
        // A signal does not wait for its turn.
        plot.client.kill_container(&id, &KillConfig::new().signal(9), &now()).unwrap();
        assert_eq!(destroying.join().unwrap().unwrap().exit_code(), Some(137));
    });
}

/// The value of a file of the container's cgroup.
fn limit(pid: u32, v1: (&str, &str), v2: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |controller: &str| {
        let mut parts = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let found = parts.find(|parts| parts[1].split(',').any(|name| name == controller));
        found.map(|parts| parts[2].to_owned())
    };
    let file = match path(v1.0) {
        Some(path) => format!("/sys/fs/cgroup/{}{path}/{}", v1.0, v1.1),
        None => format!("/sys/fs/cgroup{}/{v2}", path("").unwrap()),
    };
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned()
}

fn memory(pid: u32) -> String {
    limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")
}

fn processes(pid: u32) -> String {
    limit(pid, ("pids", "pids.max"), "pids.max")
}

/// The resources in the specification of a container's record.
fn recorded(plot: &Plot, id: &str) -> serde_json::Value {
    let info = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", id]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info["Spec"]["linux"]["resources"].clone()
}

#[test]
fn resources_change_for_the_processes_and_in_the_record() {
    let plot = Plot::new();
    let (id, pid) = trapping(&plot);
    let update = |json: &str| {
        let config = UpdateConfig::new().resources_json(json);
        plot.client.update_container(&id, &config, &now())
    };
    let before = recorded(&plot, &id);
    assert!(before["devices"].is_array(), "{before}");
    update(r#"{"memory": {"limit": 67108864}}"#).unwrap();
    update(r#"{"pids": {"limit": 33}}"#).unwrap();
    assert_eq!((memory(pid), processes(pid)), ("67108864".to_owned(), "33".to_owned()));
    let after = recorded(&plot, &id);
    assert_eq!(after["memory"]["limit"], 67_108_864);
    assert_eq!(after["pids"]["limit"], 33);
    assert_eq!(after["devices"], before["devices"]);

    // The kernel or the runtime refuses it.
    for bad in [r#"{"memory": {"limit": "much"}}"#, r#"{"cpu": {"cpus": "4000-5000"}}"#] {
        let error = update(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        assert_eq!(error.failed_step(), Some("update the task"));
        assert_eq!(recorded(&plot, &id), after, "{bad}");
    }
    assert!(ground::runs(pid));
    for bad in ["", "[]", "null"] {
        let error = update(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with("resources_json: "), "{error}");
    }
    let nothing = UpdateConfig::new().resources_json("{}");
    refusals(&plot, &id, |client, id, call| client.update_container(id, &nothing, call));
    plot.client.update_container(&id, &nothing, &now()).unwrap();

    // Paused, and ended.
    plot.client.pause_container(&id, &PauseConfig::new(), &now()).unwrap();
    update(r#"{"pids": {"limit": 44}}"#).unwrap();
    assert_eq!(processes(pid), "44");
    kill(pid);
    plot.client.resume_container(&id, &PauseConfig::new(), &now()).unwrap();
    plot.probe(&id);
    update(r#"{"pids": {"limit": 55}, "memory": null}"#).unwrap();
    let last = recorded(&plot, &id);
    assert_eq!((&last["pids"]["limit"], last.get("memory")), (&55.into(), None));
    plot.destroy(&id);

    // Before its process is started, and without a task.
    let (id, pid) = create(&plot.client, plot.shell("sleep 1000").start(false));
    let config = UpdateConfig::new().resources_json(r#"{"pids": {"limit": 22}}"#);
    plot.client.update_container(&id, &config, &now()).unwrap();
    assert_eq!(processes(pid), "22");
    plot.client.start_container(&id, &now()).unwrap();
    assert_eq!(processes(pid), "22");
    plot.client.destroy_container(&id, &at_once(), &now()).unwrap();
    let id = unique("c");
    plot.ground.ctr(&["-n", &plot.namespace, "containers", "create", &plot.image, &id]);
    plot.client.update_container(&id, &config, &now()).unwrap();
    assert_eq!(recorded(&plot, &id)["pids"]["limit"], 22);
    plot.ground.ctr(&["-n", &plot.namespace, "containers", "rm", &id]);
}

#[test]
fn labels_are_set_and_removed_one_by_one() {
    let plot = Plot::new();
    let given = [("org.example/a.b", "1"), ("org.example.gone", "2"), ("kept", "3")];
    let id = plot.create(plot.shell("sleep 1000").labels(given).cleanup(Cleanup::Task));
    let before = plot.client.get_container(&id, &now()).unwrap();
    let set = |labels: &[(&str, &str)]| plot.client.set_container_labels(&id, labels, &now());
    set(&[("org.example/a.b", "x"), ("org.example.gone", ""), ("new", "4"), ("never", "")])
        .unwrap();
    set(&[]).unwrap();
    let after = client_of(&plot).get_container(&id, &now()).unwrap();
    for (key, value) in [
        ("org.example/a.b", Some("x")),
        ("org.example.gone", None),
        ("kept", Some("3")),
        ("new", Some("4")),
        ("never", None),
    ] {
        assert_eq!(after.label(key), value, "{key}");
    }
    assert_eq!(after.labels().len(), before.labels().len());
    assert_eq!(
        (after.owner(), after.cleanup(), after.generation(), after.image()),
        (before.owner(), before.cleanup(), before.generation(), before.image())
    );
    let long = "v".repeat(4096);
    let bad: [&[(&str, &str)]; 4] =
        [&[("", "x")], &[("io.ctrd.owner", "me")], &[("k", &long)], &[("k", "1"), ("k", "2")]];
    for labels in bad {
        let error = set(labels).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with("labels: "), "{error}");
    }
    refusals(&plot, &id, |client, id, call| client.set_container_labels(id, &[("k", "v")], call));
    plot.client.destroy_container(&id, &at_once(), &now()).unwrap();
}

fn restart(plot: &Plot, id: &str) -> u32 {
    plot.client.restart_container(id, &RestartConfig::new(), &now()).unwrap().pid()
}

/// The exits that a client reports, by hook: the pid, the code, the generation.
type Exits = Arc<Mutex<Vec<(Option<u32>, Option<u32>, Option<u64>)>>>;

fn exits(client: &Client) -> Exits {
    let exits = Exits::default();
    let hook = exits.clone();
    client
        .on_exit(move |message| {
            let exit = (message.pid(), message.exit_code(), message.generation());
            hook.lock().unwrap().push(exit);
        })
        .unwrap();
    exits
}

#[test]
fn a_restart_runs_the_command_again_on_the_same_snapshot() {
    let plot = Plot::new();
    let exits = exits(&plot.client);
    let script = "echo life >> /lives; trap 'exit 15' TERM; [ -e /stop ] && exit 7; \
                  while :; do sleep 0.1; done";
    let (mut output, stdout) = pipe();
    let config = plot.shell(script).labels([("kept", "1")]);
    let (id, first) = create(&plot.client, config);
    until_it_traps(first, script);
    let before = plot.client.get_container(&id, &now()).unwrap();
    let (other, found) = (client_of(&plot), first);
    other.watch_container(&id, &now()).unwrap();

    let config = RestartConfig::new().stdio(Stdio::new().stdout(Stream::fd(stdout)));
    let second = plot.client.restart_container(&id, &config, &now()).unwrap().pid();
    drop(config);
    assert_ne!(second, first);
    assert!(!ground::runs(first) && ground::runs(second));
    until_it_traps(second, script);
    let info = plot.client.get_container(&id, &now()).unwrap();
    assert_eq!((info.status(), info.pid()), (ContainerStatus::Running, Some(second)));
    assert_eq!((info.generation(), info.labels()), (before.generation(), before.labels()));
    assert_eq!(info.created_at(), before.created_at());
    assert_eq!(info.exit_code(), None);
    // The client that watches the old process gets its exit, and then finds the new one.
    let old = other.probe(&id, &now()).unwrap();
    assert_eq!((old.pid(), old.exit_code()), (Some(found), Some(15)));
    assert_eq!(old.generation(), before.generation());
    let error = plot.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");

    let touch = ["tasks", "exec", "--exec-id", "t", &id, "/bin/sh", "-c", "echo > /stop"];
    plot.ground.ctr(&[&["-n", plot.namespace.as_str()], &touch[..]].concat());
    let third = restart(&plot, &id);
    let message = plot.probe(&id);
    assert_eq!((message.pid(), message.exit_code()), (Some(third), Some(7)));
    // It has ended by itself, and is started again.
    let fourth = restart(&plot, &id);
    assert_eq!(plot.probe(&id).pid(), Some(fourth));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
    let message = plot.destroy(&id);
    assert_eq!((message.pid(), message.exit_code()), (Some(fourth), Some(7)));
    let generation = before.generation();
    let expected = [(first, 15), (second, 15), (third, 7), (fourth, 7)]
        .map(|(pid, code)| (Some(pid), Some(code), generation));
    wait_until("the exits", || exits.lock().unwrap().len() >= 4);
    assert_eq!(*exits.lock().unwrap(), expected, "each exit is reported once");
    assert!(generation.is_some());
    assert_nothing_is_left(&plot, "restarts");
}

#[test]
fn every_kind_of_container_can_be_restarted() {
    let plot = Plot::new();
    // One that was not started.
    let (id, first) = create(&plot.client, plot.shell("exit 3").start(false));
    let second = restart(&plot, &id);
    assert_ne!(first, second);
    assert_eq!(plot.probe(&id).exit_code(), Some(3));
    plot.destroy(&id);

    // One whose task is removed.
    let (id, _) = create(&plot.client, plot.shell("exit 4").cleanup(Cleanup::Task));
    let gone = || status(&plot.client, &id) == ContainerStatus::NoTask;
    wait_until("the clean-up", gone);
    let second = restart(&plot, &id);
    let message = plot.probe(&id);
    assert_eq!((message.pid(), message.exit_code()), (Some(second), Some(4)));
    wait_until("the clean-up", gone);
    plot.destroy(&id);

    // One that is removed after its exit: not after that of the old process.
    let (id, _) = create(&plot.client, plot.shell(TRAPS).cleanup(Cleanup::All));
    let second = restart(&plot, &id);
    until_it_traps(second, TRAPS);
    assert_eq!(status(&plot.client, &id), ContainerStatus::Running);
    plot.client.kill_container(&id, &KillConfig::new(), &now()).unwrap();
    wait_until("the clean-up", || plot.holdings().containers == 0);

    // One with a root file system of the caller's, with paths for its output.
    let root = plot.ground.dir().join(unique("root"));
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    for dir in ["proc", "dev", "sys", "run"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let log = plot.ground.dir().join(unique("log"));
    let stdout = Stream::Path(format!("file://{}", log.display()));
    let config = ctrd::ContainerConfig::new(unique("c"))
        .rootfs(&root)
        .args(["/bin/sh", "-c", "echo one line; exit 5"])
        .stdio(Stdio::new().stdout(stdout));
    let (id, _) = create(&plot.client, config);
    plot.probe(&id);
    restart(&plot, &id);
    assert_eq!(plot.probe(&id).exit_code(), Some(5));
    wait_until("both lines", || fs::read_to_string(&log).unwrap() == "one line\none line\n");
    plot.destroy(&id);

    // One with a terminal, and other limits.
    let config = plot.shell("test -t 1 && sleep 1000").stdio(Stdio::new().terminal(true));
    let (id, _) = create(&plot.client, config);
    let limits = UpdateConfig::new().resources_json(r#"{"pids": {"limit": 66}}"#);
    plot.client.update_container(&id, &limits, &now()).unwrap();
    let pid = restart(&plot, &id);
    assert_eq!(processes(pid), "66");
    assert!(plot.client.get_container(&id, &now()).unwrap().terminal());
    plot.client.destroy_container(&id, &at_once(), &now()).unwrap();
    assert_nothing_is_left(&plot, "restarts");
}

#[test]
fn a_restart_that_fails_leaves_the_container_without_a_task() {
    let plot = Plot::new();
    let exits = exits(&plot.client);
    // The command is missing when it is to run again.
    let script = "rm -f /bin/sleep; exit 9";
    let config = plot.config(&["/bin/sleep", "1000"]);
    let (id, first) = create(&plot.client, config);
    let remove = ["tasks", "exec", "--exec-id", "r", &id, "/bin/sh", "-c", script];
    let ctr = std::process::Command::new("ctr")
        .args(["-a", plot.ground.address(), "-n", &plot.namespace])
        .args(remove)
        .status();
    assert_eq!(ctr.unwrap().code(), Some(9));
    let at_once = RestartConfig::new().grace(Duration::ZERO);
    for _ in 0..2 {
        let error = plot.client.restart_container(&id, &at_once, &now()).unwrap_err();
        assert_eq!(error.failed_step(), Some("create the task"), "{error}");
        assert_eq!(error.operation(), "restart_container");
        assert_eq!(status(&plot.client, &id), ContainerStatus::NoTask);
    }
    // Its exit is kept, by this client and by the record.
    assert_eq!(plot.probe(&id).exit_code(), Some(137));
    let info = client_of(&plot).get_container(&id, &now()).unwrap();
    assert_eq!(info.exit_code(), Some(137));
    assert_eq!(plot.holdings().fifos, 0);
    let message = plot.destroy(&id);
    assert_eq!((message.pid(), message.exit_code()), (Some(first), Some(137)));
    assert_eq!(exits.lock().unwrap().len(), 1);
    assert_nothing_is_left(&plot, "a failed restart");
}

#[test]
fn the_exit_before_a_restart_that_fails_is_kept() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    let exits = exits(&client);
    let (id, first) = create(&client, plot.shell("exit 6"));
    client.probe(&id, &now()).unwrap();
    let rule = proxy.at("Tasks/Start", Fault::Fail(2, "no start"));
    let error = client.restart_container(&id, &RestartConfig::new(), &now()).unwrap_err();
    rule.wait_until_fired();
    assert_eq!(error.failed_step(), Some("start the task"), "{error}");
    assert!(error.source().is_none(), "it is undone: {:?}", error.source());
    assert_eq!(status(&client, &id), ContainerStatus::NoTask);
    for call in [Call::new().poll(), now()] {
        let message = client.probe(&id, &call).unwrap();
        assert_eq!((message.pid(), message.exit_code()), (Some(first), Some(6)));
    }
    let other = client_of(&plot);
    assert_eq!(other.get_container(&id, &now()).unwrap().exit_code(), Some(6));
    assert_eq!(other.probe(&id, &now()).unwrap().pid(), Some(first));
    let second = client.restart_container(&id, &RestartConfig::new(), &now()).unwrap().pid();
    assert_eq!(client.probe(&id, &now()).unwrap().pid(), Some(second));

    proxy.at("Tasks/Start", Fault::Fail(2, "no start"));
    client.restart_container(&id, &RestartConfig::new(), &now()).unwrap_err();
    let message = client.destroy_container(&id, &at_once(), &now()).unwrap();
    assert_eq!((message.pid(), message.exit_code()), (Some(second), Some(6)));
    let reported: Vec<_> = exits.lock().unwrap().iter().map(|exit| exit.0).collect();
    assert_eq!(reported, [Some(first), Some(second)], "each exit is reported once");
    assert_nothing_is_left(&plot, "restarts that fail");
}

#[test]
fn a_restart_that_breaks_off_is_finished_by_another_client() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    let exits = exits(&client);
    let config = RestartConfig::new().grace(Duration::ZERO);
    let make = || create(&client, plot.shell("exec sleep 1000"));
    let (id, _) = make();
    proxy.take();
    client.restart_container(&id, &config, &now()).unwrap();
    let calls = proxy.take();
    client.destroy_container(&id, &at_once(), &now()).unwrap();
    assert!(calls.contains(&"Tasks/Create".to_owned()), "{calls:?}");
    for (n, call) in calls.iter().enumerate() {
        let before = calls[..n].iter().filter(|other| *other == call).count();
        for fault in [Fault::Cut, Fault::CutAfter] {
            let (id, first) = make();
            exits.lock().unwrap().clear();
            proxy.at_nth(call, before + 1, fault);
            let broken = client.restart_container(&id, &config, &within(20));
            let at = format!("{fault:?} at {call}: {broken:?}");
            if let Err(error) = &broken {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{at}");
            }
            let other = client_of(&plot);
            let last = other
                .restart_container(&id, &config, &now())
                .unwrap_or_else(|e| panic!("{at}: {e}"))
                .pid();
            assert!(ground::runs(last), "{at}");
            let message = other.destroy_container(&id, &at_once(), &now()).unwrap();
            assert_eq!((message.pid(), message.exit_code()), (Some(last), Some(137)), "{at}");
            wait_until(&at, || exits.lock().unwrap().iter().any(|exit| exit.0 == Some(first)));
            let mut pids: Vec<_> = exits.lock().unwrap().iter().map(|exit| exit.0).collect();
            pids.sort_unstable();
            let count = pids.len();
            pids.dedup();
            assert_eq!(pids.len(), count, "each exit is reported once: {at}");
        }
    }
    assert_nothing_is_left(&plot, "restarts that break off");
}

#[test]
fn what_cannot_be_restarted_runs_on() {
    let plot = Plot::new();
    let (id, pid) = trapping(&plot);
    let bad = |stdio: Stdio, argument: &str| {
        let config = RestartConfig::new().stdio(stdio);
        let error = plot.client.restart_container(&id, &config, &now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with(argument), "{error}");
    };
    bad(Stdio::new().stdout(Stream::Path("relative".into())), "stdout: ");
    bad(Stdio::new().terminal(true), "terminal: ");
    refusals(&plot, &id, |client, id, call| {
        client.restart_container(id, &RestartConfig::new(), call).map(drop)
    });
    // Its snapshot is gone.
    let config = plot.shell("sleep 1000").snapshot_key(unique("key"));
    let (without, _) = create(&plot.client, config.clone());
    let key = plot.client.get_container(&without, &now()).unwrap();
    plot.client.remove_snapshot(&SnapshotKey::new(key.snapshot_key().unwrap()), &now()).unwrap();
    let error = plot.client.restart_container(&without, &RestartConfig::new(), &now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(error.failed_step(), Some("look the snapshot up"));
    assert_eq!(status(&plot.client, &without), ContainerStatus::Running);
    plot.client.destroy_container(&without, &at_once(), &now()).unwrap();
    assert!(ground::runs(pid));
    plot.destroy(&id);
}

#[test]
fn restarts_under_probes_report_each_exit_once() {
    const RESTARTS: usize = 15;
    let plot = Plot::new();
    let exits = exits(&plot.client);
    let (id, first) = create(&plot.client, plot.shell("exec sleep 1000"));
    let over = AtomicBool::new(false);
    let mut pids = vec![first];
    std::thread::scope(|scope| {
        for client in [plot.client.clone(), client_of(&plot), plot.client.clone()] {
            let (id, over) = (&id, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    match client.probe(id, &Call::new().timeout(Duration::from_millis(20))) {
                        Ok(message) => assert_eq!(message.exit_code(), Some(137), "{message:?}"),
                        // Between the two tasks there is none.
                        Err(e) if e.kind() == ErrorKind::NotFound => {}
                        Err(e) => assert_eq!(e.kind(), ErrorKind::Timeout, "{e}"),
                    }
                }
            });
        }
        let at_once = RestartConfig::new().grace(Duration::ZERO);
        for _ in 0..RESTARTS {
            pids.push(plot.client.restart_container(&id, &at_once, &now()).unwrap().pid());
        }
        over.store(true, Ordering::SeqCst);
    });
    plot.client.destroy_container(&id, &at_once(), &now()).unwrap();
    wait_until("the exits", || exits.lock().unwrap().len() > RESTARTS);
    let reported: Vec<_> = exits.lock().unwrap().iter().map(|exit| (exit.0, exit.1)).collect();
    let expected: Vec<_> = pids.iter().map(|pid| (Some(*pid), Some(137))).collect();
    assert_eq!(reported, expected);
    assert_nothing_is_left(&plot, "restarts");
}

#[test]
fn a_sandbox_is_kept_by_a_restart_and_goes_with_its_container() {
    let plot = Plot::new();
    let config = plot.client_config().keep_stopped_tasks(true);
    let client = Client::open(&config, &Call::new()).unwrap();
    // containerd 1.6 has no sandboxes, and keeps stopped tasks without.
    let has_sandboxes = !keeps_stopped_tasks(&client);
    let sandboxes = |id: &str| {
        let listed = plot.ground.ctr(&["-n", &plot.namespace, "sandboxes", "ls"]);
        listed.lines().filter(|line| line.starts_with(id)).count()
    };
    let (id, _) = create(&client, plot.shell("exit 3"));
    assert!(!has_sandboxes || sandboxes(&id) == 1);
    client.restart_container(&id, &RestartConfig::new(), &now()).unwrap();
    assert!(!has_sandboxes || sandboxes(&id) == 1);
    assert_eq!(client.probe(&id, &now()).unwrap().exit_code(), Some(3));
    client.destroy_container(&id, &at_once(), &now()).unwrap();
    assert!(!has_sandboxes || sandboxes(&id) == 0);
}
