//! Pulling: from a reference to an image that a container can be made from.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

use super::auth::check_token_hosts;
use super::manifest::{Config, Document, Layer, MAX_DOCUMENT, Manifest};
use super::platform::Platform;
use super::progress::{Board, Item};
use super::reference::Reference;
use super::registry::{Registry, mismatch, pause};
use super::unpack::Unpack;
use super::{
    Image, Known, MAX_DEPTH, Progress, ProgressStatus, PullConfig, Unpacked, brief, long, too_deep,
};
use crate::call::{Call, Limits};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::keyed_mutex::KeyGuard;
use crate::lease::Lease;
use crate::rpc::content::{Descriptor, Writer};
use crate::rpc::{Ctx, content, images};
use crate::snapshot;
use crate::submit;
use crate::sys;

/// How many layers are fetched at once.
const FETCHERS: usize = 3;

/// How often the caller hears of the progress, and a pull looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);

/// How much is sent to the store at once.
const PIECE: usize = 512 << 10;

/// How much is read from the registry at once.
const BUFFER: usize = 64 << 10;

/// How often a blob's download may break in succession without a byte gained.
const MAX_BREAKS: u32 = 3;

/// How long to wait after a break; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How long to wait at first, and at most, where another client is writing the same blob.
const LOCK_BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long to wait until the server has seen that a writer is gone.
const SETTLE: Duration = Duration::from_millis(20);

/// The longest label that containerd takes, key and value together (`labels.maxSize`).
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
    let (ctx, _lease) = Lease::hold(client, &brief(client, &operation.ctx))?;

    // The pull's own handle ends its threads, whatever is the reason.
    let stop = Cancel::new();
    let ctx = ctx.with_limits(Limits { cancel: Some(stop.clone()), ..limits.clone() });
    let (board, item) = Board::new(&reference.to_string());
    let pull = Pull {
        client,
        registry: Registry::new(&reference, config, &ctx.limits),
        ctx,
        stop: &stop,
        board: &board,
        platform,
        snapshotter: (!config.no_unpack).then_some(snapshotter),
    };
    let result = thread::scope(|scope| {
        let (sender, receiver) = bounded(1);
        let (pull, reference) = (&pull, &reference);
        let _worker = Worker::spawn(scope, move || {
            // The receiver is there until the answer has come.
            let _ = sender.send(pull.run(reference, item));
        })?;
        // Also where `progress` panics; before the thread is waited for.
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
            progress(&board.snapshot());
        }
    });
    progress(&board.snapshot());
    result
}

/// What a pull that was ended says: why it was ended, and in which step.
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

/// A thread of a pull's. Dropped, it is waited for, so that not even its last moments are seen after
/// the pull; the scope alone waits for its work.
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
        // A panic of its own has been told of by the channel that it closed.
        let _ = self.0.take().map(ScopedJoinHandle::join);
    }
}

/// One pull. Its context carries the lease, and ends with the pull.
struct Pull<'a> {
    client: &'a Inner,
    ctx: Ctx,
    registry: Registry,
    stop: &'a Cancel,
    board: &'a Board,
    platform: Platform,
    /// `None`: the content alone.
    snapshotter: Option<&'a str>,
}

