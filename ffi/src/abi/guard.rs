//! The guards: every export runs inside one of these functions. They stop panics, make statuses of
//! errors, and give a default if there is nothing to give.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use ctrd::{Error, ErrorKind, Result};

use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, IntoHandle, Output};
use crate::status::{self, CTRD_OK, ctrd_status_t};

thread_local! {
    /// Where and why this thread panicked last, for the error that is made of it.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };

    /// Whether this thread runs the log hook.
    static INSIDE_LOG_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Runs the log hook: functions that can fail refuse to run inside, because the thread that logs may
/// hold a lock of gRPC's.
pub(crate) fn inside_log_hook(hook: impl FnOnce()) {
    INSIDE_LOG_HOOK.set(true);
    hook();
    INSIDE_LOG_HOOK.set(false);
}

/// Whether this thread runs the log hook.
pub(crate) fn is_inside_log_hook() -> bool {
    INSIDE_LOG_HOOK.get()
}

/// Fails inside the log hook.
pub(crate) fn check_not_inside_log_hook() -> Result<()> {
    if is_inside_log_hook() {
        return Err(Error::new(ErrorKind::Reentrant, "called from inside the log hook"));
    }
    Ok(())
}

/// Runs `body`; a panic becomes an error.
fn catch<R>(body: impl FnOnce() -> R) -> Result<R> {
    silence_panics();
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "panic-test")]
        crate::abi::panic_test::panic_if_on();
        body()
    }))
    .map_err(|_| {
        #[cfg(feature = "panic-test")]
        crate::abi::panic_test::count();
        Error::new(ErrorKind::Panic, PANIC.with(Cell::take).unwrap_or_default())
    })
}

/// Keeps panics off stderr, which is the host's. Rust's own hook would print them.
pub(crate) fn silence_panics() {
    // No `Once`: it is a lock, and a child could find it held.
    static SILENT: AtomicBool = AtomicBool::new(false);
    if SILENT.swap(true, Ordering::SeqCst) {
        return;
    }
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let what = info.to_string().replace('\n', " ");
        ::log::error!("{what}");
        PANIC.with(|panic| panic.set(Some(what)));
    }));
}

/// Runs `body` for an export that can fail, and makes a status and an error of what it gives.
/// `operation` is the export's name without its prefix.
pub(crate) fn outcome(
    operation: &'static str,
    err: Option<&mut *mut ctrd_error_t>,
    body: impl FnOnce() -> Result<()>,
) -> ctrd_status_t {
    let error = match catch(body).and_then(|result| result) {
        Ok(()) => {
            if let Some(err) = err {
                *err = std::ptr::null_mut();
            }
            return CTRD_OK;
        }
        Err(error) => error,
    };
    // Making the error is not expected to panic. If it does, there is a status and no error.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let made = ctrd_error_t::new(&error, operation);
        ::log::debug!("{}", made.text());
        Box::new(made)
    }));
    if let Some(err) = err {
        *err = made.map_or(std::ptr::null_mut(), Box::into_raw);
    }
    status::of_kind(error.kind())
}

/// The body of an export that can fail and never blocks.
pub(crate) fn status(
    operation: &'static str,
    err: Option<&mut *mut ctrd_error_t>,
    body: impl FnOnce() -> Result<()>,
) -> ctrd_status_t {
    outcome(operation, err, || {
        check_not_inside_log_hook()?;
        body()
    })
}

/// The body of such an export that gives the caller something to own: NULL after a failure.
pub(crate) fn produce<H: IntoHandle>(
    operation: &'static str,
    mut out: Handle<'_, H>,
    err: Option<&mut *mut ctrd_error_t>,
    body: impl FnOnce() -> Result<H>,
) -> ctrd_status_t {
    out.clear();
    status(operation, err, || {
        out.check()?;
        out.put(body()?);
        Ok(())
    })
}

/// The body of an export that cannot fail.
pub(crate) fn value<R: Default>(body: impl FnOnce() -> R) -> R {
    catch(body).unwrap_or_default()
}

/// The body of an accessor: for a NULL handle it gives 0 or NULL.
pub(crate) fn read<'a, H, R: Default>(handle: Option<&'a H>, body: impl FnOnce(&'a H) -> R) -> R {
    value(|| handle.map(body).unwrap_or_default())
}

/// The body of an accessor of a text: if there is none, it gives the empty one.
pub(crate) fn text<'a, H: ?Sized>(
    handle: Option<&'a H>,
    body: impl FnOnce(&'a H) -> Option<&'a CStr>,
) -> *const c_char {
    catch(|| handle.and_then(body)).ok().flatten().unwrap_or(c"").as_ptr()
}

/// The body of an accessor of a descriptor: -1 if there is none, because 0 is one.
pub(crate) fn descriptor(body: impl FnOnce() -> Option<i32>) -> i32 {
    value(body).unwrap_or(-1)
}

/// The body of an export that a signal handler may call: it takes no lock and no memory, and leaves
/// Rust's hook for panics alone.
pub(crate) fn signal_safe(body: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "panic-test")]
        crate::abi::panic_test::panic_if_on();
        body();
    }))
    .map_err(|_| {
        #[cfg(feature = "panic-test")]
        crate::abi::panic_test::count();
    });
}
