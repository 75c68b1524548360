//! Pulling: fetching an image from its registry, unpacking it, and recording it.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

use super::auth::check_token_hosts;
use super::cache::{CachedImage, ImageContent};
use super::manifest::{Config, Document, Layer, MAX_DOCUMENT, Manifest};
use super::platform::Platform;
use super::progress::{ItemId, ProgressTracker};
use super::pull_config::PullConfig;
use super::records::Image;
use super::reference::Reference;
use super::registry::{Registry, mismatch, pause};
use super::store::{MAX_DEPTH, quick, too_deep, whole_layer};
use super::unpack::Unpacker;
use crate::call::{Call, Limits};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::lease::Lease;
use crate::message::{Progress, ProgressStatus};
use crate::rpc::content::{Descriptor, Opened, Writer};
use crate::rpc::{Ctx, content, images};
use crate::snapshot;
use crate::submit;
use crate::sys;

/// How many layers are downloaded at once.
const FETCHERS: usize = 3;

/// How often a pull reports its progress, and checks whether the call or the client has ended.
const TICK: Duration = Duration::from_millis(100);

/// How much is sent to the content store at once, in bytes.
const PIECE: usize = 512 << 10;

/// How much is read from the registry at once, in bytes.
const BUFFER: usize = 64 << 10;

/// How often in succession a blob's download may break without a byte received.
const MAX_BREAKS: u32 = 3;

/// How long to wait after a download broke; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How long to wait at first, and at most, while another client writes the same blob.
const LOCK_BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long to wait until the server has noticed that a writer is gone.
const SETTLE: Duration = Duration::from_millis(20);

/// The longest label that containerd accepts, key and value together (`labels.maxSize`).
const MAX_LABEL: usize = 4096;

pub(crate) fn pull(
    client: &Inner,
    config: &PullConfig,
    progress: &mut dyn FnMut(&[Progress]),
    call: &Call,
) -> Result<Image> {
    let reference = Reference::parse(&config.reference)?;
    let platform = match &config.platform {
        Some(text) => Platform::parse(text)?,
        None => Platform::host(),
    };
    let snapshotter = snapshot::snapshotter(client, config.snapshotter.as_deref())?;
    check_token_hosts(&config.token_hosts)?;
    let operation = client.begin_with(call, None)?;
    submit::begin_long()?;
    let limits = &operation.ctx.limits;
    let (ctx, _lease) = Lease::hold(client, &quick(client, &operation.ctx))?;

    // The pull's own cancel handle, which ends its threads for whatever reason.
    let stop = Cancel::new();
    let ctx = ctx.with_limits(Limits { cancel: Some(stop.clone()), ..limits.clone() });
    let (tracker, item) = ProgressTracker::new(&reference.to_string());
    let pull = Pull {
        client,
        registry: Registry::new(&reference, config, &ctx.limits),
        ctx,
        stop: &stop,
        tracker: &tracker,
        platform,
        snapshotter: config.unpack.then_some(snapshotter),
    };
    let result = thread::scope(|scope| {
        let (sender, receiver) = bounded(1);
        let (pull, reference) = (&pull, &reference);
        let _worker = Worker::spawn(scope, move || {
            // The receiver exists until the result has arrived.
            let _ = sender.send(pull.run(reference, item));
        })?;
        // Dropped before the worker, also if `progress` panics: so the worker ends soon.
        let _stop = FireOnDrop(&stop);
        let mut ended = None;
        loop {
            let tick = limits.remaining().map_or(TICK, |left| left.clamp(TICK / 100, TICK));
            match receiver.recv_timeout(tick) {
                Ok(result) => return merge(result, ended),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Internal, "the pull's thread ended early"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if ended.is_none() {
                let check = if client.is_closed() { Err(Inner::closed()) } else { limits.check() };
                ended = check.err();
                if ended.is_some() {
                    stop.fire();
                }
            }
            progress(&tracker.snapshot());
        }
    });
    progress(&tracker.snapshot());
    result
}

/// The result of a pull. If it was ended early, the error is the reason, with the step that the pull had
/// reached.
fn merge(result: Result<Image>, ended: Option<Error>) -> Result<Image> {
    match (result, ended) {
        (Err(error), Some(reason)) => {
            let reason = reason.with_outcome_unknown(error.is_outcome_unknown());
            Err(match error.failed_step() {
                Some(step) => reason.step(step),
                None => reason,
            })
        }
        (result, _) => result,
    }
}

struct FireOnDrop<'a>(&'a Cancel);

