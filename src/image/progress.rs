//! The progress of a pull: its own threads write it, and the caller's thread reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::inner::Inner;
use crate::message::{Body, Detail, Message, MessageKind};
use crate::submit;
use crate::timestamp::rfc3339;

/// The state of one item of a pull: the reference, a document or a layer.
///
/// ```no_run
/// use ctrd::{Call, Client, Progress, PullConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let mut progress = |items: &[Progress]| {
///     let arrived: u64 = items.iter().map(Progress::offset).sum();
///     println!("{arrived} bytes");
/// };
/// client.pull_image(&PullConfig::new("busybox"), &mut progress, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Progress {
    reference: String,
    status: ProgressStatus,
    offset: u64,
    total: u64,
    started_at: SystemTime,
    updated_at: SystemTime,
}

impl Progress {
    /// The image's reference, or `<kind>-<digest>` with kind `index`, `manifest`, `config` or `layer`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The present step of the item.
    pub fn status(&self) -> ProgressStatus {
        self.status
    }

    /// How many bytes have arrived.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes the item has; 0 if that is not known yet.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When the item was first mentioned, by this machine's clock.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// When the item last changed, by this machine's clock.
    pub fn updated_at(&self) -> SystemTime {
        self.updated_at
    }
}

/// A step of an item of a pull.
///
/// ```no_run
/// # fn f(item: &ctrd::Progress) {
/// if item.status() == ctrd::ProgressStatus::Downloading {
///     println!("{}: {} of {} bytes", item.reference(), item.offset(), item.total());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressStatus {
    /// The registry is asked for the reference's digest.
    Resolving,
    /// The reference's digest is known.
    Resolved,
    /// The download has not begun.
    Waiting,
    /// The item is being downloaded.
    Downloading,
    /// The layer is being unpacked.
    Extracting,
    /// The item has been downloaded, and unpacked if it is a layer.
    Done,
    /// The item was in containerd before the pull.
    Exists,
}

impl ProgressStatus {
    /// The seed's word for it.
    fn as_str(self) -> &'static str {
        match self {
            ProgressStatus::Resolving => "resolving",
            ProgressStatus::Resolved => "resolved",
            ProgressStatus::Waiting => "waiting",
            ProgressStatus::Downloading => "downloading",
            ProgressStatus::Extracting => "extracting",
            ProgressStatus::Done => "done",
            ProgressStatus::Exists => "exists",
        }
    }
}

/// Sends the progress of a pull to the hooks and queues that want it, as the seed's JSON array;
/// also to the queue of a pull that was submitted.
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
                "Status": item.status.as_str(),
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
