//! The state that the operations of one client share, and the beginning of each operation.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::call::{Call, Limits};
use crate::client_config::ClientConfig;
use crate::delivery::{self, Bus};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::gate::{self, Gate, Pass};
use crate::identifier;
use crate::image::cache::ImageCache;
use crate::keyed_mutex::KeyedMutex;
use crate::rpc::{Connection, Ctx};
use crate::stdio::{FifoDir, Pump};
use crate::submit::{self, Group};
use crate::watch::Watches;

/// The state that the operations of one client share.
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) connection: Arc<Connection>,
    pub(crate) images: ImageCache,
    /// Keeps several pulls from fetching or unpacking the same blob at once: containerd 1.6 is slow
    /// at a blob that two clients write.
    pub(crate) pull_locks: KeyedMutex,
    pub(crate) executor: Executor,
    pub(crate) bus: Bus,
    pub(crate) pump: Pump,
    /// A name for the server, which differs from that of every other server: for the paths of FIFOs.
    server: String,
    pub(crate) watches: Watches,
    /// The locks of containers, by namespace and id.
    pub(crate) locks: KeyedMutex,
    /// Until when statistics are asked for one by one, because a shim has not answered.
    pub(crate) stats_one_by_one: Mutex<Option<Instant>>,
    /// Its submitted calls.
    pub(crate) calls: Arc<Group>,
    process: u32,
    gate: Gate,
}

/// An operation under way. The client's close waits for its end.
pub(crate) struct Operation {
    /// The context of its RPCs.
    pub(crate) ctx: Ctx,
    _pass: Pass,
}

impl Inner {
    /// For a client of the server at the socket `path`. `shares_pids` says whether a pid from the
    /// server is valid in our own pid namespace.
    pub(crate) fn new(config: ClientConfig, path: &Path, shares_pids: bool) -> Inner {
        let connection = Arc::new(Connection::new(path));
        let executor = Executor::new("ctrd-work");
        let bus = Bus::new(&executor);
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let hash = Sha256::digest(canonical.as_os_str().as_bytes());
        Inner {
            server: hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect(),
            images: ImageCache::default(),
            pull_locks: KeyedMutex::default(),
            pump: Pump::default(),
            locks: KeyedMutex::default(),
            stats_one_by_one: Mutex::default(),
            watches: Watches::new(connection.clone(), executor.clone(), bus.clone(), shares_pids),
            connection,
            executor,
            bus,
            calls: Arc::new(Group::new(config.max_calls)),
            process: std::process::id(),
            gate: Gate::default(),
            config,
        }
    }

    /// The directory of the FIFOs of a namespace.
    pub(crate) fn fifo_dir<'a>(&'a self, namespace: &'a str) -> FifoDir<'a> {
        FifoDir { state_dir: &self.config.state_dir, server: &self.server, namespace }
    }

    /// Begins an operation that lasts no longer than the client's call timeout, unless `call` says
    /// otherwise.
    pub(crate) fn begin(&self, call: &Call) -> Result<Operation> {
        self.begin_with(call, Some(self.config.call_timeout))
    }

    /// Begins an operation with this default timeout. `None`: without a limit.
    pub(crate) fn begin_with(&self, call: &Call, default: Option<Duration>) -> Result<Operation> {
        self.check_process()?;
        submit::begin_operation()?;
        let namespace = call.namespace.as_ref().unwrap_or(&self.config.namespace);
        identifier::check("namespace", namespace)?;
        if call.lease.as_deref() == Some("") {
            return Err(Error::invalid("lease", "must not be empty"));
        }
        let pass = self.gate.enter()?;
        self.bus.retry();
        Ok(Operation {
            ctx: Ctx {
                lease: call.lease.clone(),
                ..Ctx::new(&self.connection, namespace, call.limits(default))
            },
            _pass: pass,
        })
    }

    /// Fails in a child of the process that opened the client: it does not have gRPC's threads.
    pub(crate) fn check_process(&self) -> Result<()> {
        if std::process::id() != self.process {
            return Err(Error::new(
                ErrorKind::Forked,
                "the process forked after the client was opened; open clients after forking",
            ));
        }
        Ok(())
    }

    /// Whether the client was closed. Long operations check this now and then.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    pub(crate) fn closed() -> Error {
        gate::closed()
    }

    /// Lets no further operation in, and ends the waits of the operations under way. Does not wait for
    /// these operations.
    pub(crate) fn shut(&self) {
        self.gate.close();
        self.watches.close();
        self.bus.shut();
        self.executor.close();
        self.calls.shut();
    }

    /// Closes the client: shuts it, waits for the operations under way and for hooks that run, and ends
    /// the threads. From inside a hook it does not wait.
    pub(crate) fn close(&self, limits: &Limits) -> Result<()> {
        self.shut();
        if delivery::inside() {
            return Ok(());
        }
        // The pump comes later: a destroy that is under way still waits for output.
        self.calls.close(limits)?;
        self.gate.wait_idle(limits)?;
        self.pump.close();
        self.bus.end(limits)
    }

    /// Fails if the calling thread is in a callback of one of this client's operations: a wait for that
    /// operation would never end.
    pub(crate) fn check_reentrant(&self) -> Result<()> {
        self.gate.check_reentrant()
    }
}
