//! The connection, and what every call over it carries.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use grpcio::{CallOption, Channel, ChannelBuilder, EnvBuilder, Environment, MetadataBuilder};

use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

const KIB: i32 = 1024;
const MIB: i32 = 1024 * KIB;

/// See [`Cx::settling`].
const SETTLE: Duration = Duration::from_secs(3);

/// By how much the server's deadline is later than our own, so that ours is the one that counts.
const LATER: Duration = Duration::from_millis(50);

/// The gRPC environment of the process: one thread, made on first use and kept for good, because
/// gRPC's own shutdown cannot be waited for (`grpcio` 0.13).
fn environment() -> Arc<Environment> {
    ENVIRONMENT
        .get_or_init(|| {
            redirect_log();
            PROCESS.store(std::process::id(), Ordering::SeqCst);
            sys::with_signals_blocked(|| {
                Arc::new(EnvBuilder::new().cq_count(1).name_prefix("ctrd-grpc").build())
            })
        })
        .clone()
}

static ENVIRONMENT: OnceLock<Arc<Environment>> = OnceLock::new();

/// Fails where the threads cannot be made that gRPC makes for the first connection of those that are
/// open: `grpcio` panics without its own, and the core waits for its own at the end, made or not. So
/// many are made to see.
pub(crate) fn check_threads() -> Result<()> {
    if OPEN.load(Ordering::SeqCst) > 0 {
        return Ok(());
    }
    // Of the core's event engine (gRPC 1.56, `posix_engine.cc`); five more are of the core
    // and ours; and one, for other clients may be opened now.
    let count = sys::processors().clamp(2, 16) + 6;
    let held = Mutex::new(());
    sys::with_signals_blocked(|| {
        std::thread::scope(|scope| {
            let _until_all_are_there = held.lock();
            for _ in 0..count {
                let thread = std::thread::Builder::new().name("ctrd-grpc".into());
                thread.spawn_scoped(scope, || drop(held.lock()))?;
            }
            Ok(())
        })
    })
    .map_err(|e: std::io::Error| Error::io("starting the threads of gRPC", e))
}

/// How many connections there are.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The process that gRPC's thread is of; 0 before there is one.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Fails in a child of a process that has used gRPC: its thread is not there, and cannot be made anew.
pub(crate) fn check_process() -> Result<()> {
    match PROCESS.load(Ordering::SeqCst) {
        0 => Ok(()),
        process if process == std::process::id() => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Forked,
            "the process forked after a client was opened in it; open clients after forking",
        )),
    }
}

/// Sends gRPC's messages to the `log` crate. While the host has logging off, `grpcio` would leave
/// gRPC's default in place, which writes to stderr: so the level is raised around the call.
fn redirect_log() {
    let level = log::max_level();
    log::set_max_level(level.max(log::LevelFilter::Error));
    grpcio::redirect_log();
    log::set_max_level(level);
}

/// One connection to a containerd; gRPC makes it anew by itself whenever it breaks.
pub(crate) struct Connection {
    pub(super) client: grpcio::Client,
}

impl Connection {
    /// Prepares a connection to the socket at `path`. Nothing is sent before the first call.
    pub(crate) fn new(path: &Path) -> Connection {
        let argument = |name: &str| CString::new(name).expect("a literal without NUL");
        let channel: Channel = sys::with_signals_blocked(|| {
            ChannelBuilder::new(environment())
                .default_authority("localhost")
                .primary_user_agent(concat!("ctrd/", env!("CARGO_PKG_VERSION")))
                // gRPC shares a connection among equal channels; a client is to have its own.
                .use_local_subchannel_pool(true)
                // containerd sends up to 16 MiB of payload (defaults.DefaultMaxRecvMsgSize).
                .max_receive_message_len(32 * MIB)
                .max_send_message_len(16 * MIB)
                // A long error of runc's travels in a trailer; over the limit it would be lost.
                .raw_cfg_int(argument("grpc.max_metadata_size"), 256 * KIB)
                .raw_cfg_int(argument("grpc.absolute_max_metadata_size"), MIB)
                .initial_reconnect_backoff(Duration::from_millis(100))
                // In spite of its name: how long an attempt may take at least, handshake included.
                .raw_cfg_int(argument("grpc.min_reconnect_backoff_ms"), 5_000)
                .max_reconnect_backoff(Duration::from_secs(1))
                // A proxy named in the environment is no affair of a local socket.
                .enable_http_proxy(false)
                .connect(&target(path))
        });
        OPEN.fetch_add(1, Ordering::SeqCst);
        Connection { client: grpcio::Client::new(channel) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

/// gRPC's name for the socket at a path. It is read as a URI, so all but what is plain is encoded,
/// and of several slashes at the beginning, which would be an authority's, one is left. (What gRPC
/// divides at even so is a comma; the client refuses it.)
fn target(path: &Path) -> String {
    use std::fmt::Write;
    let path = path.as_os_str().as_bytes();
    let extra = path.iter().take_while(|&&byte| byte == b'/').count().saturating_sub(1);
    let mut target = String::from("unix:");
    for &byte in path.iter().skip(extra) {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
    target
}

/// The context of a call: what it runs over, in which namespace, under which lease, until when.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) connection: Arc<Connection>,
    pub(crate) namespace: String,
    pub(crate) lease: Option<String>,
    pub(crate) limits: Limits,
    /// How long a change is waited for after the limits have ended the wait.
    pub(crate) settle: Duration,
}

impl Ctx {
    /// A context of its own: for what runs after the call that brought it about, or for none.
    pub(crate) fn new(connection: &Arc<Connection>, namespace: &str, limits: Limits) -> Ctx {
        Ctx {
            connection: connection.clone(),
            namespace: namespace.into(),
            lease: None,
            limits,
            settle: Duration::ZERO,
        }
    }

    /// The same, under this lease.
    pub(crate) fn with_lease(&self, lease: &str) -> Ctx {
        Ctx { lease: Some(lease.into()), ..self.clone() }
    }

    /// The same without a lease: for what must not be held by it.
    pub(crate) fn without_lease(&self) -> Ctx {
        Ctx { lease: None, ..self.clone() }
    }

    /// The same for an operation that is undone where it fails: a change that was sent is waited for
    /// a little longer, so that it is known whether there is something to undo. The server may do
    /// what it was asked for after the call was cancelled, and after the undo.
    pub(crate) fn settling(&self) -> Ctx {
        Ctx { settle: SETTLE, ..self.clone() }
    }

    /// The same within other limits: an undo runs under its own, whatever ended the operation.
    pub(crate) fn with_limits(&self, limits: Limits) -> Ctx {
        Ctx { limits, ..self.clone() }
    }

    /// What gRPC is told about the call.
    pub(super) fn options(&self) -> Result<CallOption> {
        let mut metadata = MetadataBuilder::with_capacity(2);
        let entries = [
            ("containerd-namespace", Some(&self.namespace)),
            ("containerd-lease", self.lease.as_ref()),
        ];
        for (key, value) in entries {
            if let Some(value) = value {
                metadata.add_str(key, value).map_err(|_| {
                    let why = format!("{value:?} holds what a header cannot");
                    Error::invalid(&key["containerd-".len()..], why)
                })?;
            }
        }
        let mut options = CallOption::default().headers(metadata.build());
        if let Some(left) = self.limits.remaining() {
            // Our own wait ends at the deadline. gRPC's is for the server, which thereby stops what
            // nobody waits for any more.
            options = options.timeout(left.max(Duration::from_millis(1)) + self.settle + LATER);
        }
        Ok(options)
    }
}
