//! The private containerd: started, killed, restarted, stopped. The tests need root, containerd,
//! runc and busybox.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ctrd::{Call, Cancel, Client, ClientConfig, Daemon, DaemonConfig, Error, ErrorKind};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};

/// No signal, in the format of `/proc`.
const NONE: &str = "0000000000000000";

/// The directories of one test: one for the daemon and one for the test itself. The end of the test
/// removes what is left of them, even if the test fails.
struct Place {
    scratch: PathBuf,
    daemon: PathBuf,
}

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = PathBuf::from(format!("/tmp/ctrd-daemon-{}-{count}", std::process::id()));
        fs::create_dir(&scratch).expect("the tests need root, and /tmp");
        Place { daemon: scratch.join("d"), scratch }
    }

    fn config(&self) -> DaemonConfig {
        DaemonConfig::new(&self.daemon)
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.config(), &Call::new()).unwrap()
    }

    /// A program with this text.
    fn script(&self, text: &str) -> PathBuf {
        let file = self.scratch.join("script");
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn fails(&self, config: &DaemonConfig, call: &Call) -> Error {
        Daemon::start(config, call).map(|_| ()).unwrap_err()
    }

    /// Runs a container that sleeps, and returns its process.
    fn container(&self, id: &str) -> u32 {
        let rootfs = self.scratch.join("rootfs");
        if !rootfs.exists() {
            fs::create_dir_all(rootfs.join("bin")).unwrap();
            fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
            symlink("busybox", rootfs.join("bin/sleep")).unwrap();
        }
        let rootfs = rootfs.to_str().unwrap();
        let id = self.id(id);
        self.ctr(&["run", "-d", "--null-io", "--rootfs", rootfs, &id, "/bin/sleep", "1000"]);
        self.pid(&id).unwrap()
    }

    /// The process of a running container, as containerd knows it.
    fn pid(&self, id: &str) -> Option<u32> {
        let tasks = self.ctr(&["task", "ls"]);
        let row = tasks.lines().find(|row| row.starts_with(id))?;
        assert!(row.trim_end().ends_with("RUNNING"), "{row}");
        row.split_whitespace().nth(1)?.parse().ok()
    }

    /// Runs `ctr`, another client, and returns its output.
    fn ctr(&self, arguments: &[&str]) -> String {
        let output = Command::new("ctr").arg("-a").arg(self.socket()).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.daemon.join("containerd.sock")
    }

    fn client(&self) -> Result<Client, Error> {
        let address = self.socket();
        Client::open(&ClientConfig::new().address(address.to_str().unwrap()), &Call::new())
    }

    /// The containerd that runs in this directory.
    fn containerd(&self) -> Option<u32> {
        let daemons = self.processes().into_iter();
        daemons.filter(|(_, line)| line.contains("--config")).map(|(pid, _)| pid).next()
    }

    /// An id that no other test's container has. The whole machine shares runc's state.
    fn id(&self, id: &str) -> String {
        format!("{}-{id}", self.scratch.file_name().unwrap().to_str().unwrap())
    }

    /// The processes that name the daemon's directory: containerd and shims.
    fn processes(&self) -> Vec<(u32, String)> {
        let needle = format!("{}/", self.daemon.display());
        let line = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        };
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, line(pid).filter(|line| line.contains(&needle))?)))
            .collect()
    }

    /// Asserts that nothing of the daemon and its containers is left.
    fn assert_gone(&self, containers: &[u32]) {
        assert_eq!(self.processes(), []);
        for pid in containers {
            assert!(!runs(*pid), "{pid}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.scratch.to_str().unwrap()), "{mounts}");
        assert!(!self.daemon.exists());
        let mine = self.id("");
        for entry in fs::read_dir("/run/containerd/runc/default").into_iter().flatten() {
            let entry = entry.unwrap().file_name();
            assert!(!entry.to_string_lossy().starts_with(&mine), "{entry:?}");
        }
        for cgroup in ["/sys/fs/cgroup/pids/default", "/sys/fs/cgroup/default"] {
            for entry in fs::read_dir(cgroup).into_iter().flatten() {
                let entry = entry.unwrap().file_name();
                assert!(!entry.to_string_lossy().starts_with(&mine), "{entry:?}");
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The daemon was dropped before. `assert_gone` has checked that it left nothing.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Stops a process, and waits until all of its threads have stopped.
fn stop(pid: u32) {
    kill(pid, Signal::STOP);
    let tasks = format!("/proc/{pid}/task");
    wait_until("all threads to stop", || {
        fs::read_dir(&tasks).unwrap().all(|task| {
            let task = task.unwrap().file_name().into_string().unwrap();
            status(task.parse().unwrap(), "State").is_none_or(|state| state.starts_with('T'))
        })
    });
}

/// Whether a process runs. A zombie does not.
fn runs(pid: u32) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

/// A field of `/proc/<pid>/status`.
fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The sockets of the shims of this daemon's tasks, which are outside of its directory.
fn shim_sockets(place: &Place) -> Vec<PathBuf> {
    let bundles = place.daemon.join("state/io.containerd.runtime.v2.task/default");
    fs::read_dir(bundles)
        .unwrap()
        .map(|bundle| {
            let bundle = bundle.unwrap().path();
            // The first file before containerd 2.0, the second since.
            let text = fs::read_to_string(bundle.join("address"))
                .or_else(|_| fs::read_to_string(bundle.join("bootstrap.json")))
                .unwrap();
            let (_, rest) = text.split_once("unix://").unwrap();
            PathBuf::from(rest.split('"').next().unwrap())
        })
        .collect()
}

/// Runs this program again, as a process that a test can kill or whose environment it can choose.
fn helper(job: &str, place: &Place) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "helper_process", "--nocapture"])
        .env("CTRD_DAEMON_HELPER", job)
        .env("CTRD_DAEMON_DIRECTORY", &place.daemon);
    command
}

/// Starts a helper that starts a daemon, and waits until the daemon runs.
fn host(helper: &mut Command) -> Child {
    let mut host = helper.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(host.stdout.as_mut().unwrap()).lines();
    assert!(output.map_while(Result::ok).any(|line| line.ends_with("started")));
    host
}

fn output_of(command: &mut Command) -> String {
    let Output { stdout, stderr, .. } = command.output().unwrap();
    String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr)
}

/// Not a test. This is the program that `helper` runs.
#[test]
fn helper_process() {
    let Some(job) = std::env::var_os("CTRD_DAEMON_HELPER") else { return };
    let directory = std::env::var_os("CTRD_DAEMON_DIRECTORY").unwrap();
    let config = DaemonConfig::new(directory).outlive_owner(job == "outlive");
    match job.to_str().unwrap() {
        "start" | "outlive" => match Daemon::start(&config, &Call::new()) {
            Ok(_daemon) => {
                println!("started");
                loop {
                    std::thread::park();
                }
            }
            Err(error) => println!("failed: {error}"),
        },
        "count" => {
            let count = || {
                // gRPC's idle threads come and go. Our threads have our name.
                let ours = fs::read_dir("/proc/self/task").unwrap().filter(|task| {
                    let comm = task.as_ref().unwrap().path().join("comm");
                    fs::read_to_string(comm).is_ok_and(|name| name.starts_with("ctrd-"))
                });
                (ours.count(), fs::read_dir("/proc/self/fd").unwrap().count())
            };
            let round = || {
                let daemon = Daemon::start(&config, &Call::new()).unwrap();
                for restarts in 1..=2 {
                    kill(daemon.pid(), Signal::KILL);
                    comes_back(&daemon, restarts);
                }
                daemon.stop(&Call::new()).unwrap();
            };
            // gRPC keeps what it makes on first use.
            round();
            let before = count();
            for _ in 0..5 {
                round();
            }
            // gRPC's own thread closes a connection's descriptor after the drop.
            let start = Instant::now();
            while count() != before && start.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(10));
            }
            println!("counted: {before:?} {:?}", count());
        }
        "reap" => {
            std::thread::spawn(|| {
                loop {
                    // Waits for any child.
                    if rustix::process::wait(WaitOptions::empty()).is_err() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            let daemon = Daemon::start(&config, &Call::new()).unwrap();
            for restarts in 1..=3 {
                kill(daemon.pid(), Signal::KILL);
                comes_back(&daemon, restarts);
            }
            daemon.stop(&Call::new()).unwrap();
            println!("came back: {}", daemon.restarts());
        }
        job => panic!("{job}"),
    }
}

/// Waits until a containerd that was killed listens again.
fn comes_back(daemon: &Daemon, restarts: u64) {
    wait_until("it does not come back", || {
        daemon.restarts() >= restarts
            && daemon.is_running()
            && UnixStream::connect(daemon.address()).is_ok()
    });
}

#[test]
fn runs_containers_and_leaves_nothing() {
    let place = Place::new();
    // Descriptors that the host passes on at an exec must not reach the child all the same.
    let inheritable = File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&inheritable, rustix::io::FdFlags::empty()).unwrap();

    let daemon = place.start();
    assert_eq!(fs::metadata(&place.daemon).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(daemon.address(), place.socket().to_str().unwrap());
    let client = place.client().unwrap();
    assert!(!client.version(&Call::new()).unwrap().version().is_empty());

    let container = place.container("a");
    let sockets = shim_sockets(&place);
    assert_eq!(sockets.len(), 1);
    assert!(sockets[0].exists());
    let mut pids: Vec<u32> = place.processes().into_iter().map(|(pid, _)| pid).collect();
    assert!(pids.contains(&daemon.pid()));
    assert_eq!(pids.len(), 2, "containerd and a shim");
    pids.push(container);
    // Go may park a program's first thread with another mask. The other threads have the mask with
    // which the program was started, once they run.
    let masks = |pid: u32| -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .filter(|task| *task != pid)
            .filter_map(|task: u32| status(task, "SigBlk"))
            .collect()
    };
    assert_eq!(status(container, "SigBlk").unwrap(), NONE);
    for pid in &pids[..2] {
        // One thread is enough. Go gives each of its threads the mask with which the program was
        // started, but a thread that is just being made may have another one.
        wait_until("signals are blocked", || masks(*pid).iter().any(|mask| mask == NONE));
    }
    for pid in pids {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert_ne!(target, Path::new("/etc/passwd"));
        }
    }
    // The test's own process ignores SIGPIPE, as every Rust program does. (Signals 32 and 33 belong
    // to the C library, which lets nobody change them.)
    let ignored = |pid: u32| {
        let mask = status(pid, "SigIgn").unwrap();
        u64::from_str_radix(&mask, 16).unwrap() & !(0b11 << 31)
    };
    assert_ne!(ignored(std::process::id()), 0);
    assert_eq!(ignored(container), 0);

    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
    assert!(!sockets[0].exists());
    daemon.stop(&Call::new()).unwrap();
}

