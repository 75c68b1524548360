//! Shared code of the exports: arguments, outputs, errors, panics and forks.

pub(crate) mod arguments;
pub(crate) mod callbacks;
pub(crate) mod errors;
pub(crate) mod fork;
pub(crate) mod guard;
pub(crate) mod operation;
pub(crate) mod outputs;
#[cfg(feature = "panic-test")]
mod panic_test;
pub(crate) mod queues;
pub(crate) mod times;
