//! Container info
//!
//! A container's info is what containerd has in its record, and the state of its first process, at the
//! time of the call. It does not change.

use std::ffi::{CStr, CString, c_char};
use std::time::SystemTime;

use ctrd::{ContainerInfo, ContainerStatus};

use crate::abi::arguments::{self, text};
use crate::abi::errors::ctrd_error_t;
use crate::abi::outputs::{Handle, Labels, c_string, give_present};
use crate::abi::times::ctrd_time_t;
use crate::abi::{guard, operation};
use crate::call::ctrd_call_t;
use crate::client::{ctrd_client_t, live};
use crate::container;
use crate::message::{ctrd_message_t, take};
use crate::status::ctrd_status_t;

/// A container's status: it has no task. Its process was never created, or the task was deleted after the
/// exit.
pub const CTRD_CONTAINER_STATUS_NO_TASK: u32 = 1;
/// A container's status: its process was created and not started.
pub const CTRD_CONTAINER_STATUS_CREATED: u32 = 2;
/// A container's status: its process runs.
pub const CTRD_CONTAINER_STATUS_RUNNING: u32 = 3;
/// A container's status: its process is paused.
pub const CTRD_CONTAINER_STATUS_PAUSED: u32 = 4;
/// A container's status: its process is about to be paused.
pub const CTRD_CONTAINER_STATUS_PAUSING: u32 = 5;
/// A container's status: its process has ended.
pub const CTRD_CONTAINER_STATUS_STOPPED: u32 = 6;
/// A container's status: its shim does not answer.
pub const CTRD_CONTAINER_STATUS_UNKNOWN: u32 = 7;

/// A container, as containerd knows it.
pub struct ctrd_container_info_t {
    id: CString,
    image: CString,
    runtime: CString,
    snapshotter: CString,
    snapshot_key: CString,
    owner: CString,
    labels: Labels,
    cleanup: u32,
    terminal: bool,
    generation: Option<u64>,
    status: u32,
    pid: Option<u32>,
    exit_code: Option<u32>,
    exit_time: Option<SystemTime>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl From<&ContainerInfo> for ctrd_container_info_t {
    fn from(info: &ContainerInfo) -> ctrd_container_info_t {
        let optional = |text: Option<&str>| c_string(text.unwrap_or_default());
        ctrd_container_info_t {
            id: c_string(info.id()),
            image: optional(info.image()),
            runtime: c_string(info.runtime()),
            snapshotter: optional(info.snapshotter()),
            snapshot_key: optional(info.snapshot_key()),
            owner: optional(info.owner()),
            labels: Labels::new(info.labels()),
            cleanup: container::cleanup_value(info.cleanup()),
            terminal: info.terminal(),
            generation: info.generation(),
            status: match info.status() {
                ContainerStatus::NoTask => CTRD_CONTAINER_STATUS_NO_TASK,
                ContainerStatus::Created => CTRD_CONTAINER_STATUS_CREATED,
                ContainerStatus::Running => CTRD_CONTAINER_STATUS_RUNNING,
                ContainerStatus::Paused => CTRD_CONTAINER_STATUS_PAUSED,
                ContainerStatus::Pausing => CTRD_CONTAINER_STATUS_PAUSING,
                ContainerStatus::Stopped => CTRD_CONTAINER_STATUS_STOPPED,
                ContainerStatus::Unknown => CTRD_CONTAINER_STATUS_UNKNOWN,
                _ => 0,
            },
            pid: info.pid(),
            exit_code: info.exit_code(),
            exit_time: info.exit_time(),
            created_at: info.created_at(),
            updated_at: info.updated_at(),
        }
    }
}

/// Several containers, as containerd knows them.
pub struct ctrd_container_info_list_t(Vec<ctrd_container_info_t>);

/// Looks a container up: its record, and the state of its process. It need not be this client's.
///
/// @param client  the client.
/// @param id      the container's id.
/// @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out     receives the container's info, which the caller owns: ctrd_container_info_free(). A
///                submitted call gives it by ctrd_message_take_container_info().
/// @param err     receives the error, or NULL.
/// @return CTRD_OK, also if the container's shim does not answer within the 2 s that containerd gives it
///         (CTRD_CONTAINER_STATUS_UNKNOWN); CTRD_E_NOT_FOUND if there is no such container.
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_get_container(
    client: *mut ctrd_client_t,
    id: *const c_char,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_container_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("get_container", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's string and handle are as the header says.
        let (client, id) = unsafe { (live(client)?, text("id", id)?) };
        Ok(operation::of(client, id.clone(), move |client, call| {
            Ok(Box::new(ctrd_container_info_t::from(&client.get_container(&id, call)?)))
        }))
    })
}

