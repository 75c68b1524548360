//! Unpacking: each layer becomes a snapshot on top of the layer below, named by its chain ID.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::digest;
use super::manifest::{Config, Manifest};
use super::platform::Platform;
use super::resolve::ResolvedImage;
use super::store::{self, quick, whole_layer};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::lease::Lease;
use crate::random::random_hex;
use crate::rpc::snapshots::Mount;
use crate::rpc::{Ctx, content, diff, leases, snapshots};
use crate::wait::until_reached;

/// The label that names the committed snapshot that an active one will become. containerd adds both
/// to the lease because of it.
const TARGET_LABEL: &str = "containerd.io/snapshot.ref";

/// How often a layer is attempted whose snapshot other clients create and remove at the same time.
const ATTEMPTS: usize = 3;

/// How long removing an unfinished snapshot may take.
const UNDO_TIMEOUT: Duration = Duration::from_secs(5);

/// Unpacks an image whose content is in the store already: for an image whose snapshots are missing.
pub(crate) fn unpack(
    client: &Inner,
    ctx: &Ctx,
    image: &ResolvedImage,
    snapshotter: &str,
) -> Result<()> {
    let (ctx, _lease) = Lease::hold(client, ctx)?;
    let platform = Platform::host();
    let stored = store::read_manifest(&ctx, &image.target, &platform).step("read image")?;
    let config = store::read_config(&ctx, &stored, &platform).step("read image")?;
    let unpack = || {
        let unpacker = Unpacker::new(client, &ctx, snapshotter, &stored.manifest, &config)?;
        for index in unpacker.unpacked_layers()?..stored.manifest.layers.len() {
            unpacker.layer(index)?;
        }
        unpacker.finish()
    };
    unpack().step("unpack layers")
}

