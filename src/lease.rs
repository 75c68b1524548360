//! Leases: a lease keeps containerd's garbage collection from content and snapshots while an operation
//! works on them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::call::Limits;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::random::random_hex;
use crate::record::OWNER_LABEL;
use crate::rpc::{Ctx, leases};
use crate::timestamp::rfc3339;
use crate::wait::until_removed;

/// When containerd drops a lease whose owner has died. Go's client uses the same time.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the deletion of a lease may take: after a finished operation, and after one whose time
/// is over or that was cancelled.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const LATE_END_TIMEOUT: Duration = Duration::from_secs(1);

/// The lease of one operation. The drop deletes it.
pub(crate) struct Lease<'a> {
    client: &'a Inner,
    namespace: String,
    id: String,
    /// The operation's limits. If they have ended it, the caller must not wait much longer.
    limits: Limits,
    /// Whether the server may still be creating it.
    unknown: bool,
}

impl<'a> Lease<'a> {
    /// Gives the context for an operation's RPCs, with a lease. If the caller's context has one,
    /// that is used, and it stays the caller's. Otherwise a lease is created, and returned too.
    pub(crate) fn hold(client: &'a Inner, ctx: &Ctx) -> Result<(Ctx, Option<Lease<'a>>)> {
        if ctx.lease.is_some() {
            return Ok((ctx.clone(), None));
        }
        let id = format!("ctrd-{}", random_hex()?);
        let expires = SystemTime::now() + EXPIRES_AFTER;
        let expires = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires = rfc3339(expires.try_into().unwrap_or(i64::MAX), 0);
        let labels = [
            ("containerd.io/gc.expire".to_owned(), expires),
            (OWNER_LABEL.to_owned(), client.config.owner.clone()),
        ];
        let created = match leases::create(ctx, &id, &labels).step("create lease") {
            Err(e) if !e.is_outcome_unknown() => return Err(e),
            created => created,
        };
        // If the outcome is unknown, the drop deletes what the server may have created.
        let limits = ctx.limits.clone();
        let (namespace, unknown) = (ctx.namespace.clone(), created.is_err());
        let lease = Lease { client, namespace, id, limits, unknown };
        created?;
        Ok((ctx.with_lease(&lease.id), Some(lease)))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let over = self.limits.check().is_err();
        let limits = Limits::within(if over { LATE_END_TIMEOUT } else { END_TIMEOUT });
        let ctx = Ctx::new(&self.client.connection, &self.namespace, limits);
        let delete = || match leases::delete(&ctx, &self.id, false) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true),
        };
        if let Err(e) = until_removed(&ctx.limits, self.unknown, delete) {
            log::warn!("the lease {} is left to expire: {e}", self.id);
        }
    }
}
