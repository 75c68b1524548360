//! The reports of the library about containers that other clients of the same containerd change.

mod ground;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, Cancel, Cleanup, Client, ContainerConfig, Error, ErrorKind, Message, Origin, Stdio,
    Stream,
};
use ground::plot::{
    Plot, at_once, by_the_kernel, client_behind, client_of, create, gently, kill, pipe, proxy_of,
    shim_of, stop, unseen_proxy_of, within,
};
use ground::proxy::{Fault, Proxy};
use ground::{Holdings, wait_until};
use rustix::pipe::{PipeFlags, pipe_with};

/// A client behind a proxy of its own.
fn behind_a_proxy(plot: &Plot) -> (Proxy, Client) {
    let proxy = proxy_of(plot.ground);
    let client = client_behind(plot, &proxy);
    (proxy, client)
}

fn stop_hook(client: &Client) -> mpsc::Receiver<Message> {
    let (sender, receiver) = mpsc::channel();
    let hook = move |message: &Message| drop(sender.send(message.clone()));
    client.on_exit(hook).unwrap();
    receiver
}

fn assert_is_silent(told: &mpsc::Receiver<Message>) {
    if let Ok(message) = told.recv_timeout(Duration::from_millis(300)) {
        panic!("{message:?}");
    }
}

const LONG: Duration = Duration::from_secs(30);

fn ctr(plot: &Plot, arguments: &[&str]) {
    plot.ground.ctr(&[&["-n", &plot.namespace], arguments].concat());
}

/// A container that runs until something ends it, and its process.
fn running(plot: &Plot, client: &Client, cleanup: Cleanup) -> (String, u32) {
    create(client, plot.shell("sleep 1000").cleanup(cleanup))
}

/// A container whose first run exits with the first code, and whose second run with the second.
fn twice(plot: &Plot, first: &str, second: &str) -> ContainerConfig {
    plot.shell(&format!("[ -e /ran ] && {second}; touch /ran; {first}"))
}

/// Removes the record and leaves the task running, as a client does that does not see the task.
fn remove_the_record(plot: &Plot, id: &str) {
    let (proxy, client) = behind_a_proxy(plot);
    let blind = Fault::Fail(5, "it is not to be seen");
    let rules = [proxy.at("Tasks/Get", blind), proxy.at("Tasks/Delete", blind)];
    let message = client.destroy_container(id, &gently(), &within(10)).unwrap();
    rules.iter().for_each(|rule| rule.wait_until_fired());
    assert_eq!((message.exit_code(), message.origin()), (None, Origin::Gap));
}

/// Makes another record in place of one that was removed. The task goes on running.
fn make_a_record(plot: &Plot, id: &str, owner: &str) {
    let label = format!("io.ctrd.owner={owner}");
    ctr(plot, &["c", "create", "--label", &label, &plot.image, id, "sleep", "1"]);
}

