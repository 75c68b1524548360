//! `containerd.services.sandbox.v1.Store` (containerd 1.7 and later).

use protobuf::MessageField;

use super::any::Any;
use super::channel::Ctx;
use super::method::{call, methods};
use super::wire::sandbox::{
    StoreCreateRequest, StoreCreateResponse, StoreDeleteRequest, StoreDeleteResponse,
};
use super::wire::types::Sandbox;
use super::wire::types::sandbox::Runtime;
use crate::error::Result;

methods! { "containerd.services.sandbox.v1.Store":
    CREATE = change "Create" (StoreCreateRequest) -> StoreCreateResponse;
    DELETE = change "Delete" (StoreDeleteRequest) -> StoreDeleteResponse;
}

/// Creates the record of a sandbox with this id. Nothing runs for it.
pub(crate) fn create(ctx: &Ctx, id: &str, runtime: &str, spec: Any) -> Result<()> {
    let sandbox = Sandbox {
        sandbox_id: id.into(),
        runtime: MessageField::some(Runtime { name: runtime.into(), ..Default::default() }),
        spec: MessageField::some(spec.into_wire()),
        ..Default::default()
    };
    let request = StoreCreateRequest { sandbox: MessageField::some(sandbox), ..Default::default() };
    call(ctx, &CREATE, &request).map(drop)
}

/// Deletes the record of a sandbox.
pub(crate) fn delete(ctx: &Ctx, id: &str) -> Result<()> {
    let request = StoreDeleteRequest { sandbox_id: id.into(), ..Default::default() };
    call(ctx, &DELETE, &request).map(drop)
}