#[test]
fn every_thread_of_ours_blocks_every_signal() {
    let place = Place::new();
    let _daemon = place.start();
    let mut seen = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        if status.starts_with("Name:\tctrd-daemon") {
            // All except SIGKILL, SIGSTOP, and the two that the C library keeps for itself.
            assert!(status.contains("SigBlk:\tfffffffe7ffbfeff"), "{status}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn is_stopped_when_dropped() {
    let place = Place::new();
    let daemon = place.start();
    let container = place.container("a");
    drop(daemon);
    place.assert_gone(&[container]);
}

#[test]
fn cleans_up_by_itself_after_containerd_was_killed() {
    let place = Place::new();
    let config = place.config().restart(false);
    let daemon = Daemon::start(&config, &Call::new()).unwrap();
    let containers = [place.container("a"), place.container("b")];
    place.ctr(&["task", "pause", &place.id("b")]);
    let sockets = shim_sockets(&place);
    kill(daemon.pid(), Signal::KILL);
    // One shim is dead too, and one is stuck. Of the dead one, only the container is left.
    let shims: Vec<_> =
        place.processes().into_iter().filter(|(_, line)| line.contains("-namespace")).collect();
    assert_eq!(shims.len(), 2);
    for (pid, line) in shims {
        if line.contains(&place.id("a")) { kill(pid, Signal::KILL) } else { stop(pid) }
    }
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&containers);
    assert_eq!(sockets.len(), 2);
    assert!(sockets.iter().all(|socket| !socket.exists()));
}

#[test]
fn stops_beside_a_stuck_shim() {
    let place = Place::new();
    let daemon = place.start();
    let containers = [place.container("a"), place.container("b")];
    let stuck = place.id("a");
    let (shim, _) = place
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains("-namespace") && line.contains(&stuck))
        .unwrap();
    stop(shim);
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&containers);
}

