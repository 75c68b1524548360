//! `containerd.services.diff.v1.Diff`.

use protobuf::MessageField;

use super::channel::Ctx;
use super::content::Descriptor;
use super::method::{call, methods};
use super::snapshots::Mount;
use super::wire::diff::{ApplyRequest, ApplyResponse};
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.diff.v1.Diff":
    APPLY = change "Apply" (ApplyRequest) -> ApplyResponse;
}

/// Unpacks a layer into the mounts. Returns the digest of the uncompressed layer.
pub(crate) fn apply(ctx: &Ctx, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor> {
    let request = ApplyRequest {
        diff: MessageField::some(layer.clone().into_wire()),
        mounts: mounts.iter().cloned().map(Mount::into_wire).collect(),
        ..Default::default()
    };
    call(ctx, &APPLY, &request)
        .missing(ErrorReason::NoContent)?
        .applied
        .into_option()
        .map(Descriptor::from_wire)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server did not say what it applied"))
}
