//! Which of the containers that have an id, one after the other, a record belongs to.

use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::rpc::containers::Container;

/// The label that tells one container from a later one of the same id.
pub(crate) const GENERATION_LABEL: &str = "io.ctrd.generation";

/// What tells this container from another of the same id, whoever made it.
pub(crate) fn generation(record: &Container) -> String {
    match record.labels.get(GENERATION_LABEL) {
        Some(generation) => generation.clone(),
        // The server sets it.
        None => record
            .created_at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or_else(String::new, |at| at.as_nanos().to_string()),
    }
}

/// A number that stands for a generation in messages. `None` for an unknown generation, never 0.
pub(crate) fn generation_number(generation: &str) -> Option<u64> {
    if generation.is_empty() {
        return None;
    }
    let digest = Sha256::digest(generation.as_bytes());
    let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some(number.max(1))
}
