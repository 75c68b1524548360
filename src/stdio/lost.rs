//! Counts output that does not reach the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the bytes of one stream that did not reach the host, and adds them to a total.
#[derive(Debug, Default)]
pub(super) struct LostCounter {
    bytes: AtomicU64,
    total: Arc<AtomicU64>,
}

impl LostCounter {
    pub(super) fn new(total: &Arc<AtomicU64>) -> LostCounter {
        LostCounter { bytes: AtomicU64::new(0), total: total.clone() }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.total.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}
