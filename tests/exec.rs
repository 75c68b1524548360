//! Processes that are executed in a container: how they run, how they end, and what is left of them.

mod ground;

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Cleanup, DestroyConfig, ErrorKind, ErrorReason, ExecConfig, KillConfig, Message,
    MessageKind, Origin, PauseConfig, Queue, QueueConfig, Stdio, Stream, SubscriptionConfig,
};
use ground::plot::{
    Plot, assert_nothing_is_left, client_behind, client_of, kill, pipe, proxy_of, unseen_proxy_of,
    within,
};
use ground::proxy::Fault;
use ground::{fifos_below, unique, wait_until};

/// A container whose process sleeps.
fn sleeper(plot: &Plot) -> String {
    plot.create(plot.shell("sleep 1000"))
}

fn shell(id: &str, script: &str) -> ExecConfig {
    ExecConfig::new(id).args(["/bin/sh", "-c", script])
}

/// Runs an exec to its end. Returns the message and its output.
fn run(plot: &Plot, config: ExecConfig, id: &str) -> (Message, String) {
    let (mut output, stdout) = pipe();
    let config = config.stdio(Stdio::new().stdout(Stream::fd(stdout)));
    let process = plot.client.exec_container(&config, &Call::new()).unwrap();
    drop(config);
    let message = plot.client.wait_exec(id, process.exec_id(), &within(30)).unwrap();
    assert_eq!(message.pid(), Some(process.pid()));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (message, text)
}

#[test]
fn an_exec_runs_with_its_streams_and_its_exit_has_its_code() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let kinds = SubscriptionConfig::new([MessageKind::ExecExit, MessageKind::Exit]);
    let _subscription = plot.client.subscribe(&queue, &kinds, &Call::new()).unwrap();
    let (mut writer, stdin) = {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (fs::File::from(write), read)
    };
    let (mut output, stdout) = pipe();
    let (mut errors, stderr) = pipe();
    let stdio =
        Stdio::new().stdin(Stream::fd(stdin)).stdout(Stream::fd(stdout)).stderr(Stream::fd(stderr));
    let config = shell(&id, "cat; echo oops >&2; exit 7").exec_id("first").stdio(stdio);
    let process = plot.client.exec_container(&config, &Call::new()).unwrap();
    drop(config);
    assert_eq!(process.exec_id(), "first");
    writer.write_all(b"hello").unwrap();
    drop(writer);
    let message = plot.client.wait_exec(&id, "first", &within(30)).unwrap();
    assert_eq!((message.kind(), message.exit_code()), (MessageKind::ExecExit, Some(7)));
    assert_eq!((message.container_id(), message.exec_id()), (&*id, Some("first")));
    assert_eq!((message.pid(), message.origin()), (Some(process.pid()), Origin::Live));
    let (mut out, mut err) = (String::new(), String::new());
    output.read_to_string(&mut out).unwrap();
    errors.read_to_string(&mut err).unwrap();
    assert_eq!((&*out, &*err), ("hello", "oops\n"));

    // The same message to a queue, and again to a caller that asks later.
    let told = queue.next(&within(30)).unwrap();
    assert_eq!(
        (told.kind(), told.exec_id(), told.exit_code()),
        (MessageKind::ExecExit, Some("first"), Some(7))
    );
    assert_eq!(told.generation(), message.generation());
    let again = plot.client.wait_exec(&id, "first", &Call::new().poll()).unwrap();
    assert_eq!(again.exit_code(), Some(7));

    plot.destroy(&id);
    let last = queue.next(&within(30)).unwrap();
    assert_eq!((last.kind(), last.generation()), (MessageKind::Exit, message.generation()));
    assert_nothing_is_left(&plot, "an exec");
}

