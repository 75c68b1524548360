//! Containers, from an image or a prepared root, against a real containerd and runc.

mod ground;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Client, ContainerConfig, ErrorKind, Message, Origin, PullConfig, Stdio, Stream,
};
use ground::image::Recipe;
use ground::proxy::Proxy;
use ground::{Ground, unique, wait_until};

const GRACE: Duration = Duration::from_secs(5);

/// A client in a namespace of the test's own, and an image that it has pulled.
struct Bench {
    ground: &'static Ground,
    client: Client,
    namespace: String,
    image: String,
}

impl Bench {
    fn new() -> Bench {
        let ground = Ground::get();
        Bench::with_image(ground, ground.image())
    }

    fn with_recipe(recipe: &Recipe) -> Bench {
        let ground = Ground::get();
        let image = ground.registry().push(&unique("ctrd/recipe"), "latest", recipe);
        Bench::with_image(ground, &image)
    }

    fn with_image(ground: &'static Ground, image: &str) -> Bench {
        let namespace = unique("containers");
        let mut config = ground.client_config();
        config.namespace = namespace.clone();
        let client = Client::open(config, &Call::new()).unwrap();
        let pull = PullConfig { reference: image.into(), ..Default::default() };
        let image = client.pull_image(&pull, &mut |_| {}, &Call::new()).unwrap().name;
        Bench { ground, client, namespace, image }
    }

