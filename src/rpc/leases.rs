//! `containerd.services.leases.v1.Leases`.

use protobuf::well_known_types::empty::Empty;

use super::any::labels;
use super::channel::Cx;
use super::method::{call, methods};
use super::wire::leases::{CreateRequest, CreateResponse, DeleteRequest};
use crate::error::Result;

methods! { "containerd.services.leases.v1.Leases":
    CREATE = change "Create" (CreateRequest) -> CreateResponse;
    DELETE = change "Delete" (DeleteRequest) -> Empty;
}

/// Makes a lease of this id.
pub(crate) fn create(cx: &Cx, id: &str, with: &[(String, String)]) -> Result<()> {
    let request = CreateRequest { id: id.into(), labels: labels(with), ..Default::default() };
    call(cx, &CREATE, &request).map(drop)
}

/// Ends a lease. `sync` waits for the garbage collection that this brings about.
pub(crate) fn delete(cx: &Cx, id: &str, sync: bool) -> Result<()> {
    let request = DeleteRequest { id: id.into(), sync, ..Default::default() };
    call(cx, &DELETE, &request).map(drop)
}
