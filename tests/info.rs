//! Looking containers up: get and list.

mod ground;

use std::time::{Duration, Instant, SystemTime};

use ctrd::{
    Call, Cleanup, Client, ContainerConfig, ContainerInfo, ContainerStatus, Error, ErrorKind,
    RecoveryState, Stdio,
};
use ground::plot::{
    Plot, at_once, client_behind, client_of, create, kill, proxy_of, shim_of, stop, within,
};
use ground::{unique, wait_until};
use rustix::process::{Signal, kill_process};

fn ctr(plot: &Plot, arguments: &[&str]) {
    plot.ground.ctr(&[&["-n", &plot.namespace], arguments].concat());
}

fn get(client: &Client, id: &str) -> ContainerInfo {
    client.get_container(id, &within(20)).unwrap()
}

fn list(client: &Client) -> Vec<ContainerInfo> {
    client.list_containers(&[], &within(20)).unwrap()
}

/// Makes sure that get and list say the same, and returns it.
fn look(client: &Client, id: &str) -> ContainerInfo {
    let info = get(client, id);
    let listed = list(client).into_iter().find(|listed| listed.id() == id).unwrap();
    assert_eq!(format!("{listed:?}"), format!("{info:?}"));
    info
}

#[test]
fn a_container_is_described_by_its_record() {
    let plot = Plot::new();
    let before = SystemTime::now() - Duration::from_secs(1);
    let config = plot
        .shell("sleep 1000")
        .labels([("org.example/z", "last"), ("org.example/a", "first")])
        .cleanup(Cleanup::Task)
        .stdio(Stdio::new().terminal(true));
    let id = plot.create(config);
    // For every client.
    for client in [&plot.client, &client_of(&plot)] {
        let info = look(client, &id);
        assert_eq!(info.id(), id);
        assert_eq!(info.image(), Some(&*plot.image));
        let labels: Vec<_> = info.labels().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let theirs = labels.iter().filter(|(key, _)| key.starts_with("org.example/")).copied();
        let expected = [("org.example/a", "first"), ("org.example/z", "last")];
        assert_eq!(theirs.collect::<Vec<_>>(), expected);
        assert!(labels.iter().all(|(key, _)| !key.starts_with("io.ctrd.")), "{labels:?}");
        assert_eq!(info.label("org.example/z"), Some("last"));
        assert_eq!(info.label("org.example/none"), None);
        assert_eq!((info.owner(), info.cleanup()), (Some("ctrd"), Cleanup::Task));
        assert_eq!(info.runtime(), "io.containerd.runc.v2");
        assert_eq!(info.snapshotter(), Some("overlayfs"));
        assert_eq!(info.snapshot_key(), Some(&*id));
        let created = info.created_at().unwrap();
        assert!(created > before && created <= SystemTime::now(), "{created:?}");
        assert!(info.updated_at().unwrap() >= created);
        assert!(info.terminal());
    }
    plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
    let error = plot.client.get_container(&id, &within(10)).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotFound, "get_container"));

    // Another client's, and one without an image.
    let foreign = unique("c");
    ctr(&plot, &["containers", "create", &plot.image, &foreign]);
    let info = look(&plot.client, &foreign);
    assert_eq!((info.owner(), info.cleanup(), info.terminal()), (None, Cleanup::Keep, false));
    assert!(info.generation().is_some());
    let root = plot.ground.dir().join(unique("root"));
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    for dir in ["proc", "dev", "sys", "run"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let id = unique("root");
    plot.create(ContainerConfig::new(&id).rootfs(root).args(["/bin/sh", "-c", "exit 3"]));
    // Its state is not to change between two looks.
    plot.probe(&id);
    let info = look(&plot.client, &id);
    assert_eq!((info.image(), info.snapshotter(), info.snapshot_key()), (None, None, None));
    plot.destroy(&id);
    ctr(&plot, &["containers", "rm", &foreign]);
}