#[test]
fn a_stuck_containerd_is_killed() {
    let place = Place::new();
    let daemon = place.start();
    let container = place.container("a");
    stop(daemon.pid());
    let brief = Call::new().timeout(Duration::from_millis(200));
    assert_eq!(daemon.stop(&brief).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(runs(daemon.pid()), "the first stop has not come to killing it");
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn nothing_that_is_mounted_in_the_directory_is_removed() {
    let place = Place::new();
    let daemon = place.start();
    let precious = place.scratch.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "kept").unwrap();
    let point = place.daemon.join("root/a mount");
    fs::create_dir(&point).unwrap();
    rustix::mount::mount_bind(&precious, &point).unwrap();
    assert!(point.join("file").exists());
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[]);
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
}

#[test]
fn a_stop_that_was_cut_short_is_taken_up() {
    let place = Place::new();
    let daemon = place.start();
    let container = place.container("a");
    assert_eq!(daemon.stop(&Call::new().poll()).unwrap_err().kind(), ErrorKind::WouldBlock);
    let cancel = Cancel::new();
    cancel.fire();
    let error = daemon.stop(&Call::new().cancel(&cancel)).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Cancelled, "daemon_stop"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| daemon.stop(&Call::new()).unwrap());
        }
    });
    place.assert_gone(&[container]);
}

