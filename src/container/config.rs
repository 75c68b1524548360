//! The configuration of a new container: as the caller gives it, and checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::sandbox::SANDBOX_LABEL;
use crate::error::{Error, Result};
use crate::identifier;
use crate::image;
use crate::inner::Inner;
use crate::random::random_hex;
use crate::record::{Cleanup, DEFAULT_DRAIN, LABEL_PREFIX, OWNER_LABEL, drain_label, generation};
use crate::snapshot;
use crate::spec;
use crate::stdio::Stdio;

/// The configuration of a new container.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig, ContainerConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let client = Client::open(&ClientConfig::new(), &Call::new())?;
/// let config = ContainerConfig::new("web")
///     .image("docker.io/library/busybox:latest")
///     .args(["httpd", "-f", "-p", "8080"])
///     .labels([("org.example.role", "web")]);
/// let process = client.create_container(&config, &Call::new())?;
/// # let _ = process;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ContainerConfig {
    id: String,
    image: Option<String>,
    rootfs: Option<PathBuf>,
    snapshotter: Option<String>,
    snapshot_key: Option<String>,
    runtime: Option<String>,
    spec_json: Option<String>,
    apply_image: bool,
    args: Vec<String>,
    labels: Vec<(String, String)>,
    stdio: Stdio,
    cleanup: Cleanup,
    drain: Duration,
    start: bool,
}

impl ContainerConfig {
    /// A container with this id: at most 76 letters and digits, joined by single `.`, `_` or `-`.
    /// It needs an image or a root file system too.
    pub fn new(id: impl Into<String>) -> ContainerConfig {
        ContainerConfig {
            id: id.into(),
            image: None,
            rootfs: None,
            snapshotter: None,
            snapshot_key: None,
            runtime: None,
            spec_json: None,
            apply_image: false,
            args: Vec::new(),
            labels: Vec::new(),
            stdio: Stdio::default(),
            cleanup: Cleanup::Keep,
            drain: DEFAULT_DRAIN,
            start: true,
        }
    }

    /// The id that [`ContainerConfig::new`] was given.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The image that it is made from, which must have been pulled. Either this or
    /// [`ContainerConfig::rootfs`] is required. An image of exactly this name is used; if there is
    /// none, the one with the completed name: `busybox` means `docker.io/library/busybox:latest`
    /// then.
    pub fn image(mut self, image: impl Into<String>) -> ContainerConfig {
        self.image = Some(image.into());
        self
    }

    /// A directory that is its root file system: an absolute path that containerd sees too. It
    /// becomes `root.path` of the specification. The caller prepares it, also with mounts below it,
    /// and the library never removes anything in it.
    pub fn rootfs(mut self, directory: impl Into<PathBuf>) -> ContainerConfig {
        self.rootfs = Some(directory.into());
        self
    }

    /// Its snapshotter. Default: the client's.
    pub fn snapshotter(mut self, snapshotter: impl Into<String>) -> ContainerConfig {
        self.snapshotter = Some(snapshotter.into());
        self
    }

    /// The key of its snapshot, at most 4096 bytes. A snapshot with this key is used if it exists,
    /// and prepared otherwise. Default: the id.
    pub fn snapshot_key(mut self, key: impl Into<String>) -> ContainerConfig {
        self.snapshot_key = Some(key.into());
        self
    }

    /// Its runtime. Default: `io.containerd.runc.v2`.
    pub fn runtime(mut self, runtime: impl Into<String>) -> ContainerConfig {
        self.runtime = Some(runtime.into());
        self
    }

    /// The runtime specification, as JSON; members that this library does not know are kept.
    /// Default: [`crate::default_spec`] with the image's configuration applied to it, which is what
    /// [`crate::Client::image_spec`] returns.
    pub fn spec_json(mut self, json: impl Into<String>) -> ContainerConfig {
        self.spec_json = Some(json.into());
        self
    }

