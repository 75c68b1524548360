//! As much of HTTP/2 as a proxy needs: frames, and the headers of requests (RFC 9113, RFC 7541).

use std::io::{self, Read, Write};

/// The length of the bytes with which a client starts a connection.
pub const PREFACE: usize = 24;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const HEAD: usize = 9;
/// The largest payload of a frame, unless the other side allows more.
const MAX_PAYLOAD: usize = 16 * 1024;

/// A frame. A `HEADERS` frame has the whole header block, without padding and priority.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads the next frame. `None` if the connection has ended.
    pub fn read(from: &mut impl Read) -> Option<Frame> {
        let mut frame = Frame::read_one(from)?;
        if frame.kind == HEADERS {
            if frame.flags & PADDED != 0 {
                let padding = usize::from(frame.payload.remove(0));
                frame.payload.truncate(frame.payload.len() - padding);
            }
            if frame.flags & PRIORITY != 0 {
                frame.payload.drain(..5);
            }
            while frame.flags & END_HEADERS == 0 {
                let more = Frame::read_one(from)?;
                assert_eq!(more.kind, CONTINUATION, "a header block that goes on");
                frame.flags |= more.flags & END_HEADERS;
                frame.payload.extend(more.payload);
            }
            frame.flags &= !(PADDED | PRIORITY);
        }
        Some(frame)
    }

    fn read_one(from: &mut impl Read) -> Option<Frame> {
        let mut head = [0; HEAD];
        from.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
    }

    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + self.payload.len());
        let mut put = |kind, flags, payload: &[u8]| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            bytes.extend_from_slice(&length[1..]);
            bytes.extend_from_slice(&[kind, flags]);
            bytes.extend_from_slice(&self.stream.to_be_bytes());
            bytes.extend_from_slice(payload);
        };
        match self.payload.split_at_checked(MAX_PAYLOAD) {
            Some((first, rest)) if self.kind == HEADERS && !rest.is_empty() => {
                put(HEADERS, self.flags & !END_HEADERS, first);
                let mut rest = rest.chunks(MAX_PAYLOAD).peekable();
                while let Some(piece) = rest.next() {
                    put(CONTINUATION, if rest.peek().is_some() { 0 } else { END_HEADERS }, piece);
                }
            }
            _ => put(self.kind, self.flags, &self.payload),
        }
        to.write_all(&bytes)
    }

    /// Whether it is the last frame of a request.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The whole answer of a failed call.
    pub fn failure(stream: u32, code: i32, message: &str) -> Frame {
        let payload = literals(&[
            (b":status".into(), b"200".into()),
            (b"content-type".into(), b"application/grpc".into()),
            (b"grpc-status".into(), code.to_string().into()),
            (b"grpc-message".into(), message.into()),
        ]);
        Frame { kind: HEADERS, flags: END_HEADERS | END_STREAM, stream, payload }
    }

    /// A frame that returns the flow-control window that this frame has used. `None` if it has used
    /// none.
    pub fn refund(&self) -> Option<Frame> {
        let taken = u32::try_from(self.payload.len()).unwrap();
        (self.kind == DATA && taken > 0).then(|| Frame {
            kind: WINDOW_UPDATE,
            flags: 0,
            stream: 0,
            payload: taken.to_be_bytes().into(),
        })
    }
}

type Header = (Vec<u8>, Vec<u8>);

/// Reads the headers of one client's requests.
pub struct Requests(loona_hpack::Decoder<'static>);

impl Requests {
    pub fn new() -> Requests {
        Requests(loona_hpack::Decoder::new())
    }

    /// Reads a request's headers and writes them again, without references to earlier headers, so
    /// the server need not have seen those. Returns the call as `service/method`.
    pub fn read(&mut self, frame: &mut Frame) -> String {
        let headers = self.0.decode(&frame.payload).expect("a header block");
        frame.payload = literals(&headers);
        let path = headers.into_iter().find(|(name, _)| name == b":path").expect("a path").1;
        let path = String::from_utf8(path).expect("a path in UTF-8");
        path.rsplit('.').next().unwrap_or(&path).to_owned()
    }
}

/// A header block that neither refers to the table of headers nor adds to it.
fn literals(headers: &[Header]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            // A length in seven bits. If it does not fit, more groups of seven bits follow.
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend_from_slice(text);
        }
    }
    block
}
