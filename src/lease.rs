//! Leases: what keeps new content and snapshots from containerd's garbage collection.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use oci_spec as _;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::{Cx, leases};

#[derive(Clone)]
pub(crate) struct Lease {
    id: String,
}

pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0u8; 16];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("getrandom", e))?;
    let mut id = String::new();
    for byte in &bytes[..length] {
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

impl Lease {
    pub(crate) fn create(context: &Context, cx: &Cx) -> Result<Lease> {
        let id = format!("{}-{}", context.config.owner, random_id()?);
        leases::create(cx, &id, &[])?;
        Ok(Lease { id })
    }
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
    pub(crate) fn delete(&self, cx: &Cx) -> Result<()> {
        match leases::delete(cx, &self.id, false) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
#[allow(unused)]
fn x(_: Duration, _: SystemTime) {}
