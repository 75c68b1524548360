//! References: names of images that say where to pull them from (distribution/reference).

use std::fmt;

use super::digest;
use crate::error::{Error, Result};

/// The registry of a reference that names none.
const DEFAULT_DOMAIN: &str = "docker.io";

/// The longest name, registry and path together (distribution `reference.NameTotalLengthMax`).
const MAX_NAME: usize = 255;

/// The longest tag (distribution `reference.TagRegexp`).
const MAX_TAG: usize = 128;

/// A complete reference, such as `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The registry, with its port if one is given.
    pub(super) domain: String,
    /// The repository's path within the registry.
    pub(super) path: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Parses the argument `reference` and completes it: `busybox` means
    /// `docker.io/library/busybox:latest`.
    pub(crate) fn parse(text: &str) -> Result<Reference> {
        Reference::parse_argument("reference", text)
    }

    /// The same for an argument of another name.
    pub(crate) fn parse_argument(argument: &str, text: &str) -> Result<Reference> {
        let invalid = |why: &str| Err(Error::invalid(argument, format!("{text:?} {why}")));
        if text.is_empty() {
            return Err(Error::invalid(argument, "must not be empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                digest::check(digest)
                    .map_err(|why| Error::invalid(argument, format!("{text:?}: {why}")))?;
                (rest, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest.get(last..).and_then(|part| part.find(':')) {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return invalid("has a malformed tag");
        }

        let (domain, path) = split_domain(name);
        if !is_domain(domain) {
            return invalid("has a malformed registry");
        }
        if path.is_empty() {
            return invalid("names no repository");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return invalid("has upper-case letters in the repository's name");
        }
        if !path.split('/').all(is_path_component) {
            return invalid("has a malformed repository name");
        }
        if name == path && path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
            return invalid("is the identifier of an image and names no repository");
        }
        let (domain, path) = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            (domain, format!("library/{path}"))
        } else {
            (domain, path.to_owned())
        };
        if domain.len() + 1 + path.len() > MAX_NAME {
            return invalid(&format!("has a name of more than {MAX_NAME} characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Reference { domain: domain.to_owned(), path, tag, digest })
    }

    /// The name to ask the registry for: the digest if there is one, otherwise the tag.
    pub(super) fn object(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Splits a name into registry and path. The first component is a registry if it has a dot, a port or
/// a capital, or is `localhost` (distribution `splitDockerDomain`).
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_DOMAIN, path),
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

/// Whether this is a host's name or address, with or without a port.
pub(super) fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return false,
            };
            return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_none_or(is_port);
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let is_label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Whether this is lower-case letters and digits, joined by one `.`, one or two `_`, or any number of
/// `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = component.split(|c: char| c.is_ascii() && alphanumeric(c as u8));
    component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric)
        && separators
            .filter(|s| !s.is_empty())
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.bytes().next().is_some_and(word)
        && tag.len() <= MAX_TAG
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn completes_short_references() {
        let digest = format!("sha256:{HEX}");
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[2001:db8::1]/app", "[2001:db8::1]/app:latest"),
            ("registry.example/a__b/c--d/e.f", "registry.example/a__b/c--d/e.f:latest"),
            ("Upper/app", "Upper/app:latest"),
        ] {
            assert_eq!(Reference::parse(short).unwrap().to_string(), full);
            assert_eq!(Reference::parse(full).unwrap().to_string(), full, "not stable");
        }
        let both = format!("localhost:5000/a/b:tag@{digest}");
        let parsed = Reference::parse(&both).unwrap();
        assert_eq!((parsed.to_string(), parsed.object()), (both, digest.as_str()));
        let only = Reference::parse(&format!("busybox@{digest}")).unwrap();
        assert_eq!(only.to_string(), format!("docker.io/library/busybox@{digest}"));
    }

    #[test]
    fn refuses_malformed_references() {
        let long = format!("registry.example/{}", "a".repeat(239));
        let tag = format!("a:{}", "t".repeat(129));
        let short_digest = format!("a@sha256:{}", &HEX[1..]);
        let upper_digest = format!("a@sha256:{}", HEX.to_uppercase());
        for bad in [
            "",
            " ",
            "/",
            ":",
            "@",
            "a b",
            "a/",
            "/a",
            "a//b",
            "Busybox",
            "a:",
            "a:-t",
            "a:t:u",
            "a@",
            "a@sha256",
            "a@sha256:",
            "a@md5:00",
            "a@sha256:../../x",
            &short_digest,
            &upper_digest,
            HEX,
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "reg.io:port/a",
            "reg.io:70000/a",
            "-reg.io/a",
            "http://reg.io/a",
            "[::1/a",
            "[::g]/a",
            "a\0b",
            "ä",
            "docker.io/",
            &long,
            &tag,
        ] {
            let error = Reference::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
            assert!(error.message().starts_with("reference: "), "{error}");
        }
        let just = format!("registry.example/{}", "a".repeat(238));
        assert_eq!(just.len(), MAX_NAME);
        Reference::parse(&just).unwrap();
        Reference::parse(&format!("a:{}", "t".repeat(128))).unwrap();
    }
}
