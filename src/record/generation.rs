//! The generation of a container: it tells a container from an earlier or later one with the same id.

use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::rpc::containers::Container;

/// The label that has the generation of a container, or of a snapshot.
pub(crate) const LABEL: &str = "io.ctrd.generation";

/// The generation of the container that a record describes, no matter which client created it.
pub(crate) fn of(record: &Container) -> String {
    match record.labels.get(LABEL) {
        Some(generation) => generation.clone(),
        // Another client created the container. Its time of creation comes from the server.
        None => record
            .created_at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or_else(String::new, |at| at.as_nanos().to_string()),
    }
}

/// The number of a generation, for messages. `None` if the generation is unknown. Never 0.
pub(crate) fn number(generation: &str) -> Option<u64> {
    if generation.is_empty() {
        return None;
    }
    let digest = Sha256::digest(generation.as_bytes());
    let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some(number.max(1))
}
