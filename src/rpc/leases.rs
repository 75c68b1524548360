//! `containerd.services.leases.v1.Leases`.

use protobuf::MessageField;
use protobuf::well_known_types::empty::Empty;

use super::any::labels;
use super::channel::Ctx;
use super::method::{call, methods};
use super::wire::leases::{
    AddResourceRequest, CreateRequest, CreateResponse, DeleteRequest, Resource,
};
use crate::error::Result;

methods! { "containerd.services.leases.v1.Leases":
    CREATE = change "Create" (CreateRequest) -> CreateResponse;
    DELETE = change "Delete" (DeleteRequest) -> Empty;
    ADD_RESOURCE = change "AddResource" (AddResourceRequest) -> Empty;
}

/// Creates a lease with this id.
pub(crate) fn create(ctx: &Ctx, id: &str, with: &[(String, String)]) -> Result<()> {
    let request = CreateRequest { id: id.into(), labels: labels(with), ..Default::default() };
    call(ctx, &CREATE, &request).map(drop)
}

/// Deletes a lease. With `sync` it waits for the garbage collection that follows.
pub(crate) fn delete(ctx: &Ctx, id: &str, sync: bool) -> Result<()> {
    let request = DeleteRequest { id: id.into(), sync, ..Default::default() };
    call(ctx, &DELETE, &request).map(drop)
}

/// Adds a snapshot to a lease, whether or not the snapshot exists. The caller must check afterwards
/// that it does: it may have been removed before.
pub(crate) fn add_snapshot(ctx: &Ctx, id: &str, snapshotter: &str, name: &str) -> Result<()> {
    let request = AddResourceRequest {
        id: id.into(),
        resource: MessageField::some(Resource {
            id: name.into(),
            type_: format!("snapshots/{snapshotter}"),
            ..Default::default()
        }),
        ..Default::default()
    };
    call(ctx, &ADD_RESOURCE, &request).map(drop)
}
