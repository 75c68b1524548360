//! Log
//!
//! The library never prints. What it has to say beside the results of calls goes to a hook, if one
//! is set.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ctrd::{Error, ErrorKind, Result};
use log::{LevelFilter, Log, Metadata, Record};

use crate::args::c_string;
use crate::callback::{Userdata, ctrd_destroy_fn};
use crate::error::ctrd_error_t;
use crate::guard;
use crate::status::ctrd_status_t;

/// Nothing is logged.
pub const CTRD_LOG_OFF: u32 = 0;
/// What should not happen.
pub const CTRD_LOG_ERROR: u32 = 1;
/// What may be of harm.
pub const CTRD_LOG_WARN: u32 = 2;
/// What is done, in large.
pub const CTRD_LOG_INFO: u32 = 3;
/// What is done, in detail; also each call that fails.
pub const CTRD_LOG_DEBUG: u32 = 4;
/// Everything.
pub const CTRD_LOG_TRACE: u32 = 5;

/// Receives what the library logs.
///
/// It runs on the thread that has something to say, which may be one of the library's, and several
/// threads may run it at once. It must return soon, and must not call functions of this library
/// that can fail: they answer CTRD_E_REENTRANT. Both texts are borrowed for the time of the call.
///
/// @param userdata  what ctrd_set_log_hook() was given.
/// @param level     CTRD_LOG_ERROR to CTRD_LOG_TRACE.
/// @param target    the part of the library that speaks.
/// @param message   what it says: one line, without a newline at its end.
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

/// A hook that is set. The last thread that runs it sees it off.
struct Hook {
    run: LogFn,
    userdata: Userdata,
}

static HOOK: Mutex<Option<Arc<Hook>>> = Mutex::new(None);

/// Whether the logger of the process is ours.
static INSTALLED: OnceLock<bool> = OnceLock::new();

thread_local! {
    static INSIDE_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Fails inside the log hook: whoever logs may hold a lock of gRPC's.
pub(crate) fn check_not_inside_hook() -> Result<()> {
    if INSIDE_HOOK.get() {
        return Err(Error::new(ErrorKind::Reentrant, "called from inside the log hook"));
    }
    Ok(())
}

/// Puts `hook` in the place of the one that is set, which is seen off outside of the lock.
fn replace(hook: Option<Arc<Hook>>) {
    let old = std::mem::replace(&mut *HOOK.lock().unwrap_or_else(PoisonError::into_inner), hook);
    drop(old);
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What the HTTP client would say holds the headers of requests.
        let target = metadata.target();
        target.starts_with("ctrd") || target.starts_with("grpc")
    }

    fn log(&self, record: &Record<'_>) {
        // What the hook itself brings about is not logged: it would never end.
        if !self.enabled(record.metadata()) || INSIDE_HOOK.get() {
            return;
        }
        let hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            let target = c_string(record.target());
            let message = c_string(&record.args().to_string());
            INSIDE_HOOK.set(true);
            // SAFETY: the caller gave the function together with its userdata, for use from any
            // thread; the texts live until it returns.
            unsafe {
                (hook.run)(
                    hook.userdata.pointer(),
                    record.level() as u32,
                    target.as_ptr(),
                    message.as_ptr(),
                );
            }
            INSIDE_HOOK.set(false);
        }
    }

    fn flush(&self) {}
}

/// Sets the hook that receives what the library logs, for the whole process, in the place of the one
/// that was set before. Without one, nothing is logged.
///
/// @param level     how much: CTRD_LOG_ERROR to CTRD_LOG_TRACE, each with all that is graver;
///                  CTRD_LOG_OFF removes the hook.
/// @param hook      the function; NULL removes the hook.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, also where this function fails: when the hook
///                  was replaced or removed and no thread runs it any more. May be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_ALREADY_EXISTS in a Rust program that has set a
///         logger of its own; CTRD_E_REENTRANT from inside the hook.
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
                if !*INSTALLED.get_or_init(|| log::set_logger(&Logger).is_ok()) {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        "the program has set a logger of its own",
                    ));
                }
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
