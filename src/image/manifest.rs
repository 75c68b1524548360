//! Manifests, indexes and image configurations: parsing them, and checking that they are what they
//! claim to be.

use serde_json::{Map, Value};

use super::digest;
use super::platform::Platform;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::content::Descriptor;

/// The longest manifest, index or configuration that is read, in bytes.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The `Accept` header of requests for manifests and indexes.
pub(super) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";

/// A manifest or an index.
#[derive(Debug)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// The manifest of an image for one platform.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Layer>,
}

/// A layer, and the URLs from which it can be fetched instead of the registry.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) urls: Vec<String>,
}

/// The manifests of an image, one for each platform.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    descriptor: Descriptor,
    platform: Option<Platform>,
}

impl Document {
    /// Parses a document and returns its media type. `media_type` is the one that the registry or an
    /// index declares for it, which may be empty or unspecific. An ambiguous document, or one of another
    /// type than declared, is refused: two clients could take it for different images
    /// (CVE-2021-41190).
    pub(super) fn parse(data: &[u8], media_type: &str) -> Result<(Document, String)> {
        let value: Value = serde_json::from_slice(data)
            .map_err(|e| malformed(format!("a manifest that is not JSON: {e}")))?;
        let object =
            value.as_object().ok_or_else(|| malformed("a manifest that is not an object"))?;
        let has = |key: &str| object.contains_key(key);
        if has("fsLayers") || object.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the image has a manifest of schema 1, which containerd no longer supports",
            ));
        }
        let own = match object.get("mediaType") {
            Some(Value::String(own)) => own.as_str(),
            Some(_) => return Err(malformed("a manifest whose media type is not a string")),
            None => "",
        };
        let declared = if is_known(media_type) { media_type } else { "" };
        if !own.is_empty() && !declared.is_empty() && own != declared {
            let why = format!("a manifest that is declared as {declared} and says it is {own}");
            return Err(malformed(why));
        }
        let is_index = has("manifests");
        let is_manifest = has("layers") || has("config");
        if is_index && is_manifest {
            return Err(malformed("a document that is both a manifest and an index"));
        }
        let named = [declared, own].into_iter().find(|name| !name.is_empty());
        let name = match named {
            Some(name) if is_known(name) => name,
            Some(name) => return Err(malformed(format!("a manifest of media type {name:?}"))),
            None if is_index => OCI_INDEX,
            None => OCI_MANIFEST,
        };
        let document = match name {
            OCI_INDEX | DOCKER_LIST if !is_manifest => Document::Index(Index::parse(object)?),
            OCI_MANIFEST | DOCKER_MANIFEST if !is_index => {
                Document::Manifest(Manifest::parse(object)?)
            }
            _ => {
                return Err(malformed(format!(
                    "a document that is not what its media type {name} says"
                )));
            }
        };
        Ok((document, name.to_owned()))
    }

    /// The word for such a document in progress items and in the names of ingests.
    pub(super) fn kind(media_type: &str) -> &'static str {
        if matches!(media_type, OCI_INDEX | DOCKER_LIST) { "index" } else { "manifest" }
    }

    /// The labels by which containerd's garbage collector keeps what the document refers to.
    pub(super) fn gc_labels(&self) -> Vec<(String, String)> {
        let label = |name: String, digest: &str| {
            (format!("containerd.io/gc.ref.content.{name}"), digest.to_owned())
        };
        match self {
            Document::Manifest(manifest) => {
                let layers = manifest.layers.iter().enumerate();
                std::iter::once(label("config".into(), &manifest.config.digest))
                    .chain(layers.map(|(i, l)| label(format!("l.{i}"), &l.descriptor.digest)))
                    .collect()
            }
            Document::Index(index) => {
                let entries = index.entries.iter().enumerate();
                entries.map(|(i, e)| label(format!("m.{i}"), &e.descriptor.digest)).collect()
            }
        }
    }
}

