//! What is told of containers while connections break, containerd dies, shims hang.

mod ground;

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Client, ClientConfig, Daemon, DaemonConfig, ErrorKind, HookMode, Message, Origin,
    PullConfig, RecoveryState, Stdio,
};
use ground::plot::{GRACE, Plot, kill, within};
use ground::proxy::Proxy;
use ground::{Ground, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A process that ends with this code when it is told to by SIGTERM, and the pid to tell it by.
fn ending_with(plot: &Plot, code: u32) -> (String, Pid) {
    let script = format!("trap 'exit {code}' TERM; while :; do sleep 0.01; done");
    let config = plot.shell(&script);
    let id = config.id.clone();
    let pid = plot.client.create_container(config, &Call::new()).unwrap();
    // Until the trap is set, the first process of a pid namespace is deaf to SIGTERM.
    thread::sleep(Duration::from_millis(100));
    (id, Pid::from_raw(pid.try_into().unwrap()).unwrap())
}

fn end(pid: Pid) {
    kill_process(pid, Signal::TERM).unwrap();
}

/// Another client, as a later run of the program has it.
fn client_of(plot: &Plot) -> Client {
    let mut config = plot.ground.client_config();
    config.namespace = plot.namespace.clone();
    Client::open(config, &Call::new()).unwrap()
}

/// A client behind a proxy of its own, in the namespace of the plot.
fn behind_a_proxy(plot: &Plot) -> (Proxy, Client) {
    let path = plot.ground.dir().join(ground::unique("proxy"));
    let proxy = Proxy::start(plot.ground.address().as_ref(), &path);
    let mut config = plot.ground.client_config();
    config.namespace = plot.namespace.clone();
    config.address = proxy.address();
    (proxy, Client::open(config, &Call::new()).unwrap())
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
    });
    for id in [early, meanwhile, late] {
        plot.destroy(&id);
    }
}

#[test]
fn a_container_that_was_made_anew_is_another_one() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let config = plot.shell("sleep 1000");
    let id = plot.create(config);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.probe(&id, &within(30)).unwrap());
        thread::sleep(Duration::from_millis(200));
        proxy.cut();
        kill(plot.client.container_pid(&id, &Call::new()).unwrap());
        assert_eq!(plot.probe(&id).exit_code(), Some(137));
        plot.destroy(&id);
        let mut config = plot.shell("exit 4");
        config.id = id.clone();
        plot.create(config);
        assert_eq!(plot.probe(&id).exit_code(), Some(4));
        proxy.mend();
        let message = waiting.join().unwrap();
        // What the kernel tells, where it can; never what became of the other one.
        match message.exit_code() {
            Some(code) => assert_eq!((code, message.origin()), (137, Origin::Recovered)),
            None => assert_eq!(message.origin(), Origin::Gap),
        }
        assert_eq!(client.probe(&id, &within(10)).unwrap().exit_code(), Some(4));
    });
    client.destroy_container(&id, GRACE, &Call::new()).unwrap();
}

#[test]
fn a_known_exit_is_not_told_of_a_later_container() {
    let plot = Plot::new();
    let config = plot.shell("exit 4");
    let id = plot.create(config);
    assert_eq!(plot.probe(&id).exit_code(), Some(4));
    let mut config = plot.ground.client_config();
    config.namespace = plot.namespace.clone();
    let other = Client::open(config, &Call::new()).unwrap();
    other.destroy_container(&id, GRACE, &Call::new()).unwrap();
    // Nobody has the id now: what was told stays true.
    assert_eq!(plot.probe(&id).exit_code(), Some(4));
    let mut config = plot.shell("exit 6");
    config.id = id.clone();
    other.create_container(config, &Call::new()).unwrap();
    assert_eq!(plot.probe(&id).exit_code(), Some(6));
    plot.destroy(&id);
    assert!(Ground::get().holdings(&plot.namespace).only_images());
}

/// A ground whose containerd may be killed: not the one that other tests stand on.
fn own_ground() -> &'static Ground {
    // The guardian takes it down after the program's end.
    Box::leak(Box::new(Ground::raise()))
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// The shim of a container: the parent of its first process.
fn shim_of(container: u32) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{container}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    pid(rest.split(' ').nth(1).unwrap().parse().unwrap())
}

/// Whether the exit of a process is known that ends while containerd is not there.
fn an_outage_hides_nothing(client: &Client) -> bool {
    let version = client.version(&Call::new()).unwrap().version;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let numbers: Vec<u32> =
        release.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    // By the record of 1.6, or by the kernel.
    version.trim_start_matches('v').starts_with("1.6.") || numbers.as_slice() >= &[6, 15]
}

