//! A queue's handle.

use std::sync::Arc;

use ctrd::Queue;

use crate::abi::fork::Maker;

/// Messages that wait until they are fetched.
pub struct ctrd_queue_t {
    pub(crate) queue: Arc<Queue>,
    pub(crate) maker: Maker,
}
