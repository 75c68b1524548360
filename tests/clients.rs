//! The remains of a program that is killed or stopped, and the messages that a later run of it receives.

mod ground;

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ctrd::{
    Call, ContainerConfig, ContainerInfo, DestroyConfig, Error, ErrorKind, Message, Origin,
    RecoveryState, Stdio, Stream,
};
use ground::host::{Host, Job, job};
use ground::plot::{
    GRACE, Plot, assert_nothing_is_left, client_behind, client_of, create, gently, pipe, proxy_of,
    until_it_traps, within,
};
use ground::proxy::{Fault, Proxy};
use ground::{fifos_below, runs, unique, wait_until};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

/// Not a test. This is the program of a host, which is the test program started once more.
#[test]
fn the_program() {
    let Some(job) = job() else { return };
    match job.words[0].as_str() {
        "make" => make(job),
        "talk" => talk(job),
        "watch" => watch(job),
        other => panic!("there is no job {other}"),
    }
}

/// A process that exits with 3 at a SIGTERM.
const SCRIPT: &str = "trap 'exit 3' TERM; while :; do sleep 0.01; done";

fn shell(id: &str, image: &str, script: &str) -> ContainerConfig {
    ContainerConfig::new(id).image(image).args(["/bin/sh", "-c", script])
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The shape of a container.
#[derive(Clone, Copy, Debug)]
struct Shape {
    streams: bool,
    starts: bool,
}

/// The job: makes a container and destroys it, each at a command.
fn make(job: Job) {
    let Job { client, words, mut line } = job;
    let [_, streams, starts, id, image] = &words[..] else { panic!("{words:?}") };
    let mut config = shell(id, image, SCRIPT).start(starts == "true");
    // These stay open to the end, so that the input does not end before.
    let ((input, say), (_out, stdout), (_err, stderr)) = (pipe(), pipe(), pipe());
    if streams == "true" {
        let stdio = Stdio::new().stdin(Stream::fd(input));
        config = config.stdio(stdio.stdout(Stream::fd(stdout)).stderr(Stream::fd(stderr)));
    }
    line.hear();
    create(&client, config);
    line.say("created");
    line.hear();
    client.destroy_container(id, &gently(), &Call::new()).unwrap();
    line.say("destroyed");
    drop(say);
}

/// Starts a program with this job. Also returns the id of its container.
fn maker(plot: &Plot, proxy: &Proxy, shape: Shape) -> (Host, String) {
    let id = unique("c");
    let Shape { streams, starts } = shape;
    let (streams, starts) = (streams.to_string(), starts.to_string());
    let host = Host::start(plot, &proxy.address(), &["make", &streams, &starts, &id, &plot.image]);
    (host, id)
}

/// Makes the program make its container, and waits until the container can be told to end.
fn make_whole(plot: &Plot, host: &mut Host, id: &str, shape: Shape) {
    host.tell("make it");
    host.expect("created");
    if shape.starts {
        until_it_traps(plot.client.container_pid(id, &Call::new()).unwrap(), SCRIPT);
    }
}

/// The calls of one creation and of one destruction, by a program without a fault.
fn calls_of(plot: &Plot, proxy: &Proxy, shape: Shape) -> [Vec<String>; 2] {
    let (mut host, id) = maker(plot, proxy, shape);
    proxy.take();
    make_whole(plot, &mut host, &id, shape);
    let create = proxy.take();
    host.tell("destroy it");
    host.expect("destroyed");
    let destroy = proxy.take();
    assert_nothing_is_left(plot, "a program that was not killed");
    // The client makes this call independently, at any time, when a Wait has ended.
    let own = |call: &String| call != "Version/Version";
    [create, destroy].map(|calls| calls.into_iter().filter(own).collect())
}

/// The call of an operation at which a program is killed.
struct Death<'a> {
    calls: &'a [String],
    at: usize,
    /// Whether the server has executed the call and the answer did not arrive. Otherwise the server
    /// never receives it.
    done: bool,
}

