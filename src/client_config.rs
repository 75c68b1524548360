//! The configuration of a client.

use std::path::PathBuf;
use std::time::Duration;

/// What a client is opened with.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The socket of containerd: an absolute path without a comma, or `unix:` and such a path. Default:
    /// `/run/containerd/containerd.sock`.
    pub address: String,
    /// The namespace of calls that name none. Default: `default`.
    pub namespace: String,
    /// The name of this program among the users of the same containerd. What the client creates carries the
    /// name as a label, and the client recovers only containers with it. Default: `ctrd`.
    pub owner: String,
    /// The snapshotter of calls that name none. Default: `overlayfs`.
    pub snapshotter: String,
    /// The timeout of calls that name none, if their operation has none of its own. Default: 30 s.
    pub call_timeout: Duration,
    /// The directory of the FIFOs of containers: an absolute path that containerd's shims see too. It is
    /// created with mode 0700 when it is first needed. Default: `/run/ctrd`.
    pub state_dir: PathBuf,
    /// Whether containerd 1.7 and 2.x keep stopped tasks over their own restart. Without it they forget how
    /// a process ended that exited before, and only the kernel may know (Linux 6.15 and later). For this
    /// the client creates the record of a sandbox for each container, which other clients see in their
    /// lists; it relies on internals of these versions. containerd 1.6 does not need it, and the client does
    /// nothing there. Default: no.
    pub keep_stopped_tasks: bool,
    /// How many submitted calls of the client may be in flight: at least 1. A call counts until its
    /// completion is taken. Default: 1,024.
    pub max_calls: usize,
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