#[test]
fn an_exec_inherits_from_the_container_and_differs_as_it_is_asked_to() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let script = "echo $A.$B.$PATH; id -u; id -g; pwd";
    let (_, plain) = run(&plot, shell(&id, script), &id);
    let path = "/bin";
    assert_eq!(plain, format!("..{path}\n0\n0\n/\n"));
    let config = shell(&id, script).env(["A=1", "B=2"]).user("12:34").cwd("/bin");
    let (_, own) = run(&plot, config, &id);
    assert_eq!(own, format!("1.2.{path}\n12\n34\n/bin\n"));
    let (_, removed) = run(&plot, shell(&id, "env").env(["PATH"]), &id);
    // The shell has a default of its own.
    assert!(!removed.contains("PATH=/bin\n"), "{removed}");
    let capabilities = "grep CapEff /proc/self/status";
    let (_, few) = run(&plot, shell(&id, capabilities), &id);
    assert_eq!(few, "CapEff:\t00000000a80425fb\n");
    let (_, all) = run(&plot, shell(&id, capabilities).privileged(true), &id);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.contains(&all), "{all} is not in {own}");
    assert_ne!(all, few);
    let json = r#"{"args": ["/bin/sh", "-c", "ulimit -n"], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]}"#;
    let (_, limit) = run(&plot, ExecConfig::new(&id).process_json(json), &id);
    assert_eq!(limit, "77\n");
    plot.destroy(&id);
}

#[test]
fn a_terminal_has_its_first_size() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let (mut output, stdout) = pipe();
    let stdio = Stdio::new().stdout(Stream::fd(stdout)).terminal(true);
    let config = shell(&id, "stty size; echo $TERM").console_size(91, 37).stdio(stdio);
    let process = plot.client.exec_container(&config, &Call::new()).unwrap();
    drop(config);
    let message = plot.client.wait_exec(&id, process.exec_id(), &within(30)).unwrap();
    assert_eq!(message.exit_code(), Some(0));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "37 91\r\nxterm\r\n");
    plot.destroy(&id);
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    for (config, argument) in [
        (ExecConfig::new("no/id").args(["x"]), "container"),
        (ExecConfig::new(&id), "args"),
        (ExecConfig::new(&id).args(["a\0"]), "args"),
        (shell(&id, "x").exec_id("a b"), "exec_id"),
        (shell(&id, "x").exec_id(&id), "exec_id"),
        (shell(&id, "x").env(["=1"]), "env"),
        (shell(&id, "x").cwd("bin"), "cwd"),
        (shell(&id, "x").user(""), "user"),
        (shell(&id, "x").console_size(1, 1), "console_size"),
        (shell(&id, "x").process_json("[]"), "process_json"),
        (shell(&id, "x").adopt(true), "adopt"),
    ] {
        let error = plot.client.exec_container(&config, &Call::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with(&format!("{argument}: ")), "{error}");
    }
    let nobody = shell(&id, "x").user("no-such-user");
    let error = plot.client.exec_container(&nobody, &Call::new()).unwrap_err();
    assert!(error.message().contains("no-such-user"), "{error}");
    plot.client.pause_container(&id, &PauseConfig::new(), &Call::new()).unwrap();
    let paused = plot.client.exec_container(&shell(&id, "x"), &Call::new()).unwrap_err();
    assert_eq!(paused.kind(), ErrorKind::FailedPrecondition, "{paused}");
    plot.client.resume_container(&id, &PauseConfig::new(), &Call::new()).unwrap();
    let ended = plot.create(plot.shell("exit 0"));
    plot.probe(&ended);
    let error = plot.client.exec_container(&shell(&ended, "x"), &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    plot.destroy(&ended);
    let nowhere = plot.client.exec_container(&shell("nowhere", "x"), &Call::new()).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    plot.destroy(&id);
}

