//! Images

use std::ffi::{CString, c_char, c_void};
use std::time::SystemTime;

use ctrd::{Credentials, Error, Image, Progress, ProgressStatus, PullConfig, Result};

use crate::args::{self, c_pairs, c_string, text};
use crate::call::{self, ctrd_call_t};
use crate::callback::{Userdata, ctrd_destroy_fn};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;
use crate::time::{self, ctrd_time_t};

/// A pull's flag: speak HTTP with the registry. Without it, only loopback addresses are tried with
/// HTTP.
pub const CTRD_PULL_PLAIN_HTTP: u64 = 1;
/// A pull's flag: fetch the content and do not unpack it.
pub const CTRD_PULL_NO_UNPACK: u64 = 2;

/// A removal's flag: return only when what nothing refers to any more has been collected.
pub const CTRD_REMOVE_IMAGE_SYNC: u32 = 1;

/// An item of a pull: the reference is being looked up.
pub const CTRD_PROGRESS_RESOLVING: u32 = 1;
/// An item of a pull: the reference has a digest.
pub const CTRD_PROGRESS_RESOLVED: u32 = 2;
/// An item of a pull: its turn has not come.
pub const CTRD_PROGRESS_WAITING: u32 = 3;
/// An item of a pull: it is being fetched.
pub const CTRD_PROGRESS_DOWNLOADING: u32 = 4;
/// An item of a pull: it is being unpacked.
pub const CTRD_PROGRESS_EXTRACTING: u32 = 5;
/// An item of a pull: it is there.
pub const CTRD_PROGRESS_DONE: u32 = 6;
/// An item of a pull: it was there before.
pub const CTRD_PROGRESS_EXISTS: u32 = 7;

/// An image that containerd knows. Its texts are borrowed: they are valid until it is freed.
pub struct ctrd_image_t {
    name: CString,
    id: CString,
    digest: CString,
    media_type: CString,
    size: u64,
    labels: Vec<(CString, CString)>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl From<Image> for ctrd_image_t {
    fn from(image: Image) -> ctrd_image_t {
        ctrd_image_t {
            name: c_string(&image.name),
            id: c_string(&image.id),
            digest: c_string(&image.digest),
            media_type: c_string(&image.media_type),
            size: image.size,
            labels: c_pairs(&image.labels),
            created_at: image.created_at,
            updated_at: image.updated_at,
        }
    }
}

/// Several images.
pub struct ctrd_image_list_t(Vec<ctrd_image_t>);

/// The state of one item of a pull.
pub struct ctrd_progress_t {
    reference: CString,
    progress: Progress,
}

/// The state of everything that a pull fetches.
pub struct ctrd_progress_list_t(Vec<ctrd_progress_t>);

/// Receives the progress of a pull, about every 100 ms and once at the end.
///
/// It runs on the thread that called ctrd_pull_image(). It may call every function of this library
/// but ctrd_client_close(), which answers CTRD_E_REENTRANT, and ctrd_client_free() of the same
/// client.
///
/// @param userdata  what ctrd_pull_image() was given.
/// @param progress  the state of everything that is fetched, borrowed for the time of the call.
pub type ctrd_progress_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, progress: *const ctrd_progress_list_t)>;

/// What is to be pulled, and how. Everything is only borrowed, for the time of the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_pull_config_t {
    /// sizeof(ctrd_pull_config_t).
    pub size: usize,
    /// The image, as in "docker.io/library/busybox:latest", or what stands for it ("busybox").
    /// Required.
    pub reference: *const c_char,
    /// As in "linux/arm64/v8". NULL: the platform of this machine.
    pub platform: *const c_char,
    /// NULL: the client's.
    pub snapshotter: *const c_char,
    /// The user's name at the registry that the reference names; no other gets it. Where the
    /// registry sends to a token server, name and secret go there if that is on the registry's own
    /// host (and HTTPS, unless the registry itself is spoken with over HTTP), is Docker Hub's for
    /// Docker Hub, or is among token_hosts; otherwise the pull fails with CTRD_E_UNAUTHENTICATED.
    /// NULL: none.
    pub username: *const c_char,
    /// The user's password or access token. NULL: none.
    pub secret: *const c_char,
    /// CTRD_PULL_PLAIN_HTTP, CTRD_PULL_NO_UNPACK, both, or 0.
    pub flags: u64,
    /// Other hosts that may be the registry's token server and get name and secret: token_hosts_len
    /// names, or "name:port" for one port alone. GitLab's registry.gitlab.com needs "gitlab.com".
    /// NULL and 0: none.
    pub token_hosts: *const *const c_char,
    /// See token_hosts.
    pub token_hosts_len: usize,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_pull_config_t {}

