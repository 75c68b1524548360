//! The FIFOs of one process, in a directory of their own.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Result};

/// The longest path that the kernel takes (`PATH_MAX`, without its NUL).
pub(super) const MAX_PATH: usize = 4095;

/// Separates namespace, id, server and a random number in the name of a directory. No identifier
/// contains it.
const SEPARATOR: &str = "+";

/// What the shim gets for the streams: paths or URIs, empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Where the FIFOs of the containers of one server's namespace are: `<state_dir>/fifo`.
#[derive(Clone, Copy)]
pub(crate) struct FifoDir<'a> {
    pub(crate) state_dir: &'a Path,
    /// Tells the server from others, whose containers may have the same ids.
    pub(crate) server: &'a str,
    pub(crate) namespace: &'a str,
}

/// The FIFOs of one process, and the directory that holds nothing else. The drop removes them, unless
/// they are to be kept, or the drop happens in a child of the process that made them.
pub(super) struct FifoSet {
    process: u32,
    keep: bool,
    path: PathBuf,
    /// `None` once everything in it is open.
    directory: Option<OwnedFd>,
    fifos: Vec<PathBuf>,
}

impl FifoSet {
    /// Makes an empty directory, `<state_dir>/fifo/<namespace>+<id>+<server>+<random>`. The directories
    /// that are missing get mode 0700. `state_dir` and `fifo` must be real directories of this user,
    /// and nobody else may write there: a user that can replace a FIFO reads what the process writes.
    pub(super) fn new(dir: FifoDir<'_>, id: &str) -> Result<FifoSet> {
        let FifoDir { state_dir, server, namespace } = dir;
        let state_dir = without_trailing_slash(state_dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state_dir)
            .map_err(|e| Error::io(state_dir.display(), e))?;
        let top = open_own(&CWD, &state_dir, &state_dir)?;
        let parent = state_dir.join("fifo");
        match mkdirat(&top, "fifo", Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::io(parent.display(), e)),
        }
        let fifo = open_own(&top, Path::new("fifo"), &parent)?;
        loop {
            let mut random = [0u8; 8];
            getrandom(&mut random, GetRandomFlags::empty())
                .map_err(|e| Error::io("getrandom", e))?;
            let random = u64::from_ne_bytes(random);
            let random = format!("{random:016x}");
            let name = [namespace, id, server, &random].join(SEPARATOR);
            let path = parent.join(&name);
            match mkdirat(&fifo, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(Error::io(path.display(), e)),
            }
            return match open_own(&fifo, Path::new(&name), &path) {
                Ok(directory) => {
                    let (process, directory) = (std::process::id(), Some(directory));
                    Ok(FifoSet { process, keep: false, path, directory, fifos: Vec::new() })
                }
                Err(e) => {
                    let _ = std::fs::remove_dir(&path);
                    Err(e)
                }
            };
        }
    }

    /// The FIFOs that an earlier program made for a process. `None` if none of its paths is below
    /// `state_dir`: then they are the host's.
    pub(super) fn reopen(state_dir: &Path, paths: &Paths) -> Result<Option<FifoSet>> {
        let state_dir = without_trailing_slash(state_dir);
        let parent = state_dir.join("fifo");
        let fifos: Vec<PathBuf> = [&paths.stdin, &paths.stdout, &paths.stderr]
            .into_iter()
            .map(PathBuf::from)
            .filter(|fifo| fifo.ancestors().nth(2) == Some(&parent))
            .collect();
        let directory = fifos.first().and_then(|fifo| fifo.parent()).map(Path::to_owned);
        let Some(path) = directory else { return Ok(None) };
        let Some(name) = path.file_name() else { return Ok(None) };
        let top = open_own(&CWD, &state_dir, &state_dir)?;
        let fifo = open_own(&top, Path::new("fifo"), &parent)?;
        let directory = Some(open_own(&fifo, Path::new(name), &path)?);
        Ok(Some(FifoSet { process: std::process::id(), keep: true, path, directory, fifos }))
    }

    /// The file name of the FIFO with this path. `None` if it is not one of the set.
    pub(super) fn name_of(&self, path: &str) -> Option<String> {
        let fifo = self.fifos.iter().find(|fifo| fifo.as_path() == Path::new(path))?;
        fifo.file_name()?.to_str().map(str::to_owned)
    }

    /// Says whether the drop leaves the FIFOs in place.
    pub(super) fn set_keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Makes a FIFO, mode 0600, and returns its path.
    pub(super) fn make(&mut self, name: &str) -> Result<String> {
        let path = self.path.join(name);
        let text = path
            .to_str()
            .ok_or_else(|| Error::invalid("state_dir", "is not UTF-8, as the path of a FIFO must"))?
            .to_owned();
        if text.len() > MAX_PATH {
            return Err(Error::invalid("state_dir", "is too long for the path of a FIFO"));
        }
        self.directory()
            .and_then(|directory| {
                mknodat(directory, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            })
            .map_err(|e| Error::io(path.display(), e))?;
        self.fifos.push(path);
        Ok(text)
    }

    /// Opens the read end of a FIFO, also if nobody has it open for writing yet.
    pub(super) fn open_reader(&self, name: &str) -> Result<OwnedFd> {
        self.open(name, OFlags::RDONLY).map_err(|e| Error::io(self.path.join(name).display(), e))
    }

    /// Opens the write end of a FIFO. `None` if nobody has it open for reading.
    pub(super) fn open_writer(&self, name: &str) -> Result<Option<OwnedFd>> {
        match self.open(name, OFlags::WRONLY) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NXIO) => Ok(None),
            Err(e) => Err(Error::io(self.path.join(name).display(), e)),
        }
    }

    fn open(&self, name: &str, access: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.directory()?, name, flags, Mode::empty())
    }

    fn directory(&self) -> std::result::Result<&OwnedFd, Errno> {
        self.directory.as_ref().ok_or(Errno::BADF)
    }

    /// Closes the directory: nothing more is made or opened in it.
    pub(super) fn close_directory(&mut self) {
        self.directory = None;
    }
}