#[test]
fn a_failed_start_says_why_and_leaves_nothing() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let kinds = SubscriptionConfig::new([MessageKind::ExecExit]);
    let _subscription = plot.client.subscribe(&queue, &kinds, &Call::new()).unwrap();
    for (args, reason) in [
        (["no-such-program"], ErrorReason::ProgramNotFound),
        (["/no/such/program"], ErrorReason::ProgramNotFound),
        (["/etc"], ErrorReason::ProgramNotExecutable),
        (["/etc/hostname"], ErrorReason::ProgramNotExecutable),
    ] {
        plot.client
            .exec_container(&shell(&id, "echo > /etc/hostname").exec_id("writer"), &Call::new())
            .unwrap();
        plot.client.wait_exec(&id, "writer", &within(30)).unwrap();
        assert_eq!(queue.next(&within(30)).unwrap().exec_id(), Some("writer"));
        let (_output, stdout) = pipe();
        let config = ExecConfig::new(&id)
            .exec_id("fails")
            .args(args)
            .stdio(Stdio::new().stdout(Stream::fd(stdout)));
        let error = plot.client.exec_container(&config, &Call::new()).unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error}");
        let message = queue.next(&within(30)).unwrap();
        assert_eq!((message.exec_id(), message.exit_code()), (Some("fails"), None));
        assert_eq!(message.start_error().unwrap().reason(), Some(reason));
    }
    let error = plot.client.exec_container(&shell(&id, "x").cwd("/nowhere/x"), &Call::new());
    if let Err(error) = error {
        assert_ne!(error.reason(), Some(ErrorReason::ProgramNotFound), "{error}");
    }
    assert_eq!(fifos_below(&plot.ground.state_dir()).iter().filter(|f| f.contains(&id)).count(), 0);
    plot.destroy(&id);
    assert_nothing_is_left(&plot, "failed starts");
}

#[test]
fn an_id_can_be_used_again_at_once_and_a_running_one_is_refused_or_adopted() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    for code in 1..=20 {
        let config = shell(&id, &format!("exit {code}")).exec_id("same");
        plot.client.exec_container(&config, &Call::new()).unwrap();
        let message = plot.client.wait_exec(&id, "same", &within(30)).unwrap();
        assert_eq!(message.exit_code(), Some(code));
    }
    let long = shell(&id, "sleep 1000").exec_id("long");
    let process = plot.client.exec_container(&long, &Call::new()).unwrap();
    let error = plot.client.exec_container(&long, &Call::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let same = plot.client.exec_container(&long.clone().adopt(true), &Call::new()).unwrap();
    assert_eq!(same, process);
    let kill = KillConfig::new().signal_name("KILL").exec_id("long");
    plot.client.kill_container(&id, &kill, &Call::new()).unwrap();
    let message = plot.client.wait_exec(&id, "long", &within(30)).unwrap();
    assert_eq!(message.exit_code(), Some(137));
    plot.destroy(&id);
    assert_nothing_is_left(&plot, "execs of one id");
}

/// How many bytes the slow exec writes: more than the pipes hold.
const MUCH: usize = 200_000;

/// Runs an exec whose output nobody reads yet, to its end.
fn unread(plot: &Plot, id: &str) -> fs::File {
    let (output, stdout) = pipe();
    let config = shell(id, &format!("head -c {MUCH} /dev/zero; exit 4"))
        .exec_id("slow")
        .drain(Duration::MAX)
        .stdio(Stdio::new().stdout(Stream::fd(stdout)));
    plot.client.exec_container(&config, &Call::new()).unwrap();
    output
}

fn read_late(mut output: fs::File) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        let mut data = Vec::new();
        output.read_to_end(&mut data).unwrap()
    })
}

