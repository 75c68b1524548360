//! The methods of a service, and the unary call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use grpcio::ClientUnaryReceiver;
use protobuf::Message;

use super::channel::Ctx;
use super::status;
use crate::call::Limits;
use crate::error::Result;
use crate::sys;
use crate::wait::block_on;

/// A method: its path, the marshallers of its messages, and whether it changes anything.
pub(super) struct Method<Q, R> {
    pub(super) grpc: grpcio::Method<Q, R>,
    /// If a call of such a method breaks off, the change may have been made.
    pub(super) changes: bool,
}

/// Declares a service's methods: `NAME = kind "Rpc" (Request) -> Response;`, where kind is `read`
/// or `change` for unary calls, `stream` if the server answers with many messages, and `duplex` if both
/// sides send many.
macro_rules! methods {
    ($service:literal: $($name:ident = $kind:ident $rpc:literal ($request:ty) -> $response:ty;)+) => {
        $(
            static $name: $crate::rpc::method::Method<$request, $response> =
                $crate::rpc::method::Method {
                    grpc: grpcio::Method {
                        ty: methods!(@type $kind),
                        name: concat!("/", $service, "/", $rpc),
                        req_mar: grpcio::Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
                        resp_mar: grpcio::Marshaller { ser: grpcio::pb_ser, de: grpcio::pb_de },
                    },
                    changes: methods!(@changes $kind),
                };
        )+
    };
    (@type read) => { grpcio::MethodType::Unary };
    (@type change) => { grpcio::MethodType::Unary };
    (@type stream) => { grpcio::MethodType::ServerStreaming };
    (@type duplex) => { grpcio::MethodType::Duplex };
    (@changes change) => { true };
    (@changes duplex) => { true };
    (@changes $other:ident) => { false };
}
pub(super) use methods;

/// Makes the call, and waits for the answer within the context's limits.
pub(super) fn call<Q, R>(ctx: &Ctx, method: &Method<Q, R>, request: &Q) -> Result<R>
where
    Q: Message,
    R: Message + Unpin,
{
    ctx.limits.check()?;
    let mut reply = start(ctx, method, request, |response| response)?;
    let interrupted = match block_on(&ctx.limits, &mut reply) {
        Ok(result) => return result,
        Err(interrupted) => interrupted,
    };
    if method.changes
        && !ctx.settle.is_zero()
        && let Ok(result) = block_on(&Limits::within(ctx.settle), &mut reply)
    {
        // The next step sees that the limits have ended.
        return result;
    }
    // The drop of the reply cancels the call. The server may make the change nevertheless.
    Err(interrupted.with_outcome_unknown(method.changes))
}

/// Sends the request and returns the pending answer.
pub(super) fn start<Q, R, T>(
    ctx: &Ctx,
    method: &Method<Q, R>,
    request: &Q,
    read: fn(R) -> T,
) -> Result<Reply<T>>
where
    Q: Message,
    R: Message + Unpin,
    T: 'static,
{
    let options = ctx.options()?;
    log::trace!("{}", method.grpc.name);
    // gRPC may start a thread here, which must not take the host's signals.
    let receiver = sys::with_signals_blocked(|| {
        ctx.connection.client.unary_call_async(&method.grpc, request, options)
    })
    .map_err(|e| status::from_grpc(e, method.changes))?;
    Ok(Reply {
        pending: Box::pin(Pending { receiver: Some(receiver), read, changes: method.changes }),
    })
}

/// The answer of a call that is under way. The drop cancels the call.
pub(crate) struct Reply<T> {
    pending: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T> Future for Reply<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.pending.as_mut().poll(cx)
    }
}

struct Pending<R, T> {
    receiver: Option<ClientUnaryReceiver<R>>,
    read: fn(R) -> T,
    changes: bool,
}

impl<R: Message + Unpin, T> Future for Pending<R, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = &mut *self;
        let Some(receiver) = this.receiver.as_mut() else {
            return Poll::Ready(Err(status::polled_again()));
        };
        let result = ready!(Pin::new(receiver).poll(cx));
        // The call is finished, so the drop must not cancel it.
        this.receiver = None;
        let read = this.read;
        Poll::Ready(result.map(read).map_err(|e| status::from_grpc(e, this.changes)))
    }
}

impl<R, T> Drop for Pending<R, T> {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.as_mut() {
            receiver.cancel();
        }
    }
}