/// Takes the container's info out of the completion of a submitted ctrd_get_container(). It works once,
/// with any handle of the message.
///
/// @param message  the message.
/// @param out      receives the container's info, which the caller owns: ctrd_container_info_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_container_info(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_container_info_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_container_info", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// Lists the containers of the namespace that match at least one of the filters, of every owner; all
/// of them if there is no filter. They are in the order of their ids.
///
/// The function asks the server twice, however many containers there are. containerd asks their shims one
/// after the other, and waits 2 s for one that does not answer: such a container has the status
/// CTRD_CONTAINER_STATUS_UNKNOWN. containerd 1.7 and 2.x may leave it out of their list of tasks. Then,
/// if this client does not watch the container either, it has the status CTRD_CONTAINER_STATUS_NO_TASK;
/// ctrd_get_container() tells the two apart.
///
/// @param client       the client.
/// The label "io.ctrd.owner" of a container has the owner name of the client that made it. So these filters
/// give the containers that clients with the owner name "epolld" have made, and those that any client of
/// this library has made:
///
///     labels."io.ctrd.owner"=="epolld"
///     labels."io.ctrd.owner"
///
/// In C the first one is "labels.\"io.ctrd.owner\"==\"epolld\"".
///
/// @param filters      filters in containerd's language, as in labels."org.example.role"==web:
///                     filters_len strings.
/// @param filters_len  the number of filters.
/// @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
/// @param out          receives the containers, which the caller owns: ctrd_container_info_list_free(). A
///                     submitted call gives them by ctrd_message_take_container_info_list().
/// @param err          receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
///         position: "filters[1]".
///
/// Blocking: until the server has answered. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_list_containers(
    client: *mut ctrd_client_t,
    filters: *const *const c_char,
    filters_len: usize,
    call: *const ctrd_call_t,
    out: Option<&mut *mut ctrd_container_info_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    operation::run("list_containers", call, err, Handle::required("out", out), || {
        // SAFETY: the caller's strings and handle are as the header says.
        let (client, filters) =
            unsafe { (live(client)?, arguments::texts("filters", filters, filters_len)?) };
        Ok(operation::of(client, String::new(), move |client, call| {
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            let containers = client.list_containers(&filters, call)?;
            let containers = containers.iter().map(ctrd_container_info_t::from).collect();
            Ok(Box::new(ctrd_container_info_list_t(containers)))
        }))
    })
}

/// Takes the containers out of the completion of a submitted ctrd_list_containers(). It works once, with
/// any handle of the message.
///
/// @param message  the message.
/// @param out      receives the containers, which the caller owns: ctrd_container_info_list_free().
/// @param err      receives the error, or NULL.
/// @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
///         before.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_message_take_container_info_list(
    message: *mut ctrd_message_t,
    out: Option<&mut *mut ctrd_container_info_list_t>,
    err: Option<&mut *mut ctrd_error_t>,
) -> ctrd_status_t {
    guard::produce("message_take_container_info_list", Handle::required("out", out), err, || {
        // SAFETY: the caller's handle is as the header says.
        unsafe { take(message) }
    })
}

/// A container's id.
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_id(info: Option<&ctrd_container_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.id))
}

/// The name of the image that a container was made from.
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info; "" if the record names no image, as if the caller prepared
///         the root file system.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_image(info: Option<&ctrd_container_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.image))
}

/// A container's runtime, as in "io.containerd.runc.v2".
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_runtime(
    info: Option<&ctrd_container_info_t>,
) -> *const c_char {
    guard::text(info, |info| Some(&info.runtime))
}

/// The snapshotter of a container's root file system.
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info; "" if the root file system is not a snapshot.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_snapshotter(
    info: Option<&ctrd_container_info_t>,
) -> *const c_char {
    guard::text(info, |info| Some(&info.snapshotter))
}

/// The key of the snapshot that is a container's root file system.
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info; "" if the root file system is not a snapshot.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_snapshot_key(
    info: Option<&ctrd_container_info_t>,
) -> *const c_char {
    guard::text(info, |info| Some(&info.snapshot_key))
}

/// The owner name of the client that made a container.
///
/// @param info  the container's info; NULL gives "".
/// @return the text, borrowed from the info; "" if another program made the container.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_owner(info: Option<&ctrd_container_info_t>) -> *const c_char {
    guard::text(info, |info| Some(&info.owner))
}

/// The clean-up policy of a container: CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or
/// CTRD_CLEANUP_ALL.
///
/// @param info  the container's info; NULL gives CTRD_CLEANUP_KEEP.
/// @return the value that the container was created with; CTRD_CLEANUP_KEEP if another program made it.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_cleanup(info: Option<&ctrd_container_info_t>) -> u32 {
    guard::read(info, |info| info.cleanup)
}

/// The number of a container's labels. The library's own, which begin with "io.ctrd.", are left out.
///
/// @param info  the container's info; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_labels_len(info: Option<&ctrd_container_info_t>) -> usize {
    guard::read(info, |info| info.labels.len())
}

