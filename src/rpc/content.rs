//! `containerd.services.content.v1.Content`.

use std::collections::HashMap;

use protobuf::well_known_types::empty::Empty;
use protobuf::{EnumOrUnknown, MessageField};

use super::any::{labels, mask};
use super::channel::Ctx;
use super::method::{call, methods};
use super::stream::{Duplex, duplex, receive};
use super::wire::content::{
    AbortRequest, Info as WireInfo, InfoRequest, InfoResponse, ReadContentRequest,
    ReadContentResponse, UpdateRequest, UpdateResponse, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use super::wire::types::Descriptor as WireDescriptor;
use crate::call::Limits;
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.content.v1.Content":
    INFO = read "Info" (InfoRequest) -> InfoResponse;
    UPDATE = change "Update" (UpdateRequest) -> UpdateResponse;
    READ = stream "Read" (ReadContentRequest) -> ReadContentResponse;
    WRITE = duplex "Write" (WriteContentRequest) -> WriteContentResponse;
    ABORT = change "Abort" (AbortRequest) -> Empty;
}

/// A reference to a piece of content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) annotations: HashMap<String, String>,
}

impl Descriptor {
    pub(super) fn into_wire(self) -> WireDescriptor {
        WireDescriptor {
            media_type: self.media_type,
            digest: self.digest,
            size: self.size.try_into().unwrap_or(i64::MAX),
            annotations: self.annotations,
            ..Default::default()
        }
    }

    pub(super) fn from_wire(descriptor: WireDescriptor) -> Descriptor {
        Descriptor {
            media_type: descriptor.media_type,
            digest: descriptor.digest,
            size: descriptor.size.try_into().unwrap_or(0),
            annotations: descriptor.annotations,
        }
    }
}

/// The labels of a blob. Fails with [`ErrorKind::NotFound`] if the store does not have it.
pub(crate) fn blob_labels(ctx: &Ctx, digest: &str) -> Result<HashMap<String, String>> {
    let request = InfoRequest { digest: digest.into(), ..Default::default() };
    let info = call(ctx, &INFO, &request)?
        .info
        .into_option()
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no blob"))?;
    Ok(info.labels)
}

/// Sets these labels of a blob, and leaves its other labels.
pub(crate) fn set_labels(ctx: &Ctx, digest: &str, with: &[(String, String)]) -> Result<()> {
    let paths: Vec<String> = with.iter().map(|(key, _)| format!("labels.{key}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let request = UpdateRequest {
        info: MessageField::some(WireInfo {
            digest: digest.into(),
            labels: labels(with),
            ..Default::default()
        }),
        update_mask: MessageField::some(mask(&paths)),
        ..Default::default()
    };
    call(ctx, &UPDATE, &request).map(drop)
}

/// Reads a whole blob of at most `limit` bytes into memory.
pub(crate) fn read(ctx: &Ctx, digest: &str, limit: u64) -> Result<Vec<u8>> {
    let request = ReadContentRequest { digest: digest.into(), ..Default::default() };
    let mut stream = receive(ctx, &READ, &request)?;
    let mut data = Vec::new();
    while let Some(part) = stream.next(&ctx.limits).missing(ErrorReason::NoContent)? {
        if data.len() as u64 + part.data.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("the blob {digest} has more than {limit} bytes"),
            ));
        }
        data.extend_from_slice(&part.data);
    }
    Ok(data)
}

/// Drops a blob that is half written.
pub(crate) fn abort(ctx: &Ctx, reference: &str) -> Result<()> {
    let request = AbortRequest { ref_: reference.into(), ..Default::default() };
    call(ctx, &ABORT, &request).map(drop)
}

/// A blob that is being written. Another writer can resume it by its name.
pub(crate) struct Writer {
    stream: Duplex<WriteContentRequest, WriteContentResponse>,
    reference: String,
    total: u64,
    expected: String,
    offset: u64,
    /// Whether the answer to the last piece is outstanding.
    pending: bool,
}

/// The store's answer to the opening of a write.
pub(crate) enum Opened {
    /// The blob can be written.
    Writer(Box<Writer>),
    /// The store has the blob already.
    Exists,
    /// Another client is writing under this name.
    Locked,
}

impl Writer {
    /// Opens a blob for writing. Bytes that were written before under the same name are kept: the
    /// next byte belongs at [`Writer::offset`].
    ///
    /// `limits` bound only the opening; those of `ctx` bound the whole write.
    pub(crate) fn open(
        ctx: &Ctx,
        limits: &Limits,
        reference: &str,
        total: u64,
        expected: &str,
    ) -> Result<Opened> {
        let mut writer = Writer {
            stream: duplex(ctx, &WRITE)?,
            reference: reference.into(),
            total,
            expected: expected.into(),
            offset: 0,
            pending: false,
        };
        let request = writer.request(WriteAction::STAT);
        match writer.exchange(limits, request) {
            Ok(()) => Ok(Opened::Writer(Box::new(writer))),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Opened::Exists),
            Err(e) if e.reason() == Some(ErrorReason::ContentLocked) => Ok(Opened::Locked),
            Err(e) => Err(e),
        }
    }

    /// How many bytes are written.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends a piece of at most 8 MiB. It returns when the piece is sent. The next call waits
    /// until the server has written it, so that sending and writing overlap.
    pub(crate) fn write(&mut self, limits: &Limits, data: Vec<u8>) -> Result<()> {
        self.settle(limits)?;
        let length = data.len() as u64;
        let mut request = self.request(WriteAction::WRITE);
        request.data = data;
        self.stream.send(limits, request)?;
        self.offset += length;
        self.pending = true;
        Ok(())
    }

    /// Starts again: drops the bytes that are written.
    pub(crate) fn truncate(&mut self, limits: &Limits) -> Result<()> {
        self.settle(limits)?;
        self.offset = 0;
        let request = self.request(WriteAction::WRITE);
        self.exchange(limits, request)
    }

    /// Commits the blob. The server compares it with the digest and size given at the start.
    pub(crate) fn commit(mut self, limits: &Limits, with: &[(String, String)]) -> Result<()> {
        self.settle(limits)?;
        let mut request = self.request(WriteAction::COMMIT);
        request.labels = labels(with);
        let committed = self.exchange(limits, request).and_then(|()| {
            // It fails if the server has ended the stream by itself, which is as good.
            let _ = self.stream.close(limits);
            // The answer comes twice, and then the status.
            while self.stream.next(limits)?.is_some() {}
            Ok(())
        });
        match committed {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn request(&self, action: WriteAction) -> WriteContentRequest {
        WriteContentRequest {
            action: EnumOrUnknown::new(action),
            ref_: self.reference.clone(),
            total: self.total.try_into().unwrap_or(i64::MAX),
            expected: self.expected.clone(),
            offset: self.offset.try_into().unwrap_or(i64::MAX),
            ..Default::default()
        }
    }

    fn exchange(&mut self, limits: &Limits, request: WriteContentRequest) -> Result<()> {
        self.stream.send(limits, request)?;
        self.answer(limits)
    }

    fn settle(&mut self, limits: &Limits) -> Result<()> {
        if std::mem::take(&mut self.pending) { self.answer(limits) } else { Ok(()) }
    }

    /// Takes the server's next answer, with the number of bytes that are written.
    fn answer(&mut self, limits: &Limits) -> Result<()> {
        let answer = self.stream.next(limits)?.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the server ended the write without an answer")
        })?;
        self.offset = answer.offset.try_into().unwrap_or(0);
        Ok(())
    }
}
