//! The client: the handle that a program holds. Its methods hand over to the modules below, and
//! name the operation for errors.

mod containers;
mod control;
mod counters;
mod hooks;
mod images;
mod processes;
mod queues;
mod snapshots;
mod socket;
mod stats;
mod version;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::call::{Call, Limits};
use crate::client_config::ClientConfig;
use crate::delivery;
use crate::error::{Result, ResultExt};
use crate::inner::Inner;
use crate::rpc;
use crate::submit;
pub use counters::Counters;
use socket::{socket_path, try_socket};
pub use version::Version;

/// How long the drop of a client's last handle waits for hooks.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a containerd. Clones are the same client, which may be used from any thread. The
/// drop of the last clone closes the client, and waits for hooks that run for at most 10 s. A submitted
/// call holds a clone until it completes: if it waits for an exit without a timeout, only
/// [`Client::close`] ends it.
///
/// ```no_run
/// use ctrd::{Call, Client, ClientConfig};
///
/// # fn main() -> ctrd::Result<()> {
/// let client = Client::open(&ClientConfig::new(), &Call::new())?;
/// for container in client.list_containers(&[], &Call::new())? {
///     println!("{} {:?}", container.id(), container.status());
/// }
/// client.close(&Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "the drop of the last clone closes the client"]
pub struct Client {
    // Its drop closes the client, even if operations still hold the rest.
    closer: Arc<Closer>,
    inner: Arc<Inner>,
}

/// Closes the client when the last handle is dropped.
struct Closer {
    inner: Arc<Inner>,
    /// Whether a close has waited for hooks.
    waited: AtomicBool,
}

impl Closer {
    fn close(&self) {
        let may_wait = !delivery::inside() && self.inner.check_reentrant().is_ok();
        let waits = may_wait && !self.waited.swap(true, Ordering::SeqCst);
        let timeout = if waits { DROP_TIMEOUT } else { Duration::ZERO };
        // Hooks that take longer end by themselves.
        if let Err(error) = self.inner.close(&Limits::within(timeout)) {
            log::warn!("a client is dropped and not closed yet: {error}");
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            self.close();
            self.inner.pump.close();
        } else {
            // Its destructors rely on threads that only the parent has.
            std::mem::forget(self.inner.clone());
        }
    }
}

impl Client {
    /// How long opening or closing a client, and asking for the version, may take if the call names
    /// no timeout.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

    /// Opens a client, and makes sure that a containerd answers.
    ///
    /// Blocks until the server has answered, for at most 10 s unless `call` says otherwise. If
    /// nobody listens it fails at once: with [`crate::ErrorKind::NotFound`] if there is no socket,
    /// with [`crate::ErrorKind::PermissionDenied`] if this process may not use it, and with
    /// [`crate::ErrorKind::Unavailable`] if no process has it open.
    pub fn open(config: &ClientConfig, call: &Call) -> Result<Client> {
        Client::open_at(config, call).at("client_open", &config.address)
    }

    fn open_at(config: &ClientConfig, call: &Call) -> Result<Client> {
        config.check()?;
        submit::begin_long_operation()?;
        let path = socket_path(&config.address)?;
        rpc::check_process()?;
        rpc::check_threads()?;
        // One deadline for both steps: a busy socket costs time of the call.
        let limits = call.limits(Some(Client::OPEN_TIMEOUT));
        let shares_pids = try_socket(&path, &limits)?;
        let inner = Arc::new(Inner::new(config.clone(), &path, shares_pids));
        let operation = inner.begin_with(call, Some(Client::OPEN_TIMEOUT))?;
        rpc::version::version(&operation.ctx.with_limits(limits)).step("ask for the version")?;
        drop(operation);
        let closer = Closer { inner: inner.clone(), waited: AtomicBool::new(false) };
        Ok(Client { closer: Arc::new(closer), inner })
    }

    /// Closes the client: no further call begins, waits for exits end with
    /// [`crate::ErrorKind::Closed`], and no hook is started any more. Containers run on.
    ///
    /// Blocks until the calls under way and the hooks that run have returned, for at most 10 s
    /// unless `call` says otherwise. From inside a hook it does not wait. A second close continues
    /// to wait if the first one has failed, and does nothing otherwise. Fails with
    /// [`crate::ErrorKind::Reentrant`] in a callback of an operation that it would wait for.
    pub fn close(&self, call: &Call) -> Result<()> {
        let close = || {
            self.inner.check_process()?;
            if !delivery::inside() {
                self.inner.check_reentrant()?;
            }
            submit::begin_operation()?;
            // First: it ends the pulls for which a submitted close would wait in the line.
            self.inner.shut();
            submit::begin_long()?;
            self.inner.close(&call.limits(Some(Client::OPEN_TIMEOUT)))
        };
        close().at("client_close", &self.inner.config.address)
    }

    /// The configuration that the client was opened with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
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

    /// The client's counters. They can be read after the close too.
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

/// See [`crate::ffi::close_before_free`].
pub(crate) fn close_before_free(client: &Client) {
    if client.inner.check_process().is_ok() {
        client.closer.close();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
