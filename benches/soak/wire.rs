//! gRPC and protobuf by hand: only as much as our own server and publisher need.

use std::io::Read;

use grpcio::{GrpcSlice, Marshaller, MessageReader, Method, MethodType};

/// A method whose messages are not decoded.
pub type Raw = Method<Vec<u8>, Vec<u8>>;

pub const fn unary(name: &'static str) -> Raw {
    Method {
        ty: MethodType::Unary,
        name,
        req_mar: Marshaller { ser: write, de: read },
        resp_mar: Marshaller { ser: write, de: read },
    }
}

fn write(message: &Vec<u8>, slice: &mut GrpcSlice) -> grpcio::Result<()> {
    *slice = GrpcSlice::from(message.as_slice());
    Ok(())
}

fn read(mut reader: MessageReader) -> grpcio::Result<Vec<u8>> {
    let mut message = Vec::new();
    reader.read_to_end(&mut message).map_err(|e| grpcio::Error::Codec(e.into()))?;
    Ok(message)
}

fn varint(mut value: u64, message: &mut Vec<u8>) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A field that is a number.
pub fn number(field: u32, value: u64) -> Vec<u8> {
    let mut message = Vec::new();
    varint(u64::from(field) << 3, &mut message);
    varint(value, &mut message);
    message
}

/// A field that is a text or bytes.
pub fn bytes(field: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut message = Vec::new();
    varint(u64::from(field) << 3 | 2, &mut message);
    varint(value.as_ref().len() as u64, &mut message);
    message.extend_from_slice(value.as_ref());
    message
}

/// A field that is a message of these fields.
pub fn message(field: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, fields.concat())
}

/// The text of a request's first field, as long as it is shorter than 128 bytes.
pub fn first_text(message: &[u8]) -> String {
    match message {
        [0x0a, length @ 0..0x80, rest @ ..] if rest.len() >= usize::from(*length) => {
            String::from_utf8(rest[..usize::from(*length)].to_vec()).unwrap()
        }
        _ => String::new(),
    }
}
