//! The client of one repository in one registry (OCI distribution specification).

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use ureq::http::{Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, BodyReader};

use super::auth::{self, Challenge};
use super::manifest::{self, MAX_DOCUMENT};
use super::reference::Reference;
use super::{Credentials, PullConfig, digest, transport};
use crate::call::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::wait::block_on;

/// How much of an error's body is read.
const MAX_ERROR: u64 = 64 << 10;

/// How long a token server's answer may be.
const MAX_TOKEN: u64 = 1 << 20;

/// How much of a registry's words an error of ours repeats, in characters.
const MAX_WORDS: usize = 300;

/// How many redirects are followed for one request (as Go's client does).
const MAX_REDIRECTS: usize = 10;

/// How often a request that may succeed when repeated is made.
const ATTEMPTS: u32 = 3;

/// How long to wait before repeating a request; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(200);

/// One repository. Credentials and tokens go to its own registry alone: same scheme, host and port;
/// and credentials to its token server, where [`Challenge::realm`] lets them.
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
    /// `https://host:port`, as it is spoken with.
    origin: String,
    /// What the last challenge was answered with.
    authorization: Option<String>,
}

/// What a tag or a digest stands for.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) media_type: String,
}

/// A blob on its way.
pub(super) struct Blob {
    pub(super) reader: BodyReader<'static>,
    /// From where in the blob it comes.
    pub(super) start: u64,
}

