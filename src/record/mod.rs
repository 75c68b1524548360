//! The labels of this library in a container's record.

mod cleanup;
mod drain;
mod exit_label;
pub(crate) mod generation;
mod outcome;
mod owner;

/// The beginning of the labels of this library.
pub(crate) const LABEL_PREFIX: &str = "io.ctrd.";

pub use cleanup::Cleanup;
pub(crate) use drain::{DEFAULT_DRAIN, drain, drain_label};
pub(crate) use exit_label::{ExitLabel, clear_exit};
pub(crate) use outcome::{ProcessOutcome, SIGKILL_CODE};
pub(crate) use owner::{OWNER_LABEL, check_owner};
