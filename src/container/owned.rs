//! The record of a container that an operation is to change.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::inner::Inner;
use crate::record::{check_owner, generation};
use crate::rpc::Ctx;
use crate::rpc::containers::{self, Container};

/// Looks a record up. Fails if the container belongs to another owner.
pub(super) fn owned_record(client: &Inner, ctx: &Ctx, id: &str) -> Result<Container> {
    let record = containers::get(ctx, id).step("look the record up")?;
    check_owner(&record, &client.config.owner)?;
    Ok(record)
}

/// The specification in a record.
pub(super) fn specification(record: &Container) -> Result<Value> {
    serde_json::from_slice(&record.spec.value).map_err(|e| {
        let why = format!("the record's specification cannot be read: {e}");
        Error::new(ErrorKind::FailedPrecondition, why)
    })
}

/// Whether the container with this id is of this generation: another client may have replaced it.
pub(super) fn has_generation(ctx: &Ctx, id: &str, generation: &str) -> Result<bool> {
    let record = containers::get(ctx, id).optional()?;
    Ok(record.is_some_and(|record| generation::of(&record) == generation))
}
