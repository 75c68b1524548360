//! For the test of the guards alone, never in a library that is shipped: makes every export panic.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Panics inside the guard while the test wants it.
pub(crate) fn panic_if_on() {
    assert!(!ON.load(Ordering::SeqCst), "on purpose");
}

/// Counts a panic that a guard has caught.
pub(crate) fn count() {
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

/// Makes every export panic from here on (not 0), or no more (0). Gives the number of panics that
/// were caught so far: by it a guard shows in an export that returns nothing.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_test_panic(on: i32) -> i32 {
    crate::abi::guard::silence_panics();
    ON.store(on != 0, Ordering::SeqCst);
    CAUGHT.load(Ordering::SeqCst)
}
