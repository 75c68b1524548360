//! What a container's record says, beside what containerd itself reads of it: labels of this library's.

mod cleanup;
mod drain;
mod exit_label;
mod generation;
mod outcome;
mod owner;

/// What the labels of this library begin with.
pub(crate) const LABEL_PREFIX: &str = "io.ctrd.";

pub use cleanup::Cleanup;
pub(crate) use drain::{DEFAULT_DRAIN, drain, drain_label};
pub(crate) use exit_label::{ExitLabel, clear_exit};
pub(crate) use generation::{GENERATION_LABEL, generation, generation_number};
pub(crate) use outcome::{End, KILLED};
pub(crate) use owner::{OWNER_LABEL, check_owner};
