//! `containerd.services.version.v1.Version`.

use protobuf::well_known_types::empty::Empty;

use super::channel::Ctx;
use super::method::{call, methods, start};
use super::wire::version::VersionResponse;
use crate::error::Result;

methods! { "containerd.services.version.v1.Version":
    VERSION = read "Version" (Empty) -> VersionResponse;
}

/// The server's version and revision.
pub(crate) fn version(ctx: &Ctx) -> Result<(String, String)> {
    call(ctx, &VERSION, &Empty::new()).map(|r| (r.version, r.revision))
}

/// Succeeds once the server answers. Does not block.
pub(crate) async fn ping(ctx: Ctx) -> Result<()> {
    start(&ctx, &VERSION, &Empty::new(), drop)?.await
}