impl Death<'_> {
    /// Before and after each of these calls. Nobody waits for the answer of a Wait.
    fn each(calls: &[String]) -> impl Iterator<Item = Death<'_>> {
        (0..calls.len())
            .flat_map(move |at| [false, true].map(|done| Death { calls, at, done }))
            .filter(|death| !(death.done && death.calls[death.at] == "Tasks/Wait"))
    }

    /// Makes the program begin the operation, and kills it at this call.
    fn bring(&self, mut host: Host, proxy: &Proxy) {
        let call = &self.calls[self.at];
        let nth = self.calls[..=self.at].iter().filter(|other| *other == call).count();
        let fault = if self.done { Fault::StallAfter } else { Fault::Stall };
        let rule = proxy.at_nth(call, nth, fault);
        host.tell("go");
        rule.wait_until_fired();
        host.kill();
        // The frames that were held back are lost with the connection.
        wait_until("the end of its connection", || proxy.connections() == 0);
    }

    /// Whether the server has executed the first call of this name. A second such call has no
    /// effect.
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

/// The findings of a later run of the program.
struct Later {
    state: Option<RecoveryState>,
    /// The messages about the exit, from every source.
    told: Vec<Message>,
    destroyed: Result<Message, Error>,
}

/// Recovers everything, probes the container and destroys it, as a later run of the program at the
/// same address does. If the container is known to be ending, it waits for the end.
fn later_run(plot: &Plot, proxy: &Proxy, id: &str, grace: Duration, is_ending: bool) -> Later {
    let client = client_behind(plot, proxy);
    let (sender, hook) = mpsc::channel();
    let tell = move |message: &Message| drop(sender.send(message.clone()));
    client.on_exit(tell).unwrap();
    let recovered = client.recover_all(&mut |_| Ok(Stdio::new()), &within(30)).unwrap();
    let state = recovered.iter().find(|one| one.container_id() == id).map(|one| one.state());
    let mut told = Vec::new();
    match client.probe(id, &if is_ending { within(30) } else { Call::new().poll() }) {
        Ok(message) => told.push(message),
        // If nothing could be recovered, the container is not watched.
        Err(e) => assert!(
            matches!(
                e.kind(),
                ErrorKind::WouldBlock | ErrorKind::NotFound | ErrorKind::FailedPrecondition
            ),
            "{e}"
        ),
    }
    let destroyed = client.destroy_container(id, &DestroyConfig::new().grace(grace), &within(30));
    told.extend(destroyed.iter().cloned());
    if !matches!(state, None | Some(RecoveryState::NoTask | RecoveryState::Failed)) {
        told.push(hook.recv_timeout(Duration::from_secs(30)).expect("a hook that is told"));
    }
    drop(client);
    assert!(hook.try_recv().is_err(), "no hook is told twice");
    Later { state, told, destroyed }
}

/// Makes the leases of the namespace expire now. Without this they expire after a day.
fn expire_leases(plot: &Plot) {
    for row in plot.ground.ctr(&["-n", &plot.namespace, "leases", "ls"]).lines().skip(1) {
        assert!(row.contains("containerd.io/gc.expire="), "{row}");
        let id = row.split_whitespace().next().unwrap();
        plot.ground.ctr(&["-n", &plot.namespace, "leases", "rm", "--sync", id]);
    }
}

#[test]
fn a_create_can_be_removed_after_a_kill_at_any_step() {
    for (streams, starts) in [(true, true), (false, true), (true, false), (false, false)] {
        let shape = Shape { streams, starts };
        let plot = Plot::new();
        let proxy = proxy_of(plot.ground);
        let [calls, _] = calls_of(&plot, &proxy, shape);
        // The calls before only read.
        let first = calls.iter().position(|call| call == "Leases/Create").unwrap();
        for death in Death::each(&calls).filter(|death| death.at >= first) {
            let case = format!("{shape:?} {death}");
            let (host, id) = maker(&plot, &proxy, shape);
            death.bring(host, &proxy);

            let later = later_run(&plot, &proxy, &id, Duration::ZERO, false);
            let state = match death {
                _ if death.has_done("Tasks/Start") => Some(RecoveryState::Running),
                _ if death.has_done("Tasks/Create") => Some(RecoveryState::Created),
                _ if death.has_done("Containers/Create") => Some(RecoveryState::NoTask),
                _ => None,
            };
            assert_eq!(later.state, state, "{case}");
            let code = death.has_done("Tasks/Start").then_some(137);
            for message in &later.told {
                assert_eq!(message.exit_code(), code, "{case}: {message:?}");
            }
            assert_eq!(later.destroyed.is_ok(), state.is_some(), "{case}: {:?}", later.destroyed);
            // A lease holds what nothing refers to yet, which is removed with the lease.
            let left = plot.holdings();
            let has_lease = death.has_done("Leases/Create") && !death.has_done("Leases/Delete");
            let has_snapshot = death.has_done("Snapshots/Prepare") && state.is_none();
            assert_eq!(left.leases, usize::from(has_lease), "{case}: {left:?}");
            assert_eq!(left.active_snapshots, usize::from(has_snapshot), "{case}: {left:?}");
            expire_leases(&plot);
            assert_nothing_is_left(&plot, &case);
        }
    }
}

