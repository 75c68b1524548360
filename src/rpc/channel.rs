//! The connection, and the context of every call over it.

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

/// See [`Ctx::settling`].
const SETTLE: Duration = Duration::from_secs(3);

/// How much later the server's deadline is than our own: ours must come first.
const LATER: Duration = Duration::from_millis(50);

/// The gRPC environment of the process: one thread. It is made on first use and never ends, because
/// nothing can wait for gRPC's own shutdown (`grpcio` 0.13).
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

/// Fails if the threads cannot be made that gRPC makes for the first open connection: `grpcio`
/// panics without its thread, and the core waits at the end for its threads even if they could not
/// be made. The check makes as many threads itself.
pub(crate) fn check_threads() -> Result<()> {
    if OPEN.load(Ordering::SeqCst) > 0 {
        return Ok(());
    }
    // The threads of the core's event engine (gRPC 1.56, `posix_engine.cc`), five more of the core
    // and of this library, and one for other clients that may be opened now.
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

/// How many connections are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The process that has gRPC's thread; 0 before there is one.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Fails in a child of a process that has used gRPC: the child has no gRPC thread, and cannot make one.
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

/// Sends gRPC's messages to the `log` crate. If the host has switched logging off, `grpcio` would
/// keep gRPC's default, which writes to stderr: so the level is raised during the call.
fn redirect_log() {
    let level = log::max_level();
    log::set_max_level(level.max(log::LevelFilter::Error));
    grpcio::redirect_log();
    log::set_max_level(level);
}

/// One connection to a containerd. gRPC connects again by itself whenever it breaks.
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
                // gRPC shares a connection among equal channels. A client must have its own.
                .use_local_subchannel_pool(true)
                // containerd sends up to 16 MiB of payload (defaults.DefaultMaxRecvMsgSize).
                .max_receive_message_len(32 * MIB)
                .max_send_message_len(16 * MIB)
                // A trailer carries runc's errors, which may be long; over the limit they would be
                // lost.
                .raw_cfg_int(argument("grpc.max_metadata_size"), 256 * KIB)
                .raw_cfg_int(argument("grpc.absolute_max_metadata_size"), MIB)
                .initial_reconnect_backoff(Duration::from_millis(100))
                // Despite its name, it is the shortest time for an attempt, handshake included.
                .raw_cfg_int(argument("grpc.min_reconnect_backoff_ms"), 5_000)
                .max_reconnect_backoff(Duration::from_secs(1))
                // A proxy that the environment names is not for a local socket.
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

/// gRPC's name for the socket at a path. gRPC reads it as a URI, so every character that is not
/// plain is encoded. Of several slashes at the beginning only one is kept: an authority would
/// follow two. (gRPC still divides the name at a comma, which the client refuses.)
fn target(path: &Path) -> String {
    use std::fmt::Write;
    let path = path.as_os_str().as_bytes();
    let extra = path.iter().take_while(|&&byte| byte == b'/').count().saturating_sub(1);
    let mut target = String::from("unix:");
    for &byte in path.iter().skip(extra) {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            // A write to a string does not fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
    target
}

/// The context of a call: the connection, the namespace, the lease and the limits.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) connection: Arc<Connection>,
    pub(crate) namespace: String,
    pub(crate) lease: Option<String>,
    pub(crate) limits: Limits,
    /// How much longer a change is waited for after the limits have ended the wait.
    pub(crate) settle: Duration,
}

impl Ctx {
    /// A context without a lease.
    pub(crate) fn new(connection: &Arc<Connection>, namespace: &str, limits: Limits) -> Ctx {
        Ctx {
            connection: connection.clone(),
            namespace: namespace.into(),
            lease: None,
            limits,
            settle: Duration::ZERO,
        }
    }

    /// The same with this lease.
    pub(crate) fn with_lease(&self, lease: &str) -> Ctx {
        Ctx { lease: Some(lease.into()), ..self.clone() }
    }

    /// The same without a lease.
    pub(crate) fn without_lease(&self) -> Ctx {
        Ctx { lease: None, ..self.clone() }
    }

    /// The same for an operation that is undone if it fails. A change that was sent is waited for a
    /// little longer, to find out whether there is something to undo: the server may still make a
    /// change whose call was cancelled, even after the undo.
    pub(crate) fn settling(&self) -> Ctx {
        Ctx { settle: SETTLE, ..self.clone() }
    }

    /// The same with other limits.
    pub(crate) fn with_limits(&self, limits: Limits) -> Ctx {
        Ctx { limits, ..self.clone() }
    }

    /// The options of the call for gRPC.
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
            // Our own wait ends at the deadline. gRPC's deadline is for the server, which then
            // stops the call.
            options = options.timeout(left.max(Duration::from_millis(1)) + self.settle + LATER);
        }
        Ok(options)
    }
}
