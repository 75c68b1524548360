//! The client of one repository in one registry (OCI distribution specification).

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, BodyReader};

use super::auth::{self, Challenge, Credentials};
use super::manifest::{self, MAX_DOCUMENT};
use super::pull_config::PullConfig;
use super::reference::Reference;
use super::{digest, transport, url};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::content::Descriptor;
use crate::wait::block_on;

/// How much of an error's body is read at most, in bytes.
const MAX_ERROR: u64 = 64 << 10;

/// How long a token server's answer may be, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// How much of a registry's error is repeated in ours at most, in characters.
const MAX_ERROR_TEXT: usize = 300;

/// How many redirects are followed for one request (as Go's client does).
const MAX_REDIRECTS: usize = 10;

/// How often a request is made that may succeed if it is repeated.
const ATTEMPTS: u32 = 3;

/// How long to wait before a request is repeated; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(200);

/// A repository. Credentials and tokens are sent to its own registry only, which means the same
/// scheme, host and port; credentials also to its token server if [`Challenge::realm`] allows it.
pub(super) struct Registry {
    agent: Agent,
    limits: Limits,
    domain: String,
    path: String,
    plain_http: bool,
    credentials: Option<Credentials>,
    token_hosts: Vec<String>,
    state: Mutex<State>,
}

struct State {
    /// The scheme, host and port that requests are sent to, such as `https://host:port`.
    origin: String,
    /// The `Authorization` header that answered the last challenge.
    authorization: Option<String>,
}

/// A blob that is being downloaded.
pub(super) struct Blob {
    pub(super) reader: BodyReader<'static>,
    /// The offset in the blob of the first byte that the reader gives.
    pub(super) start: u64,
}

type RequestResult<T> = std::result::Result<T, RequestError>;

/// Why a request failed.
enum RequestError {
    /// The server uses TLS, but its certificate is invalid or is not trusted.
    Certificate(Error),
    Other(Error),
}

impl From<Error> for RequestError {
    fn from(error: Error) -> RequestError {
        RequestError::Other(error)
    }
}

impl RequestError {
    fn into_error(self) -> Error {
        match self {
            RequestError::Certificate(error) | RequestError::Other(error) => error,
        }
    }
}

impl Registry {
    pub(super) fn new(reference: &Reference, config: &PullConfig, limits: &Limits) -> Registry {
        let host = match reference.domain.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        // As for other clients, a registry on this machine uses HTTP, unless its port is that of HTTPS.
        let http = config.plain_http || is_local(host) && !host.ends_with(":443");
        let scheme = if http { "http" } else { "https" };
        Registry {
            agent: transport::agent(limits),
            limits: limits.clone(),
            domain: reference.domain.clone(),
            path: reference.path.clone(),
            plain_http: config.plain_http,
            credentials: config.credentials.clone(),
            token_hosts: config.token_hosts.clone(),
            state: Mutex::new(State { origin: format!("{scheme}://{host}"), authorization: None }),
        }
    }

    /// The label that names a blob's repository (containerd's `distribution.source`).
    pub(super) fn source_label(&self) -> (String, String) {
        let host = match self.domain.rfind(':') {
            Some(colon) if !self.domain.ends_with(']') => &self.domain[..colon],
            _ => self.domain.as_str(),
        };
        (format!("containerd.io/distribution.source.{host}"), self.path.clone())
    }

    /// Resolves a tag or a digest to the descriptor of a manifest or an index.
    pub(super) fn resolve(&self, object: &str) -> Result<Descriptor> {
        let origin = self.origin();
        let secure = origin.replacen("http://", "https://", 1);
        if !self.plain_http && secure != origin {
            match self.head(object).map_err(RequestError::into_error) {
                // A registry that uses HTTPS answers a request in HTTP with a status and a text, with a
                // TLS alert, or by closing the connection.
                Err(e)
                    if matches!(e.kind(), ErrorKind::Protocol | ErrorKind::Unavailable)
                        && e.errno() != Some(libc::ECONNREFUSED) =>
                {
                    self.state().origin = secure;
                    match self.head(object) {
                        Ok(resolved) => return Ok(resolved),
                        // It does use HTTPS: an error of HTTP would hide the reason.
                        Err(RequestError::Certificate(e)) => return Err(e),
                        Err(RequestError::Other(_)) => self.state().origin = origin,
                    }
                }
                Err(e) if e.is_retryable() => {}
                other => return other,
            }
        }
        self.retrying(|| self.head(object).map_err(RequestError::into_error))
    }