/// Kills a program at each call of a destroy. The reported exit has this code or none.
fn kill_in_a_destroy(starts: bool, code: Option<u32>, is_ending: impl Fn(&Death) -> bool) {
    for streams in [true, false] {
        let shape = Shape { streams, starts };
        let plot = Plot::new();
        let proxy = proxy_of(plot.ground);
        let [_, calls] = calls_of(&plot, &proxy, shape);
        for death in Death::each(&calls) {
            let case = format!("{shape:?} {death}");
            let (mut host, id) = maker(&plot, &proxy, shape);
            make_whole(&plot, &mut host, &id, shape);
            death.bring(host, &proxy);

            let later = later_run(&plot, &proxy, &id, GRACE, is_ending(&death));
            for message in &later.told {
                assert_eq!(message.exit_code(), code, "{case}: {message:?}");
            }
            let is_gone = death.has_done("Containers/Delete");
            assert_eq!(later.destroyed.is_ok(), !is_gone, "{case}: {:?}", later.destroyed);
            assert_nothing_is_left(&plot, &case);
        }
    }
}

#[test]
fn a_destroy_can_be_finished_after_a_kill_at_any_step() {
    kill_in_a_destroy(true, Some(3), |death| death.has_done("Tasks/Kill"));
}

#[test]
fn a_killed_destroy_leaves_no_code_for_a_process_that_never_ran() {
    kill_in_a_destroy(false, None, |death| {
        death.has_done("Tasks/Kill") && !death.has_done("Tasks/Delete")
    });
}

/// A process that writes a line at a SIGUSR1, and a file after that.
const LONELY: &str = "trap 'echo meanwhile; : > /written' USR1; trap 'exit 7' TERM; \
                      while :; do sleep 0.01; done";

/// The job: talks to one container, and has two others.
fn talk(job: Job) {
    let Job { client, words, mut line } = job;
    let [_, talking, lonely, ending, image] = &words[..] else { panic!("{words:?}") };
    let create_with = |id: &str, script: &str, stdin: File, stdout: OwnedFd| {
        let stdio = Stdio::new().stdin(Stream::fd(stdin)).stdout(Stream::fd(stdout));
        create(&client, shell(id, image, script).stdio(stdio));
    };
    let ((mut output, stdout), (stdin, input)) = (pipe(), pipe());
    create_with(talking, "read x; echo got $x; read x; echo got $x; exit 6", stdin, stdout);
    let ((_output, stdout), (stdin, _input)) = (pipe(), pipe());
    create_with(lonely, LONELY, stdin, stdout);
    create(&client, shell(ending, image, SCRIPT));
    // This stays open until the program is killed, because closing it would end the container's
    // input.
    let mut input = File::from(input);
    input.write_all(b"one\n").unwrap();
    let mut answer = [0; 8];
    output.read_exact(&mut answer).unwrap();
    line.say(String::from_utf8_lossy(&answer).trim_end());
    line.hear();
}

/// The FIFOs of the plot's containers.
fn fifos(plot: &Plot) -> Vec<String> {
    let name = format!("/{}+", plot.namespace);
    let mut fifos = fifos_below(plot.ground.dir());
    fifos.retain(|path| path.contains(&name));
    fifos.sort();
    fifos
}

