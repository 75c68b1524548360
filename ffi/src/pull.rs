//! Pulling images

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use ctrd::{Credentials, Error, Progress, PullConfig, Result};

use crate::abi::arguments::{self, text};
use crate::abi::callbacks::{Userdata, ctrd_destroy_fn};
use crate::abi::errors::ctrd_error_t;
use crate::abi::fork::Maker;
use crate::abi::outputs::Handle;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::image::ctrd_image_info_t;
use crate::progress::ctrd_progress_list_t;
use crate::status::ctrd_status_t;

/// A pull's flag: use HTTP to talk to the registry. Without it only loopback addresses are tried with
/// HTTP.
pub const CTRD_PULL_PLAIN_HTTP: u64 = 1;
/// A pull's flag: fetch the content and do not unpack it.
pub const CTRD_PULL_NO_UNPACK: u64 = 2;

/// Receives the progress of a pull, about every 100 ms and once at the end.
///
/// It runs on the thread that called ctrd_pull_image(). It may call every function of this library except
/// ctrd_client_close() of the same client, which answers CTRD_E_REENTRANT, and ctrd_client_free() of the
/// same client.
///
/// @param userdata  the pointer that ctrd_progress_callback_new() was given.
/// @param progress  the state of everything that is fetched, borrowed for the time of the call.
pub type ctrd_progress_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, progress: *const ctrd_progress_list_t)>;

type ProgressFn = unsafe extern "C" fn(*mut c_void, *const ctrd_progress_list_t);

/// A callback for the progress of pulls.
pub struct ctrd_progress_callback_t {
    /// In a child it is never dropped: the userdata is the parent's.
    callback: ManuallyDrop<Arc<Callback>>,
    maker: Maker,
}

struct Callback {
    run: ProgressFn,
    userdata: Userdata,
}

impl Callback {
    fn run(&self, items: &[Progress]) {
        let list = ctrd_progress_list_t::from(items);
        // SAFETY: the caller gave the function together with its userdata; the list lives until it
        // returns.
        unsafe { (self.run)(self.userdata.pointer(), &raw const list) };
    }
}

impl Drop for ctrd_progress_callback_t {
    fn drop(&mut self) {
        if self.maker.is_here() {
            // SAFETY: it is dropped only here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.callback) };
        }
    }
}

/// Makes a callback for the progress of pulls, to be given in ctrd_pull_config_t. It may be given to any
/// number of pulls, at the same time too, and then several threads run it at once.
///
/// @param callback  the function.
/// @param userdata  handed to it.
/// @param destroy   called exactly once with userdata, when the handle is freed and the last pull that has
///                  it is over, or when this function fails. May be NULL.
/// @param out       receives the handle, which the caller owns: ctrd_progress_callback_free().
/// @param err       receives the error, or NULL.
/// @return CTRD_OK, or an error.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_callback_new(
    callback: ctrd_progress_fn,
    userdata: *mut c_void,
    destroy: ctrd_destroy_fn,
    out: Option<&mut *mut ctrd_progress_callback_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    let userdata = Userdata::new(userdata, destroy);
    guard::produce("progress_callback_new", Handle::required("out", out), err, || {
        let run = callback.ok_or_else(|| Error::invalid("callback", "must not be NULL"))?;
        let callback = Arc::new(Callback { run, userdata });
        Ok(Box::new(ctrd_progress_callback_t {
            callback: ManuallyDrop::new(callback),
            maker: Maker::here(),
        }))
    })
}

/// Frees the handle of a callback. Pulls that have it keep it until they are over. In a child of the
/// process that made the handle, the userdata is left alone.
///
/// @param callback  the handle; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_callback_free(callback: Option<Box<ctrd_progress_callback_t>>) {
    guard::value(|| drop(callback));
}

/// What to pull, and how. The strings and arrays are only borrowed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_pull_config_t {
    /// sizeof(ctrd_pull_config_t).
    pub size: usize,
    /// The image, as in "docker.io/library/busybox:latest", or a short form of it ("busybox"). Required.
    pub reference: *const c_char,
    /// The platform, as in "linux/arm64/v8". NULL: that of this machine.
    pub platform: *const c_char,
    /// The snapshotter. NULL: the client's.
    pub snapshotter: *const c_char,
    /// The user's name at the registry that the reference names; no other registry gets it. If the
    /// registry refers to a token server, name and secret go there only if the server is on the
    /// registry's own host (and uses HTTPS, unless the registry itself is used over HTTP), or is Docker
    /// Hub's and the registry is Docker Hub, or is among token_hosts. Otherwise the pull fails with
    /// CTRD_E_UNAUTHENTICATED. NULL: none.
    pub username: *const c_char,
    /// The user's password or access token. NULL: none.
    pub secret: *const c_char,
    /// Other hosts that may be the registry's token server and get name and secret: token_hosts_len
    /// names, or "name:port" for one port alone. GitLab's registry.gitlab.com needs "gitlab.com".
    pub token_hosts: *const *const c_char,
    /// The number of token_hosts.
    pub token_hosts_len: usize,
    /// Receives the progress. The pull keeps it until it is over, so the handle may be freed at any time.
    /// NULL: none. Must be NULL if the call is submitted: its progress comes as messages
    /// (ctrd_message_progress()).
    pub progress: *mut ctrd_progress_callback_t,
    /// Must be 0.
    pub reserved: usize,
    /// CTRD_PULL_PLAIN_HTTP, CTRD_PULL_NO_UNPACK, both, or 0.
    pub flags: u64,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_pull_config_t {}

