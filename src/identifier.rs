//! The names that containerd accepts for containers, execs, namespaces and snapshot keys.

use crate::error::{Error, Result};

/// The longest identifier (containerd `identifiers.maxLength`).
const MAX_LENGTH: usize = 76;

/// The longest name of a snapshotter. containerd's own plugins use their name as the name of a
/// directory.
const MAX_SNAPSHOTTER: usize = 255;

/// The longest key of a snapshot. containerd's store takes keys eight times as long, but a label
/// that refers to a snapshot has no more room.
const MAX_KEY: usize = 4096;

/// Checks the name of a snapshotter. containerd's configuration chooses the name, so nearly every
/// name is allowed.
pub(crate) fn check_snapshotter(value: &str) -> Result<()> {
    check_length("snapshotter", value, MAX_SNAPSHOTTER)?;
    if value.contains(char::is_control) {
        return Err(Error::invalid("snapshotter", format!("{value:?} holds control characters")));
    }
    Ok(())
}

/// Checks the key of a snapshot. It may be a chain ID, the name of a committed snapshot, so it need
/// not be an identifier.
pub(crate) fn check_snapshot_key(argument: &str, value: &str) -> Result<()> {
    check_length(argument, value, MAX_KEY)
}

fn check_length(argument: &str, value: &str, most: usize) -> Result<()> {
    let why = match value.len() {
        0 => "must not be empty".to_owned(),
        len if len > most => format!("has {len} characters; at most {most} are allowed"),
        _ => return Ok(()),
    };
    Err(Error::invalid(argument, why))
}

/// Checks an identifier before anything is sent: at most 76 characters, letters and digits joined
/// by single `.`, `_` or `-` (containerd `identifiers.Validate`, the same from 1.6 to 2.x).
pub(crate) fn check(argument: &str, value: &str) -> Result<()> {
    check_length(argument, value, MAX_LENGTH)?;
    let well_formed = value
        .split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !well_formed {
        return Err(Error::invalid(
            argument,
            format!("{value:?} is not of letters and digits joined by single '.', '_' or '-'"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for good in ["a", "A9", "a-b_c.d", &"x".repeat(76)] {
            check("id", good).unwrap();
        }
        for bad in ["", "-a", "a-", "a--b", "a/b", "a b", "ä", &"x".repeat(77), "a\n"] {
            let error = check("id", bad).unwrap_err();
            assert!(error.message().starts_with("id: "), "{error}");
        }
    }

    #[test]
    fn snapshotters_and_keys_are_what_containerd_can_have() {
        for good in ["overlayfs", "native", "fuse-overlayfs", "a/b", "ä", &"x".repeat(255)] {
            check_snapshotter(good).unwrap();
        }
        for bad in ["", "a\0b", "a\n", "\u{7f}", &"x".repeat(256)] {
            let error = check_snapshotter(bad).unwrap_err();
            assert!(error.message().starts_with("snapshotter: "), "{error}");
        }
        for good in ["sha256:0", "extract-1 sha256:0", &"x".repeat(4096)] {
            check_snapshot_key("key", good).unwrap();
        }
        for bad in ["", &"x".repeat(4097)] {
            let error = check_snapshot_key("snapshot_key", bad).unwrap_err();
            assert!(error.message().starts_with("snapshot_key: "), "{error}");
        }
    }
}
