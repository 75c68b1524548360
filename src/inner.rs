//! What the operations of one client share, and how each of them begins.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::call::{Call, Limits};
use crate::delivery::{self, Bus};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::identifier;
use crate::image::cache::ImageCache;
use crate::keyed_mutex::KeyedMutex;
use crate::rpc::{Connection, Ctx};
use crate::stdio::{FifoDir, Pump};
use crate::submit::{self, Group};
use crate::wait::wait_while;
use crate::watch::Watches;

/// What a client is opened with. Empty strings and zero mean the default.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The socket: an absolute path without a comma, or `unix:` and one. Default
    /// `/run/containerd/containerd.sock`.
    pub address: String,
    /// The namespace of calls that name none. Default `default`.
    pub namespace: String,
    /// Who this program is to other users of the same containerd: containers that the client makes
    /// carry it as a label, and only containers with it are recovered. Default `ctrd`.
    pub owner: String,
    /// The snapshotter of calls that name none. Default `overlayfs`.
    pub snapshotter: String,
    /// The timeout of calls that name none and whose operation has none of its own. Default 30 s.
    pub call_timeout: Duration,
    /// Where the FIFOs of containers are made; containerd's shims must see the same path. Made with
    /// mode 0700 when it is first needed. Default `/run/ctrd`.
    pub state_dir: PathBuf,
    /// Whether containers are made so that containerd 1.7 and 2.x still know how a process ended after
    /// they were started anew themselves: these forget it otherwise, and it is then only known where
    /// the kernel tells (Linux 6.15). A sandbox of the container's id is written down for that, which
    /// other clients see in their lists; it rests on how these versions are made. containerd 1.6 needs
    /// it not, and nothing is done there. Default: no.
    pub keep_stopped_tasks: bool,
    /// How many submitted calls of the client may be in flight, completions that nobody has taken
    /// included: at least 1. Default 1,024.
    pub max_calls: usize,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            address: "/run/containerd/containerd.sock".into(),
            namespace: "default".into(),
            owner: "ctrd".into(),
            snapshotter: "overlayfs".into(),
            call_timeout: Duration::from_secs(30),
            state_dir: "/run/ctrd".into(),
            keep_stopped_tasks: false,
            max_calls: 1024,
        }
    }
}

/// What the operations of one client share.
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) connection: Arc<Connection>,
    pub(crate) images: ImageCache,
    /// Keeps several pulls from fetching or unpacking the same blob at once: containerd 1.6 is slow at a
    /// blob that two clients write.
    pub(crate) blob_locks: KeyedMutex,
    pub(crate) executor: Executor,
    pub(crate) bus: Bus,
    pub(crate) pump: Pump,
    /// Tells the server from others in the names of FIFOs.
    server: String,
    pub(crate) watches: Watches,
    /// Who changes a container, by its namespace and id.
    pub(crate) locks: KeyedMutex,
    /// Its submitted calls.
    pub(crate) calls: Arc<Group>,
    process: u32,
    gate: Arc<Gate>,
}

/// Counts the operations under way, and lets none in after the close.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    idle: Condvar,
}

#[derive(Default)]
struct GateState {
    /// The threads whose calls are under way, once for each.
    running: Vec<ThreadId>,
    closed: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation under way. The client's close waits for its end.
pub(crate) struct Operation {
    /// What its calls run with.
    pub(crate) ctx: Ctx,
    thread: ThreadId,
    gate: Arc<Gate>,
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(position) = state.running.iter().position(|thread| *thread == self.thread) {
            state.running.swap_remove(position);
        }
        drop(state);
        self.gate.idle.notify_all();
    }
}

impl Inner {
    /// A context over a connection to the socket at `path`. `sees_processes` says whether the numbers
    /// that the server gives to processes are ours too.
    pub(crate) fn new(config: ClientConfig, path: &Path, sees_processes: bool) -> Inner {
        let connection = Arc::new(Connection::new(path));
        let executor = Executor::new("ctrd-work");
        let bus = Bus::new(&executor);
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let hash = Sha256::digest(canonical.as_os_str().as_bytes());
        Inner {
            server: hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect(),
            images: ImageCache::default(),
            blob_locks: KeyedMutex::default(),
            pump: Pump::default(),
            locks: KeyedMutex::default(),
            watches: Watches::new(
                connection.clone(),
                executor.clone(),
                bus.clone(),
                sees_processes,
            ),
            connection,
            executor,
            bus,
            calls: Arc::new(Group::new(config.max_calls)),
            process: std::process::id(),
            gate: Arc::default(),
            config,
        }
    }

    /// Where the FIFOs of a namespace are.
    pub(crate) fn fifo_dir<'a>(&'a self, namespace: &'a str) -> FifoDir<'a> {
        FifoDir { state_dir: &self.config.state_dir, server: &self.server, namespace }
    }

    /// Begins an operation that lasts no longer than the client's call timeout, unless `call` says
    /// otherwise.
    pub(crate) fn begin(&self, call: &Call) -> Result<Operation> {
        self.begin_with(call, Some(self.config.call_timeout))
    }

    /// Begins an operation with this default timeout; none where it is `None`.
    pub(crate) fn begin_with(&self, call: &Call, default: Option<Duration>) -> Result<Operation> {
        self.check_process()?;
        submit::note_operation();
        let namespace = call.namespace.as_ref().unwrap_or(&self.config.namespace);
        identifier::check("namespace", namespace)?;
        if call.lease.as_deref() == Some("") {
            return Err(Error::invalid("lease", "must not be empty"));
        }
        let mut state = self.gate.lock();
        if state.closed {
            return Err(Inner::closed());
        }
        let thread = thread::current().id();
        state.running.push(thread);
        drop(state);
        self.bus.retry();
        Ok(Operation {
            ctx: Ctx {
                lease: call.lease.clone(),
                ..Ctx::new(&self.connection, namespace, call.limits(default))
            },
            thread,
            gate: self.gate.clone(),
        })
    }

    /// Fails in a child of the process that opened the client: gRPC's threads are not there.
    pub(crate) fn check_process(&self) -> Result<()> {
        if std::process::id() != self.process {
            return Err(Error::new(
                ErrorKind::Forked,
                "the process forked after the client was opened; open clients after forking",
            ));
        }
        Ok(())
    }

    /// Whether the client was closed. Long work looks now and then.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.lock().closed
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the client is closed")
    }

    /// Closes: lets no further operation in, ends the waits of those under way, waits for these and for
    /// hooks that run, and ends the threads. From inside a hook it waits for nothing.
    pub(crate) fn close(&self, limits: &Limits) -> Result<()> {
        self.gate.lock().closed = true;
        self.watches.close();
        self.bus.shut();
        self.executor.close();
        self.calls.shut();
        if delivery::inside() {
            return Ok(());
        }
        // A destroy that is under way still drains.
        self.calls.close(limits)?;
        self.wait_idle(limits)?;
        self.pump.close();
        self.bus.end(limits)
    }

    /// Fails where one of this client's operations runs on the calling thread, as in a callback of
    /// it: waiting for that would never end.
    pub(crate) fn check_reentrant(&self) -> Result<()> {
        if self.gate.lock().running.contains(&thread::current().id()) {
            return Err(Error::new(
                ErrorKind::Reentrant,
                "called from a callback of an operation that it would wait for",
            ));
        }
        Ok(())
    }

    /// Waits until no operation is under way.
    fn wait_idle(&self, limits: &Limits) -> Result<()> {
        wait_while(&self.gate.idle, self.gate.lock(), limits, |s| !s.running.is_empty())
            .map(drop)
            .map_err(|e| e.context("operations are still under way"))
    }
}
