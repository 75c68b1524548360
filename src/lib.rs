//! A blocking containerd client: containers, their exits, images and snapshots, without an async
//! runtime.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod call;
mod cancel;
mod client;
mod container;
mod context;
mod daemon;
mod error;
mod identifier;
mod image;
mod lease;
mod message;
mod pool;
mod rootfs;
mod rpc;
mod snapshot;
mod spec;
mod stdio;
mod sys;
mod wait;
mod watch;

pub use call::{Call, Timeout};
pub use cancel::Cancel;
pub use client::{Client, Version};
pub use container::ContainerConfig;
pub use context::ClientConfig;
pub use daemon::{Daemon, DaemonConfig};
pub use error::{Error, ErrorKind, Result};
pub use image::{Credentials, Image, Progress, ProgressStatus, PullConfig};
pub use message::{Message, Origin};
pub use snapshot::{Snapshot, SnapshotKind};
pub use spec::default_spec;
pub use stdio::{Stdio, Stream};
