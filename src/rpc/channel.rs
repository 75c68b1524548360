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

/// How much later the server's deadline is than our own. Ours must come first.
const LATER: Duration = Duration::from_millis(50);

/// The gRPC environment of the process. It has one thread, which is made on first use and never
/// ends, because nobody can wait for gRPC's own shutdown (`grpcio` 0.13).
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

/// Fails if the process cannot make the threads that gRPC starts for the first open connection.
/// Without its thread, `grpcio` panics. At its end, the core waits for its threads, even for those
/// that could not be made. So this function makes as many threads, and ends them.
pub(crate) fn check_threads() -> Result<()> {
    if OPEN.load(Ordering::SeqCst) > 0 {
        return Ok(());
    }
    // The core's event engine has up to 16 (gRPC 1.56, `posix_engine.cc`). The core and this
    // library have five more. One more is spare, because other clients may be opened at the same
    // time.
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

/// The process that has gRPC's thread. 0 before there is one.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Fails in a forked child if the parent has used gRPC. The child does not have gRPC's thread, and
/// cannot make it again.
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

/// Sends gRPC's messages to the `log` crate. If the host has logging off, `grpcio` would keep
/// gRPC's default, which writes to stderr. So this raises the level during the call.
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
                // gRPC shares a connection among equal channels, but each client must have its own.
                .use_local_subchannel_pool(true)
                // containerd sends up to 16 MiB of payload (defaults.DefaultMaxRecvMsgSize).
                .max_receive_message_len(32 * MIB)
                .max_send_message_len(16 * MIB)
                // A long error of runc comes in a trailer. If the trailer were over the limit, the
                // error would be lost.
                .raw_cfg_int(argument("grpc.max_metadata_size"), 256 * KIB)
                .raw_cfg_int(argument("grpc.absolute_max_metadata_size"), MIB)
                .initial_reconnect_backoff(Duration::from_millis(100))
                // In spite of its name, this is the minimal time of an attempt, including the
                // handshake.
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

/// gRPC's name for the socket at a path. gRPC reads it as a URI, so every special character is
/// encoded. Of several slashes at the beginning only one is kept, because a URI's authority follows
/// two slashes. (gRPC splits the name at a comma even if it is encoded. The client refuses such a
/// path.)
fn target(path: &Path) -> String {
    use std::fmt::Write;
    let path = path.as_os_str().as_bytes();
    let extra = path.iter().take_while(|&&byte| byte == b'/').count().saturating_sub(1);
    let mut target = String::from("unix:");
    for &byte in path.iter().skip(extra) {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
    target
}

/// The context of a call: its connection, namespace, lease and limits.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) connection: Arc<Connection>,
    pub(crate) namespace: String,
    pub(crate) lease: Option<String>,
    pub(crate) limits: Limits,
    /// How long to wait for the answer to a change after the limits have ended the wait.
    pub(crate) settle: Duration,
}

impl Ctx {
    /// A context without a lease, for calls that belong to no operation or run after it.
    pub(crate) fn new(connection: &Arc<Connection>, namespace: &str, limits: Limits) -> Ctx {
        Ctx {
            connection: connection.clone(),
            namespace: namespace.into(),
            lease: None,
            limits,
            settle: Duration::ZERO,
        }
    }

    /// The same context with this lease.
    pub(crate) fn with_lease(&self, lease: &str) -> Ctx {
        Ctx { lease: Some(lease.into()), ..self.clone() }
    }

    /// The same context without a lease, for what the lease must not hold.
    pub(crate) fn without_lease(&self) -> Ctx {
        Ctx { lease: None, ..self.clone() }
    }

    /// The same context for an operation that is undone if it fails. A call that changes something
    /// then waits a little longer for its answer, so that the operation knows whether there is
    /// something to undo. Without that, the server may make the change after the call was cancelled,
    /// and after the undo.
    pub(crate) fn settling(&self) -> Ctx {
        Ctx { settle: SETTLE, ..self.clone() }
    }

    /// The same context with other limits. An undo has its own limits, whatever ended the
    /// operation.
    pub(crate) fn with_limits(&self, limits: Limits) -> Ctx {
        Ctx { limits, ..self.clone() }
    }

    /// gRPC's options for the call.
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
            // Our own wait ends at the deadline. gRPC's deadline is for the server: it stops work
            // that nobody waits for any more.
            options = options.timeout(left.max(Duration::from_millis(1)) + self.settle + LATER);
        }
        Ok(options)
    }
}
