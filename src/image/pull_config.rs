//! The configuration of a pull.

use super::auth::Credentials;

/// Which image to pull, and how.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, Credentials, PullConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let client = Client::open(&ClientConfig::new(), &Call::new())?;
/// let config = PullConfig::new("registry.example.org/team/app:v1")
///     .credentials(Credentials::new("robot", "secret"));
/// client.pull_image(&config, &mut |_| {}, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PullConfig {
    pub(super) reference: String,
    pub(super) platform: Option<String>,
    pub(super) snapshotter: Option<String>,
    pub(super) credentials: Option<Credentials>,
    pub(super) plain_http: bool,
    pub(super) unpack: bool,
    pub(super) token_hosts: Vec<String>,
}

impl PullConfig {
    /// The image of this reference, such as `docker.io/library/busybox:latest`. A short one is
    /// completed: `busybox` means just that.
    pub fn new(reference: impl Into<String>) -> PullConfig {
        PullConfig {
            reference: reference.into(),
            platform: None,
            snapshotter: None,
            credentials: None,
            plain_http: false,
            unpack: true,
            token_hosts: Vec::new(),
        }
    }

    /// The reference that [`PullConfig::new`] was given.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The platform to pull, such as `linux/arm64/v8`. Default: this machine's.
    pub fn platform(mut self, platform: impl Into<String>) -> PullConfig {
        self.platform = Some(platform.into());
        self
    }

    /// The snapshotter to unpack the layers with. Default: the client's.
    pub fn snapshotter(mut self, snapshotter: impl Into<String>) -> PullConfig {
        self.snapshotter = Some(snapshotter.into());
        self
    }

    /// Credentials for the registry that the reference names; no other registry receives them. A
    /// token server that the registry refers to receives them only if it is on the registry's own
    /// host (over HTTPS, unless the registry itself is used over HTTP), if it is Docker Hub's and
    /// the registry is Docker Hub, or if [`PullConfig::token_hosts`] names it. Otherwise the pull
    /// fails with [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated). Default: none.
    pub fn credentials(mut self, credentials: Credentials) -> PullConfig {
        self.credentials = Some(credentials);
        self
    }

    /// Whether to use HTTP with the registry. Default: no; HTTP is then tried with loopback
    /// addresses only.
    pub fn plain_http(mut self, plain_http: bool) -> PullConfig {
        self.plain_http = plain_http;
        self
    }

    /// Whether to unpack the content that was fetched. Default: yes.
    pub fn unpack(mut self, unpack: bool) -> PullConfig {
        self.unpack = unpack;
        self
    }

    /// Other hosts that may be the registry's token server and receive the credentials: a name for
    /// every port of a host, or `name:port` for one port. GitLab's `registry.gitlab.com` needs
    /// `gitlab.com`. Default: none.
    pub fn token_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> PullConfig {
        self.token_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }
}
