//! The reports of the library about containers while connections break, containerd dies or shims hang.

mod ground;

use std::error::Error as _;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Cancel, Cleanup, Client, ClientConfig, ContainerConfig, Daemon, DaemonConfig, Error,
    ErrorKind, HookConfig, Message, MessageKind, Origin, PullConfig, RecoveryState, Stdio, Stream,
};
use ground::image::Recipe;
use ground::plot::{
    Plot, an_outage_hides_nothing, assert_nothing_is_left, at_once, by_the_kernel, client_behind,
    client_of, create, gently, kill, pid, pipe, proxy_of, shim_of, stop, unseen_proxy_of,
    until_it_traps, within,
};
use ground::proxy::{Fault, Proxy};
use ground::{Ground, runs, unique, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A process that exits with this code at a SIGTERM, and its pid.
fn ending_with(plot: &Plot, code: u32) -> (String, Pid) {
    let script = format!("trap 'exit {code}' TERM; while :; do sleep 0.01; done");
    let (id, pid) = create(&plot.client, plot.shell(&script));
    until_it_traps(pid, &script);
    (id, Pid::from_raw(pid.try_into().unwrap()).unwrap())
}

fn end(pid: Pid) {
    kill_process(pid, Signal::TERM).unwrap();
}

/// A client behind a proxy of its own.
fn behind_a_proxy(plot: &Plot) -> (Proxy, Client) {
    let proxy = proxy_of(plot.ground);
    let client = client_behind(plot, &proxy);
    (proxy, client)
}

#[test]
fn a_broken_connection_is_no_exit() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let (early, early_pid) = ending_with(&plot, 3);
    let (meanwhile, meanwhile_pid) = ending_with(&plot, 5);
    let (late, late_pid) = ending_with(&plot, 7);
    let probe = |id: &str| client.probe(id, &within(30)).unwrap();
    thread::scope(|scope| {
        let probes: Vec<_> = (0..30)
            .map(|i| {
                let (id, code) = [(&early, 3), (&meanwhile, 5), (&late, 7)][i % 3];
                scope.spawn(move || (probe(id), code))
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        end(early_pid);
        assert_eq!(probe(&early).origin(), Origin::Live);
        proxy.cut();
        end(meanwhile_pid);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(probes.iter().filter(|probe| probe.is_finished()).count(), 10);
        proxy.mend();
        let message = probe(&meanwhile);
        assert_eq!((message.exit_code(), message.origin()), (Some(5), Origin::Recovered));
        let error = client.probe(&late, &within(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        end(late_pid);
        let message = probe(&late);
        assert_eq!((message.exit_code(), message.origin()), (Some(7), Origin::Live));
        for probe in probes {
            let (message, code) = probe.join().unwrap();
            assert_eq!(message.exit_code(), Some(code));
        }
        // Two waits broke off together with the connection.
        assert_eq!(client.counters().reconnects(), 1);
    });
    for id in [early, meanwhile, late] {
        plot.destroy(&id);
    }
}

#[test]
fn a_container_that_was_created_again_is_another_one() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let unseen = unseen_proxy_of(plot.ground);
    let unseeing = client_behind(&plot, &unseen);
    let config = plot.shell("sleep 1000");
    let id = plot.create(config);
    unseeing.watch_container(&id, &within(10)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.probe(&id, &within(30)).unwrap());
        wait_until("a watch", || client.counters().outstanding() == 1);
        proxy.cut();
        unseen.cut();
        kill(plot.client.container_pid(&id, &Call::new()).unwrap());
        assert_eq!(plot.probe(&id).exit_code(), Some(137));
        plot.destroy(&id);
        plot.create(plot.shell_of(&id, "exit 4"));
        assert_eq!(plot.probe(&id).exit_code(), Some(4));
        proxy.mend();
        unseen.mend();
        let message = unseeing.probe(&id, &within(30)).unwrap();
        assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
        let message = waiting.join().unwrap();
        // It is never the exit of the other container.
        assert_eq!((message.exit_code(), message.origin()), by_the_kernel(137));
        assert_eq!(client.probe(&id, &within(10)).unwrap().exit_code(), Some(4));
    });
    client.destroy_container(&id, &gently(), &Call::new()).unwrap();
}

#[test]
fn a_known_exit_is_not_reported_for_a_later_container() {
    let plot = Plot::new();
    let config = plot.shell("exit 4");
    let id = plot.create(config);
    assert_eq!(plot.probe(&id).exit_code(), Some(4));
    let other = Client::open(&plot.client_config(), &Call::new()).unwrap();
    other.destroy_container(&id, &gently(), &Call::new()).unwrap();
    // Nobody has the id now. The earlier report stays true.
    assert_eq!(plot.probe(&id).exit_code(), Some(4));
    assert_eq!(plot.client.probe(&id, &Call::new().poll()).unwrap().exit_code(), Some(4));
    for polls in [true, false] {
        let (_, process) = create(&other, plot.shell_of(&id, "sleep 1000"));
        if polls {
            // A poll asks nobody whether there is another container.
            let known = plot.client.probe(&id, &Call::new().poll()).unwrap();
            assert_eq!(known.exit_code(), Some(4));
            plot.client.watch_container(&id, &within(10)).unwrap();
        }
        let call = if polls { Call::new().poll() } else { within(1) };
        let error = plot.client.probe(&id, &call).unwrap_err();
        let kind = if polls { ErrorKind::WouldBlock } else { ErrorKind::Timeout };
        assert_eq!(error.kind(), kind, "{error}");
        kill(process);
        assert_eq!(plot.probe(&id).exit_code(), Some(137));
        if polls {
            other.destroy_container(&id, &gently(), &Call::new()).unwrap();
        }
    }
    plot.destroy(&id);
    assert!(Ground::get().holdings(&plot.namespace).only_images());
}

/// A ground of its own, because other tests do not expect that their containerd is killed.
fn own_ground() -> &'static Ground {
    // The guardian cleans it up after the end of the program.
    Box::leak(Box::new(Ground::raise()))
}

