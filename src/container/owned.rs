//! The record of a container that an operation is to change.

use crate::error::{Result, ResultExt};
use crate::inner::Inner;
use crate::record::check_owner;
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};

/// Looks a record up. Fails if the container belongs to another owner.
pub(super) fn owned_record(client: &Inner, ctx: &Ctx, id: &str) -> Result<Container> {
    let record = containers::get(ctx, id).step("look the record up")?;
    check_owner(&record, &client.config.owner)?;
    Ok(record)
}
