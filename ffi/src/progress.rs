//! Progress
//!
//! A pull reports its progress: to a callback (ctrd_progress_callback_new()), and in messages of kind
//! CTRD_KIND_PROGRESS (ctrd_message_progress()). Both give the same list.

use std::ffi::{CString, c_char};

use ctrd::{Progress, ProgressStatus};

use crate::abi::guard;
use crate::abi::outputs::{c_string, give_present};
use crate::abi::times::ctrd_time_t;

/// The status of an item: the reference is being looked up.
pub const CTRD_PROGRESS_RESOLVING: u32 = 1;
/// The status of an item: the digest of the reference is known.
pub const CTRD_PROGRESS_RESOLVED: u32 = 2;
/// The status of an item: it waits for its turn.
pub const CTRD_PROGRESS_WAITING: u32 = 3;
/// The status of an item: it is being fetched.
pub const CTRD_PROGRESS_DOWNLOADING: u32 = 4;
/// The status of an item: it is being unpacked.
pub const CTRD_PROGRESS_EXTRACTING: u32 = 5;
/// The status of an item: it is done.
pub const CTRD_PROGRESS_DONE: u32 = 6;
/// The status of an item: it did not have to be fetched.
pub const CTRD_PROGRESS_EXISTS: u32 = 7;

/// The state of one item of a pull.
pub struct ctrd_progress_t {
    reference: CString,
    progress: Progress,
}

impl From<&Progress> for ctrd_progress_t {
    fn from(progress: &Progress) -> ctrd_progress_t {
        ctrd_progress_t { reference: c_string(progress.reference()), progress: progress.clone() }
    }
}

/// The state of everything that a pull fetches.
pub struct ctrd_progress_list_t(Vec<ctrd_progress_t>);

impl From<&[Progress]> for ctrd_progress_list_t {
    fn from(items: &[Progress]) -> ctrd_progress_list_t {
        ctrd_progress_list_t(items.iter().map(ctrd_progress_t::from).collect())
    }
}

/// The number of items of a pull.
///
/// @param list  the progress of the pull; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_list_len(list: Option<&ctrd_progress_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One item of a pull. It has the same position in every list of the same pull.
///
/// @param list   the progress of the pull; NULL gives NULL.
/// @param index  its position, from 0.
/// @return the item, borrowed from the list; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_list_get(
    list: Option<&ctrd_progress_list_t>,
    index: usize,
) -> Option<&ctrd_progress_t> {
    guard::read(list, |list| list.0.get(index))
}

/// The name of an item: the image's reference, or "<kind>-<digest>" with the kind "index", "manifest",
/// "config" or "layer".
///
/// @param progress  the item; NULL gives "".
/// @return the text, borrowed from the item.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_reference(progress: Option<&ctrd_progress_t>) -> *const c_char {
    guard::text(progress, |progress| Some(&progress.reference))
}

/// The status of an item: one of the CTRD_PROGRESS_ values.
///
/// @param progress  the item; NULL gives 0.
/// @return the status; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_status(progress: Option<&ctrd_progress_t>) -> u32 {
    guard::read(progress, |progress| match progress.progress.status() {
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

/// How much of an item has been fetched.
///
/// @param progress  the item; NULL gives 0.
/// @return the number of bytes.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_offset(progress: Option<&ctrd_progress_t>) -> u64 {
    guard::read(progress, |progress| progress.progress.offset())
}

/// The size of an item.
///
/// @param progress  the item; NULL gives 0.
/// @return the number of bytes; 0 if it is not known yet.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_total(progress: Option<&ctrd_progress_t>) -> u64 {
    guard::read(progress, |progress| progress.progress.total())
}

/// When an item was begun, by this machine's clock.
///
/// @param progress  the item; NULL gives 0.
/// @param out       receives the time; may be NULL.
/// @return 1; 0 if progress is NULL, and then out is left unchanged.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_started_at(
    progress: Option<&ctrd_progress_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(progress, |progress| {
        give_present(Some(ctrd_time_t::from(progress.progress.started_at())), out)
    })
}

/// When an item last changed, by this machine's clock.
///
/// @param progress  the item; NULL gives 0.
/// @param out       receives the time; may be NULL.
/// @return 1; 0 if progress is NULL, and then out is left unchanged.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_progress_updated_at(
    progress: Option<&ctrd_progress_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(progress, |progress| {
        give_present(Some(ctrd_time_t::from(progress.progress.updated_at())), out)
    })
}
