//! Images: pulling, and the records of what is there.

use std::time::SystemTime;

use crate::call::Call;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};

/// What is remembered of images, by the digest of their manifest.
#[derive(Default)]
pub(crate) struct Cache {}

/// An image that containerd knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image {
    /// The full reference.
    pub name: String,
    /// The first 12 hexadecimal digits of the digest.
    pub id: String,
    /// The digest of what the name stands for: an index or a manifest.
    pub digest: String,
    /// The media type of what the name stands for.
    pub media_type: String,
    /// The size of the manifest, the configuration and the layers for this platform, in bytes.
    pub size: u64,
    /// The record's labels.
    pub labels: Vec<(String, String)>,
    /// When the record was made and last changed, by the server's clock.
    pub created_at: Option<SystemTime>,
    /// See `created_at`.
    pub updated_at: Option<SystemTime>,
}

/// What is to be pulled, and how.
#[derive(Clone, Debug, Default)]
pub struct PullConfig {
    /// As in `docker.io/library/busybox:latest`, or what stands for it (`busybox`).
    pub reference: String,
    /// As in `linux/arm64/v8`. Default: the platform of this machine.
    pub platform: Option<String>,
    /// Default: the client's.
    pub snapshotter: Option<String>,
    /// For the registry that the reference names, and no other.
    pub credentials: Option<Credentials>,
    /// Speak HTTP with the registry. Without it, only loopback addresses are tried with HTTP.
    pub plain_http: bool,
    /// Fetch the content and do not unpack it.
    pub no_unpack: bool,
}

/// A user of a registry.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password or access token.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What is being done about one item of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressStatus {
    /// The reference is being looked up.
    Resolving,
    /// The reference has a digest.
    Resolved,
    /// Its turn has not come.
    Waiting,
    /// It is being fetched.
    Downloading,
    /// It is being unpacked.
    Extracting,
    /// It is there.
    Done,
    /// It was there before.
    Exists,
}

/// The state of one item of a pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// The image's reference, or `<kind>-<digest>` with kind `index`, `manifest`, `config`, `layer`.
    pub reference: String,
    /// What is being done about it.
    pub status: ProgressStatus,
    /// How many bytes have come.
    pub offset: u64,
    /// How many bytes there are; 0 where that is not known yet.
    pub total: u64,
    /// When it began, by this machine's clock.
    pub started_at: SystemTime,
    /// When something last changed.
    pub updated_at: SystemTime,
}

pub(crate) fn pull(
    _context: &Context,
    _config: &PullConfig,
    _progress: &mut dyn FnMut(&[Progress]),
    _call: &Call,
) -> Result<Image> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

pub(crate) fn get(_context: &Context, _reference: &str, _call: &Call) -> Result<Image> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

pub(crate) fn list(_context: &Context, _filters: &[&str], _call: &Call) -> Result<Vec<Image>> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

pub(crate) fn remove(
    _context: &Context,
    _reference: &str,
    _sync: bool,
    _call: &Call,
) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

/// What a container needs of an image: what its file system is made of, and its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// The chain ID of all its layers: the name of the snapshot to start from.
    pub(crate) chain_id: String,
    /// The image's configuration (OCI image specification, `config.json`), as it is stored.
    pub(crate) config: serde_json::Value,
}

/// Looks an image up by its reference and gives what a container needs of it, for this machine's
/// platform. One RPC where the image is in the cache.
pub(crate) fn for_container(
    _context: &Context,
    _cx: &crate::rpc::Cx,
    _reference: &str,
) -> Result<(String, Unpacked)> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

/// Unpacks an image whose content is there: for an image whose snapshots are gone.
pub(crate) fn unpack(
    _context: &Context,
    _cx: &crate::rpc::Cx,
    _reference: &str,
    _snapshotter: &str,
) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
