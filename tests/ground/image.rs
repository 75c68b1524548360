//! Images made from `busybox-static`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The users of every image.
pub const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          daemon:x:1:1:daemon:/:/bin/false\n\
                          tester:x:1000:1000:Tester:/home/tester:/bin/sh\n\
                          loner:x:1001:2001::/:/bin/sh\n";
/// The groups. The user tester is in four of them, by its own line or as a member.
pub const GROUP: &str = "root:x:0:\n\
                         daemon:x:1:\n\
                         adm:x:4:root,tester\n\
                         wheel:x:10:root,tester\n\
                         tester:x:1000:\n\
                         staff:x:2000:tester,loner\n";

/// The contents of an image. The default is an image for this machine, in an index that also has
/// another platform.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub user: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub labels: Vec<(String, String)>,
    /// The sizes of further layers. Their bytes do not compress.
    pub more_layers: Vec<usize>,
    /// Whether the index has this machine's platform.
    pub native: bool,
    /// Whether the index has another platform, before this machine's.
    pub foreign: bool,
    /// Whether the tag refers to the native manifest, without an index.
    pub without_index: bool,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            user: String::new(),
            entrypoint: Vec::new(),
            cmd: vec!["/bin/sh".into(), "-c".into(), "echo hello from $IMAGE".into()],
            env: vec!["PATH=/bin".into(), "IMAGE=ctrd/test".into()],
            working_dir: String::new(),
            labels: vec![("org.example.made-by".into(), "ctrd's tests".into())],
            more_layers: Vec::new(),
            native: true,
            foreign: true,
            without_index: false,
        }
    }
}

/// A piece of an image.
#[derive(Clone, Debug)]
pub struct Blob {
    pub media_type: String,
    pub data: Vec<u8>,
}

impl Blob {
    pub fn json(media_type: &str, value: &Value) -> Blob {
        Blob { media_type: media_type.into(), data: value.to_string().into_bytes() }
    }

    pub fn digest(&self) -> String {
        digest(&self.data)
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.data.len() })
    }
}

/// An image that is ready to be pushed: blobs first, then manifests, then the manifest or index of
/// the tag.
pub struct Image {
    pub blobs: Vec<Blob>,
    pub manifests: Vec<Blob>,
    pub top: Blob,
}

/// A layer: compressed, and the digest of the uncompressed bytes.
#[derive(Clone)]
pub struct Layer {
    pub blob: Blob,
    pub diff_id: String,
}

pub fn digest(data: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(data) {
        text += &format!("{byte:02x}");
    }
    text
}

/// This machine's architecture, by its name in images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An architecture other than this machine's.
pub fn foreign_architecture() -> &'static str {
    if architecture() == "s390x" { "riscv64" } else { "s390x" }
}

impl Recipe {
    pub fn make(&self) -> Image {
        let mut blobs = Vec::new();
        let mut manifests = Vec::new();
        let mut entries = Vec::new();
        let mut add = |architecture: &str, layers: &[Layer]| {
            let config = Blob::json(CONFIG, &self.config(architecture, layers));
            let manifest = Blob::json(
                MANIFEST,
                &json!({
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": config.descriptor(),
                    "layers": layers.iter().map(|l| l.blob.descriptor()).collect::<Vec<_>>(),
                }),
            );
            let mut entry = manifest.descriptor();
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entries.push(entry);
            blobs.extend(layers.iter().map(|layer| layer.blob.clone()));
            blobs.push(config);
            manifests.push(manifest);
        };
        if self.foreign {
            add(foreign_architecture(), &[users()]);
        }
        if self.native {
            let more = self.more_layers.iter().enumerate().map(|(i, size)| noise(i, *size));
            let layers: Vec<Layer> =
                base().iter().cloned().chain([users(), data()]).chain(more).collect();
            add(architecture(), &layers);
        }
        let top = if self.without_index {
            manifests.pop().expect("a manifest to be tagged")
        } else {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
            Blob::json(INDEX, &index)
        };
        Image { blobs, manifests, top }
    }

    fn config(&self, architecture: &str, layers: &[Layer]) -> Value {
        let labels: serde_json::Map<_, _> =
            self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {
                "User": self.user,
                "Env": self.env,
                "Entrypoint": self.entrypoint,
                "Cmd": self.cmd,
                "WorkingDir": self.working_dir,
                "Labels": labels,
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
            },
            "history": layers.iter().map(|_| json!({ "created_by": "ctrd" })).collect::<Vec<_>>(),
        })
    }
}

/// A layer that is being written.
pub struct LayerBuilder(Builder<Vec<u8>>);

impl LayerBuilder {
    pub fn new() -> LayerBuilder {
        LayerBuilder(Builder::new(Vec::new()))
    }

    fn add(&mut self, path: &str, kind: EntryType, mode: u32, link: Option<&str>, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        self.0.append_data(&mut header, path, data).unwrap();
    }

    pub fn directory(mut self, path: &str, mode: u32) -> LayerBuilder {
        self.add(path, EntryType::Directory, mode, None, b"");
        self
    }

    pub fn file(mut self, path: &str, mode: u32, data: &[u8]) -> LayerBuilder {
        self.add(path, EntryType::Regular, mode, None, data);
        self
    }

    pub fn link(mut self, path: &str, to: &str) -> LayerBuilder {
        self.add(path, EntryType::Symlink, 0o777, Some(to), b"");
        self
    }

    pub fn finish(self) -> Layer {
        let tar = self.0.into_inner().unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar).unwrap();
        let data = gzip.finish().unwrap();
        Layer { blob: Blob { media_type: LAYER.into(), data }, diff_id: digest(&tar) }
    }
}

/// busybox, with a link for each of its applets.
fn base() -> &'static [Layer] {
    static BASE: OnceLock<[Layer; 1]> = OnceLock::new();
    BASE.get_or_init(|| {
        let busybox = Path::new("/bin/busybox");
        let program = std::fs::read(busybox).expect("busybox-static is not installed: make deps");
        let list = Command::new(busybox).arg("--list").output().unwrap();
        let mut layer = LayerBuilder::new()
            .directory("bin", 0o755)
            .directory("tmp", 0o1777)
            .directory("root", 0o700)
            .file("bin/busybox", 0o755, &program);
        for applet in String::from_utf8(list.stdout).unwrap().lines() {
            if applet != "busybox" {
                layer = layer.link(&format!("bin/{applet}"), "busybox");
            }
        }
        [layer.finish()]
    })
}

fn users() -> Layer {
    LayerBuilder::new()
        .directory("etc", 0o755)
        .file("etc/passwd", 0o644, PASSWD.as_bytes())
        .file("etc/group", 0o644, GROUP.as_bytes())
        .file("etc/removed", 0o644, b"the next layer removes it\n")
        .directory("home/tester", 0o755)
        .finish()
}

fn data() -> Layer {
    LayerBuilder::new()
        .directory("data", 0o755)
        .file("data/greeting", 0o644, b"hello\n")
        .link("data/link", "greeting")
        .directory("etc", 0o755)
        .file("etc/.wh.removed", 0o644, b"")
        .finish()
}

/// A layer of `size` bytes that do not compress. They differ for each number.
fn noise(number: usize, size: usize) -> Layer {
    let mut state = number as u64 + 1;
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        data.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    data.truncate(size);
    LayerBuilder::new()
        .directory("noise", 0o755)
        .file(&format!("noise/{number}"), 0o644, &data)
        .finish()
}
