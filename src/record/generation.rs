//! Which of the containers that have an id, one after the other, a record belongs to.

use std::time::UNIX_EPOCH;

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
