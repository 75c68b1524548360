//! `containerd.services.containers.v1.Containers`.

use std::collections::HashMap;
use std::time::SystemTime;

use protobuf::MessageField;
use protobuf::well_known_types::empty::Empty;

use super::any::{Any, labels, mask, time};
use super::channel::Ctx;
use super::method::{call, methods, start};
use super::stream::receive;
use super::wire::containers::container::Runtime;
use super::wire::containers::{
    Container as WireContainer, CreateContainerRequest, CreateContainerResponse,
    DeleteContainerRequest, GetContainerRequest, GetContainerResponse, ListContainerMessage,
    ListContainersRequest, UpdateContainerRequest, UpdateContainerResponse,
};
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.containers.v1.Containers":
    GET = read "Get" (GetContainerRequest) -> GetContainerResponse;
    CREATE = change "Create" (CreateContainerRequest) -> CreateContainerResponse;
    UPDATE = change "Update" (UpdateContainerRequest) -> UpdateContainerResponse;
    LIST = stream "ListStream" (ListContainersRequest) -> ListContainerMessage;
    DELETE = change "Delete" (DeleteContainerRequest) -> Empty;
}

/// A container's record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) image: String,
    pub(crate) runtime: String,
    pub(crate) runtime_options: Option<Any>,
    pub(crate) spec: Any,
    pub(crate) snapshotter: String,
    pub(crate) snapshot_key: String,
    /// By the server's clock. Only the server sets it.
    pub(crate) created_at: Option<SystemTime>,
    /// When the record was changed last. The server sets it, as `created_at`.
    pub(crate) updated_at: Option<SystemTime>,
}

impl Container {
    fn into_wire(self) -> WireContainer {
        WireContainer {
            id: self.id,
            labels: self.labels,
            image: self.image,
            runtime: MessageField::some(Runtime {
                name: self.runtime,
                options: self.runtime_options.map(Any::into_wire).into(),
                ..Default::default()
            }),
            // Without it containerd 1.7 and 2.1 die when a task is created.
            spec: MessageField::some(self.spec.into_wire()),
            snapshotter: self.snapshotter,
            snapshot_key: self.snapshot_key,
            ..Default::default()
        }
    }

    fn from_wire(container: WireContainer) -> Container {
        let runtime = container.runtime.into_option().unwrap_or_default();
        Container {
            id: container.id,
            labels: container.labels,
            image: container.image,
            runtime: runtime.name,
            runtime_options: runtime.options.into_option().map(Any::from_wire),
            spec: container.spec.into_option().map(Any::from_wire).unwrap_or_default(),
            snapshotter: container.snapshotter,
            snapshot_key: container.snapshot_key,
            created_at: time(container.created_at.as_ref()),
            updated_at: time(container.updated_at.as_ref()),
        }
    }
}

/// The record with this id.
pub(crate) fn get(ctx: &Ctx, id: &str) -> Result<Container> {
    let request = GetContainerRequest { id: id.into(), ..Default::default() };
    call(ctx, &GET, &request)
        .missing(ErrorReason::NoContainer)
        .and_then(|response| record(response.container))
}

/// The same without blocking.
pub(crate) async fn get_async(ctx: Ctx, id: String) -> Result<Container> {
    let request = GetContainerRequest { id, ..Default::default() };
    start(&ctx, &GET, &request, |response| record(response.container))?.await?
}

fn record(wire: MessageField<WireContainer>) -> Result<Container> {
    wire.into_option()
        .map(Container::from_wire)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no container"))
}

/// Gives the records that match any of the filters, one after the other: thousands of records do
/// not fit into one message.
pub(crate) fn list(ctx: &Ctx, filters: &[String], mut each: impl FnMut(Container)) -> Result<()> {
    let request = ListContainersRequest { filters: filters.to_vec(), ..Default::default() };
    let mut stream = receive(ctx, &LIST, &request)?;
    while let Some(message) = stream.next(&ctx.limits)? {
        each(record(message.container)?);
    }
    Ok(())
}

/// Creates a record.
pub(crate) fn create(ctx: &Ctx, container: Container) -> Result<()> {
    let request = CreateContainerRequest {
        container: MessageField::some(container.into_wire()),
        ..Default::default()
    };
    call(ctx, &CREATE, &request).map(drop)
}

/// Sets these labels of a record, and leaves its other labels. Returns the new record.
pub(crate) fn set_labels(ctx: &Ctx, id: &str, with: &[(String, String)]) -> Result<Container> {
    let paths: Vec<String> = with.iter().map(|(key, _)| format!("labels.{key}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let container = WireContainer { id: id.into(), labels: labels(with), ..Default::default() };
    let request = UpdateContainerRequest {
        container: MessageField::some(container),
        update_mask: MessageField::some(mask(&paths)),
        ..Default::default()
    };
    call(ctx, &UPDATE, &request).and_then(|response| record(response.container))
}

/// Sets the specification of a record, and leaves the rest.
pub(crate) fn set_spec(ctx: &Ctx, id: &str, spec: Any) -> Result<()> {
    let spec = MessageField::some(spec.into_wire());
    let container = WireContainer { id: id.into(), spec, ..Default::default() };
    let request = UpdateContainerRequest {
        container: MessageField::some(container),
        update_mask: MessageField::some(mask(&["spec"])),
        ..Default::default()
    };
    call(ctx, &UPDATE, &request).map(drop)
}

/// Deletes a record. containerd does not check whether there is a task: delete the task first.
pub(crate) fn delete(ctx: &Ctx, id: &str) -> Result<()> {
    let request = DeleteContainerRequest { id: id.into(), ..Default::default() };
    call(ctx, &DELETE, &request).map(drop)
}
