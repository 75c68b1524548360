//! `containerd.services.namespaces.v1.Namespaces`.

use super::channel::Ctx;
use super::method::{call, methods};
use super::wire::namespaces::{ListNamespacesRequest, ListNamespacesResponse};
use crate::error::Result;

methods! { "containerd.services.namespaces.v1.Namespaces":
    LIST = read "List" (ListNamespacesRequest) -> ListNamespacesResponse;
}

/// The names of all namespaces.
pub(crate) fn list(ctx: &Ctx) -> Result<Vec<String>> {
    let response = call(ctx, &LIST, &ListNamespacesRequest::new())?;
    Ok(response.namespaces.into_iter().map(|namespace| namespace.name).collect())
}
