//! The client: the handle that a program holds, and hands its calls to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::call::{Call, Limits};
use crate::container::{self, ContainerConfig, Recovery};
use crate::delivery::{self, HookId, HookMode, Presence, Queue, QueueConfig, Sink, Wants};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::events::{self, EventFilter};
use crate::identifier;
use crate::image::{self, Image, Progress, PullConfig};
use crate::inner::{ClientConfig, Inner, Operation};
use crate::message::{Message, MessageKind};
use crate::rpc;
use crate::snapshot::{self, Snapshot};
use crate::stdio::Stdio;
use crate::sys;

/// The longest path that a socket's address holds (`sun_path`, without its NUL).
const MAX_SOCKET_PATH: usize = 107;

/// How long opening a client and asking for the version may take, unless the call says otherwise.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a socket is tried whose queue is full.
const BUSY_SOCKET: Duration = Duration::from_secs(1);

/// How long the last handle of a client waits for hooks when it goes.
const FREE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long removing a hook may take, unless the call says otherwise.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many events wait for a hook at most.
const EVENTS_PER_HOOK: usize = 16_384;

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// As in `1.6.20~ds1` or `v1.7.24`: distributions write it in many ways.
    pub version: String,
    /// The commit it was built from.
    pub revision: String,
}

/// What a client counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// How often a connection broke, as seen by what has to be begun anew: each subscription by itself,
    /// and waits that broke off together, within a second, once.
    pub reconnects: u64,
    /// How many processes were looked up after that, or because of an answer that leaves a doubt, with a
    /// result.
    pub reconciled: u64,
    /// How many messages were dropped because a queue or a hook was full.
    pub dropped: u64,
    /// How many processes are watched whose exit is not known.
    pub outstanding: u64,
}

/// A connection to a containerd. Clones are the same client; it may be used from any thread. The
/// drop of the last one closes it, and waits at most 10 s for hooks that run.
#[derive(Clone)]
pub struct Client {
    // Its drop closes the client, whatever of the context is still held by others.
    closer: Arc<Closer>,
    inner: Arc<Inner>,
}

/// Closes the client when the last handle goes.
struct Closer {
    inner: Arc<Inner>,
    /// Whether hooks were waited for as long as they are.
    waited: AtomicBool,
}

impl Closer {
    fn close(&self) {
        let may_wait = !delivery::inside() && self.inner.check_reentrant().is_ok();
        let waits = may_wait && !self.waited.swap(true, Ordering::SeqCst);
        let timeout = if waits { FREE_TIMEOUT } else { Duration::ZERO };
        // Only hooks may take longer, and are then left to end by themselves.
        if let Err(error) = self.inner.close(&Limits::within(timeout)) {
            log::warn!("a client is gone and not closed yet: {error}");
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            self.close();
            self.inner.pump.close();
        } else {
            // The threads that its destructors rely on are the parent's.
            std::mem::forget(self.inner.clone());
        }
    }
}

impl Client {
    /// Opens a client, and makes sure that a containerd answers.
    ///
    /// Blocks for at most 10 s unless `call` says otherwise. Where nobody listens it fails at once:
    /// [`ErrorKind::NotFound`] without a socket, [`ErrorKind::PermissionDenied`] where it may not be
    /// used, [`ErrorKind::Unavailable`] where no process has it open.
    pub fn open(config: ClientConfig, call: &Call) -> Result<Client> {
        let address = config.address.clone();
        Client::open_at(config, call).at("client_open", &address)
    }

    fn open_at(config: ClientConfig, call: &Call) -> Result<Client> {
        identifier::check("namespace", &config.namespace)?;
        identifier::check("owner", &config.owner)?;
        identifier::check_snapshotter(&config.snapshotter)?;
        if !config.state_dir.is_absolute() {
            return Err(Error::invalid("state_dir", "must be an absolute path"));
        }
        let path = socket_path(&config.address)?;
        rpc::check_process()?;
        rpc::check_threads()?;
        // One for both: a socket that is busy takes of the call's time.
        let limits = call.limits(Some(OPEN_TIMEOUT));
        let sees_processes = try_socket(&path, &limits)?;
        let inner = Arc::new(Inner::new(config, &path, sees_processes));
        let operation = inner.begin_with(call, Some(OPEN_TIMEOUT))?;
        rpc::version::version(&operation.ctx.with_limits(limits)).step("ask for the version")?;
        drop(operation);
        let closer = Closer { inner: inner.clone(), waited: AtomicBool::new(false) };
        Ok(Client { closer: Arc::new(closer), inner })
    }

