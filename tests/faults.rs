//! What is told of containers while connections break, containerd dies, shims hang.

mod ground;

use std::thread;
use std::time::Duration;

use ctrd::{Call, Client, ErrorKind, Origin};
use ground::Ground;
use ground::plot::{GRACE, Plot, kill, within};
use ground::proxy::Proxy;
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