#[test]
fn one_daemon_a_directory() {
    let place = Place::new();
    let daemon = place.start();
    let error = place.fails(&place.config(), &Call::new());
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("another daemon runs in it"), "{error}");
    assert!(runs(daemon.pid()));
    place.ctr(&["version"]);
    daemon.stop(&Call::new()).unwrap();
    place.start().stop(&Call::new()).unwrap();
    place.assert_gone(&[]);
}

/// A process that SIGKILL ends while its daemon runs a container, and the next process.
fn killed_owner(job: &str, containerd_lives: bool) {
    let place = Place::new();
    let mut host = host(&mut helper(job, &place));
    let first = place.containerd().unwrap();
    let container = place.container("a");
    host.kill().unwrap();
    host.wait().unwrap();
    if containerd_lives {
        // It answers, and still works as before.
        let other = place.container("b");
        place.ctr(&["task", "kill", "-s", "KILL", &place.id("b")]);
        wait_until("the other container lives", || !runs(other));
        assert!(runs(first));
    } else {
        // The parent-death signal ends containerd.
        wait_until("containerd outlives its process", || !runs(first));
    }
    assert!(runs(container));

    let daemon = place.start();
    assert!(!runs(first));
    assert_eq!(place.containerd(), Some(daemon.pid()));
    assert_eq!(place.pid(&place.id("a")), Some(container));
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn takes_over_what_a_killed_process_left() {
    killed_owner("start", false);
}

#[test]
fn takes_over_from_a_containerd_that_outlived_its_owner() {
    killed_owner("outlive", true);
}

#[test]
fn one_that_is_to_outlive_its_owner_is_left_by_the_drop_and_ended_by_the_stop() {
    let place = Place::new();
    let config = place.config().outlive_owner(true);
    let start = || Daemon::start(&config, &Call::new()).unwrap();
    let daemon = start();
    let first = daemon.pid();
    let container = place.container("a");
    drop(daemon);
    assert!(runs(first));
    drop(place.client().unwrap());

    // It dies while nobody can start it again.
    kill(first, Signal::KILL);
    wait_until("it is not reaped", || status(first, "State").is_none());
    let daemon = start();
    assert_eq!(place.pid(&place.id("a")), Some(container));
    // It is supervised like any other.
    kill(daemon.pid(), Signal::KILL);
    wait_until("it is not started again", || daemon.restarts() == 1 && daemon.is_running());
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn the_drop_finishes_a_stop_that_was_begun() {
    let place = Place::new();
    let config = place.config().outlive_owner(true);
    let daemon = Daemon::start(&config, &Call::new()).unwrap();
    let container = place.container("a");
    stop(daemon.pid());
    let brief = Call::new().timeout(Duration::from_millis(200));
    assert_eq!(daemon.stop(&brief).unwrap_err().kind(), ErrorKind::Timeout);
    drop(daemon);
    place.assert_gone(&[container]);
}

#[test]
fn a_killed_containerd_comes_back_and_its_containers_live_on() {
    let place = Place::new();
    let daemon = place.start();
    let client = place.client().unwrap();
    let container = place.container("a");
    assert_eq!((daemon.restarts(), daemon.is_running()), (0, true));
    assert!(daemon.last_error().is_none());
    for round in 1..=3 {
        let before = daemon.pid();
        kill(before, Signal::KILL);
        wait_until("it is not started again", || daemon.restarts() == round && daemon.is_running());
        assert_ne!(daemon.pid(), before);
        let error = daemon.last_error().unwrap();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains("signal 9"), "{error}");
        wait_until("the client does not find it", || client.version(&Call::new()).is_ok());
        assert_eq!(place.containerd(), Some(daemon.pid()));
    }
    assert!(runs(container));
    assert_eq!(place.pid(&place.id("a")), Some(container));
    let new = place.container("b");
    assert_eq!(status(new, "SigBlk").unwrap(), NONE);
    daemon.stop(&Call::new()).unwrap();
    assert_eq!((daemon.pid(), daemon.is_running(), daemon.restarts()), (0, false, 3));
    place.assert_gone(&[container, new]);
}

#[test]
fn an_id_can_be_used_again_though_the_removal_of_its_bundle_was_cut_short() {
    let place = Place::new();
    let daemon = place.start();
    let first = place.container("a");
    let id = place.id("a");
    let shim = place.processes().into_iter().find(|(_, line)| line.contains("-namespace"));
    let (shim, _) = shim.unwrap();
    // containerd was killed between the renaming of an earlier bundle and the removal of its files.
    let bundles = place.daemon.join("state/io.containerd.runtime.v2.task/default");
    assert!(bundles.join(&id).exists());
    let renamed = bundles.join(format!(".{id}"));
    fs::create_dir(&renamed).unwrap();
    fs::write(renamed.join("config.json"), "{}").unwrap();
    kill(daemon.pid(), Signal::KILL);
    kill(shim, Signal::KILL);
    wait_until("containerd does not come up", || {
        daemon.restarts() == 1 && place.client().is_ok_and(|c| c.version(&Call::new()).is_ok())
    });
    wait_until("containerd keeps the task", || !place.ctr(&["task", "ls"]).contains(&id));
    place.ctr(&["container", "rm", &id]);
    let second = place.container("a");
    assert!(!renamed.exists());
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[first, second]);
}

