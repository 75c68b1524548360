//! Containers, from an image or a prepared root, against a real containerd and runc.

mod ground;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, ContainerConfig, DestroyConfig, ErrorKind, ErrorReason, Origin,
    PullConfig, SnapshotKey, Stdio, Stream,
};
use ground::image::Recipe;
use ground::plot::{
    Plot, assert_nothing_is_left, at_once, client_of, create, gently, kill, pipe, stop, within,
};
use ground::proxy::Proxy;
use ground::{Ground, unique, wait_until};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn exits_have_their_real_codes() {
    let plot = Plot::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        // The first process of a pid namespace ignores a SIGKILL of its own: the script goes on and ends.
        ("kill -9 $$", 0),
        ("trap 'exit 7' TERM; kill -TERM $$", 7),
    ] {
        let id = plot.create(plot.shell(script));
        let message = plot.probe(&id);
        assert_eq!(message.exit_code(), Some(code), "{script}");
        assert_eq!(message.origin(), Origin::Live);
        assert_eq!(message.container_id(), id);
        assert!(message.exit_time().is_some());
        assert!(message.error().is_none() && message.start_error().is_none());
        // It stays until the container goes.
        assert_eq!(plot.probe(&id).exit_code(), Some(code));
        assert_eq!(plot.destroy(&id).exit_code(), Some(code));
        let error = plot.client.probe(&id, &within(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn the_exit_of_a_killed_process_has_its_signal() {
    let plot = Plot::new();
    let config = plot.shell("sleep 1000");
    let (id, pid) = create(&plot.client, config);
    assert_eq!(plot.client.container_pid(&id, &Call::new()).unwrap(), pid);
    let listed = plot.client.container_pids(&id, &Call::new()).unwrap();
    assert!(listed.iter().any(|process| process.pid() == pid && process.exec_id().is_none()));
    kill(pid);
    assert_eq!(plot.probe(&id).exit_code(), Some(137));
    assert!(plot.client.container_pids(&id, &Call::new()).unwrap_or_default().is_empty());
    plot.destroy(&id);
}

#[test]
fn another_client_probes_what_the_first_has_made() {
    let plot = Plot::new();
    let ended = plot.create(plot.shell("exit 4"));
    let running = plot.create(plot.shell("sleep 1000"));
    plot.probe(&ended);
    let other = Client::open(&plot.client_config(), &Call::new()).unwrap();
    let message = other.probe(&ended, &within(10)).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (Some(4), Origin::Recovered));
    let error = other.probe(&running, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    other.watch_container(&running, &within(10)).unwrap();
    let error = other.probe(&running, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    kill(other.container_pid(&running, &Call::new()).unwrap());
    assert_eq!(other.probe(&running, &within(10)).unwrap().exit_code(), Some(137));
    assert_eq!(plot.probe(&running).exit_code(), Some(137));
    other.destroy_container(&ended, &gently(), &Call::new()).unwrap();
    plot.destroy(&running);
}

#[test]
fn a_probe_ends_by_its_limits_and_the_process_goes_on() {
    let plot = Plot::new();
    let id = plot.create(plot.shell("trap 'exit 14' TERM; while :; do sleep 0.1; done"));
    let error = plot.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let short = Call::new().timeout(Duration::from_millis(30));
    assert_eq!(plot.client.probe(&id, &short).unwrap_err().kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let call = Call::new().cancel(&cancel);
    let error = thread::scope(|scope| {
        let probing = scope.spawn(|| plot.client.probe(&id, &call));
        thread::sleep(Duration::from_millis(50));
        cancel.fire();
        probing.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(error.operation(), "probe");
    assert_eq!(error.subject(), id);
    assert!(ground::runs(plot.client.container_pid(&id, &Call::new()).unwrap()));
    assert_eq!(plot.destroy(&id).exit_code(), Some(14));
}

#[test]
fn closing_ends_probes() {
    let plot = Plot::new();
    let id = plot.create(plot.shell("sleep 1000"));
    let error = thread::scope(|scope| {
        let probing = scope.spawn(|| plot.client.probe(&id, &Call::new()));
        thread::sleep(Duration::from_millis(50));
        plot.client.close(&within(10)).unwrap();
        probing.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = plot.client.version(&Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    plot.client.close(&Call::new()).unwrap();
    let later = Client::open(&plot.client_config(), &Call::new()).unwrap();
    later.destroy_container(&id, &at_once(), &Call::new()).unwrap();
}

#[test]
fn the_images_configuration_is_applied() {
    let recipe = Recipe {
        user: "tester".into(),
        entrypoint: vec!["/bin/sh".into(), "-c".into()],
        cmd: vec!["echo the default".into()],
        env: vec!["PATH=/bin".into(), "COLOUR=green".into()],
        working_dir: "/tmp/work".into(),
        ..Default::default()
    };
    let plot = Plot::with_recipe(&recipe);
    assert_eq!(plot.run(plot.config(&[])), (Some(0), "the default\n".into()));
    let (code, text) = plot.run(plot.config(&["id -u; id -g; id -G; pwd; echo $COLOUR; exit 5"]));
    assert_eq!(code, Some(5));
    assert_eq!(text, "1000\n1000\n1000 4 10 2000\n/tmp/work\ngreen\n");
}

#[test]
fn every_form_of_user_is_understood() {
    for (user, ids) in [
        ("", "0 0"),
        ("root", "0 0"),
        ("tester", "1000 1000"),
        ("1000", "1000 1000"),
        ("loner", "1001 2001"),
        ("1001:2000", "1001 2000"),
        ("tester:adm", "1000 4"),
        ("4242", "4242 0"),
        ("4242:77", "4242 77"),
    ] {
        let plot = Plot::with_recipe(&Recipe { user: user.into(), ..Default::default() });
        let (_, text) = plot.run(plot.shell("echo $(id -u) $(id -g)"));
        assert_eq!(text.trim_end(), ids, "user {user:?}");
    }
    for user in ["nobody-of-this-name", "tester:no-such-group", "4294967297"] {
        let plot = Plot::with_recipe(&Recipe { user: user.into(), ..Default::default() });
        let before = plot.holdings();
        let error = plot.client.create_container(&plot.shell("true"), &Call::new()).unwrap_err();
        assert_eq!(error.failed_step(), Some("make the specification"), "{error}");
        assert_eq!(plot.holdings(), before, "user {user:?}");
    }
}

#[test]
fn input_and_output_pass_through_descriptors() {
    let plot = Plot::new();
    for round in 0..10 {
        let (input, to_process) = pipe();
        let (mut out, stdout) = pipe();
        let (mut err, stderr) = pipe();
        let stdio = Stdio::new().stdin(Stream::fd(input));
        let stdio = stdio.stdout(Stream::fd(stdout)).stderr(Stream::fd(stderr));
        let id = plot.create(plot.shell("cat; echo done >&2; exit 6").stdio(stdio));
        let mut to_process = File::from(to_process);
        writeln!(to_process, "round {round}").unwrap();
        drop(to_process);
        assert_eq!(plot.probe(&id).exit_code(), Some(6));
        plot.destroy(&id);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("round {round}\n"));
        text.clear();
        err.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done\n");
    }
}

#[test]
fn input_that_has_ended_before_the_start_ends_for_the_process() {
    let plot = Plot::new();
    let input = Stream::fd(File::open("/dev/null").unwrap());
    let config = plot.shell("cat; exit 8").stdio(Stdio::new().stdin(input)).start(false);
    let id = plot.create(config);
    thread::sleep(Duration::from_millis(100));
    plot.client.start_container(&id, &Call::new()).unwrap();
    assert_eq!(plot.probe(&id).exit_code(), Some(8));
    plot.destroy(&id);
}

#[test]
fn output_goes_to_a_file_by_the_shim() {
    let plot = Plot::new();
    let file = plot.ground.dir().join(unique("output"));
    let (input, say) = pipe();
    let output = Stream::Path(format!("file://{}", file.display()));
    let stdio = Stdio::new().stdin(Stream::fd(input)).stdout(output);
    let id = plot.create(plot.shell("echo to the file; echo and this >&2; read x").stdio(stdio));
    // Before the end: then the shim closes the file when stdout ends, whatever is left of stderr.
    wait_until("both lines", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("to the file\n") && text.contains("and this\n")
    });
    drop(say);
    plot.probe(&id);
    plot.destroy(&id);
}

#[test]
fn a_terminal_is_one() {
    let plot = Plot::new();
    let config = plot.shell("test -t 0 && test -t 1 && echo a terminal; exit 2");
    let (code, text) = plot.run_with(config, Stdio::new().terminal(true));
    assert_eq!((code, text.trim_end()), (Some(2), "a terminal"));
}

#[test]
fn a_prepared_root_is_used_and_left_alone() {
    let plot = Plot::new();
    let root = plot.ground.dir().join(unique("root"));
    for dir in ["bin", "proc", "dev", "sys", "run"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    let config = ContainerConfig::new(unique("root")).rootfs(&root).args([
        "/bin/sh",
        "-c",
        "echo kept > /kept; exit 9",
    ]);
    let id = plot.create(config);
    assert_eq!(plot.probe(&id).exit_code(), Some(9));
    plot.destroy(&id);
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "kept\n");
}

/// A mount that is unmounted with the test, even if that fails.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(point: PathBuf) -> Mounted {
        std::fs::create_dir(&point).unwrap();
        mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        Mounted(point)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_container_is_destroyed_though_something_is_mounted_below_its_root() {
    let plot = Plot::new();
    let root = plot.ground.dir().join(unique("root"));
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    let mounted = Mounted::tmpfs(root.join("data"));
    std::fs::write(root.join("data/file"), "inside\n").unwrap();
    let script = "read line < /data/file; echo $line > /kept; exit 9";
    let config = ContainerConfig::new(unique("root")).rootfs(&root);
    let id = plot.create(config.args(["/bin/sh", "-c", script]));
    assert_eq!(plot.probe(&id).exit_code(), Some(9));
    plot.destroy(&id);
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "inside\n");
    assert!(root.join("data/file").exists());
    // Nothing else has it mounted.
    unmount(&mounted.0, UnmountFlags::empty()).unwrap();
    assert_nothing_is_left(&plot, "a container of a directory");
}

#[test]
fn a_specification_of_the_callers_keeps_what_we_do_not_know() {
    let plot = Plot::new();
    let id = unique("spec");
    let spec = ctrd::default_spec(&plot.namespace, &id).unwrap();
    let mut spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
    spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "exit 11"]);
    spec["x-unknown"] = serde_json::json!({ "kept": [1, 2, 3] });
    plot.create(ContainerConfig::new(&id).image(&plot.image).spec_json(spec.to_string()));
    assert_eq!(plot.probe(&id).exit_code(), Some(11));
    let info = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", &id]);
    // `ctr` reads it into Go's types; what the record holds is seen where it is printed raw.
    assert!(info.contains("\"exit 11\""), "{info}");
    plot.destroy(&id);
}

#[test]
fn a_container_is_started_later() {
    let plot = Plot::new();
    let config = plot.shell("exit 12").start(false);
    let id = plot.create(config);
    let error = plot.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    plot.client.start_container(&id, &Call::new()).unwrap();
    assert_eq!(plot.probe(&id).exit_code(), Some(12));
    let error = plot.client.start_container(&id, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    plot.destroy(&id);
    for streams in [false, true] {
        let mut config = plot.shell("exit 12").start(false);
        let (_output, stdout) = pipe();
        if streams {
            config = config.stdio(Stdio::new().stdout(Stream::fd(stdout)));
        }
        let never = plot.create(config);
        thread::scope(|scope| {
            let probe = scope.spawn(|| plot.probe(&never));
            for message in [plot.destroy(&never), probe.join().unwrap()] {
                assert_eq!(message.exit_code(), None, "{message:?}");
                assert!(message.start_error().is_some(), "{message:?}");
            }
        });
    }
    // It was looked at more than once, and no connection broke.
    assert_eq!(plot.client.counters().reconnects(), 0);
    assert!(plot.holdings().only_images());
}

#[test]
fn a_stubborn_process_is_killed_after_the_grace_period() {
    let plot = Plot::new();
    let stubborn = plot.create(plot.shell("trap '' TERM; echo; while :; do sleep 0.1; done"));
    let willing = plot.create(plot.shell("trap 'exit 7' TERM; while :; do sleep 0.1; done"));
    // Both traps are set before the signal comes.
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    let grace = Duration::from_secs(1);
    let message = plot
        .client
        .destroy_container(&stubborn, &DestroyConfig::new().grace(grace), &Call::new())
        .unwrap();
    assert_eq!(message.exit_code(), Some(137));
    assert!(start.elapsed() >= grace);
    assert_eq!(plot.destroy(&willing).exit_code(), Some(7));
    let deaf = plot.create(plot.shell("trap '' TERM; while :; do sleep 0.1; done"));
    let message = plot.client.destroy_container(&deaf, &at_once(), &Call::new()).unwrap();
    assert_eq!(message.exit_code(), Some(137));
}

#[test]
fn destroying_converges() {
    let plot = Plot::new();
    let before = plot.holdings();
    let id = plot.create(plot.shell("sleep 1000"));
    // The task is gone by another's hand, the record and the snapshot stand.
    plot.ground.ctr(&["-n", &plot.namespace, "tasks", "rm", "-f", &id]);
    plot.destroy(&id);
    assert_eq!(plot.holdings(), before);
    let error = plot.client.destroy_container(&id, &gently(), &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn destroying_at_the_same_time_gives_the_same_exit() {
    let plot = Plot::new();
    let before = plot.holdings();
    let id = plot.create(plot.shell("trap 'exit 13' TERM; while :; do sleep 0.1; done"));
    thread::sleep(Duration::from_millis(300));
    let results = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| plot.client.destroy_container(&id, &gently(), &Call::new())))
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    for result in results {
        match result {
            Ok(message) => assert_eq!(message.exit_code(), Some(13)),
            // A call that comes when all is over finds nothing.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    assert_eq!(plot.holdings(), before);
}

#[test]
fn changes_of_one_container_take_turns() {
    let plot = Plot::new();
    let before = plot.holdings();
    let id = unique("shared");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..6 {
                    let config = plot.shell_of(&id, "sleep 1000");
                    match plot.client.create_container(&config, &Call::new()) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                    }
                    match plot.client.destroy_container(&id, &at_once(), &Call::new()) {
                        Ok(message) => assert_eq!(message.exit_code(), Some(137)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(plot.holdings(), before);
}

#[test]
fn a_busy_error_names_the_operation_that_runs() {
    let plot = Plot::new();
    let id = plot.create(plot.shell("trap '' TERM; while :; do sleep 0.1; done"));
    thread::sleep(Duration::from_millis(300));
    let grace = Duration::from_secs(2);
    thread::scope(|scope| {
        let destroying = scope.spawn(|| {
            plot.client.destroy_container(&id, &DestroyConfig::new().grace(grace), &Call::new())
        });
        thread::sleep(Duration::from_millis(300));
        let short = Call::new().timeout(Duration::from_millis(100));
        for call in [short, Call::new().poll()] {
            let error = plot.client.start_container(&id, &call).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert!(error.message().contains("destroy_container"), "{error}");
        }
        assert_eq!(destroying.join().unwrap().unwrap().exit_code(), Some(137));
    });
}

#[test]
fn a_create_of_a_known_image_takes_eight_calls() {
    let plot = Plot::new();
    let path = plot.ground.dir().join("proxy.sock");
    let proxy = Proxy::start(plot.ground.address().as_ref(), &path);
    let config = plot.client_config().address(proxy.address());
    let client = Client::open(&config, &Call::new()).unwrap();
    let (first, _) = create(&client, plot.shell("exit 0"));
    proxy.take();
    let (second, _) = create(&client, plot.shell("exit 0"));
    let mut calls = proxy.take();
    // Lines of a file, so that a change is seen where the code is reviewed.
    calls.push(String::new());
    assert_eq!(calls.join("\n"), include_str!("create-calls.txt"));
    for id in [first, second] {
        client.destroy_container(&id, &gently(), &Call::new()).unwrap();
    }
}

#[test]
fn creating_survives_garbage_collection() {
    let plot = Plot::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) || rounds == 0 {
                let lease = unique("collect");
                let ctr = |args: &[&str]| {
                    plot.ground.ctr(&[&["-n", &plot.namespace, "leases"], args].concat())
                };
                ctr(&["create", "--id", &lease]);
                // It returns when the collection that it brings about is over.
                ctr(&["delete", "--sync", &lease]);
                rounds += 1;
            }
        });
        let results: Vec<_> = (0..30)
            .map(|round| {
                let config = plot.shell(&format!("exit {round}"));
                let id = config.id().to_owned();
                plot.client.create_container(&config, &Call::new())?;
                let message = plot.client.probe(&id, &within(30))?;
                plot.client.destroy_container(&id, &gently(), &Call::new())?;
                Ok::<_, ctrd::Error>(message.exit_code())
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        for (round, result) in results.into_iter().enumerate() {
            assert_eq!(result.unwrap(), Some(round as u32));
        }
    });
}

#[test]
fn a_missing_snapshot_of_the_image_is_unpacked_again() {
    let recipe = Recipe { more_layers: vec![1234], ..Default::default() };
    let plot = Plot::with_recipe(&recipe);
    let list = || plot.ground.ctr(&["-n", &plot.namespace, "snapshots", "ls"]);
    let layers = list().lines().filter(|line| line.contains("Committed")).count();
    assert!(layers > 1);
    // From the top down: a snapshot with children stays.
    wait_until("the snapshots go", || {
        for line in list().lines().filter(|line| line.contains("Committed")) {
            let key = line.split_whitespace().next().unwrap();
            let _ = plot.client.remove_snapshot(&SnapshotKey::new(key), &Call::new());
        }
        !list().contains("Committed")
    });
    assert_eq!(plot.run(plot.shell("echo there")), (Some(0), "there\n".into()));
    assert_eq!(list().lines().filter(|line| line.contains("Committed")).count(), layers);
}

#[test]
fn a_command_that_is_not_there_leaves_nothing_behind() {
    let plot = Plot::new();
    let before = plot.holdings();
    for _ in 0..5 {
        let (_output, stdout) = pipe();
        let config =
            plot.config(&["/no/such/command"]).stdio(Stdio::new().stdout(Stream::fd(stdout)));
        let error = plot.client.create_container(&config, &Call::new()).unwrap_err();
        assert_eq!(error.failed_step(), Some("create the task"), "{error}");
        assert!(error.message().contains("/no/such/command"), "{error}");
        assert_eq!(plot.holdings(), before);
    }
}

#[test]
fn an_id_that_is_taken_is_left_to_its_owner() {
    let plot = Plot::new();
    let id = plot.create(plot.shell("trap 'exit 3' TERM; while :; do sleep 0.1; done"));
    let before = plot.holdings();
    let config = plot.shell_of(&id, "exit 0");
    let error = plot.client.create_container(&config, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(error.subject(), id);
    assert_eq!(plot.holdings(), before);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(plot.destroy(&id).exit_code(), Some(3));
}

#[test]
fn bad_arguments_are_named() {
    let plot = Plot::new();
    let before = plot.holdings();
    let good = || plot.shell("exit 0");
    let without_image = || ContainerConfig::new(unique("c"));
    let relative = Stdio::new().stdout(Stream::Path("relative".into()));
    let cases = [
        ("id", plot.shell_of("", "exit 0")),
        ("id", plot.shell_of("a/b", "exit 0")),
        ("id", plot.shell_of(&"x".repeat(77), "exit 0")),
        ("image", without_image()),
        ("rootfs", good().rootfs("/")),
        ("rootfs", without_image().rootfs("relative")),
        ("rootfs", without_image().rootfs("/no/such/directory")),
        ("snapshotter", good().snapshotter("")),
        ("snapshot_key", good().snapshot_key("")),
        ("runtime", good().runtime("")),
        ("spec_json", good().spec_json("{")),
        ("spec_json", good().spec_json("[]")),
        ("spec_json", good().spec_json("{\"root\":{}}")),
        ("args", good().args(["a\0b"])),
        ("labels", good().labels([("", "x")])),
        ("labels", good().labels([("io.ctrd.owner", "x")])),
        ("labels", good().labels([("key", "x".repeat(4096))])),
        ("stdout", good().stdio(relative)),
        ("image", good().image("Not/A Reference")),
    ];
    for (argument, config) in cases {
        let shown = format!("{config:?}");
        let error = plot.client.create_container(&config, &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error} of {shown}");
        assert!(error.message().starts_with(&format!("{argument}: ")), "{error} of {shown}");
    }
    let error = plot.client.create_container(&good(), &Call::new().namespace("a/b")).unwrap_err();
    assert!(error.message().starts_with("namespace: "), "{error}");
    let unknown = good().image("localhost/no/such:image");
    let error = plot.client.create_container(&unknown, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(error.reason(), Some(ErrorReason::NoImage), "{error}");
    let unknown = good().snapshotter("no-such-snapshotter");
    let error = plot.client.create_container(&unknown, &Call::new()).unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::NoSnapshotter), "{error}");
    assert_eq!(error.failed_step(), Some("prepare the snapshot"), "{error}");
    let unknown = good().runtime("io.containerd.no-such.v1");
    let error = plot.client.create_container(&unknown, &Call::new()).unwrap_err();
    assert_eq!(error.failed_step(), Some("create the task"), "{error}");
    assert!(error.message().contains("no-such"), "{error}");
    assert_eq!(error.reason(), Some(ErrorReason::NoRuntime), "{error}");
    let error = plot.client.create_container(&good(), &Call::new().lease("none")).unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::NoLease), "{error}");
    assert_eq!(plot.holdings(), before);
    // And the daemon is well.
    assert_eq!(plot.run(plot.shell("echo well")), (Some(0), "well\n".into()));
}

#[test]
fn a_create_that_is_cancelled_leaves_nothing() {
    let plot = Plot::new();
    plot.run(plot.shell("true"));
    let before = plot.holdings();
    // At moments spread over the time that a create takes.
    for round in 0..25 {
        let cancel = Cancel::new();
        let config = plot.shell("sleep 1000");
        let id = config.id().to_owned();
        let call = Call::new().cancel(&cancel);
        let result = thread::scope(|scope| {
            let creating = scope.spawn(|| plot.client.create_container(&config, &call));
            thread::sleep(Duration::from_millis(4 * round));
            cancel.fire();
            creating.join().unwrap()
        });
        match result {
            Ok(_) => drop(plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        }
        // containerd and its shim wind up on their own time.
        wait_until(&format!("nothing is left of round {round}"), || plot.holdings() == before);
    }
}

#[test]
fn labels_of_the_caller_and_the_owner_are_set() {
    let plot = Plot::new();
    let config = plot.shell("exit 0").labels([("org.example/kept", "yes")]);
    let id = plot.create(config);
    let info = plot.ground.ctr(&["-n", &plot.namespace, "containers", "info", &id]);
    assert!(info.contains("\"org.example/kept\": \"yes\""), "{info}");
    assert!(info.contains("\"io.ctrd.owner\": \"ctrd\""), "{info}");
    plot.destroy(&id);
}

#[test]
fn a_client_is_shared_by_threads() {
    let plot = Arc::new(Plot::new());
    let threads: Vec<_> = (0..4u32)
        .map(|code| {
            let plot = plot.clone();
            thread::spawn(move || {
                let id = plot.create(plot.shell(&format!("exit {code}")));
                assert_eq!(plot.probe(&id).exit_code(), Some(code));
                plot.destroy(&id);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_bad_setting_of_a_client_is_named() {
    let good = || Ground::get().client_config();
    for (setting, config) in [
        ("address", good().address("")),
        ("address", good().address("relative")),
        ("namespace", good().namespace("")),
        ("owner", good().owner("")),
        ("snapshotter", good().snapshotter("")),
        ("call_timeout", good().call_timeout(Duration::ZERO)),
        ("state_dir", good().state_dir("")),
        ("max_calls", good().max_calls(0)),
    ] {
        let error = Client::open(&config, &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with(&format!("{setting}: ")), "{error}");
    }
}

#[test]
fn a_socket_may_have_any_name_but_for_a_comma() {
    let ground = Ground::get();
    // All that a URI gives a meaning to, and what it may not hold.
    let directory = ground.dir().join("50% of?it#here");
    fs::create_dir(&directory).unwrap();
    let open =
        |address: String| Client::open(&ground.client_config().address(address), &Call::new());
    for name in ["plain", "%41", "%", "a b+c", "?a=b&c#d", "\"<>[]\\^`{|}", ":@!$'()*;~", "é\n"] {
        let path = directory.join(name);
        let proxy = Proxy::start(ground.address().as_ref(), &path);
        for prefix in ["", "unix:", "unix://", "unix:///", "/"] {
            let client = open(format!("{prefix}{}", proxy.address())).unwrap();
            client.version(&Call::new()).unwrap();
            // One for the open.
            assert_eq!(proxy.take(), ["Version/Version"; 2], "{prefix}{name}");
        }
    }
    let path = directory.join("a,b");
    let _proxy = Proxy::start(ground.address().as_ref(), &path);
    let error = open(path.display().to_string()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("address") && error.message().contains("comma"), "{error}");
}

#[test]
fn calls_keep_their_deadlines_while_containerd_is_stopped() {
    let ground = Ground::raise();
    let client = ground.client();
    let pid = Pid::from_raw(ground.daemon().pid().try_into().unwrap()).unwrap();
    stop(pid);
    let call = Call::new().timeout(Duration::from_millis(500));
    let pull = PullConfig::new(ground.image());
    let start = Instant::now();
    let error = client.pull_image(&pull, &mut |_| {}, &call).unwrap_err();
    // The lease is given a second more.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = client.probe("no-such-container", &call).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    kill_process(pid, Signal::CONT).unwrap();
    client.version(&Call::new()).unwrap();
}

#[test]
fn a_poll_asks_nobody() {
    // The guardian takes it down after the program's end.
    let ground: &Ground = Box::leak(Box::new(Ground::raise()));
    let plot = Plot::with_image(ground, ground.image());
    let other = client_of(&plot);
    let [running, ended, unwatched] =
        ["sleep 1000", "exit 3", "exit 4"].map(|script| plot.create(plot.shell(script)));
    // It is reported before the server is stopped, and again while it is.
    assert_eq!(plot.probe(&ended).exit_code(), Some(3));
    other.watch_container(&running, &within(10)).unwrap();
    other.watch_container(&ended, &within(10)).unwrap();
    let error = other.watch_container("no-such-container", &within(10)).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotFound, "watch_container"));

    let daemon = Pid::from_raw(ground.daemon().pid().try_into().unwrap()).unwrap();
    stop(daemon);
    let start = Instant::now();
    const POLLS: u32 = 100;
    for _ in 0..POLLS {
        let poll = |client: &Client, id: &str| {
            let polled = client.probe(id, &Call::new().poll());
            polled.map(|message| message.exit_code()).map_err(|error| error.kind())
        };
        for client in [&plot.client, &other] {
            assert_eq!(poll(client, &running), Err(ErrorKind::WouldBlock));
            assert_eq!(poll(client, &ended), Ok(Some(3)));
        }
        for id in [&*unwatched, "no-such-container"] {
            assert_eq!(poll(&other, id), Err(ErrorKind::FailedPrecondition));
        }
    }
    // Each took 1 s when polls asked the server.
    assert!(start.elapsed() < Duration::from_secs(1) * POLLS / 10, "{:?}", start.elapsed());
    // A call that has to ask the server is bounded.
    let short = Call::new().timeout(Duration::from_millis(200));
    let error = other.watch_container(&unwatched, &short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = other.watch_container(&unwatched, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    kill_process(daemon, Signal::CONT).unwrap();

    other.watch_container(&unwatched, &within(10)).unwrap();
    wait_until("its exit", || other.probe(&unwatched, &Call::new().poll()).is_ok());
    for id in [running, ended, unwatched] {
        plot.client.destroy_container(&id, &at_once(), &Call::new()).unwrap();
    }
}

#[test]
fn a_poll_returns_what_the_client_knows_until_it_is_asked_to_look() {
    let plot = Plot::new();
    let told = plot.create(plot.shell("exit 3"));
    assert_eq!(plot.probe(&told).exit_code(), Some(3));
    // Another client replaces the container.
    let other = client_of(&plot);
    other.destroy_container(&told, &gently(), &within(30)).unwrap();
    let again = plot.shell_of(&told, "sleep 1000");
    other.create_container(&again, &Call::new()).unwrap();
    let poll = || plot.client.probe(&told, &Call::new().poll());
    assert_eq!(poll().unwrap().exit_code(), Some(3));
    plot.client.watch_container(&told, &within(10)).unwrap();
    assert_eq!(poll().unwrap_err().kind(), ErrorKind::WouldBlock);
    other.destroy_container(&told, &at_once(), &within(30)).unwrap();
    wait_until("its exit", || poll().is_ok_and(|message| message.exit_code() == Some(137)));
}
