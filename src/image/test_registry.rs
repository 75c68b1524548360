//! An HTTP server that stands in for a registry in the tests of its client.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A self-signed certificate for `localhost` and `127.0.0.1`, which no client trusts, and its key.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUYair/8JFl9HPY52DoVv6UCk+ZSowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTA5MDQ0MVoYDzIxMjYxMTA1
MDkwNDQxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASmd0ne5t+6binMPrEUZjPWHLOu/hJ41Pd11rmXfbR6pkcdLenmZfD6
8AIjzS2OvduUgmN43LwHI1ENres6goono28wbTAdBgNVHQ4EFgQUZZNPJdxJI1L0
jfUXgru3LUQGs3swHwYDVR0jBBgwFoAUZZNPJdxJI1L0jfUXgru3LUQGs3swDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSAAwRQIgCEJzgvtYHCfqpMbGQjS1MUEk4WqaL9BVykQ0OqRS6u4CIQCB
hj6Q0Rd75CO5A4LbWzTPkYphUy0n5Ejdl5N7rIneuA==
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4AoG17MjMD/MdsRs
X/BC82iqjIJOJKQrfmHYuLQBjUmhRANCAASmd0ne5t+6binMPrEUZjPWHLOu/hJ4
1Pd11rmXfbR6pkcdLenmZfD68AIjzS2OvduUgmN43LwHI1ENres6goon
-----END PRIVATE KEY-----
";

/// A request that the server received. Header names are in lower case.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer of the server.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// The body is followed by spaces that never end.
    pub(super) endless: bool,
    /// Nothing is sent, and the connection stays open.
    pub(super) silent: bool,
}

pub(super) fn reply(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

impl Reply {
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: &[u8]) -> Reply {
        self.body = body.to_vec();
        self
    }
}

/// The server. It answers one request on each connection, and ends when it is dropped.
pub(super) struct TestRegistry {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Request>>,
    /// How many bytes of endless bodies were sent.
    bytes_sent: AtomicU64,
    ended: AtomicBool,
}

impl TestRegistry {
    /// Starts a server that answers each request with what `answer` returns.
    pub(super) fn start(
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> TestRegistry {
        TestRegistry::start_with(move |stream, state| serve(stream, &answer, state))
    }

    /// The same over TLS, with a certificate that no client trusts.
    pub(super) fn start_tls(
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> TestRegistry {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        TestRegistry::start_with(move |stream, state| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            serve(StreamOwned::new(connection, stream), &answer, state)
        })
    }

    fn start_with(
        serve: impl Fn(TcpStream, &State) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> TestRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let (serve, shared) = (&serve, &shared);
                    // The client may close the connection at any time.
                    scope.spawn(move || drop(serve(stream.unwrap(), shared)));
                }
            });
        });
        TestRegistry { address, state, thread: Some(thread) }
    }

    /// The requests so far, in the order in which they arrived.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many bytes of endless bodies were sent so far.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.state.bytes_sent.load(Ordering::SeqCst)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads one request and answers it.
fn serve(
    stream: impl Read + Write,
    answer: &impl Fn(&Request) -> Reply,
    state: &State,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: HashMap::new(),
    };
    while let Some((name, value)) = line()?.split_once(": ") {
        request.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut stream = reader.into_inner();
    state.requests.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    if reply.silent {
        // Blocks until the client closes the connection.
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Text\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.endless && !reply.headers.iter().any(|(name, _)| *name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body)?;
        while reply.endless && !state.ended.load(Ordering::SeqCst) {
            stream.write_all(&[b' '; 1 << 16])?;
            state.bytes_sent.fetch_add(1 << 16, Ordering::SeqCst);
        }
    }
    stream.flush()
}
