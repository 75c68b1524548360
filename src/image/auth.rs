//! Credentials, a registry's challenges, and the tokens that answer them (RFC 9110 section 11; the
//! distribution specification's token authentication).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use ureq::http::Uri;

use super::{reference, url};
use crate::error::{Error, ErrorKind, Result};

/// Docker Hub and its token server, so that nobody has to list it in `token_hosts`.
const DOCKER_HUB: (&str, &str) = ("registry-1.docker.io", "auth.docker.io");

/// The credentials of a registry's user. Their `Debug` text does not contain the secret.
///
/// ```
/// use ctrd::Credentials;
///
/// let credentials = Credentials::new("robot", "hunter2");
/// assert!(!format!("{credentials:?}").contains("hunter2"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Credentials {
    /// Empty if the secret is an identity token.
    pub(super) username: String,
    pub(super) secret: String,
}

impl Credentials {
    /// A user's name, and the password or access token. If the name is empty, the secret is an identity
    /// token.
    pub fn new(username: impl Into<String>, secret: impl Into<String>) -> Credentials {
        Credentials { username: username.into(), secret: secret.into() }
    }

    /// An identity token (an OAuth2 refresh token), which some registries give instead of a password.
    pub fn identity_token(token: impl Into<String>) -> Credentials {
        Credentials::new("", token)
    }

    /// The value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.username, self.secret);
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A challenge of a `WWW-Authenticate` header.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Challenge {
    /// In lower case.
    pub(super) scheme: String,
    /// Keys in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Parses a header, which may contain several challenges.
    pub(super) fn parse(header: &str) -> Vec<Challenge> {
        let mut all: Vec<Challenge> = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',', '=', '"']);
            if rest.is_empty() {
                return all;
            }
            let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            match (rest.strip_prefix('='), all.last_mut()) {
                (Some(value), Some(challenge)) => {
                    let (value, after) = parameter_value(value.trim_start());
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                    rest = after;
                }
                _ => all
                    .push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() }),
            }
        }
    }

    /// The scopes of the token: the right to pull from the repository, and what the challenge names.
    fn scopes(&self, path: &str) -> Vec<String> {
        let mut scopes = vec![format!("repository:{path}:pull")];
        scopes.extend(self.get("scope").unwrap_or_default().split(' ').map(str::to_owned));
        scopes.retain(|scope| !scope.is_empty());
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// The fields of the token request for a repository.
    pub(super) fn fields(&self, path: &str) -> Vec<(&'static str, String)> {
        let service = self.get("service").map(|service| ("service", service.to_owned()));
        let scopes = self.scopes(path).into_iter().map(|scope| ("scope", scope));
        service.into_iter().chain(scopes).collect()
    }

    /// The URL of the token server. The author of the challenge chooses it, so credentials are sent
    /// to the registry's own host (on any port) and to the `allowed` hosts only. Nothing is sent to an
    /// HTTP token server on another host.
    pub(super) fn realm(
        &self,
        registry: &Uri,
        has_credentials: bool,
        allowed: &[String],
    ) -> Result<Uri> {
        let text = self.get("realm").unwrap_or_default();
        let refuse = |why: String| {
            Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("the registry refers to {text:?} for a token, {why}"),
            ))
        };
        let Ok(realm) = text.parse::<Uri>() else { return refuse("which is not a URL".into()) };
        let Some(host) = realm.host() else { return refuse("which names no host".into()) };
        let own = registry.host().unwrap_or_default();
        let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let trusted = is(host, own) || allowed.iter().any(|entry| matches_host(entry, &realm));
        let hub = is(own, DOCKER_HUB.0) && is(host, DOCKER_HUB.1);
        match (realm.scheme_str(), registry.scheme_str()) {
            (Some("https"), _) if trusted || hub || !has_credentials => Ok(realm),
            (Some("http"), Some("http")) if trusted => Ok(realm),
            (Some("https"), _) | (Some("http"), Some("http")) => refuse(format!(
                "which is not on the registry's own host, so nothing was sent there; if you trust \
                 the host, name {host:?} in token_hosts"
            )),
            _ => refuse("which is not HTTPS".into()),
        }
    }
}

/// Checks the argument `token_hosts`.
pub(super) fn check_token_hosts(hosts: &[String]) -> Result<()> {
    match hosts.iter().enumerate().find(|(_, host)| !reference::is_domain(host)) {
        None => Ok(()),
        Some((i, bad)) => Err(Error::invalid(
            &format!("token_hosts[{i}]"),
            format!("{bad:?} is neither a host name nor a host name with a port (host:port)"),
        )),
    }
}

/// Whether an entry of `token_hosts` matches a URL: `host` matches every port, `host:port` that port.
fn matches_host(entry: &str, url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    entry.eq_ignore_ascii_case(host)
        || entry.eq_ignore_ascii_case(&format!("{host}:{}", url::port(url)))
}