    /// Closes the client: no further call begins, waits end with [`ErrorKind::Closed`], no hook is
    /// started any more, calls under way and hooks that run are waited for. From inside a hook it does
    /// not wait. Containers run on. Closing again does nothing, or goes on waiting.
    pub fn close(&self, call: &Call) -> Result<()> {
        let close = || {
            self.inner.check_process()?;
            if !delivery::inside() {
                self.inner.check_reentrant()?;
            }
            self.inner.close(&call.limits(Some(OPEN_TIMEOUT)))
        };
        close().at("client_close", &self.inner.config.address)
    }

    /// Closes the client as the drop of its last handle does, which then does not wait again: for whoever
    /// has given hooks a pointer to this handle, and drops it next.
    #[doc(hidden)]
    pub fn close_to_free(&self) {
        if self.inner.check_process().is_ok() {
            self.closer.close();
        }
    }

    /// What the client was opened with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Fails in a child of the process that opened the client.
    pub fn check_process(&self) -> Result<()> {
        self.inner.check_process()
    }

    /// Asks the server for its version.
    pub fn version(&self, call: &Call) -> Result<Version> {
        let version = || {
            let operation = self.inner.begin_with(call, Some(OPEN_TIMEOUT))?;
            let (version, revision) = rpc::version::version(&operation.ctx)?;
            Ok(Version { version, revision })
        };
        version().at("version", &self.inner.config.address)
    }

    /// Pulls an image and unpacks it. See [`PullConfig`]. Without a timeout in `call` it may take as
    /// long as data keeps coming; where the server does not answer, cleaning up may take up to 6 s
    /// beyond it. `progress` runs on the calling thread, about every 100 ms and once at the end, with
    /// the state of everything that is fetched.
    pub fn pull_image(
        &self,
        config: &PullConfig,
        progress: &mut dyn FnMut(&[Progress]),
        call: &Call,
    ) -> Result<Image> {
        let inner = &self.inner;
        let mut progress = |items: &[Progress]| {
            image::publish_progress(inner, &config.reference, items);
            progress(items);
        };
        image::pull(inner, config, &mut progress, call).at("pull_image", &config.reference)
    }

    /// Looks an image up: the image of exactly this name or, if there is none, the image with the
    /// completed name. So `busybox` is an image that another client recorded as `busybox`, and otherwise
    /// `docker.io/library/busybox:latest`. Fails with [`ErrorKind::NotFound`] if there is neither, and
    /// with [`ErrorKind::InvalidArgument`] if the name, moreover, cannot be completed.
    pub fn get_image(&self, reference: &str, call: &Call) -> Result<Image> {
        image::get(&self.inner, reference, call).at("get_image", reference)
    }

    /// The images that match any of the filters; all where there is none.
    pub fn list_images(&self, filters: &[&str], call: &Call) -> Result<Vec<Image>> {
        image::list(&self.inner, filters, call).at("list_images", "")
    }

    /// Removes an image's record. Content and snapshots that nothing else refers to are removed by the next
    /// garbage collection; with `sync` the call waits for it.
    ///
    /// The name is looked up as in [`Client::get_image`]. So removing a short name twice may remove two
    /// images: that of exactly this name, then that with the completed name. After an error with an
    /// unknown outcome, look before you repeat.
    pub fn remove_image(&self, reference: &str, sync: bool, call: &Call) -> Result<()> {
        image::remove(&self.inner, reference, sync, call).at("remove_image", reference)
    }

    /// The runtime specification (JSON) that [`Client::create_container`] would make by default for a
    /// container `id` of this image in the call's namespace: [`default_spec`](crate::default_spec) with
    /// the image's configuration applied to it, without a terminal. Edit it and pass it as
    /// [`ContainerConfig::spec`](crate::ContainerConfig::spec). If the image names no command, there is no
    /// `process.args`: set it, or give `args` to the create.
    ///
    /// The image is looked up as in [`Client::get_image`]. Its user is looked up in the image's own files,
    /// unless it is given as two numbers: for that, a read-only snapshot of the image is created with
    /// the client's snapshotter, under a lease, and removed again. An image that is not unpacked is
    /// unpacked first. Blocks for at most the client's call timeout unless `call` says otherwise; if the
    /// server does not answer, cleaning up may take up to 6 s beyond it.
    pub fn image_spec(&self, image: &str, id: &str, call: &Call) -> Result<String> {
        image::image_spec(&self.inner, image, id, call).at("image_spec", image)
    }