impl Manifest {
    fn parse(object: &Map<String, Value>) -> Result<Manifest> {
        let config =
            object.get("config").ok_or_else(|| malformed("a manifest without a config"))?;
        let layers = list(object, "layers")?.iter().map(|layer| {
            let urls = layer.get("urls").and_then(Value::as_array);
            let urls = urls.into_iter().flatten().filter_map(Value::as_str);
            Ok(Layer { descriptor: descriptor(layer)?, urls: urls.map(str::to_owned).collect() })
        });
        Ok(Manifest { config: descriptor(config)?, layers: layers.collect::<Result<_>>()? })
    }

    /// Checks that containerd can unpack every layer.
    pub(super) fn check_layers(&self) -> Result<()> {
        for layer in &self.layers {
            let media_type = layer.descriptor.media_type.as_str();
            if !is_layer(media_type) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the layer {} has the media type {media_type:?}, which is not a file system \
                         layer's",
                        layer.descriptor.digest
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The size of the configuration and the layers, in bytes.
    pub(super) fn size(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.descriptor.size);
        layers.fold(self.config.size, u64::saturating_add)
    }
}

impl Index {
    fn parse(object: &Map<String, Value>) -> Result<Index> {
        let entries = list(object, "manifests")?.iter().map(|entry| {
            let platform = match entry.get("platform") {
                None | Some(Value::Null) => None,
                Some(platform) => Some(platform_of(platform).unwrap_or_else(|| {
                    // An entry without an architecture is for no platform.
                    Platform::new("unknown", "unknown", "")
                })),
            };
            Ok(Entry { descriptor: descriptor(entry)?, platform })
        });
        Ok(Index { entries: entries.collect::<Result<_>>()? })
    }

    /// The best entry for this platform, and whether the entry names a platform. One that names none is
    /// chosen if no other fits.
    pub(super) fn choose(&self, platform: &Platform) -> Result<(&Descriptor, bool)> {
        let rank = |entry: &Entry| match &entry.platform {
            Some(offered) => platform.rank(offered),
            None => Some(usize::MAX),
        };
        self.entries
            .iter()
            .filter(|entry| is_known(&entry.descriptor.media_type))
            .filter_map(|entry| Some((rank(entry)?, entry)))
            // The first of several equals.
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| (&entry.descriptor, entry.platform.is_some()))
            .ok_or_else(|| {
                let available: Vec<String> = self
                    .entries
                    .iter()
                    .filter_map(|entry| entry.platform.as_ref())
                    .map(Platform::to_string)
                    .filter(|name| name != "unknown/unknown")
                    .collect();
                no_platform(platform, &available.join(", "))
            })
    }
}

/// An image's configuration.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) value: Value,
    /// The digest of each layer's uncompressed stream, the lowest first.
    pub(super) diff_ids: Vec<String>,
    platform: Option<Platform>,
}

impl Config {
    /// Parses the configuration of an image with this many layers.
    pub(super) fn parse(data: &[u8], layers: usize) -> Result<Config> {
        let value: Value = serde_json::from_slice(data)
            .map_err(|e| malformed(format!("a configuration that is not JSON: {e}")))?;
        let diff_ids = value
            .get("rootfs")
            .and_then(|rootfs| rootfs.get("diff_ids"))
            .map_or(Some(Vec::new()), |ids| {
                let ids = ids.as_array()?.iter();
                ids.map(|id| id.as_str().map(str::to_owned)).collect()
            })
            .filter(|ids| ids.iter().all(|id| digest::check(id).is_ok()))
            .ok_or_else(|| malformed("a configuration with malformed layer digests"))?;
        if diff_ids.len() != layers {
            return Err(malformed(format!(
                "a manifest of {layers} layers with a configuration of {}",
                diff_ids.len()
            )));
        }
        let platform = platform_of(&value);
        Ok(Config { value, diff_ids, platform })
    }

    /// Fails if the configuration names a platform that does not run on this one.
    pub(super) fn check_platform(&self, platform: &Platform) -> Result<()> {
        match &self.platform {
            Some(own) if platform.rank(own).is_none() => {
                Err(no_platform(platform, &own.to_string()))
            }
            _ => Ok(()),
        }
    }
}

