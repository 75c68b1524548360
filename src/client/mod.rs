//! The client: the handle that a program holds, and hands its calls to.

mod containers;
mod hooks;
mod images;
mod processes;
mod queues;
mod snapshots;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::call::{Call, Limits};
use crate::delivery;
use crate::error::{Error, Result, ResultExt};
use crate::identifier;
use crate::inner::{ClientConfig, Inner};
use crate::rpc;
use socket::{socket_path, try_socket};

/// How long the last handle of a client waits for hooks when it goes.
const FREE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// As in `1.6.20~ds1` or `v1.7.24`: distributions write it in many ways.
    pub version: String,
    /// The commit it was built from.
    pub revision: String,
}

/// What a client counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// How often a connection broke, as seen by what has to be begun anew: each subscription by itself,
    /// and waits that broke off together, within a second, once.
    pub reconnects: u64,
    /// How many processes were looked up after that, or because of an answer that leaves a doubt, with a
    /// result.
    pub reconciled: u64,
    /// How many messages were dropped because a queue or a hook was full.
    pub dropped: u64,
    /// How many processes are watched whose exit is not known.
    pub outstanding: u64,
    /// How many bytes of output of containers did not reach the host's descriptors: a descriptor
    /// failed, or streams were closed while a reader was behind (by a destroy, a clean-up, because
    /// another client had removed the container, or by the close of the client).
    pub output_lost: u64,
}

/// A connection to a containerd. Clones are the same client; it may be used from any thread. The
/// drop of the last one closes it, and waits at most 10 s for hooks that run.
#[derive(Clone)]
pub struct Client {
    // Its drop closes the client, whatever of the context is still held by others.
    closer: Arc<Closer>,
    inner: Arc<Inner>,
}

/// Closes the client when the last handle goes.
struct Closer {
    inner: Arc<Inner>,
    /// Whether hooks were waited for as long as they are.
    waited: AtomicBool,
}

impl Closer {
    fn close(&self) {
        let may_wait = !delivery::inside() && self.inner.check_reentrant().is_ok();
        let waits = may_wait && !self.waited.swap(true, Ordering::SeqCst);
        let timeout = if waits { FREE_TIMEOUT } else { Duration::ZERO };
        // Only hooks may take longer, and are then left to end by themselves.
        if let Err(error) = self.inner.close(&Limits::within(timeout)) {
            log::warn!("a client is gone and not closed yet: {error}");
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            self.close();
            self.inner.pump.close();
        } else {
            // The threads that its destructors rely on are the parent's.
            std::mem::forget(self.inner.clone());
        }
    }
}

impl Client {
    /// How long opening or closing a client, and asking for the version, may take if the call names no
    /// timeout.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

    /// Opens a client, and makes sure that a containerd answers.
    ///
    /// Blocks for at most 10 s unless `call` says otherwise. Where nobody listens it fails at once:
    /// [`crate::ErrorKind::NotFound`] without a socket, [`crate::ErrorKind::PermissionDenied`] where it may not be
    /// used, [`crate::ErrorKind::Unavailable`] where no process has it open.
    pub fn open(config: ClientConfig, call: &Call) -> Result<Client> {
        let address = config.address.clone();
        Client::open_at(config, call).at("client_open", &address)
    }

    fn open_at(config: ClientConfig, call: &Call) -> Result<Client> {
        identifier::check("namespace", &config.namespace)?;
        identifier::check("owner", &config.owner)?;
        identifier::check_snapshotter(&config.snapshotter)?;
        if !config.state_dir.is_absolute() {
            return Err(Error::invalid("state_dir", "must be an absolute path"));
        }
        let path = socket_path(&config.address)?;
        rpc::check_process()?;
        rpc::check_threads()?;
        // One for both: a socket that is busy takes of the call's time.
        let limits = call.limits(Some(Client::OPEN_TIMEOUT));
        let sees_processes = try_socket(&path, &limits)?;
        let inner = Arc::new(Inner::new(config, &path, sees_processes));
        let operation = inner.begin_with(call, Some(Client::OPEN_TIMEOUT))?;
        rpc::version::version(&operation.ctx.with_limits(limits)).step("ask for the version")?;
        drop(operation);
        let closer = Closer { inner: inner.clone(), waited: AtomicBool::new(false) };
        Ok(Client { closer: Arc::new(closer), inner })
    }

    /// Closes the client: no further call begins, waits end with [`crate::ErrorKind::Closed`], no hook is
    /// started any more, calls under way and hooks that run are waited for. From inside a hook it does
    /// not wait. Containers run on. Closing again does nothing, or goes on waiting.
    pub fn close(&self, call: &Call) -> Result<()> {
        let close = || {
            self.inner.check_process()?;
            if !delivery::inside() {
                self.inner.check_reentrant()?;
            }
            self.inner.close(&call.limits(Some(Client::OPEN_TIMEOUT)))
        };
        close().at("client_close", &self.inner.config.address)
    }

    /// Closes the client as the drop of its last handle does, which then does not wait again: for whoever
    /// has given hooks a pointer to this handle, and drops it next.
    #[doc(hidden)]
    pub fn close_to_free(&self) {
        if self.inner.check_process().is_ok() {
            self.closer.close();
        }
    }

    /// What the client was opened with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Fails in a child of the process that opened the client.
    pub fn check_process(&self) -> Result<()> {
        self.inner.check_process()
    }

    /// Asks the server for its version.
    pub fn version(&self, call: &Call) -> Result<Version> {
        let version = || {
            let operation = self.inner.begin_with(call, Some(Client::OPEN_TIMEOUT))?;
            let (version, revision) = rpc::version::version(&operation.ctx)?;
            Ok(Version { version, revision })
        };
        version().at("version", &self.inner.config.address)
    }

    /// What the client has counted since it was opened.
    pub fn counters(&self) -> Counters {
        let (reconnects, reconciled) = self.inner.watches.reconciled();
        Counters {
            reconnects: reconnects + self.inner.bus.reconnects(),
            reconciled,
            dropped: self.inner.bus.dropped(),
            outstanding: self.inner.watches.outstanding() as u64,
            output_lost: self.inner.pump.output_lost(),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
