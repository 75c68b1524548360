//! Cleans up shims, containers, sockets and mounts after a containerd that could not do it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::directory::{Directory, remove_if_exists};
use super::process::{KILL_TIMEOUT, Process, SHIM, SearchPath, ended_within, is_program};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::sys;

/// How long a shim's program may take to delete a container whose shim is dead (containerd gives it
/// 5 s).
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running process, by a descriptor: another process may get its pid.
struct Running {
    pidfd: OwnedFd,
    arguments: Vec<OsString>,
    executable: Option<PathBuf>,
}

/// The processes whose command line `wanted` accepts. A process that exits meanwhile is left out.
fn processes(wanted: impl Fn(&[OsString]) -> bool) -> Result<Vec<Running>> {
    let arguments = |pid: Pid| -> Option<Vec<OsString>> {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        Some(line.split(|byte| *byte == 0).map(|a| OsString::from_vec(a.to_vec())).collect())
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("/proc", e))? {
        let pid = entry
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse().ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        if !arguments(pid).is_some_and(|arguments| wanted(&arguments)) {
            continue;
        }
        // Checked again with the descriptor, because the pid may have changed to another process
        // before.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let executable = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok();
        if let Some(arguments) = arguments(pid).filter(|arguments| wanted(arguments)) {
            found.push(Running { pidfd, arguments, executable });
        }
    }
    Ok(found)
}

/// Whether `name value` is among the arguments.
fn has(arguments: &[OsString], name: &str, value: &Path) -> bool {
    arguments.windows(2).any(|pair| pair[0] == name && pair[1] == value.as_os_str())
}

fn kill(processes: &[Running]) -> Result<()> {
    for process in processes {
        match pidfd_send_signal(&process.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(Error::io("pidfd_send_signal", e)),
        }
    }
    let until = Instant::now() + KILL_TIMEOUT;
    for process in processes {
        if !ended_within(&process.pidfd, Some(until.saturating_duration_since(Instant::now()))) {
            return Err(Error::new(ErrorKind::Timeout, "a killed process does not end"));
        }
    }
    Ok(())
}

/// Kills the containerd of an earlier daemon. Its shims and containers run on.
pub(super) fn kill_daemons(directory: &Directory) -> Result<()> {
    let config = directory.config();
    processes(|arguments| has(arguments, "--config", &config))
        .and_then(|daemons| kill(&daemons))
        .step("end the predecessor's containerd")
}

/// Kills the containers that are left, and unmounts everything in the directory. containerd must
/// have ended.
pub(super) fn remove(directory: &Directory, path: &SearchPath, limits: &Limits) -> Result<()> {
    let shims = kill_shims(directory, limits).step("end the shims")?;
    let bundles = directory.bundles();
    for namespace in names(&bundles) {
        for id in names(&bundles.join(&namespace)) {
            limits.check()?;
            let bundle = bundles.join(&namespace).join(&id);
            let shim = shims
                .get(&(namespace.clone(), id.clone()))
                .filter(|shim| is_program(shim))
                .cloned()
                .or_else(|| path.find(Path::new(SHIM)));
            if let Some(shim) = shim {
                delete(directory, path, &shim, &namespace, &id, limits);
            }
            remove_socket(&bundle);
        }
    }
    unmount_all(directory.path()).step("unmount")
}

/// Removes the bundles that a killed containerd was about to remove. containerd renames a bundle to
/// `.<id>` before it removes its files, and never looks at such a directory again. While it has
/// files, no other bundle of that id can be removed, and so none can be created. containerd must have
/// ended.
pub(super) fn remove_renamed_bundles(directory: &Directory) {
    let bundles = directory.bundles();
    for namespace in names(&bundles) {
        let namespace = bundles.join(namespace);
        // The id of a container begins with a letter or a digit.
        for name in names(&namespace).iter().filter(|name| name.as_bytes().starts_with(b".")) {
            if let Err(error) = remove_if_exists(&namespace.join(name)) {
                log::warn!("{error}");
            }
        }
    }
}

/// Kills the shims of this containerd. Returns the program of each, by its namespace and id.
fn kill_shims(
    directory: &Directory,
    limits: &Limits,
) -> Result<HashMap<(OsString, OsString), PathBuf>> {
    let socket = directory.socket();
    let mut programs = HashMap::new();
    // Repeat until none is left: a shim that was being started may appear late.
    loop {
        limits.check()?;
        let shims = processes(|arguments| {
            has(arguments, "-address", &socket) && arguments.iter().any(|a| a == "-namespace")
        })?;
        if shims.is_empty() {
            return Ok(programs);
        }
        kill(&shims)?;
        for shim in shims {
            let value = |name: &str| {
                shim.arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone())
            };
            if let (Some(namespace), Some(id), Some(program)) =
                (value("-namespace"), value("-id"), shim.executable)
            {
                programs.insert((namespace, id), program);
            }
        }
    }
}

