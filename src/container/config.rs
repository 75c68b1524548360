//! The configuration of a new container: as the caller gives it, and checked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::sandbox::SANDBOX_LABEL;
use crate::error::{Error, Result};
use crate::identifier;
use crate::image;
use crate::inner::Inner;
use crate::random::random_hex;
use crate::record::{Cleanup, DEFAULT_DRAIN, LABEL_PREFIX, OWNER_LABEL, drain_label, generation};
use crate::rpc::snapshots::Mount;
use crate::snapshot;
use crate::spec;
use crate::stdio::Stdio;

/// The configuration of a new container.
#[derive(Clone, Debug, Default)]
pub struct ContainerConfig {
    /// Its id: at most 76 letters and digits, joined by single `.`, `_` or `-`.
    pub id: String,
    /// The image that it is made from, which must have been pulled. Either this or `rootfs` is required.
    /// The image of exactly this name is used; if there is none, the image with the completed name:
    /// `busybox` means `docker.io/library/busybox:latest` then.
    pub image: Option<String>,
    /// A directory that is its root file system: an absolute path that containerd sees too. The caller
    /// prepares it, and the library never removes anything in it.
    pub rootfs: Option<PathBuf>,
    /// Its snapshotter. Default: the client's.
    pub snapshotter: Option<String>,
    /// The key of its snapshot, at most 4096 bytes. A snapshot with this key is used if it exists, and
    /// prepared otherwise. Default: the id.
    pub snapshot_key: Option<String>,
    /// Its runtime. Default: `io.containerd.runc.v2`.
    pub runtime: Option<String>,
    /// The runtime specification, as JSON; members that this library does not know are kept.
    /// Default: [`crate::default_spec`] with the image's configuration applied to it, which is what
    /// [`crate::Client::image_spec`] returns.
    pub spec: Option<String>,
    /// Apply the image's configuration to `spec`, as it is applied to the default. Without `spec` it
    /// changes nothing. Without `image` it is an error.
    ///
    /// - **Command** (`process.args`): the image's entry point, followed by `args` or, if `args` is
    ///   empty, by the image's command. They replace the command of `spec`, which stays only if all of
    ///   them are empty.
    /// - **Environment** (`process.env`): the image's entries, or `PATH` with the usual directories
    ///   if it has none. An entry of `spec` replaces the image's entry with the same name, and one
    ///   without `=` removes it. With a terminal, `TERM=xterm` is added unless `TERM` is set.
    /// - **Working directory** (`process.cwd`): the image's. If it names none, that of `spec` stays, or
    ///   `/` is set.
    /// - **User** (`process.user`): the image's user, group and additional groups replace those of
    ///   `spec`; other members, such as `umask`, stay. Names are looked up in the container's root
    ///   file system. If the image names no user, that of `spec` stays; if `spec` has none either,
    ///   or has root without additional groups (as [`crate::default_spec`] has), root gets the
    ///   groups that list it.
    pub apply_image: bool,
    /// The command. By default, and with `apply_image`, it follows the image's entry point, in
    /// place of the image's command. With a `spec` to which the image is not applied, it replaces
    /// `process.args`.
    pub args: Vec<String>,
    /// Labels of the record. Those that begin with `io.ctrd.` are the library's.
    pub labels: Vec<(String, String)>,
    /// Where its input comes from, and where its output goes.
    pub stdio: Stdio,
    /// What the library removes by itself after the exit of its process. Default: nothing.
    pub cleanup: Cleanup,
    /// How long output that is still in the pipes after the exit is waited for before its streams are
    /// closed without a call: by a clean-up, or because another client has removed the container. What
    /// is left then is dropped, and counted in [`crate::Message::output_lost`] and
    /// [`crate::Counters::output_lost`]. A later run of the program that recovers the container keeps
    /// to it. `None`: 1 s. [`Duration::MAX`]: until all is passed on; then a clean-up does not happen
    /// while a reader is stuck, or while a descendant of the process has its output open.
    pub drain: Option<Duration>,
    /// Creates the container and does not start its process. Default: no.
    pub no_start: bool,
}

