//! Images: pulling, and the records of what is there.

mod auth;
mod digest;
mod manifest;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod transport;
mod unpack;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use self::manifest::{Config, Document, MAX_DOCUMENT, Manifest};
use self::platform::Platform;
use self::reference::Reference;
use self::unpack::Unpack;
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter;
use crate::inner::Inner;
use crate::keyed_mutex::KeyedMutex;
use crate::lease::Lease;
use crate::rpc::content::Descriptor;
use crate::rpc::{Ctx, content, images};

pub(crate) use self::progress::publish_progress;
pub(crate) use self::pull::pull;

/// How many images are remembered.
const MAX_KNOWN: usize = 128;

/// How deep indexes may refer to indexes.
const MAX_DEPTH: usize = 4;

/// How long one step may take that handles a whole layer: writing, hashing, unpacking it.
const LONG: Duration = Duration::from_secs(10 * 60);

/// What is remembered of images, by the digest of what their name stands for. Nothing of it can
/// change, so nothing of it can be out of date.
#[derive(Default)]
pub(crate) struct Cache {
    known: Mutex<HashMap<String, Arc<Known>>>,
    locks: KeyedMutex,
}

/// What is remembered of an image, for this machine's platform.
struct Known {
    /// Manifest, configuration and layers, in bytes.
    size: u64,
    /// Unless the size alone was asked for.
    unpacked: Option<Unpacked>,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, digest: &str) -> Option<Arc<Known>> {
        self.lock().get(digest).cloned()
    }

    fn insert(&self, digest: &str, known: Known) {
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN && !all.contains_key(digest) {
            // Any will do: it costs a few reads to know it again.
            let any = all.keys().next().cloned();
            any.and_then(|any| all.remove(&any));
        }
        all.insert(digest.to_owned(), Arc::new(known));
    }
}

/// The context for one step that is quick where the server is well.
fn brief(client: &Inner, ctx: &Ctx) -> Ctx {
    ctx.with_limits(ctx.limits.at_most(client.config.call_timeout))
}

/// The context for one step that handles a whole layer.
fn long(ctx: &Ctx) -> Ctx {
    ctx.with_limits(ctx.limits.at_most(LONG))
}

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