/// The key of one of a container's labels.
///
/// @param info   the container's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_label_key(
    info: Option<&ctrd_container_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.key(index))
}

/// The value of one of a container's labels.
///
/// @param info   the container's info; NULL gives NULL.
/// @param index  its position, from 0, in the order of the keys.
/// @return the text, borrowed from the info; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_label_value(
    info: Option<&ctrd_container_info_t>,
    index: usize,
) -> *const c_char {
    guard::read(info, |info| info.labels.value(index))
}

/// The value of one of a container's labels, by its key. NULL tells a container without the label from one
/// whose label is empty.
///
/// @param info  the container's info; NULL gives NULL.
/// @param key   the key; NULL gives NULL.
/// @return the text, borrowed from the info; NULL if the container has no such label.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_container_info_label(
    info: Option<&ctrd_container_info_t>,
    key: *const c_char,
) -> *const c_char {
    guard::read(info, |info| {
        if key.is_null() {
            return std::ptr::null();
        }
        // SAFETY: it is a NUL-terminated string.
        info.labels.find(unsafe { CStr::from_ptr(key) })
    })
}

/// Whether a container's process has a terminal.
///
/// @param info  the container's info; NULL gives 0.
/// @return 1 if it has one, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_terminal(info: Option<&ctrd_container_info_t>) -> i32 {
    guard::read(info, |info| info.terminal.into())
}

/// A number that tells a container from those that had its id before it, or get the id later.
/// ctrd_message_generation() gives the same number. It has no other meaning.
///
/// @param info  the container's info; NULL gives 0.
/// @return the number; 0 if it is not known.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_generation(info: Option<&ctrd_container_info_t>) -> u64 {
    guard::read(info, |info| info.generation.unwrap_or(0))
}

/// The status of a container: one of the CTRD_CONTAINER_STATUS_ values.
///
/// @param info  the container's info; NULL gives 0.
/// @return the status; a later version may add some.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_status(info: Option<&ctrd_container_info_t>) -> u32 {
    guard::read(info, |info| info.status)
}

/// The process id of a container's first process, in the host's pid namespace. If the process has ended,
/// another process may have the id.
///
/// @param info  the container's info; NULL gives 0.
/// @return the process id; 0 if the container has no task or the id is not known.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_pid(info: Option<&ctrd_container_info_t>) -> u32 {
    guard::read(info, |info| info.pid.unwrap_or(0))
}

/// The exit code of a container's process: 128 plus the number of the signal if a signal ended it. It is
/// known also if the task was deleted, as long as the record or this client has it.
///
/// @param info  the container's info; NULL gives 0.
/// @param out   receives the code if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the code is known; 0 if the process has not ended, never ran, or nothing holds its code.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_exit_code(
    info: Option<&ctrd_container_info_t>,
    out: Option<&mut u32>,
) -> i32 {
    guard::read(info, |info| give_present(info.exit_code, out))
}

/// When a container's process ended, by the server's clock.
///
/// @param info  the container's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_exit_time(
    info: Option<&ctrd_container_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.exit_time.map(ctrd_time_t::from), out))
}

/// When a container's record was made, by the server's clock.
///
/// @param info  the container's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_created_at(
    info: Option<&ctrd_container_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.created_at.map(ctrd_time_t::from), out))
}

/// When a container's record last changed, by the server's clock.
///
/// @param info  the container's info; NULL gives 0.
/// @param out   receives the time if it is known; else it is left unchanged. May be NULL.
/// @return 1 if the time is known, 0 if not.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_updated_at(
    info: Option<&ctrd_container_info_t>,
    out: Option<&mut ctrd_time_t>,
) -> i32 {
    guard::read(info, |info| give_present(info.updated_at.map(ctrd_time_t::from), out))
}

/// Frees a container's info that the caller owns; the container itself is not touched. The infos of a
/// list are freed with the list.
///
/// @param info  the info; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_free(info: Option<Box<ctrd_container_info_t>>) {
    guard::value(|| drop(info));
}

/// The number of containers in a list.
///
/// @param list  the list; NULL gives 0.
/// @return the number.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_list_len(list: Option<&ctrd_container_info_list_t>) -> usize {
    guard::read(list, |list| list.0.len())
}

/// One container of a list.
///
/// @param list   the list; NULL gives NULL.
/// @param index  its position, from 0.
/// @return the container's info, borrowed from the list and not to be freed; NULL beyond the last.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_list_get(
    list: Option<&ctrd_container_info_list_t>,
    index: usize,
) -> Option<&ctrd_container_info_t> {
    guard::read(list, |list| list.0.get(index))
}

/// Frees a list and the infos in it.
///
/// @param list  the list; NULL does nothing.
///
/// Blocking: no. Threads: owner. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn ctrd_container_info_list_free(list: Option<Box<ctrd_container_info_list_t>>) {
    guard::value(|| drop(list));
}
