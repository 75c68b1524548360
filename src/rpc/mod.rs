//! The wire: the only code that names gRPC or a generated message.
//!
//! There is a file for each containerd service. Its functions take and return plain types. Every
//! function makes one RPC and takes a [`Ctx`]: the connection, and the call's namespace, lease,
//! deadline and cancel handle.

mod any;
mod channel;
mod method;
#[cfg(test)]
mod required;
mod status;
mod stream;
#[cfg(test)]
mod test_server;
mod wire;

pub(crate) mod cgroups;
pub(crate) mod containers;
pub(crate) mod content;
pub(crate) mod diff;
pub(crate) mod event_types;
pub(crate) mod events;
pub(crate) mod images;
pub(crate) mod introspection;
pub(crate) mod leases;
pub(crate) mod metrics;
pub(crate) mod namespaces;
pub(crate) mod sandboxes;
pub(crate) mod snapshots;
pub(crate) mod tasks;
pub(crate) mod version;

pub(crate) use any::Any;
pub(crate) use channel::{Connection, Ctx, check_process, check_threads};
#[cfg(test)]
pub(crate) use test_server::TestServer;
