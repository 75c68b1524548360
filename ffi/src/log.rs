//! Log
//!
//! The library never prints. Its log messages go to a hook, if the program sets one.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use ctrd::{Error, ErrorKind, Result};
use log::{LevelFilter, Log, Metadata, Record};

use crate::abi::callbacks::{Userdata, ctrd_destroy_fn};
use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::{self, Count};
use crate::abi::guard;
use crate::abi::outputs::c_string;
use crate::status::ctrd_status_t;

/// Nothing is logged.
pub const CTRD_LOG_OFF: u32 = 0;
/// Something happened that should not happen.
pub const CTRD_LOG_ERROR: u32 = 1;
/// Something may do harm.
pub const CTRD_LOG_WARN: u32 = 2;
/// A client is opened or closed, a private containerd is started or stopped, a container is created,
/// destroyed or recovered, an image is pulled or removed.
pub const CTRD_LOG_INFO: u32 = 3;
/// The end of every operation, with its error if it has failed; and further steps of the library.
pub const CTRD_LOG_DEBUG: u32 = 4;
/// Every request to containerd.
pub const CTRD_LOG_TRACE: u32 = 5;

/// Receives what the library logs.
///
/// It runs on the thread that logs, which may be one of the library's, and several threads may run it at
/// once. It must return soon. Functions of this library that can fail answer CTRD_E_REENTRANT inside it.
/// Both texts are borrowed for the time of the call.
///
/// @param userdata  the pointer that ctrd_set_log_hook() was given.
/// @param level     CTRD_LOG_ERROR to CTRD_LOG_TRACE.
/// @param target    the part of the library that logs.
/// @param message   one line, without a newline at its end.
pub type ctrd_log_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        level: u32,
        target: *const c_char,
        message: *const c_char,
    ),
>;

type LogFn =
    unsafe extern "C" fn(*mut c_void, level: u32, target: *const c_char, message: *const c_char);

/// A hook that is set. The last thread that runs it drops it.
struct Hook {
    run: LogFn,
    userdata: Userdata,
}

impl Hook {
    fn run(&self, record: &Record<'_>) {
        let target = c_string(record.target());
        let message = c_string(&record.args().to_string());
        let level = record.level() as u32;
        // SAFETY: the caller gave the function together with its userdata, for use from any thread; the
        // texts live until it returns.
        guard::inside_log_hook(|| unsafe {
            (self.run)(self.userdata.pointer(), level, target.as_ptr(), message.as_ptr());
        });
    }
}

/// The hook that is set, from `Arc::into_raw`; NULL if there is none. No lock guards it: a child of the
/// process could find that held, and never get it.
static HOOK: AtomicPtr<Hook> = AtomicPtr::new(std::ptr::null_mut());

/// The threads that have read [`HOOK`] and do not count among the hook's owners yet.
static READERS: Count = Count::new();

/// The hook that is set.
fn current() -> Option<Arc<Hook>> {
    READERS.begin();
    let hook = HOOK.load(Ordering::SeqCst);
    let kept = (!hook.is_null()).then(|| {
        // SAFETY: it is from `Arc::into_raw`, and `replace` keeps it as long as there are readers.
        unsafe {
            Arc::increment_strong_count(hook);
            Arc::from_raw(hook)
        }
    });
    READERS.end();
    kept
}

/// Puts `hook` in the place of the one that is set, and drops that.
fn replace(hook: Option<Arc<Hook>>) {
    let hook = hook.map_or(std::ptr::null_mut(), |hook| Arc::into_raw(hook).cast_mut());
    let old = HOOK.swap(hook, Ordering::SeqCst);
    // They are readers for a few instructions.
    while !READERS.is_zero() {
        std::thread::yield_now();
    }
    if !old.is_null() {
        // SAFETY: it is from `Arc::into_raw`, and no thread can read it any more.
        drop(unsafe { Arc::from_raw(old) });
    }
}

/// The logger of the process. It has a size, so that its address tells it from others.
struct Logger {
    _size: u8,
}

static LOGGER: Logger = Logger { _size: 0 };

/// Makes ours the logger of the process, which it then is for good.
fn install() -> Result<()> {
    if log::set_logger(&LOGGER).is_ok() || std::ptr::addr_eq(log::logger(), &raw const LOGGER) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::AlreadyExists, "the program has set a logger of its own"))
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The HTTP client would log the headers of requests, and with them credentials.
        let target = metadata.target();
        target.starts_with("ctrd") || target.starts_with("grpc")
    }

    fn log(&self, record: &Record<'_>) {
        // A record of what the hook itself causes would cause another one, without an end.
        if self.enabled(record.metadata())
            && !guard::is_inside_log_hook()
            && !fork::is_child()
            && let Some(hook) = current()
        {
            hook.run(record);
        }
    }

    fn flush(&self) {}
}

/// Sets the hook that receives what the library logs, for the whole process. It replaces the hook that
/// was set before. Without a hook nothing is logged.
///
/// A daemon may set it before it forks, as long as it opens its client afterwards: the hook then works in
/// the child too. In a child of a process that has used the library, nothing is logged.
///
/// @param level     how much to log: CTRD_LOG_ERROR to CTRD_LOG_TRACE, each with everything that is more
///                  severe; CTRD_LOG_OFF removes the hook.
/// @param hook      the hook; NULL removes the hook that is set.
/// @param userdata  handed to the hook.
/// @param destroy   called exactly once with userdata, when the hook was replaced or removed and no
///                  thread runs it any more, or when this function fails. May be NULL. A child does not
///                  call it for a hook that was set before the fork and ran then.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_ALREADY_EXISTS if the program is written in Rust and has set a logger of its
///         own.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_set_log_hook(
    level: u32,
    hook: ctrd_log_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::status("set_log_hook", err, || {
        fork::check()?;
        let filter = match level {
            CTRD_LOG_OFF => LevelFilter::Off,
            CTRD_LOG_ERROR => LevelFilter::Error,
            CTRD_LOG_WARN => LevelFilter::Warn,
            CTRD_LOG_INFO => LevelFilter::Info,
            CTRD_LOG_DEBUG => LevelFilter::Debug,
            CTRD_LOG_TRACE => LevelFilter::Trace,
            other => return Err(Error::invalid("level", format!("{other} is not known"))),
        };
        match hook {
            Some(run) if filter != LevelFilter::Off => {
                install()?;
                replace(Some(Arc::new(Hook { run, userdata })));
                log::set_max_level(filter);
            }
            _ => {
                log::set_max_level(LevelFilter::Off);
                replace(None);
            }
        }
        Ok(())
    })
}
