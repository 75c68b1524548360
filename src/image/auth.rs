//! What a registry's challenge says, and the token it sends one for (RFC 9110 section 11; the
//! distribution specification's token authentication).

use serde_json::Value;
use ureq::http::Uri;

use super::{reference, transport};
use crate::error::{Error, ErrorKind, Result};

/// Docker Hub and its token server, which everybody uses and nobody should have to allow.
const DOCKER_HUB: (&str, &str) = ("registry-1.docker.io", "auth.docker.io");

/// One `WWW-Authenticate` challenge.
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

    /// The challenges of a header, which may hold several.
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

    /// The scopes of the token to ask for: what is needed here, and what the challenge names.
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

    /// Where the token is asked for. Whoever can write the challenge chooses the address, so that
    /// secrets go to the registry's own host, on whatever port, and to the `allowed` hosts alone. An
    /// HTTP token server on another host gets nothing.
    pub(super) fn realm(&self, registry: &Uri, secret: bool, allowed: &[String]) -> Result<Uri> {
        let text = self.get("realm").unwrap_or_default();
        let refuse = |why: String| {
            Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("the registry sends to {text:?} for a token, {why}"),
            ))
        };
        let Ok(realm) = text.parse::<Uri>() else { return refuse("which is no address".into()) };
        let Some(host) = realm.host() else { return refuse("which names no host".into()) };
        let own = registry.host().unwrap_or_default();
        let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let trusted = is(host, own) || allowed.iter().any(|entry| names(entry, &realm));
        let hub = is(own, DOCKER_HUB.0) && is(host, DOCKER_HUB.1);
        match (realm.scheme_str(), registry.scheme_str()) {
            (Some("https"), _) if trusted || hub || !secret => Ok(realm),
            (Some("http"), Some("http")) if trusted => Ok(realm),
            (Some("https"), _) | (Some("http"), Some("http")) => refuse(format!(
                "which is another host than its own, so nothing was sent there; if the host is to \
                 be trusted, name {host:?} in token_hosts"
            )),
            _ => refuse("which is not safe".into()),
        }
    }
}

/// Checks the hosts that a caller allows as token servers.
pub(super) fn check_token_hosts(hosts: &[String]) -> Result<()> {
    match hosts.iter().enumerate().find(|(_, host)| !reference::is_domain(host)) {
        None => Ok(()),
        Some((i, bad)) => Err(Error::invalid(
            &format!("token_hosts[{i}]"),
            format!("{bad:?} is neither the name of a host nor one with a port (host:port)"),
        )),
    }
}

/// Whether an entry of `token_hosts` names an address's host: `host` on every port, `host:port` on
/// that one.
fn names(entry: &str, url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    entry.eq_ignore_ascii_case(host)
        || entry.eq_ignore_ascii_case(&format!("{host}:{}", transport::port(url)))
}

/// A parameter's value, plain or in quotes, and what follows.
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

/// Fields as a query or a form holds them.
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

/// The token of a token server's answer.
pub(super) fn token(body: &[u8]) -> Result<String> {
    let protocol = |why| Error::new(ErrorKind::Protocol, why);
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| protocol("the token server's answer is not JSON"))?;
    // Go's client prefers it so.
    let token = ["access_token", "token"]
        .iter()
        .find_map(|key| answer.get(key)?.as_str().filter(|token| !token.is_empty()))
        .ok_or_else(|| protocol("the token server's answer has no token"))?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(protocol("the token server's token is none"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
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

    fn realm(realm: &str, registry: &str, secret: bool, allowed: &[&str]) -> Result<Uri> {
        let challenge = &Challenge::parse(&format!("Bearer realm=\"{realm}\""))[0];
        let allowed: Vec<_> = allowed.iter().map(|&host| host.to_owned()).collect();
        challenge.realm(&registry.parse().unwrap(), secret, &allowed)
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
            for secret in [false, true] {
                let error = realm(to, registry, secret, &everywhere).unwrap_err();
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
            for secret in [false, true] {
                realm(to, registry, secret, &[]).unwrap();
            }
        }
    }

    #[test]
    fn sends_secrets_to_another_host_only_where_that_is_allowed() {
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
                for said in [to, "nothing was sent", "name \"gitlab.example\" in token_hosts"] {
                    assert!(error.message().contains(said), "{error}");
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
        // What an address may look like at a glance, and is not.
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
    fn refuses_token_hosts_that_are_none() {
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
