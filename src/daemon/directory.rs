//! The directory of a daemon: who holds it, and the files in it.

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

/// The longest path that fits into the address of a socket (`sun_path`, without its NUL).
const MAX_SOCKET_PATH: usize = 107;

/// The daemon holds this file with `flock` while it runs. A directory that has the file belongs to
/// a daemon, also if none runs in it now.
const LOCK: &str = "ctrd.lock";

const CONFIG: &str = "config.toml";
const SOCKET: &str = "containerd.sock";
/// containerd adds `.ttrpc` to the name for the socket that the shims use.
const SHIM_SOCKET: &str = "containerd.sock.ttrpc";
const LOG: &str = "containerd.log";

/// All that a daemon's directory holds, except the lock.
const CONTENTS: [&str; 6] = ["root", "state", CONFIG, SOCKET, SHIM_SOCKET, LOG];

/// How many bytes of the log an error quotes.
const LOG_TAIL: u64 = 2048;

/// The plugins that do not run, by their names in 1.x and in 2.x: CRI and what belongs to it, those
/// that use paths outside of the directory (`/opt/containerd`, `/run/nri`), and those that need
/// what most machines do not have. (If another plugin needs one of a kind, one of that kind must
/// stay, or the other plugin fails. So `io.containerd.runtime.v1.linux` stays for the tasks of 1.6
/// and 1.7.)
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
    /// Without symbolic links, as the paths in the kernel's mount table are.
    path: PathBuf,
    lock: File,
    /// Whether the directory was empty: no daemon ran in it before.
    fresh: bool,
    /// The offset in the log at which this start begins.
    log_start: AtomicU64,
}

impl Directory {
    /// Makes the directory if it does not exist, and locks it.
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
            // `None` means that a daemon which has just stopped removed the directory or the lock:
            // try again.
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
        // Another start may have made the lock since the check above.
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

    /// The socket for clients.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The configuration file. A containerd with this path in its command line belongs to this
    /// directory.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The directory in which containerd keeps a bundle for each task: `<namespace>/<id>`.
    pub(super) fn bundles(&self) -> PathBuf {
        self.path.join("state").join("io.containerd.runtime.v2.task")
    }

    /// Writes the configuration. Removes the sockets that an earlier daemon left, because new ones
    /// show that containerd is ready.
    pub(super) fn prepare(&self) -> Result<()> {
        for socket in [SOCKET, SHIM_SOCKET] {
            remove_if_there(&self.path.join(socket))?;
        }
        // `check_path` has refused every character that a TOML string would have to escape.
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
        remove_if_there(&file)?;
        fs::write(&file, config).map_err(|e| Error::io(file.display(), e))
    }

    /// The command that runs a containerd here with this environment. Its output goes to the log.
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
            // The service manager waits for a message from the host, and not from its child.
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

    /// After a failed start: removes what the start made, but nothing that an earlier daemon left.
    pub(super) fn abandon(&self) {
        if self.fresh {
            if let Err(error) = self.remove() {
                log::warn!("{}: {error}", self.path.display());
            }
        } else {
            self.release();
        }
    }

    /// Unlocks the directory, and leaves its files.
    pub(super) fn release(&self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }

    /// Removes every file of the daemon, and then the directory. Nothing may run or be mounted in
    /// it any more.
    pub(super) fn remove(&self) -> Result<()> {
        for name in CONTENTS {
            remove_if_there(&self.path.join(name))?;
        }
        // While the lock is held, nobody else can have made another lock file.
        remove_if_there(&self.path.join(LOCK))?;
        match fs::remove_dir(&self.path) {
            // Somebody else's file is in the directory, or somebody else has removed the directory.
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(Error::io(self.path.display(), e)),
        }
        // Otherwise a child that the host forked could keep the lock with its copy of the
        // descriptor.
        self.release();
        Ok(())
    }
}

/// Refuses paths with which a later step would fail less clearly.
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

/// Removes a file or a whole directory, if it exists. Does not follow symbolic links.
pub(super) fn remove_if_there(path: &Path) -> Result<()> {
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
