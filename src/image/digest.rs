//! Digests, and the chain IDs that are computed from them.

use sha2::{Digest, Sha256};

/// Checks a digest; the error says what is wrong with it. Only SHA-256 is accepted: containerd's
/// content store writes no other (`plugins/content/local`, every version).
pub(super) fn check(digest: &str) -> Result<(), String> {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return Err(format!(
            "{digest:?} is not a digest: an algorithm, a colon and hexadecimal digits"
        ));
    };
    if algorithm != "sha256" {
        return Err(format!("{digest:?} is not a sha256 digest, and no other is supported"));
    }
    if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("{digest:?} does not have 64 lower-case hexadecimal digits"));
    }
    Ok(())
}

/// The digest of these bytes.
pub(super) fn of(data: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(data) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The chain ID of each layer, the lowest layer first. A layer's snapshot has its chain ID as name
/// (OCI image specification, `config.md`, "Layer ChainID").
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            Some(below) => of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(id);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_sha256_and_nothing_else() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(b""), empty);
        check(empty).unwrap();
        for bad in ["", "sha256", "sha256:", "sha512:00", &empty.to_uppercase(), &empty[..70]] {
            check(bad).unwrap_err();
        }
    }

    #[test]
    fn chains_the_layers() {
        let ids = ["sha256:a".to_owned(), "sha256:b".to_owned()];
        let chain = chain_ids(&ids);
        assert_eq!(chain, ["sha256:a".to_owned(), of(b"sha256:a sha256:b")]);
        assert!(chain_ids(&[]).is_empty());
    }
}
