//! Which processes are watched, and how they ended.
//!
//! A watch is of one process: a container's first one, or an exec. Both are followed in the same way.
//! Only containers have records, which may be replaced or removed: [`displaced`] and [`retire`]. A
//! watch has one outstanding Wait at the server, however many callers probe it, and no thread of
//! its own. It reports at most one exit. A Wait that ends in anything but an answer says nothing
//! about the process: the [`reconcile`]r then looks it up.

mod displaced;
#[cfg(test)]
mod exec_tests;
mod identity;
mod lookup;
mod pidfd;
mod process;
mod queue;
mod reconcile;
mod report;
mod retire;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod wait;
mod waiters;
mod watches;

pub(crate) use displaced::IdOwner;
pub(crate) use identity::Process;
pub(crate) use process::{AfterExit, Watch};
pub(crate) use watches::{FoundProcess, Watches};