#[test]
fn a_masked_host_gives_no_mask_to_what_it_restarts() {
    let place = Place::new();
    let helper = helper("start", &place);
    // Every signal is blocked in the thread that starts the daemon.
    let mut masked = Command::new("env");
    masked.arg("--block-signal").arg(helper.get_program()).args(helper.get_args());
    for (name, value) in helper.get_envs() {
        masked.env(name, value.unwrap());
    }
    let mut host = host(&mut masked);
    assert_eq!(status(host.id(), "SigBlk").unwrap(), "fffffffe7ffbfeff");
    let first = place.containerd().unwrap();
    kill(first, Signal::KILL);
    wait_until("it is not started again", || place.containerd().is_some_and(|pid| pid != first));
    wait_until("containerd does not come up", || place.client().is_ok());
    let container = place.container("a");
    assert_eq!(status(container, "SigBlk").unwrap(), NONE);
    host.kill().unwrap();
    host.wait().unwrap();
    place.start().stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn a_host_that_reaps_every_child_is_no_obstacle() {
    let place = Place::new();
    let output = output_of(&mut helper("reap", &place));
    assert!(output.contains("came back: 3"), "{output}");
    place.assert_gone(&[]);
}

/// A containerd program that a test can remove.
struct Binary {
    link: PathBuf,
    count: PathBuf,
}

impl Binary {
    fn new(place: &Place) -> Binary {
        fs::create_dir(place.scratch.join("bin")).unwrap();
        let binary = Binary {
            link: place.scratch.join("bin/containerd"),
            count: place.scratch.join("count"),
        };
        binary.repair();
        binary
    }

    fn config(&self, place: &Place) -> DaemonConfig {
        place.config().binary(&self.link)
    }

    fn repair(&self) {
        let _ = fs::remove_file(&self.link);
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|directory| directory.join("containerd"));
        symlink(found.into_iter().find(|file| file.exists()).unwrap(), &self.link).unwrap();
    }

    /// From now on it fails, and counts its runs.
    fn spoil(&self, place: &Place) {
        let count = self.count.display();
        let script =
            place.script(&format!("echo run >> {count}\necho \"no such luck\" >&2\nexit 1"));
        fs::rename(script, &self.link).unwrap();
    }

    /// How many times the failing program was run.
    fn runs(&self) -> u64 {
        fs::read_to_string(&self.count).unwrap_or_default().lines().count() as u64
    }
}