fn no_platform(platform: &Platform, available: &str) -> Error {
    let available = if available.is_empty() { "none" } else { available };
    Error::new(
        ErrorKind::NotFound,
        format!("platform: the image has no manifest for {platform}; it has: {available}"),
    )
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("the image has {what}"))
}

fn is_known(media_type: &str) -> bool {
    matches!(media_type, DOCKER_MANIFEST | DOCKER_LIST | OCI_MANIFEST | OCI_INDEX)
}

fn is_layer(media_type: &str) -> bool {
    let (base, compression) = match media_type.strip_prefix("application/vnd.oci.image.layer.") {
        Some(rest) => rest.split_once('+').unwrap_or((rest, "")),
        None => {
            let docker = "application/vnd.docker.image.rootfs.";
            let Some(rest) = media_type.strip_prefix(docker) else { return false };
            match rest.strip_suffix(".tar") {
                Some(base) => (base, ""),
                None => rest.split_once(".tar.").unwrap_or((rest, "none")),
            }
        }
    };
    matches!(base, "v1.tar" | "nondistributable.v1.tar" | "diff" | "foreign.diff")
        && matches!(compression, "" | "gzip" | "zstd")
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(malformed(format!("a manifest whose {key} are not an array"))),
    }
}

fn descriptor(value: &Value) -> Result<Descriptor> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let digest = text("digest");
    digest::check(digest).map_err(malformed)?;
    // Annotations are not taken over: the image's author may write anything there.
    let size = value.get("size").and_then(Value::as_u64).filter(|size| *size > 0);
    Ok(Descriptor {
        media_type: text("mediaType").to_owned(),
        digest: digest.to_owned(),
        size: size.ok_or_else(|| malformed(format!("no size for {digest}")))?,
        ..Descriptor::default()
    })
}

