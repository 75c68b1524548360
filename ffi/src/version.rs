//! Versions
//!
//! The version of this library, and that of the server that it talks to.

use std::ffi::{CStr, CString, c_char};

use ctrd::Client;

use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// The parts of this library, by the names that `ctrd_has_feature` knows.
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
    c"submit",
];

/// The version of a server.
pub struct ctrd_version_info_t {
    version: CString,
    revision: CString,
}

/// The version of the library that is loaded, as text: "0.1.0". It may be later than the header's
/// CTRD_VERSION_STRING.
///
/// @return the text, which is constant.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_library_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    guard::text(Some(VERSION), |version| CStr::from_bytes_with_nul(version.as_bytes()).ok())
}

/// The version of the library that is loaded, as a number. It may be later than the header's
/// CTRD_VERSION_NUMBER.
///
/// @return major * 10000 + minor * 100 + patch.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_library_version_number() -> u32 {
    guard::value(|| {
        let part = |text: &str| text.parse().unwrap_or(0u32);
        part(env!("CARGO_PKG_VERSION_MAJOR")) * 10000
            + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
            + part(env!("CARGO_PKG_VERSION_PATCH"))
    })
}

/// Whether the library that is loaded has a part: "containers", "daemon", "events", "hooks",
/// "images", "log", "pull", "queues", "recovery", "snapshots", "stdio" or "submit".
///
/// @param name  the part's name; NULL gives 0.
/// @return 1 if it has the part, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
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
/// @param call    limits of the call; NULL: the defaults (at most 10 s).
/// @param out     receives the version, which the caller owns: ctrd_version_info_free(). A submitted call
///                gives it by ctrd_message_take_version_info().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK, or an error.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_version(
    client: *mut ctrd_client_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_version_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("version", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's handle is as the header says.
        let client = unsafe { live(client)? };
        let address = ctrd::ffi::address(client.config()).to_owned();
        let ask = operation::of(client, address, move |client, call| {
            let version = client.version(call)?;
            Ok(Box::new(ctrd_version_info_t {
                version: c_string(version.version()),
                revision: c_string(version.revision()),
            }))
        });
        Ok(ask.default_timeout(Some(Client::OPEN_TIMEOUT)))
    })
}

/// Takes the version out of the completion of a submitted ctrd_version(). It works once, with any handle
/// of the message.
///
/// @param message  the message.
/// @param out      receives the version, which the caller owns: ctrd_version_info_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_version_info(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_version_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_version_info", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// The server's version, as in "1.6.20~ds1" or "v1.7.24": distributions write it in many ways.
///
/// @param info  the version; NULL gives "".
/// @return the text, borrowed from the version.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_info_version(info: Option<&ctrd_version_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.version))
}

/// The commit that the server was built from.
///
/// @param info  the version; NULL gives "".
/// @return the text, borrowed from the version; "" if the server does not say.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_info_revision(info: Option<&ctrd_version_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.revision))
}

/// Frees a server's version.
///
/// @param info  the version; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_version_info_free(info: Option<Box<ctrd_version_info_t>>) {
    guard::value(|| drop(info));
}
