//! Specifications

use std::ffi::{CString, c_char};

use crate::abi::arguments::{optional_text, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::guard;
use crate::abi::outputs::{Handle, c_string};
use crate::status::ctrd_status_t;

/// Makes containerd's default OCI runtime specification for Linux, as JSON. A program can change it, and
/// give it to ctrd_create_container(). Its cgroups path is /<namespace>/<id>.
///
/// @param namespace_name  the container's namespace; NULL: "default".
/// @param id              the container's id.
/// @param json_out        receives the specification, which the caller owns: ctrd_string_free().
/// @param err             receives the error, or NULL.
/// @return CTRD_OK, or an error.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_default_spec(
    namespace_name: *const c_char,
    id: *const c_char,
    json_out: Option<&mut *mut c_char>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("default_spec", Handle::<CString>::required("json_out", json_out), err, || {
        // SAFETY: the caller's strings are as the header says.
        let (namespace, id) =
            unsafe { (optional_text("namespace_name", namespace_name)?, text("id", id)?) };
        Ok(c_string(&ctrd::default_spec(namespace.as_deref().unwrap_or("default"), &id)?))
    })
}

/// Frees a string that the library gave to the caller.
///
/// @param string  the string; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_string_free(string: *mut c_char) {
    guard::value(|| {
        if !string.is_null() {
            // SAFETY: it comes from `CString::into_raw`, and the caller gives it up.
            drop(unsafe { CString::from_raw(string) });
        }
    });
}
