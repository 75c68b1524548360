//! Which processes are watched, and how they ended.
//!
//! A watch has one outstanding Wait at the server, however many callers probe it, and no thread of
//! its own. It gives at most one exit. A Wait that ends in anything but an answer says nothing of the
//! process: the watch then goes on the list of those that [`reconcile`] looks up.

mod deliver;
mod displaced;
mod drain;
mod look;
mod lost;
mod pidfd;
mod process;
mod reconcile;
mod retire;
mod table;
#[cfg(test)]
mod tests;
mod watches;

pub(crate) use displaced::Settled;
pub(crate) use process::{Process, Then, Watch};
pub(crate) use watches::{Find, Watches};
