//! Reading an image's documents from containerd's content store, and how long a request about an
//! image's content may take.

use std::time::Duration;

use super::manifest::{Config, Document, MAX_DOCUMENT, Manifest};
use super::platform::Platform;
use crate::error::{Error, ErrorKind, Result};
use crate::inner::Inner;
use crate::rpc::Ctx;
use crate::rpc::content::{self, Descriptor};

/// How many indexes there may be, each in the one before it.
pub(super) const MAX_DEPTH: usize = 4;

/// How long a request may take that writes, hashes or unpacks a whole layer.
const LAYER_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A context for requests that a healthy server answers quickly.
pub(super) fn quick(client: &Inner, ctx: &Ctx) -> Ctx {
    ctx.with_limits(ctx.limits.at_most(client.config.call_timeout))
}

/// A context for requests that handle a whole layer.
pub(super) fn whole_layer(ctx: &Ctx) -> Ctx {
    ctx.with_limits(ctx.limits.at_most(LAYER_TIMEOUT))
}

/// A manifest in the content store.
pub(super) struct StoredManifest {
    pub(super) manifest: Manifest,
    /// The manifest's own size, in bytes.
    length: u64,
    /// Whether an index says that the manifest is for the platform.
    platform_declared: bool,
}

impl StoredManifest {
    /// The size of the manifest, the configuration and the layers, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.manifest.size().saturating_add(self.length)
    }
}

/// Reads the manifest for a platform.
pub(super) fn read_manifest(
    ctx: &Ctx,
    target: &Descriptor,
    platform: &Platform,
) -> Result<StoredManifest> {
    let mut descriptor = target.clone();
    let mut platform_declared = false;
    for _ in 0..MAX_DEPTH {
        let data = content::read(ctx, &descriptor.digest, MAX_DOCUMENT)?;
        match Document::parse(&data, &descriptor.media_type)?.0 {
            Document::Manifest(manifest) => {
                let length = data.len() as u64;
                return Ok(StoredManifest { manifest, length, platform_declared });
            }
            Document::Index(index) => {
                let (chosen, declared) = index.choose(platform)?;
                descriptor = chosen.clone();
                platform_declared |= declared;
            }
        }
    }
    Err(too_deep())
}

pub(super) fn too_deep() -> Error {
    let why = format!("the image has more than {MAX_DEPTH} indexes, each in the one before it");
    Error::new(ErrorKind::Protocol, why)
}

/// Reads the configuration that a manifest names.
pub(super) fn read_config(
    ctx: &Ctx,
    stored: &StoredManifest,
    platform: &Platform,
) -> Result<Config> {
    let data = content::read(ctx, &stored.manifest.config.digest, MAX_DOCUMENT)?;
    let config = Config::parse(&data, stored.manifest.layers.len())?;
    if !stored.platform_declared {
        config.check_platform(platform)?;
    }
    Ok(config)
}