    fn config(&self, args: &[&str]) -> ContainerConfig {
        ContainerConfig {
            id: unique("c"),
            image: Some(self.image.clone()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn shell(&self, script: &str) -> ContainerConfig {
        self.config(&["/bin/sh", "-c", script])
    }

    /// Creates a container and gives its id.
    fn create(&self, config: ContainerConfig) -> String {
        let id = config.id.clone();
        self.client.create_container(config, &Call::new()).unwrap();
        id
    }

    fn probe(&self, id: &str) -> Message {
        self.client.probe(id, &within(30)).unwrap()
    }

    fn destroy(&self, id: &str) -> Message {
        self.client.destroy_container(id, GRACE, &Call::new()).unwrap()
    }

    /// Runs a container to its end and gives its exit code and what it wrote.
    fn run(&self, mut config: ContainerConfig) -> (Option<u32>, String) {
        let (mut output, stdout) = pipe();
        config.stdio.stdout = Stream::Fd(stdout);
        let id = self.create(config);
        let message = self.probe(&id);
        self.destroy(&id);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        (message.exit_code(), text)
    }

    fn holdings(&self) -> ground::Holdings {
        self.ground.holdings(&self.namespace)
    }
}

fn within(seconds: u64) -> Call {
    Call::new().timeout(Duration::from_secs(seconds))
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (File::from(read), write)
}

#[test]
fn exits_are_told_with_their_real_codes() {
    let bench = Bench::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("trap 'exit 7' TERM; kill -TERM $$", 7),
    ] {
        let id = bench.create(bench.shell(script));
        let message = bench.probe(&id);
        // The first process of a pid namespace is deaf to its own SIGKILL.
        let code = if script.starts_with("kill") { 0 } else { code };
        assert_eq!(message.exit_code(), Some(code), "{script}");
        assert_eq!(message.origin(), Origin::Live);
        assert_eq!(message.container_id(), id);
        assert!(message.exit_time().is_some());
        assert!(message.error().is_none() && message.start_error().is_none());
        // It stays until the container goes.
        assert_eq!(bench.probe(&id).exit_code(), Some(code));
        assert_eq!(bench.destroy(&id).exit_code(), Some(code));
        let error = bench.client.probe(&id, &within(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn a_killed_process_is_told_of_with_its_signal() {
    let bench = Bench::new();
    let config = bench.shell("sleep 1000");
    let id = config.id.clone();
    let pid = bench.client.create_container(config, &Call::new()).unwrap();
    assert_eq!(bench.client.container_pid(&id, &Call::new()).unwrap(), pid);
    assert!(bench.client.container_pids(&id, &Call::new()).unwrap().contains(&pid));
    kill(pid);
    assert_eq!(bench.probe(&id).exit_code(), Some(137));
    assert!(bench.client.container_pids(&id, &Call::new()).unwrap_or_default().is_empty());
    bench.destroy(&id);
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn another_client_probes_what_the_first_has_made() {
    let bench = Bench::new();
    let ended = bench.create(bench.shell("exit 4"));
    let running = bench.create(bench.shell("sleep 1000"));
    bench.probe(&ended);
    let mut config = bench.ground.client_config();
    config.namespace = bench.namespace.clone();
    let other = Client::open(config, &Call::new()).unwrap();
    let message = other.probe(&ended, &within(10)).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (Some(4), Origin::Recovered));
    let error = other.probe(&running, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    kill(other.container_pid(&running, &Call::new()).unwrap());
    assert_eq!(other.probe(&running, &within(10)).unwrap().exit_code(), Some(137));
    assert_eq!(bench.probe(&running).exit_code(), Some(137));
    other.destroy_container(&ended, GRACE, &Call::new()).unwrap();
    bench.destroy(&running);
}

#[test]
fn a_probe_ends_by_its_limits_and_the_process_goes_on() {
    let bench = Bench::new();
    let id = bench.create(bench.shell("trap 'exit 14' TERM; while :; do sleep 0.1; done"));
    let error = bench.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let short = Call::new().timeout(Duration::from_millis(30));
    assert_eq!(bench.client.probe(&id, &short).unwrap_err().kind(), ErrorKind::Timeout);
    let cancel = Cancel::new().unwrap();
    let call = Call::new().cancel(&cancel);
    let error = thread::scope(|scope| {
        let probing = scope.spawn(|| bench.client.probe(&id, &call));
        thread::sleep(Duration::from_millis(50));
        cancel.fire();
        probing.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(error.operation(), "probe");
    assert_eq!(error.subject(), id);
    assert!(ground::runs(bench.client.container_pid(&id, &Call::new()).unwrap()));
    assert_eq!(bench.destroy(&id).exit_code(), Some(14));
}

#[test]
fn closing_ends_probes() {
    let bench = Bench::new();
    let id = bench.create(bench.shell("sleep 1000"));
    let error = thread::scope(|scope| {
        let probing = scope.spawn(|| bench.client.probe(&id, &Call::new()));
        thread::sleep(Duration::from_millis(50));
        bench.client.close(&within(10)).unwrap();
        probing.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = bench.client.version(&Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    bench.client.close(&Call::new()).unwrap();
    let mut config = bench.ground.client_config();
    config.namespace = bench.namespace.clone();
    let later = Client::open(config, &Call::new()).unwrap();
    later.destroy_container(&id, Duration::ZERO, &Call::new()).unwrap();
}

#[test]
fn many_probes_of_many_containers_take_no_threads() {
    let bench = Bench::new();
    let ids: Vec<String> = (0..10).map(|_| bench.create(bench.shell("sleep 1000"))).collect();
    let cancel = Cancel::new().unwrap();
    let call = Call::new().cancel(&cancel);
    let one = thread::scope(|scope| {
        scope.spawn(|| bench.client.probe(&ids[0], &call).unwrap_err());
        thread::sleep(Duration::from_millis(200));
        let own = library_threads();
        cancel.fire();
        own
    });
    thread::scope(|scope| {
        for probe in 0..200 {
            let (client, id) = (&bench.client, &ids[probe % ids.len()]);
            scope.spawn(move || {
                assert_eq!(client.probe(id, &within(60)).unwrap().exit_code(), Some(137))
            });
        }
        thread::sleep(Duration::from_millis(200));
        let many = library_threads();
        for id in &ids {
            kill(bench.client.container_pid(id, &Call::new()).unwrap());
        }
        assert!(many <= one, "{many} threads of the library instead of {one}");
    });
    ids.iter().for_each(|id| drop(bench.destroy(id)));
}

/// The threads of the client's own; gRPC's are the process's.
fn library_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("ctrd-"))
        .count()
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
    let bench = Bench::with_recipe(&recipe);
    assert_eq!(bench.run(bench.config(&[])), (Some(0), "the default\n".into()));
    let (code, text) = bench.run(bench.config(&["id -u; id -g; id -G; pwd; echo $COLOUR; exit 5"]));
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
        let bench = Bench::with_recipe(&Recipe { user: user.into(), ..Default::default() });
        let (_, text) = bench.run(bench.shell("echo $(id -u) $(id -g)"));
        assert_eq!(text.trim_end(), ids, "user {user:?}");
    }
    for user in ["nobody-of-this-name", "tester:no-such-group", "4294967297"] {
        let bench = Bench::with_recipe(&Recipe { user: user.into(), ..Default::default() });
        let before = bench.holdings();
        let error = bench.client.create_container(bench.shell("true"), &Call::new()).unwrap_err();
        assert_eq!(error.failed_step(), Some("make the specification"), "{error}");
        assert_eq!(bench.holdings(), before, "user {user:?}");
    }
}

#[test]
fn input_and_output_pass_through_descriptors() {
    let bench = Bench::new();
    for round in 0..10 {
        let (input, to_process) = pipe();
        let (mut out, stdout) = pipe();
        let (mut err, stderr) = pipe();
        let mut config = bench.shell("cat; echo done >&2; exit 6");
        config.stdio = Stdio {
            stdin: Stream::Fd(input.into()),
            stdout: Stream::Fd(stdout),
            stderr: Stream::Fd(stderr),
            terminal: false,
        };
        let id = bench.create(config);
        let mut to_process = File::from(to_process);
        write!(to_process, "round {round}\n").unwrap();
        drop(to_process);
        assert_eq!(bench.probe(&id).exit_code(), Some(6));
        bench.destroy(&id);
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
    let bench = Bench::new();
    let mut config = bench.shell("cat; exit 8");
    config.stdio.stdin = Stream::Fd(File::open("/dev/null").unwrap().into());
    config.no_start = true;
    let id = bench.create(config);
    thread::sleep(Duration::from_millis(100));
    bench.client.start_container(&id, &Call::new()).unwrap();
    assert_eq!(bench.probe(&id).exit_code(), Some(8));
    bench.destroy(&id);
}

#[test]
fn output_goes_to_a_file_by_the_shim() {
    let bench = Bench::new();
    let file = bench.ground.dir().join(unique("output"));
    let mut config = bench.shell("echo to the file; echo and this >&2");
    config.stdio.stdout = Stream::Path(format!("file://{}", file.display()));
    let id = bench.create(config);
    bench.probe(&id);
    bench.destroy(&id);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("to the file\n") && text.contains("and this\n"), "{text:?}");
}

#[test]
fn a_terminal_is_one() {
    let bench = Bench::new();
    let mut config = bench.shell("test -t 0 && test -t 1 && echo a terminal; exit 2");
    config.stdio.terminal = true;
    let (code, text) = bench.run(config);
    assert_eq!((code, text.trim_end()), (Some(2), "a terminal"));
}

#[test]
fn a_prepared_root_is_used_and_left_alone() {
    let bench = Bench::new();
    let root = bench.ground.dir().join(unique("root"));
    for dir in ["bin", "proc", "dev", "sys", "run"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    let config = ContainerConfig {
        id: unique("root"),
        rootfs: Some(root.clone()),
        args: vec!["/bin/sh".into(), "-c".into(), "echo kept > /kept; exit 9".into()],
        ..Default::default()
    };
    let id = bench.create(config);
    assert_eq!(bench.probe(&id).exit_code(), Some(9));
    bench.destroy(&id);
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "kept\n");
}

#[test]
fn a_specification_of_the_callers_keeps_what_we_do_not_know() {
    let bench = Bench::new();
    let id = unique("spec");
    let spec = ctrd::default_spec(&bench.namespace, &id).unwrap();
    let mut spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
    spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "exit 11"]);
    spec["x-unknown"] = serde_json::json!({ "kept": [1, 2, 3] });
    let config = ContainerConfig {
        id: id.clone(),
        image: Some(bench.image.clone()),
        spec: Some(spec.to_string()),
        ..Default::default()
    };
    bench.create(config);
    assert_eq!(bench.probe(&id).exit_code(), Some(11));
    let info = bench.ground.ctr(&["-n", &bench.namespace, "containers", "info", &id]);
    // `ctr` reads it into Go's types; what the record holds is seen where it is printed raw.
    assert!(info.contains("\"exit 11\""), "{info}");
    bench.destroy(&id);
}

#[test]
fn a_container_is_started_later() {
    let bench = Bench::new();
    let mut config = bench.shell("exit 12");
    config.no_start = true;
    let id = bench.create(config);
    let error = bench.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    bench.client.start_container(&id, &Call::new()).unwrap();
    assert_eq!(bench.probe(&id).exit_code(), Some(12));
    let error = bench.client.start_container(&id, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    bench.destroy(&id);
    let mut config = bench.shell("exit 12");
    config.no_start = true;
    let never = bench.create(config);
    bench.destroy(&never);
}

#[test]
fn a_stubborn_process_is_killed_after_the_grace_period() {
    let bench = Bench::new();
    let stubborn = bench.create(bench.shell("trap '' TERM; echo; while :; do sleep 0.1; done"));
    let willing = bench.create(bench.shell("trap 'exit 7' TERM; while :; do sleep 0.1; done"));
    // Both traps are set before the signal comes.
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    let grace = Duration::from_secs(1);
    let message = bench.client.destroy_container(&stubborn, grace, &Call::new()).unwrap();
    assert_eq!(message.exit_code(), Some(137));
    assert!(start.elapsed() >= grace);
    assert_eq!(bench.destroy(&willing).exit_code(), Some(7));
    let at_once = bench.create(bench.shell("trap '' TERM; while :; do sleep 0.1; done"));
    let message = bench.client.destroy_container(&at_once, Duration::ZERO, &Call::new()).unwrap();
    assert_eq!(message.exit_code(), Some(137));
}

#[test]
fn destroying_converges() {
    let bench = Bench::new();
    let before = bench.holdings();
    let id = bench.create(bench.shell("sleep 1000"));
    // The task is gone by another's hand, the record and the snapshot stand.
    bench.ground.ctr(&["-n", &bench.namespace, "tasks", "rm", "-f", &id]);
    bench.destroy(&id);
    assert_eq!(bench.holdings(), before);
    let error = bench.client.destroy_container(&id, GRACE, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn destroying_at_the_same_time_gives_the_same_exit() {
    let bench = Bench::new();
    let before = bench.holdings();
    let id = bench.create(bench.shell("trap 'exit 13' TERM; while :; do sleep 0.1; done"));
    thread::sleep(Duration::from_millis(300));
    let results = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.client.destroy_container(&id, GRACE, &Call::new())))
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    for result in results {
        match result {
            Ok(message) => assert_eq!(message.exit_code(), Some(13)),
            // Who comes when all is over finds nothing.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    assert_eq!(bench.holdings(), before);
}

#[test]
fn a_create_of_a_known_image_takes_eight_calls() {
    let bench = Bench::new();
    let path = bench.ground.dir().join("proxy.sock");
    let proxy = Proxy::start(bench.ground.address().as_ref(), &path);
    let mut config = bench.ground.client_config();
    config.namespace = bench.namespace.clone();
    config.address = proxy.address();
    let client = Client::open(config, &Call::new()).unwrap();
    let create = |config: ContainerConfig| {
        let id = config.id.clone();
        client.create_container(config, &Call::new()).unwrap();
        id
    };
    let first = create(bench.shell("exit 0"));
    proxy.take();
    let second = create(bench.shell("exit 0"));
    let mut calls = proxy.take();
    // Lines of a file, so that a change is seen where the code is reviewed.
    calls.push(String::new());
    assert_eq!(calls.join("\n"), include_str!("create-calls.txt"));
    for id in [first, second] {
        client.destroy_container(&id, GRACE, &Call::new()).unwrap();
    }
}

#[test]
fn creating_survives_garbage_collection() {
    let bench = Bench::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) || rounds == 0 {
                let lease = unique("collect");
                let ctr = |args: &[&str]| {
                    bench.ground.ctr(&[&["-n", &bench.namespace, "leases"], args].concat())
                };
                ctr(&["create", "--id", &lease]);
                // It returns when the collection that it brings about is over.
                ctr(&["delete", "--sync", &lease]);
                rounds += 1;
            }
        });
        let results: Vec<_> = (0..30)
            .map(|round| {
                let config = bench.shell(&format!("exit {round}"));
                let id = config.id.clone();
                bench.client.create_container(config, &Call::new())?;
                let message = bench.client.probe(&id, &within(30))?;
                bench.client.destroy_container(&id, GRACE, &Call::new())?;
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
fn a_hundred_containers_by_ten_threads_leave_nothing() {
    let bench = Bench::new();
    let one = |code: u32| {
        let mut config = bench.shell(&format!("echo {code}; exit {code}"));
        let (mut output, stdout) = pipe();
        config.stdio.stdout = Stream::Fd(stdout);
        let id = bench.create(config);
        assert_eq!(bench.probe(&id).exit_code(), Some(code));
        assert_eq!(bench.destroy(&id).exit_code(), Some(code));
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{code}\n"));
    };
    // What is made once and kept: threads, and what they hold.
    let all = || {
        thread::scope(|scope| {
            for thread in 0..10 {
                scope.spawn(move || (0..10).for_each(|round| one(thread * 10 + round)));
            }
        });
    };
    let small = || {
        thread::scope(|scope| {
            for thread in 0..10 {
                scope.spawn(move || one(thread));
            }
        });
    };
    small();
    let before = (bench.holdings(), library_threads());
    all();
    assert_eq!((bench.holdings(), library_threads()), before);
}

#[test]
fn a_missing_snapshot_of_the_image_is_unpacked_again() {
    let recipe = Recipe { more_layers: vec![1234], ..Default::default() };
    let bench = Bench::with_recipe(&recipe);
    let list = || bench.ground.ctr(&["-n", &bench.namespace, "snapshots", "ls"]);
    let layers = list().lines().filter(|line| line.contains("Committed")).count();
    assert!(layers > 1);
    // From the top down: a snapshot with children stays.
    wait_until("the snapshots go", || {
        for line in list().lines().filter(|line| line.contains("Committed")) {
            let key = line.split_whitespace().next().unwrap();
            let _ = bench.client.remove_snapshot(None, key, &Call::new());
        }
        !list().contains("Committed")
    });
    assert_eq!(bench.run(bench.shell("echo there")), (Some(0), "there\n".into()));
    assert_eq!(list().lines().filter(|line| line.contains("Committed")).count(), layers);
}

#[test]
fn a_command_that_is_not_there_leaves_nothing_behind() {
    let bench = Bench::new();
    let before = bench.holdings();
    for _ in 0..5 {
        let mut config = bench.config(&["/no/such/command"]);
        let (_output, stdout) = pipe();
        config.stdio.stdout = Stream::Fd(stdout);
        let error = bench.client.create_container(config, &Call::new()).unwrap_err();
        assert_eq!(error.failed_step(), Some("create the task"), "{error}");
        assert!(error.message().contains("/no/such/command"), "{error}");
        assert_eq!(bench.holdings(), before);
    }
}

#[test]
fn an_id_that_is_taken_is_left_to_its_owner() {
    let bench = Bench::new();
    let id = bench.create(bench.shell("trap 'exit 3' TERM; while :; do sleep 0.1; done"));
    let before = bench.holdings();
    let mut config = bench.shell("exit 0");
    config.id = id.clone();
    let error = bench.client.create_container(config, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(error.subject(), id);
    assert_eq!(bench.holdings(), before);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.destroy(&id).exit_code(), Some(3));
}

#[test]
fn bad_arguments_are_named() {
    let bench = Bench::new();
    let before = bench.holdings();
    let good = || bench.shell("exit 0");
    let with = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut config = good();
        change(&mut config);
        config
    };
    let cases: Vec<(&str, ContainerConfig)> = vec![
        ("id", with(&|c| c.id = String::new())),
        ("id", with(&|c| c.id = "a/b".into())),
        ("id", with(&|c| c.id = "x".repeat(77))),
        ("image", with(&|c| c.image = None)),
        ("rootfs", with(&|c| c.rootfs = Some("/".into()))),
        ("rootfs", with(&|c| (c.image, c.rootfs) = (None, Some("relative".into())))),
        ("rootfs", with(&|c| (c.image, c.rootfs) = (None, Some("/no/such/directory".into())))),
        ("snapshotter", with(&|c| c.snapshotter = Some(String::new()))),
        ("snapshot_key", with(&|c| c.snapshot_key = Some(String::new()))),
        ("runtime", with(&|c| c.runtime = Some(String::new()))),
        ("spec_json", with(&|c| c.spec = Some("{".into()))),
        ("spec_json", with(&|c| c.spec = Some("[]".into()))),
        ("spec_json", with(&|c| c.spec = Some("{\"root\":{}}".into()))),
        ("args", with(&|c| c.args = vec!["a\0b".into()])),
        ("labels", with(&|c| c.labels = vec![(String::new(), "x".into())])),
        ("labels", with(&|c| c.labels = vec![("io.ctrd.owner".into(), "x".into())])),
        ("labels", with(&|c| c.labels = vec![("key".into(), "x".repeat(4096))])),
        ("stdout", with(&|c| c.stdio.stdout = Stream::Path("relative".into()))),
        ("reference", with(&|c| c.image = Some("Not/A Reference".into()))),
    ];
    for (argument, config) in cases {
        let shown = format!("{config:?}");
        let error = bench.client.create_container(config, &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error} of {shown}");
        assert!(error.message().starts_with(&format!("{argument}: ")), "{error} of {shown}");
    }
    let error = bench.client.create_container(good(), &Call::new().namespace("a/b")).unwrap_err();
    assert!(error.message().starts_with("namespace: "), "{error}");
    let unknown = with(&|c| c.image = Some("localhost/no/such:image".into()));
    let error = bench.client.create_container(unknown, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let unknown = with(&|c| c.snapshotter = Some("no-such-snapshotter".into()));
    let error = bench.client.create_container(unknown, &Call::new()).unwrap_err();
    assert_eq!(error.failed_step(), Some("prepare the snapshot"), "{error}");
    let unknown = with(&|c| c.runtime = Some("io.containerd.no-such.v1".into()));
    let error = bench.client.create_container(unknown, &Call::new()).unwrap_err();
    assert_eq!(error.failed_step(), Some("create the task"), "{error}");
    assert_eq!(bench.holdings(), before);
    // And the daemon is well.
    assert_eq!(bench.run(bench.shell("echo well")), (Some(0), "well\n".into()));
}

#[test]
fn a_create_that_is_cancelled_leaves_nothing() {
    let bench = Bench::new();
    bench.run(bench.shell("true"));
    let before = bench.holdings();
    // At moments spread over the time that a create takes.
    for round in 0..25 {
        let cancel = Cancel::new().unwrap();
        let config = bench.shell("sleep 1000");
        let id = config.id.clone();
        let call = Call::new().cancel(&cancel);
        let result = thread::scope(|scope| {
            let creating = scope.spawn(|| bench.client.create_container(config, &call));
            thread::sleep(Duration::from_millis(4 * round));
            cancel.fire();
            creating.join().unwrap()
        });
        match result {
            Ok(_) => {
                drop(bench.client.destroy_container(&id, Duration::ZERO, &Call::new()).unwrap())
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        }
        // containerd and its shim wind up on their own time.
        wait_until(&format!("nothing is left of round {round}"), || bench.holdings() == before);
    }
}

#[test]
fn labels_of_the_caller_and_the_owner_are_set() {
    let bench = Bench::new();
    let mut config = bench.shell("exit 0");
    config.labels = vec![("org.example/kept".into(), "yes".into())];
    let id = bench.create(config);
    let info = bench.ground.ctr(&["-n", &bench.namespace, "containers", "info", &id]);
    assert!(info.contains("\"org.example/kept\": \"yes\""), "{info}");
    assert!(info.contains("\"io.ctrd.owner\": \"ctrd\""), "{info}");
    bench.destroy(&id);
}

#[test]
fn a_client_is_shared_by_threads() {
    let bench = Arc::new(Bench::new());
    let threads: Vec<_> = (0..4u32)
        .map(|code| {
            let bench = bench.clone();
            thread::spawn(move || {
                let id = bench.create(bench.shell(&format!("exit {code}")));
                assert_eq!(bench.probe(&id).exit_code(), Some(code));
                bench.destroy(&id);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
