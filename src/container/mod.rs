//! Containers: a file for each group of operations, and for what several of them do.

mod adopt;
mod cleanup;
mod config;
mod create;
mod destroy;
mod info;
mod lock;
mod probe;
mod processes;
mod recover;
mod remove;
mod sandbox;
mod start;
mod stats;
mod streams;
mod task;
mod undo;

pub use config::ContainerConfig;
pub(crate) use create::create;
pub use destroy::DestroyConfig;
pub(crate) use destroy::{destroy, note_watch};
pub use info::{ContainerInfo, ContainerStatus};
pub(crate) use info::{get, list};
pub(crate) use probe::{probe, watch_container};
pub use processes::NewProcess;
pub(crate) use processes::{pid, pids};
pub use recover::{Recovery, RecoveryState};
pub(crate) use recover::{recover, recover_all};
pub(crate) use start::start;
pub(crate) use stats::{list_stats, stats};
