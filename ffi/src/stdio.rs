//! Standard streams
//!
//! Where a process's input comes from, and where its output goes.

use std::ffi::c_char;
use std::os::fd::{BorrowedFd, RawFd};

use ctrd::{Error, Result, Stdio, Stream};

use crate::args;
use crate::guard;

/// A stream: nowhere. Reads end at once, writes vanish.
pub const CTRD_IO_NONE: u32 = 0;
/// A stream: a descriptor of the caller's, which is duplicated (close-on-exec). The caller keeps his
/// own, and the flags of the file that both share are never changed. Output waits for a slow reader,
/// as at a pipe; once the reader has gone, it is dropped.
pub const CTRD_IO_FD: u32 = 1;
/// A stream: what the shim is given as it is: the absolute path of a FIFO or of a file that exists,
/// and for output file:// (appended to, made where it is missing) or binary:// (a program that gets
/// it) with one. Such a URI in stdout takes stderr too, which is then CTRD_IO_NONE or the same. The
/// shim closes the file of file:// when stdout ends, and may lose the end of stderr.
pub const CTRD_IO_PATH: u32 = 2;

/// The streams of a process. All-zero: none.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_io_t {
    /// sizeof(ctrd_io_t).
    pub size: usize,
    /// What the process reads: CTRD_IO_NONE, CTRD_IO_FD or CTRD_IO_PATH.
    pub stdin_kind: u32,
    /// What it writes: one of the same.
    pub stdout_kind: u32,
    /// What it complains: one of the same. Must be CTRD_IO_NONE with a terminal.
    pub stderr_kind: u32,
    /// The descriptor of a stream whose kind is CTRD_IO_FD; else not looked at.
    pub stdin_fd: i32,
    /// As stdin_fd.
    pub stdout_fd: i32,
    /// As stdin_fd.
    pub stderr_fd: i32,
    /// The path or URI of a stream whose kind is CTRD_IO_PATH; else not looked at.
    pub stdin_path: *const c_char,
    /// As stdin_path.
    pub stdout_path: *const c_char,
    /// As stdin_path.
    pub stderr_path: *const c_char,
    /// 1: the process has a terminal, and everything that it writes comes from stdout. 0: none.
    pub terminal: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl args::Struct for ctrd_io_t {}

/// Reads the streams of a process. Descriptors are duplicated.
///
/// # Safety
/// `given` is NULL or as `args::input` wants it, its strings as `args::text` does.
pub(crate) unsafe fn read(given: *const ctrd_io_t) -> Result<Stdio> {
    if given.is_null() {
        return Ok(Stdio::default());
    }
    // SAFETY: as the caller promises.
    let given = unsafe { args::input("io", given)? };
    let stream = |name: &str, kind, fd, path| match kind {
        CTRD_IO_NONE => Ok(Stream::None),
        CTRD_IO_FD => duplicate(&format!("{name}_fd"), fd),
        // SAFETY: as the caller promises.
        CTRD_IO_PATH => unsafe { args::text(&format!("{name}_path"), path) }
            .map(|path| Stream::Path(path.to_owned())),
        other => Err(Error::invalid(&format!("{name}_kind"), format!("{other} is not known"))),
    };
    let terminal = match given.terminal {
        0 => false,
        1 => true,
        other => return Err(Error::invalid("terminal", format!("{other} is neither 0 nor 1"))),
    };
    if terminal && given.stderr_kind != CTRD_IO_NONE {
        return Err(Error::invalid("stderr_kind", "a terminal has no stderr of its own"));
    }
    if given.reserved != 0 {
        return Err(Error::invalid("reserved", "must be 0"));
    }
    Ok(Stdio {
        stdin: stream("stdin", given.stdin_kind, given.stdin_fd, given.stdin_path)?,
        stdout: stream("stdout", given.stdout_kind, given.stdout_fd, given.stdout_path)?,
        stderr: stream("stderr", given.stderr_kind, given.stderr_fd, given.stderr_path)?,
        terminal,
    })
}

fn duplicate(name: &str, fd: RawFd) -> Result<Stream> {
    if fd < 0 {
        return Err(Error::invalid(name, format!("{fd} is no descriptor")));
    }
    // SAFETY: it is not -1. Where it is not open, duplicating it says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Stream::duplicate(name, borrowed)
}

/// Initialises a ctrd_io_t as CTRD_IO_INIT does, for languages without macros.
///
/// @param io    the struct; NULL does nothing.
/// @param size  its size in bytes, as the caller's header has it.
///
/// Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_io_init(io: *mut ctrd_io_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { args::initialise(io, size) });
}
