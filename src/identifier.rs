//! The names that containerd accepts for containers, execs, namespaces and snapshot keys.

use crate::error::{Error, Result};

/// The longest identifier (containerd `identifiers.maxLength`).
const MAX_LENGTH: usize = 76;

/// Checks an identifier before anything is sent: at most 76 characters, letters and digits joined
/// by single `.`, `_` or `-` (containerd `identifiers.Validate`, the same from 1.6 to 2.x).
pub(crate) fn check(argument: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(argument, "must not be empty"));
    }
    if value.len() > MAX_LENGTH {
        return Err(Error::invalid(
            argument,
            format!("has {} characters; at most {MAX_LENGTH} are allowed", value.len()),
        ));
    }
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
    use super::check;

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
}
