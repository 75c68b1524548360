//! What a pull is asked to do.

use super::auth::Credentials;

/// Which image to pull, and how.
#[derive(Clone, Debug, Default)]
pub struct PullConfig {
    /// The image's reference, such as `docker.io/library/busybox:latest`. A short one is completed:
    /// `busybox` means just that.
    pub reference: String,
    /// The platform to pull, such as `linux/arm64/v8`. Default: this machine's.
    pub platform: Option<String>,
    /// The snapshotter to unpack the layers with. Default: the client's.
    pub snapshotter: Option<String>,
    /// Credentials for the registry that the reference names; no other registry receives them. A token
    /// server that the registry refers to receives them only if it is on the registry's own host (over
    /// HTTPS, unless the registry itself is used over HTTP), if it is Docker Hub's and the registry is
    /// Docker Hub, or if `token_hosts` names it. Otherwise the pull fails with
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated).
    pub credentials: Option<Credentials>,
    /// Use HTTP with the registry. Without it, HTTP is tried with loopback addresses only.
    pub plain_http: bool,
    /// Fetch the content and do not unpack it.
    pub no_unpack: bool,
    /// Other hosts that may be the registry's token server and receive the credentials: a name for
    /// every port of a host, or `name:port` for one port. GitLab's `registry.gitlab.com` needs
    /// `gitlab.com`.
    pub token_hosts: Vec<String>,
}
