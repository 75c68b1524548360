//! Platforms: which manifest of an image runs on a machine.

use std::fmt;

use crate::error::{Error, Result};

/// An operating system and a processor, normalised (containerd `platforms.Normalize`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    os: String,
    architecture: String,
    /// Empty for the architecture's usual variant.
    variant: String,
}

impl Platform {
    /// This machine's platform.
    pub(super) fn host() -> Platform {
        let variant = if cfg!(target_arch = "arm") { "v7" } else { "" };
        Platform::new("linux", std::env::consts::ARCH, variant)
    }

    /// Parses the argument `platform`: `linux/amd64`, `linux/arm64/v8`.
    pub(super) fn parse(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_part = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => ("", "", ""),
        };
        if os.is_empty() || !parts.iter().all(is_part) {
            return Err(Error::invalid(
                "platform",
                format!("{text:?} is not <os>/<architecture> or <os>/<architecture>/<variant>"),
            ));
        }
        Ok(Platform::new(os, architecture, variant))
    }

    /// A platform as a manifest or a configuration names it.
    pub(super) fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "x86", _) => ("386", ""),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            ("powerpc64", variant) if cfg!(target_endian = "little") => ("ppc64le", variant),
            (architecture, variant) => (architecture, variant),
        };
        Platform {
            os: os.to_lowercase(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// How well `other` runs on this platform: 0 is best, and `None` means that it does not run
    /// (containerd `platforms.Only`).
    pub(super) fn rank(&self, other: &Platform) -> Option<usize> {
        if self.os != other.os {
            return None;
        }
        self.compatible().iter().position(|(architecture, variant)| {
            *architecture == other.architecture && *variant == other.variant
        })
    }

    /// The architectures and variants that run on this processor, the best first.
    fn compatible(&self) -> Vec<(&str, String)> {
        let mut all = vec![(self.architecture.as_str(), self.variant.clone())];
        let number = self.variant.strip_prefix('v').and_then(|n| n.parse::<u8>().ok());
        match self.architecture.as_str() {
            "amd64" => {
                let lower = (2..number.unwrap_or(1).min(9)).rev();
                all.extend(lower.map(|n| ("amd64", format!("v{n}"))));
                if number.is_some() {
                    all.push(("amd64", String::new()));
                }
                all.push(("386", String::new()));
            }
            "arm64" => {
                if number.is_some() {
                    all.push(("arm64", String::new()));
                }
                all.extend((5..=8).rev().map(|n| ("arm", format!("v{n}"))));
            }
            "arm" => {
                let lower = (5..number.unwrap_or(7).clamp(5, 9)).rev();
                all.extend(lower.map(|n| ("arm", format!("v{n}"))));
            }
            _ => {}
        }
        all
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(wanted: &str, offered: &str) -> Option<usize> {
        Platform::parse(wanted).unwrap().rank(&Platform::parse(offered).unwrap())
    }

    #[test]
    fn normalises() {
        for (written, meant) in [
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/i386", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(Platform::parse(written).unwrap().to_string(), meant);
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "linux/am d"] {
            let error = Platform::parse(bad).expect_err(bad);
            assert!(error.message().starts_with("platform: "), "{error}");
        }
    }

    #[test]
    fn prefers_its_own_platform_and_accepts_compatible_ones() {
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert!(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert!(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        assert!(rank("linux/arm/v6", "linux/arm/v5").is_some());
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/amd64", "unknown/unknown"), None);
    }
}