#[test]
fn containerd_is_killed_under_a_hundred_probes() {
    let ground = own_ground();
    let plot = Plot::with_image(ground, ground.image());
    let (sender, told) = mpsc::channel();
    let hook = move |message: &Message| drop(sender.send(message.clone()));
    plot.client.on_exit(hook).unwrap();
    let containers: Vec<(String, Pid, u32)> = (0..30)
        .map(|i| {
            let (id, pid) = ending_with(&plot, 40 + i);
            (id, pid, 40 + i)
        })
        .collect();
    let (early, rest) = containers.split_at(10);
    let (meanwhile, late) = rest.split_at(10);
    let hides_nothing = an_outage_hides_nothing(&plot.client);
    let check = |message: &Message, code: u32| match message.exit_code() {
        Some(told) => assert_eq!(told, code, "{message:?}"),
        None => assert!(!hides_nothing && message.origin() == Origin::Gap, "{message:?}"),
    };
    thread::scope(|scope| {
        let probes: Vec<_> = (0..100)
            .map(|i| {
                let (id, _, code) = &containers[i % containers.len()];
                let client = &plot.client;
                scope.spawn(move || (client.probe(id, &within(60)).unwrap(), *code))
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        early.iter().for_each(|(_, pid, _)| end(*pid));
        for (id, _, code) in early {
            assert_eq!(plot.probe(id).exit_code(), Some(*code));
        }
        kill(ground.daemon().pid());
        meanwhile.iter().for_each(|(_, pid, _)| end(*pid));
        for (id, _, code) in meanwhile {
            check(&plot.probe(id), *code);
        }
        for (id, ..) in late {
            let error = plot.client.probe(id, &Call::new().poll()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{id}: {error}");
        }
        late.iter().for_each(|(_, pid, _)| end(*pid));
        for (id, _, code) in late {
            assert_eq!(plot.probe(id).exit_code(), Some(*code));
        }
        for probe in probes {
            let (message, code) = probe.join().unwrap();
            check(&message, code);
        }
    });
    let mut all: Vec<String> = (0..30)
        .map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap().container_id().to_owned())
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 30, "each exit is told once");
    assert!(told.recv_timeout(Duration::from_millis(200)).is_err());
    for (id, _, code) in &containers {
        let message = plot.destroy(id);
        check(&message, *code);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_guess_of_containerds_is_no_code() {
    let plot = Plot::new();
    let (id, process) = ending_with(&plot, 3);
    let unseeing = client_behind(&plot, &unseen_proxy_of(plot.ground));
    unseeing.watch_container(&id, &within(10)).unwrap();
    let shim = shim_of(process.as_raw_nonzero().get().unsigned_abs());
    // The shim does not see the exit, and dies. Then containerd reports 137.
    stop(shim);
    end(process);
    wait_until("its end", || !runs(process.as_raw_nonzero().get().unsigned_abs()));
    kill_process(shim, Signal::KILL).unwrap();
    let message = plot.probe(&id);
    assert_eq!((message.exit_code(), message.origin()), by_the_kernel(3), "{message:?}");
    let message = unseeing.probe(&id, &within(30)).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap), "{message:?}");
    plot.destroy(&id);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_stuck_shim_delays_nobody_else() {
    let plot = Plot::new();
    let first = client_of(&plot);
    let ids: Vec<String> = (0..20).map(|_| create(&first, plot.shell("sleep 1000")).0).collect();
    let stuck = first.container_pid(&ids[7], &Call::new()).unwrap();
    drop(first);
    let shim = shim_of(stuck);
    stop(shim);
    let second = client_of(&plot);
    let recovered = second.recover_all(&mut |_| Ok(Stdio::new()), &within(10)).unwrap();
    let failed: Vec<_> = recovered.iter().filter(|r| r.state() == RecoveryState::Failed).collect();
    assert_eq!(recovered.len(), 20);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].container_id(), ids[7]);
    assert_eq!(failed[0].error().unwrap().kind(), ErrorKind::Unavailable);
    // The client reports the exits of the processes that it watches, although the shim is still
    // stuck.
    kill(second.container_pid(&ids[3], &Call::new()).unwrap());
    assert_eq!(second.probe(&ids[3], &within(10)).unwrap().exit_code(), Some(137));
    kill_process(shim, Signal::CONT).unwrap();
    second.recover_container(&ids[7], &Stdio::new(), &within(10)).unwrap();
    for id in &ids {
        second.destroy_container(id, &at_once(), &Call::new()).unwrap();
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn stopped_tasks_are_kept_if_the_client_asks_for_it() {
    let ground = own_ground();
    let mut plot = Plot::with_image(ground, ground.image());
    let config = plot.client_config().keep_stopped_tasks(true);
    plot.client = Client::open(&config, &Call::new()).unwrap();
    let (id, process) = ending_with(&plot, 5);
    let first = plot.client.clone();
    // No client that could have asked the kernel watches the process.
    plot.client = client_of(&plot);
    first.close(&Call::new()).unwrap();
    kill(ground.daemon().pid());
    end(process);
    wait_until("the restart", || plot.client.version(&within(1)).is_ok());
    assert_eq!(plot.probe(&id).exit_code(), Some(5));
    plot.destroy(&id);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn after_a_restart_of_the_machine_there_are_no_tasks() {
    let ground = own_ground();
    let plot = Plot::with_image(ground, ground.image());
    let first = client_of(&plot);
    let mut processes = Vec::new();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let config = plot.shell("sleep 1000");
            let (id, process) = create(&first, config);
            processes.extend([shim_of(process), pid(process)]);
            id
        })
        .collect();
    drop(first);
    kill(ground.daemon().pid());
    for process in processes {
        let _ = kill_process(process, Signal::KILL);
    }
    let second = client_of_when_it_answers(&plot);
    let recovered = second.recover_all(&mut |_| Ok(Stdio::new()), &within(30)).unwrap();
    let states: Vec<_> = recovered.iter().map(|r| (r.container_id(), r.state())).collect();
    let mut expected: Vec<_> = ids.iter().map(|id| (id.as_str(), RecoveryState::NoTask)).collect();
    expected.sort_by(|a, b| a.0.cmp(b.0));
    assert_eq!(states, expected);
    for id in &ids {
        let error = second.probe(id, &within(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("no task"), "{error}");
        // The processes ran. That they ended is known, but not how.
        let message = second.destroy_container(id, &gently(), &Call::new()).unwrap();
        assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
        assert_eq!(message.error().unwrap().kind(), ErrorKind::DataLoss);
        assert!(message.start_error().is_none());
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

fn client_of_when_it_answers(plot: &Plot) -> Client {
    let config = plot.client_config();
    let mut client = None;
    wait_until("an answer", || {
        client = Client::open(&config, &within(1)).ok();
        client.is_some()
    });
    client.unwrap()
}

#[test]
fn while_the_socket_is_gone_calls_fail_at_once_and_waits_go_on() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let (id, process) = ending_with(&plot, 9);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.probe(&id, &within(30)).unwrap());
        thread::sleep(Duration::from_millis(100));
        proxy.cut();
        wait_until("the connection's end", || {
            client.version(&within(30)).is_err_and(|e| e.kind() == ErrorKind::Unavailable)
        });
        for _ in 0..10 {
            let error = client.container_pid(&id, &within(30)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.is_retryable() && !error.is_outcome_unknown());
        }
        let error = client.create_container(&plot.shell("exit 0"), &within(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(!waiting.is_finished());
        proxy.mend();
        end(process);
        assert_eq!(waiting.join().unwrap().exit_code(), Some(9));
    });
    plot.destroy(&id);
    assert!(plot.holdings().only_images());
}

#[test]
fn a_full_disk_is_said_and_undone() {
    let directory = Ground::get().dir().join("small");
    fs::create_dir(&directory).unwrap();
    let run = |arguments: &[&str]| {
        let status = Command::new(arguments[0]).args(&arguments[1..]).status();
        status.unwrap().success()
    };
    let path = directory.to_str().unwrap();
    assert!(run(&["mount", "-t", "tmpfs", "-o", "size=32M,mode=700", "ctrd-test", path]));
    let daemon = Daemon::start(&DaemonConfig::new(directory.join("d")), &Call::new()).unwrap();
    let config = ClientConfig::new()
        .address(daemon.address())
        .namespace(unique("full"))
        .state_dir(directory.join("client"));
    let client = Client::open(&config, &Call::new()).unwrap();
    let pull = PullConfig::new(Ground::get().image());
    let image = client.pull_image(&pull, &mut |_| {}, &Call::new()).unwrap().name().to_owned();
    let filler = directory.join("filler");
    // Fill the disk to the last page.
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    let config = ContainerConfig::new("full").image(image).args(["/bin/true"]);
    let error = client.create_container(&config, &within(30)).unwrap_err();
    assert!(error.failed_step().is_some(), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    let error = client.pull_image(&pull, &mut |_| {}, &within(30).namespace("other")).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    drop(file);
    fs::remove_file(&filler).unwrap();
    // A process that another test is starting may hold the file for a moment.
    wait_until("free space", || {
        let now = rustix::fs::statvfs(&directory).unwrap();
        now.f_bavail * now.f_frsize > 4 << 20
    });
    client.create_container(&config, &within(30)).unwrap();
    assert_eq!(client.probe("full", &within(30)).unwrap().exit_code(), Some(0));
    client.destroy_container("full", &gently(), &Call::new()).unwrap();
    client.pull_image(&pull, &mut |_| {}, &within(30).namespace("other")).unwrap();
    drop(client);
    daemon.stop(&Call::new()).unwrap();
    // The daemon keeps its lock file open until it is dropped.
    drop(daemon);
    // The kernel may still be finishing work in it.
    wait_until("the unmount", || run(&["umount", "-q", path]));
}

/// The longest time that a call may take beyond its timeout to undo its steps, as the header
/// promises.
const UNDO: Duration = Duration::from_secs(15);

/// The calls of a create, and the step that fails if the call fails. The create does not need two
/// of the calls.
fn calls_of_a_create() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let steps = [
        Some("look the image up"),
        Some("create lease"),
        Some("prepare the snapshot"),
        Some("create the record"),
        Some("create the task"),
        None,
        Some("start the task"),
        None,
    ];
    let calls: Vec<_> = include_str!("create-calls.txt").lines().collect();
    assert_eq!(calls.len(), steps.len());
    calls.into_iter().zip(steps)
}

/// A container with streams.
fn with_streams(plot: &Plot, id: &str) -> ContainerConfig {
    let stdio = Stdio::new().stdin(Stream::fd(pipe().0));
    let stdio = stdio.stdout(Stream::fd(pipe().1)).stderr(Stream::fd(pipe().1));
    plot.shell_of(id, "exec sleep 1000").stdio(stdio)
}

/// Injects the fault into one call of a create, and returns its error. Also checks that nothing is
/// left, and that the same container can be created afterwards.
fn faulty_create(fault: Fault, call: &str) -> Option<Error> {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let destroy =
        |client: &Client, id: &str| client.destroy_container(id, &at_once(), &Call::new()).unwrap();
    // From then on the client knows the image.
    let (id, _) = create(&client, plot.shell(""));
    destroy(&client, &id);

    let rule = proxy.at(call, fault);
    let id = unique("c");
    let config = with_streams(&plot, &id);
    let timeout = Duration::from_secs(10);
    let start = Instant::now();
    let result = thread::scope(|scope| {
        let creating =
            scope.spawn(|| client.create_container(&config, &Call::new().timeout(timeout)));
        if matches!(fault, Fault::Stall) {
            // The server never receives it, so it cannot do the work later without the client's
            // knowledge.
            rule.wait_until_given_up();
            rule.cut();
        }
        creating.join().unwrap()
    });
    assert!(start.elapsed() < timeout + UNDO, "{fault:?} at {call}: {:?}", start.elapsed());
    if let Ok(process) = &result {
        if call == "Tasks/Wait" && matches!(fault, Fault::CutAfter) {
            // The answer comes when the process ends. It must not hit one of the calls of the
            // destroy.
            kill(process.pid());
            rule.wait_until_fired();
        }
        // The client may not have noticed yet that the connection is another one.
        wait_until("an answer", || client.version(&Call::new()).is_ok());
        let message = destroy(&client, &id);
        assert!(message.exit_code().is_some(), "{fault:?} at {call}: {message:?}");
    }
    // Not before this, because the answer may have been that of the Wait.
    rule.wait_until_fired();
    if call == "Leases/Delete" && !matches!(fault, Fault::Cut | Fault::CutAfter) {
        // The lease is left to expire.
        let leases = plot.ground.ctr(&["-n", &plot.namespace, "leases", "ls", "-q"]);
        plot.ground.ctr(&["-n", &plot.namespace, "leases", "rm", leases.trim()]);
    }
    let case = format!("{fault:?} at {call}: {result:?}");
    // The client has removed everything that it made. Only the shim needs some time to end.
    let left = plot.holdings();
    let own = [left.containers, left.tasks, left.active_snapshots, left.leases];
    assert_eq!(own, [0; 4], "{case}");
    assert_nothing_is_left(&plot, &case);

    plot.create(with_streams(&plot, &id));
    destroy(&plot.client, &id);
    drop(client);
    wait_until("no connection", || proxy.connections() == 0);
    result.err()
}

#[test]
fn a_create_whose_connection_breaks_leaves_nothing() {
    for fault in [Fault::Cut, Fault::CutAfter] {
        for (call, step) in calls_of_a_create() {
            let Some(error) = faulty_create(fault, call) else {
                assert_eq!(step, None, "{fault:?} at {call}");
                continue;
            };
            // Nobody waits for the Wait. The start breaks off with it.
            let step = step.or((call == "Tasks/Wait").then_some("start the task"));
            assert_eq!(error.failed_step(), step, "{fault:?} at {call}: {error}");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?} at {call}: {error}");
            assert_eq!(error.is_outcome_unknown(), call != "Images/Get", "{call}: {error}");
            assert!(error.source().is_none(), "{fault:?} at {call}: {:?}", error.source());
        }
    }
}

#[test]
fn objects_that_the_server_makes_after_a_break_are_removed() {
    let calls = ["Leases/Create", "Snapshots/Prepare", "Containers/Create", "Tasks/Create"];
    thread::scope(|scope| {
        for call in calls {
            scope.spawn(move || {
                let error = faulty_create(Fault::Late(Duration::from_millis(200)), call);
                let error = error.unwrap_or_else(|| panic!("at {call}: it was created"));
                assert_eq!(error.kind(), ErrorKind::Unavailable, "at {call}: {error}");
                assert!(error.source().is_none(), "at {call}: {:?}", error.source());
            });
        }
    });
}

#[test]
fn a_create_that_is_refused_leaves_nothing() {
    for (call, step) in calls_of_a_create() {
        let error = faulty_create(Fault::Fail(13, "as arranged"), call);
        assert_eq!(error.as_ref().and_then(Error::failed_step), step, "at {call}: {error:?}");
        if let Some(error) = error {
            assert_eq!(error.kind(), ErrorKind::Internal, "at {call}: {error}");
            assert_eq!((error.grpc_code(), error.message()), (Some(13), "as arranged"));
            assert!(error.source().is_none(), "at {call}: {:?}", error.source());
        }
    }
}

#[test]
fn a_create_whose_server_hangs_ends_and_leaves_nothing() {
    // Each call takes its whole timeout, so they wait at the same time.
    thread::scope(|scope| {
        for (call, step) in calls_of_a_create() {
            scope.spawn(move || {
                let Some(error) = faulty_create(Fault::Stall, call) else {
                    assert_eq!(step, None, "at {call}");
                    return;
                };
                let step = step.or((call == "Tasks/Wait").then_some("start the task"));
                assert_eq!(error.failed_step(), step, "at {call}: {error}");
                assert_eq!(error.kind(), ErrorKind::Timeout, "at {call}: {error}");
                assert!(error.source().is_none(), "at {call}: {:?}", error.source());
            });
        }
    });
}

#[test]
fn an_answer_after_the_end_of_a_create_is_undone() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    for (call, next) in [
        ("Snapshots/Prepare", "create the record"),
        ("Containers/Create", "create the task"),
        ("Tasks/Create", "start the task"),
    ] {
        let rule = proxy.at(call, Fault::Stall);
        let cancel = Cancel::new();
        let (config, given) = (with_streams(&plot, &unique("c")), Call::new().cancel(&cancel));
        let error = thread::scope(|scope| {
            let creating = scope.spawn(|| client.create_container(&config, &given));
            rule.wait_until_fired();
            cancel.fire();
            rule.release();
            creating.join().unwrap().unwrap_err()
        });
        // The client waited for the answer, so it knows what it has to undo.
        assert_eq!(error.kind(), ErrorKind::Cancelled, "at {call}: {error}");
        assert_eq!(error.failed_step(), Some(next), "at {call}: {error}");
        assert_nothing_is_left(&plot, call);
    }
    let rule = proxy.at("Tasks/Start", Fault::Delay(Duration::from_millis(300)));
    let (id, _) = create(&client, plot.shell("exit 3"));
    rule.wait_until_fired();
    assert_eq!(client.destroy_container(&id, &gently(), &within(30)).unwrap().exit_code(), Some(3));
}

