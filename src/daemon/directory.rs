//! The directory of a daemon: its lock, and the files in it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::process::SearchPath;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The longest path in a socket's address (`sun_path`, without its NUL).
const MAX_SOCKET_PATH: usize = 107;

/// The lock file. A daemon holds it with `flock` as long as it runs. Its presence says that the
/// directory belongs to a daemon.
const LOCK: &str = "ctrd.lock";

const CONFIG: &str = "config.toml";
const SOCKET: &str = "containerd.sock";
/// containerd adds `.ttrpc` to the name for the socket that the shims use.
const SHIM_SOCKET: &str = "containerd.sock.ttrpc";
const LOG: &str = "containerd.log";

/// Everything in a daemon's directory except the lock.
const CONTENTS: [&str; 6] = ["root", "state", CONFIG, SOCKET, SHIM_SOCKET, LOG];

/// How many bytes of the log an error quotes.
const LOG_TAIL: u64 = 2048;

/// The plugins that do not run, by their names in 1.x and in 2.x: CRI and its parts, plugins that
/// use paths outside of the directory (`/opt/containerd`, `/run/nri`), and plugins that most
/// machines cannot run. (If a plugin needs others of a kind, one of that kind must stay: so
/// `io.containerd.runtime.v1.linux` stays for the tasks of 1.6 and 1.7.)
const DISABLED_PLUGINS: [&str; 16] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.differ.v1.erofs",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
];

/// A daemon's directory, locked by this process.
#[derive(Debug)]
pub(super) struct Directory {
    /// The path without symbolic links, as in the kernel's table of mounts.
    path: PathBuf,
    lock: File,
    /// Whether there is nothing of an earlier daemon in it.
    fresh: bool,
    /// The position in the log at which this start begins.
    log_start: AtomicU64,
}

