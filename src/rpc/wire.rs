//! The generated messages: `build.rs` makes them from `protos/`.
#![allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications, dead_code)]

include!(concat!(env!("OUT_DIR"), "/wire/mod.rs"));