#[test]
fn an_undo_outlasts_an_outage() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let rule = proxy.at("Tasks/Start", Fault::Stall);
    let config = with_streams(&plot, &unique("c"));
    let error = thread::scope(|scope| {
        let creating = scope.spawn(|| client.create_container(&config, &Call::new()));
        rule.wait_until_fired();
        proxy.cut();
        wait_until("attempts in vain", || proxy.turned_away() > 1);
        proxy.mend();
        creating.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.failed_step(), Some("start the task"));
    assert!(error.source().is_none(), "{:?}", error.source());
    assert_nothing_is_left(&plot, "an outage");
}

#[test]
fn an_undo_ends_at_what_it_cannot_undo() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let start = proxy.at("Tasks/Start", Fault::Fail(2, "no start"));
    let kill = proxy.at("Tasks/Kill", Fault::Fail(7, "no kill"));
    let delete = proxy.at("Tasks/Delete", Fault::Fail(7, "no delete"));
    let config = with_streams(&plot, &unique("c"));
    let id = config.id().to_owned();
    let error = client.create_container(&config, &Call::new()).unwrap_err();
    [start, kill, delete].iter().for_each(|rule| rule.wait_until_fired());
    assert_eq!(error.to_string(), format!("create_container {id}: start the task: no start"));
    let source = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::PermissionDenied);
    assert_eq!(source.message(), "could not undo: create the task: no delete");
    // The task still exists, and it uses the record and the snapshot.
    let left = plot.holdings();
    assert_eq!((left.tasks, left.containers, left.active_snapshots, left.leases), (1, 1, 1, 0));
    let message = plot.destroy(&id);
    assert_eq!(message.exit_code(), None);
    assert_eq!(message.start_error().unwrap().kind(), ErrorKind::NotFound);
    assert_nothing_is_left(&plot, "a destroy");
}