#[test]
fn one_that_cannot_be_restarted_is_tried_again_ever_more_rarely() {
    let place = Place::new();
    let binary = Binary::new(&place);
    let daemon = Daemon::start(&binary.config(&place), &Call::new()).unwrap();
    let client = place.client().unwrap();
    let container = place.container("a");
    binary.spoil(&place);
    let killed = Instant::now();
    kill(daemon.pid(), Signal::KILL);
    // At once, and after 100, 200, 400 and 800 ms.
    wait_until("it is not tried again", || daemon.restarts() >= 5);
    assert!(killed.elapsed() >= Duration::from_millis(1500), "{:?}", killed.elapsed());
    wait_until("it was not run", || binary.runs() >= 5);
    wait_until("its end is not noticed", || {
        let error = daemon.last_error().unwrap();
        error.message().contains("exit code 1") && error.message().contains("no such luck")
    });
    assert!(binary.runs() <= daemon.restarts());

    // The program is missing altogether, and comes back.
    fs::remove_file(&binary.link).unwrap();
    let last = || daemon.last_error().unwrap();
    wait_until("it is not missed", || last().kind() == ErrorKind::NotFound);
    let error = last();
    assert_eq!(error.failed_step(), Some("run containerd"));
    assert!(error.message().contains(binary.link.to_str().unwrap()), "{error}");
    assert_eq!((daemon.is_running(), daemon.pid()), (false, 0));
    assert!(runs(container));
    binary.repair();
    wait_until("the client does not find it", || client.version(&Call::new()).is_ok());
    assert!(daemon.is_running());
    assert_eq!(place.pid(&place.id("a")), Some(container));
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn a_stop_ends_a_series_of_restarts() {
    let place = Place::new();
    let binary = Binary::new(&place);
    let daemon = Daemon::start(&binary.config(&place), &Call::new()).unwrap();
    let container = place.container("a");
    binary.spoil(&place);
    kill(daemon.pid(), Signal::KILL);
    wait_until("it is not tried again", || daemon.restarts() >= 4);
    daemon.stop(&Call::new()).unwrap();
    let (restarts, runs) = (daemon.restarts(), binary.runs());
    place.assert_gone(&[container]);
    // Longer than the delay of the next restart.
    std::thread::sleep(Duration::from_millis(2000));
    assert_eq!((daemon.restarts(), binary.runs()), (restarts, runs));
    place.assert_gone(&[container]);
}

#[test]
fn stops_while_it_is_being_restarted() {
    // Each delay makes the stop meet the restart at another point.
    for delay in [0, 1, 3, 10, 30, 100, 300] {
        let place = Place::new();
        let daemon = place.start();
        let container = place.container("a");
        kill(daemon.pid(), Signal::KILL);
        std::thread::sleep(Duration::from_millis(delay));
        if delay % 2 == 0 {
            daemon.stop(&Call::new()).unwrap();
        } else {
            drop(daemon);
        }
        place.assert_gone(&[container]);
    }
}

#[test]
fn without_restart_a_dead_containerd_stays_dead() {
    let place = Place::new();
    let config = place.config().restart(false);
    let daemon = Daemon::start(&config, &Call::new()).unwrap();
    let client = place.client().unwrap();
    let container = place.container("a");
    kill(daemon.pid(), Signal::KILL);
    wait_until("its end is not noticed", || daemon.last_error().is_some());
    // The first restart would be immediate.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((daemon.is_running(), daemon.pid(), daemon.restarts()), (false, 0, 0));
    assert_eq!(place.containerd(), None);
    let brief = Call::new().timeout(Duration::from_millis(500));
    assert!(client.version(&brief).is_err());
    assert!(runs(container));
    daemon.stop(&Call::new()).unwrap();
    place.assert_gone(&[container]);
}

#[test]
fn says_what_is_not_installed() {
    let place = Place::new();
    let path = |programs: &[&str]| {
        let bin = place.scratch.join("bin");
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir(&bin).unwrap();
        for program in programs {
            symlink("/bin/true", bin.join(program)).unwrap();
        }
        output_of(helper("start", &place).env("PATH", &bin))
    };
    for (there, missing) in [
        (&[][..], "containerd is not installed"),
        (&["containerd"][..], "containerd-shim-runc-v2 is not installed"),
        (&["containerd", "containerd-shim-runc-v2"][..], "runc is not installed"),
    ] {
        let output = path(there);
        assert!(output.contains(missing), "{output}");
        assert!(output.contains("failed: daemon_start /tmp/"), "{output}");
    }
    for (bad, kind) in [
        ("/nonexistent/containerd", ErrorKind::NotFound),
        ("/etc/passwd", ErrorKind::PermissionDenied),
        ("/tmp", ErrorKind::PermissionDenied),
        ("no-such-containerd", ErrorKind::NotFound),
        ("./x", ErrorKind::InvalidArgument),
    ] {
        let config = place.config().binary(bad);
        let error = place.fails(&config, &Call::new());
        assert_eq!(error.kind(), kind, "{bad}: {error:?}");
        assert!(error.message().contains(bad), "{error}");
    }
    assert!(!place.daemon.exists());
}

#[test]
fn an_early_death_is_reported_with_the_log() {
    let place = Place::new();
    let dying = "echo early >&2; echo \"the last words\" >&2; exit 3";
    let config = place.config().binary(place.script(dying));
    let error = place.fails(&config, &Call::new());
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(error.failed_step(), Some("wait for containerd"));
    assert!(error.message().contains("exit code 3"), "{error}");
    assert!(error.message().contains("the last words"), "{error}");
    place.assert_gone(&[]);

    // The exec itself fails.
    fs::write(place.scratch.join("script"), "#!/nonexistent\n").unwrap();
    let error = place.fails(&config, &Call::new());
    assert_eq!(error.failed_step(), Some("run containerd"), "{error}");
    place.assert_gone(&[]);
}

#[test]
fn one_that_does_not_get_ready_is_ended() {
    let place = Place::new();
    // It ignores SIGTERM too.
    let stuck = format!("trap '' TERM\nwhile :; do sleep 0.1; done # {}/", place.daemon.display());
    let config = place.config().binary(place.script(&stuck));
    let error = place.fails(&config, &Call::new().timeout(Duration::from_millis(300)));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.failed_step(), Some("wait for containerd"));
    place.assert_gone(&[]);

    let cancel = Cancel::new();
    let firing = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        firing.fire();
    });
    let error = place.fails(&config, &Call::new().forever().cancel(&cancel));
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    thread.join().unwrap();
    place.assert_gone(&[]);
}