#[test]
fn containers_of_a_killed_program_are_taken_over_with_their_streams() {
    let plot = Plot::new();
    let [talking, lonely, ending] = [(); 3].map(|()| unique("c"));
    let words = ["talk", &talking, &lonely, &ending, &plot.image];
    let mut host = Host::start(&plot, plot.ground.address(), &words);
    host.expect("got one");
    let process = |id: &str| plot.client.container_pid(id, &Call::new()).unwrap();
    let [writer, ended] = [(&lonely, LONELY), (&ending, SCRIPT)].map(|(id, script)| {
        until_it_traps(process(id), script);
        process(id)
    });
    let standing = fifos(&plot);
    assert_eq!(standing.len(), 6, "{standing:?}");
    host.kill();

    signal(ended, Signal::TERM);
    wait_until("an end that nobody sees", || !runs(ended));
    signal(writer, Signal::USR1);
    let written = PathBuf::from(format!("/proc/{writer}/root/written"));
    wait_until("output that nobody sees", || written.exists());

    let client = client_of(&plot);
    let (sender, hook) = mpsc::channel();
    let tell = move |message: &Message| drop(sender.send(message.clone()));
    client.on_exit(tell).unwrap();
    let ((mut answers, stdout), (stdin, input)) = (pipe(), pipe());
    let mut to_talking = Some(Stdio::new().stdin(Stream::fd(stdin)).stdout(Stream::fd(stdout)));
    let (mut unseen, stdout) = pipe();
    let mut of_lonely = Some(Stdio::new().stdout(Stream::fd(stdout)));
    let mut streams = |info: &ContainerInfo| {
        let streams = match info.id() {
            id if id == talking => to_talking.take(),
            id if id == lonely => of_lonely.take(),
            _ => None,
        };
        Ok(streams.unwrap_or_default())
    };
    let recovered = client.recover_all(&mut streams, &within(30)).unwrap();
    let state = |id: &str| recovered.iter().find(|one| one.container_id() == id).unwrap().state();
    let states = [&talking, &lonely, &ending].map(|id| state(id));
    let [running, ended] = [RecoveryState::Running, RecoveryState::Ended];
    assert_eq!(states, [running, running, ended], "{recovered:?}");
    assert_eq!(fifos(&plot), standing);

    File::from(input).write_all(b"two\n").unwrap();
    let exit = |id| client.probe(id, &within(30)).unwrap();
    assert_eq!((exit(&talking).exit_code(), exit(&talking).origin()), (Some(6), Origin::Live));
    assert_eq!((exit(&ending).exit_code(), exit(&ending).origin()), (Some(3), Origin::Recovered));
    signal(writer, Signal::TERM);
    assert_eq!((exit(&lonely).exit_code(), exit(&lonely).origin()), (Some(7), Origin::Live));
    let mut told = [(); 3].map(|()| {
        let message = hook.recv_timeout(Duration::from_secs(30)).unwrap();
        (message.container_id().to_owned(), message.exit_code())
    });
    told.sort();
    let mut exits =
        [(&talking, 6), (&lonely, 7), (&ending, 3)].map(|(id, n)| (id.clone(), Some(n)));
    exits.sort();
    assert_eq!(told, exits);
    for (id, code) in exits {
        let message = client.destroy_container(&id, &gently(), &within(30)).unwrap();
        assert_eq!(message.exit_code(), code, "{id}");
    }
    assert!(hook.try_recv().is_err(), "no hook is told twice");
    let mut text = String::new();
    answers.read_to_string(&mut text).unwrap();
    unseen.read_to_string(&mut text).unwrap();
    assert_eq!(text, "got two\nmeanwhile\n");
    assert_nothing_is_left(&plot, "a program that was killed and started again");
}

/// How many numbers a container writes: many times more than the FIFOs can hold.
const NUMBERS: usize = 200_000;

/// A process that exits with this number at a SIGTERM. The first one writes its output before.
fn script(number: usize) -> String {
    let write = if number == 0 { format!("seq {NUMBERS}; ") } else { String::new() };
    format!("trap '{write}exit {number}' TERM; while :; do sleep 0.01; done")
}

/// The job: makes containers, and reports their exits.
fn watch(job: Job) {
    let Job { client, words, mut line } = job;
    let [_, image, output, ids @ ..] = &words[..] else { panic!("{words:?}") };
    let (sender, told) = mpsc::channel();
    let of = |who: &str, message: &Message| {
        format!("{who} {} {}", message.container_id(), message.exit_code().unwrap())
    };
    let hook = sender.clone();
    let tell = move |message: &Message| hook.send(of("hook", message)).unwrap();
    client.on_exit(tell).unwrap();
    let create_one = |number: usize| {
        let mut config = shell(&ids[number], image, &script(number));
        if number == 0 {
            let output = Stream::fd(File::create(output).unwrap());
            config = config.stdio(Stdio::new().stdout(output));
        }
        create(&client, config);
    };
    let (last, first) = ids.split_last().unwrap();
    (0..first.len()).for_each(create_one);
    line.say("made");
    thread::scope(|scope| {
        for id in first {
            let (client, sender) = (&client, sender.clone());
            scope.spawn(move || sender.send(of("probe", &client.probe(id, &within(60)).unwrap())));
        }
        line.hear();
        create_one(first.len());
        line.say("created");
        (0..2 * first.len()).for_each(|_| line.say(told.recv().unwrap()));
    });
    line.hear();
    for id in first.iter().chain([last]) {
        let message = client.destroy_container(id, &gently(), &Call::new()).unwrap();
        line.say(of("destroy", &message));
    }
    line.say(told.recv().unwrap());
    client.close(&within(30)).unwrap();
    // Reports any surplus messages.
    told.try_iter().for_each(|more| line.say(more));
    line.say("done");
}

