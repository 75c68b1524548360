//! Snapshots
//!
//! A snapshot is the file system of an image or a container.

use std::ffi::{CString, c_char};
use std::time::SystemTime;

use ctrd::{Result, Snapshot, SnapshotKey, SnapshotKind};

use crate::abi::arguments::{optional_text, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, Labels, Nothing, c_string, give_present};
use crate::abi::times::ctrd_time_t;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A snapshot's kind: it can be mounted read-only.
pub const CTRD_SNAPSHOT_VIEW: u32 = 1;
/// A snapshot's kind: it can be written to, like that of a container.
pub const CTRD_SNAPSHOT_ACTIVE: u32 = 2;
/// A snapshot's kind: it does not change any more, like that of a layer.
pub const CTRD_SNAPSHOT_COMMITTED: u32 = 3;

/// A snapshot, as its snapshotter knows it.
pub struct ctrd_snapshot_info_t {
    name: CString,
    parent: CString,
    kind: u32,
    labels: Labels,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl From<Snapshot> for ctrd_snapshot_info_t {
    fn from(snapshot: Snapshot) -> ctrd_snapshot_info_t {
        ctrd_snapshot_info_t {
            name: c_string(snapshot.name()),
            parent: c_string(snapshot.parent().unwrap_or_default()),
            kind: match snapshot.kind() {
                SnapshotKind::View => CTRD_SNAPSHOT_VIEW,
                SnapshotKind::Active => CTRD_SNAPSHOT_ACTIVE,
                SnapshotKind::Committed => CTRD_SNAPSHOT_COMMITTED,
                _ => 0,
            },
            labels: Labels::new(snapshot.labels()),
            created_at: snapshot.created_at(),
            updated_at: snapshot.updated_at(),
        }
    }
}

/// Reads which snapshot is meant.
///
/// # Safety
/// Both are as `arguments::text` wants them; the snapshotter may be NULL.
unsafe fn read_key(snapshotter: *const c_char, key: *const c_char) -> Result<SnapshotKey> {
    // SAFETY: as the caller promises.
    let (snapshotter, key) =
        unsafe { (optional_text("snapshotter", snapshotter)?, text("key", key)?) };
    let key = SnapshotKey::new(key);
    Ok(match snapshotter {
        Some(snapshotter) => key.snapshotter(snapshotter),
        None => key,
    })
}

/// Looks a snapshot up.
///
/// @param client       the client.
/// @param snapshotter  the snapshotter that has it; NULL: the client's.
/// @param key          its key, or its name if it is committed.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out          receives the snapshot's info, which the caller owns: ctrd_snapshot_info_free(). A
///                     submitted call gives it by ctrd_message_take_snapshot_info().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such snapshot; CTRD_E_INVALID_ARGUMENT also if
///         there is no such snapshotter.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_get_snapshot(
    client: *mut ctrd_client_t,
    snapshotter: *const c_char,
    key: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_snapshot_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("get_snapshot", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, key) = unsafe { (live(client)?, read_key(snapshotter, key)?) };
        Ok(operation::of(client, key.key().to_owned(), move |client, call| {
            let snapshot = client.get_snapshot(&key, call)?;
            Ok(Box::new(ctrd_snapshot_info_t::from(snapshot)))
        }))
    })
}

/// Takes the snapshot's info out of the completion of a submitted ctrd_get_snapshot(). It works once,
/// with any handle of the message.
///
/// @param message  the message.
/// @param out      receives the snapshot's info, which the caller owns: ctrd_snapshot_info_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_snapshot_info(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_snapshot_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_snapshot_info", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Removes a snapshot.
///
/// @param client       the client.
/// @param snapshotter  the snapshotter that has it; NULL: the client's.
/// @param key          its key, or its name if it is committed.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such snapshot; CTRD_E_FAILED_PRECONDITION if it is
///         the parent of another one; CTRD_E_INVALID_ARGUMENT also if there is no such snapshotter.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_snapshot(
    client: *mut ctrd_client_t,
    snapshotter: *const c_char,
    key: *const c_char,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("remove_snapshot", call, err, Nothing, || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, key) = unsafe { (live(client)?, read_key(snapshotter, key)?) };
        Ok(operation::of(client, key.key().to_owned(), move |client, call| {
            client.remove_snapshot(&key, call)
        }))
    })
}

/// A snapshot's key, or its name if it is committed.
///
/// @param info  the snapshot's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_name(info: Option<&ctrd_snapshot_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.name))
}

/// The name of a snapshot's parent.
///
/// @param info  the snapshot's info; NULL gives "".
/// @return the text, borrowed from the info; "" if the snapshot has no parent.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_parent(info: Option<&ctrd_snapshot_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.parent))
}

/// A snapshot's kind: CTRD_SNAPSHOT_VIEW, CTRD_SNAPSHOT_ACTIVE or CTRD_SNAPSHOT_COMMITTED.
///
/// @param info  the snapshot's info; NULL gives 0.
/// @return the kind; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_kind(info: Option<&ctrd_snapshot_info_t>) -> u32 {
    guard::read(info, |info| info.kind)
}

/// The number of a snapshot's labels.
///
/// @param info  the snapshot's info; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_labels_len(info: Option<&ctrd_snapshot_info_t>) -> usize {
    guard::read(info, |info| info.labels.len())
}

/// The key of one of a snapshot's labels.
///
/// @param info   the snapshot's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_label_key(
    info: Option<&ctrd_snapshot_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.key(index))
}

/// The value of one of a snapshot's labels.
///
/// @param info   the snapshot's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_label_value(
    info: Option<&ctrd_snapshot_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.value(index))
}

/// When a snapshot was made, by the server's clock.
///
/// @param info  the snapshot's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_created_at(
    info: Option<&ctrd_snapshot_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.created_at.map(ctrd_time_t::from), out))
}

/// When a snapshot last changed, by the server's clock.
///
/// @param info  the snapshot's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_updated_at(
    info: Option<&ctrd_snapshot_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.updated_at.map(ctrd_time_t::from), out))
}

/// Frees a snapshot's info; the snapshot itself is not touched.
///
/// @param info  the info; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_info_free(info: Option<Box<ctrd_snapshot_info_t>>) {
    guard::value(|| drop(info));
}
