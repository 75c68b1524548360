//! `containerd.services.namespaces.v1.Namespaces`.

use super::channel::Cx;
use super::method::{call, methods};
use super::wire::namespaces::{ListNamespacesRequest, ListNamespacesResponse};
use crate::error::Result;

methods! { "containerd.services.namespaces.v1.Namespaces":
    LIST = read "List" (ListNamespacesRequest) -> ListNamespacesResponse;
}

/// The names of all namespaces.
pub(crate) fn list(cx: &Cx) -> Result<Vec<String>> {
    let response = call(cx, &LIST, &ListNamespacesRequest::new())?;
    Ok(response.namespaces.into_iter().map(|namespace| namespace.name).collect())
}
