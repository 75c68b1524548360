//! Containers: a file per group of operations.

use std::path::PathBuf;
use std::time::Duration;

use crate::call::Call;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::stdio::Stdio;

/// What a new container is to be.
#[derive(Debug, Default)]
pub struct ContainerConfig {
    /// Its id: at most 76 letters and digits joined by single `.`, `_` or `-`.
    pub id: String,
    /// The image that it is made from. Either this or `rootfs`.
    pub image: Option<String>,
    /// A directory that is its root file system, prepared by the caller. Nothing of it is removed.
    pub rootfs: Option<PathBuf>,
    /// Default: the client's.
    pub snapshotter: Option<String>,
    /// The key of its snapshot, which is prepared unless it stands. Default: the id.
    pub snapshot_key: Option<String>,
    /// Default: `io.containerd.runc.v2`.
    pub runtime: Option<String>,
    /// The specification, as JSON. Default: [`crate::default_spec`] with the image's configuration.
    pub spec: Option<String>,
    /// The command, instead of the image's.
    pub args: Vec<String>,
    /// Labels of the record.
    pub labels: Vec<(String, String)>,
    /// Where its input comes from and its output goes.
    pub stdio: Stdio,
    /// Create it and do not start it.
    pub no_start: bool,
}

pub(crate) fn create(_: &Context, _: ContainerConfig, _: &Call) -> Result<u32> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
pub(crate) fn start(_: &Context, _: &str, _: &Call) -> Result<u32> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
pub(crate) fn probe(_: &Context, _: &str, _: &Call) -> Result<Message> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
pub(crate) fn destroy(_: &Context, _: &str, _: Duration, _: &Call) -> Result<Message> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
pub(crate) fn pid(_: &Context, _: &str, _: &Call) -> Result<u32> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
pub(crate) fn pids(_: &Context, _: &str, _: &Call) -> Result<Vec<u32>> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}
