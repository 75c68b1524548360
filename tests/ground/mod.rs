//! The ground of the integration tests: a private containerd, a registry with images that are made
//! here, and a guardian that removes everything, however the program ends.
//!
//! A test has `mod ground;` and calls `Ground::get()`. It needs root, and the packages of
//! `tests/packages`.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod faulty_proxy;
pub mod host;
pub mod image;
pub mod plot;
pub mod proxy;
pub mod registry;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ctrd::{Call, Client, ClientConfig, Daemon, DaemonConfig};

use self::image::Recipe;
use self::registry::Registry;

/// A private containerd, a registry, and the default image in it.
pub struct Ground {
    // They are dropped in this order. The guardian is the last, and must find nothing.
    daemon: Daemon,
    registry: Registry,
    image: String,
    dir: Dir,
    guardian: Guardian,
}

impl Ground {
    /// The ground of this program. The guardian removes it after the end of the program.
    pub fn get() -> &'static Ground {
        static GROUND: OnceLock<Ground> = OnceLock::new();
        GROUND.get_or_init(Ground::raise)
    }

    /// A ground of the caller's own. The drop removes it.
    pub fn raise() -> Ground {
        Ground::raise_with(|config| config)
    }

    /// The same with a containerd whose configuration `configure` completes.
    pub fn raise_with(configure: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Ground {
        assert!(rustix::process::geteuid().is_root(), "the tests need root");
        let path = PathBuf::from(format!("/tmp/ctrd-{}", unique("ground")));
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        let dir = Dir(path);
        let guardian = Guardian::watch(&dir.0);
        let registry = Registry::start(&dir.0.join("registry"), None);
        let image = registry.push("ctrd/test", "latest", &Recipe::default());
        let config = configure(DaemonConfig::new(dir.0.join("d")));
        let daemon = Daemon::start(&config, &Call::new()).unwrap();
        Ground { daemon, registry, image, dir, guardian }
    }

    /// The address of the containerd.
    pub fn address(&self) -> &str {
        self.daemon.address()
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The registry without authentication.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Another registry, which accepts only [`registry::USER`] with [`registry::PASSWORD`].
    pub fn private_registry(&self) -> Registry {
        Registry::start(&self.dir.0.join(unique("registry")), Some(registry::HTPASSWD))
    }

    /// The reference of the default image: `127.0.0.1:<port>/ctrd/test:latest`.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// A directory for a test's own files.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// The configuration for a client of this containerd.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig::new().address(self.address()).state_dir(self.state_dir())
    }

    /// The directory of the FIFOs of these clients.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.0.join("client")
    }

    /// A new client.
    pub fn client(&self) -> Client {
        Client::open(&self.client_config(), &Call::new()).unwrap()
    }

    /// Runs `ctr`, another client, and returns its output.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let output = Command::new("ctr").arg("-a").arg(self.address()).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects in a namespace of the containerd, as another client sees them.
    pub fn holdings(&self, namespace: &str) -> Holdings {
        let rows = |what: &[&str]| self.ctr(&[&["-n", namespace], what].concat()).lines().count();
        let snapshots = self.ctr(&["-n", namespace, "snapshots", "ls"]);
        let of_kind = |kind| snapshots.lines().filter(|row| row.trim_end().ends_with(kind)).count();
        Holdings {
            containers: rows(&["containers", "ls", "-q"]),
            tasks: rows(&["tasks", "ls", "-q"]),
            images: rows(&["images", "ls", "-q"]),
            blobs: rows(&["content", "ls", "-q"]),
            // The output is a table with a heading.
            ingests: rows(&["content", "active"]) - 1,
            leases: rows(&["leases", "ls", "-q"]),
            snapshots: of_kind("Committed"),
            active_snapshots: of_kind("Active"),
            // The path of a bundle contains its namespace, and the names of a process's FIFOs begin
            // with it.
            mounts: mentions(mounts_below(&self.dir.0), &format!("/{namespace}/")),
            fifos: mentions(fifos_below(&self.dir.0), &format!("/{namespace}+")),
            shims: mentions(command_lines(&self.dir.0), &format!(" -namespace {namespace} ")),
        }
    }
}

fn mentions(lines: Vec<String>, what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

/// How many objects of each kind exist. Tests compare these numbers before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub containers: usize,
    pub tasks: usize,
    pub images: usize,
    pub blobs: usize,
    pub ingests: usize,
    pub leases: usize,
    /// Committed snapshots, which are layers.
    pub snapshots: usize,
    /// Snapshots of containers.
    pub active_snapshots: usize,
    pub mounts: usize,
    pub fifos: usize,
    pub shims: usize,
}

impl Holdings {
    /// Whether there is nothing but images with their content and layers.
    pub fn only_images(&self) -> bool {
        let Holdings { images, blobs, snapshots, .. } = *self;
        let nothing = Holdings { images, blobs, snapshots, ..Holdings::default() };
        *self == nothing
    }
}

/// The ground's directory.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        if mounts_below(&self.0).is_empty() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The process that cleans up if this one cannot.
struct Guardian(Child);

impl Guardian {
    fn watch(dir: &Path) -> Guardian {
        let child = Command::new("/bin/sh")
            .args(["-c", include_str!("guardian.sh"), "guardian.sh"])
            .arg(dir)
            // Only this process has the other end, because it is close-on-exec. It closes when this
            // process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // An interrupt from the terminal must reach only this process.
            .process_group(0)
            .spawn();
        Guardian(child.unwrap())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// An identifier that no other test has, in this or in another program. The whole machine shares
/// runc's state, so a container's id must be unique among all containerds.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

/// Waits until `happened` returns true. Fails after half a minute.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many threads this process has.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// How many of them belong to the library. The others belong to gRPC's core and to the program.
pub fn library_threads() -> usize {
    threads_named("ctrd-")
}

/// How many of the library's threads end by themselves once they are idle.
pub fn idle_threads() -> usize {
    ["ctrd-work", "ctrd-hook", "ctrd-job"].map(threads_named).iter().sum()
}

fn threads_named(prefix: &str) -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    // Without the one that lists them.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Whether a process runs. A zombie does not.
pub fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        // The state follows the name, which is in parentheses and may contain anything.
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z")))
}

/// The processes that have a path below `dir` among their arguments. Also returns these arguments.
pub fn processes_naming(dir: &Path) -> Vec<(u32, String)> {
    let needle = format!("{}/", dir.display());
    let line = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, line(pid).filter(|line| line.contains(&needle))?)))
        .collect()
}

fn command_lines(dir: &Path) -> Vec<String> {
    processes_naming(dir).into_iter().map(|(_, line)| line).collect()
}

/// The mount points below `dir`.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let needle = format!("{}/", dir.display());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&needle)).map(str::to_owned).collect()
}

/// The FIFOs below `dir`, except the logs of shims, which belong to containerd.
pub fn fifos_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                // Anything that is mounted there belongs to a container.
                Ok(kind) if kind.is_dir() && entry.file_name() != "rootfs" => {
                    open.push(entry.path());
                }
                Ok(kind) if kind.is_fifo() && entry.file_name() != "log" => {
                    found.push(entry.path().display().to_string());
                }
                _ => {}
            }
        }
    }
    found
}
