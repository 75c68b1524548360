//! The runtime specification of a container: containerd's default for Linux, and what an image's
//! configuration adds to it. Specifications are edited as JSON, so that members which we do not know
//! survive.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::snapshots::Mount;

/// containerd's default Linux specification, with the cgroups path `/<namespace>/<id>`.
pub fn default_spec(_namespace: &str, _id: &str) -> Result<String> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

/// What the specification of a new container is made from.
pub(crate) struct Sources<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
    /// The caller's own specification (checked by [`parse`]); the default where there is none.
    pub(crate) spec: Option<Value>,
    /// The configuration of the image (`config.json` of the image specification), where there is one.
    /// It is applied to the default specification, not to the caller's own.
    pub(crate) image_config: Option<&'a Value>,
    /// The command, instead of the image's `Cmd`.
    pub(crate) args: &'a [String],
    pub(crate) terminal: bool,
    /// The root file system as the snapshotter mounts it: for users and groups.
    pub(crate) rootfs: &'a [Mount],
}

/// Parses a caller's specification: JSON, an object, with a `process` that has `args`.
pub(crate) fn parse(_json: &str) -> Result<Value> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

/// Makes the specification of a new container.
pub(crate) fn build(_sources: Sources<'_>) -> Result<Value> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
