//! What a registry's challenge says, and the token it sends one for (RFC 9110 section 11; the
//! distribution specification's token authentication).

use serde_json::Value;
use ureq::http::Uri;

use crate::error::{Error, ErrorKind, Result};

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

    /// Where the token is asked for. Over HTTP the challenge may be anybody's, so that secrets then
    /// go to the registry's own host alone; and an HTTP token server on another host gets nothing.
    pub(super) fn realm(&self, registry: &Uri, secret: bool) -> Result<Uri> {
        let text = self.get("realm").unwrap_or_default();
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("the registry sends to {text:?} for a token, {why}"),
            ))
        };
        let Ok(realm) = text.parse::<Uri>() else { return refuse("which is no address") };
        let Some(host) = realm.host() else { return refuse("which names no host") };
        let same_host = registry.host().is_some_and(|own| own.eq_ignore_ascii_case(host));
        match (realm.scheme_str(), registry.scheme_str()) {
            (Some("https"), Some("https")) => Ok(realm),
            (Some("https"), _) if same_host || !secret => Ok(realm),
            (Some("http"), Some("http")) if same_host => Ok(realm),
            (Some("https"), _) => {
                refuse("another host, which over plain HTTP cannot be trusted with credentials")
            }
            _ => refuse("which is not safe"),
        }
    }
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

    #[test]
    fn trusts_only_safe_realms() {
        let realm = |realm: &str, registry: &str, secret: bool| {
            let header = format!("Bearer realm=\"{realm}\"");
            Challenge::parse(&header)[0].realm(&registry.parse().unwrap(), secret).is_ok()
        };
        for secret in [false, true] {
            assert!(realm("https://auth.docker.io/token", "https://registry-1.docker.io", secret));
            assert!(realm("http://127.0.0.1:5001/token", "http://127.0.0.1:5000", secret));
            assert!(!realm("http://auth.example/token", "https://registry.example", secret));
            assert!(!realm("http://registry.example/token", "https://registry.example", secret));
            assert!(!realm("http://auth.example/token", "http://registry.example", secret));
            assert!(!realm("file:///etc/passwd", "http://registry.example", secret));
            assert!(!realm("", "https://registry.example", secret));
            assert!(!realm("/token", "https://registry.example", secret));
        }
        assert!(realm("https://auth.example/token", "http://registry.example", false));
        assert!(!realm("https://auth.example/token", "http://registry.example", true));
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
