//! The owner of a container: the program that created it.

use crate::error::{Error, ErrorKind, ErrorReason, Result};
use crate::rpc::containers::Container;

/// The label that names the owner of a container or a lease.
pub(crate) const OWNER_LABEL: &str = "io.ctrd.owner";

/// Fails if a container belongs to another owner, whose program relies on it. A container without an
/// owner may be changed by anybody.
pub(crate) fn check_owner(record: &Container, own: &str) -> Result<()> {
    match record.labels.get(OWNER_LABEL) {
        Some(owner) if owner != own => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("the container belongs to the owner {owner}, not to {own}"),
        )
        .with_reason(Some(ErrorReason::OtherOwner))),
        _ => Ok(()),
    }
}