#[test]
fn a_destroy_that_is_interrupted_is_finished_by_another_client() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let destroy = |client: &Client, id: &str| client.destroy_container(id, &gently(), &within(30));
    let (id, _) = ending_with(&plot, 3);
    let whole = client_behind(&plot, &proxy);
    proxy.take();
    assert_eq!(destroy(&whole, &id).unwrap().exit_code(), Some(3));
    let calls = proxy.take();
    assert_eq!(calls.last().unwrap(), "Containers/Delete");

    for (at, call) in calls.iter().enumerate() {
        for fault in [Fault::Cut, Fault::CutAfter] {
            let case = format!("{fault:?} at {call}, number {at}");
            let (id, _) = ending_with(&plot, 3);
            let first = client_behind(&plot, &proxy);
            let same = calls.iter().take(at + 1).filter(|other| *other == call).count();
            let rule = proxy.at_nth(call, same, fault);
            let result = destroy(&first, &id);
            rule.wait_until_fired();
            match &result {
                // A Wait that breaks off does not end the container, but a call that is sent with
                // it may break off too.
                Ok(message) => {
                    assert_eq!(call, "Tasks/Wait", "{case}");
                    assert_eq!(message.exit_code(), Some(3), "{case}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error}");
                    assert!(error.failed_step().is_some(), "{case}: {error}");
                }
            }
            let is_gone = match fault {
                Fault::CutAfter if call == "Containers/Delete" => true,
                _ => result.is_ok(),
            };
            let again = destroy(&client_of(&plot), &id);
            match again {
                Ok(message) => {
                    assert!(!is_gone, "{case}");
                    assert_eq!(message.exit_code(), Some(3), "{case}: {result:?}");
                }
                Err(error) => {
                    assert!(is_gone, "{case}: {error}");
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{case}: {error}");
                }
            }
            assert_nothing_is_left(&plot, &case);
        }
    }
}

