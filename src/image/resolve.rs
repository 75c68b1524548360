//! Resolving an image: from the name that a caller gives to what a container is made from.

use super::cache::{CachedImage, ImageContent};
use super::digest;
use super::manifest::Config;
use super::platform::Platform;
use super::records::look_up;
use super::store;
use crate::error::{Result, ResultExt};
use crate::inner::Inner;
use crate::rpc::Ctx;
use crate::rpc::content::Descriptor;

/// An image that a container can be made from, for this machine's platform.
#[derive(Debug)]
pub(crate) struct ResolvedImage {
    /// The name of the image's record, which may be a completion of the name that the caller gave.
    pub(crate) name: String,
    /// The index or manifest that the record refers to.
    pub(super) target: Descriptor,
    pub(crate) content: ImageContent,
}

impl ImageContent {
    pub(super) fn new(config: Config) -> ImageContent {
        let chain_id = digest::chain_ids(&config.diff_ids).pop().unwrap_or_default();
        ImageContent { chain_id, config: config.value }
    }
}

/// Resolves the argument `image`. If the image is cached and has exactly this name, it takes one RPC.
pub(crate) fn resolve(client: &Inner, ctx: &Ctx, name: &str) -> Result<ResolvedImage> {
    let record = look_up(ctx, "image", name)?;
    let content = content(client, ctx, &record.target)?;
    Ok(ResolvedImage { name: record.name, target: record.target, content })
}

fn content(client: &Inner, ctx: &Ctx, target: &Descriptor) -> Result<ImageContent> {
    let cached = client.images.get(&target.digest);
    if let Some(content) = cached.as_deref().and_then(|cached| cached.content.as_ref()) {
        return Ok(content.clone());
    }
    let platform = Platform::host();
    let stored = store::read_manifest(ctx, target, &platform).step("read image")?;
    let config = store::read_config(ctx, &stored, &platform).step("read image")?;
    let content = ImageContent::new(config);
    let image = CachedImage { size: stored.size(), content: Some(content.clone()) };
    client.images.insert(&target.digest, image);
    Ok(content)
}