impl Drop for FifoSet {
    fn drop(&mut self) {
        if std::process::id() != self.process || self.keep {
            return;
        }
        // Errors are ignored: another call may have removed them first.
        for path in &self.fifos {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Whether a path is that of a FIFO below `state_dir`.
pub(super) fn is_own(state_dir: &Path, path: &str) -> bool {
    let parent = without_trailing_slash(state_dir).join("fifo");
    Path::new(path).ancestors().nth(2) == Some(&parent)
}

/// The directories of all FIFO sets for the containers of a server's namespace, each with the id of its
/// container.
pub(super) fn list(dir: FifoDir<'_>) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(without_trailing_slash(dir.state_dir).join("fifo"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let mut parts = name.to_str()?.split(SEPARATOR);
            let (namespace, id, server) = (parts.next()?, parts.next()?, parts.next()?);
            let matches = namespace == dir.namespace && server == dir.server;
            matches.then(|| (id.to_owned(), entry.path()))
        })
        .collect()
}

/// The names of the streams in the names of FIFOs.
pub(super) const STREAM_NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// The file name of the FIFO of a stream. `process` is the exec's id, or the container's for its first
/// process.
pub(super) fn file_name(process: &str, stream: &str) -> String {
    format!("{process}-{stream}")
}

/// Whether such a directory has a FIFO of this process.
pub(super) fn belongs_to(directory: &Path, process: &str) -> bool {
    let file = |stream| directory.join(file_name(process, stream));
    STREAM_NAMES.into_iter().any(|stream| file(stream).symlink_metadata().is_ok())
}

/// Whether such a directory has FIFOs of an exec. One that another program has just made is empty.
pub(super) fn belongs_to_exec(directory: &Path, container: &str) -> bool {
    let is_empty = std::fs::read_dir(directory).into_iter().flatten().next().is_none();
    !is_empty && !belongs_to(directory, container)
}

/// Removes such a directory. Each FIFO is opened at both ends before: the shim of a program that died
/// may wait for the other end, and would wait for ever.
pub(super) fn remove(directory: &Path) {
    for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let both_ends = openat(CWD, file.path(), flags, Mode::empty());
        let _ = std::fs::remove_file(file.path());
        drop(both_ends);
    }
    let _ = std::fs::remove_dir(directory);
}

