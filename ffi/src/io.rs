//! Standard streams
//!
//! Where the input of a process comes from, and where its output goes. A function that takes a ctrd_io_t
//! reads it before it checks anything else, so that the descriptors that are given away (CTRD_IO_FD_TAKE)
//! are the library's whatever the function answers. It closes each of them exactly once. Only if the
//! ctrd_io_t itself is invalid do they stay the caller's: CTRD_E_INVALID_ARGUMENT that names one of its
//! members, or "io".

use std::ffi::c_char;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use ctrd::{Error, Result, Stdio, Stream};

use crate::abi::{arguments, guard};

/// A stream: nowhere. A read ends at once, and what is written vanishes.
pub const CTRD_IO_NONE: u32 = 0;
/// A stream: a descriptor of the caller's. The library makes a duplicate (close-on-exec), and never
/// changes the flags of the file that both share. If the reader of an output is slow, the process waits,
/// as it would at a pipe; when the reader has gone, the output is dropped.
pub const CTRD_IO_FD: u32 = 1;
/// A stream: the shim gets the path as it is. It is the absolute path of a FIFO or file that exists. For
/// output it may have file:// before it (the file is appended to, and made if it does not exist) or
/// binary:// (a program that receives the output). The shim also makes missing directories of a file://
/// path. If stdout is such a URI, stderr goes to it too, and must be CTRD_IO_NONE or the same URI. The shim closes the file of file:// when stdout ends, and may lose the
/// end of stderr.
pub const CTRD_IO_PATH: u32 = 2;
/// A stream: a descriptor that the caller gives away. The library uses it itself, sets close-on-exec, and
/// closes it. Otherwise as CTRD_IO_FD. Several streams may name the same descriptor.
pub const CTRD_IO_FD_TAKE: u32 = 3;

/// The streams of a process. All-zero: none. The library does not keep the pointers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_io_t {
    /// sizeof(ctrd_io_t).
    pub size: usize,
    /// The path of standard input if stdin_kind is CTRD_IO_PATH; else it is not looked at.
    pub stdin_path: *const c_char,
    /// The path or URI of standard output, likewise.
    pub stdout_path: *const c_char,
    /// The path or URI of standard error, likewise.
    pub stderr_path: *const c_char,
    /// Standard input: CTRD_IO_NONE, CTRD_IO_FD, CTRD_IO_FD_TAKE or CTRD_IO_PATH.
    pub stdin_kind: u32,
    /// The descriptor of standard input if stdin_kind is CTRD_IO_FD or CTRD_IO_FD_TAKE; else it is not
    /// looked at.
    pub stdin_fd: i32,
    /// Standard output: one of the same kinds.
    pub stdout_kind: u32,
    /// The descriptor of standard output, likewise.
    pub stdout_fd: i32,
    /// Standard error: one of the same kinds. Must be CTRD_IO_NONE with a terminal.
    pub stderr_kind: u32,
    /// The descriptor of standard error, likewise.
    pub stderr_fd: i32,
    /// 1: the process has a terminal, and all its output comes from stdout. 0: it has none.
    pub terminal: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size comes first, and zero is valid for numbers and pointers.
unsafe impl arguments::Struct for ctrd_io_t {}

/// One stream as the caller asked for it, checked.
enum Given {
    None,
    Path(String),
    /// The descriptor, its name, and whether the caller gives it away.
    Fd(RawFd, String, bool),
}

/// Checks one stream.
///
/// # Safety
/// `path` is as `arguments::text` wants it.
unsafe fn check(name: &str, kind: u32, fd: RawFd, path: *const c_char) -> Result<Given> {
    match kind {
        CTRD_IO_NONE => Ok(Given::None),
        CTRD_IO_FD | CTRD_IO_FD_TAKE => {
            let name = format!("{name}_fd");
            if fd < 0 {
                return Err(Error::invalid(&name, format!("{fd} is not a descriptor")));
            }
            // SAFETY: the system call fails if the descriptor is not open.
            if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
                return Err(Error::invalid(&name, "is not open"));
            }
            Ok(Given::Fd(fd, name, kind == CTRD_IO_FD_TAKE))
        }
        // SAFETY: as the caller promises.
        CTRD_IO_PATH => unsafe { arguments::text(&format!("{name}_path"), path) }.map(Given::Path),
        other => Err(Error::invalid(&format!("{name}_kind"), format!("{other} is not known"))),
    }
}

