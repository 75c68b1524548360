//! A test's own piece of the ground.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ctrd::{Call, Client, ContainerConfig, Message, Origin, PullConfig, Stream};

use super::image::Recipe;
use super::{Ground, Holdings, unique};

/// How long a process may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(5);

/// A client in a namespace of the test's own, and an image that it has pulled.
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
        let mut config = ground.client_config();
        config.namespace = namespace.clone();
        let client = Client::open(config, &Call::new()).unwrap();
        let pull = PullConfig { reference: image.into(), ..Default::default() };
        let image = client.pull_image(&pull, &mut |_| {}, &Call::new()).unwrap().name;
        Plot { ground, client, namespace, image }
    }

    pub fn config(&self, args: &[&str]) -> ContainerConfig {
        ContainerConfig {
            id: unique("c"),
            image: Some(self.image.clone()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Default::default()
        }
    }

    pub fn shell(&self, script: &str) -> ContainerConfig {
        self.config(&["/bin/sh", "-c", script])
    }

    /// Creates a container and gives its id.
    pub fn create(&self, config: ContainerConfig) -> String {
        let id = config.id.clone();
        self.client.create_container(config, &Call::new()).unwrap();
        id
    }

    pub fn probe(&self, id: &str) -> Message {
        self.client.probe(id, &within(30)).unwrap()
    }

    pub fn destroy(&self, id: &str) -> Message {
        self.client.destroy_container(id, GRACE, &Call::new()).unwrap()
    }

    /// Runs a container to its end and gives its exit code and what it wrote.
    pub fn run(&self, mut config: ContainerConfig) -> (Option<u32>, String) {
        let (mut output, stdout) = pipe();
        config.stdio.stdout = Stream::Fd(stdout);
        let id = self.create(config);
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

pub fn within(seconds: u64) -> Call {
    Call::new().timeout(Duration::from_secs(seconds))
}

pub fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (File::from(read), write)
}

/// Whether the kernel tells how a process ended of which a descriptor is held.
pub fn the_kernel_tells() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let numbers: Vec<u32> =
        release.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    numbers.as_slice() >= &[6, 15]
}

/// What is told of a process that ended with this code, where the kernel alone may know.
pub fn by_the_kernel(code: u32) -> (Option<u32>, Origin) {
    if the_kernel_tells() { (Some(code), Origin::Recovered) } else { (None, Origin::Gap) }
}

/// Whether the exit of a process is known that ends while containerd is not there.
pub fn an_outage_hides_nothing(client: &Client) -> bool {
    let version = client.version(&Call::new()).unwrap().version;
    // By the record of 1.6, or by the kernel.
    version.trim_start_matches('v').starts_with("1.6.") || the_kernel_tells()
}

/// Stops a process, and waits until all of its threads have.
pub fn stop(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let has_stopped = |task: std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.starts_with(" T"))
    };
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    super::wait_until("all threads to stop", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| has_stopped(task.unwrap().path()))
    });
}

/// Kills a process.
pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
