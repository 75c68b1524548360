//! The configuration of a private containerd.

use std::path::PathBuf;

/// The configuration of a private containerd.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// The containerd program: a path, or a name that is searched for. Default: `containerd`.
    pub binary: Option<PathBuf>,
    /// The directory for everything of the daemon: root, state, sockets, configuration, log.
    /// Required. It must be an absolute path, short enough for a socket in it. If it does not
    /// exist, it is created with mode 0700; otherwise it must be empty, or have belonged to a
    /// daemon that was not stopped.
    pub directory: PathBuf,
    /// Directories in which containerd, its shims and runc are searched for, before the directory
    /// of a `binary` that is a path, and before `PATH`.
    pub path: Vec<PathBuf>,
    /// Whether a containerd that dies by itself stays dead. Default: no, it is started again.
    pub no_restart: bool,
    /// Whether containerd runs on after the end of this process, and after the drop of the
    /// [`crate::Daemon`]. Then only [`crate::Daemon::stop`] ends it. Default: no, it ends with
    /// either.
    pub outlive_owner: bool,
}
