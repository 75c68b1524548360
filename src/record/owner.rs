//! Whose a container is.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::containers::Container;

/// The label that names the owner of what a client makes.
pub(crate) const OWNER_LABEL: &str = "io.ctrd.owner";

/// Fails where a container is another owner's: that one's program relies on it. What carries no owner may
/// be anybody's.
pub(crate) fn check_owner(record: &Container, own: &str) -> Result<()> {
    match record.labels.get(OWNER_LABEL) {
        Some(owner) if owner != own => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("the container is the owner {owner}'s, not {own}'s"),
        )),
        _ => Ok(()),
    }
}