    fn head(&self, object: &str) -> RequestResult<Descriptor> {
        let url = format!("{}/v2/{}/manifests/{object}", self.origin(), self.path);
        let response = self.send("HEAD", &url, manifest::ACCEPT, 0)?;
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let digest = text("docker-content-digest").filter(|text| digest::check(text).is_ok());
        let size = text("content-length").and_then(|text| text.parse::<u64>().ok());
        match (response.status(), digest, size) {
            (StatusCode::OK, Some(digest), Some(size)) if size > 0 => {
                if object.contains(':') && object != digest {
                    let why = format!("the registry has {digest} for {object}");
                    return Err(mismatch(&why).into());
                }
                if size > MAX_DOCUMENT {
                    return Err(too_long("the manifest", MAX_DOCUMENT).into());
                }
                let media_type = media_type(&response);
                Ok(Descriptor { digest: digest.to_owned(), size, media_type, ..Default::default() })
            }
            // Some registries leave headers out or do not support HEAD.
            (StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED, ..) => {
                let (data, media_type) = self.get_manifest(object)?;
                let (digest, size) = (digest::of(&data), data.len() as u64);
                Ok(Descriptor { digest, size, media_type, ..Default::default() })
            }
            _ => Err(self.refusal(response, &format!("{}:{object}", self.path)).into()),
        }
    }

    /// Fetches a manifest or an index by its digest, and checks that the content has this digest.
    pub(super) fn manifest(&self, digest: &str) -> Result<Vec<u8>> {
        self.retrying(|| self.get_manifest(digest)).map(|(data, _)| data)
    }