/// Reads what is to be pulled.
///
/// # Safety
/// `given` is NULL or as `args::input` wants it, its strings as `args::text` does.
unsafe fn read_config(given: *const ctrd_pull_config_t) -> Result<PullConfig> {
    // SAFETY: as the caller promises.
    let given = unsafe { args::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { args::optional_text(name, value) };
    args::flags("flags", given.flags, CTRD_PULL_PLAIN_HTTP | CTRD_PULL_NO_UNPACK)?;
    let username = optional("username", given.username)?;
    let secret = optional("secret", given.secret)?;
    // SAFETY: as the caller promises.
    let token_hosts =
        unsafe { args::texts("token_hosts", given.token_hosts, given.token_hosts_len)? };
    let credentials = match (username, secret) {
        (None, None) => None,
        (Some(username), Some(secret)) => {
            Some(Credentials { username: username.to_owned(), secret: secret.to_owned() })
        }
        (None, Some(_)) => return Err(Error::invalid("username", "a secret is given without it")),
        (Some(_), None) => return Err(Error::invalid("secret", "a username is given without it")),
    };
    Ok(PullConfig {
        // SAFETY: as the caller promises.
        reference: unsafe { text("reference", given.reference)? }.to_owned(),
        platform: optional("platform", given.platform)?.map(str::to_owned),
        snapshotter: optional("snapshotter", given.snapshotter)?.map(str::to_owned),
        credentials,
        plain_http: given.flags & CTRD_PULL_PLAIN_HTTP != 0,
        no_unpack: given.flags & CTRD_PULL_NO_UNPACK != 0,
        token_hosts: token_hosts.into_iter().map(str::to_owned).collect(),
    })
}

/// Initialises a ctrd_pull_config_t as CTRD_PULL_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pull_config_init(config: *mut ctrd_pull_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(config, size) });
}

/// Pulls an image and unpacks it, safe from containerd's garbage collector. What is there already is
/// not fetched again; what is half there is resumed. Where the server does not answer, cleaning up
/// may take up to 6 s beyond the call's timeout.
///
/// @param client    the client.
/// @param config    what to pull.
/// @param progress  called now and then with the state of the pull; NULL: not.
/// @param userdata  handed to progress.
/// @param destroy   called exactly once with userdata before the function returns, also where it
///                  fails; may be NULL.
/// @param call      bounds of the call; NULL: the default, as long as data keeps coming.
/// @param out       receives the image, which the caller owns: ctrd_image_free(); may be NULL.
/// @param err       receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where the reference is none; CTRD_E_NOT_FOUND
///         where the registry does not have it, or not for the platform; CTRD_E_UNAUTHENTICATED,
///         also where the registry sends to a token server that may not have the credentials;
///         CTRD_E_PERMISSION_DENIED; CTRD_E_DATA_LOSS where a digest does not match;
///         CTRD_E_PROTOCOL; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED;
///         CTRD_E_FORKED.
///
/// Blocking: until the image is there. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pull_image(
    client: Option<&ctrd_client_t>,
    config: *const ctrd_pull_config_t,
    progress: ctrd_progress_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::produce("pull_image", Out::optional("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (config, call) = unsafe { (read_config(config)?, call::read(call)?) };
        let mut tell = |items: &[Progress]| {
            let Some(progress) = progress else { return };
            let list = ctrd_progress_list_t(items.iter().map(ctrd_progress_t::from).collect());
            // SAFETY: the caller gave the function together with its userdata; the list lives until
            // it returns.
            unsafe { progress(userdata.pointer(), &raw const list) };
        };
        let image = client.pull_image(&config, &mut tell, &call)?;
        Ok(Box::new(ctrd_image_t::from(image)))
    })
}

impl From<&Progress> for ctrd_progress_t {
    fn from(progress: &Progress) -> ctrd_progress_t {
        ctrd_progress_t { reference: c_string(&progress.reference), progress: progress.clone() }
    }
}