#[test]
fn a_failed_start_leaves_a_predecessors_files() {
    let place = Place::new();
    fs::create_dir(&place.daemon).unwrap();
    fs::write(place.daemon.join("ctrd.lock"), "").unwrap();
    // containerd cannot use it.
    fs::write(place.daemon.join("root"), "data").unwrap();
    let error = place.fails(&place.config(), &Call::new());
    assert!(error.message().contains("not a directory"), "{error}");
    assert_eq!(fs::read_to_string(place.daemon.join("root")).unwrap(), "data");
    assert_eq!(place.processes(), []);
}

#[test]
fn refuses_a_directory_that_is_not_its_own() {
    let place = Place::new();
    let refused = |directory: PathBuf, why: &str| {
        let error = place.fails(&DaemonConfig::new(directory), &Call::new());
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with("directory: "), "{error}");
        assert!(error.message().contains(why), "{error}");
    };
    refused(PathBuf::new(), "not an absolute path");
    refused("relative".into(), "not an absolute path");
    refused(place.scratch.join("x".repeat(100)), "too long");
    refused(place.scratch.join("a:b"), "colon");
    let file = place.scratch.join("file");
    fs::write(&file, "").unwrap();
    refused(file, "not a directory");
    let used = place.scratch.join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("thesis.tex"), "years").unwrap();
    refused(used.clone(), "not empty");
    assert_eq!(fs::read_dir(&used).unwrap().count(), 1);
    refused(place.scratch.join("no/parent"), "No such file");
    refused(place.scratch.join("file/child"), "Not a directory");

    // The daemon does not remove files that others put into its directory meanwhile.
    let daemon = place.start();
    fs::write(place.daemon.join("notes"), "mine").unwrap();
    daemon.stop(&Call::new()).unwrap();
    let left: Vec<_> =
        fs::read_dir(&place.daemon).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes"]);
}

#[test]
fn threads_and_descriptors_are_as_before() {
    let place = Place::new();
    let output = output_of(&mut helper("count", &place));
    let counted =
        output.lines().find_map(|line| line.split_once("counted: ")).unwrap_or_else(|| {
            panic!("{output}");
        });
    let (before, after) = counted.1.split_once(") (").unwrap();
    assert_eq!(before.trim_start_matches('('), after.trim_end_matches(')'));
    place.assert_gone(&[]);
}
