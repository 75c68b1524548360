//! A proxy in front of containerd's socket. It records the calls, and breaks connections and calls
//! when a test asks for it.

mod http2;

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use self::http2::{DATA, Frame, HEADERS, PREFACE, RST_STREAM, Requests};
use super::wait_until;

/// The fault of a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection is cut before the call reaches the server.
    Cut,
    /// The call reaches the server, and the connection is cut when the answer comes.
    CutAfter,
    /// The call and everything after it on its connection, in both directions, is held back until
    /// [`Rule::release`]. The connection stays up.
    Stall,
    /// The same, but only once the call has reached the server and the answer comes.
    StallAfter,
    /// The call and the later requests on its connection are delayed by this time. Answers are not.
    Delay(Duration),
    /// The connection is cut for the client. The server receives the call after this time, and
    /// executes it.
    Late(Duration),
    /// The call fails with this gRPC status, and never reaches the server.
    Fail(i32, &'static str),
}

impl Fault {
    /// Whether the fault happens when the server has answered.
    fn is_at_the_answer(self) -> bool {
        matches!(self, Fault::CutAfter | Fault::StallAfter | Fault::Late(_))
    }
}

/// A fault for one call, and what has become of it.
pub struct Rule(Arc<RuleState>);

struct RuleState {
    call: String,
    fault: Fault,
    /// How many such calls pass before the fault.
    before: AtomicUsize,
    fired: AtomicBool,
    given_up: AtomicBool,
    connection: OnceLock<Weak<Connection>>,
}

impl Rule {
    pub fn has_fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst)
    }

    /// Waits until the fault has happened. A delay has happened when it begins.
    #[track_caller]
    pub fn wait_until_fired(&self) {
        wait_until(&format!("{:?} at {}", self.0.fault, self.0.call), || self.has_fired());
    }

    /// Waits until the client has cancelled the call.
    #[track_caller]
    pub fn wait_until_given_up(&self) {
        let what = format!("{} given up", self.0.call);
        wait_until(&what, || self.0.given_up.load(Ordering::SeqCst));
    }

    /// Ends a stall: passes everything that is held back, and everything later.
    pub fn release(&self) {
        if let Some(connection) = self.connection() {
            connection.release();
        }
    }

    /// Cuts the connection of the call. Frames that are held back are lost.
    pub fn cut(&self) {
        if let Some(connection) = self.connection() {
            connection.cut();
        }
    }

    fn connection(&self) -> Option<Arc<Connection>> {
        self.0.connection.get().expect("a rule that has fired").upgrade()
    }
}

impl RuleState {
    /// Whether the fault is for this call. Counts the call.
    fn takes(&self, call: &str) -> bool {
        self.call == call
            && self
                .before
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |before| before.checked_sub(1))
                .is_err()
    }

    fn fire(&self) {
        self.fired.store(true, Ordering::SeqCst);
    }
}

/// Passes frames between its own socket and another one, and reads the calls in them.
pub struct Proxy {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Whether new connections are refused.
    closed: bool,
    /// How many connections were refused.
    turned_away: usize,
    connections: Vec<Arc<Connection>>,
    calls: Vec<String>,
    /// The rules whose call has not come yet.
    rules: Vec<Arc<RuleState>>,
}

impl Proxy {
    /// Listens at `path` and connects to `upstream`, until the process ends.
    pub fn start(upstream: &Path, path: &Path) -> Proxy {
        Proxy::serve(UnixListener::bind(path).expect("the proxy's socket"), upstream, path)
    }

    /// The same, but its clients cannot see whether they and the server share a pid namespace. So
    /// they hold no descriptors of processes, as if the kernel could not report how a process
    /// ended.
    pub fn start_unseen(upstream: &Path, path: &Path) -> Proxy {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        // The client sees the process that listened. That is perl, which has ended by then.
        let status = Command::new("perl")
            .args(["-e", "listen(STDIN, 128) or die"])
            .stdin(socket.try_clone().unwrap())
            .status();
        assert!(status.unwrap().success());
        Proxy::serve(socket.into(), upstream, path)
    }

