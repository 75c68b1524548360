//! `containerd.services.snapshots.v1.Snapshots`.

use std::collections::HashMap;
use std::time::SystemTime;

use protobuf::Message;
use protobuf::well_known_types::empty::Empty;

use super::any::{labels, time};
use super::channel::Ctx;
use super::method::{Method, call, methods};
use super::wire::snapshots::{
    CommitSnapshotRequest, Info as WireInfo, Kind as WireKind, MountsRequest, MountsResponse,
    PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest, StatSnapshotRequest,
    StatSnapshotResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use super::wire::types::Mount as WireMount;
use crate::error::{Error, ErrorKind, ErrorReason, Result, ResultExt};

methods! { "containerd.services.snapshots.v1.Snapshots":
    PREPARE = change "Prepare" (PrepareSnapshotRequest) -> PrepareSnapshotResponse;
    VIEW = change "View" (ViewSnapshotRequest) -> ViewSnapshotResponse;
    MOUNTS = read "Mounts" (MountsRequest) -> MountsResponse;
    COMMIT = change "Commit" (CommitSnapshotRequest) -> Empty;
    REMOVE = change "Remove" (RemoveSnapshotRequest) -> Empty;
    STAT = read "Stat" (StatSnapshotRequest) -> StatSnapshotResponse;
}

/// A mount that a snapshotter gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: Vec<String>,
}

impl Mount {
    pub(super) fn into_wire(self) -> WireMount {
        WireMount {
            type_: self.kind,
            source: self.source,
            target: self.target,
            options: self.options,
            ..Default::default()
        }
    }

    fn from_wire(mount: WireMount) -> Mount {
        Mount {
            kind: mount.type_,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        }
    }
}

/// The kind of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unknown,
    View,
    Active,
    Committed,
}

/// A snapshot, as its snapshotter describes it.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) parent: String,
    pub(crate) kind: Kind,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) created_at: Option<SystemTime>,
    pub(crate) updated_at: Option<SystemTime>,
}

impl Info {
    fn from_wire(info: WireInfo) -> Info {
        Info {
            kind: match info.kind.enum_value() {
                Ok(WireKind::VIEW) => Kind::View,
                Ok(WireKind::ACTIVE) => Kind::Active,
                Ok(WireKind::COMMITTED) => Kind::Committed,
                Ok(WireKind::UNKNOWN) | Err(_) => Kind::Unknown,
            },
            created_at: time(info.created_at.as_ref()),
            updated_at: time(info.updated_at.as_ref()),
            name: info.name,
            parent: info.parent,
            labels: info.labels,
        }
    }
}

/// Sends a request. If there is no such snapshotter, the error names the argument, which the server
/// does not do.
fn ask<Q: Message, A: Message + Unpin>(ctx: &Ctx, method: &Method<Q, A>, request: &Q) -> Result<A> {
    let answer = call(ctx, method, request).missing(ErrorReason::NoSnapshot);
    answer.map_err(|e| match e.reason() {
        Some(ErrorReason::NoSnapshotter) => e.context("snapshotter"),
        _ => e,
    })
}

/// Creates an active snapshot on top of `parent`, which is empty for none. Returns its mounts.
pub(crate) fn prepare(
    ctx: &Ctx,
    snapshotter: &str,
    key: &str,
    parent: &str,
    with: &[(String, String)],
) -> Result<Vec<Mount>> {
    let request = PrepareSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: key.into(),
        parent: parent.into(),
        labels: labels(with),
        ..Default::default()
    };
    Ok(ask(ctx, &PREPARE, &request)?.mounts.into_iter().map(Mount::from_wire).collect())
}

/// Creates a read-only snapshot of `parent`. Returns its mounts.
pub(crate) fn view(ctx: &Ctx, snapshotter: &str, key: &str, parent: &str) -> Result<Vec<Mount>> {
    let request = ViewSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: key.into(),
        parent: parent.into(),
        ..Default::default()
    };
    Ok(ask(ctx, &VIEW, &request)?.mounts.into_iter().map(Mount::from_wire).collect())
}

/// The mounts of an active snapshot.
pub(crate) fn mounts(ctx: &Ctx, snapshotter: &str, key: &str) -> Result<Vec<Mount>> {
    let request =
        MountsRequest { snapshotter: snapshotter.into(), key: key.into(), ..Default::default() };
    Ok(ask(ctx, &MOUNTS, &request)?.mounts.into_iter().map(Mount::from_wire).collect())
}

/// Commits an active snapshot. It gets only the labels given here.
pub(crate) fn commit(
    ctx: &Ctx,
    snapshotter: &str,
    name: &str,
    key: &str,
    with: &[(String, String)],
) -> Result<()> {
    let request = CommitSnapshotRequest {
        snapshotter: snapshotter.into(),
        name: name.into(),
        key: key.into(),
        labels: labels(with),
        ..Default::default()
    };
    ask(ctx, &COMMIT, &request).map(drop)
}

/// Removes a snapshot. The next garbage collection frees its space on the disk.
pub(crate) fn remove(ctx: &Ctx, snapshotter: &str, key: &str) -> Result<()> {
    let request = RemoveSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: key.into(),
        ..Default::default()
    };
    ask(ctx, &REMOVE, &request).map(drop)
}

/// A snapshot, as its snapshotter describes it.
pub(crate) fn stat(ctx: &Ctx, snapshotter: &str, key: &str) -> Result<Info> {
    let request = StatSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: key.into(),
        ..Default::default()
    };
    ask(ctx, &STAT, &request)?
        .info
        .into_option()
        .map(Info::from_wire)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the server sent no snapshot"))
}
