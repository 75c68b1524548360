//! Callbacks
//!
//! A callback is always given with a pointer that it receives, and with a function that is called
//! exactly once when the pointer is not needed any more. Callbacks must return: they must not throw
//! exceptions, longjmp, or end their thread.

use std::ffi::c_void;

/// Called once with the userdata of a callback, when it is not needed any more: on the thread that gives
/// it up, which may be one of the library's. It may call what a hook may. A hook's runs as inside of
/// one: what it removes or closes is not waited for.
///
/// @param userdata  what was given along with the callback.
pub type ctrd_destroy_fn = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// The userdata of a callback. Dropped, it is destroyed as the caller wished.
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