    /// Whether the image's configuration is applied to [`ContainerConfig::spec_json`] as it is
    /// applied to the default specification. Without a specification it changes nothing. Without an
    /// image it is an error. Default: no.
    ///
    /// - **Command** (`process.args`): the image's entry point, followed by
    ///   [`ContainerConfig::args`] or, if these are empty, by the image's command. They replace the
    ///   command of the specification, which stays only if all of them are empty.
    /// - **Environment** (`process.env`): the image's entries, or `PATH` with the usual directories
    ///   if it has none. An entry of the specification replaces the image's entry with the same
    ///   name, and one without `=` removes it. With a terminal, `TERM=xterm` is added unless `TERM`
    ///   is set.
    /// - **Working directory** (`process.cwd`): the image's. If it names none, that of the
    ///   specification stays, or `/` is set.
    /// - **User** (`process.user`): the image's user, group and additional groups replace those of
    ///   the specification; other members, such as `umask`, stay. Names are looked up in the
    ///   container's root file system. If the image names no user, that of the specification stays;
    ///   if it has none either, or has root without additional groups (as [`crate::default_spec`]
    ///   has), root gets the groups that list it.
    pub fn apply_image(mut self, apply: bool) -> ContainerConfig {
        self.apply_image = apply;
        self
    }