    fn serve(listener: UnixListener, upstream: &Path, path: &Path) -> Proxy {
        let state = Arc::new(Mutex::new(State::default()));
        let proxy = Proxy { path: path.to_owned(), state: state.clone() };
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&upstream)) else {
                    continue;
                };
                let connection = Arc::new(Connection::new(client, server));
                {
                    let mut state = state.lock().unwrap();
                    if state.closed {
                        state.turned_away += 1;
                        continue;
                    }
                    state.connections.push(connection.clone());
                }
                let (other, other_state) = (connection.clone(), state.clone());
                thread::spawn(move || {
                    let _end = End(&other, &other_state);
                    other.pass_answers();
                });
                let state = state.clone();
                thread::spawn(move || {
                    let _end = End(&connection, &state);
                    connection.pass_requests(&state);
                });
            }
        });
        proxy
    }

    /// The address to give to a client.
    pub fn address(&self) -> String {
        self.path.display().to_string()
    }

    /// Breaks every connection, and refuses new ones until [`Proxy::mend`].
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        for connection in &state.connections {
            connection.cut();
        }
    }

    /// Accepts connections again.
    pub fn mend(&self) {
        self.state.lock().unwrap().closed = false;
    }

    /// The calls since the last `take`, as `service/method`, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// Sets this fault for the next call of `service/method`.
    pub fn at(&self, call: &str, fault: Fault) -> Rule {
        self.at_nth(call, 1, fault)
    }

    /// Sets this fault for the `n`th call of `service/method` from now on. The next one is the
    /// first.
    pub fn at_nth(&self, call: &str, n: usize, fault: Fault) -> Rule {
        let rule = Arc::new(RuleState {
            call: call.into(),
            fault,
            before: AtomicUsize::new(n - 1),
            fired: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            connection: OnceLock::new(),
        });
        self.state.lock().unwrap().rules.push(rule.clone());
        Rule(rule)
    }

    /// How many connections were refused.
    pub fn turned_away(&self) -> usize {
        self.state.lock().unwrap().turned_away
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections.len()
    }
}

impl State {
    /// Records a call, and returns the rule for it.
    fn note(&mut self, call: String) -> Option<Arc<RuleState>> {
        // Each rule counts for itself, also the calls for which another rule has a fault.
        let taken: Vec<bool> = self.rules.iter().map(|rule| rule.takes(&call)).collect();
        self.calls.push(call);
        let at = taken.iter().position(|taken| *taken)?;
        Some(self.rules.remove(at))
    }
}

/// A client's connection, and the one to the server that belongs to it.
struct Connection {
    client: UnixStream,
    server: UnixStream,
    to_client: Mutex<Way>,
    to_server: Mutex<Way>,
    /// The streams whose answers must not arrive.
    unanswered: Mutex<HashMap<u32, Arc<RuleState>>>,
}

/// One direction of a connection. The holder of its lock writes whole frames.
struct Way {
    to: UnixStream,
    /// The frames that are held back, during a stall.
    held: Option<Vec<Frame>>,
}

impl Way {
    fn new(to: &UnixStream) -> Mutex<Way> {
        Mutex::new(Way { to: to.try_clone().unwrap(), held: None })
    }

    /// Sends a frame, or holds it back. Returns whether the connection still exists.
    fn send(&mut self, frame: Frame) -> bool {
        match &mut self.held {
            Some(held) => {
                held.push(frame);
                true
            }
            None => frame.write(&mut self.to).is_ok(),
        }
    }
}

impl Connection {
    fn new(client: UnixStream, server: UnixStream) -> Connection {
        let (to_client, to_server) = (Way::new(&client), Way::new(&server));
        Connection { client, server, to_client, to_server, unanswered: Mutex::default() }
    }