    fn get_manifest(&self, object: &str) -> Result<(Vec<u8>, String)> {
        let url = format!("{}/v2/{}/manifests/{object}", self.origin(), self.path);
        let response = self.get(&url, manifest::ACCEPT, 0)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, &format!("{}:{object}", self.path)));
        }
        let media_type = media_type(&response);
        let data = self.read_all(response, MAX_DOCUMENT, "the manifest")?;
        if object.contains(':') && digest::of(&data) != object {
            return Err(mismatch(&format!("the registry sent another manifest than {object}")));
        }
        Ok((data, media_type))
    }

    /// Fetches a small blob, and checks its size and digest.
    pub(super) fn small_blob(&self, digest: &str, size: u64) -> Result<Vec<u8>> {
        self.retrying(|| {
            let blob = self.blob(digest, size, 0, &[])?;
            let data = self.read_to_end(blob.reader, size, "the blob")?;
            if data.len() as u64 != size || digest::of(&data) != digest {
                return Err(mismatch(&format!("the registry sent another blob than {digest}")));
            }
            Ok(data)
        })
    }

    /// Begins to download a blob, at the offset `from` if the registry supports ranges. If the registry
    /// does not have the blob, the `urls` of its descriptor are tried, without credentials.
    pub(super) fn blob(&self, digest: &str, size: u64, from: u64, urls: &[String]) -> Result<Blob> {
        let own = format!("{}/v2/{}/blobs/{digest}", self.origin(), self.path);
        let mut missing = None;
        for url in std::iter::once(&own).chain(urls) {
            if *url != own && !self.may_fetch_from(url) {
                continue;
            }
            let mut response = self.get(url, "*/*", from)?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                response = self.get(url, "*/*", 0)?;
            }
            let start = match response.status() {
                StatusCode::OK => 0,
                StatusCode::PARTIAL_CONTENT if starts_at(&response, from) => from,
                StatusCode::NOT_FOUND => {
                    missing.get_or_insert(self.refusal(response, digest));
                    continue;
                }
                _ => return Err(self.refusal(response, digest)),
            };
            let length = response.body().content_length();
            if length.is_some_and(|length| start.checked_add(length) != Some(size)) {
                return Err(mismatch(&format!(
                    "the blob {digest} does not have the {size} bytes that its manifest says"
                )));
            }
            return Ok(Blob { reader: response.into_body().into_reader(), start });
        }
        Err(missing
            .unwrap_or_else(|| Error::new(ErrorKind::NotFound, format!("{digest}: not found"))))
    }

    /// Makes a request, and repeats it if it fails with a retryable error.
    fn retrying<T>(&self, mut request: impl FnMut() -> Result<T>) -> Result<T> {
        let mut attempt = 1;
        loop {
            match request() {
                Err(e) if e.is_retryable() && attempt < ATTEMPTS => {
                    pause(&self.limits, BACK_OFF * 2u32.pow(attempt - 1))?;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn get(&self, url: &str, accept: &str, from: u64) -> Result<Response<Body>> {
        self.send("GET", url, accept, from).map_err(RequestError::into_error)
    }

    /// Sends a request, follows redirects and answers challenges.
    fn send(
        &self,
        method: &str,
        url: &str,
        accept: &str,
        from: u64,
    ) -> RequestResult<Response<Body>> {
        let mut url = url::parse(url)?;
        let (mut redirects, mut challenges) = (0, 0);
        loop {
            let own = url::same_origin(&url, &url::parse(&self.origin())?);
            let authorization = if own { self.state().authorization.clone() } else { None };
            let mut request =
                Request::builder().method(method).uri(&url).header(header::ACCEPT, accept);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request.body(()).map_err(|e| self.request_error(&url, e.into()))?;
            let response = self.agent.run(request).map_err(|e| self.request_error(&url, e))?;
            match response.status() {
                // The first for a missing or expired token, the second for a token of another scope.
                StatusCode::UNAUTHORIZED if own && challenges < 2 => {
                    challenges += 1;
                    if !self.authorize(&response, authorization.as_deref())? {
                        return Ok(response);
                    }
                    // The connection can be reused once the body has been read to its end.
                    let _ = self.read_all(response, MAX_ERROR, "the answer");
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        return Err(url::protocol_error(&url, "too many redirects").into());
                    }
                    url = url::redirect_target(&url, &response)?;
                }
                _ => return Ok(response),
            }
        }
    }

    /// Answers the challenge of a refused request, whose `Authorization` header was `sent`. Returns
    /// false if there is no answer.
    fn authorize(&self, response: &Response<Body>, sent: Option<&str>) -> RequestResult<bool> {
        let current = self.state().authorization.clone();
        if current.as_deref() != sent {
            // Another thread has answered the same challenge meanwhile.
            return Ok(true);
        }
        let all: Vec<Challenge> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(Challenge::parse)
            .collect();
        let find = |scheme: &str| all.iter().find(|challenge| challenge.scheme == scheme);
        let answer = match (find("bearer"), find("basic"), &self.credentials) {
            (Some(challenge), ..) => format!("Bearer {}", self.token(challenge)?),
            (None, Some(_), Some(credentials)) => credentials.basic(),
            _ => return Ok(false),
        };
        if sent == Some(answer.as_str()) {
            return Ok(false);
        }
        self.state().authorization = Some(answer);
        Ok(true)
    }

    /// Asks the token server for a token.
    fn token(&self, challenge: &Challenge) -> RequestResult<String> {
        let origin = url::parse(&self.origin())?;
        let realm = challenge.realm(&origin, self.credentials.is_some(), &self.token_hosts)?;
        let mut fields = challenge.fields(&self.path);
        let request = match &self.credentials {
            // An identity token instead of a password (OAuth2 refresh token).
            Some(credentials) if credentials.username.is_empty() => {
                fields.push(("grant_type", "refresh_token".into()));
                fields.push(("client_id", "ctrd".into()));
                fields.push(("refresh_token", credentials.secret.clone()));
                Request::post(&realm)
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(auth::encode(&fields))
            }
            credentials => {
                let separator = if realm.query().is_some() { '&' } else { '?' };
                let url = format!("{realm}{separator}{}", auth::encode(&fields));
                let mut request = Request::get(url);
                if let Some(credentials) = credentials {
                    request = request.header(header::AUTHORIZATION, credentials.basic());
                }
                request.body(String::new())
            }
        };
        let request = request.map_err(|e| self.request_error(&realm, e.into()))?;
        let response = match request.method().as_str() {
            "GET" => self.agent.run(request.map(|_| ())),
            _ => self.agent.run(request),
        };
        let response = response.map_err(|e| self.request_error(&realm, e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, "a token").into());
        }
        let answer = self.read_all(response, MAX_TOKEN, "the token server's answer")?;
        Ok(auth::token(&answer)?)
    }

    /// Whether a blob may be fetched from a URL that a manifest names.
    fn may_fetch_from(&self, url: &str) -> bool {
        url::parse(url).is_ok_and(|url| match (url.scheme_str(), url.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(host)) => self.plain_http || url::is_loopback(host),
            _ => false,
        })
    }

    /// The error for an answer with an unexpected status. It repeats the registry's own error.
    fn refusal(&self, response: Response<Body>, what: &str) -> Error {
        let status = response.status();
        let kind = match status.as_u16() {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::ResourceExhausted,
            408 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Protocol,
        };
        let mut message = format!("{what}: the registry answered {status}");
        let data = self.read_all(response, MAX_ERROR, "the answer").unwrap_or_default();
        if let Some(text) = error_text(&data) {
            message.push_str(": ");
            message.push_str(&text);
        }
        Error::new(kind, message)
            .with_retryable(matches!(kind, ErrorKind::Unavailable | ErrorKind::ResourceExhausted))
    }

    /// Reads a body of at most `limit` bytes.
    fn read_all(&self, response: Response<Body>, limit: u64, what: &str) -> Result<Vec<u8>> {
        if response.body().content_length().is_some_and(|length| length > limit) {
            return Err(too_long(what, limit));
        }
        self.read_to_end(response.into_body().into_reader(), limit, what)
    }

    fn read_to_end(&self, reader: BodyReader<'_>, limit: u64, what: &str) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        reader.take(limit + 1).read_to_end(&mut data).map_err(|e| self.body_error(e, what))?;
        if data.len() as u64 > limit {
            return Err(too_long(what, limit));
        }
        Ok(data)
    }

    /// The error for a body that could not be read to its end.
    pub(super) fn body_error(&self, error: std::io::Error, what: &str) -> Error {
        match self.limits.check() {
            Err(ended) => ended,
            Ok(()) => Error::new(ErrorKind::Unavailable, format!("{what}: {error}")),
        }
    }

    /// The error for a request without an answer.
    fn request_error(&self, url: &Uri, error: ureq::Error) -> RequestError {
        if let Err(ended) = self.limits.check() {
            return ended.into();
        }
        let is_certificate = is_certificate_error(&error);
        let subject = url::without_query(url);
        let permanent = |e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Unavailable, format!("{subject}: {e}")).with_retryable(false)
        };
        let error = match error {
            // rustls's errors during the handshake have this kind.
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => permanent(&e),
            ureq::Error::Io(e) => {
                Error::io(subject, e).with_kind(ErrorKind::Unavailable).with_retryable(true)
            }
            ureq::Error::HostNotFound | ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                permanent(&error)
            }
            other => url::protocol_error(url, other),
        };
        if is_certificate { RequestError::Certificate(error) } else { error.into() }
    }

    fn origin(&self) -> String {
        self.state().origin.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether TLS failed because of the server's certificate.
fn is_certificate_error(error: &ureq::Error) -> bool {
    let tls = match error {
        ureq::Error::Rustls(e) => Some(e),
        ureq::Error::Io(e) => e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}

/// Sleeps. Fails if the limits end first.
pub(super) fn pause(limits: &Limits, time: Duration) -> Result<()> {
    // The future never becomes ready, so that this always waits for the time.
    let _ = block_on(&limits.at_most(time), std::future::pending::<()>());
    limits.check()
}

fn is_local(host: &str) -> bool {
    host.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(url::is_loopback))
}

fn too_long(what: &str, limit: u64) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("{what} has more than {limit} bytes"))
}