    /// The command. By default, and with [`ContainerConfig::apply_image`], it follows the image's
    /// entry point, in place of the image's command. With a specification to which the image is not
    /// applied, it replaces `process.args`.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> ContainerConfig {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Labels of the record. Those that begin with `io.ctrd.` are the library's. Default: none.
    pub fn labels(
        mut self,
        labels: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> ContainerConfig {
        self.labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Where its input comes from, and where its output goes. Default: nowhere.
    ///
    /// The configuration has a share of the descriptors. The reader of a pipe gets the end of the
    /// output only if the configuration is dropped as well, with all of its clones.
    pub fn stdio(mut self, stdio: Stdio) -> ContainerConfig {
        self.stdio = stdio;
        self
    }

    /// The parts that the library removes by itself after the exit of its process. Default: none.
    pub fn cleanup(mut self, cleanup: Cleanup) -> ContainerConfig {
        self.cleanup = cleanup;
        self
    }

    /// How long output that is still in the pipes after the exit is waited for before its streams
    /// are closed without a call: by a clean-up, or because another client has removed the
    /// container. What is left then is dropped, and counted in [`crate::Message::output_lost`] and
    /// [`crate::Counters::output_lost`]. A later run of the program that recovers the container
    /// keeps to it. Default: 1 s. [`Duration::MAX`]: until all is passed on; then a clean-up does
    /// not happen while a reader is stuck, or while a descendant of the process has its output
    /// open.
    pub fn drain(mut self, drain: Duration) -> ContainerConfig {
        self.drain = drain;
        self
    }

    /// Whether its process is started. Otherwise [`crate::Client::start_container`] starts it.
    /// Default: yes.
    pub fn start(mut self, start: bool) -> ContainerConfig {
        self.start = start;
        self
    }
}

/// A configuration that was checked.
pub(super) struct CheckedConfig {
    pub(super) id: String,
    pub(super) image: Option<String>,
    pub(super) rootfs: Option<String>,
    pub(super) snapshotter: String,
    pub(super) snapshot_key: String,
    pub(super) runtime: String,
    pub(super) spec: Option<Value>,
    pub(super) apply_image: bool,
    pub(super) args: Vec<String>,
    pub(super) labels: HashMap<String, String>,
    pub(super) generation: String,
    pub(super) cleanup: Cleanup,
    pub(super) drain: Duration,
    pub(super) stdio: Stdio,
    pub(super) start: bool,
}

impl CheckedConfig {
    pub(super) fn new(client: &Inner, config: &ContainerConfig) -> Result<CheckedConfig> {
        identifier::check("id", &config.id)?;
        let rootfs = match (&config.image, &config.rootfs) {
            (None, None) => {
                return Err(Error::invalid("image", "neither image nor rootfs is given"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid("rootfs", "both image and rootfs are given"));
            }
            (Some(_), None) => None,
            (None, Some(path)) => Some(check_rootfs(path)?),
        };
        config.image.as_deref().map_or(Ok(()), |image| image::check_name("image", image))?;
        if config.apply_image && config.image.is_none() {
            return Err(Error::invalid("apply_image", "needs an image, not a rootfs"));
        }
        let snapshotter = snapshot::snapshotter(client, config.snapshotter.as_deref())?;
        let snapshot_key = config.snapshot_key.as_ref().unwrap_or(&config.id);
        identifier::check_snapshot_key("snapshot_key", snapshot_key)?;
        let runtime = config.runtime.as_deref().unwrap_or(DEFAULT_RUNTIME);
        if runtime.is_empty() {
            return Err(Error::invalid("runtime", "must not be empty"));
        }
        let spec = config.spec_json.as_deref().map(spec::parse).transpose()?;
        let generation = random_hex()?;
        let mut labels = check_labels(&config.labels)?;
        labels.insert(OWNER_LABEL.into(), client.config.owner.clone());
        labels.insert(generation::LABEL.into(), generation.clone());
        labels.extend(config.cleanup.label());
        labels.extend(drain_label(config.drain));
        if client.config.keep_stopped_tasks {
            // containerd keeps no empty label.
            labels.insert(SANDBOX_LABEL.into(), "true".into());
        }
        if let Some(position) = config.args.iter().position(|arg| arg.contains('\0')) {
            return Err(Error::invalid("args", format!("number {position} holds a NUL")));
        }
        // If the specification asks for a terminal, the process gets one.
        let terminal = config.stdio.terminal || spec.as_ref().is_some_and(wants_terminal);
        Ok(CheckedConfig {
            id: config.id.clone(),
            image: config.image.clone(),
            rootfs,
            snapshotter: snapshotter.to_owned(),
            snapshot_key: snapshot_key.clone(),
            runtime: runtime.to_owned(),
            spec,
            apply_image: config.apply_image,
            args: config.args.clone(),
            labels,
            generation,
            cleanup: config.cleanup,
            drain: config.drain,
            stdio: config.stdio.clone().terminal(terminal),
            start: config.start,
        })
    }
}

fn check_rootfs(directory: &Path) -> Result<String> {
    let path = directory.to_str().ok_or_else(|| Error::invalid("rootfs", "is not UTF-8"))?;
    if !directory.is_absolute() {
        return Err(Error::invalid("rootfs", format!("{path} is not absolute")));
    }
    if !directory.is_dir() {
        return Err(Error::invalid("rootfs", format!("{path} is not a directory")));
    }
    Ok(path.to_owned())
}

fn wants_terminal(spec: &Value) -> bool {
    spec.pointer("/process/terminal").and_then(Value::as_bool).unwrap_or(false)
}

/// Checks labels that a caller gives.
pub(super) fn check_labels(given: &[(String, String)]) -> Result<HashMap<String, String>> {
    let mut labels = HashMap::new();
    for (key, value) in given {
        let why = if key.is_empty() {
            "has an empty key"
        } else if key.starts_with(LABEL_PREFIX) {
            "has a key of the library's own (io.ctrd.)"
        } else if key.len() + value.len() > MAX_LABEL {
            "has more than 4096 bytes in key and value"
        } else if labels.insert(key.clone(), value.clone()).is_some() {
            "is given twice"
        } else {
            continue;
        };
        let key: String = key.chars().take(80).collect();
        return Err(Error::invalid("labels", format!("{key:?} {why}")));
    }
    Ok(labels)
}

const DEFAULT_RUNTIME: &str = "io.containerd.runc.v2";

/// How many bytes a label's key and value may have together (containerd `labels.Validate`).
const MAX_LABEL: usize = 4096;
