//! Calls in which one side or both send many messages.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt, Stream};
use grpcio::{ClientDuplexReceiver, ClientDuplexSender, ClientSStreamReceiver, WriteFlags};
use protobuf::Message;

use super::channel::Ctx;
use super::method::Method;
use super::status;
use crate::call::Limits;
use crate::error::Result;
use crate::sys;
use crate::wait::block_on;

/// The messages of the server, one after the other. The drop cancels the call.
pub(super) struct Receiver<R> {
    inner: ClientSStreamReceiver<R>,
}

/// Sends a request that the server answers with many messages.
pub(super) fn receive<Q: Message, R: Message + Unpin>(
    ctx: &Ctx,
    method: &Method<Q, R>,
    request: &Q,
) -> Result<Receiver<R>> {
    ctx.limits.check()?;
    let options = ctx.options()?;
    sys::with_signals_blocked(|| {
        ctx.connection.client.server_streaming(&method.grpc, request, options)
    })
    .map(|inner| Receiver { inner })
    .map_err(|e| status::from_grpc(e, false))
}

impl<R: Message + Unpin> Receiver<R> {
    /// The next message; `None` at the end.
    pub(super) fn next(&mut self, limits: &Limits) -> Result<Option<R>> {
        block_on(limits, poll_fn(|cx| self.poll_next(cx)))?.transpose()
    }

    /// The same, as a poll. It must not be polled after the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R>>> {
        let next = ready!(Pin::new(&mut self.inner).poll_next(cx));
        Poll::Ready(next.map(|next| next.map_err(|e| status::from_grpc(e, false))))
    }
}

impl<R> Drop for Receiver<R> {
    fn drop(&mut self) {
        self.inner.cancel();
    }
}

/// Both directions of a call in which both sides send many messages. The drop cancels the call.
pub(super) struct Duplex<Q, R> {
    sender: ClientDuplexSender<Q>,
    receiver: ClientDuplexReceiver<R>,
}

/// Opens such a call.
pub(super) fn duplex<Q: Message, R: Message + Unpin>(
    ctx: &Ctx,
    method: &Method<Q, R>,
) -> Result<Duplex<Q, R>> {
    ctx.limits.check()?;
    let options = ctx.options()?;
    sys::with_signals_blocked(|| ctx.connection.client.duplex_streaming(&method.grpc, options))
        .map(|(sender, receiver)| Duplex { sender, receiver })
        .map_err(|e| status::from_grpc(e, true))
}

impl<Q: Message, R: Message + Unpin> Duplex<Q, R> {
    /// Sends one message. If the server has ended the call, `next` gives the reason.
    pub(super) fn send(&mut self, limits: &Limits, message: Q) -> Result<()> {
        let mut message = Some((message, WriteFlags::default()));
        let sender = &mut self.sender;
        let sent = block_on(
            limits,
            poll_fn(|cx| {
                ready!(Pin::new(&mut *sender).poll_ready(cx))?;
                if let Some(message) = message.take() {
                    Pin::new(&mut *sender).start_send(message)?;
                }
                Pin::new(&mut *sender).poll_flush(cx)
            }),
        )?;
        match sent {
            Ok(()) => Ok(()),
            Err(error) => match self.next(limits) {
                Err(reason) => Err(reason),
                Ok(_) => Err(status::from_grpc(error, true)),
            },
        }
    }

    /// The server's next message. `None` if the server has ended the call without an error.
    pub(super) fn next(&mut self, limits: &Limits) -> Result<Option<R>> {
        let receiver = &mut self.receiver;
        block_on(limits, poll_fn(|cx| Pin::new(&mut *receiver).poll_next(cx)))?
            .transpose()
            .map_err(|e| status::from_grpc(e, true))
    }

    /// Tells the server that nothing more is sent.
    pub(super) fn close(&mut self, limits: &Limits) -> Result<()> {
        block_on(limits, self.sender.close())?.map_err(|e| status::from_grpc(e, true))
    }
}

impl<Q, R> Drop for Duplex<Q, R> {
    fn drop(&mut self) {
        self.receiver.cancel();
    }
}
