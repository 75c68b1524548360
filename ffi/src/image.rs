//! Images

use std::ffi::{CString, c_char};
use std::time::SystemTime;

use ctrd::{Image, RemoveImageConfig};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, Labels, Nothing, c_string, give_present};
use crate::abi::times::ctrd_time_t;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A removal's flag: return only when everything that only the image referred to has been collected.
pub const CTRD_REMOVE_IMAGE_SYNC: u32 = 1;

/// An image, as containerd knows it.
pub struct ctrd_image_info_t {
    name: CString,
    id: CString,
    digest: CString,
    media_type: CString,
    size: u64,
    labels: Labels,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl From<Image> for ctrd_image_info_t {
    fn from(image: Image) -> ctrd_image_info_t {
        ctrd_image_info_t {
            name: c_string(image.name()),
            id: c_string(image.id()),
            digest: c_string(image.digest()),
            media_type: c_string(image.media_type()),
            size: image.size(),
            labels: Labels::new(image.labels()),
            created_at: image.created_at(),
            updated_at: image.updated_at(),
        }
    }
}

/// Several images, as containerd knows them.
pub struct ctrd_image_info_list_t(Vec<ctrd_image_info_t>);

/// Looks an image up: the image of exactly this name or, if there is none, that of the completed name. So
/// "busybox" is an image that another program recorded as "busybox", and otherwise
/// "docker.io/library/busybox:latest".
///
/// @param client     the client.
/// @param reference  the image's name.
/// @param call       limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out        receives the image's info, which the caller owns: ctrd_image_info_free(). A submitted
///                   call gives it by ctrd_message_take_image_info().
/// @param err        receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_get_image(
    client: *mut ctrd_client_t,
    reference: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("get_image", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, reference) = unsafe { (live(client)?, text("reference", reference)?) };
        Ok(operation::of(client, reference.clone(), move |client, call| {
            Ok(Box::new(ctrd_image_info_t::from(client.get_image(&reference, call)?)))
        }))
    })
}

/// Takes the image's info out of the completion of a submitted ctrd_get_image() or ctrd_pull_image(). It
/// works once, with any handle of the message.
///
/// @param message  the message.
/// @param out      receives the image's info, which the caller owns: ctrd_image_info_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_image_info(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_image_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_image_info", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Lists the images that match at least one of the filters; all of them if there is no filter.
///
/// @param client       the client.
/// @param filters      filters in containerd's language, as in "name~=busybox": filters_len strings.
/// @param filters_len  the number of filters.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out          receives the images, which the caller owns: ctrd_image_info_list_free(). A
///                     submitted call gives them by ctrd_message_take_image_info_list().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_list_images(
    client: *mut ctrd_client_t,
    filters: *const *const c_char,
    filters_len: usize,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_info_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("list_images", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, filters) =
            unsafe { (live(client)?, arguments::texts("filters", filters, filters_len)?) };
        Ok(operation::of(client, String::new(), move |client, call| {
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            let images = client.list_images(&filters, call)?;
            let images = images.into_iter().map(ctrd_image_info_t::from).collect();
            Ok(Box::new(ctrd_image_info_list_t(images)))
        }))
    })
}

/// Takes the images out of the completion of a submitted ctrd_list_images(). It works once, with any
/// handle of the message.
///
/// @param message  the message.
/// @param out      receives the images, which the caller owns: ctrd_image_info_list_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_image_info_list(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_image_info_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_image_info_list", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Removes an image's record. The next garbage collection removes what only the image referred to. The
/// image is looked up as by ctrd_get_image(). So removing a short name twice may remove two images: that of
/// exactly this name, then that of the completed name. After CTRD_ERROR_OUTCOME_UNKNOWN, look before you
/// repeat.
///
/// @param client     the client.
/// @param reference  the image's name.
/// @param flags      CTRD_REMOVE_IMAGE_SYNC, or 0.
/// @param call       limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err        receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_image(
    client: *mut ctrd_client_t,
    reference: *const c_char,
    flags: u32,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("remove_image", call, err, Nothing, || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, reference) = unsafe { (live(client)?, text("reference", reference)?) };
        arguments::flags("flags", flags.into(), CTRD_REMOVE_IMAGE_SYNC.into())?;
        let config = RemoveImageConfig::new().sync(flags & CTRD_REMOVE_IMAGE_SYNC != 0);
        Ok(operation::of(client, reference.clone(), move |client, call| {
            client.remove_image(&reference, &config, call)
        }))
    })
}

/// An image's full reference.
///
/// @param info  the image's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_name(info: Option<&ctrd_image_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.name))
}

/// The first 12 hexadecimal digits of an image's digest.
///
/// @param info  the image's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_id(info: Option<&ctrd_image_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.id))
}

/// The digest of the index or manifest that an image's name refers to.
///
/// @param info  the image's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_digest(info: Option<&ctrd_image_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.digest))
}

/// The media type of the index or manifest that an image's name refers to.
///
/// @param info  the image's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_media_type(info: Option<&ctrd_image_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.media_type))
}

/// The size of an image's manifest, configuration and layers for this machine's platform.
///
/// @param info  the image's info; NULL gives 0.
/// @return the size in bytes.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_size(info: Option<&ctrd_image_info_t>) -> u64 {
    guard::read(info, |info| info.size)
}

/// The number of an image's labels.
///
/// @param info  the image's info; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_labels_len(info: Option<&ctrd_image_info_t>) -> usize {
    guard::read(info, |info| info.labels.len())
}

/// The key of one of an image's labels.
///
/// @param info   the image's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_label_key(
    info: Option<&ctrd_image_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.key(index))
}

/// The value of one of an image's labels.
///
/// @param info   the image's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_label_value(
    info: Option<&ctrd_image_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.value(index))
}

/// When an image's record was made, by the server's clock.
///
/// @param info  the image's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_created_at(
    info: Option<&ctrd_image_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.created_at.map(ctrd_time_t::from), out))
}

/// When an image's record last changed, by the server's clock.
///
/// @param info  the image's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_updated_at(
    info: Option<&ctrd_image_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.updated_at.map(ctrd_time_t::from), out))
}

/// Frees an image's info that the caller owns. The infos of a list are freed with the list.
///
/// @param info  the info; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_free(info: Option<Box<ctrd_image_info_t>>) {
    guard::value(|| drop(info));
}

/// The number of images in a list.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_list_len(list: Option<&ctrd_image_info_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One image of a list.
///
/// @param list   the list; NULL gives NULL.
/// @param index  its position, from 0.
/// @return the image's info, borrowed from the list and not to be freed; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_list_get(
    list: Option<&ctrd_image_info_list_t>,
    index: usize,
) -> Option<&ctrd_image_info_t> {
    guard::read(list, |list| list.0.get(index))
}

/// Frees a list and the infos in it.
///
/// @param list  the list; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_info_list_free(list: Option<Box<ctrd_image_info_list_t>>) {
    guard::value(|| drop(list));
}