#[test]
fn a_destroy_waits_for_the_output_of_execs() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let reader = read_late(unread(&plot, &id));
    let config = DestroyConfig::new().grace(Duration::ZERO).drain(Duration::from_secs(20));
    plot.client.wait_exec(&id, "slow", &within(30)).unwrap();
    plot.client.destroy_container(&id, &config, &Call::new()).unwrap();
    assert_eq!(reader.join().unwrap(), MUCH);
    // Its exit goes with the container.
    let error = plot.client.wait_exec(&id, "slow", &within(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_nothing_is_left(&plot, "an exec with a late reader");
}

#[test]
fn a_clean_up_waits_for_the_exits_and_the_output_of_execs() {
    let plot = Plot::new();
    let id = unique("c");
    let config = plot
        .shell_of(&id, "while [ ! -e /end ]; do sleep 0.05; done; exit 3")
        .cleanup(Cleanup::All)
        .drain(Duration::from_secs(20));
    plot.create(config);
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let kinds = SubscriptionConfig::new([MessageKind::Exit, MessageKind::ExecExit]);
    let _subscription = plot.client.subscribe(&queue, &kinds, &Call::new()).unwrap();
    let reader = read_late(unread(&plot, &id));
    assert_eq!(queue.next(&within(30)).unwrap().exit_code(), Some(4));
    plot.client.exec_container(&shell(&id, "sleep 1000"), &Call::new()).unwrap();
    plot.client.exec_container(&shell(&id, "touch /end"), &Call::new()).unwrap();
    let mut codes: Vec<_> = (0..3).map(|_| queue.next(&within(30)).unwrap().exit_code()).collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(3), Some(137)]);
    assert_eq!(reader.join().unwrap(), MUCH);
    assert_nothing_is_left(&plot, "a clean-up with execs");
}

#[test]
fn a_user_is_looked_up_in_the_container_also_if_its_processes_cannot_be_reached() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let account = "echo app:x:1000:1001::/:/bin/sh >> /etc/passwd";
    run(&plot, shell(&id, account), &id);
    let proxy = unseen_proxy_of(plot.ground);
    for client in [&plot.client, &client_behind(&plot, &proxy)] {
        let (mut output, stdout) = pipe();
        let stdio = Stdio::new().stdout(Stream::fd(stdout));
        let config = shell(&id, "id -u; id -g").user("app").stdio(stdio);
        client.exec_container(&config, &Call::new()).unwrap();
        drop(config);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1000\n1001\n");
    }
    plot.destroy(&id);
}

#[test]
fn another_exec_with_the_id_waits_for_the_output_of_the_first() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let reader = read_late(unread(&plot, &id));
    plot.client.wait_exec(&id, "slow", &within(30)).unwrap();
    plot.client.exec_container(&shell(&id, "exit 5").exec_id("slow"), &within(60)).unwrap();
    let message = plot.client.wait_exec(&id, "slow", &within(30)).unwrap();
    assert_eq!(message.exit_code(), Some(5));
    assert_eq!(reader.join().unwrap(), MUCH);
    plot.destroy(&id);
}

#[test]
fn the_fifos_of_an_exec_go_with_the_container_of_an_earlier_client() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let other = client_of(&plot);
    let (_output, stdout) = pipe();
    let config = shell(&id, "sleep 1000").stdio(Stdio::new().stdout(Stream::fd(stdout)));
    other.exec_container(&config, &Call::new()).unwrap();
    other.close(&within(30)).unwrap();
    drop(other);
    plot.destroy(&id);
    assert_nothing_is_left(&plot, "an exec of a client that was closed");
}

#[test]
fn the_time_of_an_exec_ends_it_and_its_output_stays() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let second = Duration::from_millis(300);
    let gentle = shell(&id, "trap 'echo bye; exit 4' TERM; echo hi; while :; do sleep 0.05; done");
    let (message, text) = run(&plot, gentle.run_time(second), &id);
    assert_eq!((message.exit_code(), &*text), (Some(4), "hi\nbye\n"));
    let stubborn = shell(&id, "trap '' TERM; echo hi; while :; do sleep 0.05; done");
    let (message, text) = run(&plot, stubborn.run_time(second).grace(second), &id);
    assert_eq!((message.exit_code(), &*text), (Some(137), "hi\n"));
    let (message, _) = run(&plot, shell(&id, "exit 5").run_time(Duration::from_secs(60)), &id);
    assert_eq!(message.exit_code(), Some(5));
    plot.destroy(&id);
}