impl Directory {
    /// Creates the directory if it does not exist, and locks it.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Directory> {
        check_path(path)?;
        loop {
            limits.check()?;
            let made = match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => true,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    let why = format!("{}: {e}", path.display());
                    return Err(Error::invalid("directory", why)).step("make the directory");
                }
                Err(e) => return Err(Error::io(path.display(), e)).step("make the directory"),
            };
            let held = Directory::hold(path);
            if made && held.is_err() {
                let _ = fs::remove_dir(path);
            }
            // `None` means that a daemon which has just stopped has removed the directory or the
            // lock. Then this tries again.
            if let Some(directory) = held? {
                return Ok(directory);
            }
        }
    }

    fn hold(path: &Path) -> Result<Option<Directory>> {
        let io = |e: io::Error| Error::io(path.display(), e);
        let path = match fs::canonicalize(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        check_path(&path)?;
        let metadata = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let invalid = |why: &str| Err(Error::invalid("directory", why));
        if !metadata.is_dir() {
            return invalid("is not a directory");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return invalid("belongs to another user");
        }
        let lock_path = path.join(LOCK);
        let known = lock_path.exists();
        let empty = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?.next().is_none(),
        };
        // Another start may have come first.
        if !(known || empty || lock_path.exists()) {
            return invalid("is not empty, and was not a daemon's before");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(io)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock_path);
        let lock = match lock {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| Error::io(lock_path.display(), e))?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(
                    ErrorKind::FailedPrecondition,
                    "directory: another daemon runs in it",
                ));
            }
            Err(e) => return Err(Error::io(lock_path.display(), e)),
        }
        let locked = lock.metadata().map_err(io)?;
        let same = fs::metadata(&lock_path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (locked.dev(), locked.ino()));
        Ok(same.then(|| Directory { path, lock, fresh: empty, log_start: AtomicU64::new(0) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the socket for clients.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The path of the configuration. A process with this path in its command line belongs to this
    /// directory.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The directory in which containerd has a directory for each task: `<namespace>/<id>`.
    pub(super) fn bundles(&self) -> PathBuf {
        self.path.join("state").join("io.containerd.runtime.v2.task")
    }

    /// Writes the configuration, and removes the sockets of an earlier daemon: containerd is ready
    /// when its sockets exist.
    pub(super) fn prepare(&self) -> Result<()> {
        for socket in [SOCKET, SHIM_SOCKET] {
            remove_if_exists(&self.path.join(socket))?;
        }
        // The path was checked: it has no character that must be escaped in a TOML string.
        let path = self.path.display();
        let disabled: String =
            DISABLED_PLUGINS.iter().map(|plugin| format!("  \"{plugin}\",\n")).collect();
        let config = format!(
            "version = 2\n\
             root = \"{path}/root\"\n\
             state = \"{path}/state\"\n\
             disabled_plugins = [\n{disabled}]\n\
             \n\
             [grpc]\n\
             address = \"{path}/{SOCKET}\"\n\
             \n\
             [debug]\n\
             level = \"warn\"\n\
             \n\
             [plugins.\"io.containerd.image-verifier.v1.bindir\"]\n\
             bin_dir = \"{path}/root/image-verifiers\"\n"
        );
        let file = self.config();
        remove_if_exists(&file)?;
        fs::write(&file, config).map_err(|e| Error::io(file.display(), e))
    }

    /// The command that runs a containerd here, in this environment. Its output goes to the log.
    pub(super) fn command(
        &self,
        binary: &Path,
        path: &SearchPath,
        environment: &[(OsString, OsString)],
    ) -> Result<Command> {
        let file = self.path.join(LOG);
        let open = || -> io::Result<(File, File)> {
            let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&file)?;
            self.log_start.store(log.metadata()?.len(), Ordering::Relaxed);
            Ok((log.try_clone()?, log))
        };
        let (stdout, stderr) = open().map_err(|e| Error::io(file.display(), e))?;
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(self.config())
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", path.joined())
            // The host's service manager expects messages from the host, and not from its child.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        Ok(command)
    }

    /// Appends the end of this start's log to an error.
    pub(super) fn with_log(&self, error: Error) -> Error {
        let start = self.log_start.load(Ordering::Relaxed);
        let read = || -> io::Result<Vec<u8>> {
            let mut log = File::open(self.path.join(LOG))?;
            let from = log.metadata()?.len().saturating_sub(LOG_TAIL).max(start);
            log.seek(SeekFrom::Start(from))?;
            let mut tail = Vec::new();
            log.take(LOG_TAIL).read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        let tail = String::from_utf8_lossy(&tail);
        let log = match tail.trim() {
            "" => "its log is empty".to_owned(),
            tail => format!("its log ends with: {tail}"),
        };
        error.followed_by(format!("; {log}"))
    }

    /// After a failed start, removes what the start has made, and nothing of an earlier daemon.
    pub(super) fn abandon(&self) {
        if self.fresh {
            if let Err(error) = self.remove() {
                log::warn!("{}: {error}", self.path.display());
            }
        } else {
            self.release();
        }
    }

    /// Unlocks the directory, and leaves everything in it.
    pub(super) fn release(&self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }

    /// Removes everything of the daemon, and then the directory. Nothing may run in it or be
    /// mounted in it.
    pub(super) fn remove(&self) -> Result<()> {
        for name in CONTENTS {
            remove_if_exists(&self.path.join(name))?;
        }
        // While the lock is held, nobody else can have made another.
        remove_if_exists(&self.path.join(LOCK))?;
        match fs::remove_dir(&self.path) {
            // The directory has files of others, or another process has removed it first.
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(Error::io(self.path.display(), e)),
        }
        // Otherwise a child that the host has forked could keep the lock by its copy of the
        // descriptor.
        self.release();
        Ok(())
    }
}

/// Refuses paths that would cause a less clear error later.
fn check_path(path: &Path) -> Result<()> {
    let invalid = |why: String| Err(Error::invalid("directory", why));
    if !path.is_absolute() {
        return invalid(format!("{} is not an absolute path", path.display()));
    }
    let text = path.to_str().unwrap_or("\0");
    // Commas separate the options of an overlay mount, and colons its directories.
    if text.contains([',', ':', '"', '\\']) || text.contains(char::is_control) {
        return invalid(format!(
            "{} holds a comma, colon, quote, backslash, control character or invalid UTF-8",
            path.display()
        ));
    }
    let length = path.join(SHIM_SOCKET).as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return invalid(format!(
            "is too long by {} bytes: the path of a socket in it would have {length}, and the \
             kernel takes {MAX_SOCKET_PATH}",
            length - MAX_SOCKET_PATH
        ));
    }
    Ok(())
}

/// Removes a file or a whole directory. Symbolic links are not followed.
pub(super) fn remove_if_exists(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path.display(), e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_daemon_could_use() {
        for bad in ["relative", "", "/a,b", "/a:b", "/a\"b", "/a\\b", "/a\nb"] {
            let error = check_path(Path::new(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with("directory: "), "{error}");
        }
        let longest = MAX_SOCKET_PATH - "/".len() - SHIM_SOCKET.len();
        check_path(Path::new(&format!("/{}", "x".repeat(longest - 1)))).unwrap();
        let error = check_path(Path::new(&format!("/{}", "x".repeat(longest)))).unwrap_err();
        assert!(error.message().contains("too long by 1 bytes"), "{error}");
    }
}