pub(super) fn mismatch(why: &str) -> Error {
    Error::new(ErrorKind::DataLoss, why)
}

/// The content type without its parameters.
fn media_type(response: &Response<Body>) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn starts_at(response: &Response<Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range
        .and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok())
        .is_some_and(|start: u64| start == offset)
}

/// The text of a registry's error, without control characters and of limited length.
fn error_text(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let first = answer.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&answer);
    let texts: Vec<&str> = ["code", "message", "details"]
        .iter()
        .filter_map(|key| first.get(key)?.as_str().filter(|text| !text.is_empty()))
        .collect();
    let text: String =
        texts.join(": ").chars().filter(|c| !c.is_control()).take(MAX_ERROR_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::cancel::Cancel;
    use crate::image::test_registry::{Reply, TestRegistry, reply};

    const MANIFEST: &[u8] = b"{\"schemaVersion\": 2}";

    fn registry(server: &TestRegistry, credentials: bool) -> Registry {
        registry_within(server, credentials, &Limits::within(Duration::from_secs(60)))
    }

    fn registry_within(server: &TestRegistry, credentials: bool, limits: &Limits) -> Registry {
        let reference = Reference::parse(&format!("{}/a/b:t", server.address)).unwrap();
        let mut config = PullConfig::new("");
        if credentials {
            config = config.credentials(Credentials::new("user", "secret"));
        }
        Registry::new(&reference, &config, limits)
    }

    fn manifest() -> Reply {
        reply(200)
            .header("content-type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
            .header("docker-content-digest", digest::of(MANIFEST))
            .body(MANIFEST)
    }

    fn bearer(realm: &str) -> Reply {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"x\"");
        reply(401).header("www-authenticate", challenge)
    }

    #[test]
    fn resolves_with_one_head_request() {
        let server = TestRegistry::start(|_| manifest());
        let resolved = registry(&server, true).resolve("t").unwrap();
        assert_eq!(resolved.digest, digest::of(MANIFEST));
        assert_eq!(resolved.size, MANIFEST.len() as u64);
        assert_eq!(resolved.media_type, "application/vnd.oci.image.manifest.v1+json");
        let requests = server.requests();
        assert_eq!((requests.len(), requests[0].method.as_str()), (1, "HEAD"));
        assert_eq!(requests[0].target, "/v2/a/b/manifests/t");
        assert!(requests[0].header("accept").unwrap().contains("image.index.v1+json"));
        // Credentials are sent in answer to a challenge only.
        assert_eq!(requests[0].header("authorization"), None);
    }

    #[test]
    fn resolves_with_a_get_if_the_head_lacks_headers() {
        let server = TestRegistry::start(|request| match request.method.as_str() {
            "HEAD" => reply(405),
            _ => manifest(),
        });
        let resolved = registry(&server, false).resolve("t").unwrap();
        assert_eq!(resolved.digest, digest::of(MANIFEST));
        let without_headers = TestRegistry::start(|_| reply(200).body(MANIFEST));
        let resolved = registry(&without_headers, false).resolve("t").unwrap();
        assert_eq!((resolved.digest, resolved.media_type), (digest::of(MANIFEST), String::new()));
    }

    #[test]
    fn refuses_content_with_another_digest() {
        let other = digest::of(b"other");
        let server = TestRegistry::start(|_| manifest());
        for result in [
            registry(&server, false).resolve(&other).map(drop),
            registry(&server, false).manifest(&other).map(drop),
            registry(&server, false).small_blob(&other, MANIFEST.len() as u64).map(drop),
            registry(&server, false).small_blob(&digest::of(MANIFEST), 3).map(drop),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::DataLoss);
        }
    }

    #[test]
    fn repeats_the_text_of_a_registry_error() {
        let server = TestRegistry::start(|request| match request.method.as_str() {
            "HEAD" => reply(405),
            _ => reply(404).body(br#"{"errors":[{"code":"UNKNOWN","message":"no\u0007 such"}]}"#),
        });
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().ends_with("404 Not Found: UNKNOWN: no such"), "{error}");
        assert!(!error.is_retryable());
    }

    #[test]
    fn repeats_requests_that_may_succeed() {
        let count = AtomicU64::new(0);
        let server = TestRegistry::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => reply(503),
            _ => manifest(),
        });
        let digest = digest::of(MANIFEST);
        registry(&server, false).manifest(&digest).unwrap();
        assert_eq!(server.requests().len(), 3);
        let server = TestRegistry::start(|_| reply(503));
        let error = registry(&server, false).manifest(&digest).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    }

    #[test]
    fn reuses_a_token_for_later_requests() {
        for credentials in [false, true] {
            let server = TestRegistry::start(|request| {
                if let Some(query) = request.target.strip_prefix("/token?old=1&") {
                    assert_eq!(query, "service=reg&scope=repository%3Aa%2Fb%3Apull&scope=x");
                    return reply(200).body(br#"{"token":"t0ken"}"#);
                }
                match request.header("authorization") {
                    Some("Bearer t0ken") => manifest(),
                    None => bearer(&format!("http://{}/token?old=1", request.headers["host"])),
                    other => panic!("{other:?}"),
                }
            });
            let registry = registry(&server, credentials);
            registry.resolve("t").unwrap();
            registry.manifest(&digest::of(MANIFEST)).unwrap();
            let requests = server.requests();
            let targets: Vec<_> =
                requests.iter().map(|request| request.target.contains("token")).collect();
            assert_eq!(targets, [false, true, false, false]);
            let expected = credentials.then_some("Basic dXNlcjpzZWNyZXQ=");
            assert_eq!(requests[1].header("authorization"), expected);
        }
    }

    #[test]
    fn gives_up_if_a_token_does_not_help() {
        let server = TestRegistry::start(|request| {
            if request.target.starts_with("/token") {
                return reply(200).body(br#"{"token":"t0ken"}"#);
            }
            bearer(&format!("http://{}/token", request.headers["host"]))
        });
        let error = registry(&server, true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(server.requests().len() < 8, "{:?}", server.requests());
    }

    #[test]
    fn sends_credentials_once_and_only_after_a_challenge() {
        let server = TestRegistry::start(|request| match request.header("authorization") {
            Some("Basic dXNlcjpzZWNyZXQ=") => manifest(),
            _ => reply(401).header("www-authenticate", "Basic realm=\"r\""),
        });
        registry(&server, true).resolve("t").unwrap();
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);

        let strict =
            TestRegistry::start(|_| reply(401).header("www-authenticate", "Basic realm=\"r\""));
        let error = registry(&strict, true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(strict.requests().len(), 2);
    }

    #[test]
    fn sends_credentials_to_no_other_host() {
        let stranger =
            TestRegistry::start(|_| reply(401).header("www-authenticate", "Basic realm=\"r\""));
        let strange = format!("http://{}/blob", stranger.address);
        let realm = format!("http://localhost:{}/token", stranger.address.port());
        let location = strange.clone();
        let server = TestRegistry::start(move |request| match request.header("authorization") {
            None if request.target.contains("manifests") => bearer(&realm),
            None => reply(401).header("www-authenticate", "Basic realm=\"r\""),
            _ if request.target.contains("redirected") => reply(307).header("location", &location),
            _ => reply(404),
        });
        // A token server on another host.
        let error = registry(&server, true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(stranger.requests().len(), 0);
        // A redirect to another port, once the registry has been sent the credentials.
        let error = registry(&server, true).blob("redirected", 1, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        // The URL of a layer's descriptor.
        let error = registry(&server, true).blob("elsewhere", 1, 0, &[strange]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        let requests = stranger.requests();
        assert_eq!(requests.len(), 2);
        assert!(
            requests.iter().all(|request| request.header("authorization").is_none()),
            "{requests:?}"
        );
    }

    #[test]
    fn sends_credentials_to_an_allowed_token_server() {
        let stranger = TestRegistry::start(|_| reply(200).body(br#"{"token":"t0ken"}"#));
        let realm = format!("http://localhost:{}/token", stranger.address.port());
        let server = TestRegistry::start(move |request| match request.header("authorization") {
            Some("Bearer t0ken") => manifest(),
            _ => bearer(&realm),
        });
        let with = |token_hosts: &[String]| {
            let token_hosts = token_hosts.to_vec();
            Registry { token_hosts, ..registry(&server, true) }
        };
        let port = stranger.address.port();
        let error = with(&[format!("localhost:{}", port ^ 1)]).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains("name \"localhost\" in token_hosts"), "{error}");
        assert_eq!(stranger.requests().len(), 0);

        for allowed in ["localhost".to_owned(), format!("localhost:{port}")] {
            with(&[allowed]).resolve("t").unwrap();
        }
        let requests = stranger.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        }
        // The registry receives the token and never the credentials.
        assert!(server.requests().iter().all(|request| {
            request.header("authorization").is_none_or(|sent| sent == "Bearer t0ken")
        }));
    }

    #[test]
    fn follows_redirects_within_a_limit() {
        let server = TestRegistry::start(|request| match request.target.as_str() {
            "/end" => reply(200).body(b"blob"),
            "/loop" => reply(302).header("location", "/loop"),
            target => reply(302)
                .header("location", if target.ends_with("loop") { "/loop" } else { "/end" }),
        });
        let mut blob = registry(&server, false).blob("any", 4, 0, &[]).unwrap();
        let mut data = String::new();
        blob.reader.read_to_string(&mut data).unwrap();
        assert_eq!((data.as_str(), blob.start), ("blob", 0));
        let error = registry(&server, false).blob("loop", 4, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn resumes_if_the_registry_supports_ranges() {
        for status in [206, 200, 416] {
            let server =
                TestRegistry::start(move |request| match (request.header("range"), status) {
                    (None, _) => reply(200).body(b"0123456789"),
                    (Some(range), 206) => {
                        assert_eq!(range, "bytes=4-");
                        reply(206).header("content-range", "bytes 4-9/10").body(b"456789")
                    }
                    (Some(_), 416) => reply(416),
                    _ => reply(200).body(b"0123456789"),
                });
            let blob = registry(&server, false).blob("any", 10, 4, &[]).unwrap();
            assert_eq!(blob.start, if status == 206 { 4 } else { 0 });
        }
        let server = TestRegistry::start(|_| {
            reply(206).header("content-range", "bytes 3-9/10").body(b"3456789")
        });
        assert!(
            registry(&server, false).blob("any", 10, 4, &[]).is_err(),
            "a range of another start"
        );
        let server = TestRegistry::start(|_| reply(200).body(b"01234567890"));
        let error = registry(&server, false).blob("any", 10, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }

    #[test]
    fn bounds_what_it_reads() {
        let endless = |status| Reply { endless: true, ..reply(status) };
        let server = TestRegistry::start(move |request| match request.method.as_str() {
            "HEAD" => reply(405),
            _ => endless(200),
        });
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(server.bytes_sent() < 64 << 20);

        let server = TestRegistry::start(move |request| {
            if request.target.starts_with("/token") {
                return endless(200);
            }
            bearer(&format!("http://{}/token", request.headers["host"]))
        });
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(server.bytes_sent() < 64 << 20);

        let server = TestRegistry::start(move |_| endless(403));
        let error = registry(&server, false).blob("any", 1, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(server.bytes_sent() < 64 << 20);

        let server = TestRegistry::start(|_| {
            manifest().header("content-length", (MAX_DOCUMENT + 1).to_string())
        });
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }

    #[test]
    fn a_request_ends_when_its_limits_do() {
        let server = TestRegistry::start(|_| Reply { silent: true, ..reply(200) });
        let error = registry_within(&server, false, &Limits::within(Duration::from_millis(50)))
            .resolve("t")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);

        let cancel = Cancel::new();
        let limits = Limits { cancel: Some(cancel.clone()), ..Limits::default() };
        let registry = registry_within(&server, false, &limits);
        thread::scope(|scope| {
            let resolving = scope.spawn(|| registry.resolve("t"));
            while server.requests().len() < 2 {
                thread::sleep(Duration::from_millis(1));
            }
            cancel.fire();
            let error = resolving.join().unwrap().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn uses_http_with_loopback_addresses_only() {
        let origin = |name: &str, plain_http| {
            let reference = Reference::parse(name).unwrap();
            let config = PullConfig::new(name).plain_http(plain_http);
            Registry::new(&reference, &config, &Limits::default()).origin()
        };
        assert_eq!(origin("busybox", false), "https://registry-1.docker.io");
        assert_eq!(origin("reg.example:5000/a", false), "https://reg.example:5000");
        assert_eq!(origin("reg.example:5000/a", true), "http://reg.example:5000");
        assert_eq!(origin("localhost:5000/a", false), "http://localhost:5000");
        assert_eq!(origin("[::1]:5000/a", false), "http://[::1]:5000");
        assert_eq!(origin("127.0.0.1:443/a", false), "https://127.0.0.1:443");
    }

    #[test]
    fn the_source_label_names_the_repository() {
        let label = |name: &str| {
            let reference = Reference::parse(name).unwrap();
            let config = PullConfig::new(name);
            Registry::new(&reference, &config, &Limits::default()).source_label().0
        };
        let prefix = "containerd.io/distribution.source.";
        assert_eq!(label("busybox"), format!("{prefix}docker.io"));
        assert_eq!(label("reg.example:5000/a"), format!("{prefix}reg.example"));
        assert_eq!(label("[::1]:5000/a"), format!("{prefix}[::1]"));
        assert_eq!(label("[::1]/a"), format!("{prefix}[::1]"));
    }

    #[test]
    fn reports_an_untrusted_certificate() {
        let server = TestRegistry::start_tls(|_| manifest());
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, false),
            "{error}"
        );
        // The error of HTTPS, not that of the attempt over HTTP.
        assert!(error.message().starts_with("https://127.0.0.1:"), "{error}");
        assert!(server.requests().is_empty());
    }

    #[test]
    fn goes_back_to_http_if_there_is_no_https() {
        let server = TestRegistry::start(|_| reply(400));
        let error = registry(&server, false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.message().contains("400"), "{error}");
    }
}
