//! Snapshots: the file systems of images and containers.

use std::time::{Duration, SystemTime};

use crate::call::{Call, Limits};
use crate::error::{ErrorKind, Result};
use crate::identifier;
use crate::inner::Inner;
use crate::random::random_hex;
use crate::rpc::Ctx;
use crate::rpc::snapshots::{self, Info, Kind, Mount};
use crate::wait::until_removed;

/// How long removing a view may take: after a finished operation, and after one whose time is over or
/// that was cancelled.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
const LATE_REMOVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The kind of a snapshot.
///
/// ```no_run
/// # fn f(snapshot: &ctrd::Snapshot) {
/// if snapshot.kind() == ctrd::SnapshotKind::Active {
///     println!("{} can be written to", snapshot.name());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotKind {
    /// A kind that this library does not know.
    Unknown,
    /// A read-only snapshot.
    View,
    /// A snapshot that can be written to, such as a container's.
    Active,
    /// A snapshot that no longer changes, such as a layer's.
    Committed,
}

/// A snapshot, as its snapshotter describes it.
///
/// ```no_run
/// use ctrd::{Call, Client, SnapshotKey};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// // The snapshot of the container `web`, unless it was created with another key.
/// let snapshot = client.get_snapshot(&SnapshotKey::new("web"), &Call::new())?;
/// println!("{} is on top of {:?}", snapshot.name(), snapshot.parent());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    name: String,
    parent: String,
    kind: SnapshotKind,
    labels: Vec<(String, String)>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl Snapshot {
    /// The key of the snapshot or, once it is committed, its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The snapshot below it. `None` if there is none.
    pub fn parent(&self) -> Option<&str> {
        Some(&*self.parent).filter(|parent| !parent.is_empty())
    }

    /// The kind of the snapshot.
    pub fn kind(&self) -> SnapshotKind {
        self.kind
    }

    /// The labels of the snapshot, sorted by key.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// When the snapshot was made, by the server's clock.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }

    /// When the snapshot was last changed, by the server's clock.
    pub fn updated_at(&self) -> Option<SystemTime> {
        self.updated_at
    }
}

impl From<Info> for Snapshot {
    fn from(info: Info) -> Snapshot {
        let mut labels: Vec<_> = info.labels.into_iter().collect();
        labels.sort();
        Snapshot {
            name: info.name,
            parent: info.parent,
            kind: match info.kind {
                Kind::Unknown => SnapshotKind::Unknown,
                Kind::View => SnapshotKind::View,
                Kind::Active => SnapshotKind::Active,
                Kind::Committed => SnapshotKind::Committed,
            },
            labels,
            created_at: info.created_at,
            updated_at: info.updated_at,
        }
    }
}

/// The snapshot that a call is about.
///
/// ```
/// let layer = ctrd::SnapshotKey::new("sha256:5f70bf18").snapshotter("native");
/// assert_eq!(layer.key(), "sha256:5f70bf18");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SnapshotKey {
    key: String,
    snapshotter: Option<String>,
}

impl SnapshotKey {
    /// The snapshot with this key or, once it is committed, this name.
    pub fn new(key: impl Into<String>) -> SnapshotKey {
        SnapshotKey { key: key.into(), snapshotter: None }
    }

    /// The key that [`SnapshotKey::new`] was given.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The snapshotter that has it. Default: the client's.
    pub fn snapshotter(mut self, snapshotter: impl Into<String>) -> SnapshotKey {
        self.snapshotter = Some(snapshotter.into());
        self
    }

    /// The snapshotter and the key, checked.
    fn check<'a>(&'a self, client: &'a Inner) -> Result<(&'a str, &'a str)> {
        let snapshotter = snapshotter(client, self.snapshotter.as_deref())?;
        identifier::check_snapshot_key("key", &self.key)?;
        Ok((snapshotter, &self.key))
    }
}

/// The snapshotter of a call: the client's if the call names none.
pub(crate) fn snapshotter<'a>(client: &'a Inner, named: Option<&'a str>) -> Result<&'a str> {
    named.map_or(Ok(()), identifier::check_snapshotter)?;
    Ok(named.unwrap_or(&client.config.snapshotter))
}

pub(crate) fn get(client: &Inner, key: &SnapshotKey, call: &Call) -> Result<Snapshot> {
    let (snapshotter, key) = key.check(client)?;
    let operation = client.begin(call)?;
    snapshots::stat(&operation.ctx, snapshotter, key).map(Snapshot::from)
}

pub(crate) fn remove(client: &Inner, key: &SnapshotKey, call: &Call) -> Result<()> {
    let (snapshotter, key) = key.check(client)?;
    let operation = client.begin(call)?;
    snapshots::remove(&operation.ctx, snapshotter, key)
}

/// A read-only snapshot on top of a committed one, to look at its files. It is removed when it is
/// dropped.
pub(crate) struct View {
    ctx: Ctx,
    snapshotter: String,
    key: String,
    mounts: Vec<Mount>,
    /// Whether the server may still be creating it.
    outcome_unknown: bool,
}

impl View {
    /// Creates a view of `parent`. `ctx` has a lease: if the view cannot be removed, it is collected
    /// after the lease has ended.
    pub(crate) fn create(ctx: &Ctx, snapshotter: &str, parent: &str) -> Result<View> {
        let key = format!("ctrd-view-{}", random_hex()?);
        let created = match snapshots::view(ctx, snapshotter, &key, parent) {
            Err(e) if !e.is_outcome_unknown() => return Err(e),
            created => created,
        };
        // If the outcome is unknown, the drop removes what the server may have created.
        let mut view = View {
            ctx: ctx.clone(),
            snapshotter: snapshotter.to_owned(),
            key,
            mounts: Vec::new(),
            outcome_unknown: created.is_err(),
        };
        view.mounts = created?;
        Ok(view)
    }

    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let is_over = self.ctx.limits.check().is_err();
        let timeout = if is_over { LATE_REMOVE_TIMEOUT } else { REMOVE_TIMEOUT };
        let ctx = self.ctx.without_lease().with_limits(Limits::within(timeout));
        let remove = || match snapshots::remove(&ctx, &self.snapshotter, &self.key) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true),
        };
        if let Err(e) = until_removed(&ctx.limits, self.outcome_unknown, remove) {
            log::warn!("the snapshot {:?} is left to the garbage collector: {e}", self.key);
        }
    }
}