/// How many items a pull has.
///
/// @param list  the progress of the pull; NULL gives 0.
/// @return the number.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_list_len(list: Option<&ctrd_progress_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One item of a pull. An item keeps its place from one call to the next.
///
/// @param list   the progress of the pull; NULL gives NULL.
/// @param index  which one, from 0.
/// @return the item, borrowed from the list; NULL beyond its end.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_list_get(
    list: Option<&ctrd_progress_list_t>,
    index: usize,
) -> Option<&ctrd_progress_t> {
    guard::read(list, |list| list.0.get(index))
}

/// What the item is: the image's reference, or "<kind>-<digest>", where kind is "index",
/// "manifest", "config" or "layer".
///
/// @param progress  the item; NULL gives NULL.
/// @return the text, borrowed from the item.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_reference(progress: Option<&ctrd_progress_t>) -> *const c_char {
    guard::read(progress, |progress| progress.reference.as_ptr())
}

/// What is being done about the item: one of the CTRD_PROGRESS_ values.
///
/// @param progress  the item; NULL gives 0.
/// @return the value; values that are not named here may be added.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_status(progress: Option<&ctrd_progress_t>) -> u32 {
    guard::read(progress, |progress| match progress.progress.status {
        ProgressStatus::Resolving => CTRD_PROGRESS_RESOLVING,
        ProgressStatus::Resolved => CTRD_PROGRESS_RESOLVED,
        ProgressStatus::Waiting => CTRD_PROGRESS_WAITING,
        ProgressStatus::Downloading => CTRD_PROGRESS_DOWNLOADING,
        ProgressStatus::Extracting => CTRD_PROGRESS_EXTRACTING,
        ProgressStatus::Done => CTRD_PROGRESS_DONE,
        ProgressStatus::Exists => CTRD_PROGRESS_EXISTS,
        _ => 0,
    })
}

/// How many bytes of the item have come.
///
/// @param progress  the item; NULL gives 0.
/// @return bytes.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_offset(progress: Option<&ctrd_progress_t>) -> u64 {
    guard::read(progress, |progress| progress.progress.offset)
}

/// How many bytes the item has.
///
/// @param progress  the item; NULL gives 0.
/// @return bytes; 0 where that is not known yet.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_total(progress: Option<&ctrd_progress_t>) -> u64 {
    guard::read(progress, |progress| progress.progress.total)
}

/// When the item was begun, by this machine's clock.
///
/// @param progress  the item; NULL gives 0.
/// @param out       receives the time; may be NULL.
/// @return 1, or 0 where out is left as it is.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_started_at(
    progress: Option<&ctrd_progress_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(progress, |progress| time::give(Some(progress.progress.started_at), out))
}

/// When something last changed about the item, by this machine's clock.
///
/// @param progress  the item; NULL gives 0.
/// @param out       receives the time; may be NULL.
/// @return 1, or 0 where out is left as it is.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_updated_at(
    progress: Option<&ctrd_progress_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(progress, |progress| time::give(Some(progress.progress.updated_at), out))
}

/// Looks an image up.
///
/// @param client     the client.
/// @param reference  the image, as for a pull.
/// @param call       bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out        receives the image, which the caller owns: ctrd_image_free().
/// @param err        receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_get_image(
    client: Option<&ctrd_client_t>,
    reference: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("get_image", Out::required("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (reference, call) = unsafe { (text("reference", reference)?, call::read(call)?) };
        Ok(Box::new(ctrd_image_t::from(client.get_image(reference, &call)?)))
    })
}

/// Lists the images that match any of the filters, and all where there is none.
///
/// @param client       the client.
/// @param filters      filters_len filters in containerd's language, as in "name~=busybox"; may be
///                     NULL if filters_len is 0.
/// @param filters_len  see filters.
/// @param call         bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out          receives the images, which the caller owns: ctrd_image_list_free().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by
///         its position: "filters[1]"; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED;
///         CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_list_images(
    client: Option<&ctrd_client_t>,
    filters: *const *const c_char,
    filters_len: usize,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("list_images", Out::required("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (filters, call) =
            unsafe { (args::texts("filters", filters, filters_len)?, call::read(call)?) };
        let images = client.list_images(&filters, &call)?;
        Ok(Box::new(ctrd_image_list_t(images.into_iter().map(ctrd_image_t::from).collect())))
    })
}

