//! Unpacking: a snapshot for each layer, named by its chain ID, each on top of the one below.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::manifest::{Config, Manifest};
use super::{brief, digest, long};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::inner::Inner;
use crate::random::random_hex;
use crate::rpc::snapshots::Mount;
use crate::rpc::{Ctx, content, diff, leases, snapshots};
use crate::wait::until_reached;

/// Names the snapshot that an active one is to become; containerd then holds both by the lease.
const TARGET_LABEL: &str = "containerd.io/snapshot.ref";

/// How often a snapshot is prepared that exists and yet does not: others may make and remove it.
const ATTEMPTS: usize = 3;

/// How long removing a half-made snapshot may take.
const UNDO_TIMEOUT: Duration = Duration::from_secs(5);

/// One image on its way into one snapshotter.
pub(super) struct Unpack<'a> {
    pub(super) client: &'a Inner,
    /// With the lease that holds the snapshots.
    pub(super) ctx: &'a Ctx,
    pub(super) snapshotter: &'a str,
    pub(super) manifest: &'a Manifest,
    pub(super) config: &'a Config,
    chain: Vec<String>,
}

impl<'a> Unpack<'a> {
    pub(super) fn new(
        client: &'a Inner,
        ctx: &'a Ctx,
        snapshotter: &'a str,
        manifest: &'a Manifest,
        config: &'a Config,
    ) -> Result<Unpack<'a>> {
        manifest.check_layers()?;
        let chain = digest::chain_ids(&config.diff_ids);
        Ok(Unpack { client, ctx, snapshotter, manifest, config, chain })
    }

    /// How many layers, from the lowest on, are unpacked already. They are held by the lease then.
    pub(super) fn survey(&self) -> Result<usize> {
        let ctx = brief(self.client, self.ctx);
        for at in (0..self.chain.len()).rev() {
            match snapshots::stat(&ctx, self.snapshotter, self.name(at)) {
                Ok(_) if self.hold(at)? => return Ok(at + 1),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(0)
    }

    /// Unpacks one layer, whose content is there, onto the one below, which is unpacked.
    pub(super) fn layer(&self, at: usize) -> Result<()> {
        let turn = format!("{} {} {}", self.ctx.namespace, self.snapshotter, self.name(at));
        let _turn = self.client.images.locks.lock(turn, "another pull", &self.ctx.limits)?;
        for _ in 0..ATTEMPTS {
            let Some((key, mounts)) = self.prepare(at)? else {
                if self.hold(at)? {
                    return Ok(());
                }
                continue;
            };
            let committed = self.apply(at, &key, &mounts);
            if matches!(committed, Ok(true)) {
                return Ok(());
            }
            self.remove(&key);
            committed?;
        }
        Err(Error::new(
            ErrorKind::Aborted,
            format!("others make and remove the snapshot {} at the same time", self.name(at)),
        )
        .with_retryable(true))
    }

    /// Lets the configuration hold the image's snapshot, for as long as the image is there.
    pub(super) fn finish(&self) -> Result<()> {
        let Some(top) = self.chain.last() else { return Ok(()) };
        let label = format!("containerd.io/gc.ref.snapshot.{}", self.snapshotter);
        let ctx = brief(self.client, self.ctx);
        content::set_labels(&ctx, &self.manifest.config.digest, &[(label, top.clone())])
    }

    fn name(&self, at: usize) -> &str {
        self.chain.get(at).map_or("", String::as_str)
    }

    /// Lets the lease hold a snapshot that is there already: preparing and committing do so for new
    /// ones alone (containerd 1.6). False where it has gone before.
    fn hold(&self, at: usize) -> Result<bool> {
        let ctx = brief(self.client, self.ctx);
        if let Some(lease) = &ctx.lease {
            leases::add_snapshot(&ctx, lease, self.snapshotter, self.name(at))?;
        }
        match snapshots::stat(&ctx, self.snapshotter, self.name(at)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Prepares the snapshot of one layer and gives its key and mounts; `None` where the layer is
    /// unpacked already.
    fn prepare(&self, at: usize) -> Result<Option<(String, Vec<Mount>)>> {
        let ctx = brief(self.client, self.ctx);
        let name = self.name(at);
        let parent = at.checked_sub(1).map_or("", |below| self.name(below));
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // As the ecosystem names them, so that its tools know what this is.
        let key = format!("extract-{}-{} {name}", nanos.subsec_nanos(), random_hex()?);
        match snapshots::prepare(&ctx, self.snapshotter, &key, parent, &self.labels(at)) {
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

    /// Fills the snapshot and commits it. False where another client was faster.
    fn apply(&self, at: usize, key: &str, mounts: &[Mount]) -> Result<bool> {
        let (Some(layer), Some(diff_id)) =
            (self.manifest.layers.get(at), self.config.diff_ids.get(at))
        else {
            return Err(Error::new(ErrorKind::Internal, format!("there is no layer {at}")));
        };
        let layer = &layer.descriptor;
        let applied = diff::apply(&long(self.ctx), layer, mounts)?;
        if applied.digest != *diff_id {
            return Err(Error::new(
                ErrorKind::DataLoss,
                format!(
                    "the layer {} holds {} where the configuration says {diff_id}",
                    layer.digest, applied.digest
                ),
            ));
        }
        let ctx = brief(self.client, self.ctx);
        let name = self.name(at);
        let committed =
            snapshots::commit(&long(self.ctx), self.snapshotter, name, key, &self.labels(at));
        let first = match committed {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e),
        };
        let label = ("containerd.io/uncompressed".to_owned(), diff_id.clone());
        content::set_labels(&ctx, &layer.digest, &[label])?;
        Ok(first)
    }

    fn labels(&self, at: usize) -> [(String, String); 1] {
        [(TARGET_LABEL.to_owned(), self.name(at).to_owned())]
    }

    /// Removes a half-made snapshot, whatever ended the work on it. What cannot be removed goes
    /// with the lease.
    fn remove(&self, key: &str) {
        let ctx = self.ctx.without_lease().with_limits(Limits::within(UNDO_TIMEOUT));
        match until_reached(&ctx.limits, || snapshots::remove(&ctx, self.snapshotter, key)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                log::warn!("the snapshot {key:?} is left to be collected: {e}");
            }
            _ => {}
        }
    }
}
