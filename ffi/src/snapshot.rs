//! Snapshots
//!
//! The file systems of images and containers.

use std::ffi::{CString, c_char};
use std::time::SystemTime;

use ctrd::{Snapshot, SnapshotKind};

use crate::args::{self, c_pairs, c_string, optional_text, text};
use crate::call::{self, ctrd_call_t};
use crate::client::{ctrd_client_t, live};
use crate::error::ctrd_error_t;
use crate::guard::{self, Out};
use crate::status::ctrd_status_t;
use crate::time::{self, ctrd_time_t};

/// A snapshot's kind: mounted read-only.
pub const CTRD_SNAPSHOT_VIEW: u32 = 1;
/// A snapshot's kind: it can be written to, as a container's.
pub const CTRD_SNAPSHOT_ACTIVE: u32 = 2;
/// A snapshot's kind: it does not change any more, as a layer's.
pub const CTRD_SNAPSHOT_COMMITTED: u32 = 3;

/// What a snapshotter knows of a snapshot. Its texts are borrowed: they are valid until it is freed.
pub struct ctrd_snapshot_t {
    name: CString,
    parent: Option<CString>,
    kind: u32,
    labels: Vec<(CString, CString)>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl From<Snapshot> for ctrd_snapshot_t {
    fn from(snapshot: Snapshot) -> ctrd_snapshot_t {
        ctrd_snapshot_t {
            name: c_string(&snapshot.name),
            parent: Some(snapshot.parent).filter(|p| !p.is_empty()).map(|p| c_string(&p)),
            kind: match snapshot.kind {
                SnapshotKind::View => CTRD_SNAPSHOT_VIEW,
                SnapshotKind::Active => CTRD_SNAPSHOT_ACTIVE,
                SnapshotKind::Committed => CTRD_SNAPSHOT_COMMITTED,
                _ => 0,
            },
            labels: c_pairs(&snapshot.labels),
            created_at: snapshot.created_at,
            updated_at: snapshot.updated_at,
        }
    }
}

/// Looks a snapshot up.
///
/// @param client       the client.
/// @param snapshotter  who has it; NULL: the client's.
/// @param key          its key, or its name once it is committed.
/// @param call         bounds of the call; NULL: the default, at most the client's call timeout.
/// @param out          receives the snapshot, which the caller owns: ctrd_snapshot_free().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where there is no such snapshotter;
///         CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED;
///         CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_get_snapshot(
    client: Option<&ctrd_client_t>,
    snapshotter: *const c_char,
    key: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_snapshot_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("get_snapshot", Out::required("out", out), err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (snapshotter, key, call) = unsafe {
            (optional_text("snapshotter", snapshotter)?, text("key", key)?, call::read(call)?)
        };
        Ok(Box::new(ctrd_snapshot_t::from(client.get_snapshot(snapshotter, key, &call)?)))
    })
}

/// Removes a snapshot.
///
/// @param client       the client.
/// @param snapshotter  who has it; NULL: the client's.
/// @param key          its key, or its name once it is committed.
/// @param call         bounds of the call; NULL: the default, at most the client's call timeout.
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where there is no such snapshotter;
///         CTRD_E_NOT_FOUND; CTRD_E_FAILED_PRECONDITION where another snapshot stands on it;
///         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_remove_snapshot(
    client: Option<&ctrd_client_t>,
    snapshotter: *const c_char,
    key: *const c_char,
    call: *const ctrd_call_t,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::status("remove_snapshot", err, || {
        let client = live(client)?;
        // SAFETY: the caller's structs and strings are as the header says.
        let (snapshotter, key, call) = unsafe {
            (optional_text("snapshotter", snapshotter)?, text("key", key)?, call::read(call)?)
        };
        client.remove_snapshot(snapshotter, key, &call)
    })
}

/// A snapshot's key or, once it is committed, its name.
///
/// @param snapshot  the snapshot; NULL gives NULL.
/// @return the text, borrowed from the snapshot.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_name(snapshot: Option<&ctrd_snapshot_t>) -> *const c_char {
    guard::read(snapshot, |snapshot| snapshot.name.as_ptr())
}

/// The name of the snapshot that a snapshot stands on.
///
/// @param snapshot  the snapshot; NULL gives NULL.
/// @return the text, borrowed from the snapshot; NULL where it stands on none.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_parent(snapshot: Option<&ctrd_snapshot_t>) -> *const c_char {
    guard::read(snapshot, |snapshot| {
        snapshot.parent.as_ref().map_or(std::ptr::null(), |parent| parent.as_ptr())
    })
}

/// What a snapshot is: CTRD_SNAPSHOT_VIEW, CTRD_SNAPSHOT_ACTIVE or CTRD_SNAPSHOT_COMMITTED.
///
/// @param snapshot  the snapshot; NULL gives 0.
/// @return the kind; 0 where the server says something else.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_kind(snapshot: Option<&ctrd_snapshot_t>) -> u32 {
    guard::read(snapshot, |snapshot| snapshot.kind)
}

/// How many labels a snapshot has.
///
/// @param snapshot  the snapshot; NULL gives 0.
/// @return the number.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_labels_len(snapshot: Option<&ctrd_snapshot_t>) -> usize {
    guard::read(snapshot, |snapshot| snapshot.labels.len())
}

/// The key of one of a snapshot's labels.
///
/// @param snapshot  the snapshot; NULL gives NULL.
/// @param index     which one, from 0, in the order of the keys.
/// @return the text, borrowed from the snapshot; NULL beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_label_key(
    snapshot: Option<&ctrd_snapshot_t>,
    index: usize,
) -> *const c_char {
    guard::read(snapshot, |snapshot| args::pair(&snapshot.labels, index).0)
}

/// The value of one of a snapshot's labels.
///
/// @param snapshot  the snapshot; NULL gives NULL.
/// @param index     which one, from 0, in the order of the keys.
/// @return the text, borrowed from the snapshot; NULL beyond the last.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_label_value(
    snapshot: Option<&ctrd_snapshot_t>,
    index: usize,
) -> *const c_char {
    guard::read(snapshot, |snapshot| args::pair(&snapshot.labels, index).1)
}

/// When a snapshot was made, by the server's clock.
///
/// @param snapshot  the snapshot; NULL gives 0.
/// @param out       receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_created_at(
    snapshot: Option<&ctrd_snapshot_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(snapshot, |snapshot| time::give(snapshot.created_at, out))
}

/// When a snapshot last changed, by the server's clock.
///
/// @param snapshot  the snapshot; NULL gives 0.
/// @param out       receives the time where it is known, and is left as it is where not; may be NULL.
/// @return 1 where the time is known, 0 where not.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_updated_at(
    snapshot: Option<&ctrd_snapshot_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(snapshot, |snapshot| time::give(snapshot.updated_at, out))
}

/// Frees a snapshot's description; the snapshot itself stays.
///
/// @param snapshot  the description, which the call takes; NULL does nothing.
///
/// Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_snapshot_free(snapshot: Option<Box<ctrd_snapshot_t>>) {
    guard::value(|| drop(snapshot));
}
