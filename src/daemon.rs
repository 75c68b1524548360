//! A private containerd: started, waited for, stopped and cleaned up after.

use std::path::PathBuf;

use crate::call::Call;
use crate::error::{Error, ErrorKind, Result};

/// How a private containerd is to run.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// The containerd to run. Default: the first one on `PATH`.
    pub binary: Option<PathBuf>,
    /// The directory of everything it has: root, state, sockets, configuration, log. Made with mode
    /// 0700. Required.
    pub directory: PathBuf,
    /// Directories put before `PATH` for the daemon, where it looks for runc and shims.
    pub path: Vec<PathBuf>,
}

/// A private containerd. Dropped, it is stopped.
#[derive(Debug)]
pub struct Daemon {}

impl Daemon {
    /// Starts one, and waits until it answers and its plugins are loaded.
    pub fn start(_config: &DaemonConfig, _call: &Call) -> Result<Daemon> {
        Err(Error::new(ErrorKind::Unsupported, "to be written"))
    }

    /// The address of its socket, for [`crate::ClientConfig::address`].
    pub fn address(&self) -> &str {
        ""
    }

    /// Stops it: its containers first, then itself; nothing is left but the directory's log.
    pub fn stop(&self, _call: &Call) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "to be written"))
    }
}