impl Registry {
    pub(super) fn new(reference: &Reference, config: &PullConfig, limits: &Limits) -> Registry {
        let host = match reference.domain.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        // As in the ecosystem, a registry on this machine speaks HTTP, unless it is at HTTPS's port.
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

    /// The label that says where a blob came from (containerd's `distribution.source`).
    pub(super) fn source_label(&self) -> (String, String) {
        let host = match self.domain.rfind(':') {
            Some(colon) if !self.domain.ends_with(']') => &self.domain[..colon],
            _ => self.domain.as_str(),
        };
        (format!("containerd.io/distribution.source.{host}"), self.path.clone())
    }

    /// Asks what a tag or a digest stands for.
    pub(super) fn resolve(&self, object: &str) -> Result<Resolved> {
        let origin = self.origin();
        let secure = origin.replacen("http://", "https://", 1);
        if !self.plain_http && secure != origin {
            match self.head(object) {
                // A registry on this machine that speaks HTTPS after all answers HTTP by a word on
                // that, by an alert, or by a reset.
                Err(e)
                    if matches!(e.kind(), ErrorKind::Protocol | ErrorKind::Unavailable)
                        && e.errno() != Some(libc::ECONNREFUSED) =>
                {
                    self.state().origin = secure;
                    match self.head(object) {
                        Ok(resolved) => return Ok(resolved),
                        // rustls's word: there is HTTPS, but not to be trusted.
                        Err(e) if e.message().contains("certificate") => return Err(e),
                        Err(_) => self.state().origin = origin,
                    }
                }
                Err(e) if e.is_retryable() => {}
                other => return other,
            }
        }
        self.retrying(|| self.head(object))
    }

    fn head(&self, object: &str) -> Result<Resolved> {
        let url = format!("{}/v2/{}/manifests/{object}", self.origin(), self.path);
        let response = self.send("HEAD", &url, manifest::ACCEPT, 0)?;
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let digest = text("docker-content-digest").filter(|text| digest::check(text).is_ok());
        let size = text("content-length").and_then(|text| text.parse::<u64>().ok());
        match (response.status(), digest, size) {
            (StatusCode::OK, Some(digest), Some(size)) if size > 0 => {
                if object.contains(':') && object != digest {
                    return Err(mismatch(&format!("the registry has {digest} for {object}")));
                }
                if size > MAX_DOCUMENT {
                    return Err(too_long("the manifest", MAX_DOCUMENT));
                }
                Ok(Resolved { digest: digest.to_owned(), size, media_type: media_type(&response) })
            }
            // Not every registry says all of it, or answers HEAD.
            (StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED, ..) => {
                let (data, media_type) = self.get_manifest(object)?;
                let digest = digest::of(&data);
                Ok(Resolved { digest, size: data.len() as u64, media_type })
            }
            _ => Err(self.refusal(response, &format!("{}:{object}", self.path))),
        }
    }

    /// Fetches a manifest or an index by its digest, and makes sure that it is the one.
    pub(super) fn manifest(&self, digest: &str) -> Result<Vec<u8>> {
        self.retrying(|| self.get_manifest(digest)).map(|(data, _)| data)
    }

    fn get_manifest(&self, object: &str) -> Result<(Vec<u8>, String)> {
        let url = format!("{}/v2/{}/manifests/{object}", self.origin(), self.path);
        let response = self.send("GET", &url, manifest::ACCEPT, 0)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, &format!("{}:{object}", self.path)));
        }
        let media_type = media_type(&response);
        let data = self.read_all(response, MAX_DOCUMENT, "the manifest")?;
        if object.contains(':') && digest::of(&data) != object {
            return Err(mismatch(&format!("the manifest that came is not {object}")));
        }
        Ok((data, media_type))
    }

    /// Fetches a small blob, and makes sure that it is the one.
    pub(super) fn small_blob(&self, digest: &str, size: u64) -> Result<Vec<u8>> {
        self.retrying(|| {
            let blob = self.blob(digest, size, 0, &[])?;
            let data = self.read_to_end(blob.reader, size, "the blob")?;
            if data.len() as u64 != size || digest::of(&data) != digest {
                return Err(mismatch(&format!("the blob that came is not {digest}")));
            }
            Ok(data)
        })
    }

    /// Begins to fetch a blob, `from` there on if the registry can. Where the registry does not have
    /// it, `urls` (of its descriptor) are tried, which never see credentials.
    pub(super) fn blob(&self, digest: &str, size: u64, from: u64, urls: &[String]) -> Result<Blob> {
        let own = format!("{}/v2/{}/blobs/{digest}", self.origin(), self.path);
        let mut missing = None;
        for url in std::iter::once(&own).chain(urls) {
            if *url != own && !self.may_fetch(url) {
                continue;
            }
            let mut response = self.send("GET", url, "*/*", from)?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                response = self.send("GET", url, "*/*", 0)?;
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
                    "the blob {digest} has not the {size} bytes it should"
                )));
            }
            return Ok(Blob { reader: response.into_body().into_reader(), start });
        }
        Err(missing
            .unwrap_or_else(|| Error::new(ErrorKind::NotFound, format!("{digest}: not found"))))
    }

    /// Repeats a request that may succeed then.
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

    /// Makes a request, follows redirects, answers challenges.
    fn send(&self, method: &str, url: &str, accept: &str, from: u64) -> Result<Response<Body>> {
        let mut url = parse(url)?;
        let (mut redirects, mut challenges) = (0, 0);
        loop {
            let own = same_origin(&url, &parse(&self.origin())?);
            let authorization = if own { self.state().authorization.clone() } else { None };
            let mut request =
                Request::builder().method(method).uri(&url).header(header::ACCEPT, accept);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request.body(()).map_err(|e| self.failure(&url, e.into()))?;
            let response = self.agent.run(request).map_err(|e| self.failure(&url, e))?;
            match response.status() {
                // Once for a missing or an old token, once more for its scope.
                StatusCode::UNAUTHORIZED if own && challenges < 2 => {
                    challenges += 1;
                    if !self.authorize(&response, authorization.as_deref())? {
                        return Ok(response);
                    }
                    // Read to its end, the connection can be used again.
                    let _ = self.read_all(response, MAX_ERROR, "the answer");
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        return Err(protocol(&url, "too many redirects"));
                    }
                    url = redirect(&url, &response)?;
                }
                _ => return Ok(response),
            }
        }
    }

    /// Finds what answers the challenge of a refused request, which carried `sent`. False where
    /// nothing does.
    fn authorize(&self, response: &Response<Body>, sent: Option<&str>) -> Result<bool> {
        let current = self.state().authorization.clone();
        if current.as_deref() != sent {
            // Another thread has been told the same and found an answer.
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
            (None, Some(_), Some(credentials)) => basic(credentials),
            _ => return Ok(false),
        };
        if sent == Some(answer.as_str()) {
            return Ok(false);
        }
        self.state().authorization = Some(answer);
        Ok(true)
    }

    /// Asks a token server for a token.
    fn token(&self, challenge: &Challenge) -> Result<String> {
        let origin = parse(&self.origin())?;
        let realm = challenge.realm(&origin, self.credentials.is_some(), &self.token_hosts)?;
        let mut fields = challenge.fields(&self.path);
        let request = match &self.credentials {
            // A token in place of a password (OAuth2 refresh token).
            Some(credentials) if credentials.username.is_empty() => {
                fields.push(("grant_type", "refresh_token".into()));
                fields.push(("client_id", "ctrd".into()));
                fields.push(("refresh_token", credentials.secret.clone()));
                Request::post(&realm)
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(auth::encode(&fields))
            }
            credentials => {
                let joint = if realm.query().is_some() { '&' } else { '?' };
                let mut request = Request::get(format!("{realm}{joint}{}", auth::encode(&fields)));
                if let Some(credentials) = credentials {
                    request = request.header(header::AUTHORIZATION, basic(credentials));
                }
                request.body(String::new())
            }
        };
        let request = request.map_err(|e| self.failure(&realm, e.into()))?;
        let response = match request.method().as_str() {
            "GET" => self.agent.run(request.map(|_| ())),
            _ => self.agent.run(request),
        };
        let response = response.map_err(|e| self.failure(&realm, e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, "a token"));
        }
        auth::token(&self.read_all(response, MAX_TOKEN, "the token server's answer")?)
    }

    /// Whether a blob may be fetched from an address that a manifest names.
    fn may_fetch(&self, url: &str) -> bool {
        parse(url).is_ok_and(|url| match (url.scheme_str(), url.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(host)) => self.plain_http || transport::is_loopback(host),
            _ => false,
        })
    }

    /// The error of an answer that is none of those wanted, with the registry's own words.
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
        if let Some(words) = words(&data) {
            message.push_str(": ");
            message.push_str(&words);
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
        reader.take(limit + 1).read_to_end(&mut data).map_err(|e| self.broken(e, what))?;
        if data.len() as u64 > limit {
            return Err(too_long(what, limit));
        }
        Ok(data)
    }

    /// The error of a body that ended before its end.
    pub(super) fn broken(&self, error: std::io::Error, what: &str) -> Error {
        match self.limits.check() {
            Err(ended) => ended,
            Ok(()) => Error::new(ErrorKind::Unavailable, format!("{what}: {error}")),
        }
    }

    /// The error of a request without an answer.
    fn failure(&self, url: &Uri, error: ureq::Error) -> Error {
        if let Err(ended) = self.limits.check() {
            return ended;
        }
        match error {
            // TLS's errors come as bad data.
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Error::new(ErrorKind::Unavailable, format!("{}: {e}", shown(url)))
                    .with_retryable(false)
            }
            ureq::Error::Io(e) => {
                Error::io(shown(url), e).with_kind(ErrorKind::Unavailable).with_retryable(true)
            }
            ureq::Error::HostNotFound | ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                Error::new(ErrorKind::Unavailable, format!("{}: {error}", shown(url)))
                    .with_retryable(false)
            }
            other => protocol(url, other),
        }
    }

    fn origin(&self) -> String {
        self.state().origin.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits, unless the limits end before.
pub(super) fn pause(limits: &Limits, time: Duration) -> Result<()> {
    // What it waits for never comes: it is the time that passes.
    let _ = block_on(&limits.at_most(time), std::future::pending::<()>());
    limits.check()
}

fn is_local(host: &str) -> bool {
    host.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(transport::is_loopback))
}

