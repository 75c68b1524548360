//! Changing containers that run: signals, pauses, resources, labels, restarts.

mod ground;

use std::fs;
use std::time::Duration;

use ctrd::{
    Call, Client, ClientConfig, ContainerStatus, Error, ErrorKind, KillConfig, PauseConfig,
    UpdateConfig,
};
use ground::plot::{
    Plot, at_once, client_behind, client_of, create, kill, proxy_of, until_it_traps, within,
};
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
        plot.client.kill_container(&id, None, &KillConfig::new().signal(0), &now()).unwrap();
        plot.client.kill_container(&id, None, &config, &now()).unwrap();
        assert_eq!(plot.probe(&id).exit_code(), Some(code), "{config:?}");
        let error = plot.client.kill_container(&id, None, &KillConfig::new(), &now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(error.operation(), "kill_container");
        plot.client.kill_container(&id, None, &KillConfig::new().all(true), &now()).unwrap();
        plot.destroy(&id);
    }
    let (id, _) = trapping(&plot);
    refusals(&plot, &id, |client, id, call| {
        client.kill_container(id, None, &KillConfig::new().signal(0), call)
    });
    for (exec_id, config, argument) in [
        (None, KillConfig::new().signal(65), "signal: "),
        (None, KillConfig::new().signal_name("SIGNONE"), "signal_name: "),
        (Some("a/b"), KillConfig::new(), "exec_id: "),
        (Some("e"), KillConfig::new().all(true), "all: "),
    ] {
        let error = plot.client.kill_container(&id, exec_id, &config, &now()).unwrap_err();
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
    let listed = || plot.client.container_processes(&id, &now()).unwrap();
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
    let mut pids: Vec<_> = listed().iter().map(|process| process.pid()).collect();
    let mut plain = plot.client.container_pids(&id, &now()).unwrap();
    pids.sort_unstable();
    plain.sort_unstable();
    assert_eq!(pids, plain);

    let kill_it = |exec_id| {
        let config = KillConfig::new().signal_name("KILL");
        plot.client.kill_container(&id, Some(exec_id), &config, &now())
    };
    kill_it("doomed").unwrap();
    wait_until("its end", || !ground::runs(doomed));
    assert!(ground::runs(other) && ground::runs(pid));
    wait_until("the error", || kill_it("doomed").is_err());
    for exec_id in ["doomed", "none"] {
        let error = kill_it(exec_id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    plot.client.kill_container(&id, None, &KillConfig::new().signal(9).all(true), &now()).unwrap();
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
    plot.client.kill_container(&id, None, &KillConfig::new(), &now()).unwrap();
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
        plot.client.kill_container(&id, None, &KillConfig::new().signal(9), &now()).unwrap();
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
    let id = plot.create(plot.shell("sleep 1000").labels(given).cleanup(ctrd::Cleanup::Task));
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
