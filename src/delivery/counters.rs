//! The numbers of a client's messages, and counts of what happened to them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::{Body, Dropped, Message, MessageKind};

#[derive(Default)]
pub(super) struct Counters {
    seq: AtomicU64,
    /// How many messages were dropped, summed over all full consumers.
    dropped: AtomicU64,
    reconnects: AtomicU64,
}

impl Counters {
    /// An empty message body of this kind, with the next number.
    pub(super) fn body(&self, kind: MessageKind) -> Body {
        Body::new(kind, self.seq.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The message that reports how many messages were dropped.
    pub(super) fn overflow(&self, dropped: Dropped) -> Message {
        Message::new(Body { dropped, ..self.body(MessageKind::Overflow) })
    }

    /// Counts a message that was dropped.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }

    /// Counts a subscription to events that was opened again.
    pub(super) fn count_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::SeqCst)
    }
}
