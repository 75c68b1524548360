//! What the exports have in common: how arguments come in, how outcomes go out, and what holds at the
//! border between C and the core.

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