impl Pull<'_> {
    fn run(&self, reference: &Reference, item: Item) -> Result<Image> {
        let resolved = self.registry.resolve(reference.object()).step("resolve")?;
        self.board.set(item, ProgressStatus::Resolved);
        let mut target = Descriptor {
            media_type: resolved.media_type,
            digest: resolved.digest,
            size: resolved.size,
            ..Descriptor::default()
        };
        let (media_type, manifest, size, declared) = self.walk(&target).step("fetch manifest")?;
        target.media_type = media_type;
        let config = self.config(&manifest).step("fetch configuration")?;
        if !declared {
            config.check_platform(&self.platform)?;
        }

        let unpack = match self.snapshotter {
            Some(snapshotter) => Some(
                Unpack::new(self.client, &self.ctx, snapshotter, &manifest, &config)
                    .step("unpack layers")?,
            ),
            None => None,
        };
        self.layers(&manifest.layers, unpack.as_ref())?;
        if let Some(unpack) = &unpack {
            unpack.finish().step("unpack layers")?;
        }
        let record = self.record(&reference.to_string(), &target).step("create image")?;

        let size = size.saturating_add(manifest.size());
        if self.platform == Platform::host() {
            let known = Known { unpacked: Some(Unpacked::new(config)), size };
            self.client.images.insert(&target.digest, known);
        }
        Ok(Image::new(record, size))
    }

    /// From what the name stands for to the manifest for the platform. Gives the media type of the
    /// first, the manifest and its size, and whether an index said that it is for the platform.
    fn walk(&self, target: &Descriptor) -> Result<(String, Manifest, u64, bool)> {
        let mut descriptor = target.clone();
        let mut first = None;
        let mut declared = false;
        for _ in 0..MAX_DEPTH {
            let (document, media_type) = self.document(&descriptor)?;
            let first = first.get_or_insert(media_type);
            match document {
                Document::Manifest(manifest) => {
                    return Ok((first.clone(), manifest, descriptor.size, declared));
                }
                Document::Index(index) => {
                    let (chosen, says_so) = index.choose(&self.platform)?;
                    descriptor = chosen.clone();
                    declared |= says_so;
                }
            }
        }
        Err(too_deep())
    }

    /// Sees to it that a manifest or an index is in the store, and reads it.
    fn document(&self, descriptor: &Descriptor) -> Result<(Document, String)> {
        check_size(descriptor)?;
        let name = format!("{}-{}", Document::kind(&descriptor.media_type), descriptor.digest);
        let item = self.board.add(name.clone(), descriptor.size);
        let _turn = self.turn(&name)?;
        let Some(writer) = self.open(&name, descriptor)? else {
            let ctx = brief(self.client, &self.ctx);
            let data = content::read(&ctx, &descriptor.digest, MAX_DOCUMENT)?;
            let (document, media_type) = Document::parse(&data, &descriptor.media_type)?;
            // Whoever wrote it may not have come to its labels yet.
            self.relabel(&descriptor.digest, document.references())?;
            self.board.set(item, ProgressStatus::Exists);
            return Ok((document, media_type));
        };
        self.board.advance(item, 0);
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
        let mut labels = document.references();
        labels.push(self.registry.source_label());
        self.put(writer, data, labels)?;
        self.board.set(item, ProgressStatus::Done);
        Ok((document, media_type))
    }

    /// Sees to it that the configuration is in the store, and reads it.
    fn config(&self, manifest: &Manifest) -> Result<Config> {
        let descriptor = &manifest.config;
        check_size(descriptor)?;
        let name = format!("config-{}", descriptor.digest);
        let item = self.board.add(name.clone(), descriptor.size);
        let _turn = self.turn(&name)?;
        let (data, status) = match self.open(&name, descriptor)? {
            None => {
                self.relabel(&descriptor.digest, Vec::new())?;
                let ctx = brief(self.client, &self.ctx);
                let data = content::read(&ctx, &descriptor.digest, MAX_DOCUMENT)?;
                (data, ProgressStatus::Exists)
            }
            Some(writer) => {
                self.board.advance(item, 0);
                let data = self.registry.small_blob(&descriptor.digest, descriptor.size)?;
                self.put(writer, data.clone(), vec![self.registry.source_label()])?;
                (data, ProgressStatus::Done)
            }
        };
        let config = Config::parse(&data, manifest.layers.len())?;
        self.board.set(item, status);
        Ok(config)
    }

    /// Fetches the layers, some at once, and unpacks them in order while others still come. Those
    /// that are unpacked already are not fetched.
    fn layers(&self, layers: &[Layer], unpack: Option<&Unpack<'_>>) -> Result<()> {
        let items: Vec<(&Layer, Item)> = layers
            .iter()
            .map(|layer| {
                let name = format!("layer-{}", layer.descriptor.digest);
                (layer, self.board.add(name, layer.descriptor.size))
            })
            .collect();
        let there = match unpack {
            Some(unpack) => unpack.survey().step("unpack layers")?,
            None => 0,
        };
        for (_, item) in items.iter().take(there) {
            self.board.set(*item, ProgressStatus::Exists);
        }
        let missing: Vec<_> = items.into_iter().enumerate().skip(there).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (sender, receiver) = unbounded();
            let mut workers = Vec::new();
            for _ in 0..missing.len().min(FETCHERS) {
                let (missing, next, sender) = (&missing, &next, sender.clone());
                let started = Worker::spawn(scope, move || {
                    while let Some((at, (layer, item))) =
                        missing.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let fetched = self.layer(layer, *item).step("fetch layer");
                        let failed = fetched.is_err();
                        // The receiver is there until every sender has gone.
                        let _ = sender.send((*at, fetched));
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

            let mut fetched = vec![None; there + missing.len()];
            let result = missing.iter().try_for_each(|(at, (_, item))| {
                while fetched.get(*at).is_some_and(Option::is_none) {
                    let (which, result) = receiver.recv().map_err(|_| {
                        Error::new(ErrorKind::Internal, "a layer's thread ended early")
                    })?;
                    let status = result?;
                    if let Some(slot) = fetched.get_mut(which) {
                        *slot = Some(status);
                    }
                }
                if let Some(unpack) = unpack {
                    self.board.set(*item, ProgressStatus::Extracting);
                    unpack.layer(*at).step("unpack layers")?;
                }
                let status = fetched.get(*at).copied().flatten();
                self.board.set(*item, status.unwrap_or(ProgressStatus::Done));
                Ok(())
            });
            result.map_err(|error: Error| {
                self.stop.fire();
                // Where one thread's failure has ended the others, it is the one to tell of.
                let causes = receiver.iter().filter_map(|(_, result)| result.err());
                let told = error.kind() != ErrorKind::Cancelled;
                let mut causes = causes.filter(|e| !told && e.kind() != ErrorKind::Cancelled);
                causes.next().unwrap_or(error)
            })
        })
    }

    /// Sees to it that a layer is in the store.
    fn layer(&self, layer: &Layer, item: Item) -> Result<ProgressStatus> {
        let descriptor = &layer.descriptor;
        let name = format!("layer-{}", descriptor.digest);
        let _turn = self.turn(&name)?;
        let mut resumed = true;
        loop {
            let Some(mut writer) = self.open(&name, descriptor)? else {
                self.relabel(&descriptor.digest, Vec::new())?;
                return Ok(ProgressStatus::Exists);
            };
            let limits = long(&self.ctx).limits;
            if writer.offset() > descriptor.size {
                writer.truncate(&limits)?;
            }
            resumed &= writer.offset() > 0;
            self.board.advance(item, writer.offset());
            let written = match self.copy_all(&mut writer, layer, item) {
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
            // It is not what its digest says: nobody is to go on from there.
            self.abort(&name);
            if !resumed {
                return Err(mismatch(&format!("the blob {} is damaged", descriptor.digest))
                    .caused_by(error));
            }
            // What was resumed may have been damaged before.
            resumed = false;
        }
    }

    /// Copies a blob into the store, from where the store has it on. A download that breaks goes on
    /// from there.
    fn copy_all(&self, writer: &mut Writer, layer: &Layer, item: Item) -> Result<()> {
        let mut breaks = 0;
        while writer.offset() < layer.descriptor.size {
            let before = writer.offset();
            let Err(broken) = self.copy(writer, layer, item)? else { continue };
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

    /// Copies what one request gives. The inner result is the registry's, the outer the store's.
    fn copy(&self, writer: &mut Writer, layer: &Layer, item: Item) -> Result<Result<()>> {
        let Descriptor { digest, size, .. } = &layer.descriptor;
        let blob = match self.registry.blob(digest, *size, writer.offset(), &layer.urls) {
            Ok(blob) => blob,
            Err(e) => return Ok(Err(e)),
        };
        let limits = long(&self.ctx).limits;
        let mut reader = blob.reader;
        // What the store has already, where the registry does not begin in the middle.
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
                    self.board.advance(item, writer.offset() + piece.len() as u64);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => end = Some(Err(self.registry.broken(e, digest))),
            }
            if writer.offset() + piece.len() as u64 > *size {
                return Err(mismatch(&format!("more than the {size} bytes of {digest} came")));
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
            // Once all is there, how the connection ended is of no interest.
            _ if writer.offset() == *size => Ok(Ok(())),
            Some(result) => Ok(result),
            None => Ok(Ok(())),
        }
    }

    /// Waits for the other pulls of this client that are at the same blob.
    fn turn(&self, name: &str) -> Result<KeyGuard> {
        let key = format!("{} {name}", self.ctx.namespace);
        self.client.images.locks.lock(key, "another pull", &self.ctx.limits)
    }

    /// Opens the write of a blob; `None` where the store has it, which the lease then holds too.
    /// Waits for whoever else is writing it.
    fn open(&self, name: &str, descriptor: &Descriptor) -> Result<Option<Writer>> {
        let mut wait = LOCK_BACK_OFF.0;
        let mut damaged = false;
        loop {
            let limits = long(&self.ctx).limits;
            match Writer::open(&self.ctx, &limits, name, descriptor.size, &descriptor.digest) {
                // The code alone is that of a lost connection.
                Err(e) if e.kind() == ErrorKind::Unavailable && e.message().contains("locked") => {
                    pause(&self.ctx.limits, jittered(wait))?;
                    wait = (wait * 2).min(LOCK_BACK_OFF.1);
                }
                // All of it is there, if only in another namespace or not yet committed.
                Ok(Some(writer)) if writer.offset() == descriptor.size => {
                    match writer.commit(&limits, &[]) {
                        Err(e) if e.kind() == ErrorKind::FailedPrecondition && !damaged => {
                            damaged = true;
                            self.abort(name);
                        }
                        Err(e) => return Err(e),
                        Ok(()) => return Ok(None),
                    }
                }
                other => return other,
            }
        }
    }

    /// Writes and commits what is small and known to be right.
    fn put(&self, mut writer: Writer, data: Vec<u8>, labels: Vec<(String, String)>) -> Result<()> {
        let limits = long(&self.ctx).limits;
        if writer.offset() > 0 {
            writer.truncate(&limits)?;
        }
        writer.write(&limits, data)?;
        writer.commit(&limits, &labels)
    }

    /// Labels what is in the store already: adds this repository to those it can be had from.
    fn relabel(&self, digest: &str, mut labels: Vec<(String, String)>) -> Result<()> {
        let ctx = brief(self.client, &self.ctx);
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

    /// Drops a half-written blob. The server may still hold it for the writer that has just gone.
    fn abort(&self, name: &str) {
        let ctx = brief(self.client, &self.ctx);
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

    /// Makes the image's record, or lets the one of this name stand for the new target.
    fn record(&self, name: &str, target: &Descriptor) -> Result<images::Image> {
        let ctx = brief(self.client, &self.ctx);
        let image = || images::Image::new(name, target.clone(), Default::default());
        loop {
            match images::create(&ctx, image()) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
            match images::update(&ctx, image(), &["target"]) {
                // Removed meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
    }
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

/// Half to one and a half times as long, so that those who wait for the same come one by one.
fn jittered(time: Duration) -> Duration {
    let mut byte = [0u8; 1];
    // Without randomness it is merely not jittered well.
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    time / 2 + time * u32::from(byte[0]) / 255
}
