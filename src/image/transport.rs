//! The HTTP client's sockets and name lookups. The limits of the pull bound every wait on them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
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

use super::url;
use crate::call::Limits;
use crate::sys;

/// How long the lookup of a host's name may take, and how long connecting to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may transfer nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a thread that waits for a name lookup or for a socket checks whether its pull has ended.
const TICK: Duration = Duration::from_millis(50);

/// An HTTP client whose waits are bounded by `limits`. It follows no redirect, ignores the proxy
/// settings of the environment, and returns an answer of any status as an answer.
pub(super) fn agent(limits: &Limits) -> Agent {
    let config = Config::builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("ctrd/", env!("CARGO_PKG_VERSION")))
        // Digests are of the bytes as the registry stores them.
        .accept_encoding("identity")
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build();
    let tcp = TcpConnector { limits: limits.clone() };
    let resolver = CachingResolver { limits: limits.clone(), cache: Mutex::default() };
    Agent::with_parts(config, ().chain(tcp).chain(RustlsConnector::default()), resolver)
}

/// Looks up the addresses of hosts, each host once.
#[derive(Debug)]
struct CachingResolver {
    limits: Limits,
    cache: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        let name = format!("{host}:{}", url::port(uri));
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let addresses = match cached {
            Some(addresses) => addresses,
            None => {
                let addresses = self.look_up(&name)?;
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                cache.insert(name, addresses.clone());
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

impl CachingResolver {
    /// Looks up a name on a thread of its own, because nothing can interrupt the C library's lookup.
    /// If the pull ends first, the thread ends when the lookup does. An address needs no lookup.
    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let (sender, receiver) = bounded(1);
        let owned = name.to_owned();
        sys::with_signals_blocked(|| {
            std::thread::Builder::new().name("ctrd-resolve".into()).spawn(move || {
                // There is no receiver if the pull has ended.
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

/// Makes TCP connections.
#[derive(Debug)]
struct TcpConnector {
    limits: Limits,
}

impl Connector<()> for TcpConnector {
    type Out = TcpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<TcpTransport>, ureq::Error> {
        let end = Instant::now() + CONNECT_TIMEOUT;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut left = u32::try_from(details.addrs.len()).unwrap_or(u32::MAX);
        for address in &details.addrs {
            // The remaining time is divided among the remaining addresses.
            let share = end.saturating_duration_since(Instant::now()) / left.max(1);
            match self.try_address(address, share) {
                Ok(stream) => {
                    let buffers = LazyBuffers::new(
                        details.config.input_buffer_size(),
                        details.config.output_buffer_size(),
                    );
                    let limits = self.limits.clone();
                    return Ok(Some(TcpTransport { stream, buffers, limits }));
                }
                Err(e) => failure = e,
            }
            left -= 1;
        }
        Err(failure.into())
    }
}

impl TcpConnector {
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

/// A TCP connection. Its socket does not block: [`wait`] waits for it.
#[derive(Debug)]
struct TcpTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    limits: Limits,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(e) => wait_to_retry(e, &self.limits, &self.stream, PollFlags::OUT)?,
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
                Err(e) => wait_to_retry(e, &self.limits, &self.stream, PollFlags::IN)?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // No request is under way, so whatever can be read, also an end of file, makes it unusable.
        matches!(self.stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Called after a failed read or write: waits until it can be repeated, or returns its error.
fn wait_to_retry(
    error: io::Error,
    limits: &Limits,
    stream: &TcpStream,
    events: PollFlags,
) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => wait(limits, stream, events, STALL_TIMEOUT),
        _ => Err(error),
    }
}

/// Waits until the socket is ready. Fails after `timeout`, or when the limits end the wait.
fn wait(
    limits: &Limits,
    stream: &TcpStream,
    events: PollFlags,
    timeout: Duration,
) -> io::Result<()> {
    let bounded = limits.at_most(timeout);
    loop {
        limits.check().map_err(io::Error::other)?;
        let left = bounded.remaining().unwrap_or(timeout);
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the connection transferred nothing for {timeout:?}"),
            ));
        }
        // A cancel handle has no descriptor to poll.
        let left = limits.cancel.as_ref().map_or(left, |_| left.min(TICK));
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(stream, events)];
        let ready = poll(&mut fds, Some(&left)).map(|_| !fds[0].revents().is_empty());
        match ready {
            Ok(true) => return Ok(()),
            Ok(false) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