    /// Looks a snapshot up. `None` means the client's snapshotter.
    pub fn get_snapshot(
        &self,
        snapshotter: Option<&str>,
        key: &str,
        call: &Call,
    ) -> Result<Snapshot> {
        snapshot::get(&self.inner, snapshotter, key, call).at("get_snapshot", key)
    }

    /// Removes a snapshot. `None` means the client's snapshotter.
    pub fn remove_snapshot(&self, snapshotter: Option<&str>, key: &str, call: &Call) -> Result<()> {
        snapshot::remove(&self.inner, snapshotter, key, call).at("remove_snapshot", key)
    }

    // What changes a container waits for its turn: first come, first served among the calls of one
    // client. Where its time ends before, the error is `Busy` and names the operation that has it.

    /// Creates a container and starts its process, unless the configuration says not to. Gives the
    /// process's id. What was done is undone where a step fails, and the error names the step; where
    /// the server does not answer or cannot be reached, that may take up to 15 s, also beyond the
    /// call's timeout.
    pub fn create_container(&self, config: ContainerConfig, call: &Call) -> Result<u32> {
        let id = config.id.clone();
        container::create(&self.inner, config, call).at("create_container", &id)
    }

    /// Starts the process of a container that was created without starting it.
    pub fn start_container(&self, id: &str, call: &Call) -> Result<u32> {
        container::start(&self.inner, id, call).at("start_container", id)
    }

    /// Waits for the end of a container's process. Without a timeout in `call` it waits without an
    /// end. Any number of callers may wait; the message stays until the container is destroyed, and
    /// at least of the last 1,024 that went without it ([`crate::Cleanup::All`], another client). With
    /// [`Call::poll`] it tells what is known without asking the server, but asks, for at most 1 s,
    /// of a container that this client does not watch yet, and of one whose exit was told: its id
    /// may be another container's by now.
    pub fn probe(&self, id: &str, call: &Call) -> Result<Message> {
        container::probe(&self.inner, id, call).at("probe", id)
    }

    /// Ends a container's processes and removes it: SIGTERM, SIGKILL once `grace` has passed, then
    /// task, record and snapshot are deleted. Gives the exit message, which is without a code where
    /// no source holds one or the process never ran. Blocks for at most `grace` and the client's
    /// call timeout unless `call` says otherwise; a grace of [`Duration::MAX`] has no end. Fails
    /// with [`ErrorKind::FailedPrecondition`] where the container is another owner's, and with
    /// [`ErrorKind::Aborted`] where another client starts it again and again.
    pub fn destroy_container(&self, id: &str, grace: Duration, call: &Call) -> Result<Message> {
        container::destroy(&self.inner, id, grace, call).at("destroy_container", id)
    }

    /// Takes a container over after this program was started anew: its streams, as far as their FIFOs
    /// stand (`stdio`: descriptors or none; what is not given is fetched and dropped), and the watch of
    /// its process. One that has ended meanwhile is told of with its real exit, as far as containerd
    /// still knows. Only a container with the client's owner label is taken over
    /// ([`ErrorKind::FailedPrecondition`]). Fails with [`ErrorKind::NotFound`] where there is no
    /// container or it has no task, and leaves it as it is; with [`ErrorKind::Unavailable`] where its
    /// shim does not answer. A container that is recovered already stays so.
    pub fn recover_container(&self, id: &str, stdio: Stdio, call: &Call) -> Result<()> {
        container::recover(&self.inner, id, stdio, call).at("recover_container", id)
    }

    /// Does so for every container of the namespace with the client's owner label, 16 at once by threads
    /// that end with the call, each within 5 s, and says what became of each, in the order of their ids.
    /// `streams` gives the descriptors of one; it runs on the calling thread, for all before the first is
    /// recovered. A container for which it fails is left as it is. FIFOs of containers that do not stand
    /// any more are removed.
    pub fn recover_all(
        &self,
        streams: &mut dyn FnMut(&str) -> Result<Stdio>,
        call: &Call,
    ) -> Result<Vec<Recovery>> {
        container::recover_all(&self.inner, streams, call).at("recover_all", "")
    }

    // A hook is a function of the host's that is told of something. One hook is never run twice at
    // once, and is told in the order in which the client came to know. Any operation may be called from
    // one. A hook that holds a clone of the client keeps it open.