    fn cut(&self) {
        for stream in [&self.client, &self.server] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn stall(&self) {
        for way in [&self.to_client, &self.to_server] {
            way.lock().unwrap().held.get_or_insert_default();
        }
    }

    fn release(&self) {
        for way in [&self.to_server, &self.to_client] {
            let mut way = way.lock().unwrap();
            for frame in way.held.take().unwrap_or_default() {
                way.send(frame);
            }
        }
    }

    /// Passes the client's frames until the connection ends.
    fn pass_requests(self: &Arc<Connection>, state: &Mutex<State>) {
        let mut from = BufReader::new(&self.client);
        let mut preface = [0; PREFACE];
        if from.read_exact(&mut preface).is_err() || (&self.server).write_all(&preface).is_err() {
            return;
        }
        let mut requests = Requests::new();
        // The streams that have a rule, and those that have ended for the client.
        let mut ruled: HashMap<u32, Arc<RuleState>> = HashMap::new();
        let mut failed = HashSet::new();
        while let Some(mut frame) = Frame::read(&mut from) {
            if frame.kind == HEADERS {
                let call = requests.read(&mut frame);
                let rule = state.lock().unwrap().note(call);
                if let Some(rule) = rule {
                    let _ = rule.connection.set(Arc::downgrade(self));
                    ruled.insert(frame.stream, rule.clone());
                    match rule.fault {
                        Fault::Cut => self.cut(),
                        Fault::CutAfter | Fault::StallAfter | Fault::Late(_) => {
                            self.unanswered.lock().unwrap().insert(frame.stream, rule.clone());
                        }
                        Fault::Stall => self.stall(),
                        Fault::Delay(_) => {}
                        Fault::Fail(code, message) => {
                            let answer = Frame::failure(frame.stream, code, message);
                            failed.insert(frame.stream);
                            self.to_client.lock().unwrap().send(answer);
                        }
                    }
                    if !rule.fault.is_at_the_answer() {
                        rule.fire();
                    }
                    if let Fault::Delay(time) = rule.fault {
                        thread::sleep(time);
                    }
                }
            }
            if frame.kind == RST_STREAM
                && let Some(rule) = ruled.get(&frame.stream)
            {
                rule.given_up.store(true, Ordering::SeqCst);
            }
            if let Some(rule) = ruled.get(&frame.stream)
                && let Fault::Late(time) = rule.fault
                && frame.ends_stream()
            {
                self.to_client.lock().unwrap().held.get_or_insert_default();
                let _ = self.client.shutdown(Shutdown::Both);
                thread::sleep(time);
                self.to_server.lock().unwrap().send(frame);
                // Keep the connection to the server until it has executed the call.
                return wait_until("an answer that comes late", || {
                    rule.fired.load(Ordering::SeqCst)
                });
            }
            let stands = if failed.contains(&frame.stream) {
                let refund = frame.refund();
                refund.is_none_or(|refund| self.to_client.lock().unwrap().send(refund))
            } else {
                self.to_server.lock().unwrap().send(frame)
            };
            if !stands {
                return;
            }
        }
    }

    /// Passes the server's frames until the connection ends.
    fn pass_answers(&self) {
        let mut from = BufReader::new(&self.server);
        while let Some(frame) = Frame::read(&mut from) {
            if matches!(frame.kind, HEADERS | DATA | RST_STREAM)
                && let Some(rule) = self.unanswered.lock().unwrap().remove(&frame.stream)
            {
                if !matches!(rule.fault, Fault::StallAfter) {
                    self.cut();
                    rule.fire();
                    return;
                }
                self.stall();
                rule.fire();
            }
            if !self.to_client.lock().unwrap().send(frame) {
                return;
            }
        }
    }
}

/// The drop ends the connection: if one direction ends, so does the other.
struct End<'a>(&'a Arc<Connection>, &'a Mutex<State>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.cut();
        // But not if a test has failed while it held the lock.
        if let Ok(mut state) = self.1.lock() {
            state.connections.retain(|connection| !Arc::ptr_eq(connection, self.0));
        }
    }
}
