//! The configuration of a private containerd.

use std::path::PathBuf;

/// How a private containerd runs.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// The containerd to run: a path, or a name to search for. Default: `containerd`.
    pub binary: Option<PathBuf>,
    /// The directory of the daemon's files: root, state, sockets, configuration and log. The path
    /// must be absolute, and short enough for the address of a socket. If the directory does not
    /// exist, the start makes it with mode 0700. If it exists, it must be empty, or be left from a
    /// daemon that was not stopped. Required.
    pub directory: PathBuf,
    /// Directories that come before those of `PATH` in the search for containerd, its shims and
    /// runc. If `binary` is a path, its directory comes between them.
    pub path: Vec<PathBuf>,
    /// Does not restart a containerd that dies by itself. Default: it is started again.
    pub no_restart: bool,
    /// Lets containerd outlive this process and the drop of its [`crate::Daemon`]; then only
    /// [`crate::Daemon::stop`] ends it. Default: it ends with either of them.
    pub outlive_owner: bool,
}