    /// Adds a hook that is told of exits of containers' first processes: of the one with this id, in
    /// any namespace, or of all. It is told of those that this client watches: that it has created,
    /// recovered, started or probed. Its function is dropped once, when it is removed or the client is
    /// closed.
    pub fn add_stop_hook(
        &self,
        container: Option<&str>,
        mode: HookMode,
        hook: impl FnMut(&Message) + Send + 'static,
    ) -> Result<HookId> {
        self.add_hook(MessageKind::Exit, container, mode, Box::new(hook)).at("add_stop_hook", "")
    }

    /// Adds a hook that is told of exits of processes that were executed in a container. Otherwise as
    /// [`Client::add_stop_hook`].
    pub fn add_exit_hook(
        &self,
        container: Option<&str>,
        mode: HookMode,
        hook: impl FnMut(&Message) + Send + 'static,
    ) -> Result<HookId> {
        self.add_hook(MessageKind::ExecExit, container, mode, Box::new(hook))
            .at("add_exit_hook", "")
    }

    fn add_hook(
        &self,
        kind: MessageKind,
        container: Option<&str>,
        mode: HookMode,
        hook: Box<dyn FnMut(&Message) + Send>,
    ) -> Result<HookId> {
        self.inner.check_process()?;
        container.map_or(Ok(()), |id| identifier::check("id", id))?;
        let wants = Wants { kinds: vec![kind], container: container.map(str::to_owned) };
        // An exit is not to be dropped, and each process has only one.
        self.inner.bus.add_hook(wants, mode, usize::MAX, hook).map(|added| added.consumer)
    }

    /// Adds a hook that is told of the server's events: those that pass any of the filters, of every
    /// namespace where they name none; all where there is no filter. Whatever is published after this
    /// has returned is told, each event once, until the connection breaks: then a
    /// [`MessageKind::Gap`] is told before the first event of the new one. Up to 16,384 messages wait
    /// for the hook; what is beyond is dropped, which a [`MessageKind::Overflow`] says. Otherwise as
    /// [`Client::add_stop_hook`]. Blocks until the server sends events. Where it fails while the hook
    /// runs already, it waits for that at most 1 s more.
    pub fn add_event_hook(
        &self,
        filters: &[EventFilter],
        mode: HookMode,
        hook: impl FnMut(&Message) + Send + 'static,
        call: &Call,
    ) -> Result<HookId> {
        let add = || {
            let filters = events::render(filters)?;
            let operation = self.inner.begin(call)?;
            let hook = Box::new(hook);
            let added = self.inner.bus.add_hook(Wants::default(), mode, EVENTS_PER_HOOK, hook)?;
            let id = added.consumer;
            self.feed(&operation, filters, added.sink, added.presence).inspect_err(|_| {
                self.inner.bus.withdraw_hook(id);
            })?;
            Ok(id)
        };
        add().at("add_event_hook", "")
    }

    /// Opens a queue. With events it blocks until the server sends them; what is said of
    /// [`Client::add_event_hook`] holds for them.
    pub fn open_queue(&self, config: &QueueConfig, call: &Call) -> Result<Queue> {
        let open = || {
            config.check()?;
            let filters = events::render(&config.filters)?;
            let operation = self.inner.begin(call)?;
            let kinds = config.kinds.iter().copied().filter(|k| *k != MessageKind::Event);
            let wants = Wants { kinds: kinds.collect(), container: None };
            let added = self.inner.bus.add_queue(wants, config.capacity)?;
            if config.wants_events() {
                self.feed(&operation, filters, added.sink, added.presence)?;
            }
            Ok(added.consumer)
        };
        open().at("queue_open", "")
    }

    fn feed(
        &self,
        operation: &Operation,
        filters: Vec<String>,
        sink: Sink,
        presence: Presence,
    ) -> Result<()> {
        let Inner { executor, bus, .. } = &*self.inner;
        events::feed::begin(&operation.ctx, filters, executor, bus, sink, presence)
    }

    /// Removes a hook. When this returns, it does not run and its function is dropped, whoever else
    /// removes it. From inside a hook it does not wait: the function is then dropped when the hook
    /// returns; that dropping counts as inside the hook. Otherwise it waits at
    /// most 10 s, unless `call` says otherwise; after [`ErrorKind::Timeout`] the hook is not started
    /// again all the same.
    pub fn remove_hook(&self, hook: HookId, call: &Call) -> Result<()> {
        self.inner
            .check_process()
            .and_then(|()| self.inner.bus.remove_hook(hook, &call.limits(Some(REMOVE_TIMEOUT))))
            .at("remove_hook", &hook.get().to_string())
    }