#[test]
fn a_record_that_is_replaced_makes_no_second_exit() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let told = stop_hook(&client);
    for look in [false, true] {
        let (id, process) = running(&plot, &client, Cleanup::Keep);
        remove_the_record(&plot, &id);
        make_a_record(&plot, &id, "ctrd");
        proxy.take();
        if look {
            client.recover_container(&id, &Stdio::new(), &within(10)).unwrap();
        }
        kill(process);
        let message = told.recv_timeout(LONG).unwrap();
        assert_eq!((message.container_id(), message.exit_code()), (&*id, Some(137)));
        client.probe(&id, &within(10)).unwrap();
        assert_eq!(client.probe(&id, &within(10)).unwrap().seq(), message.seq());
        client.recover_container(&id, &Stdio::new(), &within(10)).unwrap();
        let destroyed = client.destroy_container(&id, &gently(), &within(10)).unwrap();
        assert_eq!(destroyed.seq(), message.seq());
        // The Wait that was outstanding was enough for all of this.
        assert!(!proxy.take().contains(&"Tasks/Wait".to_owned()));
    }
    assert_is_silent(&told);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_record_that_is_replaced_under_a_destroy_makes_no_second_exit() {
    let plot = Plot::new();
    for cleanup in [Cleanup::Keep, Cleanup::All] {
        let (proxy, client) = behind_a_proxy(&plot);
        let told = stop_hook(&client);
        let (id, _) = running(&plot, &client, cleanup);
        thread::scope(|scope| {
            // The call is held after it has read the record.
            let rule = proxy.at("Tasks/Kill", Fault::Stall);
            let destroying = scope.spawn(|| client.destroy_container(&id, &gently(), &within(20)));
            rule.wait_until_fired();
            remove_the_record(&plot, &id);
            make_a_record(&plot, &id, "ctrd");
            rule.release();
            assert_eq!(destroying.join().unwrap().unwrap().exit_code(), Some(137));
        });
        assert_eq!(told.recv_timeout(LONG).unwrap().exit_code(), Some(137));
        // The task exists, and its exit is reported.
        assert_eq!(plot.holdings().tasks, 1);
        assert_eq!(client.probe(&id, &within(10)).unwrap().exit_code(), Some(137));
        client.recover_container(&id, &Stdio::new(), &within(10)).unwrap();
        assert_is_silent(&told);
        client.destroy_container(&id, &gently(), &within(10)).unwrap();
        assert_is_silent(&told);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_shim_that_hangs_under_a_record_that_was_replaced_makes_no_second_exit() {
    let plot = Plot::new();
    let told = stop_hook(&plot.client);
    let (id, process) = running(&plot, &plot.client, Cleanup::Keep);
    remove_the_record(&plot, &id);
    make_a_record(&plot, &id, "ctrd");
    let shim = shim_of(process);
    stop(shim);
    let error = plot.client.recover_container(&id, &Stdio::new(), &within(10)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    rustix::process::kill_process(shim, rustix::process::Signal::CONT).unwrap();
    plot.client.recover_container(&id, &Stdio::new(), &within(10)).unwrap();
    assert_eq!(plot.client.counters().outstanding(), 1);
    kill(process);
    assert_eq!(told.recv_timeout(LONG).unwrap().exit_code(), Some(137));
    plot.destroy(&id);
    assert_is_silent(&told);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_task_that_was_deleted_half_way_can_be_destroyed_by_anybody() {
    let plot = Plot::new();
    thread::scope(|scope| {
        for milliseconds in (50..=95).step_by(5) {
            let plot = &plot;
            scope.spawn(move || {
                let config = plot.shell("sleep 1000").start(false);
                let id = plot.create(config);
                let short = Call::new().timeout(Duration::from_millis(milliseconds));
                if plot.client.destroy_container(&id, &gently(), &short).is_ok() {
                    return;
                }
                // As if another client that records nothing had destroyed it.
                plot.ground.ctr(&["-n", &plot.namespace, "c", "label", &id, "io.ctrd.exit="]);
                match client_of(plot).destroy_container(&id, &gently(), &within(30)) {
                    // 137 if it was killed, and it is not known whether it ran.
                    Ok(message) => assert_ne!(message.exit_code(), Some(0), "{message:?}"),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{milliseconds}: {e}"),
                }
            });
        }
    });
    wait_until("the end of everything", || is_clean(&plot));
}

#[test]
fn a_policy_is_not_that_of_another_record() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    let told = stop_hook(&client);
    let (id, process) = running(&plot, &client, Cleanup::All);
    remove_the_record(&plot, &id);
    make_a_record(&plot, &id, "another");
    // The client looks it up.
    proxy.cut();
    proxy.mend();
    wait_until("a look", || client.counters().reconciled() == 1);
    proxy.take();
    kill(process);
    told.recv_timeout(LONG).unwrap();
    wait_until("the clean-up", || proxy.take().contains(&"Containers/Get".to_owned()));
    thread::sleep(Duration::from_millis(200));
    let holdings = plot.holdings();
    assert_eq!((holdings.containers, holdings.tasks), (1, 1));
    ctr(&plot, &["tasks", "rm", &id]);
    ctr(&plot, &["containers", "rm", &id]);
}

#[test]
fn the_exits_of_two_processes_of_a_record_are_reported() {
    let plot = Plot::new();
    let told = stop_hook(&plot.client);
    // Its second run has ended when it is destroyed.
    let id = plot.create(twice(&plot, "exit 3", "exit 4"));
    assert_eq!(told.recv_timeout(LONG).unwrap().exit_code(), Some(3));
    ctr(&plot, &["tasks", "rm", &id]);
    ctr(&plot, &["tasks", "start", "-d", &id]);
    wait_until("its end", || {
        plot.ground.ctr(&["-n", &plot.namespace, "tasks", "ls"]).contains("STOPPED")
    });
    assert_eq!(plot.destroy(&id).exit_code(), Some(4));
    assert_eq!(told.recv_timeout(LONG).unwrap().exit_code(), Some(4));

    // Nobody saw the end of the first run, and the second run goes on.
    let (proxy, client) = behind_a_proxy(&plot);
    let told = stop_hook(&client);
    let (id, process) = running(&plot, &client, Cleanup::Keep);
    proxy.cut();
    kill(process);
    ctr(&plot, &["tasks", "rm", "-f", &id]);
    ctr(&plot, &["tasks", "start", "-d", &id]);
    proxy.mend();
    wait_until("the recovery", || client.recover_container(&id, &Stdio::new(), &within(5)).is_ok());
    let message = told.recv_timeout(LONG).unwrap();
    assert_eq!((message.exit_code(), message.origin()), by_the_kernel(137));
    kill(client.container_pid(&id, &Call::new()).unwrap());
    let message = told.recv_timeout(LONG).unwrap();
    assert_eq!(message.exit_code(), Some(137));
    let destroyed = client.destroy_container(&id, &gently(), &within(10)).unwrap();
    assert_eq!(destroyed.seq(), message.seq());
    assert_is_silent(&told);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_shim_that_hangs_under_a_record_that_is_gone_is_no_exit() {
    let plot = Plot::new();
    let proxy = unseen_proxy_of(plot.ground);
    let client = client_behind(&plot, &proxy);
    let told = stop_hook(&client);
    let (id, process) = running(&plot, &client, Cleanup::Keep);
    remove_the_record(&plot, &id);
    let shim = shim_of(process);
    stop(shim);
    proxy.cut();
    proxy.mend();
    // One lookup takes the 2 s for which containerd waits for the shim.
    assert!(told.recv_timeout(Duration::from_secs(4)).is_err());
    rustix::process::kill_process(shim, rustix::process::Signal::CONT).unwrap();
    kill(process);
    let message = told.recv_timeout(LONG).unwrap();
    assert_eq!((message.exit_code(), message.origin()), (Some(137), Origin::Recovered));
    // Without a record, nobody removes its task.
    make_a_record(&plot, &id, "ctrd");
    plot.destroy(&id);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_failed_look_up_is_no_start() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    for at in 1..=2 {
        let (id, _say) = asking(&plot, &client);
        let rule = proxy.at_nth("Tasks/Get", at, Fault::Fail(13, "as arranged"));
        let error = client.destroy_container(&id, &gently(), &within(10)).unwrap_err();
        rule.wait_until_fired();
        assert_eq!(error.failed_step(), Some("look the task up"), "{error}");
        assert!(!proxy.take().contains(&"Tasks/Kill".to_owned()));
        // A container that should not run any more can be started all the same.
        client.start_container(&id, &Call::new()).unwrap();
        kill(client.container_pid(&id, &Call::new()).unwrap());
        assert_eq!(client.probe(&id, &within(10)).unwrap().exit_code(), Some(137));
        let later = client_of(&plot).destroy_container(&id, &gently(), &within(10)).unwrap();
        assert_eq!(later.exit_code(), Some(137));
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_destroy_of_what_never_ran_can_be_cut_short_and_made_again() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    for piped in [false, true] {
        for call in ["Containers/Update", "Tasks/Kill", "Tasks/Delete", "Snapshots/Remove"] {
            for fault in [Fault::Stall, Fault::StallAfter] {
                let mut config = plot.shell("exit 3").start(false);
                let (_output, stdout) = pipe();
                if piped {
                    config = config.stdio(Stdio::new().stdout(Stream::fd(stdout)));
                } else if call == "Tasks/Kill" {
                    continue;
                }
                let (id, _) = create(&client, config);
                let rule = proxy.at(call, fault);
                let cancel = Cancel::new();
                let error = thread::scope(|scope| {
                    let call = Call::new().cancel(&cancel);
                    let (client, id) = (&client, &id);
                    let destroying =
                        scope.spawn(move || client.destroy_container(id, &gently(), &call));
                    rule.wait_until_fired();
                    cancel.fire();
                    destroying.join().unwrap().unwrap_err()
                });
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
                rule.release();
                let message = match client.destroy_container(&id, &gently(), &within(10)) {
                    Ok(message) => message,
                    Err(error) => panic!("{call} {fault:?} {piped}: {error}"),
                };
                assert_eq!(message.exit_code(), None, "{call} {fault:?} {piped}: {message:?}");
                assert!(message.start_error().is_some(), "{call} {fault:?} {piped}: {message:?}");
            }
        }
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

/// Whether only images are left, apart from what containerd has lost. If the end of a call breaks
/// off the deletion of a task, that may be its shim.
fn is_clean(plot: &Plot) -> bool {
    Holdings { shims: 0, mounts: 0, ..plot.holdings() }.only_images()
}

#[test]
fn a_destroy_can_be_cut_short_at_any_moment() {
    let plot = Plot::new();
    for starts in [false, true] {
        for milliseconds in (5..=95).step_by(5) {
            let config = plot.shell("sleep 1000").start(starts);
            let id = plot.create(config);
            let destroy = |call| plot.client.destroy_container(&id, &at_once(), &call);
            let first = destroy(Call::new().timeout(Duration::from_millis(milliseconds)));
            let expected = if starts { Some(137) } else { None };
            match first.or_else(|_| destroy(within(10))) {
                Ok(message) => assert_eq!(message.exit_code(), expected, "{message:?}"),
                // The record was deleted when the time ended.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => panic!("{milliseconds} ms, {starts}: {e}"),
            }
        }
    }
    wait_until("the end of everything", || is_clean(&plot));
}

#[test]
fn a_record_that_goes_is_no_exit() {
    let plot = Plot::new();
    let told = stop_hook(&plot.client);
    let (id, process) = running(&plot, &plot.client, Cleanup::Keep);
    remove_the_record(&plot, &id);
    let error = plot.client.destroy_container(&id, &gently(), &within(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("may run on"), "{error}");
    let error = plot.client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    assert_is_silent(&told);

    make_a_record(&plot, &id, "ctrd");
    plot.client.recover_container(&id, &Stdio::new(), &within(10)).unwrap();
    assert_is_silent(&told);
    kill(process);
    let message = told.recv_timeout(LONG).unwrap();
    assert_eq!((message.container_id(), message.exit_code()), (&*id, Some(137)));
    assert_eq!(plot.destroy(&id).seq(), message.seq());
    assert_is_silent(&told);
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_label_of_an_earlier_process_is_not_a_later_ones() {
    let plot = Plot::new();
    let config = twice(&plot, "exit 3", "exit 4").cleanup(Cleanup::Task);
    let id = plot.create(config);
    assert_eq!(plot.probe(&id).exit_code(), Some(3));
    wait_until("the task's deletion", || plot.holdings().tasks == 0);
    assert_eq!(client_of(&plot).probe(&id, &within(10)).unwrap().exit_code(), Some(3));

    ctr(&plot, &["tasks", "start", "-d", &id]);
    let (proxy, client) = behind_a_proxy(&plot);
    let rule = proxy.at("Snapshots/Remove", Fault::Cut);
    client.destroy_container(&id, &gently(), &within(10)).unwrap_err();
    rule.wait_until_fired();
    assert_eq!(plot.holdings().tasks, 0);
    let message = client_of(&plot).destroy_container(&id, &gently(), &within(10)).unwrap();
    assert_eq!(message.exit_code(), Some(4), "{message:?}");
}

#[test]
fn a_clean_up_leaves_a_later_process_alone() {
    let plot = Plot::new();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (entered, is_in) = mpsc::channel();
    let (proxy, client) = behind_a_proxy(&plot);
    let hook = move |_: &Message| {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(LONG);
    };
    let hook = client.on_exit(hook).unwrap();
    let config = twice(&plot, "exit 3", "sleep 1000").cleanup(Cleanup::All);
    let (id, _) = create(&client, config);
    is_in.recv_timeout(LONG).unwrap();
    ctr(&plot, &["tasks", "rm", &id]);
    ctr(&plot, &["tasks", "start", "-d", &id]);
    // It receives both.
    assert_eq!(client.probe(&id, &Call::new()).unwrap().exit_code(), Some(3));
    let error = client.probe(&id, &within(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    proxy.take();
    release.send(()).unwrap();
    client.remove_hook(hook, &Call::new()).unwrap();
    wait_until("the clean-up", || proxy.take().contains(&"Tasks/Get".to_owned()));
    thread::sleep(Duration::from_millis(200));
    let error = client.probe(&id, &Call::new().poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    let holdings = plot.holdings();
    assert_eq!((holdings.containers, holdings.tasks), (1, 1));
    let message = client.destroy_container(&id, &at_once(), &within(10)).unwrap();
    assert_eq!(message.exit_code(), Some(137));
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn a_process_that_another_client_never_started_has_no_code() {
    let plot = Plot::new();
    for piped in [false, true] {
        let told = stop_hook(&plot.client);
        let other = client_of(&plot);
        let mut config = plot.shell("exit 3").start(false);
        let (_output, stdout) = pipe();
        if piped {
            config = config.stdio(Stdio::new().stdout(Stream::fd(stdout)));
        }
        let (id, _) = create(&other, config);
        plot.client.watch_container(&id, &within(10)).unwrap();
        let error = plot.client.probe(&id, &Call::new().poll()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        let destroyed = other.destroy_container(&id, &gently(), &within(10)).unwrap();
        assert_eq!(destroyed.exit_code(), None);
        assert!(destroyed.start_error().is_some());
        let message = told.recv_timeout(LONG).unwrap();
        assert_eq!((message.container_id(), message.exit_code()), (&*id, None), "{message:?}");
        assert!(message.error().is_some());
        assert_is_silent(&told);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

/// A container that is created but not started. It exits with the code that its input names.
fn asking(plot: &Plot, client: &Client) -> (String, File) {
    let (stdin, say): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let config =
        plot.shell("read x; exit $x").stdio(Stdio::new().stdin(Stream::fd(stdin))).start(false);
    let (id, _) = create(client, config);
    (id, say.into())
}

#[test]
fn a_start_that_is_only_seen_lets_the_input_go() {
    let plot = Plot::new();
    let (proxy, client) = behind_a_proxy(&plot);
    for by_another in [true, false] {
        let (id, mut say) = asking(&plot, &client);
        if by_another {
            client_of(&plot).start_container(&id, &within(10)).unwrap();
            proxy.cut();
        } else {
            let rule = proxy.at("Tasks/Start", Fault::CutAfter);
            let error = client.start_container(&id, &within(10)).unwrap_err();
            rule.wait_until_fired();
            assert!(error.is_outcome_unknown(), "{error}");
        }
        proxy.mend();
        writeln!(say, "7").unwrap();
        assert_eq!(client.probe(&id, &within(20)).unwrap().exit_code(), Some(7));
        client.destroy_container(&id, &gently(), &within(20)).unwrap();

        // Also if the start is refused because of this.
        let (id, mut say) = asking(&plot, &client);
        client_of(&plot).start_container(&id, &within(10)).unwrap();
        let error = client.start_container(&id, &within(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        writeln!(say, "8").unwrap();
        assert_eq!(client.probe(&id, &within(20)).unwrap().exit_code(), Some(8));
        client.destroy_container(&id, &gently(), &within(20)).unwrap();
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

#[test]
fn an_unknown_outcome_is_kept_as_unknown() {
    let plot = Plot::new();
    for (proxy, expected) in [
        (proxy_of(plot.ground), by_the_kernel(137)),
        (unseen_proxy_of(plot.ground), (None, Origin::Gap)),
    ] {
        what_is_not_known(&plot, &proxy, expected);
    }
    wait_until("the end of everything", || plot.holdings().only_images());
}

fn what_is_not_known(plot: &Plot, proxy: &Proxy, expected: (Option<u32>, Origin)) {
    let client = client_behind(plot, proxy);
    let (id, process) = running(plot, &client, Cleanup::Keep);
    // The task is removed while the client cannot see that.
    proxy.cut();
    kill(process);
    wait_until("the exit", || {
        plot.ground.ctr(&["-n", &plot.namespace, "tasks", "ls"]).contains("STOPPED")
    });
    ctr(plot, &["tasks", "rm", &id]);
    proxy.mend();
    let message = client.probe(&id, &within(30)).unwrap();
    let rule = proxy.at("Snapshots/Remove", Fault::Cut);
    client.destroy_container(&id, &gently(), &within(10)).unwrap_err();
    rule.wait_until_fired();
    let later = client_of(plot).destroy_container(&id, &gently(), &within(10)).unwrap();
    assert!(later.start_error().is_none(), "{later:?}");
    for message in [message, later] {
        assert_eq!((message.exit_code(), message.origin()), expected);
        let error = message.error().map(Error::kind);
        assert_eq!(error, expected.0.is_none().then_some(ErrorKind::DataLoss));
    }
}
