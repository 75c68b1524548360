//! Snapshots: the file systems of images and containers.

use std::time::SystemTime;

use crate::call::Call;
use crate::error::Result;
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::snapshots::{self, Info, Kind};

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotKind {
    /// The server says something else.
    Unknown,
    /// Mounted read-only.
    View,
    /// Can be written to: a container's.
    Active,
    /// Does not change any more: a layer's.
    Committed,
}

/// What a snapshotter knows of a snapshot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its key or, once committed, its name.
    pub name: String,
    /// The snapshot below it; empty where there is none.
    pub parent: String,
    /// What it is.
    pub kind: SnapshotKind,
    /// Its labels, in order of their keys.
    pub labels: Vec<(String, String)>,
    /// When it was made, by the server's clock.
    pub created_at: Option<SystemTime>,
    /// When it last changed, by the server's clock.
    pub updated_at: Option<SystemTime>,
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

/// The snapshotter that a call means: the client's where it names none.
pub(crate) fn snapshotter<'a>(client: &'a Inner, named: Option<&'a str>) -> Result<&'a str> {
    named.map_or(Ok(()), identifier::check_snapshotter)?;
    Ok(named.unwrap_or(&client.config.snapshotter))
}

pub(crate) fn get(client: &Inner, named: Option<&str>, key: &str, call: &Call) -> Result<Snapshot> {
    let snapshotter = snapshotter(client, named)?;
    identifier::check_snapshot_key("key", key)?;
    let operation = client.begin(call)?;
    snapshots::stat(&operation.ctx, snapshotter, key).map(Snapshot::from)
}

pub(crate) fn remove(client: &Inner, named: Option<&str>, key: &str, call: &Call) -> Result<()> {
    let snapshotter = snapshotter(client, named)?;
    identifier::check_snapshot_key("key", key)?;
    let operation = client.begin(call)?;
    snapshots::remove(&operation.ctx, snapshotter, key)
}