    /// A descriptor that is readable while [`Client::dispatch`] has something to do. It is only to be
    /// polled.
    pub fn dispatch_fd(&self) -> Result<BorrowedFd<'_>> {
        let fd = || {
            self.inner.check_process()?;
            self.inner.bus.dispatch_fd()
        };
        fd().at("dispatch_fd", "")
    }

    /// Runs hooks whose mode is [`HookMode::Dispatch`] on the calling thread, for at most `max`
    /// messages. Gives their number; 0 where there is nothing to do. Does not wait. One thread at a
    /// time: another one gets [`ErrorKind::Busy`], a hook [`ErrorKind::Reentrant`].
    pub fn dispatch(&self, max: usize) -> Result<usize> {
        let dispatch = || {
            self.inner.check_process()?;
            self.inner.bus.dispatch(max)
        };
        dispatch().at("dispatch", "")
    }

    /// What the client has counted since it was opened.
    pub fn counters(&self) -> Counters {
        let (reconnects, reconciled) = self.inner.watches.reconciled();
        Counters {
            reconnects: reconnects + self.inner.bus.reconnects(),
            reconciled,
            dropped: self.inner.bus.dropped(),
            outstanding: self.inner.watches.outstanding() as u64,
        }
    }

    /// The id of a container's first process.
    pub fn container_pid(&self, id: &str, call: &Call) -> Result<u32> {
        container::pid(&self.inner, id, call).at("container_pid", id)
    }

    /// The ids of all processes of a container.
    pub fn container_pids(&self, id: &str, call: &Call) -> Result<Vec<u32>> {
        container::pids(&self.inner, id, call).at("container_pids", id)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// The path that an address names.
fn socket_path(address: &str) -> Result<PathBuf> {
    let invalid = |why: &str| Error::invalid("address", format!("{address:?} {why}"));
    let path = match address.strip_prefix("unix:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => address,
    };
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(invalid("is not an absolute path, or unix: and one"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(invalid("holds a NUL"));
    }
    if path.as_os_str().as_bytes().contains(&b',') {
        return Err(invalid("holds a comma, at which gRPC divides addresses"));
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(invalid("is longer than a socket's address can be"));
    }
    Ok(path.to_owned())
}

/// Connects once, for the operating system's own word on what is wrong; gRPC would only try again. Says
/// whether who listens is seen to number processes as we do.
fn try_socket(path: &Path, limits: &Limits) -> Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path.display(), e))?;
    if !metadata.file_type().is_socket() {
        return Err(Error::invalid("address", format!("{} is not a socket", path.display())));
    }
    let address = SocketAddrUnix::new(path).map_err(|e| Error::io(path.display(), e))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| Error::io("socket", e))?;
    let limits = limits.at_most(BUSY_SOCKET);
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(shares_processes(&socket)),
            // A full queue says that somebody listens; whether he answers is seen by the first call.
            Err(Errno::AGAIN) if limits.check().is_err() => return Ok(false),
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(10)),
            Err(Errno::CONNREFUSED) => {
                return Err(Error::io(path.display(), Errno::CONNREFUSED)
                    .context("nobody listens")
                    .with_kind(ErrorKind::Unavailable)
                    .with_retryable(true));
            }
            Err(e) => return Err(Error::io(path.display(), e)),
        }
    }
}

/// Whether the process at the other end of a socket is in our own namespace of processes.
fn shares_processes(socket: &OwnedFd) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    // Where systemd has bound the socket, it is systemd; its namespace is the same.
    sys::peer(socket.as_fd())
        .and_then(|peer| namespace(&peer.to_string()))
        .is_some_and(|theirs| namespace("self") == Some(theirs))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use rustix::net::{accept, bind, listen};

    use super::*;

    #[test]
    fn a_socket_whose_queue_is_full_is_tried_again() {
        let path = std::env::temp_dir().join(format!("ctrd-full-{}", std::process::id()));
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        // Somebody listens, and that is all that is seen of him.
        assert!(!try_socket(&path, &Limits::within(Duration::ZERO)).unwrap());
        // What that takes is of the call's time.
        let address = path.display().to_string();
        let config = ClientConfig { address, ..Default::default() };
        let began = Instant::now();
        let error = Client::open(config, &Call::new().timeout(BUSY_SOCKET)).unwrap_err();
        assert!(began.elapsed() < BUSY_SOCKET * 2, "{:?}: {error}", began.elapsed());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        std::thread::scope(|scope| {
            let trying = scope.spawn(|| try_socket(&path, &Limits::default()));
            accept(&socket).unwrap();
            assert!(trying.join().unwrap().unwrap());
        });
        std::fs::remove_file(path).unwrap();
    }
}
