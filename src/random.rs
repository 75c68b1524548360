//! Random names, for objects that must not share a name with another client's.

use crate::error::{Error, Result};

/// Sixteen random bytes, in hexadecimal.
pub(crate) fn random_hex() -> Result<String> {
    let mut bytes = [0u8; 16];
    // For so few bytes, the kernel never returns fewer than asked for (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("getrandom", e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_differ() {
        let (a, b) = (random_hex().unwrap(), random_hex().unwrap());
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
