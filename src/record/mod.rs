//! What a container's record says in labels of this library, beside what containerd itself reads.

mod cleanup;
mod drain;
mod exit_label;
pub(crate) mod generation;
mod outcome;
mod owner;

/// What the labels of this library begin with.
pub(crate) const LABEL_PREFIX: &str = "io.ctrd.";

pub use cleanup::Cleanup;
pub(crate) use drain::{DEFAULT_DRAIN, drain, drain_label};
pub(crate) use exit_label::{ExitLabel, clear_exit};
pub(crate) use outcome::{ProcessOutcome, SIGKILL_CODE};
pub(crate) use owner::{OWNER_LABEL, check_owner};
