//! What a program that is killed or stopped leaves, and what a later run of it is told.

mod ground;

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use ctrd::{
    Call, ContainerConfig, Error, ErrorKind, HookMode, Message, RecoveryState, Stdio, Stream,
};
use ground::host::{Host, Job, job};
use ground::plot::{
    GRACE, Plot, assert_nothing_is_left, client_behind, pipe, proxy_of, until_it_traps, within,
};
use ground::proxy::{Fault, Proxy};
use ground::{unique, wait_until};

/// No test: what a host does, which is this program once more.
#[test]
fn the_program() {
    let Some(job) = job() else { return };
    match job.words[0].as_str() {
        "make" => make(job),
        other => panic!("there is no job {other}"),
    }
}

/// A process that ends with 3 when it is told to by SIGTERM.
const SCRIPT: &str = "trap 'exit 3' TERM; while :; do sleep 0.01; done";

/// What kind of container is made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    streams: bool,
    starts: bool,
}

/// The job: makes a container and destroys it, each when it is told to.
fn make(job: Job) {
    let Job { client, words, mut line } = job;
    let [_, streams, starts, id, image] = &words[..] else { panic!("{words:?}") };
    let mut config = ContainerConfig {
        id: id.clone(),
        image: Some(image.clone()),
        args: ["/bin/sh", "-c", SCRIPT].map(Into::into).into(),
        no_start: starts == "false",
        ..Default::default()
    };
    // Open to its end, so that the input does not end before.
    let ((input, say), (_out, stdout), (_err, stderr)) = (pipe(), pipe(), pipe());
    if streams == "true" {
        config.stdio = Stdio {
            stdin: Stream::Fd(input.into()),
            stdout: Stream::Fd(stdout),
            stderr: Stream::Fd(stderr),
            terminal: false,
        };
    }
    line.hear();
    client.create_container(config, &Call::new()).unwrap();
    line.say("created");
    line.hear();
    client.destroy_container(id, GRACE, &Call::new()).unwrap();
    line.say("destroyed");
    drop(say);
}

/// A program with this job, and the id of its container.
fn maker(plot: &Plot, proxy: &Proxy, shape: Shape) -> (Host, String) {
    let id = unique("c");
    let Shape { streams, starts } = shape;
    let (streams, starts) = (streams.to_string(), starts.to_string());
    let host = Host::start(plot, &proxy.address(), &["make", &streams, &starts, &id, &plot.image]);
    (host, id)
}

/// Has it make its container, and waits until that can be told to end.
fn make_whole(plot: &Plot, host: &mut Host, id: &str, shape: Shape) {
    host.tell("make it");
    host.expect("created");
    if shape.starts {
        until_it_traps(plot.client.container_pid(id, &Call::new()).unwrap(), SCRIPT);
    }
}

/// The calls of one creation, and of one destruction, by a program that nothing happens to.
fn calls_of(plot: &Plot, proxy: &Proxy, shape: Shape) -> [Vec<String>; 2] {
    let (mut host, id) = maker(plot, proxy, shape);
    proxy.take();
    make_whole(plot, &mut host, &id, shape);
    let create = proxy.take();
    host.tell("destroy it");
    host.expect("destroyed");
    let destroy = proxy.take();
    assert_nothing_is_left(plot, "a program that was not killed");
    // What is asked where a Wait has ended is asked by the side, at any time.
    let own = |call: &String| call != "Version/Version";
    [create, destroy].map(|calls| calls.into_iter().filter(own).collect())
}

/// At which call of an operation a program is killed.
struct Death<'a> {
    calls: &'a [String],
    at: usize,
    /// Whether the server has done it, and the answer did not arrive; else it never gets it.
    done: bool,
}