fn parse(url: &str) -> Result<Uri> {
    url.parse().map_err(|e| Error::new(ErrorKind::Protocol, format!("{url:?} is no address: {e}")))
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    a.scheme() == b.scheme()
        && transport::port(a) == transport::port(b)
        && matches!((a.host(), b.host()), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

/// Where a redirect leads to. From HTTPS it must not lead to HTTP.
fn redirect(from: &Uri, response: &Response<Body>) -> Result<Uri> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| protocol(from, "a redirect without a location"))?;
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
        ("https", Some("http")) => Err(protocol(from, "a redirect from HTTPS to HTTP")),
        _ => Err(protocol(from, "a redirect to what is no HTTP address")),
    }
}

/// An address without its query, which may hold a signature.
fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let port = url.port_u16().map_or(String::new(), |port| format!(":{port}"));
    format!("{scheme}://{}{port}{}", url.host().unwrap_or_default(), url.path())
}

fn protocol(url: &Uri, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("{}: {why}", shown(url)))
}

fn too_long(what: &str, limit: u64) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("{what} has more than {limit} bytes"))
}

pub(super) fn mismatch(why: &str) -> Error {
    Error::new(ErrorKind::DataLoss, why)
}

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.secret);
    format!("Basic {}", BASE64_STANDARD.encode(pair))
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

