//! Specifications

use std::ffi::{CString, c_char};

use crate::abi::arguments::{optional_text, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, c_string};
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, take_value};
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

/// Makes the specification that ctrd_create_container() uses by default for a container of an image, as
/// JSON: the default of ctrd_default_spec(), with the image's configuration applied to it, and without a
/// terminal. A program can change it, and give it as spec_json. If the image names no command, there is no
/// process.args: the program sets it, or gives args to ctrd_create_container().
///
/// The image's user is looked up in its files, unless the image gives it as two numbers. For that the
/// library makes a read-only snapshot of the image, and removes it again; an image that is not unpacked is
/// unpacked first. If the server does not answer, cleaning up may take up to 6 s beyond the call's timeout.
///
/// @param client    the client.
/// @param image     the image, which must have been pulled, as in ctrd_container_config_t.
/// @param id        the container's id, of which the cgroups path is made.
/// @param call      limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param json_out  receives the specification, which the caller owns: ctrd_string_free(). A submitted
///                  call gives it by ctrd_message_take_string().
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image; CTRD_E_FAILED_PRECONDITION if its user
///         cannot be found in its files.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_image_spec(
    client: *mut ctrd_client_t,
    image: *const c_char,
    id: *const c_char,
    call: *const ctrd_call_t,
    json_out: Option<&mut *mut c_char>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("image_spec", call, err, Handle::required("json_out", json_out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, image, id) =
            unsafe { (live(client)?, text("image", image)?, text("id", id)?) };
        Ok(operation::of(client, image.clone(), move |client, call| {
            client.image_spec(&image, &id, call).map(|json| c_string(&json))
        }))
    })
}

/// Takes the text out of the completion of a submitted ctrd_image_spec(). It works once, with any handle
/// of the message.
///
/// @param message  the message.
/// @param out      receives the text, which the caller owns: ctrd_string_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_string(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut c_char>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_string", Handle::<CString>::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take_value(message) }
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
