//! The C API of ctrd: a file for each noun of the header, and in `abi` what all of them need.
//!
//! The doc comments here are the comments of `include/ctrd.h`, which `tests/header.rs` generates from
//! these files. A function that changes something takes its handle as `*mut T`, an accessor takes
//! `Option<&T>`, and a `_free` function takes `Option<Box<T>>`. Structs that may grow arrive as raw
//! pointers, because a program that was compiled with an older header has a shorter one.
#![allow(non_camel_case_types)]
#![warn(clippy::undocumented_unsafe_blocks)]
// The header says what callers must see to; a section on safety would repeat it.
#![allow(clippy::missing_safety_doc)]

mod abi;
mod call;
mod cancel;
mod client;
mod container;
mod container_info;
mod control;
mod daemon;
mod error;
mod exec;
mod hook;
mod image;
mod io;
mod log;
mod message;
mod process;
mod progress;
mod pull;
mod queue;
mod recovery;
mod snapshot;
mod spec;
mod stats;
mod status;
mod version;