#[test]
fn a_pull_whose_connection_breaks_can_be_made_again() {
    let ground = Ground::get();
    let size = |at: usize| (1 << 20) + at * 4096;
    for (at, (call, n)) in [
        ("Leases/Create", 1),
        ("Content/Write", 1),
        ("Content/Write", 4),
        ("Snapshots/Prepare", 2),
        ("Diff/Apply", 1),
        ("Snapshots/Commit", 2),
        ("Images/Create", 1),
        ("Leases/Delete", 1),
    ]
    .into_iter()
    .enumerate()
    {
        for fault in [Fault::Cut, Fault::CutAfter] {
            let case = format!("{fault:?} at {call}, number {n}");
            let name = unique("faults");
            // Namespaces share content. So use a layer and a configuration that no other test has.
            let more_layers = vec![size(2 * at + usize::from(matches!(fault, Fault::Cut)))];
            let recipe = Recipe { more_layers, env: vec![name.clone()], ..Recipe::default() };
            let reference = ground.registry().push(&name, "latest", &recipe);
            let pull = PullConfig::new(reference);
            let call_in = || within(30).namespace(&name);

            let proxy = proxy_of(ground);
            let config = ground.client_config().address(proxy.address());
            let client = Client::open(&config, &Call::new()).unwrap();
            let rule = proxy.at_nth(call, n, fault);
            let result = client.pull_image(&pull, &mut |_| {}, &call_in());
            rule.wait_until_fired();
            match &result {
                Ok(_) => assert_eq!(call, "Leases/Delete", "{case}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error}");
                    assert!(error.failed_step().is_some(), "{case}: {error}");
                }
            }
            let left = ground.holdings(&name);
            assert_eq!((left.leases, left.active_snapshots), (0, 0), "{case}: {left:?}");

            ground.client().pull_image(&pull, &mut |_| {}, &call_in()).unwrap();
            let checked = ground.ctr(&["-n", &name, "images", "check"]);
            assert!(checked.contains("complete (5/5)"), "{case}: {checked}");
            let left = ground.holdings(&name);
            assert!(left.only_images() && left.images == 1, "{case}: {left:?}");
        }
    }
}