fn platform_of(value: &Value) -> Option<Platform> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (os, architecture) = (text("os"), text("architecture"));
    if os.is_empty() || architecture.is_empty() {
        return None;
    }
    Some(Platform::new(os, architecture, text("variant")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sha(n: u8) -> String {
        digest::of(&[n])
    }

    fn entry(media_type: &str, n: u8) -> Value {
        json!({"mediaType": media_type, "digest": sha(n), "size": 7})
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "config": entry("application/vnd.oci.image.config.v1+json", 1),
            "layers": [entry("application/vnd.oci.image.layer.v1.tar+gzip", 2)],
        })
    }

    fn with(mut value: Value, key: &str, member: Value) -> Value {
        value[key] = member;
        value
    }

    fn parse(value: &Value, media_type: &str) -> Result<(Document, String)> {
        Document::parse(value.to_string().as_bytes(), media_type)
    }

    #[test]
    fn parses_documents_by_media_type_or_content() {
        for media_type in ["", "text/plain", OCI_MANIFEST] {
            let (document, name) = parse(&manifest(), media_type).unwrap();
            assert_eq!(name, OCI_MANIFEST);
            let labels = document.gc_labels();
            assert_eq!(labels[0], ("containerd.io/gc.ref.content.config".into(), sha(1)));
            assert_eq!(labels[1], ("containerd.io/gc.ref.content.l.0".into(), sha(2)));
        }
        let docker = with(manifest(), "mediaType", json!(DOCKER_MANIFEST));
        assert_eq!(parse(&docker, "").unwrap().1, DOCKER_MANIFEST);
        let index = json!({"schemaVersion": 2, "manifests": [entry(OCI_MANIFEST, 3)]});
        let (document, name) = parse(&index, "").unwrap();
        assert_eq!((name.as_str(), Document::kind(&name)), (OCI_INDEX, "index"));
        assert_eq!(document.gc_labels()[0].0, "containerd.io/gc.ref.content.m.0");
    }

    #[test]
    fn refuses_ambiguous_documents() {
        let index = json!({"schemaVersion": 2, "manifests": [entry(OCI_MANIFEST, 3)]});
        let docker = with(manifest(), "mediaType", json!(DOCKER_MANIFEST));
        for (value, media_type) in [
            (with(manifest(), "manifests", json!([])), ""),
            (with(index.clone(), "layers", json!([])), OCI_INDEX),
            (with(index.clone(), "config", json!({})), ""),
            (with(manifest(), "mediaType", json!(7)), ""),
            (with(manifest(), "mediaType", json!("application/x")), ""),
            (docker, OCI_MANIFEST),
            (index, OCI_MANIFEST),
            (manifest(), DOCKER_LIST),
            (json!([]), ""),
            (json!({}), ""),
        ] {
            let error = parse(&value, media_type).expect_err(&value.to_string());
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        }
        let old = json!({"schemaVersion": 1, "fsLayers": []});
        assert_eq!(parse(&old, "").unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn refuses_malformed_descriptors() {
        for bad in [
            json!(null),
            json!({"digest": "sha256:../../etc", "size": 1}),
            json!({"digest": sha(1)}),
            json!({"digest": sha(1), "size": -1}),
            json!({"digest": sha(1), "size": 0}),
            json!({"digest": sha(1), "size": 1.5}),
        ] {
            parse(&with(manifest(), "config", bad.clone()), "").expect_err(&bad.to_string());
            parse(&with(manifest(), "layers", json!([bad])), "").unwrap_err();
        }
    }

    #[test]
    fn chooses_the_platform() {
        let on = |n: u8, platform: Value| with(entry(OCI_MANIFEST, n), "platform", platform);
        let choose = |entries: Value, wanted: &str| {
            let index = json!({"schemaVersion": 2, "manifests": entries});
            let (document, _) = parse(&index, OCI_INDEX).unwrap();
            let Document::Index(index) = document else { panic!("not an index") };
            index.choose(&Platform::parse(wanted).unwrap()).map(|(d, _)| d.digest.clone())
        };
        let amd64 = on(1, json!({"os": "linux", "architecture": "amd64"}));
        let x86 = on(2, json!({"os": "linux", "architecture": "386"}));
        let attestation = on(3, json!({"os": "unknown", "architecture": "unknown"}));
        let none = entry(OCI_MANIFEST, 4);
        let all = json!([attestation, none, x86, amd64]);
        assert_eq!(choose(all.clone(), "linux/amd64").unwrap(), sha(1));
        assert_eq!(choose(all.clone(), "linux/386").unwrap(), sha(2));
        assert_eq!(choose(all, "linux/s390x").unwrap(), sha(4));
        let error = choose(json!([attestation, amd64]), "linux/arm64").unwrap_err();
        assert!(error.message().starts_with("platform: "), "{error}");
        assert!(error.message().ends_with("it has: linux/amd64"), "{error}");
    }

    #[test]
    fn parses_configurations() {
        let config =
            json!({"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [sha(1)]}});
        let parsed = Config::parse(config.to_string().as_bytes(), 1).unwrap();
        parsed.check_platform(&Platform::parse("linux/arm64").unwrap()).unwrap();
        let error = parsed.check_platform(&Platform::parse("linux/amd64").unwrap()).unwrap_err();
        assert!(error.message().contains("platform"), "{error}");
        Config::parse(config.to_string().as_bytes(), 2).unwrap_err();
        for ids in [json!("x"), json!([1]), json!(["sha256:x"])] {
            let config = json!({"rootfs": {"diff_ids": ids}});
            Config::parse(config.to_string().as_bytes(), 1).unwrap_err();
        }
    }

    #[test]
    fn recognises_layers() {
        for good in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(is_layer(good), "{good}");
        }
        for bad in [
            "",
            "application/vnd.oci.image.layer.v1.tar+lz4",
            "application/vnd.oci.image.layer.v2.tar",
            "application/vnd.docker.image.rootfs.diff.tar.xz",
            "application/vnd.docker.image.rootfs.diff",
            "application/vnd.in-toto+json",
        ] {
            assert!(!is_layer(bad), "{bad}");
        }
    }
}