impl Death<'_> {
    /// At each of these calls, before and after; nobody waits for the answer of a Wait.
    fn each(calls: &[String]) -> impl Iterator<Item = Death<'_>> {
        (0..calls.len())
            .flat_map(move |at| [false, true].map(|done| Death { calls, at, done }))
            .filter(|death| !(death.done && death.calls[death.at] == "Tasks/Wait"))
    }

    /// Tells the program to do it, and kills it there.
    fn bring(&self, mut host: Host, proxy: &Proxy) {
        let call = &self.calls[self.at];
        let nth = self.calls[..=self.at].iter().filter(|other| *other == call).count();
        let fault = if self.done { Fault::StallAfter } else { Fault::Stall };
        let rule = proxy.at_nth(call, nth, fault);
        host.tell("go");
        rule.wait_until_fired();
        host.kill();
        // What was held back is lost with it.
        wait_until("the end of its connection", || proxy.connections() == 0);
    }

    /// Whether the server has done the first call of this name: another one finds nothing to do.
    fn has_done(&self, call: &str) -> bool {
        let first = self.calls.iter().position(|other| other == call);
        first.is_some_and(|first| first < self.at || first == self.at && self.done)
    }
}

impl fmt::Display for Death<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.done { "after" } else { "before" };
        write!(f, "killed {when} {}, number {}", self.calls[self.at], self.at)
    }
}

/// What a later run of the program finds.
struct Later {
    state: Option<RecoveryState>,
    /// What it is told of the exit, by whatever tells of one.
    told: Vec<Message>,
    destroyed: Result<Message, Error>,
}

/// Recovers everything, probes the container and destroys it, as a later run of the program at the
/// same address. Where the container is known to be ending, its end is waited for.
fn later_run(plot: &Plot, proxy: &Proxy, id: &str, grace: Duration, is_ending: bool) -> Later {
    let client = client_behind(plot, proxy);
    let (sender, hook) = mpsc::channel();
    let tell = move |message: &Message| drop(sender.send(message.clone()));
    client.add_stop_hook(None, HookMode::Thread, tell).unwrap();
    let recovered = client.recover_all(&mut |_| Ok(Stdio::default()), &within(30)).unwrap();
    let state = recovered.iter().find(|one| one.container_id == id).map(|one| one.state);
    let mut told = Vec::new();
    match client.probe(id, &if is_ending { within(30) } else { Call::new().poll() }) {
        Ok(message) => told.push(message),
        Err(e) => assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotFound), "{e}"),
    }
    let destroyed = client.destroy_container(id, grace, &within(30));
    told.extend(destroyed.iter().cloned());
    if matches!(state, Some(RecoveryState::Alive | RecoveryState::Ended)) {
        told.push(hook.recv_timeout(Duration::from_secs(30)).expect("a hook that is told"));
    }
    drop(client);
    assert!(hook.try_recv().is_err(), "no hook is told twice");
    Later { state, told, destroyed }
}

/// Has the leases of the namespace end now, which do so by themselves after a day.
fn expire_leases(plot: &Plot) {
    for row in plot.ground.ctr(&["-n", &plot.namespace, "leases", "ls"]).lines().skip(1) {
        assert!(row.contains("containerd.io/gc.expire="), "{row}");
        let id = row.split_whitespace().next().unwrap();
        plot.ground.ctr(&["-n", &plot.namespace, "leases", "rm", "--sync", id]);
    }
}

/// Makes sure that nothing is left. FIFOs of which no task told any more, so that who destroyed the
/// container did not know of them, are removed by the next run of the program.
fn assert_is_cleared(plot: &Plot, proxy: &Proxy, case: &str, had_task: bool) {
    if !had_task {
        client_behind(plot, proxy).recover_all(&mut |_| Ok(Stdio::default()), &within(30)).unwrap();
    }
    assert_nothing_is_left(plot, case);
}