#[test]
fn the_state_of_the_process_is_given() {
    let plot = Plot::new();
    let other = client_of(&plot);
    let both = |id: &str, expected: ContainerStatus| {
        [&plot.client, &other].map(|client| {
            let info = look(client, id);
            assert_eq!(info.status(), expected, "{info:?}");
            info
        })
    };
    let config = plot
        .shell("trap 'exit 3' TERM; while :; do sleep 0.1; done")
        .start(false)
        .cleanup(Cleanup::Task);
    let (id, process) = create(&plot.client, config);
    let without_exit = |status| {
        for info in both(&id, status) {
            assert_eq!((info.pid(), info.exit_code()), (Some(process), None), "{info:?}");
            assert_eq!(info.exit_time(), None);
        }
    };
    without_exit(ContainerStatus::Created);
    plot.client.start_container(&id, &Call::new()).unwrap();
    without_exit(ContainerStatus::Running);
    ctr(&plot, &["tasks", "pause", &id]);
    without_exit(ContainerStatus::Paused);
    ctr(&plot, &["tasks", "resume", &id]);
    without_exit(ContainerStatus::Running);

    // The exit is kept by the task, and then by the record.
    let (entered, is_in) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let hook = move |_: &ctrd::Message| {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(30));
    };
    plot.client.on_exit(hook).unwrap();
    kill(process);
    let message = plot.probe(&id);
    is_in.recv_timeout(Duration::from_secs(30)).unwrap();
    let ended = |status| {
        for info in both(&id, status) {
            assert_eq!((info.exit_code(), info.exit_time()), (Some(137), message.exit_time()));
            assert_eq!(info.generation(), message.generation());
        }
    };
    ended(ContainerStatus::Stopped);
    assert!(message.exit_time().is_some() && message.pid() == Some(process));
    release.send(()).unwrap();
    wait_until("the clean-up", || plot.holdings().tasks == 0);
    ended(ContainerStatus::NoTask);
    plot.destroy(&id);

    let without_task = unique("c");
    ctr(&plot, &["containers", "create", &plot.image, &without_task]);
    for info in both(&without_task, ContainerStatus::NoTask) {
        assert_eq!((info.pid(), info.exit_code(), info.exit_time()), (None, None, None));
    }
    ctr(&plot, &["containers", "rm", &without_task]);
}

#[test]
fn the_generation_distinguishes_containers_with_one_id() {
    let plot = Plot::new();
    let mut generations = Vec::new();
    for code in [3, 4] {
        let config = plot.shell_of("same", &format!("exit {code}"));
        let process = plot.client.create_container(&config, &Call::new()).unwrap();
        let probed = plot.probe("same");
        // A later run of the program.
        let later = client_of(&plot);
        let taken = later.recover_container("same", &Stdio::new(), &within(10)).unwrap();
        assert_eq!((taken.state(), taken.exit_code()), (RecoveryState::Ended, Some(code)));
        assert_eq!((taken.pid(), taken.generation()), (Some(process.pid()), process.generation()));
        let recovered = later.probe("same", &within(10)).unwrap();
        let generation = look(&later, "same").generation();
        let destroyed = plot.destroy("same");
        for message in [&probed, &recovered, &destroyed] {
            assert_eq!(message.exit_code(), Some(code));
            assert_eq!(message.pid(), Some(process.pid()));
            assert_eq!(message.generation(), generation);
            assert_eq!(message.generation(), process.generation());
        }
        generations.push(generation.unwrap());
    }
    assert_ne!(generations[0], generations[1]);

    // Also without a task.
    ctr(&plot, &["containers", "create", "--label", "io.ctrd.owner=ctrd", &plot.image, "same"]);
    let generation = look(&plot.client, "same").generation();
    let message = plot.destroy("same");
    assert_eq!((message.pid(), message.generation()), (None, generation));
    assert!(!generations.contains(&generation.unwrap()));
}

