//! `containerd.services.introspection.v1.Introspection`.

use super::channel::Ctx;
use super::method::{call, methods};
use super::wire::introspection::{PluginsRequest, PluginsResponse};
use crate::error::Result;

methods! { "containerd.services.introspection.v1.Introspection":
    PLUGINS = read "Plugins" (PluginsRequest) -> PluginsResponse;
}

/// A plugin of the server.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    /// For example `io.containerd.snapshotter.v1`.
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Why it was not loaded, also if it skipped itself.
    pub(crate) init_error: Option<String>,
}

/// The plugins that match any of the filters, or all if there is none.
pub(crate) fn plugins(ctx: &Ctx, filters: &[&str]) -> Result<Vec<Plugin>> {
    let request = PluginsRequest {
        filters: filters.iter().map(|f| (*f).to_owned()).collect(),
        ..Default::default()
    };
    let response = call(ctx, &PLUGINS, &request)?;
    Ok(response
        .plugins
        .into_iter()
        .map(|plugin| Plugin {
            kind: plugin.type_,
            id: plugin.id,
            init_error: plugin.init_err.into_option().map(|status| status.message),
        })
        .collect())
}