/// A configuration that was checked.
pub(super) struct CheckedConfig {
    pub(super) id: String,
    pub(super) image: Option<String>,
    pub(super) rootfs: Option<Mount>,
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
    pub(super) no_start: bool,
}

impl CheckedConfig {
    pub(super) fn new(client: &Inner, config: ContainerConfig) -> Result<CheckedConfig> {
        identifier::check("id", &config.id)?;
        let rootfs = match (&config.image, config.rootfs) {
            (None, None) => {
                return Err(Error::invalid("image", "neither image nor rootfs is given"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid("rootfs", "both image and rootfs are given"));
            }
            (Some(_), None) => None,
            (None, Some(path)) => {
                let path = path
                    .into_os_string()
                    .into_string()
                    .map_err(|_| Error::invalid("rootfs", "is not UTF-8"))?;
                if !path.starts_with('/') {
                    return Err(Error::invalid("rootfs", format!("{path} is not absolute")));
                }
                if !std::path::Path::new(&path).is_dir() {
                    return Err(Error::invalid("rootfs", format!("{path} is not a directory")));
                }
                Some(Mount {
                    kind: "bind".into(),
                    source: path,
                    target: String::new(),
                    options: vec!["rbind".into(), "rw".into()],
                })
            }
        };
        config.image.as_deref().map_or(Ok(()), |image| image::check_name("image", image))?;
        if config.apply_image && config.image.is_none() {
            return Err(Error::invalid("apply_image", "there is no image, but a rootfs"));
        }
        let snapshotter = snapshot::snapshotter(client, config.snapshotter.as_deref())?;
        let snapshot_key = config.snapshot_key.unwrap_or_else(|| config.id.clone());
        identifier::check_snapshot_key("snapshot_key", &snapshot_key)?;
        let runtime = config.runtime.unwrap_or_else(|| DEFAULT_RUNTIME.to_owned());
        if runtime.is_empty() {
            return Err(Error::invalid("runtime", "must not be empty"));
        }
        let spec = config.spec.as_deref().map(spec::parse).transpose()?;
        let generation = random_hex()?;
        let mut labels = check_labels(config.labels)?;
        labels.insert(OWNER_LABEL.into(), client.config.owner.clone());
        labels.insert(generation::LABEL.into(), generation.clone());
        labels.extend(config.cleanup.label());
        let drain = config.drain.unwrap_or(DEFAULT_DRAIN);
        labels.extend(drain_label(drain));
        if client.config.keep_stopped_tasks {
            labels.insert(SANDBOX_LABEL.into(), String::new());
        }
        if let Some(position) = config.args.iter().position(|arg| arg.contains('\0')) {
            return Err(Error::invalid("args", format!("number {position} holds a NUL")));
        }
        Ok(CheckedConfig {
            snapshotter: snapshotter.to_owned(),
            snapshot_key,
            runtime,
            stdio: Stdio {
                // If the specification asks for a terminal, the process gets one.
                terminal: config.stdio.terminal || spec.as_ref().is_some_and(wants_terminal),
                ..config.stdio
            },
            spec,
            apply_image: config.apply_image,
            image: config.image,
            rootfs,
            args: config.args,
            labels,
            generation,
            cleanup: config.cleanup,
            drain,
            no_start: config.no_start,
            id: config.id,
        })
    }
}

fn wants_terminal(spec: &Value) -> bool {
    spec.pointer("/process/terminal").and_then(Value::as_bool).unwrap_or(false)
}

fn check_labels(given: Vec<(String, String)>) -> Result<HashMap<String, String>> {
    let mut labels = HashMap::new();
    for (key, value) in given {
        let why = if key.is_empty() {
            "has an empty key"
        } else if key.starts_with(LABEL_PREFIX) {
            "has a key of the library's own (io.ctrd.)"
        } else if key.len() + value.len() > MAX_LABEL {
            "has more than 4096 bytes in key and value"
        } else if labels.insert(key.clone(), value).is_some() {
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