/// Runs a shim's program to clean up after a container whose shim is dead, as containerd does. The
/// program kills the processes, and removes runc's state, the cgroup and the mount.
fn delete(
    directory: &Directory,
    path: &SearchPath,
    shim: &Path,
    namespace: &OsString,
    id: &OsString,
    limits: &Limits,
) {
    let bundle = directory.bundles().join(namespace).join(id);
    let mut command = Command::new(shim);
    command
        .arg("-namespace")
        .arg(namespace)
        .arg("-address")
        .arg(directory.socket())
        .arg("-publish-binary")
        .arg("/bin/true")
        .arg("-id")
        .arg(id)
        .arg("-bundle")
        .arg(&bundle)
        .arg("delete")
        .env("PATH", path.joined())
        .current_dir(&bundle)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sys::dies_with_thread(&mut command);
    let deleted = Process::spawn(command).and_then(|process| {
        if !process.wait_within(&limits.at_most(DELETE_TIMEOUT)) {
            process.signal(Signal::KILL)?;
            process.wait(KILL_TIMEOUT);
        }
        Ok(process.how_it_ended().to_owned())
    });
    log::debug!("{} delete {}: {deleted:?}", shim.display(), bundle.display());
}

/// Removes the socket of a dead shim. It is in `/run/containerd/s`, outside of the directory. The
/// bundle has its path: in `address` before 2.0, and in `bootstrap.json` since then.
fn remove_socket(bundle: &Path) {
    let address = fs::read_to_string(bundle.join("address")).ok().or_else(|| {
        let bootstrap = fs::read(bundle.join("bootstrap.json")).ok()?;
        let bootstrap: serde_json::Value = serde_json::from_slice(&bootstrap).ok()?;
        Some(bootstrap.get("address")?.as_str()?.to_owned())
    });
    let socket = address.as_deref().and_then(|address| address.trim().strip_prefix("unix://"));
    if let Some(Err(error)) = socket.map(|socket| remove_if_exists(Path::new(socket))) {
        log::warn!("{error}");
    }
}

/// The names in a directory. None if it does not exist.
fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect()
}

/// Unmounts everything below a directory, the last mount first. Then the removal of the directory
/// cannot reach files of a mount.
fn unmount_all(directory: &Path) -> Result<()> {
    for point in mounts_below(directory)?.iter().rev() {
        let gone = unmount(point, UnmountFlags::NOFOLLOW)
            // A process outside of the directory uses it.
            .or_else(|_| unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH));
        if let Err(e) = gone {
            return Err(Error::io(point.display(), e));
        }
    }
    match mounts_below(directory)?.first() {
        None => Ok(()),
        Some(point) => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("{} is mounted again", point.display()),
        )),
    }
}

/// The mount points below a directory, in the order in which they were mounted.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table = fs::read(TABLE).map_err(|e| Error::io(TABLE, e))?;
    Ok(table
        .split(|byte| *byte == b'\n')
        // The mount point is the fifth field (proc_pid_mountinfo(5)).
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .filter(|point| point != directory && point.starts_with(directory))
        .collect())
}

/// Decodes a path from the table of mounts, where a space is a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_paths_of_the_mount_table() {
        assert_eq!(unescape(br"/a\040b\134"), br"/a b\");
        assert_eq!(unescape(br"/a\04"), br"/a\04");
        assert_eq!(unescape(br"/a\9zz"), br"/a\9zz");
    }

    #[test]
    fn finds_a_process_by_its_arguments_only() {
        let arguments = ["x", "-address", "/a/s"].map(OsString::from);
        assert!(has(&arguments, "-address", Path::new("/a/s")));
        assert!(!has(&arguments, "-address", Path::new("/a/s2")));
        assert!(!has(&arguments, "x", Path::new("/a/s")));
        let me = std::env::args_os().next().unwrap();
        let found = processes(|arguments| arguments.first() == Some(&me)).unwrap();
        assert!(!found.is_empty());
        assert!(found[0].executable.as_ref().unwrap().is_absolute());
    }
}
