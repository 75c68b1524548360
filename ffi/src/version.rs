//! Versions
//!
//! Of the library, and of the server that it talks to.

use std::ffi::{CStr, CString, c_char};

use crate::args::c_string;
use crate::call::{self, ctrd_call_t};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;

/// What parts this library has, by the names that `ctrd_has_feature` knows.
const FEATURES: &[&CStr] = &[
    c"containers",
    c"daemon",
    c"events",
    c"hooks",
    c"images",
    c"log",
    c"pull",
    c"queues",
    c"recovery",
    c"snapshots",
    c"stdio",
];

/// What the server says of itself.
pub struct ctrd_version_t {
    version: CString,
    revision: CString,
}

/// The version of the library that is loaded, which may be a later one than the header's
/// CTRD_VERSION_NUMBER.
///
/// @return major * 10000 + minor * 100 + patch.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_number() -> u32 {
    guard::value(|| {
        let part = |text: &str| text.parse().unwrap_or(0u32);
        part(env!("CARGO_PKG_VERSION_MAJOR")) * 10000
            + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
            + part(env!("CARGO_PKG_VERSION_PATCH"))
    })
}

/// The version of the library that is loaded, as text: "0.1.0".
///
/// @return the text, which is constant.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_string() -> *const c_char {
    guard::value(|| concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast())
}

/// Whether the library that is loaded has a part: "containers", "daemon", "events", "hooks",
/// "images", "log", "pull", "queues", "recovery", "snapshots", "stdio".
///
/// @param name  the part's name; NULL is none.
/// @return 1 if it has, 0 if not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_has_feature(name: *const c_char) -> i32 {
    guard::value(|| {
        if name.is_null() {
            return 0;
        }
        // SAFETY: the caller gives a NUL-terminated string.
        let name = unsafe { CStr::from_ptr(name) };
        i32::from(FEATURES.contains(&name))
    })
}

/// Asks the server for its version.
///
/// @param client  the client.
/// @param call    bounds of the call; NULL: the default, at most 10 s.
/// @param out     receives the answer, which the caller owns: ctrd_version_free().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT;
///         CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_version(
    client: Option<&ctrd_client_t>,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_version_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("version", Out::required("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let version = client.version(&unsafe { call::read(call)? })?;
        Ok(Box::new(ctrd_version_t {
            version: c_string(&version.version),
            revision: c_string(&version.revision),
        }))
    })
}

/// The server's version, as in "1.6.20~ds1" or "v1.7.24": distributions write it in many ways.
///
/// @param version  the answer; NULL gives NULL.
/// @return the text, borrowed from the answer.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_server(version: Option<&ctrd_version_t>) -> *const c_char {
    guard::read(version, |version| version.version.as_ptr())
}

/// The commit that the server was built from.
///
/// @param version  the answer; NULL gives NULL.
/// @return the text, borrowed from the answer; empty where the server does not say.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_revision(version: Option<&ctrd_version_t>) -> *const c_char {
    guard::read(version, |version| version.revision.as_ptr())
}

/// Frees a server's version.
///
/// @param version  the answer, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_free(version: Option<Box<ctrd_version_t>>) {
    guard::value(|| drop(version));
}
