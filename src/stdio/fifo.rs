//! The FIFOs of one process, in a directory of their own.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Paths, Place};
use crate::error::{Error, Result};

/// The longest path that the kernel takes (`PATH_MAX`, without its NUL).
pub(super) const MAX_PATH: usize = 4095;

/// What stands between namespace, id, server and a random number in the name of a directory: no
/// identifier has it.
const SEPARATOR: &str = "+";

/// The directory and what was made in it. Dropped, it removes them, unless in a child of the
/// process that made them, or where they are to stand.
pub(super) struct Fifos {
    process: u32,
    standing: bool,
    path: PathBuf,
    /// Gone once everything in it is open.
    directory: Option<OwnedFd>,
    made: Vec<PathBuf>,
}

impl Fifos {
    /// Makes an empty directory, `<state_dir>/fifo/<namespace>+<id>+<server>+<random>`. It and those above it
    /// that are missing get mode 0700. `state_dir` and `fifo` must be this user's directories, not links
    /// to some, and nobody else may write there: who can put a FIFO in place of ours reads what
    /// the process says.
    pub(super) fn new(place: Place<'_>, id: &str) -> Result<Fifos> {
        let Place { state_dir, server, namespace } = place;
        let state_dir = plain(state_dir);
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
                    Ok(Fifos { process, standing: false, path, directory, made: Vec::new() })
                }
                Err(e) => {
                    let _ = std::fs::remove_dir(&path);
                    Err(e)
                }
            };
        }
    }

    /// The directory that these FIFOs are in, where they are of our making: what an earlier program has
    /// left standing.
    pub(super) fn reopen(state_dir: &Path, paths: &Paths) -> Result<Option<Fifos>> {
        let state_dir = plain(state_dir);
        let parent = state_dir.join("fifo");
        // The others of its paths are the host's.
        let made: Vec<PathBuf> = [&paths.stdin, &paths.stdout, &paths.stderr]
            .into_iter()
            .map(PathBuf::from)
            .filter(|made| made.ancestors().nth(2) == Some(&parent))
            .collect();
        let directory = made.first().and_then(|made| made.parent()).map(Path::to_owned);
        let Some(path) = directory else { return Ok(None) };
        let Some(name) = path.file_name() else { return Ok(None) };
        let top = open_own(&CWD, &state_dir, &state_dir)?;
        let fifo = open_own(&top, Path::new("fifo"), &parent)?;
        let directory = Some(open_own(&fifo, Path::new(name), &path)?);
        Ok(Some(Fifos { process: std::process::id(), standing: true, path, directory, made }))
    }

    /// The name of a FIFO of this directory, by its path.
    pub(super) fn name_of(&self, path: &str) -> Option<String> {
        let made = self.made.iter().find(|made| made.as_path() == Path::new(path))?;
        made.file_name()?.to_str().map(str::to_owned)
    }

    /// Lets them stand when this is dropped, or not.
    pub(super) fn stand(&mut self, standing: bool) {
        self.standing = standing;
    }

    /// Makes a FIFO, mode 0600, and gives its path.
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
        self.made.push(path);
        Ok(text)
    }

    /// Opens the reading end of a FIFO, whether or not somebody writes yet.
    pub(super) fn open_reader(&self, name: &str) -> Result<OwnedFd> {
        self.open(name, OFlags::RDONLY).map_err(|e| Error::io(self.path.join(name).display(), e))
    }

    /// Opens the writing end of a FIFO; `None` where nobody reads.
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
    pub(super) fn close(&mut self) {
        self.directory = None;
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        if std::process::id() != self.process || self.standing {
            return;
        }
        // Where somebody was faster, there is nothing left to do.
        for path in &self.made {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The directories of FIFOs that stand for the containers of a server's namespace, with the ids of
/// these.
pub(super) fn standing(place: Place<'_>) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(plain(place.state_dir).join("fifo"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let mut parts = name.to_str()?.split(SEPARATOR);
            let (namespace, id, server) = (parts.next()?, parts.next()?, parts.next()?);
            let is_its = namespace == place.namespace && server == place.server;
            is_its.then(|| (id.to_owned(), entry.path()))
        })
        .collect()
}

/// Removes such a directory. A shim that creates a process for a program that died may wait for the
/// other side of a FIFO, and would for ever.
pub(super) fn remove(directory: &Path) {
    for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let both_sides = openat(CWD, file.path(), flags, Mode::empty());
        let _ = std::fs::remove_file(file.path());
        drop(both_sides);
    }
    let _ = std::fs::remove_dir(directory);
}

/// Without a trailing slash, with which the last component would be followed.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Opens a directory that must be this user's own, and nobody else's to write. `path` is its name
/// for the error.
fn open_own(at: &impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<OwnedFd> {
    let refused = |why: String| Error::invalid("state_dir", format!("{} {why}", path.display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(at, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(refused("is not a directory; a link to one does not do".into()));
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
    use crate::stdio::tests::{Scratch, place};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn is_for_its_owner_alone_and_goes_when_dropped() {
        let scratch = Scratch::new();
        let state = scratch.path().join("a/b/");
        let mut fifos = Fifos::new(place(&state), "id").unwrap();
        let path = PathBuf::from(fifos.make("id-stdout").unwrap());
        assert!(path.starts_with(scratch.path().join("a/b/fifo")));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(mode(&path), 0o600);
        let mut directory = path.as_path();
        while directory != scratch.path().join("a") {
            directory = directory.parent().unwrap();
            assert_eq!(mode(directory), 0o700, "{}", directory.display());
        }
        let other = Fifos::new(place(&state), "id").unwrap();
        assert_ne!(fifos.path, other.path);
        drop((fifos, other));
        assert_eq!(fs::read_dir(state.join("fifo")).unwrap().count(), 0);
    }

    #[test]
    fn refuses_directories_that_others_could_change() {
        let scratch = Scratch::new();
        let good = scratch.path().join("good");
        fs::create_dir_all(good.join("fifo")).unwrap();
        let refused = |state: &Path| {
            let error = Fifos::new(place(state), "x").err().expect("it must be refused");
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
        drop(Fifos::new(place(&good), "x").unwrap());
    }

    #[test]
    fn who_waits_for_the_other_side_goes_on_when_it_is_removed() {
        let scratch = Scratch::new();
        let mut fifos = Fifos::new(place(scratch.path()), "id").unwrap();
        let paths = ["id-stdin", "id-stdout"].map(|name| fifos.make(name).unwrap());
        let directory = fifos.path.clone();
        fifos.stand(true);
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
    fn a_path_that_is_too_long_leaves_nothing() {
        let scratch = Scratch::new();
        let mut fifos = Fifos::new(place(scratch.path()), "x").unwrap();
        assert!(fifos.make("kept").is_ok());
        fifos.path = fifos.path.join("y".repeat(MAX_PATH));
        let error = fifos.make("refused").unwrap_err();
        assert!(error.message().starts_with("state_dir: "), "{error}");
        fifos.path = fifos.path.parent().unwrap().into();
        drop(fifos);
        assert_eq!(fs::read_dir(scratch.path().join("fifo")).unwrap().count(), 0);
    }
}