/// Unpacks one image with one snapshotter.
pub(super) struct Unpacker<'a> {
    client: &'a Inner,
    /// It has the lease that holds the snapshots.
    ctx: &'a Ctx,
    snapshotter: &'a str,
    manifest: &'a Manifest,
    config: &'a Config,
    chain_ids: Vec<String>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(
        client: &'a Inner,
        ctx: &'a Ctx,
        snapshotter: &'a str,
        manifest: &'a Manifest,
        config: &'a Config,
    ) -> Result<Unpacker<'a>> {
        manifest.check_layers()?;
        let chain_ids = digest::chain_ids(&config.diff_ids);
        Ok(Unpacker { client, ctx, snapshotter, manifest, config, chain_ids })
    }

    /// How many layers, counted from the lowest, are unpacked already. The lease holds them from now on.
    pub(super) fn unpacked_layers(&self) -> Result<usize> {
        let ctx = quick(self.client, self.ctx);
        for index in (0..self.chain_ids.len()).rev() {
            match snapshots::stat(&ctx, self.snapshotter, self.chain_id(index)) {
                Ok(_) if self.add_to_lease(index)? => return Ok(index + 1),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(0)
    }

    /// Unpacks one layer. Its content is in the store, and the layer below is unpacked.
    pub(super) fn layer(&self, index: usize) -> Result<()> {
        let chain_id = self.chain_id(index);
        let key = format!("{} {} {chain_id}", self.ctx.namespace, self.snapshotter);
        let _lock = self.client.pull_locks.lock(key, "another pull", &self.ctx.limits)?;
        for _ in 0..ATTEMPTS {
            let Some((key, mounts)) = self.prepare(index)? else {
                if self.add_to_lease(index)? {
                    return Ok(());
                }
                continue;
            };
            let committed = self.apply(index, &key, &mounts);
            if matches!(committed, Ok(true)) {
                return Ok(());
            }
            self.remove(&key);
            committed?;
        }
        Err(Error::new(
            ErrorKind::Aborted,
            format!("other clients create and remove the snapshot {chain_id} at the same time"),
        )
        .with_retryable(true))
    }

    /// Labels the configuration with the image's snapshot, so that containerd's garbage collector keeps
    /// the snapshot as long as the image.
    pub(super) fn finish(&self) -> Result<()> {
        let Some(top) = self.chain_ids.last() else { return Ok(()) };
        let label = format!("containerd.io/gc.ref.snapshot.{}", self.snapshotter);
        let ctx = quick(self.client, self.ctx);
        content::set_labels(&ctx, &self.manifest.config.digest, &[(label, top.clone())])
    }

    /// The chain ID of a layer, which is the name of its snapshot.
    fn chain_id(&self, index: usize) -> &str {
        self.chain_ids.get(index).map_or("", String::as_str)
    }

    /// Adds an existing snapshot to the lease: containerd itself (1.6) adds only new ones, when they are
    /// prepared and committed. Returns false if the snapshot was removed meanwhile.
    fn add_to_lease(&self, index: usize) -> Result<bool> {
        let ctx = quick(self.client, self.ctx);
        if let Some(lease) = &ctx.lease {
            leases::add_snapshot(&ctx, lease, self.snapshotter, self.chain_id(index))?;
        }
        match snapshots::stat(&ctx, self.snapshotter, self.chain_id(index)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Prepares the snapshot of a layer and returns its key and mounts; `None` if the layer is unpacked
    /// already.
    fn prepare(&self, index: usize) -> Result<Option<(String, Vec<Mount>)>> {
        let ctx = quick(self.client, self.ctx);
        let chain_id = self.chain_id(index);
        let parent = index.checked_sub(1).map_or("", |below| self.chain_id(below));
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The form that other clients use too, so that tools recognise it.
        let key = format!("extract-{}-{} {chain_id}", nanos.subsec_nanos(), random_hex()?);
        match snapshots::prepare(&ctx, self.snapshotter, &key, parent, &self.labels(index)) {
            Ok(mounts) => Ok(Some((key, mounts))),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(e) => {
                if e.is_outcome_unknown() {
                    self.remove(&key);
                }
                Err(e)
            }
        }
    }

    /// Applies the layer to the snapshot and commits it. Returns false if another client has committed
    /// the layer first.
    fn apply(&self, index: usize, key: &str, mounts: &[Mount]) -> Result<bool> {
        let (Some(layer), Some(diff_id)) =
            (self.manifest.layers.get(index), self.config.diff_ids.get(index))
        else {
            return Err(Error::new(ErrorKind::Internal, format!("there is no layer {index}")));
        };
        let layer = &layer.descriptor;
        let applied = diff::apply(&whole_layer(self.ctx), layer, mounts)?;
        if applied.digest != *diff_id {
            return Err(Error::new(
                ErrorKind::DataLoss,
                format!(
                    "the layer {} unpacks to {}, but the configuration says {diff_id}",
                    layer.digest, applied.digest
                ),
            ));
        }
        let ctx = quick(self.client, self.ctx);
        let committed = snapshots::commit(
            &whole_layer(self.ctx),
            self.snapshotter,
            self.chain_id(index),
            key,
            &self.labels(index),
        );
        let first = match committed {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e),
        };
        let label = ("containerd.io/uncompressed".to_owned(), diff_id.clone());
        content::set_labels(&ctx, &layer.digest, &[label])?;
        Ok(first)
    }

    fn labels(&self, index: usize) -> [(String, String); 1] {
        [(TARGET_LABEL.to_owned(), self.chain_id(index).to_owned())]
    }

    /// Removes an unfinished snapshot, whatever the reason. If that fails, the snapshot is collected
    /// after the lease has ended.
    fn remove(&self, key: &str) {
        let ctx = self.ctx.without_lease().with_limits(Limits::within(UNDO_TIMEOUT));
        match until_reached(&ctx.limits, || snapshots::remove(&ctx, self.snapshotter, key)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                log::warn!("the unfinished snapshot {key:?} is left to the garbage collector: {e}");
            }
            _ => {}
        }
    }
}