#[test]
fn a_program_that_was_stopped_learns_what_happened_meanwhile() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    let output = plot.ground.dir().join(unique("output"));
    let ids = [(); 5].map(|()| unique("c"));
    let mut words = vec!["watch", &plot.image, output.to_str().unwrap()];
    words.extend(ids.iter().map(String::as_str));
    let mut host = Host::start(&plot, &proxy.address(), &words);
    host.expect("made");
    let process = |number: usize| {
        let pid = plot.client.container_pid(&ids[number], &Call::new()).unwrap();
        until_it_traps(pid, &script(number));
        pid
    };
    let [writer, one, other, late] = [0, 1, 2, 3].map(process);

    // The host is in the middle of a call whose answer comes while the host is stopped.
    let rule = proxy.at("Tasks/Start", Fault::StallAfter);
    host.tell("create the last");
    rule.wait_until_fired();
    host.stop();
    rule.release();
    signal(writer, Signal::TERM);
    [one, other].into_iter().for_each(|pid| signal(pid, Signal::TERM));
    wait_until("two ends", || !runs(one) && !runs(other));
    let fifo = fifos(&plot).into_iter().find(|path| path.ends_with("-stdout")).unwrap();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(&fifo, flags, Mode::empty()).unwrap();
    let holds = u64::try_from(rustix::pipe::fcntl_getpipe_size(&fifo).unwrap()).unwrap();
    wait_until("a full FIFO", || rustix::io::ioctl_fionread(&fifo).unwrap() == holds);
    drop(fifo);
    assert!(runs(writer), "it waits for somebody to read");
    assert_eq!(fs::metadata(&output).unwrap().len(), 0);

    host.go_on();
    signal(late, Signal::TERM);
    host.expect("created");
    let mut told: Vec<String> = (0..8).map(|_| host.hear()).collect();
    told.sort();
    let of = |who: &str, number: usize| format!("{who} {} {number}", ids[number]);
    let mut exits: Vec<String> = ["hook", "probe"]
        .into_iter()
        .flat_map(|who| (0..4).map(move |n| (who, n)))
        .map(|(who, n)| of(who, n))
        .collect();
    exits.sort();
    assert_eq!(told, exits);
    process(4);
    host.tell("destroy all");
    (0..5).for_each(|number| host.expect(&of("destroy", number)));
    host.expect(&of("hook", 4));
    host.expect("done");
    let numbers: String = (1..=NUMBERS).map(|number| format!("{number}\n")).collect();
    assert!(fs::read_to_string(&output).unwrap() == numbers, "all of the output came");
    assert_nothing_is_left(&plot, "a program that was stopped");
}

#[test]
fn a_killed_undo_leaves_no_code_for_a_process_that_never_ran() {
    let plot = Plot::new();
    let proxy = proxy_of(plot.ground);
    // The container ends between these two calls, and the task exists.
    for (call, fault) in [("Tasks/Kill", Fault::StallAfter), ("Tasks/Delete", Fault::Stall)] {
        let (mut host, id) = maker(&plot, &proxy, Shape { streams: true, starts: true });
        let start = proxy.at("Tasks/Start", Fault::Fail(2, "no start"));
        let rule = proxy.at(call, fault);
        host.tell("make it");
        rule.wait_until_fired();
        start.wait_until_fired();
        host.kill();
        wait_until("the end of its connection", || proxy.connections() == 0);

        let later = later_run(&plot, &proxy, &id, GRACE, true);
        for message in &later.told {
            assert_eq!(message.exit_code(), None, "{call}: {message:?}");
        }
        assert!(later.destroyed.is_ok(), "{call}: {:?}", later.destroyed);
        expire_leases(&plot);
        assert_nothing_is_left(&plot, call);
    }
}
