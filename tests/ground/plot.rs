//! The part of the ground that one test uses.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ctrd::{
    Call, Client, ClientConfig, ContainerConfig, DestroyConfig, Message, Origin, PullConfig, Stdio,
    Stream,
};
use rustix::process::Signal;

use super::image::Recipe;
use super::proxy::Proxy;
use super::{Ground, Holdings, unique, wait_until};

/// How long a process may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(5);

/// SIGTERM first.
pub fn gently() -> DestroyConfig {
    DestroyConfig::new().grace(GRACE)
}

/// SIGKILL, without a SIGTERM.
pub fn at_once() -> DestroyConfig {
    DestroyConfig::new().grace(Duration::ZERO)
}

/// A client in a namespace that only this test uses, and an image that it has pulled.
pub struct Plot {
    pub ground: &'static Ground,
    pub client: Client,
    pub namespace: String,
    pub image: String,
}

impl Plot {
    pub fn new() -> Plot {
        let ground = Ground::get();
        Plot::with_image(ground, ground.image())
    }

    pub fn with_recipe(recipe: &Recipe) -> Plot {
        let ground = Ground::get();
        let image = ground.registry().push(&unique("ctrd/recipe"), "latest", recipe);
        Plot::with_image(ground, &image)
    }

    pub fn with_image(ground: &'static Ground, image: &str) -> Plot {
        let namespace = unique("containers");
        let config = ground.client_config().namespace(&namespace);
        let client = Client::open(&config, &Call::new()).unwrap();
        let pull = PullConfig::new(image);
        let image = client.pull_image(&pull, &mut |_| {}, &Call::new()).unwrap().name().to_owned();
        Plot { ground, client, namespace, image }
    }

    /// How a client in the namespace of the plot is opened.
    pub fn client_config(&self) -> ClientConfig {
        self.ground.client_config().namespace(&self.namespace)
    }

    /// A container of the plot's image that runs this command.
    pub fn config(&self, args: &[&str]) -> ContainerConfig {
        self.config_of(&unique("c"), args)
    }

    /// The same with an id of the test's own.
    pub fn config_of(&self, id: &str, args: &[&str]) -> ContainerConfig {
        ContainerConfig::new(id).image(&self.image).args(args.iter().copied())
    }

    /// A container that runs this shell script.
    pub fn shell(&self, script: &str) -> ContainerConfig {
        self.shell_of(&unique("c"), script)
    }

    /// The same with an id of the test's own.
    pub fn shell_of(&self, id: &str, script: &str) -> ContainerConfig {
        self.config_of(id, &["/bin/sh", "-c", script])
    }

    /// Creates a container and returns its id.
    pub fn create(&self, config: ContainerConfig) -> String {
        create(&self.client, config).0
    }

    pub fn probe(&self, id: &str) -> Message {
        self.client.probe(id, &within(30)).unwrap()
    }

    pub fn destroy(&self, id: &str) -> Message {
        self.client.destroy_container(id, &gently(), &Call::new()).unwrap()
    }

    /// Runs a container to its end. Returns its exit code and its output.
    pub fn run(&self, config: ContainerConfig) -> (Option<u32>, String) {
        self.run_with(config, Stdio::new())
    }

    /// The same with a terminal or other streams.
    pub fn run_with(&self, config: ContainerConfig, stdio: Stdio) -> (Option<u32>, String) {
        let (mut output, stdout) = pipe();
        let id = self.create(config.stdio(stdio.stdout(Stream::fd(stdout))));
        let message = self.probe(&id);
        self.destroy(&id);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        (message.exit_code(), text)
    }

    pub fn holdings(&self) -> Holdings {
        self.ground.holdings(&self.namespace)
    }
}

/// Creates a container. Returns its id and the pid of its process. Drops the configuration with
/// its descriptors.
pub fn create(client: &Client, config: ContainerConfig) -> (String, u32) {
    let process = client.create_container(&config, &Call::new()).unwrap();
    (config.id().to_owned(), process.pid())
}

pub fn within(seconds: u64) -> Call {
    Call::new().timeout(Duration::from_secs(seconds))
}

pub fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (File::from(read), write)
}

/// Another client, like that of a later run of the program.
pub fn client_of(plot: &Plot) -> Client {
    Client::open(&plot.client_config(), &Call::new()).unwrap()
}

/// A proxy that only the caller uses.
pub fn proxy_of(ground: &Ground) -> Proxy {
    Proxy::start(ground.address().as_ref(), &ground.dir().join(unique("proxy")))
}

/// The same, but its clients hold no descriptors of processes.
pub fn unseen_proxy_of(ground: &Ground) -> Proxy {
    Proxy::start_unseen(ground.address().as_ref(), &ground.dir().join(unique("proxy")))
}

/// Another client in the namespace of the plot, behind the proxy.
pub fn client_behind(plot: &Plot, proxy: &Proxy) -> Client {
    let config = plot.client_config().address(proxy.address());
    Client::open(&config, &Call::new()).unwrap()
}

/// Waits until there is nothing but images.
#[track_caller]
pub fn assert_nothing_is_left(plot: &Plot, after: &str) {
    let start = Instant::now();
    loop {
        let left = plot.holdings();
        if left.only_images() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "left after {after}: {left:?}");
    }
}

/// Waits until the first process of a container is the shell with this script, and catches SIGTERM.
/// Before that, the first process of a pid namespace ignores SIGTERM.
pub fn until_it_traps(pid: u32, script: &str) {
    wait_until("a trap", || {
        // Before the script runs, the process is runc, which catches every signal.
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        if !command.ends_with(format!("{script}\0").as_bytes()) {
            return false;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        caught & 1 << (Signal::TERM.as_raw() - 1) != 0
    });
}

/// Whether the kernel reports how a process ended to the holder of a descriptor of it.
pub fn the_kernel_tells() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let numbers: Vec<u32> =
        release.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    numbers.as_slice() >= &[6, 15]
}

/// The report of a process that ended with this code, if only the kernel may know that.
pub fn by_the_kernel(code: u32) -> (Option<u32>, Origin) {
    if the_kernel_tells() { (Some(code), Origin::Recovered) } else { (None, Origin::Gap) }
}

/// Whether the exit of a process is known that ends while containerd does not run.
pub fn an_outage_hides_nothing(client: &Client) -> bool {
    keeps_stopped_tasks(client) || the_kernel_tells()
}

/// Whether containerd, after a restart, still knows the tasks that had stopped before.
pub fn keeps_stopped_tasks(client: &Client) -> bool {
    let version = client.version(&Call::new()).unwrap();
    version.version().trim_start_matches('v').starts_with("1.6.")
}

/// Stops a process, and waits until all of its threads have stopped.
pub fn stop(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    let has_stopped = |task: std::path::PathBuf| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may contain anything.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.starts_with(" T"))
    };
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    wait_until("all threads to stop", || {
        fs::read_dir(&tasks).unwrap().all(|task| has_stopped(task.unwrap().path()))
    });
}

/// Kills a process.
pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// A process by its number.
pub fn pid(number: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// The shim of a container: the parent of its first process.
pub fn shim_of(container: u32) -> rustix::process::Pid {
    let stat = fs::read_to_string(format!("/proc/{container}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    pid(rest.split(' ').nth(1).unwrap().parse().unwrap())
}