#[test]
fn containerd_is_killed_under_a_hundred_probes() {
    let ground = own_ground();
    let plot = Plot::with_image(ground, ground.image());
    let (sender, told) = mpsc::channel();
    let hook = move |message: &Message| drop(sender.send(message.clone()));
    plot.client.add_stop_hook(None, HookMode::Thread, hook).unwrap();
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
    let shim = shim_of(process.as_raw_nonzero().get().unsigned_abs());
    // The shim does not see the exit, and dies; containerd says 137 then.
    kill_process(shim, Signal::STOP).unwrap();
    end(process);
    thread::sleep(Duration::from_millis(100));
    kill_process(shim, Signal::KILL).unwrap();
    let message = plot.probe(&id);
    let told = (message.exit_code(), message.origin());
    assert!(told == (Some(3), Origin::Recovered) || told == (None, Origin::Gap), "{message:?}");
    plot.destroy(&id);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_stuck_shim_delays_nobody_else() {
    let plot = Plot::new();
    let first = client_of(&plot);
    let ids: Vec<String> = (0..20)
        .map(|_| {
            let config = plot.shell("sleep 1000");
            let id = config.id.clone();
            first.create_container(config, &Call::new()).unwrap();
            id
        })
        .collect();
    let stuck = first.container_pid(&ids[7], &Call::new()).unwrap();
    drop(first);
    let shim = shim_of(stuck);
    kill_process(shim, Signal::STOP).unwrap();
    let second = client_of(&plot);
    let recovered = second.recover_all(&mut |_| Stdio::default(), &within(10)).unwrap();
    let failed: Vec<_> = recovered.iter().filter(|r| r.state == RecoveryState::Failed).collect();
    assert_eq!(recovered.len(), 20);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].container_id, ids[7]);
    assert_eq!(failed[0].error.as_ref().unwrap().kind(), ErrorKind::Unavailable);
    // Those that it watches are told of although it is stuck still.
    kill(second.container_pid(&ids[3], &Call::new()).unwrap());
    assert_eq!(second.probe(&ids[3], &within(10)).unwrap().exit_code(), Some(137));
    kill_process(shim, Signal::CONT).unwrap();
    second.recover_container(&ids[7], Stdio::default(), &within(10)).unwrap();
    for id in &ids {
        second.destroy_container(id, Duration::ZERO, &Call::new()).unwrap();
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn stopped_tasks_are_kept_where_it_is_asked_for() {
    let ground = own_ground();
    let mut plot = Plot::with_image(ground, ground.image());
    let mut config = ground.client_config();
    config.namespace = plot.namespace.clone();
    config.keep_stopped_tasks = true;
    plot.client = Client::open(config, &Call::new()).unwrap();
    let (id, process) = ending_with(&plot, 5);
    let first = plot.client.clone();
    // Nobody watches who could have asked the kernel.
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
fn a_machine_that_starts_anew_has_no_tasks() {
    let ground = own_ground();
    let plot = Plot::with_image(ground, ground.image());
    let first = client_of(&plot);
    let mut processes = Vec::new();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let config = plot.shell("sleep 1000");
            let id = config.id.clone();
            let process = first.create_container(config, &Call::new()).unwrap();
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
    let recovered = second.recover_all(&mut |_| Stdio::default(), &within(30)).unwrap();
    let states: Vec<_> = recovered.iter().map(|r| (r.container_id.clone(), r.state)).collect();
    let mut expected: Vec<_> = ids.iter().map(|id| (id.clone(), RecoveryState::NoTask)).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(states, expected);
    for id in &ids {
        let error = second.probe(id, &within(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("no task"), "{error}");
        let message = second.destroy_container(id, GRACE, &Call::new()).unwrap();
        assert_eq!(message.exit_code(), None);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

fn client_of_when_it_answers(plot: &Plot) -> Client {
    let mut config = plot.ground.client_config();
    config.namespace = plot.namespace.clone();
    let mut client = None;
    wait_until("an answer", || {
        client = Client::open(config.clone(), &within(1)).ok();
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
        let error = client.create_container(plot.shell("exit 0"), &within(30)).unwrap_err();
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
    std::fs::create_dir(&directory).unwrap();
    let run = |arguments: &[&str]| {
        let status = Command::new(arguments[0]).args(&arguments[1..]).status();
        status.unwrap().success()
    };
    let path = directory.to_str().unwrap();
    assert!(run(&["mount", "-t", "tmpfs", "-o", "size=32M,mode=700", "ctrd-test", path]));
    let daemon = Daemon::start(
        &DaemonConfig { directory: directory.join("d"), ..Default::default() },
        &Call::new(),
    )
    .unwrap();
    let client = Client::open(
        ClientConfig {
            address: daemon.address().into(),
            namespace: ground::unique("full"),
            state_dir: directory.join("client"),
            ..Default::default()
        },
        &Call::new(),
    )
    .unwrap();
    let pull = PullConfig { reference: Ground::get().image().into(), ..Default::default() };
    let image = client.pull_image(&pull, &mut |_| {}, &Call::new()).unwrap().name;
    let filler = directory.join("filler");
    // All that is left, to the last page.
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    let config = || ctrd::ContainerConfig {
        id: "full".into(),
        image: Some(image.clone()),
        args: vec!["/bin/true".into()],
        ..Default::default()
    };
    let error = client.create_container(config(), &within(30)).unwrap_err();
    assert!(error.failed_step().is_some(), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    let error = client.pull_image(&pull, &mut |_| {}, &within(30).namespace("other")).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    client.create_container(config(), &within(30)).unwrap();
    assert_eq!(client.probe("full", &within(30)).unwrap().exit_code(), Some(0));
    client.destroy_container("full", GRACE, &Call::new()).unwrap();
    client.pull_image(&pull, &mut |_| {}, &within(30).namespace("other")).unwrap();
    drop(client);
    daemon.stop(&Call::new()).unwrap();
    // The kernel may be at the end of something in it.
    wait_until("the unmount", || run(&["umount", "-q", path]));
}
