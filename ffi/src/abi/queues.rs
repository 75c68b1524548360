//! A queue's handle.

use std::sync::Arc;

use ctrd::{Error, Queue, Result};

use crate::abi::fork::Maker;

/// Messages that wait until they are fetched.
pub struct ctrd_queue_t {
    pub(crate) queue: Arc<Queue>,
    pub(crate) maker: Maker,
}

/// The core's queue, for one call.
///
/// # Safety
/// `queue` is NULL or a handle that is valid.
pub(crate) unsafe fn live_queue(queue: *const ctrd_queue_t) -> Result<Arc<Queue>> {
    // SAFETY: as the caller promises.
    let queue = unsafe { queue.as_ref() };
    let queue = queue.ok_or_else(|| Error::invalid("queue", "must not be NULL"))?;
    queue.maker.check("queue")?;
    Ok(queue.queue.clone())
}
