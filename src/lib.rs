//! A blocking containerd client: containers, their exits, images and snapshots, without an async
//! runtime.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ctrd::{Call, Client, ClientConfig, ContainerConfig, DestroyConfig, PullConfig};
//!
//! fn main() -> ctrd::Result<()> {
//!     let client = Client::open(&ClientConfig::new(), &Call::new())?;
//!     let pull = PullConfig::new("busybox");
//!     let image = client.pull_image(&pull, &mut |_| {}, &Call::new())?;
//!     let config = ContainerConfig::new("hello").image(image.name()).args(["sh", "-c", "exit 3"]);
//!     client.create_container(&config, &Call::new())?;
//!     let message = client.wait("hello", &Call::new().timeout(Duration::from_secs(60)))?;
//!     println!("exit code {:?}", message.exit_code());
//!     client.destroy_container("hello", &DestroyConfig::new(), &Call::new())?;
//!     Ok(())
//! }
//! ```
//!
//! - **[`Client`]** is the handle: cheap to clone, usable from any thread, and the same connection
//!   throughout. Every operation is a method of it.
//! - **[`Call`]** says how a call is bounded: its timeout (each operation has a default; only
//!   [`Client::wait`] and [`Client::pull_image`] have none), a [`Cancel`] handle, another namespace, a
//!   lease. It goes last.
//! - **[`Error`]** says what happened: a stable [`ErrorKind`], operation, subject and step, the gRPC
//!   status, whether trying again helps, and whether the change may have taken place all the same.
//! - **[`Message`]** tells of an exit. A code that no source holds is `None`: never a guess. A
//!   connection that breaks is no exit; the process is looked up when it is back.
//! - **[`Daemon`]** runs a private containerd, for programs that bring their own, and starts it again
//!   when it dies.
//!
//! The library is a guest in its process: it prints nothing (it logs to the `log` crate, also from
//! gRPC's thread, so a logger must not block and must not call it), leaves
//! signals, environment and working directory alone, and makes no thread for a container. A child of
//! the process cannot use its clients ([`ErrorKind::Forked`]): open them after forking.
#![deny(unsafe_code)]
#![warn(missing_docs)]

/// For the C interface alone, and no part of the Rust API.
#[doc(hidden)]
pub mod ffi {
    use std::os::fd::BorrowedFd;

    use crate::{ErrorKind, HookId, Result, Stream};

    /// Closes a client as the drop of its last handle does, whose own drop then does not wait again. A C
    /// program frees its handle by a pointer that its hooks have too: so the hooks must have ended before
    /// the handle is dropped, and the calls in them hold clones of it.
    pub fn close_before_free(client: &crate::Client) {
        crate::client::close_before_free(client);
    }

    /// The number of a hook.
    pub fn hook_number(hook: HookId) -> u64 {
        hook.0
    }

    /// The hook with a number.
    pub fn hook_with_number(number: u64) -> HookId {
        HookId(number)
    }

    /// A stream of a duplicate of a descriptor that the program keeps. `argument` names it in the error.
    pub fn duplicate(argument: &str, fd: BorrowedFd<'_>) -> Result<Stream> {
        crate::stdio::duplicate(argument, fd)
    }

    /// Every kind of error.
    pub const ERROR_KINDS: &[ErrorKind] = ErrorKind::ALL;
}

/// Reports of faults, version by version.
pub mod guide {
    #![doc = include_str!("guide/what_happens_when.md")]
}

mod call;
mod cancel;
mod client;
mod client_config;
mod container;
mod daemon;
mod delivery;
mod error;
mod events;
mod executor;
mod filter;
mod gate;
mod identifier;
mod image;
mod inner;
mod keyed_mutex;
mod lease;
mod message;
mod queue;
mod random;
mod record;
mod rootfs;
mod rpc;
mod snapshot;
mod spec;
mod stdio;
mod submit;
mod sys;
mod timestamp;
mod wait;
mod wakeup;
mod watch;
mod watchdog;

pub use call::Call;
pub use cancel::Cancel;
pub use client::{Client, Counters, Version};
pub use client_config::ClientConfig;
pub use container::{
    ContainerConfig, ContainerInfo, ContainerStatus, DestroyConfig, Recovery, RecoveryState,
};
pub use daemon::{Daemon, DaemonConfig};
pub use delivery::{HookConfig, HookId, HookMode, Subscription, SubscriptionConfig};
pub use error::{Error, ErrorKind, Result};
pub use filter::EventFilter;
pub use image::{Credentials, Image, Progress, ProgressStatus, PullConfig};
pub use message::{Message, MessageKind, Origin, OutputLost};
pub use queue::{Queue, QueueConfig, QueueFd};
pub use record::Cleanup;
pub use snapshot::{Snapshot, SnapshotKind};
pub use spec::default_spec;
pub use stdio::{Stdio, Stream};
pub use submit::{Submission, set_call_threads};