#[test]
fn a_list_is_filtered_by_the_server_and_takes_two_calls() {
    let plot = Plot::new();
    let mut ids: Vec<String> = (0..6)
        .map(|n| {
            let config = plot
                .shell(&format!("exit {n}"))
                .labels([("org.example.group", (n % 2).to_string())]);
            plot.create(config)
        })
        .collect();
    ids.iter().for_each(|id| drop(plot.probe(id)));
    let proxy = proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    proxy.take();
    let listed = list(&client);
    assert_eq!(proxy.take(), ["Containers/ListStream", "Tasks/List"]);
    let codes = ids.iter().map(|id| {
        let info = listed.iter().find(|info| info.id() == id).unwrap();
        info.exit_code().unwrap()
    });
    assert_eq!(codes.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    get(&client, &ids[0]);
    assert_eq!(proxy.take(), ["Containers/Get", "Tasks/Get"]);

    let of = |filters: &[&str]| {
        let listed = client.list_containers(filters, &within(10)).unwrap();
        listed.into_iter().map(|info| info.id().to_owned()).collect::<Vec<_>>()
    };
    let odd = r#"labels."org.example.group"==1"#;
    let (mut odd_ids, first) = (vec![&ids[1], &ids[3], &ids[5]], format!("id=={}", ids[0]));
    odd_ids.sort();
    assert_eq!(of(&[odd]).iter().collect::<Vec<_>>(), odd_ids);
    assert_eq!(of(&[odd, &first]).len(), 4);
    assert_eq!(of(&[r#"labels."io.ctrd.owner"==ctrd"#]).len(), 6);
    assert_eq!(of(&["id==none"]).len(), 0);
    ids.sort();
    assert_eq!(of(&[]), ids, "they are sorted");
    let error = client.list_containers(&["id==a", "id=="], &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().starts_with("filters[1]: "), "{error}");
    let nowhere = Call::new().namespace(unique("empty"));
    assert_eq!(client.list_containers(&[], &nowhere).unwrap().len(), 0);
    ids.iter().for_each(|id| drop(plot.destroy(id)));
}

#[test]
fn a_shim_that_does_not_answer_makes_no_list_fail() {
    let plot = Plot::new();
    let other = client_of(&plot);
    let running = |code| create(&plot.client, plot.shell(&format!("sleep 1000; exit {code}")));
    let [(stuck, stuck_pid), (well, well_pid)] = [1, 2].map(running);
    let shim = shim_of(stuck_pid);
    stop(shim);
    for client in [&plot.client, &other] {
        let start = Instant::now();
        let listed = list(client);
        // containerd waits 2 s for the shim.
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        let of = |id: &str| listed.iter().find(|info| info.id() == id).unwrap();
        assert_eq!(
            (of(&well).status(), of(&well).pid()),
            (ContainerStatus::Running, Some(well_pid))
        );
        let watches = std::ptr::eq(client, &plot.client);
        let status = of(&stuck).status();
        let left_out = !watches && status == ContainerStatus::NoTask;
        assert!(status == ContainerStatus::Unknown || left_out, "{status:?}");
        assert_eq!(of(&stuck).exit_code(), None);
        if watches {
            assert_eq!(of(&stuck).pid(), Some(stuck_pid));
        }
        let info = get(client, &stuck);
        assert_eq!(info.status(), ContainerStatus::Unknown, "{info:?}");
    }
    kill_process(shim, Signal::CONT).unwrap();
    assert_eq!(look(&plot.client, &stuck).status(), ContainerStatus::Running);
    for id in [stuck, well] {
        plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
    }
}

#[test]
fn the_calls_limits_and_errors_are_those_of_every_operation() {
    let plot = Plot::new();
    let past = Call::new().timeout(Duration::ZERO);
    let errors = |client: &Client, call: &Call| -> [Error; 2] {
        let get = client.get_container("c", call).unwrap_err();
        [get, client.list_containers(&[], call).unwrap_err()]
    };
    for error in errors(&plot.client, &past) {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    for error in errors(&plot.client, &Call::new().namespace("a/b")) {
        assert!(error.message().starts_with("namespace: "), "{error}");
    }
    let error = plot.client.get_container("a/b", &Call::new()).unwrap_err();
    assert!(error.message().starts_with("id: "), "{error}");
    let config = plot.ground.client_config().namespace("elsewhere");
    let client = Client::open(&config, &Call::new()).unwrap();
    client.close(&Call::new()).unwrap();
    for error in errors(&client, &Call::new()) {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}
