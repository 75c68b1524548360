//! The processes of a container.

use crate::call::Call;
use crate::error::Result;
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::tasks;

pub(crate) fn pid(client: &Inner, id: &str, call: &Call) -> Result<u32> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    tasks::get(&operation.ctx, id, "").map(|process| process.pid)
}

pub(crate) fn pids(client: &Inner, id: &str, call: &Call) -> Result<Vec<u32>> {
    identifier::check("id", id)?;
    let operation = client.begin(call)?;
    tasks::list_pids(&operation.ctx, id)
}
