//! The configuration of a client.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::identifier;

/// How a client is opened.
///
/// ```no_run
/// use std::time::Duration;
///
/// use ctrd::{Call, Client, ClientConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let config = ClientConfig::new()
///     .namespace("example")
///     .owner("example-daemon")
///     .call_timeout(Duration::from_secs(10));
/// let client = Client::open(&config, &Call::new())?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientConfig {
    pub(crate) address: String,
    pub(crate) namespace: String,
    pub(crate) owner: String,
    pub(crate) snapshotter: String,
    pub(crate) call_timeout: Duration,
    pub(crate) state_dir: PathBuf,
    pub(crate) keep_stopped_tasks: bool,
    pub(crate) max_calls: usize,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            address: "/run/containerd/containerd.sock".into(),
            namespace: "default".into(),
            owner: "ctrd".into(),
            snapshotter: "overlayfs".into(),
            call_timeout: Duration::from_secs(30),
            state_dir: "/run/ctrd".into(),
            keep_stopped_tasks: false,
            max_calls: 1024,
        }
    }
}

impl ClientConfig {
    /// The default of each setting.
    pub fn new() -> ClientConfig {
        ClientConfig::default()
    }

    /// The socket of containerd: an absolute path without a comma, or `unix:` and such a path.
    /// Default: `/run/containerd/containerd.sock`.
    pub fn address(mut self, address: impl Into<String>) -> ClientConfig {
        self.address = address.into();
        self
    }

    /// The namespace of calls that name none. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> ClientConfig {
        self.namespace = namespace.into();
        self
    }

    /// The name of this program among the users of the same containerd. What the client creates
    /// carries the name as a label, and the client recovers only containers with it. Default:
    /// `ctrd`.
    pub fn owner(mut self, owner: impl Into<String>) -> ClientConfig {
        self.owner = owner.into();
        self
    }

    /// The snapshotter of calls that name none. Default: `overlayfs`.
    pub fn snapshotter(mut self, snapshotter: impl Into<String>) -> ClientConfig {
        self.snapshotter = snapshotter.into();
        self
    }

    /// The timeout of calls that name none, if their operation has none of its own: more than zero.
    /// [`Duration::MAX`]: no limit. Default: 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> ClientConfig {
        self.call_timeout = timeout;
        self
    }

    /// The directory of the FIFOs of containers: an absolute path that containerd's shims see too.
    /// It is created with mode 0700 when it is first needed. Default: `/run/ctrd`.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> ClientConfig {
        self.state_dir = directory.into();
        self
    }

    /// Whether containerd 1.7 and 2.x keep stopped tasks over their own restart. Without it they
    /// forget how a process ended that exited before, and only the kernel may know (Linux 6.15 and
    /// later). For this the client creates the record of a sandbox for each container, which other
    /// clients see in their lists; it relies on internals of these versions. containerd 1.6 does
    /// not need it, and the client does nothing there. Default: no.
    pub fn keep_stopped_tasks(mut self, keep: bool) -> ClientConfig {
        self.keep_stopped_tasks = keep;
        self
    }

    /// How many submitted calls of the client may be in flight: at least 1. A call counts until its
    /// completion is taken. Default: 1,024.
    pub fn max_calls(mut self, calls: usize) -> ClientConfig {
        self.max_calls = calls;
        self
    }

    /// Checks everything but the address.
    pub(crate) fn check(&self) -> Result<()> {
        identifier::check("namespace", &self.namespace)?;
        identifier::check("owner", &self.owner)?;
        identifier::check_snapshotter(&self.snapshotter)?;
        if self.call_timeout.is_zero() {
            return Err(Error::invalid("call_timeout", "must not be zero"));
        }
        if !self.state_dir.is_absolute() {
            return Err(Error::invalid("state_dir", "must be an absolute path"));
        }
        if self.max_calls == 0 {
            return Err(Error::invalid("max_calls", "must be at least 1"));
        }
        Ok(())
    }
}