#[test]
fn a_create_can_be_cleared_away_wherever_its_program_was_killed() {
    for (streams, starts) in [(true, true), (false, true), (true, false), (false, false)] {
        let shape = Shape { streams, starts };
        let plot = Plot::new();
        let proxy = proxy_of(plot.ground);
        let [calls, _] = calls_of(&plot, &proxy, shape);
        // What comes before only reads.
        let first = calls.iter().position(|call| call == "Leases/Create").unwrap();
        for death in Death::each(&calls).filter(|death| death.at >= first) {
            let case = format!("{shape:?} {death}");
            let (host, id) = maker(&plot, &proxy, shape);
            death.bring(host, &proxy);

            let later = later_run(&plot, &proxy, &id, Duration::ZERO, false);
            let state = match death {
                _ if death.has_done("Tasks/Create") => Some(RecoveryState::Alive),
                _ if death.has_done("Containers/Create") => Some(RecoveryState::NoTask),
                _ => None,
            };
            assert_eq!(later.state, state, "{case}");
            let code = death.has_done("Tasks/Start").then_some(137);
            for message in &later.told {
                assert_eq!(message.exit_code(), code, "{case}: {message:?}");
            }
            assert_eq!(later.destroyed.is_ok(), state.is_some(), "{case}: {:?}", later.destroyed);
            // What nothing refers to yet is held by a lease, and goes with it.
            let left = plot.holdings();
            let has_lease = death.has_done("Leases/Create") && !death.has_done("Leases/Delete");
            let has_snapshot = death.has_done("Snapshots/Prepare") && state.is_none();
            assert_eq!(left.leases, usize::from(has_lease), "{case}: {left:?}");
            assert_eq!(left.active_snapshots, usize::from(has_snapshot), "{case}: {left:?}");
            expire_leases(&plot);
            assert_is_cleared(&plot, &proxy, &case, state == Some(RecoveryState::Alive));
        }
    }
}

#[test]
fn a_destroy_can_be_finished_wherever_its_program_was_killed() {
    for streams in [true, false] {
        let shape = Shape { streams, starts: true };
        let plot = Plot::new();
        let proxy = proxy_of(plot.ground);
        let [_, calls] = calls_of(&plot, &proxy, shape);
        for death in Death::each(&calls) {
            let case = format!("{shape:?} {death}");
            let (mut host, id) = maker(&plot, &proxy, shape);
            make_whole(&plot, &mut host, &id, shape);
            death.bring(host, &proxy);

            let later = later_run(&plot, &proxy, &id, GRACE, death.has_done("Tasks/Kill"));
            for message in &later.told {
                assert_eq!(message.exit_code(), Some(3), "{case}: {message:?}");
            }
            let is_gone = death.has_done("Containers/Delete");
            assert_eq!(later.destroyed.is_ok(), !is_gone, "{case}: {:?}", later.destroyed);
            assert_is_cleared(&plot, &proxy, &case, !death.has_done("Tasks/Delete"));
        }
    }
}

#[test]
fn a_destroy_of_what_never_ran_tells_no_code_wherever_its_program_was_killed() {
    for streams in [true, false] {
        let shape = Shape { streams, starts: false };
        let plot = Plot::new();
        let proxy = proxy_of(plot.ground);
        let [_, calls] = calls_of(&plot, &proxy, shape);
        for death in Death::each(&calls) {
            let case = format!("{shape:?} {death}");
            let (mut host, id) = maker(&plot, &proxy, shape);
            make_whole(&plot, &mut host, &id, shape);
            death.bring(host, &proxy);

            let is_ending = death.has_done("Tasks/Kill") && !death.has_done("Tasks/Delete");
            let later = later_run(&plot, &proxy, &id, GRACE, is_ending);
            for message in &later.told {
                assert_eq!(message.exit_code(), None, "{case}: {message:?}");
            }
            let is_gone = death.has_done("Containers/Delete");
            assert_eq!(later.destroyed.is_ok(), !is_gone, "{case}: {:?}", later.destroyed);
            assert_is_cleared(&plot, &proxy, &case, !death.has_done("Tasks/Delete"));
        }
    }
}
