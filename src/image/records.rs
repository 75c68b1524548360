//! The records of images, each a name with the descriptor of a manifest or an index: looking them up,
//! listing and removing them.

use std::time::SystemTime;

use super::cache::CachedImage;
use super::platform::Platform;
use super::reference::Reference;
use super::store;
use crate::call::Call;
use crate::error::{Error, ErrorKind, ErrorReason, Result};
use crate::filter;
use crate::inner::Inner;
use crate::rpc::content::Descriptor;
use crate::rpc::{Ctx, images};

/// An image's record in containerd.
///
/// ```no_run
/// # fn f(client: &ctrd::Client) -> ctrd::Result<()> {
/// for image in client.list_images(&[], &ctrd::Call::new())? {
///     println!("{} {} {} bytes", image.name(), image.digest(), image.size());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    id: String,
    digest: String,
    media_type: String,
    size: u64,
    labels: Vec<(String, String)>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl Image {
    /// The name. A pull uses the complete reference; other clients may use any text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 12 hexadecimal digits of the digest.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The digest of the index or manifest that the name refers to.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The media type of the index or manifest that the name refers to.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The size of the manifest, the configuration and the layers for this platform, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The record's labels, sorted by key.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// When the record was created, by the server's clock.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }

    /// When the record was last changed, by the server's clock.
    pub fn updated_at(&self) -> Option<SystemTime> {
        self.updated_at
    }

    pub(super) fn new(record: images::Image, size: u64) -> Image {
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

pub(crate) fn get(client: &Inner, name: &str, call: &Call) -> Result<Image> {
    check_name("reference", name)?;
    let operation = client.begin(call)?;
    let record = look_up(&operation.ctx, "reference", name)?;
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

/// How an image is removed.
///
/// ```no_run
/// use ctrd::{Call, Client, RemoveImageConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// // When this returns, the image's space on the disk is free again.
/// client.remove_image("busybox", &RemoveImageConfig::new().sync(true), &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RemoveImageConfig {
    sync: bool,
}

impl RemoveImageConfig {
    /// The image's record is removed; the next garbage collection removes the rest.
    pub fn new() -> RemoveImageConfig {
        RemoveImageConfig::default()
    }

    /// Whether to wait until the garbage collection has removed everything that only the image
    /// referred to. Default: no.
    pub fn sync(mut self, sync: bool) -> RemoveImageConfig {
        self.sync = sync;
        self
    }
}

pub(crate) fn remove(
    client: &Inner,
    name: &str,
    config: &RemoveImageConfig,
    call: &Call,
) -> Result<()> {
    check_name("reference", name)?;
    let operation = client.begin(call)?;
    by_name("reference", name, |name| images::delete(&operation.ctx, name, config.sync))
}

/// Checks the name of an image before anything is sent. Any text may be one: containerd does not
/// restrict names, and other clients record short references, digests and more.
pub(crate) fn check_name(argument: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(argument, "must not be empty"));
    }
    Ok(())
}

/// Looks up the record that a caller's name means: see [`by_name`].
pub(super) fn look_up(ctx: &Ctx, argument: &str, name: &str) -> Result<images::Image> {
    by_name(argument, name, |name| images::get(ctx, name))
}

/// Makes a request about the image that a caller's name means: the image of exactly this name, or, only
/// if there is none, the image whose name is the completed reference. So the request is made once for
/// a name as containerd has it. If there is neither image, the error is `NotFound`, or
/// `InvalidArgument` if the name is not even a reference.
fn by_name<T>(argument: &str, name: &str, request: impl Fn(&str) -> Result<T>) -> Result<T> {
    let not_found = match request(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => e,
        other => return other,
    };
    let completed = Reference::parse_argument(argument, name)
        .map_err(|e| {
            let e = e.followed_by(", and no image has this name");
            e.with_reason(Some(ErrorReason::NoImage))
        })?
        .to_string();
    if completed == name {
        return Err(not_found);
    }
    request(&completed).map_err(|e| match e.kind() {
        ErrorKind::NotFound => e.context(format_args!("no image has the name {name:?}")),
        _ => e,
    })
}

/// The size of an image for this machine's platform. If content is missing or malformed (anybody may
/// create a record, of anything), it is the size of the index or manifest that the name refers to.
fn size(client: &Inner, ctx: &Ctx, target: &Descriptor) -> Result<u64> {
    if let Some(cached) = client.images.get(&target.digest) {
        return Ok(cached.size);
    }
    match store::read_manifest(ctx, target, &Platform::host()) {
        Ok(stored) => {
            let size = stored.size();
            client.images.insert(&target.digest, CachedImage { size, content: None });
            Ok(size)
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The names that are requested for `name` if containerd has the images `existing`, and the result.
    fn requested(name: &str, existing: &[&str]) -> (Vec<String>, Result<String>) {
        let requested = RefCell::new(Vec::new());
        let result = by_name("image", name, |name| {
            requested.borrow_mut().push(name.to_owned());
            match existing.contains(&name) {
                true => Ok(name.to_owned()),
                false => Err(Error::new(ErrorKind::NotFound, format!("{name}: not found"))),
            }
        });
        (requested.into_inner(), result)
    }

    #[test]
    fn the_exact_name_wins_over_the_completed_one() {
        let full = "docker.io/library/busybox:9";
        for (name, existing, expected) in [
            ("busybox:9", &["busybox:9", full][..], "busybox:9"),
            ("busybox:9", &[full], full),
            (full, &["busybox:9", full], full),
            ("Not a reference", &["Not a reference"], "Not a reference"),
        ] {
            let (requested, result) = requested(name, existing);
            assert_eq!(result.unwrap(), expected);
            assert_eq!(requested.len(), if name == expected { 1 } else { 2 }, "{requested:?}");
        }
    }

    #[test]
    fn an_image_that_does_not_exist_is_reported_by_its_name() {
        let full = "docker.io/library/busybox:9";
        let (names, result) = requested(full, &["busybox:9"]);
        assert_eq!((names.len(), result.unwrap_err().kind()), (1, ErrorKind::NotFound));
        let (names, result) = requested("busybox:9", &["busybox"]);
        let error = result.unwrap_err();
        assert_eq!((names.len(), error.kind()), (2, ErrorKind::NotFound));
        assert!(error.message().contains("\"busybox:9\"") && error.message().contains(full));
        let (names, result) = requested("a b", &[]);
        let error = result.unwrap_err();
        assert_eq!((names.len(), error.kind()), (1, ErrorKind::InvalidArgument));
        assert!(error.message().starts_with("image: \"a b\""), "{error}");
        assert!(error.message().ends_with("no image has this name"), "{error}");
    }

    #[test]
    fn another_error_ends_the_lookup() {
        let broken = by_name("image", "busybox", |name| match name {
            "busybox" => Err::<(), _>(Error::new(ErrorKind::Unavailable, "the connection broke")),
            other => panic!("{other} was requested"),
        });
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