impl Drop for FireOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fire();
    }
}

/// A thread of a pull. Its drop joins it, so that no thread is left after the pull: the scope by itself
/// waits for the thread's closure only.
struct Worker<'scope>(Option<ScopedJoinHandle<'scope, ()>>);

impl<'scope> Worker<'scope> {
    fn spawn(
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() + Send + 'scope,
    ) -> Result<Worker<'scope>> {
        sys::with_signals_blocked(|| {
            thread::Builder::new().name("ctrd-pull".into()).spawn_scoped(scope, work)
        })
        .map(|handle| Worker(Some(handle)))
        .map_err(|e| Error::io("starting a thread", e))
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        // If it panicked, the receiver of its channel has reported that.
        let _ = self.0.take().map(ScopedJoinHandle::join);
    }
}

/// A pull. Its context has the lease and the pull's cancel handle.
struct Pull<'a> {
    client: &'a Inner,
    ctx: Ctx,
    registry: Registry,
    stop: &'a Cancel,
    tracker: &'a ProgressTracker,
    platform: Platform,
    /// `None` if the content is not unpacked.
    snapshotter: Option<&'a str>,
}

impl Pull<'_> {
    fn run(&self, reference: &Reference, item: ItemId) -> Result<Image> {
        let mut target = self.registry.resolve(reference.object()).step("resolve")?;
        self.tracker.set_status(item, ProgressStatus::Resolved);
        let fetched = self.fetch_manifest(&target).step("fetch manifest")?;
        let manifest = fetched.manifest;
        target.media_type = fetched.target_media_type;
        let config = self.fetch_config(&manifest).step("fetch configuration")?;
        if !fetched.platform_declared {
            config.check_platform(&self.platform)?;
        }

        let unpacker = match self.snapshotter {
            Some(snapshotter) => Some(
                Unpacker::new(self.client, &self.ctx, snapshotter, &manifest, &config)
                    .step("unpack layers")?,
            ),
            None => None,
        };
        self.fetch_layers(&manifest.layers, unpacker.as_ref())?;
        if let Some(unpacker) = &unpacker {
            unpacker.finish().step("unpack layers")?;
        }
        let record = self.record(&reference.to_string(), &target).step("create image")?;

        let size = fetched.size.saturating_add(manifest.size());
        if self.platform == Platform::host() {
            let content = Some(ImageContent::new(config));
            self.client.images.insert(&target.digest, CachedImage { size, content });
        }
        Ok(Image::new(record, size))
    }

    /// Fetches the manifest for the platform, and the indexes that lead to it.
    fn fetch_manifest(&self, target: &Descriptor) -> Result<FetchedManifest> {
        let mut descriptor = target.clone();
        let mut target_media_type = None;
        let mut platform_declared = false;
        for _ in 0..MAX_DEPTH {
            let (document, media_type) = self.fetch_document(&descriptor)?;
            let target_media_type = target_media_type.get_or_insert(media_type);
            match document {
                Document::Manifest(manifest) => {
                    return Ok(FetchedManifest {
                        target_media_type: target_media_type.clone(),
                        manifest,
                        size: descriptor.size,
                        platform_declared,
                    });
                }
                Document::Index(index) => {
                    let (chosen, declared) = index.choose(&self.platform)?;
                    descriptor = chosen.clone();
                    platform_declared |= declared;
                }
            }
        }
        Err(too_deep())
    }

    /// Fetches a manifest or an index, unless the store has it, and parses it.
    fn fetch_document(&self, descriptor: &Descriptor) -> Result<(Document, String)> {
        check_size(descriptor)?;
        let name = format!("{}-{}", Document::kind(&descriptor.media_type), descriptor.digest);
        let item = self.tracker.add(name.clone(), descriptor.size);
        let _lock = self.lock(&name)?;
        let Some(writer) = self.open(&name, descriptor)? else {
            let ctx = quick(self.client, &self.ctx);
            let data = content::read(&ctx, &descriptor.digest, MAX_DOCUMENT)?;
            let (document, media_type) = Document::parse(&data, &descriptor.media_type)?;
            // The client that wrote it may not have set its labels yet.
            self.relabel(&descriptor.digest, document.gc_labels())?;
            self.tracker.set_status(item, ProgressStatus::Exists);
            return Ok((document, media_type));
        };
        self.tracker.set_offset(item, 0);
        let data = self.registry.manifest(&descriptor.digest)?;
        if data.len() as u64 != descriptor.size {
            return Err(mismatch(&format!(
                "the manifest {} has {} bytes and not {}",
                descriptor.digest,
                data.len(),
                descriptor.size
            )));
        }
        let (document, media_type) = Document::parse(&data, &descriptor.media_type)?;
        let mut labels = document.gc_labels();
        labels.push(self.registry.source_label());
        self.write(writer, data, labels)?;
        self.tracker.set_status(item, ProgressStatus::Done);
        Ok((document, media_type))
    }

    /// Fetches the configuration, unless the store has it, and parses it.
    fn fetch_config(&self, manifest: &Manifest) -> Result<Config> {
        let descriptor = &manifest.config;
        check_size(descriptor)?;
        let name = format!("config-{}", descriptor.digest);
        let item = self.tracker.add(name.clone(), descriptor.size);
        let _lock = self.lock(&name)?;
        let (data, status) = match self.open(&name, descriptor)? {
            None => {
                self.relabel(&descriptor.digest, Vec::new())?;
                let ctx = quick(self.client, &self.ctx);
                let data = content::read(&ctx, &descriptor.digest, MAX_DOCUMENT)?;
                (data, ProgressStatus::Exists)
            }
            Some(writer) => {
                self.tracker.set_offset(item, 0);
                let data = self.registry.small_blob(&descriptor.digest, descriptor.size)?;
                self.write(writer, data.clone(), vec![self.registry.source_label()])?;
                (data, ProgressStatus::Done)
            }
        };
        let config = Config::parse(&data, manifest.layers.len())?;
        self.tracker.set_status(item, status);
        Ok(config)
    }

    /// Fetches the layers, several at once, and unpacks them in order while others are still downloaded.
    /// Layers that are unpacked already are not fetched.
    fn fetch_layers(&self, layers: &[Layer], unpacker: Option<&Unpacker<'_>>) -> Result<()> {
        let items: Vec<(&Layer, ItemId)> = layers
            .iter()
            .map(|layer| {
                let name = format!("layer-{}", layer.descriptor.digest);
                (layer, self.tracker.add(name, layer.descriptor.size))
            })
            .collect();
        let unpacked = match unpacker {
            Some(unpacker) => unpacker.unpacked_layers().step("unpack layers")?,
            None => 0,
        };
        for (_, item) in items.iter().take(unpacked) {
            self.tracker.set_status(*item, ProgressStatus::Exists);
        }
        let missing: Vec<_> = items.into_iter().enumerate().skip(unpacked).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (sender, receiver) = unbounded();
            let mut workers = Vec::new();
            for _ in 0..missing.len().min(FETCHERS) {
                let (missing, next, sender) = (&missing, &next, sender.clone());
                let started = Worker::spawn(scope, move || {
                    while let Some((index, (layer, item))) =
                        missing.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let fetched = self.fetch_layer(layer, *item).step("fetch layer");
                        let failed = fetched.is_err();
                        // The receiver exists until every sender is dropped.
                        let _ = sender.send((*index, fetched));
                        if failed {
                            self.stop.fire();
                            return;
                        }
                    }
                });
                match started {
                    Ok(worker) => workers.push(worker),
                    Err(e) => {
                        self.stop.fire();
                        return Err(e);
                    }
                }
            }
            drop(sender);

            let mut fetched = vec![None; unpacked + missing.len()];
            let result = missing.iter().try_for_each(|(index, (_, item))| {
                while fetched.get(*index).is_some_and(Option::is_none) {
                    let (fetched_index, result) = receiver.recv().map_err(|_| {
                        Error::new(ErrorKind::Internal, "a layer's thread ended early")
                    })?;
                    let status = result?;
                    if let Some(slot) = fetched.get_mut(fetched_index) {
                        *slot = Some(status);
                    }
                }
                if let Some(unpacker) = unpacker {
                    self.tracker.set_status(*item, ProgressStatus::Extracting);
                    unpacker.layer(*index).step("unpack layers")?;
                }
                let status = fetched.get(*index).copied().flatten();
                self.tracker.set_status(*item, status.unwrap_or(ProgressStatus::Done));
                Ok(())
            });
            result.map_err(|error: Error| {
                self.stop.fire();
                // If one thread's failure cancelled the others, that failure is the error to report.
                let errors = receiver.iter().filter_map(|(_, result)| result.err());
                let is_cause = error.kind() != ErrorKind::Cancelled;
                let mut causes = errors.filter(|e| !is_cause && e.kind() != ErrorKind::Cancelled);
                causes.next().unwrap_or(error)
            })
        })
    }

    /// Fetches a layer, unless the store has it.
    fn fetch_layer(&self, layer: &Layer, item: ItemId) -> Result<ProgressStatus> {
        let descriptor = &layer.descriptor;
        let name = format!("layer-{}", descriptor.digest);
        let _lock = self.lock(&name)?;
        let mut resumed = true;
        loop {
            let Some(mut writer) = self.open(&name, descriptor)? else {
                self.relabel(&descriptor.digest, Vec::new())?;
                return Ok(ProgressStatus::Exists);
            };
            let limits = whole_layer(&self.ctx).limits;
            if writer.offset() > descriptor.size {
                writer.truncate(&limits)?;
            }
            resumed &= writer.offset() > 0;
            self.tracker.set_offset(item, writer.offset());
            let written = match self.download(&mut writer, layer, item) {
                Ok(()) => writer.commit(&limits, &[self.registry.source_label()]),
                Err(e) => Err(e),
            };
            let error = match written {
                Ok(()) => return Ok(ProgressStatus::Done),
                Err(e) => e,
            };
            if !matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::FailedPrecondition) {
                return Err(error);
            }
            // The content does not have its digest: nobody may resume it.
            self.abort(&name);
            if !resumed {
                return Err(mismatch(&format!("the blob {} is damaged", descriptor.digest))
                    .caused_by(error));
            }
            // The part that was resumed may have been damaged, so the download starts over once.
            resumed = false;
        }
    }

    /// Downloads the part of a blob that the store does not have. A download that breaks is resumed.
    fn download(&self, writer: &mut Writer, layer: &Layer, item: ItemId) -> Result<()> {
        let mut breaks = 0;
        while writer.offset() < layer.descriptor.size {
            let before = writer.offset();
            let Err(broken) = self.download_once(writer, layer, item)? else { continue };
            if writer.offset() > before {
                breaks = 0;
            }
            breaks += 1;
            if !broken.is_retryable() || breaks > MAX_BREAKS {
                return Err(broken);
            }
            pause(&self.ctx.limits, jittered(BACK_OFF * 2u32.pow(breaks - 1)))?;
        }
        Ok(())
    }

    /// Copies the answer to one request into the store. The inner result is that of the registry, the
    /// outer one that of the store.
    fn download_once(
        &self,
        writer: &mut Writer,
        layer: &Layer,
        item: ItemId,
    ) -> Result<Result<()>> {
        let Descriptor { digest, size, .. } = &layer.descriptor;
        let blob = match self.registry.blob(digest, *size, writer.offset(), &layer.urls) {
            Ok(blob) => blob,
            Err(e) => return Ok(Err(e)),
        };
        let limits = whole_layer(&self.ctx).limits;
        let mut reader = blob.reader;
        // The store already has this much of the answer if the registry does not support ranges.
        let mut skip = writer.offset().saturating_sub(blob.start);
        let mut buffer = vec![0; BUFFER];
        let mut piece = Vec::with_capacity(PIECE);
        let mut end = None;
        while end.is_none() {
            match reader.read(&mut buffer) {
                Ok(0) => end = Some(Ok(())),
                Ok(count) => {
                    let skipped = count.min(usize::try_from(skip).unwrap_or(usize::MAX));
                    skip -= skipped as u64;
                    piece.extend_from_slice(buffer.get(skipped..count).unwrap_or_default());
                    self.tracker.set_offset(item, writer.offset() + piece.len() as u64);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => end = Some(Err(self.registry.body_error(e, digest))),
            }
            if writer.offset() + piece.len() as u64 > *size {
                let why = format!("the registry sent more than the {size} bytes of {digest}");
                return Err(mismatch(&why));
            }
            if !piece.is_empty() && (end.is_some() || piece.len() + BUFFER > PIECE) {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
                writer.write(&limits, full)?;
            }
        }
        let ended_early = || {
            Error::new(
                ErrorKind::Unavailable,
                format!("{digest} ended after {} of {size} bytes", writer.offset()),
            )
        };
        match end {
            Some(Ok(())) | None if writer.offset() < *size => Ok(Err(ended_early())),
            // The blob is complete, however the connection ended.
            _ if writer.offset() == *size => Ok(Ok(())),
            Some(result) => Ok(result),
            None => Ok(Ok(())),
        }
    }

    /// Waits for other pulls of this client that fetch the same blob.
    fn lock(&self, name: &str) -> Result<KeyGuard> {
        let key = format!("{} {name}", self.ctx.namespace);
        self.client.pull_locks.lock(key, "another pull", &self.ctx.limits)
    }

    /// Opens a blob for writing; `None` if the store has the blob, which the lease then holds too. Waits
    /// while another client writes it.
    fn open(&self, name: &str, descriptor: &Descriptor) -> Result<Option<Writer>> {
        let mut wait = LOCK_BACK_OFF.0;
        let mut damaged = false;
        loop {
            let limits = whole_layer(&self.ctx).limits;
            match Writer::open(&self.ctx, &limits, name, descriptor.size, &descriptor.digest)? {
                Opened::Exists => return Ok(None),
                Opened::Locked => {
                    pause(&self.ctx.limits, jittered(wait))?;
                    wait = (wait * 2).min(LOCK_BACK_OFF.1);
                }
                // The content is complete: another namespace has it, or it is not committed yet.
                Opened::Writer(writer) if writer.offset() == descriptor.size => {
                    match writer.commit(&limits, &[]) {
                        Err(e) if e.kind() == ErrorKind::FailedPrecondition && !damaged => {
                            damaged = true;
                            self.abort(name);
                        }
                        Err(e) => return Err(e),
                        Ok(()) => return Ok(None),
                    }
                }
                Opened::Writer(writer) => return Ok(Some(*writer)),
            }
        }
    }

    /// Writes and commits a small blob whose digest has been checked.
    fn write(
        &self,
        mut writer: Writer,
        data: Vec<u8>,
        labels: Vec<(String, String)>,
    ) -> Result<()> {
        let limits = whole_layer(&self.ctx).limits;
        if writer.offset() > 0 {
            writer.truncate(&limits)?;
        }
        writer.write(&limits, data)?;
        writer.commit(&limits, &labels)
    }

    /// Labels a blob that the store had before: adds this repository to its sources.
    fn relabel(&self, digest: &str, mut labels: Vec<(String, String)>) -> Result<()> {
        let ctx = quick(self.client, &self.ctx);
        let (key, path) = self.registry.source_label();
        let labelled = content::blob_labels(&ctx, digest)?;
        let before = labelled.get(&key).map_or("", String::as_str);
        let mut paths: Vec<&str> = before.split(',').filter(|path| !path.is_empty()).collect();
        if !paths.contains(&path.as_str()) {
            paths.push(&path);
            paths.sort_unstable();
            let value = paths.join(",");
            if key.len() + value.len() <= MAX_LABEL {
                labels.push((key, value));
            }
        }
        labels.retain(|(key, value)| labelled.get(key) != Some(value));
        if labels.is_empty() { Ok(()) } else { content::set_labels(&ctx, digest, &labels) }
    }

    /// Drops an unfinished blob. The server may keep it locked for a moment for the writer that has gone.
    fn abort(&self, name: &str) {
        let ctx = quick(self.client, &self.ctx);
        for _ in 0..MAX_BREAKS {
            match content::abort(&ctx, name) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    if pause(&ctx.limits, SETTLE).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Creates the image's record, or updates the target of the record that has this name.
    fn record(&self, name: &str, target: &Descriptor) -> Result<images::Image> {
        let ctx = quick(self.client, &self.ctx);
        let image = || images::Image::new(name, target.clone(), Default::default());
        loop {
            match images::create(&ctx, image()) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
            match images::update(&ctx, image(), &["target"]) {
                // Another client has removed it meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
    }
}

/// A manifest that was fetched or read.
struct FetchedManifest {
    /// The media type of the index or manifest that the reference names.
    target_media_type: String,
    manifest: Manifest,
    /// The manifest's own size, in bytes.
    size: u64,
    /// Whether an index says that the manifest is for the platform.
    platform_declared: bool,
}

fn check_size(descriptor: &Descriptor) -> Result<()> {
    if descriptor.size > MAX_DOCUMENT {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("{} has more than {MAX_DOCUMENT} bytes", descriptor.digest),
        ));
    }
    Ok(())
}

/// Half to one and a half times as long, so that waiting clients do not all try at the same moment.
fn jittered(time: Duration) -> Duration {
    let mut byte = [0u8; 1];
    // If this fails, the wait is merely not random.
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    time / 2 + time * u32::from(byte[0]) / 255
}
