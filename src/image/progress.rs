//! How far a pull is: written by its threads, read by the caller's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{Progress, ProgressStatus};
use crate::inner::Inner;
use crate::message::{Body, Detail, Message, MessageKind};
use crate::submit;
use crate::timestamp::rfc3339;

/// Tells the hooks and queues that want it how far a pull is, as the seed's array of JSON; also the queue
/// of a pull that was submitted.
pub(crate) fn publish_progress(client: &Inner, reference: &str, items: &[Progress]) {
    submit::report(|| message(client, reference, items));
    if client.bus.wants(MessageKind::Progress) {
        client.bus.publish(&message(client, reference, items), None);
    }
}

fn message(client: &Inner, reference: &str, items: &[Progress]) -> Message {
    let items = items.to_vec();
    let make = move || {
        let item = |item: &Progress| {
            json!({
                "Ref": item.reference,
                "Status": item.status.word(),
                "Offset": item.offset,
                "Total": item.total,
                "StartedAt": time(item.started_at),
                "UpdatedAt": time(item.updated_at),
            })
        };
        items.iter().map(item).collect::<serde_json::Value>().to_string()
    };
    let detail = Detail::new(reference.to_owned(), Some(SystemTime::now()), make);
    let body = client.bus.body(MessageKind::Progress);
    Message::new(Body { detail: Some(detail), ..body })
}

fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// The state of everything that a pull fetches, in the order in which it came to know of it.
pub(super) struct Board {
    items: Mutex<Vec<Progress>>,
}

/// An item of a board.
#[derive(Clone, Copy)]
pub(super) struct Item(usize);

impl Board {
    /// A board with one item: the reference, which is being resolved.
    pub(super) fn new(reference: &str) -> (Board, Item) {
        let board = Board { items: Mutex::default() };
        let item = board.add(reference.to_owned(), 0);
        board.set(item, ProgressStatus::Resolving);
        (board, item)
    }

    /// Adds an item whose turn has not come. What is there already (a layer may come twice) is not
    /// added again.
    pub(super) fn add(&self, reference: String, total: u64) -> Item {
        let mut items = self.lock();
        if let Some(at) = items.iter().position(|item| item.reference == reference) {
            return Item(at);
        }
        let now = SystemTime::now();
        items.push(Progress {
            reference,
            status: ProgressStatus::Waiting,
            offset: 0,
            total,
            started_at: now,
            updated_at: now,
        });
        Item(items.len() - 1)
    }

    /// Says what is being done about an item. What is there has all its bytes.
    pub(super) fn set(&self, item: Item, status: ProgressStatus) {
        self.change(item, |item| {
            item.status = status;
            if matches!(status, ProgressStatus::Done | ProgressStatus::Exists) {
                item.offset = item.total;
            }
        });
    }

    /// Says how much of an item has come.
    pub(super) fn advance(&self, item: Item, offset: u64) {
        self.change(item, |item| {
            item.status = ProgressStatus::Downloading;
            item.offset = offset.min(item.total);
        });
    }

    /// The state of all of them.
    pub(super) fn snapshot(&self) -> Vec<Progress> {
        self.lock().clone()
    }

    fn change(&self, item: Item, change: impl FnOnce(&mut Progress)) {
        if let Some(item) = self.lock().get_mut(item.0) {
            change(item);
            item.updated_at = SystemTime::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
