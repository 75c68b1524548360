//! The progress of a pull: its own threads write it, and the caller's thread reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::inner::Inner;
use crate::message::{Body, Detail, Message, MessageKind, Progress, ProgressStatus};
use crate::submit;
use crate::timestamp::rfc3339;

/// Sends the progress of a pull to the hooks and queues that want it, as the seed's JSON array;
/// also to the queue of a pull that was submitted.
pub(crate) fn publish_progress(client: &Inner, reference: &str, items: &[Progress]) {
    submit::report(|| message(client, reference, items));
    if client.bus.wants(MessageKind::Progress) {
        client.bus.publish(&message(client, reference, items), None);
    }
}

fn message(client: &Inner, reference: &str, items: &[Progress]) -> Message {
    let items: Arc<[Progress]> = items.into();
    let shown = items.clone();
    let make = move || {
        let item = |item: &Progress| {
            json!({
                "Ref": item.reference,
                "Status": item.status.as_str(),
                "Offset": item.offset,
                "Total": item.total,
                "StartedAt": time(item.started_at),
                "UpdatedAt": time(item.updated_at),
            })
        };
        shown.iter().map(item).collect::<serde_json::Value>().to_string()
    };
    let detail = Detail::new(reference.to_owned(), Some(SystemTime::now()), make);
    let detail = detail.with_progress(items);
    let body = client.bus.body(MessageKind::Progress);
    Message::new(Body { detail: Some(detail), ..body })
}

fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// The state of every item of a pull, in the order in which the pull learnt of them.
pub(super) struct ProgressTracker {
    items: Mutex<Vec<Progress>>,
}

/// Identifies an item of a [`ProgressTracker`].
#[derive(Clone, Copy)]
pub(super) struct ItemId(usize);

impl ProgressTracker {
    /// A tracker with one item: the reference, which is being resolved.
    pub(super) fn new(reference: &str) -> (ProgressTracker, ItemId) {
        let tracker = ProgressTracker { items: Mutex::default() };
        let item = tracker.add(reference.to_owned(), 0);
        tracker.set_status(item, ProgressStatus::Resolving);
        (tracker, item)
    }

    /// Adds an item that is waiting. An item that was added before (an image may have the same layer
    /// twice) is not added again.
    pub(super) fn add(&self, reference: String, total: u64) -> ItemId {
        let mut items = self.lock();
        if let Some(index) = items.iter().position(|item| item.reference == reference) {
            return ItemId(index);
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
        ItemId(items.len() - 1)
    }

    /// Sets an item's status. An item that is done, or existed before, has all its bytes.
    pub(super) fn set_status(&self, item: ItemId, status: ProgressStatus) {
        self.update(item, |item| {
            item.status = status;
            if matches!(status, ProgressStatus::Done | ProgressStatus::Exists) {
                item.offset = item.total;
            }
        });
    }

    /// Sets how many bytes of an item have been downloaded.
    pub(super) fn set_offset(&self, item: ItemId, offset: u64) {
        self.update(item, |item| {
            item.status = ProgressStatus::Downloading;
            item.offset = offset.min(item.total);
        });
    }

    /// A copy of the state of all items.
    pub(super) fn snapshot(&self) -> Vec<Progress> {
        self.lock().clone()
    }

    fn update(&self, item: ItemId, update: impl FnOnce(&mut Progress)) {
        if let Some(item) = self.lock().get_mut(item.0) {
            update(item);
            item.updated_at = SystemTime::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
