//! Images: pulling them, unpacking them, and their records.
//!
//! `reference`, `digest`, `platform`, `manifest`, `auth`, `url`, `transport` and `cache` know nothing
//! of a client. `registry` and `store` read documents by their means. The operations are above them.

mod auth;
pub(crate) mod cache;
mod digest;
mod manifest;
mod platform;
mod progress;
mod pull;
mod pull_config;
mod records;
mod reference;
mod registry;
mod resolve;
mod spec;
mod store;
#[cfg(test)]
mod test_registry;
mod transport;
mod unpack;
mod url;

pub use self::auth::Credentials;
pub(crate) use self::progress::publish_progress;
pub(crate) use self::pull::pull;
pub use self::pull_config::PullConfig;
pub use self::records::{Image, RemoveImageConfig};
pub(crate) use self::records::{check_name, get, list, remove};
pub(crate) use self::resolve::{ResolvedImage, resolve};
pub(crate) use self::spec::image_spec;
pub(crate) use self::unpack::unpack;