/// Splits a parameter's value, which may be in quotes, from the rest of the header.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// Encodes fields for a query or a form.
pub(super) fn encode(fields: &[(&str, String)]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (key, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Reads the token from a token server's answer.
pub(super) fn token(body: &[u8]) -> Result<String> {
    let protocol = |why| Error::new(ErrorKind::Protocol, why);
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| protocol("the token server's answer is not JSON"))?;
    // containerd's client prefers `access_token` too.
    let token = ["access_token", "token"]
        .iter()
        .find_map(|key| answer.get(key)?.as_str().filter(|token| !token.is_empty()))
        .ok_or_else(|| protocol("the token server's answer has no token"))?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(protocol("the token server's token has characters that no token may have"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_challenges() {
        let all = Challenge::parse(
            r#"Basic realm="a \"b\", c", Bearer realm="https://auth.example/token",service=reg,scope="repository:a/b:pull x""#,
        );
        let schemes: Vec<_> = all.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer"]);
        assert_eq!(all[0].get("realm"), Some("a \"b\", c"));
        assert_eq!(all[1].get("service"), Some("reg"));
        assert_eq!(all[1].scopes("a/b"), ["repository:a/b:pull", "x"]);
        assert_eq!(
            encode(&all[1].fields("a/b")),
            "service=reg&scope=repository%3Aa%2Fb%3Apull&scope=x"
        );
        for odd in ["", ",", "=", "\"", "Bearer", "Bearer realm", "Bearer realm=", "a=\"\\", "é=ü"]
        {
            Challenge::parse(odd);
        }
    }

    fn realm(realm: &str, registry: &str, has_credentials: bool, allowed: &[&str]) -> Result<Uri> {
        let challenge = &Challenge::parse(&format!("Bearer realm=\"{realm}\""))[0];
        let allowed: Vec<_> = allowed.iter().map(|&host| host.to_owned()).collect();
        challenge.realm(&registry.parse().unwrap(), has_credentials, &allowed)
    }

    #[test]
    fn trusts_only_safe_realms() {
        let everywhere = ["registry.example", "auth.example", "127.0.0.1"];
        for (to, registry) in [
            ("http://auth.example/token", "https://registry.example"),
            ("http://registry.example/token", "https://registry.example"),
            ("http://127.0.0.1:5000/token", "https://127.0.0.1:5000"),
            ("file:///etc/passwd", "http://registry.example"),
            ("", "https://registry.example"),
            ("/token", "https://registry.example"),
        ] {
            for has_credentials in [false, true] {
                let error = realm(to, registry, has_credentials, &everywhere).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
                assert!(!error.message().contains("token_hosts"), "{error}");
            }
        }
        for (to, registry) in [
            ("https://registry.example/token", "https://registry.example"),
            ("https://Registry.Example/token", "https://registry.example:5000"),
            ("https://registry.example:5001/token", "https://registry.example:5000"),
            ("https://registry.example/token", "http://registry.example"),
            ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000"),
            ("https://auth.docker.io/token", "https://registry-1.docker.io"),
        ] {
            for has_credentials in [false, true] {
                realm(to, registry, has_credentials, &[]).unwrap();
            }
        }
    }

    #[test]
    fn credentials_go_to_another_host_only_if_it_is_allowed() {
        let other = "https://gitlab.example/jwt/auth";
        for (to, registry, anonymous) in [
            (other, "https://registry.gitlab.example", true),
            (other, "http://registry.gitlab.example", true),
            ("http://gitlab.example/jwt/auth", "http://registry.gitlab.example", false),
        ] {
            assert_eq!(realm(to, registry, false, &[]).is_ok(), anonymous, "{to} {registry}");
            for allowed in [&[][..], &["registry.gitlab.example", "example", "gitlab.example:1"]] {
                let error = realm(to, registry, true, allowed).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated);
                for part in [to, "nothing was sent", "name \"gitlab.example\" in token_hosts"] {
                    assert!(error.message().contains(part), "{error}");
                }
            }
            let port = if to.starts_with("https") { 443 } else { 80 };
            for allowed in ["gitlab.example", "GitLab.Example", &format!("gitlab.example:{port}")] {
                realm(to, registry, true, &["a", allowed]).unwrap();
            }
        }
        let (to, registry) = ("https://gitlab.example:8443/", "https://registry.gitlab.example");
        realm(to, registry, true, &["gitlab.example:443"]).unwrap_err();
        realm(to, registry, true, &["gitlab.example:8443"]).unwrap();
        realm(to, registry, true, &["gitlab.example"]).unwrap();
        realm("https://[::1]:5001/", "http://127.0.0.1:5000", true, &["[::1]:5001"]).unwrap();
        // URLs that resemble a trusted host at a glance.
        for to in [
            "https://registry.example@evil.example/",
            "https://registry.example.evil.example/",
            "https://evil.example/registry.example",
            "https://auth.docker.io/token",
        ] {
            realm(to, "https://registry.example", true, &[]).unwrap_err();
        }
        for to in ["https://auth.docker.io.evil.example/", "http://auth.docker.io/token"] {
            realm(to, "https://registry-1.docker.io", true, &[]).unwrap_err();
        }
    }

    #[test]
    fn refuses_malformed_token_hosts() {
        let check = |host: &str| check_token_hosts(&["gitlab.com".into(), host.into()]);
        for good in ["gitlab.com", "localhost", "auth.example:8443", "127.0.0.1:5000", "[::1]:1"] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "https://gitlab.com",
            "gitlab.com/",
            "gitlab.com/jwt/auth",
            "gitlab.com:",
            "gitlab.com:x",
            "gitlab.com:65536",
            "*.gitlab.com",
            "user@gitlab.com",
            "git lab.com",
            "::1",
        ] {
            let error = check(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with("token_hosts[1]: "), "{error}");
        }
    }

    #[test]
    fn reads_tokens() {
        assert_eq!(token(br#"{"token":"a","access_token":"b"}"#).unwrap(), "b");
        assert_eq!(token(br#"{"token":"a","access_token":""}"#).unwrap(), "a");
        for bad in ["", "{}", "[]", r#"{"token":1}"#, "{\"token\":\"a\\r\\nx: y\"}"] {
            token(bad.as_bytes()).unwrap_err();
        }
    }
}