/// The descriptors that the caller gives away. Dropped, each is closed once.
struct Taken(Vec<(RawFd, OwnedFd)>);

impl Taken {
    fn take(streams: &[Given]) -> Taken {
        let mut taken: Vec<(RawFd, OwnedFd)> = Vec::new();
        for stream in streams {
            match stream {
                Given::Fd(fd, _, true) if !taken.iter().any(|(other, _)| other == fd) => {
                    // SAFETY: it is open, the caller gives it away, and it is taken once.
                    taken.push((*fd, unsafe { OwnedFd::from_raw_fd(*fd) }));
                    // SAFETY: it is open. Nothing depends on the outcome, which cannot be a failure.
                    unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) };
                }
                _ => {}
            }
        }
        Taken(taken)
    }

    /// A stream of its own of a descriptor that was taken: the descriptor itself if no stream after
    /// this one names it, else a duplicate.
    fn stream(&mut self, fd: RawFd, name: &str, later: &[Given]) -> Result<Option<Stream>> {
        let Some(position) = self.0.iter().position(|(taken, _)| *taken == fd) else {
            return Ok(None);
        };
        if later.iter().any(|stream| matches!(stream, Given::Fd(other, _, _) if *other == fd)) {
            return ctrd::ffi::duplicate(name, self.0[position].1.as_fd()).map(Some);
        }
        Ok(Some(Stream::fd(self.0.swap_remove(position).1)))
    }
}

/// Reads the streams of a process: descriptors are duplicated or taken.
///
/// # Safety
/// `given` is NULL or as `arguments::input` wants it, its strings as `arguments::text` does.
pub(crate) unsafe fn read(given: *const ctrd_io_t) -> Result<Stdio> {
    if given.is_null() {
        return Ok(Stdio::new());
    }
    // SAFETY: as the caller promises.
    let given = unsafe { arguments::input("io", given)? };
    let terminal = match given.terminal {
        0 => false,
        1 => true,
        other => return Err(Error::invalid("terminal", format!("{other} is neither 0 nor 1"))),
    };
    if terminal && given.stderr_kind != CTRD_IO_NONE {
        return Err(Error::invalid("stderr_kind", "a process with a terminal has no stderr"));
    }
    arguments::reserved(given.reserved)?;
    // SAFETY: as the caller promises.
    let streams = unsafe {
        [
            check("stdin", given.stdin_kind, given.stdin_fd, given.stdin_path)?,
            check("stdout", given.stdout_kind, given.stdout_fd, given.stdout_path)?,
            check("stderr", given.stderr_kind, given.stderr_fd, given.stderr_path)?,
        ]
    };
    // Nothing is invalid: from here on the descriptors that the caller gives away are ours.
    let mut taken = Taken::take(&streams);
    let mut stream = |position: usize| match &streams[position] {
        Given::None => Ok(Stream::None),
        Given::Path(path) => Ok(Stream::Path(path.clone())),
        Given::Fd(fd, name, _) => match taken.stream(*fd, name, &streams[position + 1..])? {
            Some(stream) => Ok(stream),
            // SAFETY: it is open.
            None => ctrd::ffi::duplicate(name, unsafe { BorrowedFd::borrow_raw(*fd) }),
        },
    };
    Ok(Stdio::new().stdin(stream(0)?).stdout(stream(1)?).stderr(stream(2)?).terminal(terminal))
}

/// Initialises a ctrd_io_t as CTRD_IO_INIT does, for languages without macros.
///
/// @param io    the struct; NULL does nothing.
/// @param size  its size in bytes, by the caller's header.
///
/// Blocking: no. Threads: any. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ctrd_io_init(io: *mut ctrd_io_t, size: usize) {
    // SAFETY: the caller says how many bytes there are.
    guard::value(|| unsafe { arguments::initialise(io, size) });
}