/// Reads what to pull, and the callback for its progress.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does, and its
/// handle is valid.
unsafe fn read_config(
    given: *const ctrd_pull_config_t,
) -> Result<(PullConfig, Option<Arc<Callback>>)> {
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("config", given)? };
    // SAFETY: as the caller promises.
    let optional = |name, value| unsafe { arguments::optional_text(name, value) };
    arguments::flags("flags", given.flags, CTRD_PULL_PLAIN_HTTP | CTRD_PULL_NO_UNPACK)?;
    arguments::reserved(given.reserved as u64)?;
    let username = optional("username", given.username)?;
    let secret = optional("secret", given.secret)?;
    let credentials = match (username, secret) {
        (None, None) => None,
        (Some(username), Some(secret)) => Some(Credentials::new(username, secret)),
        (None, Some(_)) => return Err(Error::invalid("username", "is NULL, and secret is not")),
        (Some(_), None) => return Err(Error::invalid("secret", "is NULL, and username is not")),
    };
    // SAFETY: as the caller promises.
    let (reference, token_hosts, progress) = unsafe {
        (
            text("reference", given.reference)?,
            arguments::texts("token_hosts", given.token_hosts, given.token_hosts_len)?,
            given.progress.as_ref(),
        )
    };
    let mut config = PullConfig::new(reference)
        .plain_http(given.flags & CTRD_PULL_PLAIN_HTTP != 0)
        .unpack(given.flags & CTRD_PULL_NO_UNPACK == 0)
        .token_hosts(token_hosts);
    if let Some(platform) = optional("platform", given.platform)? {
        config = config.platform(platform);
    }
    if let Some(snapshotter) = optional("snapshotter", given.snapshotter)? {
        config = config.snapshotter(snapshotter);
    }
    if let Some(credentials) = credentials {
        config = config.credentials(credentials);
    }
    let Some(progress) = progress else { return Ok((config, None)) };
    progress.maker.check("progress callback")?;
    Ok((config, Some((*progress.callback).clone())))
}

/// Initialises a ctrd_pull_config_t as CTRD_PULL_CONFIG_INIT does, for languages without macros.
///
/// @param config  the struct; NULL does nothing.
/// @param size    its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pull_config_init(config: *mut ctrd_pull_config_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(config, size) });
}

/// Pulls an image and unpacks it, and keeps it safe from containerd's garbage collector meanwhile.
/// Content that containerd already has is not fetched again, and a fetch that was interrupted continues.
/// If the server does not answer, cleaning up may take up to 6 s beyond the call's timeout.
///
/// @param client  the client.
/// @param config  what to pull.
/// @param call    limits of the call; NULL: the defaults (no end, as long as data keeps coming).
/// @param out     receives the image's info, which the caller owns: ctrd_image_info_free(); may be NULL.
///                A submitted call gives it by ctrd_message_take_image_info().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also if the reference cannot be read; CTRD_E_NOT_FOUND if
///         the registry does not have the image, or not for the platform; CTRD_E_UNAUTHENTICATED if the
///         registry refuses the credentials, or refers to a token server that may not get them;
///         CTRD_E_PERMISSION_DENIED if the registry does not allow it; CTRD_E_DATA_LOSS if a digest is
///         wrong; CTRD_E_UNAVAILABLE also if the registry cannot be reached.
///
/// Blocking: until the image is complete. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_pull_image(
    client: *mut ctrd_client_t,
    config: *const ctrd_pull_config_t,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_image_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("pull_image", call, err, Handle::optional("out", out), || {
        // SAFETY: the caller's struct, strings and handles are as the header says.
        let (client, (config, callback)) = unsafe { (live(client)?, read_config(config)?) };
        let has_callback = callback.is_some();
        let pull = operation::of(client, config.reference().to_owned(), move |client, call| {
            let mut progress = |items: &[Progress]| {
                if let Some(callback) = &callback {
                    callback.run(items);
                }
            };
            let image = client.pull_image(&config, &mut progress, call)?;
            Ok(Box::new(ctrd_image_info_t::from(image)))
        });
        let pull = pull.default_timeout(None);
        Ok(if has_callback { pull.with_callback("progress") } else { pull })
    })
}
