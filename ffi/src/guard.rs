//! What stands between C and the core: every export runs inside one of these functions, which stop
//! panics, turn errors into statuses and see to the outputs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use ctrd::{Error, ErrorKind, Result};

use crate::error::ctrd_error_t;
use crate::log;
use crate::status::{self, CTRD_OK, ctrd_status_t};

thread_local! {
    /// Where and why this thread panicked last, for the error that is made of it.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `body`, and gives what it panicked with as the error.
fn catch<R>(body: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "panic-test")]
        crate::panic_test::panic_if_on();
        body()
    }))
    .map_err(|_| {
        #[cfg(feature = "panic-test")]
        crate::panic_test::count();
        let what = PANIC.with(Cell::take).unwrap_or_default();
        Error::new(ErrorKind::Panic, what)
    })
}

/// Keeps panics off stderr, which is the host's. Rust's hook would print them.
pub(crate) fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
            let what = info.to_string().replace('\n', " ");
            ::log::error!("{what}");
            PANIC.with(|panic| panic.set(Some(what)));
        }));
    });
}

/// The body of an export that can fail. `operation` is its name without the prefix.
pub(crate) fn status(
    operation: &'static str,
    err: Option<&mut *mut ctrd_error_t>,
    body: impl FnOnce() -> Result<()>,
) -> ctrd_status_t {
    silence_panics();
    let outcome = catch(|| {
        log::check_not_inside_hook()?;
        body()
    });
    let error = match outcome.and_then(|result| result) {
        Ok(()) => {
            if let Some(err) = err {
                *err = std::ptr::null_mut();
            }
            return CTRD_OK;
        }
        Err(error) => error,
    };
    // Formatting is not expected to panic, and must not all the same.
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

/// Where the export puts a handle that the caller is to own.
pub(crate) struct Out<'a, T> {
    name: &'static str,
    place: Option<&'a mut *mut T>,
    required: bool,
}

impl<'a, T> Out<'a, T> {
    /// One that the caller must want.
    pub(crate) fn required(name: &'static str, place: Option<&'a mut *mut T>) -> Out<'a, T> {
        Out { name, place, required: true }
    }

    /// One for which NULL may be given.
    pub(crate) fn optional(name: &'static str, place: Option<&'a mut *mut T>) -> Out<'a, T> {
        Out { name, place, required: false }
    }
}

/// What an owned output is made of.
pub(crate) trait IntoHandle {
    type Handle;
    fn into_handle(self) -> *mut Self::Handle;
}

impl<T> IntoHandle for Box<T> {
    type Handle = T;
    fn into_handle(self) -> *mut T {
        Box::into_raw(self)
    }
}

impl IntoHandle for std::ffi::CString {
    type Handle = std::ffi::c_char;
    fn into_handle(self) -> *mut std::ffi::c_char {
        self.into_raw()
    }
}

/// The body of an export that can fail and gives the caller something to own: NULL after a failure.
pub(crate) fn produce<H: IntoHandle>(
    operation: &'static str,
    mut out: Out<'_, H::Handle>,
    err: Option<&mut *mut ctrd_error_t>,
    body: impl FnOnce() -> Result<H>,
) -> ctrd_status_t {
    if let Some(place) = &mut out.place {
        **place = std::ptr::null_mut();
    }
    status(operation, err, || {
        if out.required && out.place.is_none() {
            return Err(Error::invalid(out.name, "must not be NULL"));
        }
        let made = body()?;
        if let Some(place) = out.place {
            *place = made.into_handle();
        }
        Ok(())
    })
}

/// The body of an export that cannot fail.
pub(crate) fn value<R: Default>(body: impl FnOnce() -> R) -> R {
    silence_panics();
    catch(body).unwrap_or_default()
}

/// The body of an accessor: of NULL it gives NULL or 0.
pub(crate) fn read<'a, H, R: Default>(handle: Option<&'a H>, body: impl FnOnce(&'a H) -> R) -> R {
    value(|| handle.map(body).unwrap_or_default())
}

/// The body of an accessor of a descriptor: -1 where there is none, for 0 is one.
pub(crate) fn descriptor(body: impl FnOnce() -> Option<i32>) -> i32 {
    value(body).unwrap_or(-1)
}

/// The body of an export that a signal handler may call: no lock, no memory.
pub(crate) fn signal_safe(body: impl FnOnce()) {
    let _ = catch(body);
}