/// The path without a trailing slash, because the kernel follows a link that has one.
fn without_trailing_slash(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Opens a directory that this user owns and nobody else may write. `path` names it in the error.
fn open_own(at: &impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<OwnedFd> {
    let refused = |why: String| Error::invalid("state_dir", format!("{} {why}", path.display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(at, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(refused("is not a directory; a link to one is refused".into()));
        }
        Err(e) => return Err(Error::io(path.display(), e)),
    };
    let stat = fstat(&directory).map_err(|e| Error::io(path.display(), e))?;
    let me = geteuid().as_raw();
    if stat.st_uid != me {
        return Err(refused(format!("belongs to user {}, not to {me}", stat.st_uid)));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err(refused("may be written by others than its owner".into()));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::sync::mpsc;
    use std::thread;

    use rustix::thread::gettid;

    use super::*;
    use crate::error::ErrorKind;
    use crate::stdio::tests::{Scratch, fifo_dir};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_set_is_for_its_owner_alone_and_is_removed_by_its_drop() {
        let scratch = Scratch::new();
        let state = scratch.path().join("a/b/");
        let mut fifos = FifoSet::new(fifo_dir(&state), "id").unwrap();
        let path = PathBuf::from(fifos.make("id-stdout").unwrap());
        assert!(path.starts_with(scratch.path().join("a/b/fifo")));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(mode(&path), 0o600);
        let mut directory = path.as_path();
        while directory != scratch.path().join("a") {
            directory = directory.parent().unwrap();
            assert_eq!(mode(directory), 0o700, "{}", directory.display());
        }
        let other = FifoSet::new(fifo_dir(&state), "id").unwrap();
        assert_ne!(fifos.path, other.path);
        drop((fifos, other));
        assert_eq!(fs::read_dir(state.join("fifo")).unwrap().count(), 0);
    }

    #[test]
    fn directories_that_others_could_change_are_refused() {
        let scratch = Scratch::new();
        let good = scratch.path().join("good");
        fs::create_dir_all(good.join("fifo")).unwrap();
        let refused = |state: &Path| {
            let error = FifoSet::new(fifo_dir(state), "x").err().expect("it must be refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.message().starts_with("state_dir: "), "{error}");
        };

        let link = scratch.path().join("link");
        symlink(&good, &link).unwrap();
        refused(&link);
        refused(&scratch.path().join("link/"));

        let inner = scratch.path().join("inner");
        fs::create_dir(&inner).unwrap();
        symlink(good.join("fifo"), inner.join("fifo")).unwrap();
        refused(&inner);

        for mode in [0o770, 0o702] {
            fs::set_permissions(good.join("fifo"), Permissions::from_mode(mode)).unwrap();
            refused(&good);
        }
        fs::set_permissions(good.join("fifo"), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&good, Some(65534), None).unwrap();
        refused(&good);
        std::os::unix::fs::chown(&good, Some(geteuid().as_raw()), None).unwrap();

        assert_eq!(fs::read_dir(good.join("fifo")).unwrap().count(), 0);
        drop(FifoSet::new(fifo_dir(&good), "x").unwrap());
    }

    #[test]
    fn a_process_that_waits_for_the_other_end_of_a_fifo_goes_on_when_it_is_removed() {
        let scratch = Scratch::new();
        let mut fifos = FifoSet::new(fifo_dir(scratch.path()), "id").unwrap();
        let paths = ["id-stdin", "id-stdout"].map(|name| fifos.make(name).unwrap());
        let directory = fifos.path.clone();
        fifos.set_keep(true);
        drop(fifos);
        let (started, threads) = mpsc::channel();
        let waiting = paths.map(|path| {
            let started = started.clone();
            thread::spawn(move || {
                started.send(gettid()).unwrap();
                let reads = path.ends_with("stdin");
                fs::OpenOptions::new().read(reads).write(!reads).open(path)
            })
        });
        let open = libc::SYS_openat.to_string();
        for thread in threads.iter().take(2) {
            let call = format!("/proc/self/task/{}/syscall", thread.as_raw_nonzero());
            while fs::read_to_string(&call).unwrap().split(' ').next() != Some(&open) {
                thread::yield_now();
            }
        }
        remove(&directory);
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
        assert!(!directory.exists());
    }

    #[test]
    fn a_path_that_is_too_long_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let mut fifos = FifoSet::new(fifo_dir(scratch.path()), "x").unwrap();
        assert!(fifos.make("kept").is_ok());
        fifos.path = fifos.path.join("y".repeat(MAX_PATH));
        let error = fifos.make("refused").unwrap_err();
        assert!(error.message().starts_with("state_dir: "), "{error}");
        fifos.path = fifos.path.parent().unwrap().into();
        drop(fifos);
        assert_eq!(fs::read_dir(scratch.path().join("fifo")).unwrap().count(), 0);
    }
}