/// What a registry says of an error, fit to be repeated.
fn words(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let first = answer.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&answer);
    let texts: Vec<&str> = ["code", "message", "details"]
        .iter()
        .filter_map(|key| first.get(key)?.as_str().filter(|text| !text.is_empty()))
        .collect();
    let words: String =
        texts.join(": ").chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    if words.is_empty() { None } else { Some(words) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::cancel::Cancel;

    const MANIFEST: &[u8] = b"{\"schemaVersion\": 2}";

    /// A request that came.
    #[derive(Clone, Debug)]
    struct Seen {
        method: String,
        target: String,
        headers: HashMap<String, String>,
    }

    impl Seen {
        fn header(&self, name: &str) -> Option<&str> {
            self.headers.get(name).map(String::as_str)
        }
    }

    #[derive(Default)]
    struct Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        /// The body is followed by zeros without an end, or by nothing at all, not even the end.
        endless: bool,
        silent: bool,
    }

    fn reply(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    impl Reply {
        fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
            self.headers.push((name, value.into()));
            self
        }

        fn body(mut self, body: &[u8]) -> Reply {
            self.body = body.to_vec();
            self
        }
    }

    /// An HTTP server with one answer for each connection.
    struct Server {
        address: SocketAddr,
        state: Arc<ServerState>,
        thread: Option<thread::JoinHandle<()>>,
    }

    #[derive(Default)]
    struct ServerState {
        seen: Mutex<Vec<Seen>>,
        /// How many bytes of bodies went out.
        sent: AtomicU64,
        ended: AtomicBool,
    }

    impl Server {
        fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let state = Arc::new(ServerState::default());
            let shared = state.clone();
            let thread = thread::spawn(move || {
                thread::scope(|scope| {
                    for stream in listener.incoming() {
                        if shared.ended.load(Ordering::SeqCst) {
                            return;
                        }
                        let (answer, shared) = (&answer, &shared);
                        // The other side may go whenever it likes.
                        scope.spawn(move || drop(talk(stream.unwrap(), answer, shared)));
                    }
                });
            });
            Server { address, state, thread: Some(thread) }
        }

        fn seen(&self) -> Vec<Seen> {
            self.state.seen.lock().unwrap().clone()
        }

        fn sent(&self) -> u64 {
            self.state.sent.load(Ordering::SeqCst)
        }

        fn registry(&self, credentials: bool) -> Registry {
            self.registry_within(credentials, &Limits::within(Duration::from_secs(60)))
        }

        fn registry_within(&self, credentials: bool, limits: &Limits) -> Registry {
            let reference = Reference::parse(&format!("{}/a/b:t", self.address)).unwrap();
            let credentials = credentials
                .then(|| Credentials { username: "user".into(), secret: "secret".into() });
            Registry::new(&reference, &PullConfig { credentials, ..Default::default() }, limits)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.state.ended.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn talk(
        mut stream: TcpStream,
        answer: &impl Fn(&Seen) -> Reply,
        state: &ServerState,
    ) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut words = first.split(' ').map(str::to_owned);
        let mut seen = Seen {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: HashMap::new(),
        };
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            seen.headers.insert(name.to_lowercase(), value.to_owned());
        }
        state.seen.lock().unwrap().push(seen.clone());
        let reply = answer(&seen);
        if reply.silent {
            // Until the other side goes.
            let _ = stream.read(&mut [0]);
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Text\r\nconnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !reply.endless && !reply.headers.iter().any(|(name, _)| *name == "content-length") {
            head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if seen.method != "HEAD" {
            stream.write_all(&reply.body)?;
            while reply.endless && !state.ended.load(Ordering::SeqCst) {
                stream.write_all(&[b' '; 1 << 16])?;
                state.sent.fetch_add(1 << 16, Ordering::SeqCst);
            }
        }
        Ok(())
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
    fn resolves_by_the_head_alone() {
        let server = Server::start(|_| manifest());
        let resolved = server.registry(true).resolve("t").unwrap();
        assert_eq!(resolved.digest, digest::of(MANIFEST));
        assert_eq!(resolved.size, MANIFEST.len() as u64);
        assert_eq!(resolved.media_type, "application/vnd.oci.image.manifest.v1+json");
        let seen = server.seen();
        assert_eq!((seen.len(), seen[0].method.as_str()), (1, "HEAD"));
        assert_eq!(seen[0].target, "/v2/a/b/manifests/t");
        assert!(seen[0].header("accept").unwrap().contains("image.index.v1+json"));
        // Nobody has asked for them.
        assert_eq!(seen[0].header("authorization"), None);
    }

    #[test]
    fn resolves_by_the_content_where_the_head_says_too_little() {
        let server = Server::start(|seen| match seen.method.as_str() {
            "HEAD" => reply(405),
            _ => manifest(),
        });
        let resolved = server.registry(false).resolve("t").unwrap();
        assert_eq!(resolved.digest, digest::of(MANIFEST));
        let nothing_said = Server::start(|_| reply(200).body(MANIFEST));
        let resolved = nothing_said.registry(false).resolve("t").unwrap();
        assert_eq!((resolved.digest, resolved.media_type), (digest::of(MANIFEST), String::new()));
    }

    #[test]
    fn refuses_another_manifest_than_was_asked_for() {
        let other = digest::of(b"other");
        let server = Server::start(|_| manifest());
        for result in [
            server.registry(false).resolve(&other).map(drop),
            server.registry(false).manifest(&other).map(drop),
            server.registry(false).small_blob(&other, MANIFEST.len() as u64).map(drop),
            server.registry(false).small_blob(&digest::of(MANIFEST), 3).map(drop),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::DataLoss);
        }
    }

    #[test]
    fn tells_what_the_registry_says() {
        let server = Server::start(|seen| match seen.method.as_str() {
            "HEAD" => reply(405),
            _ => reply(404).body(br#"{"errors":[{"code":"UNKNOWN","message":"no\u0007 such"}]}"#),
        });
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().ends_with("404 Not Found: UNKNOWN: no such"), "{error}");
        assert!(!error.is_retryable());
    }

    #[test]
    fn repeats_what_may_succeed() {
        let count = AtomicU64::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => reply(503),
            _ => manifest(),
        });
        let digest = digest::of(MANIFEST);
        server.registry(false).manifest(&digest).unwrap();
        assert_eq!(server.seen().len(), 3);
        let server = Server::start(|_| reply(503));
        let error = server.registry(false).manifest(&digest).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    }

    #[test]
    fn answers_a_bearer_challenge_once_for_all_requests() {
        for credentials in [false, true] {
            let server = Server::start(|seen| {
                if let Some(query) = seen.target.strip_prefix("/token?old=1&") {
                    assert_eq!(query, "service=reg&scope=repository%3Aa%2Fb%3Apull&scope=x");
                    return reply(200).body(br#"{"token":"t0ken"}"#);
                }
                match seen.header("authorization") {
                    Some("Bearer t0ken") => manifest(),
                    None => bearer(&format!("http://{}/token?old=1", seen.headers["host"])),
                    other => panic!("{other:?}"),
                }
            });
            let registry = server.registry(credentials);
            registry.resolve("t").unwrap();
            registry.manifest(&digest::of(MANIFEST)).unwrap();
            let seen = server.seen();
            let targets: Vec<_> = seen.iter().map(|seen| seen.target.contains("token")).collect();
            assert_eq!(targets, [false, true, false, false]);
            let expected = credentials.then_some("Basic dXNlcjpzZWNyZXQ=");
            assert_eq!(seen[1].header("authorization"), expected);
        }
    }

    #[test]
    fn gives_up_where_a_token_does_not_help() {
        let server = Server::start(|seen| {
            if seen.target.starts_with("/token") {
                return reply(200).body(br#"{"token":"t0ken"}"#);
            }
            bearer(&format!("http://{}/token", seen.headers["host"]))
        });
        let error = server.registry(true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(server.seen().len() < 8, "{:?}", server.seen());
    }

    #[test]
    fn sends_credentials_when_asked_and_once() {
        let server = Server::start(|seen| match seen.header("authorization") {
            Some("Basic dXNlcjpzZWNyZXQ=") => manifest(),
            _ => reply(401).header("www-authenticate", "Basic realm=\"r\""),
        });
        server.registry(true).resolve("t").unwrap();
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);

        let strict = Server::start(|_| reply(401).header("www-authenticate", "Basic realm=\"r\""));
        let error = strict.registry(true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(strict.seen().len(), 2);
    }

    #[test]
    fn trusts_no_other_host_with_credentials() {
        let stranger =
            Server::start(|_| reply(401).header("www-authenticate", "Basic realm=\"r\""));
        let strange = format!("http://{}/blob", stranger.address);
        let realm = format!("http://localhost:{}/token", stranger.address.port());
        let location = strange.clone();
        let server = Server::start(move |seen| match seen.header("authorization") {
            None if seen.target.contains("manifests") => bearer(&realm),
            None => reply(401).header("www-authenticate", "Basic realm=\"r\""),
            _ if seen.target.contains("redirected") => reply(307).header("location", &location),
            _ => reply(404),
        });
        // A token server on another host.
        let error = server.registry(true).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(stranger.seen().len(), 0);
        // A redirect to another port, once the registry has been sent the credentials.
        let error = server.registry(true).blob("redirected", 1, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        // A layer's own address.
        let error = server.registry(true).blob("elsewhere", 1, 0, &[strange]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        let seen = stranger.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.header("authorization").is_none()), "{seen:?}");
    }

    #[test]
    fn trusts_a_token_server_that_is_allowed() {
        let stranger = Server::start(|_| reply(200).body(br#"{"token":"t0ken"}"#));
        let realm = format!("http://localhost:{}/token", stranger.address.port());
        let server = Server::start(move |seen| match seen.header("authorization") {
            Some("Bearer t0ken") => manifest(),
            _ => bearer(&realm),
        });
        let with = |token_hosts: &[String]| {
            let token_hosts = token_hosts.to_vec();
            Registry { token_hosts, ..server.registry(true) }
        };
        let port = stranger.address.port();
        let error = with(&[format!("localhost:{}", port ^ 1)]).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains("name \"localhost\" in token_hosts"), "{error}");
        assert_eq!(stranger.seen().len(), 0);

        for allowed in ["localhost".to_owned(), format!("localhost:{port}")] {
            with(&[allowed]).resolve("t").unwrap();
        }
        let seen = stranger.seen();
        assert_eq!(seen.len(), 2);
        for seen in seen {
            assert_eq!(seen.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        }
        // The token is for the registry, the credentials are not.
        assert!(server.seen().iter().all(|seen| {
            seen.header("authorization").is_none_or(|sent| sent == "Bearer t0ken")
        }));
    }

    #[test]
    fn follows_redirects_but_not_to_less_safety() {
        let server = Server::start(|seen| match seen.target.as_str() {
            "/end" => reply(200).body(b"blob"),
            "/loop" => reply(302).header("location", "/loop"),
            target => reply(302)
                .header("location", if target.ends_with("loop") { "/loop" } else { "/end" }),
        });
        let mut blob = server.registry(false).blob("any", 4, 0, &[]).unwrap();
        let mut data = String::new();
        blob.reader.read_to_string(&mut data).unwrap();
        assert_eq!((data.as_str(), blob.start), ("blob", 0));
        let error = server.registry(false).blob("loop", 4, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Protocol);

        let to = |from: &str, location: &str| {
            let response = Response::builder().header("location", location);
            let response = response.body(Body::builder().data("")).unwrap();
            redirect(&from.parse().unwrap(), &response).map(|url| url.to_string())
        };
        assert_eq!(to("https://a/v2/x", "/y?z").unwrap(), "https://a/y?z");
        assert_eq!(to("https://a:1/v2/x", "//b/y").unwrap(), "https://b/y");
        assert_eq!(to("http://a/x", "https://b/y").unwrap(), "https://b/y");
        for bad in ["http://b/y", "file:///etc/passwd", "ftp://b/", "y", ""] {
            to("https://a/x", bad).expect_err(bad);
        }
    }

    #[test]
    fn resumes_where_the_registry_can() {
        for status in [206, 200, 416] {
            let server = Server::start(move |seen| match (seen.header("range"), status) {
                (None, _) => reply(200).body(b"0123456789"),
                (Some(range), 206) => {
                    assert_eq!(range, "bytes=4-");
                    reply(206).header("content-range", "bytes 4-9/10").body(b"456789")
                }
                (Some(_), 416) => reply(416),
                _ => reply(200).body(b"0123456789"),
            });
            let blob = server.registry(false).blob("any", 10, 4, &[]).unwrap();
            assert_eq!(blob.start, if status == 206 { 4 } else { 0 });
        }
        let server =
            Server::start(|_| reply(206).header("content-range", "bytes 3-9/10").body(b"3456789"));
        assert!(server.registry(false).blob("any", 10, 4, &[]).is_err(), "from elsewhere");
        let server = Server::start(|_| reply(200).body(b"01234567890"));
        let error = server.registry(false).blob("any", 10, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }

    #[test]
    fn reads_no_more_than_is_sensible() {
        let endless = |status| Reply { endless: true, ..reply(status) };
        let server = Server::start(move |seen| match seen.method.as_str() {
            "HEAD" => reply(405),
            _ => endless(200),
        });
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(server.sent() < 64 << 20);

        let server = Server::start(move |seen| {
            if seen.target.starts_with("/token") {
                return endless(200);
            }
            bearer(&format!("http://{}/token", seen.headers["host"]))
        });
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(server.sent() < 64 << 20);

        let server = Server::start(move |_| endless(403));
        let error = server.registry(false).blob("any", 1, 0, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(server.sent() < 64 << 20);

        let server =
            Server::start(|_| manifest().header("content-length", (MAX_DOCUMENT + 1).to_string()));
        let error = server.registry(false).resolve("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }

    #[test]
    fn ends_with_its_limits() {
        let server = Server::start(|_| Reply { silent: true, ..reply(200) });
        let error = server
            .registry_within(false, &Limits::within(Duration::from_millis(50)))
            .resolve("t")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);

        let cancel = Cancel::new();
        let limits = Limits { cancel: Some(cancel.clone()), ..Limits::default() };
        let registry = server.registry_within(false, &limits);
        thread::scope(|scope| {
            let resolving = scope.spawn(|| registry.resolve("t"));
            while server.seen().len() < 2 {
                thread::sleep(Duration::from_millis(1));
            }
            cancel.fire();
            let error = resolving.join().unwrap().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn speaks_http_on_this_machine_alone() {
        let origin = |name: &str, plain_http| {
            let reference = Reference::parse(name).unwrap();
            let config = PullConfig { plain_http, ..Default::default() };
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
    fn names_where_a_blob_is_from() {
        let label = |name: &str| {
            let reference = Reference::parse(name).unwrap();
            let config = PullConfig::default();
            Registry::new(&reference, &config, &Limits::default()).source_label().0
        };
        let prefix = "containerd.io/distribution.source.";
        assert_eq!(label("busybox"), format!("{prefix}docker.io"));
        assert_eq!(label("reg.example:5000/a"), format!("{prefix}reg.example"));
        assert_eq!(label("[::1]:5000/a"), format!("{prefix}[::1]"));
        assert_eq!(label("[::1]/a"), format!("{prefix}[::1]"));
    }
}
