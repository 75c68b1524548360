//! How a private containerd is to run.

use std::path::PathBuf;

/// How a private containerd is to run.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// The containerd to run: a path, or a name to be searched for. Default: `containerd`.
    pub binary: Option<PathBuf>,
    /// The directory of everything it has: root, state, sockets, configuration, log. An absolute
    /// path, short enough for a socket's. Made with mode 0700 where it does not exist; otherwise it
    /// must be empty, or a daemon's that was not stopped. Required.
    pub directory: PathBuf,
    /// Directories put before `PATH`, where containerd, its shims and runc are searched for. The
    /// directory of a `binary` that is a path comes next.
    pub path: Vec<PathBuf>,
    /// Leaves a containerd dead that died by itself. Default: it is started again.
    pub no_restart: bool,
    /// Lets containerd outlive this process, and the [`crate::Daemon`] that is dropped; only
    /// [`crate::Daemon::stop`] ends it. Default: it ends with either.
    pub outlive_owner: bool,
}
