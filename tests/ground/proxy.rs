//! A proxy before containerd's socket that writes down which calls pass it, and that breaks connections
//! when it is told to.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes bytes between its own socket and another one, and reads the calls off them.
pub struct Proxy {
    path: PathBuf,
    calls: Arc<Mutex<Vec<String>>>,
    passing: Arc<Mutex<Passing>>,
}

#[derive(Default)]
struct Passing {
    /// Whether whoever connects is turned away.
    closed: bool,
    connections: Vec<UnixStream>,
}

impl Proxy {
    /// Listens at `path` and connects to `upstream`, for as long as the process lives.
    pub fn start(upstream: &Path, path: &Path) -> Proxy {
        let listener = UnixListener::bind(path).expect("the proxy's socket");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let passing = Arc::new(Mutex::new(Passing::default()));
        let proxy = Proxy { path: path.to_owned(), calls: calls.clone(), passing: passing.clone() };
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&upstream)) else {
                    continue;
                };
                let calls = calls.clone();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                {
                    let mut passing = passing.lock().unwrap();
                    if passing.closed {
                        continue;
                    }
                    passing.connections.push(client.try_clone().unwrap());
                }
                thread::spawn(move || pass(from, to, Some(Requests::new(calls))));
                thread::spawn(move || pass(server, client, None));
            }
        });
        proxy
    }

    /// The address to give to a client.
    pub fn address(&self) -> String {
        self.path.display().to_string()
    }

    /// Breaks every connection, and lets nobody connect until [`Proxy::mend`].
    pub fn cut(&self) {
        let mut passing = self.passing.lock().unwrap();
        passing.closed = true;
        for connection in passing.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Lets who connects pass again.
    pub fn mend(&self) {
        self.passing.lock().unwrap().closed = false;
    }

    /// The calls since the last time this was asked, as `service/method`, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, mut requests: Option<Requests>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Some(requests) = &mut requests {
            requests.read(&buffer[..length]);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// What HTTP/2 starts a connection with (RFC 9113, section 3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Reads the paths of requests off what a client sends (RFC 9113, section 6; RFC 7541).
struct Requests {
    calls: Arc<Mutex<Vec<String>>>,
    pending: Vec<u8>,
    preface: usize,
    block: Vec<u8>,
    decoder: loona_hpack::Decoder<'static>,
}

impl Requests {
    fn new(calls: Arc<Mutex<Vec<String>>>) -> Requests {
        Requests {
            calls,
            pending: Vec::new(),
            preface: PREFACE,
            block: Vec::new(),
            decoder: loona_hpack::Decoder::new(),
        }
    }

    fn read(&mut self, data: &[u8]) {
        let skipped = self.preface.min(data.len());
        self.preface -= skipped;
        self.pending.extend_from_slice(&data[skipped..]);
        while self.pending.len() >= FRAME_HEADER {
            let head = &self.pending[..FRAME_HEADER];
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            if self.pending.len() < FRAME_HEADER + length {
                break;
            }
            let frame: Vec<u8> = self.pending.drain(..FRAME_HEADER + length).collect();
            self.frame(kind, flags, &frame[FRAME_HEADER..]);
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, mut payload: &[u8]) {
        match kind {
            HEADERS => {
                if flags & PADDED != 0 {
                    let padding = usize::from(payload[0]);
                    payload = &payload[1..payload.len() - padding];
                }
                if flags & PRIORITY != 0 {
                    payload = &payload[5..];
                }
                self.block = payload.to_vec();
            }
            CONTINUATION => self.block.extend_from_slice(payload),
            _ => return,
        }
        if flags & END_HEADERS == 0 {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let headers = self.decoder.decode(&block).expect("a header block");
        let path = headers.into_iter().find(|(name, _)| name == b":path");
        if let Some((_, path)) = path {
            let path = String::from_utf8(path).expect("a path");
            let call = path.rsplit('.').next().unwrap_or(&path).to_owned();
            self.calls.lock().unwrap().push(call);
        }
    }
}
