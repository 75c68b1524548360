//! How a private containerd runs.

use std::path::{Path, PathBuf};

/// How a private containerd runs.
///
/// ```
/// // One of another version, which outlives this program.
/// let config = ctrd::DaemonConfig::new("/var/lib/example/containerd")
///     .binary("/opt/containerd/bin/containerd")
///     .outlive_owner(true);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DaemonConfig {
    pub(super) directory: PathBuf,
    pub(super) binary: Option<PathBuf>,
    pub(super) path: Vec<PathBuf>,
    pub(super) restart: bool,
    pub(super) outlive_owner: bool,
}

impl DaemonConfig {
    /// A containerd with everything that it has in this directory: root, state, sockets,
    /// configuration, log. It must be an absolute path that is short enough for that of a socket.
    /// If the directory does not exist, it is made with mode 0700. If it does, it must be empty, or
    /// that of a daemon that was not stopped.
    pub fn new(directory: impl Into<PathBuf>) -> DaemonConfig {
        DaemonConfig {
            directory: directory.into(),
            binary: None,
            path: Vec::new(),
            restart: true,
            outlive_owner: false,
        }
    }

    /// The directory that [`DaemonConfig::new`] was given.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The containerd to run: a path, or a name to search for. Default: `containerd`.
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> DaemonConfig {
        self.binary = Some(binary.into());
        self
    }

    /// The directories in which containerd, its shims and runc are searched for first. If
    /// [`DaemonConfig::binary`] is a path, its directory is next; those of `PATH` are last.
    /// Default: none.
    pub fn path(
        mut self,
        directories: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> DaemonConfig {
        self.path = directories.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a containerd that dies is started again. Default: yes.
    pub fn restart(mut self, restart: bool) -> DaemonConfig {
        self.restart = restart;
        self
    }

    /// Whether containerd outlives this process, and the drop of its [`crate::Daemon`]. If so, only
    /// [`crate::Daemon::stop`] ends it. Default: no, it ends with either of them.
    pub fn outlive_owner(mut self, outlive: bool) -> DaemonConfig {
        self.outlive_owner = outlive;
        self
    }
}
