//! A proxy between a client and a registry that damages what the registry sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Blobs of at least this size are damaged, in bytes.
pub const BIG: usize = 2 << 20;

/// How a [`FaultyProxy`] damages big blobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BlobFault {
    None,
    /// One byte is changed.
    Altered,
    /// Bytes are added, and the length is not announced.
    Longer,
    /// The second half is missing, and the length is not announced. The same every time.
    Shorter,
    /// The connection breaks in the middle, but only once.
    CutOnce,
    /// Only the first half is sent, and the connection stays open.
    Stall,
}

/// A proxy in front of a registry. It answers one request on each connection, and ends when this is
/// dropped.
pub struct FaultyProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FaultyProxy {
    pub fn start(upstream: &str, fault: BlobFault) -> FaultyProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, ended) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (upstream, log, over) = (upstream.to_owned(), requests.clone(), ended.clone());
        let cut = AtomicBool::new(false);
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let (upstream, log, cut) = (&upstream, &log, &cut);
                    // The client may close the connection at any time.
                    scope.spawn(move || drop(relay(stream.unwrap(), upstream, fault, cut, log)));
                }
            });
        });
        FaultyProxy { address, requests, ended, thread: Some(thread) }
    }

    /// The reference of the same image through the proxy.
    pub fn reference(&self, reference: &str) -> String {
        format!("{}/{}", self.address, reference.split_once('/').unwrap().1)
    }

    /// The requests so far: the first line of each, with its range if it has one.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn relay(
    mut client: TcpStream,
    upstream: &str,
    fault: BlobFault,
    cut: &AtomicBool,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(client.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let Some(first) = head.first() else { return Ok(()) };
    let range = head.iter().find(|line| line.to_lowercase().starts_with("range: "));
    log.lock().unwrap().push(format!("{first} {}", range.map_or("", String::as_str)));
    let is_head = first.starts_with("HEAD");

    let mut server = TcpStream::connect(upstream)?;
    let own = |line: &&String| {
        let line = line.to_lowercase();
        // Ranges are ignored, so that a shorter blob is not completed piece by piece.
        let whole = fault == BlobFault::Shorter && line.starts_with("range:");
        !(whole || line.starts_with("host:") || line.starts_with("connection:"))
    };
    let mut request: String = head.iter().filter(own).map(|line| format!("{line}\r\n")).collect();
    request.push_str(&format!("Host: {upstream}\r\nConnection: close\r\n\r\n"));
    server.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(split);
    let mut head = String::from_utf8(answer).unwrap();
    if is_head || body.len() < BIG {
        client.write_all(head.as_bytes())?;
        return client.write_all(&body);
    }
    let middle = body.len() / 2;
    let without_length = |head: &str| -> String {
        let lines = head.split_inclusive("\r\n");
        lines.filter(|line| !line.to_lowercase().starts_with("content-length")).collect()
    };
    match fault {
        BlobFault::Altered => {
            let mut body = body;
            body[middle] ^= 1;
            client.write_all(head.as_bytes())?;
            client.write_all(&body)
        }
        BlobFault::Longer | BlobFault::Shorter => {
            head = without_length(&head);
            client.write_all(head.as_bytes())?;
            if fault == BlobFault::Shorter {
                return client.write_all(&body[..middle]);
            }
            client.write_all(&body)?;
            client.write_all(b"more")
        }
        BlobFault::CutOnce if !cut.swap(true, Ordering::SeqCst) => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..middle])
        }
        BlobFault::Stall => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..middle])?;
            // Blocks until the client closes the connection.
            let _ = client.read(&mut [0]);
            Ok(())
        }
        BlobFault::None | BlobFault::CutOnce => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body)
        }
    }
}
