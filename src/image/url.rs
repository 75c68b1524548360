//! URLs of registries and token servers: parsing and comparing them, and following redirects.

use std::net::IpAddr;

use ureq::http::{Response, Uri, header};

use crate::error::{Error, ErrorKind, Result};

/// Parses the text of a URL that came from a registry or a manifest.
pub(super) fn parse(url: &str) -> Result<Uri> {
    url.parse().map_err(|e| Error::new(ErrorKind::Protocol, format!("{url:?} is not a URL: {e}")))
}

/// The port of a URL, by its scheme if it names none.
pub(super) fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 })
}

/// Whether both URLs have the same scheme, host and port.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    a.scheme() == b.scheme()
        && port(a) == port(b)
        && matches!((a.host(), b.host()), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

/// Whether a host's name or address is this machine's own.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A URL without its query, which may contain a signature. For error messages.
pub(super) fn without_query(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let port = url.port_u16().map_or(String::new(), |port| format!(":{port}"));
    format!("{scheme}://{}{port}{}", url.host().unwrap_or_default(), url.path())
}

/// An answer from this URL that HTTP or the distribution specification does not allow.
pub(super) fn protocol_error(url: &Uri, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("{}: {why}", without_query(url)))
}

/// The target of a redirect. A redirect from HTTPS to HTTP is refused.
pub(super) fn redirect_target<T>(from: &Uri, response: &Response<T>) -> Result<Uri> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| protocol_error(from, "a redirect without a location"))?;
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let to = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let to = parse(&to)?;
    match (scheme, to.scheme_str()) {
        (_, Some("https")) | ("http", Some("http")) if to.host().is_some() => Ok(to),
        ("https", Some("http")) => Err(protocol_error(from, "a redirect from HTTPS to HTTP")),
        _ => Err(protocol_error(from, "a redirect to a URL that is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_loopback_hosts() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["docker.io", "localhost.example", "128.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_redirect_stays_on_https() {
        let to = |from: &str, location: &str| {
            let response = Response::builder().header("location", location).body(()).unwrap();
            redirect_target(&from.parse().unwrap(), &response).map(|url| url.to_string())
        };
        assert_eq!(to("https://a/v2/x", "/y?z").unwrap(), "https://a/y?z");
        assert_eq!(to("https://a:1/v2/x", "//b/y").unwrap(), "https://b/y");
        assert_eq!(to("http://a/x", "https://b/y").unwrap(), "https://b/y");
        for bad in ["http://b/y", "file:///etc/passwd", "ftp://b/", "y", ""] {
            to("https://a/x", bad).expect_err(bad);
        }
    }
}