#[test]
fn an_exit_is_reported_though_the_id_has_a_new_container() {
    let plot = Plot::new();
    for recover in [true, false] {
        let (proxy, client) = behind_a_proxy(&plot);
        let (sender, told) = mpsc::channel();
        let hook = move |message: &Message| drop(sender.send(message.clone()));
        client.on_exit(hook).unwrap();
        let (id, process) = create(&client, plot.shell("sleep 1000"));
        proxy.cut();
        kill(process);
        plot.destroy(&id);
        plot.create(plot.shell_of(&id, "sleep 1000"));
        proxy.mend();
        // It makes no difference whether the lost container is looked up before or after.
        wait_until("a change of the new one", || {
            if recover {
                client.recover_container(&id, &Stdio::new(), &within(5)).is_ok()
            } else {
                client.destroy_container(&id, &at_once(), &within(5)).is_ok()
            }
        });
        let message = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!((message.exit_code(), message.origin()), by_the_kernel(137), "{message:?}");
        if recover {
            let error = client.probe(&id, &Call::new().poll()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            client.destroy_container(&id, &at_once(), &within(20)).unwrap();
        }
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_policy_outlasts_an_outage() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (entered, is_in) = mpsc::channel();
    let hook = move |_: &Message| {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(30));
    };
    let hook = client.on_exit(hook).unwrap();
    create(&client, plot.shell("exit 3").cleanup(Cleanup::All));
    is_in.recv_timeout(Duration::from_secs(30)).unwrap();
    proxy.cut();
    release.send(()).unwrap();
    client.remove_hook(hook, &within(30)).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(plot.holdings().tasks, 1);
    proxy.mend();
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_close_from_a_hook_ends_what_is_being_opened() {
    let ground = own_ground();
    let plot = Plot::with_image(ground, ground.image());
    let client = client_of(&plot);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (entered, is_in) = mpsc::channel();
    let inner = client.clone();
    let hook = move |_: &Message| {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(30));
        inner.close(&Call::new()).unwrap();
    };
    client.on_exit(hook).unwrap();
    let (id, _) = create(&client, plot.shell("exit 1"));
    is_in.recv_timeout(Duration::from_secs(30)).unwrap();
    let containerd = pid(ground.daemon().pid());
    stop(containerd);
    let error = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let forever = Call::new().forever();
            client.add_hook(&HookConfig::new([MessageKind::Event]), |_| {}, &forever).unwrap_err()
        });
        thread::sleep(Duration::from_millis(300));
        release.send(()).unwrap();
        opening.join().unwrap()
    });
    kill_process(containerd, Signal::CONT).unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    plot.destroy(&id);
}

#[test]
fn an_exit_is_reported_though_the_container_is_gone() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let (sender, told) = mpsc::channel();
    let hook = move |message: &Message| drop(sender.send(message.clone()));
    client.on_exit(hook).unwrap();
    let (id, process) = create(&client, plot.shell("sleep 1000"));
    proxy.cut();
    kill(process);
    plot.destroy(&id);
    proxy.mend();
    let mut destroyed = None;
    wait_until("an answer", || match client.destroy_container(&id, &gently(), &within(5)) {
        Err(e) if e.kind() == ErrorKind::Unavailable => false,
        result => {
            destroyed = Some(result);
            true
        }
    });
    let message = told.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!((message.exit_code(), message.origin()), by_the_kernel(137), "{message:?}");
    assert_eq!(destroyed.unwrap().unwrap().exit_code(), message.exit_code());
    assert!(plot.holdings().only_images());
}
