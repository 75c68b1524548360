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
//! - **[`Client`]** is the handle of one connection. It is cheap to clone and can be used from any
//!   thread. Every operation is a method of it.
//! - **[`Call`]** has the options of one call: its timeout (each operation has a default; only
//!   [`Client::wait`] and [`Client::pull_image`] have none), a [`Cancel`] handle, another
//!   namespace, a lease. It is the last argument.
//! - **[`Error`]** says what happened: a stable [`ErrorKind`], at times an [`ErrorReason`], the operation, its object and step,
//!   the gRPC status, whether another attempt may help, and whether the change may have been made
//!   nevertheless.
//! - **[`Message`]** reports an exit. If no source has the exit code, the code is `None`: it is
//!   never a guess. A broken connection is not an exit; the process is looked up when the
//!   connection is back.
//! - **[`Daemon`]** runs a private containerd, for programs that bring their own, and starts it
//!   again when it dies.
//!
//! The library is a guest in its process. It prints nothing: it logs to the `log` crate, also from
//! gRPC's thread, so a logger must not block and must not call the library. It leaves signals,
//! environment and working directory alone, and makes no thread for a container. A child of the
//! process cannot use its clients ([`ErrorKind::Forked`]): open clients after forking.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations, missing_docs)]

/// The reports of the library after faults, for each version of containerd.
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
#[doc(hidden)]
pub mod ffi;
mod filter;
mod gate;
mod identifier;
mod image;
mod inner;
mod keyed_mutex;
mod lease;
mod message;
mod per_process;
mod queue;
mod random;
mod record;
mod rootfs;
mod rpc;
mod signal;
mod snapshot;
mod spec;
mod stats;
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
    ContainerConfig, ContainerInfo, ContainerStatus, DestroyConfig, ExecConfig, ExecProcess,
    KillConfig, NewProcess, PauseConfig, ProcessInfo, Recovery, RecoveryState, RestartConfig,
    UpdateConfig,
};
pub use daemon::{Daemon, DaemonConfig};
pub use delivery::{HookConfig, HookId, HookMode, Subscription, SubscriptionConfig};
pub use error::{Error, ErrorKind, ErrorReason, Result};
pub use filter::EventFilter;
pub use image::{Credentials, Image, PullConfig, RemoveImageConfig};
pub use message::{Message, MessageKind, Origin, OutputLost, Progress, ProgressStatus};
pub use queue::{Queue, QueueConfig, QueueFd};
pub use record::Cleanup;
pub use signal::signal_number;
pub use snapshot::{Snapshot, SnapshotKey, SnapshotKind};
pub use spec::default_spec;
pub use stats::{Stat, Stats};
pub use stdio::{Stdio, Stream};
pub use submit::{Submission, set_call_threads};

/// Every public type can be sent to another thread, and shared between threads.
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Call>();
    assert_send_sync::<Cancel>();
    assert_send_sync::<Cleanup>();
    assert_send_sync::<Client>();
    assert_send_sync::<ClientConfig>();
    assert_send_sync::<ContainerConfig>();
    assert_send_sync::<ContainerInfo>();
    assert_send_sync::<ContainerStatus>();
    assert_send_sync::<Counters>();
    assert_send_sync::<Credentials>();
    assert_send_sync::<Daemon>();
    assert_send_sync::<DaemonConfig>();
    assert_send_sync::<DestroyConfig>();
    assert_send_sync::<Error>();
    assert_send_sync::<ErrorKind>();
    assert_send_sync::<ErrorReason>();
    assert_send_sync::<EventFilter>();
    assert_send_sync::<ExecConfig>();
    assert_send_sync::<ExecProcess>();
    assert_send_sync::<HookConfig>();
    assert_send_sync::<HookId>();
    assert_send_sync::<HookMode>();
    assert_send_sync::<Image>();
    assert_send_sync::<KillConfig>();
    assert_send_sync::<Message>();
    assert_send_sync::<MessageKind>();
    assert_send_sync::<NewProcess>();
    assert_send_sync::<Origin>();
    assert_send_sync::<OutputLost>();
    assert_send_sync::<PauseConfig>();
    assert_send_sync::<ProcessInfo>();
    assert_send_sync::<Progress>();
    assert_send_sync::<ProgressStatus>();
    assert_send_sync::<PullConfig>();
    assert_send_sync::<Queue>();
    assert_send_sync::<QueueConfig>();
    assert_send_sync::<QueueFd>();
    assert_send_sync::<Recovery>();
    assert_send_sync::<RecoveryState>();
    assert_send_sync::<RemoveImageConfig>();
    assert_send_sync::<RestartConfig>();
    assert_send_sync::<Snapshot>();
    assert_send_sync::<SnapshotKey>();
    assert_send_sync::<SnapshotKind>();
    assert_send_sync::<Stat>();
    assert_send_sync::<Stats>();
    assert_send_sync::<Stdio>();
    assert_send_sync::<Stream>();
    assert_send_sync::<Submission>();
    assert_send_sync::<Subscription>();
    assert_send_sync::<SubscriptionConfig>();
    assert_send_sync::<UpdateConfig>();
    assert_send_sync::<Version>();
};
