//! Changing the labels of a container.

use super::config::check_labels;
use super::lock::lock;
use super::owned::owned_record;
use crate::call::Call;
use crate::error::{Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::containers;

/// Sets labels. An empty value removes one: containerd keeps no empty label.
pub(crate) fn set_labels(
    client: &Inner,
    id: &str,
    labels: &[(&str, &str)],
    call: &Call,
) -> Result<()> {
    identifier::check("id", id)?;
    let given: Vec<_> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    check_labels(&given)?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, "set_container_labels")?;
    owned_record(client, ctx, id)?;
    if given.is_empty() {
        // A mask without paths would change everything.
        return Ok(());
    }
    containers::set_labels(ctx, id, &given).step("change the record").map(drop)
}