#[test]
fn an_exec_ends_with_its_container() {
    const MANY: usize = 10;
    let plot = Plot::new();
    let id = sleeper(&plot);
    let queue = Queue::new(&QueueConfig::new()).unwrap();
    let kinds = SubscriptionConfig::new([MessageKind::ExecExit]);
    let _subscription = plot.client.subscribe(&queue, &kinds, &Call::new()).unwrap();
    let mut execs: Vec<String> = (0..MANY)
        .map(|_| plot.client.exec_container(&shell(&id, "sleep 1000"), &Call::new()).unwrap())
        .map(|process| process.exec_id().to_owned())
        .collect();
    plot.destroy(&id);
    let mut ended: Vec<String> = (0..MANY)
        .map(|_| {
            let message = queue.next(&within(30)).unwrap();
            assert!(matches!(message.exit_code(), Some(137 | 143)), "{message:?}");
            message.exec_id().unwrap().to_owned()
        })
        .collect();
    execs.sort();
    ended.sort();
    assert_eq!(ended, execs);
    assert_nothing_is_left(&plot, "execs");
}

#[test]
fn execs_survive_a_kill_of_containerd() {
    let ground = ground::Ground::raise();
    let ground: &'static ground::Ground = Box::leak(Box::new(ground));
    let plot = Plot::with_image(ground, ground.image());
    let id = sleeper(&plot);
    let during =
        plot.client.exec_container(&shell(&id, "sleep 0.3; exit 3"), &Call::new()).unwrap();
    let after = plot.client.exec_container(&shell(&id, "sleep 3; exit 4"), &Call::new()).unwrap();
    kill(ground.daemon().pid());
    thread::sleep(Duration::from_millis(600));
    let message = plot.client.wait_exec(&id, during.exec_id(), &within(30)).unwrap();
    assert!(matches!(message.exit_code(), Some(3) | None), "{message:?}");
    let message = plot.client.wait_exec(&id, after.exec_id(), &within(30)).unwrap();
    assert_eq!(message.exit_code(), Some(4));
    plot.destroy(&id);
}

#[test]
fn an_exec_whose_answer_is_lost_is_undone() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let id = sleeper(&plot);
    let client = client_behind(&plot, &proxy);
    for call in ["Tasks/Exec", "Tasks/Start"] {
        // It was cut before.
        wait_until("the connection", || client.version(&within(1)).is_ok());
        let rule = proxy.at(call, Fault::CutAfter);
        let error = client
            .exec_container(&shell(&id, "sleep 1000").exec_id("x"), &Call::new())
            .unwrap_err();
        assert!(rule.has_fired(), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        // Nothing is left of it: the id is free.
        let next = shell(&id, "exit 6").exec_id("x");
        plot.client.exec_container(&next, &Call::new()).unwrap();
        let message = plot.client.wait_exec(&id, "x", &within(30)).unwrap();
        assert_eq!(message.exit_code(), Some(6), "after {call}");
    }
    plot.destroy(&id);
}

#[test]
fn another_client_waits_for_an_exec_that_it_has_not_made() {
    let plot = Plot::new();
    let id = sleeper(&plot);
    let other = client_of(&plot);
    let name = unique("e");
    plot.client
        .exec_container(&shell(&id, "sleep 0.5; exit 9").exec_id(&name), &Call::new())
        .unwrap();
    let error = other.wait_exec(&id, &name, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let message = other.wait_exec(&id, &name, &within(30)).unwrap();
    assert_eq!(message.exit_code(), Some(9));
    let error = other.wait_exec(&id, "nothing", &within(30)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    plot.destroy(&id);
}
