//! The socket on which containerd listens.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// The longest path in a socket's address (`sun_path`, without its NUL).
const MAX_SOCKET_PATH: usize = 107;

/// How long a socket with a full queue is tried.
const BUSY_SOCKET: Duration = Duration::from_secs(1);

/// The path in an address.
pub(super) fn socket_path(address: &str) -> Result<PathBuf> {
    let invalid = |why: &str| Error::invalid("address", format!("{address:?} {why}"));
    let path = match address.strip_prefix("unix:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => address,
    };
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(invalid("is not an absolute path, or unix: and one"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(invalid("holds a NUL"));
    }
    if path.as_os_str().as_bytes().contains(&b',') {
        return Err(invalid("holds a comma, at which gRPC divides addresses"));
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(invalid("is longer than a socket's address can be"));
    }
    Ok(path.to_owned())
}

/// Connects once, to get the error of the operating system: gRPC would only try again. Says whether
/// the process that listens is known to be in our pid namespace.
pub(super) fn try_socket(path: &Path, limits: &Limits) -> Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path.display(), e))?;
    if !metadata.file_type().is_socket() {
        return Err(Error::invalid("address", format!("{} is not a socket", path.display())));
    }
    let address = SocketAddrUnix::new(path).map_err(|e| Error::io(path.display(), e))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| Error::io("socket", e))?;
    let limits = limits.at_most(BUSY_SOCKET);
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(shares_processes(&socket)),
            // A process listens if the queue is full. The first call shows whether it answers.
            Err(Errno::AGAIN) if limits.check().is_err() => return Ok(false),
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(10)),
            Err(Errno::CONNREFUSED) => {
                return Err(Error::io(path.display(), Errno::CONNREFUSED)
                    .context("nobody listens")
                    .with_kind(ErrorKind::Unavailable)
                    .with_retryable(true));
            }
            Err(e) => return Err(Error::io(path.display(), e)),
        }
    }
}

/// Whether the process at the other end of a socket is in our own pid namespace.
fn shares_processes(socket: &OwnedFd) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    // If systemd has bound the socket, it is systemd, which has the same namespace.
    sys::peer(socket.as_fd())
        .and_then(|peer| namespace(&peer.to_string()))
        .is_some_and(|theirs| namespace("self") == Some(theirs))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use rustix::net::{accept, bind, listen};

    use super::*;
    use crate::call::Call;
    use crate::client::Client;
    use crate::client_config::ClientConfig;

    #[test]
    fn a_socket_whose_queue_is_full_is_tried_again() {
        let path = std::env::temp_dir().join(format!("ctrd-full-{}", std::process::id()));
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        // A process listens, and nothing else is known of it.
        assert!(!try_socket(&path, &Limits::within(Duration::ZERO)).unwrap());
        // The attempts take time of the call.
        let address = path.display().to_string();
        let config = ClientConfig::new().address(address);
        let began = Instant::now();
        let error = Client::open(&config, &Call::new().timeout(BUSY_SOCKET)).unwrap_err();
        assert!(began.elapsed() < BUSY_SOCKET * 2, "{:?}: {error}", began.elapsed());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        std::thread::scope(|scope| {
            let trying = scope.spawn(|| try_socket(&path, &Limits::default()));
            accept(&socket).unwrap();
            assert!(trying.join().unwrap().unwrap());
        });
        std::fs::remove_file(path).unwrap();
    }
}