/// Removes an image's record. What nothing else refers to goes with the next garbage collection.
///
/// @param client     the client.
/// @param reference  the image, as for a pull.
/// @param flags      CTRD_REMOVE_IMAGE_SYNC, or 0.
/// @param call       bounds of the call; NULL: the default, at most the client's call timeout.
/// @param err        receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
///         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_image(
    client: Option<&ctrd_client_t>,
    reference: *const c_char,
    flags: u32,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("remove_image", err, || {
        let client = live(client)?;
        args::flags("flags", flags.into(), CTRD_REMOVE_IMAGE_SYNC.into())?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (reference, call) = unsafe { (text("reference", reference)?, call::read(call)?) };
        client.remove_image(reference, flags & CTRD_REMOVE_IMAGE_SYNC != 0, &call)
    })
}

/// An image's full reference.
///
/// @param image  the image; NULL gives NULL.
/// @return the text, borrowed from the image.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_name(image: Option<&ctrd_image_t>) -> *const c_char {
    guard::read(image, |image| image.name.as_ptr())
}

/// The first 12 hexadecimal digits of an image's digest.
///
/// @param image  the image; NULL gives NULL.
/// @return the text, borrowed from the image.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_id(image: Option<&ctrd_image_t>) -> *const c_char {
    guard::read(image, |image| image.id.as_ptr())
}

/// The digest of what an image's name stands for: an index or a manifest.
///
/// @param image  the image; NULL gives NULL.
/// @return the text, borrowed from the image.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_digest(image: Option<&ctrd_image_t>) -> *const c_char {
    guard::read(image, |image| image.digest.as_ptr())
}

/// The media type of what an image's name stands for.
///
/// @param image  the image; NULL gives NULL.
/// @return the text, borrowed from the image.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_media_type(image: Option<&ctrd_image_t>) -> *const c_char {
    guard::read(image, |image| image.media_type.as_ptr())
}

/// The size of an image's manifest, configuration and layers for this machine's platform.
///
/// @param image  the image; NULL gives 0.
/// @return bytes.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_size(image: Option<&ctrd_image_t>) -> u64 {
    guard::read(image, |image| image.size)
}

/// How many labels an image has.
///
/// @param image  the image; NULL gives 0.
/// @return the number.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_labels_len(image: Option<&ctrd_image_t>) -> usize {
    guard::read(image, |image| image.labels.len())
}

/// The key of one of an image's labels.
///
/// @param image  the image; NULL gives NULL.
/// @param index  which one, from 0.
/// @return the text, borrowed from the image; NULL beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_label_key(
    image: Option<&ctrd_image_t>,
    index: usize,
) -> *const c_char {
    guard::read(image, |image| args::pair(&image.labels, index).0)
}

/// The value of one of an image's labels.
///
/// @param image  the image; NULL gives NULL.
/// @param index  which one, from 0.
/// @return the text, borrowed from the image; NULL beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_label_value(
    image: Option<&ctrd_image_t>,
    index: usize,
) -> *const c_char {
    guard::read(image, |image| args::pair(&image.labels, index).1)
}

/// When an image's record was made, by the server's clock.
///
/// @param image  the image; NULL gives 0.
/// @param out    receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_created_at(
    image: Option<&ctrd_image_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(image, |image| time::give(image.created_at, out))
}

/// When an image's record last changed, by the server's clock.
///
/// @param image  the image; NULL gives 0.
/// @param out    receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_updated_at(
    image: Option<&ctrd_image_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(image, |image| time::give(image.updated_at, out))
}

/// Frees an image that the caller owns; those of a list go with the list.
///
/// @param image  the image, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_free(image: Option<Box<ctrd_image_t>>) {
    guard::value(|| drop(image));
}

/// How many images a list has.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_list_len(list: Option<&ctrd_image_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One image of a list.
///
/// @param list   the list; NULL gives NULL.
/// @param index  which one, from 0.
/// @return the image, borrowed from the list and not to be freed; NULL beyond its end.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_list_get(
    list: Option<&ctrd_image_list_t>,
    index: usize,
) -> Option<&ctrd_image_t> {
    guard::read(list, |list| list.0.get(index))
}

/// Frees a list and its images.
///
/// @param list  the list, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_image_list_free(list: Option<Box<ctrd_image_list_t>>) {
    guard::value(|| drop(list));
}
