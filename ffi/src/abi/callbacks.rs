//! Callbacks
//!
//! A callback comes with a pointer that it receives, and with a function that destroys what the pointer
//! means: it is called exactly once, when the callback is not needed any more. Callbacks must return:
//! they must not throw exceptions, longjmp, or end their thread.

use std::ffi::c_void;

/// Destroys the userdata of a callback, once. It runs on the thread that gives the callback up, which may
/// be one of the library's, and may call what a hook may call. If it destroys the userdata of a hook, it
/// counts as a part of that hook: nothing that it removes or closes is waited for.
///
/// @param userdata  the pointer that was given with the callback.
pub type ctrd_destroy_fn = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// The userdata of a callback. Its drop destroys it as the caller asked.
pub(crate) struct Userdata {
    pointer: *mut c_void,
    destroy: ctrd_destroy_fn,
}

// SAFETY: a callback's userdata may be used and destroyed on any thread, as the header says.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Userdata {
    pub(crate) fn new(pointer: *mut c_void, destroy: ctrd_destroy_fn) -> Userdata {
        Userdata { pointer, destroy }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for Userdata {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the caller gave the function for this pointer, to be called once.
            unsafe { destroy(self.pointer) };
        }
    }
}
