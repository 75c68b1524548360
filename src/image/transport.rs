//! The sockets below the registry client: every wait on them ends where the pull ends.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};

use crate::call::Limits;
use crate::sys;

/// How long finding a host and connecting to it may take, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stand still.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a thread that waits for a name or for a socket looks whether its pull has ended.
const TICK: Duration = Duration::from_millis(50);

/// An HTTP client whose waits end with `limits`. It follows no redirect, takes no proxy from the
/// environment, and gives answers of every status.
pub(super) fn agent(limits: &Limits) -> Agent {
    let config = Config::builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("ctrd/", env!("CARGO_PKG_VERSION")))
        // What is fetched is known by the digest of its bytes as they are stored.
        .accept_encoding("identity")
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build();
    let connector = ().chain(Connect { limits: limits.clone() }).chain(RustlsConnector::default());
    Agent::with_parts(config, connector, Names { limits: limits.clone(), known: Mutex::default() })
}

/// Whether a host is this machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The port that an address means.
pub(super) fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 })
}

/// Finds the addresses of hosts, once for each.
#[derive(Debug)]
struct Names {
    limits: Limits,
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let name = format!("{host}:{}", uri.port_u16().unwrap_or(default));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let addresses = match known {
            Some(addresses) => addresses,
            None => {
                let addresses = self.look_up(&name)?;
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(name, addresses.clone());
                addresses
            }
        };
        let mut resolved = self.empty();
        for address in addresses {
            if resolved.try_push(address).is_err() {
                break;
            }
        }
        if resolved.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(resolved) }
    }
}

impl Names {
    /// The C library's lookup cannot be ended from outside, so it has a thread of its own, which
    /// an ended pull leaves to the lookup's own timeout. Addresses need no lookup.
    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let (sender, receiver) = bounded(1);
        let owned = name.to_owned();
        sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-resolve".into()).spawn(move || {
                // Nobody takes the answer where the pull has ended.
                let _ = sender.send(owned.to_socket_addrs().map(Iterator::collect));
            })
        })?;
        let end = Instant::now() + CONNECT_TIMEOUT;
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the lookup of the name failed"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.limits.check().map_err(io::Error::other)?;
                    if Instant::now() >= end {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("no answer to the lookup of {name} for {CONNECT_TIMEOUT:?}"),
                        ));
                    }
                }
            }
        }
    }
}

/// Makes connections.
#[derive(Debug)]
struct Connect {
    limits: Limits,
}

impl Connector<()> for Connect {
    type Out = Socket;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Socket>, ureq::Error> {
        let end = Instant::now() + CONNECT_TIMEOUT;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut left = u32::try_from(details.addrs.len()).unwrap_or(u32::MAX);
        for address in &details.addrs {
            // Each address has its share of what is left of the time.
            let share = end.saturating_duration_since(Instant::now()) / left.max(1);
            match self.try_address(address, share) {
                Ok(stream) => {
                    let buffers = LazyBuffers::new(
                        details.config.input_buffer_size(),
                        details.config.output_buffer_size(),
                    );
                    return Ok(Some(Socket { stream, buffers, limits: self.limits.clone() }));
                }
                Err(e) => failure = e,
            }
            left -= 1;
        }
        Err(failure.into())
    }
}

impl Connect {
    fn try_address(&self, address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
        match connect(&stream, address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                wait(&self.limits, &stream, PollFlags::OUT, timeout)?;
                sockopt::socket_error(&stream)??;
            }
            Err(e) => return Err(e.into()),
        }
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A connection. The socket does not block; what waits is [`wait`].
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    limits: Limits,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(e) => settle(e, &self.limits, &self.stream, PollFlags::OUT)?,
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(e) => settle(e, &self.limits, &self.stream, PollFlags::IN)?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Anything to read, were it the end, is not of a request that was made.
        matches!(self.stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// After a read or a write that failed: waits until it can be tried again, or gives the error.
fn settle(
    error: io::Error,
    limits: &Limits,
    stream: &TcpStream,
    for_: PollFlags,
) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => wait(limits, stream, for_, STALL_TIMEOUT),
        _ => Err(error),
    }
}

/// Waits until the socket is ready, `timeout` has passed, or the limits end the wait.
fn wait(limits: &Limits, stream: &TcpStream, for_: PollFlags, timeout: Duration) -> io::Result<()> {
    let patience = limits.at_most(timeout);
    loop {
        limits.check().map_err(io::Error::other)?;
        let left = patience.remaining().unwrap_or(timeout);
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the connection stood still for {timeout:?}"),
            ));
        }
        // A cancel handle has no descriptor to poll.
        let left = limits.cancel.as_ref().map_or(left, |_| left.min(TICK));
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(stream, for_)];
        let ready = poll(&mut fds, Some(&left)).map(|_| !fds[0].revents().is_empty());
        match ready {
            Ok(true) => return Ok(()),
            Ok(false) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn knows_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["docker.io", "localhost.example", "128.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
