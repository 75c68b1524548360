//! The state of a pull.

use std::time::SystemTime;

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
    pub(crate) reference: String,
    pub(crate) status: ProgressStatus,
    pub(crate) offset: u64,
    pub(crate) total: u64,
    pub(crate) started_at: SystemTime,
    pub(crate) updated_at: SystemTime,
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
    pub(crate) fn as_str(self) -> &'static str {
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