impl Image {
    fn new(record: images::Image, size: u64) -> Image {
        let hex = record.target.digest.split_once(':').map_or("", |(_, hex)| hex);
        let mut labels: Vec<_> = record.labels.into_iter().collect();
        labels.sort();
        Image {
            id: hex.chars().take(12).collect(),
            name: record.name,
            digest: record.target.digest,
            media_type: record.target.media_type,
            size,
            labels,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
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
    /// For the registry that the reference names, and no other. Where it sends to a token server,
    /// they go there if that is on the registry's own host (and HTTPS, unless the registry itself is
    /// spoken with over HTTP), is Docker Hub's for Docker Hub, or is among `token_hosts`; otherwise
    /// the pull fails with [`ErrorKind::Unauthenticated`].
    pub credentials: Option<Credentials>,
    /// Speak HTTP with the registry. Without it, only loopback addresses are tried with HTTP.
    pub plain_http: bool,
    /// Fetch the content and do not unpack it.
    pub no_unpack: bool,
    /// Other hosts that may be the registry's token server and get the credentials: names, or
    /// `name:port` for one port alone. GitLab's `registry.gitlab.com` needs `gitlab.com`.
    pub token_hosts: Vec<String>,
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

impl ProgressStatus {
    /// The seed's word for it.
    fn word(self) -> &'static str {
        match self {
            ProgressStatus::Resolving => "resolving",
            ProgressStatus::Resolved => "resolved",
            ProgressStatus::Waiting => "waiting",
            ProgressStatus::Downloading => "downloading",
            ProgressStatus::Extracting => "extracting",
            ProgressStatus::Done => "done",
            ProgressStatus::Exists => "exists",
        }
    }
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

pub(crate) fn get(client: &Inner, reference: &str, call: &Call) -> Result<Image> {
    let name = Reference::parse(reference)?.to_string();
    let operation = client.begin(call)?;
    let record = images::get(&operation.ctx, &name)?;
    let size = size(client, &operation.ctx, &record.target)?;
    Ok(Image::new(record, size))
}

pub(crate) fn list(client: &Inner, filters: &[&str], call: &Call) -> Result<Vec<Image>> {
    for (i, filter) in filters.iter().enumerate() {
        filter::check(&format!("filters[{i}]"), filter)?;
    }
    let operation = client.begin(call)?;
    let records = images::list(&operation.ctx, filters)?;
    let with_size = |record: images::Image| {
        let size = size(client, &operation.ctx, &record.target)?;
        Ok(Image::new(record, size))
    };
    records.into_iter().map(with_size).collect()
}

pub(crate) fn remove(client: &Inner, reference: &str, sync: bool, call: &Call) -> Result<()> {
    let name = Reference::parse(reference)?.to_string();
    let operation = client.begin(call)?;
    images::delete(&operation.ctx, &name, sync)
}

/// The size of an image for this machine's platform. Where parts are missing or malformed it is
/// that of what the name stands for: a record can be made by anybody, and of anything.
fn size(client: &Inner, ctx: &Ctx, target: &Descriptor) -> Result<u64> {
    if let Some(known) = client.images.get(&target.digest) {
        return Ok(known.size);
    }
    match read_manifest(ctx, target, &Platform::host()) {
        Ok(found) => {
            client.images.insert(&target.digest, Known { size: found.size(), unpacked: None });
            Ok(found.size())
        }
        Err(e) => match e.kind() {
            ErrorKind::NotFound
            | ErrorKind::Protocol
            | ErrorKind::Unsupported
            | ErrorKind::InvalidArgument
            | ErrorKind::ResourceExhausted => Ok(target.size),
            _ => Err(e),
        },
    }
}

/// A manifest in the store.
struct Found {
    manifest: Manifest,
    /// Its own size, in bytes.
    length: u64,
    /// Whether an index says that it is for the platform.
    declared: bool,
}

impl Found {
    fn size(&self) -> u64 {
        self.manifest.size().saturating_add(self.length)
    }
}

/// Reads the manifest for a platform from the store.
fn read_manifest(ctx: &Ctx, target: &Descriptor, platform: &Platform) -> Result<Found> {
    let mut descriptor = target.clone();
    let mut declared = false;
    for _ in 0..MAX_DEPTH {
        let data = content::read(ctx, &descriptor.digest, MAX_DOCUMENT)?;
        match Document::parse(&data, &descriptor.media_type)?.0 {
            Document::Manifest(manifest) => {
                return Ok(Found { manifest, length: data.len() as u64, declared });
            }
            Document::Index(index) => {
                let (chosen, says_so) = index.choose(platform)?;
                descriptor = chosen.clone();
                declared |= says_so;
            }
        }
    }
    Err(too_deep())
}

fn too_deep() -> Error {
    Error::new(ErrorKind::Protocol, "the image has too many indexes in indexes")
}

/// Reads the configuration that a manifest in the store names.
fn read_config(ctx: &Ctx, found: &Found, platform: &Platform) -> Result<Config> {
    let data = content::read(ctx, &found.manifest.config.digest, MAX_DOCUMENT)?;
    let config = Config::parse(&data, found.manifest.layers.len())?;
    if !found.declared {
        config.check_platform(platform)?;
    }
    Ok(config)
}

/// What a container needs of an image: what its file system is made of, and its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// The chain ID of all its layers: the name of the snapshot to start from. Empty where it has
    /// none.
    pub(crate) chain_id: String,
    /// The image's configuration (OCI image specification, `config.json`), as it is stored.
    pub(crate) config: serde_json::Value,
}

impl Unpacked {
    fn new(config: Config) -> Unpacked {
        let chain_id = digest::chain_ids(&config.diff_ids).pop().unwrap_or_default();
        Unpacked { chain_id, config: config.value }
    }
}

/// The full name of the image that a container is to be made from.
pub(crate) fn name_for_container(image: &str) -> Result<String> {
    Reference::parse_argument("image", image).map(|reference| reference.to_string())
}

/// Looks an image up by its full name and gives what a container needs of it, for this machine's
/// platform. One RPC where the image is in the cache.
pub(crate) fn for_container(client: &Inner, ctx: &Ctx, name: &str) -> Result<Unpacked> {
    let target = images::get(ctx, name)?.target;
    let known = client.images.get(&target.digest);
    if let Some(unpacked) = known.as_deref().and_then(|known| known.unpacked.as_ref()) {
        return Ok(unpacked.clone());
    }
    let platform = Platform::host();
    let found = read_manifest(ctx, &target, &platform).step("read image")?;
    let config = read_config(ctx, &found, &platform).step("read image")?;
    let unpacked = Unpacked::new(config);
    let known = Known { size: found.size(), unpacked: Some(unpacked.clone()) };
    client.images.insert(&target.digest, known);
    Ok(unpacked)
}

/// Unpacks an image whose content is there: for an image whose snapshots are gone.
pub(crate) fn unpack(client: &Inner, ctx: &Ctx, reference: &str, snapshotter: &str) -> Result<()> {
    let name = Reference::parse(reference)?.to_string();
    let (ctx, _lease) = Lease::hold(client, ctx)?;
    let target = images::get(&ctx, &name)?.target;
    let platform = Platform::host();
    let found = read_manifest(&ctx, &target, &platform).step("read image")?;
    let config = read_config(&ctx, &found, &platform).step("read image")?;
    let unpack = || {
        let unpack = Unpack::new(client, &ctx, snapshotter, &found.manifest, &config)?;
        for at in unpack.survey()?..found.manifest.layers.len() {
            unpack.layer(at)?;
        }
        unpack.finish()
    };
    unpack().step("unpack layers")
}
