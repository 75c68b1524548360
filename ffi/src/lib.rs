//! The C API of ctrd: a file for each noun of the header.
//!
//! The doc comments here are the comments of `include/ctrd.h`, which `tests/header.rs` generates from
//! these files. Handles arrive as `Option<&T>` (borrowed, NULL-safe) or `Option<Box<T>>` (given up),
//! structs that may grow as raw pointers, because a program of an older header has a shorter one.
#![allow(non_camel_case_types)]
#![warn(clippy::undocumented_unsafe_blocks)]
// What callers must see to is in the header's terms, not in a section on safety.
#![allow(clippy::missing_safety_doc)]

mod args;
mod call;
mod callback;
mod cancel;
mod client;
mod container;
mod daemon;
mod error;
mod guard;
mod hook;
mod image;
mod log;
mod message;
#[cfg(feature = "panic-test")]
mod panic_test;
mod queue;
mod recovery;
mod snapshot;
mod spec;
mod status;
mod stdio;
mod time;
mod version;
