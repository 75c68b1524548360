//! The input and output of a process: FIFOs between the shim and the library, and the one thread that
//! passes the bytes on.

mod fifo;
mod flow;
mod lost;
mod pump;

use std::future::poll_fn;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::call::Limits;
use crate::error::{Error, Result};
use crate::identifier;
use crate::message::OutputLost;

pub(crate) use fifo::{FifoDir, Paths};
use fifo::{FifoSet, MAX_PATH, STREAM_NAMES};
use flow::{Endpoint, Flow};
pub(crate) use pump::Pump;
use pump::{Engine, InputClosed, STDERR, STDIN, STDOUT, Streams};

/// Where one stream of a process goes to or comes from.
///
/// ```no_run
/// use std::fs::File;
///
/// use ctrd::{ContainerConfig, Stdio, Stream};
///
/// # fn f(config: ContainerConfig) -> std::io::Result<()> {
/// let log = Stream::fd(File::create("/var/log/example/web.log")?);
/// let config = config.stdio(Stdio::new().stdout(log.clone()).stderr(log));
/// # let _ = config;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Stream {
    /// Nowhere: reads end at once, writes vanish.
    #[default]
    None,
    /// A descriptor of the host's ([`Stream::fd`]). Its last owner closes it: the library drops its
    /// share once the stream has ended. The flags of the open file, which others may share, do not
    /// change. Output is passed on as fast as the descriptor takes it: while it takes none, the
    /// process waits, as at a pipe. If the descriptor fails, for example because its reader has
    /// gone, further output is dropped and counted ([`crate::Message::output_lost`]).
    Fd(Arc<OwnedFd>),
    /// A path that the shim opens: the absolute path of a FIFO or of a file that exists. For output
    /// also `file://` with an absolute path (the shim appends, and makes the file if it is missing;
    /// not with a terminal), or `binary://` with the path of a program that reads the output. Such
    /// a URI in [`Stdio::stdout`] takes [`Stdio::stderr`] too, which must then be [`Stream::None`]
    /// or the same. The shim closes the file of `file://` when standard output ends, and may lose
    /// the end of standard error (containerd 1.6 to 2.1, `copyPipes`).
    Path(String),
}

impl Stream {
    /// A descriptor that the library closes once the stream has ended, unless the caller keeps a
    /// clone of the stream, or a configuration with it.
    pub fn fd(fd: impl Into<OwnedFd>) -> Stream {
        Stream::Fd(Arc::new(fd.into()))
    }
}

/// A stream of a duplicate (close-on-exec) of a descriptor that the host keeps. `argument` names it
/// in the error: [`ErrorKind::InvalidArgument`] if it is not open, [`ErrorKind::Io`] if the process
/// has no descriptor left.
///
/// [`ErrorKind::InvalidArgument`]: crate::ErrorKind::InvalidArgument
/// [`ErrorKind::Io`]: crate::ErrorKind::Io
pub(crate) fn duplicate(argument: &str, fd: BorrowedFd<'_>) -> Result<Stream> {
    fd.try_clone_to_owned().map(Stream::fd).map_err(|e| match e.raw_os_error() {
        Some(libc::EBADF) => Error::invalid(argument, "is not open"),
        _ => Error::io(argument, e),
    })
}

/// The streams of a process. Clones share the descriptors.
///
/// ```no_run
/// use std::io::Read;
///
/// use ctrd::{Call, Client, ContainerConfig, Stdio, Stream};
///
/// # fn f(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let (mut reader, writer) = std::io::pipe()?;
/// let config = ContainerConfig::new("hello")
///     .image("busybox")
///     .args(["echo", "hello"])
///     .stdio(Stdio::new().stdout(Stream::fd(writer)));
/// client.create_container(&config, &Call::new())?;
/// // The output ends once nobody has the writer any more.
/// drop(config);
/// let mut output = String::new();
/// reader.read_to_string(&mut output)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Stdio {
    pub(crate) stdin: Stream,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    pub(crate) terminal: bool,
}

impl Stdio {
    /// No streams.
    pub fn new() -> Stdio {
        Stdio::default()
    }

    /// Standard input.
    pub fn stdin(mut self, stream: Stream) -> Stdio {
        self.stdin = stream;
        self
    }

    /// Standard output.
    pub fn stdout(mut self, stream: Stream) -> Stdio {
        self.stdout = stream;
        self
    }

    /// Standard error. Not used with a terminal.
    pub fn stderr(mut self, stream: Stream) -> Stdio {
        self.stderr = stream;
        self
    }

    /// Whether the process has a terminal: then everything it writes comes from
    /// [`Stdio::stdout`]. Default: no.
    pub fn terminal(mut self, terminal: bool) -> Stdio {
        self.terminal = terminal;
        self
    }
}

/// How one stream reaches the process.
enum Route {
    /// The shim opens this path itself; empty for none.
    Shim(String),
    /// Through a FIFO and this endpoint; without an endpoint the output vanishes.
    Fifo(Option<Endpoint>),
}

impl Route {
    fn output(argument: &str, stream: Stream) -> Result<Route> {
        Ok(match stream {
            Stream::None => Route::Fifo(None),
            Stream::Fd(fd) => Route::Fifo(Some(Endpoint::target(argument, fd)?)),
            Stream::Path(path) => Route::Shim(check_path(argument, path)?),
        })
    }
}

/// The routes of standard input, output and error. Finds everything that is wrong with the caller's
/// streams before anything is made.
fn routes(stdio: Stdio) -> Result<[Route; 3]> {
    let Stdio { stdin, stdout, stderr, terminal } = stdio;
    let none = || Route::Shim(String::new());
    let stdin = match stdin {
        Stream::None => none(),
        Stream::Fd(fd) => Route::Fifo(Some(Endpoint::source("stdin", fd)?)),
        Stream::Path(path) if is_uri(&path) => {
            return Err(Error::invalid("stdin", "a URI is for output only"));
        }
        Stream::Path(path) => Route::Shim(check_path("stdin", path)?),
    };
    if terminal {
        if matches!(&stdout, Stream::Path(path) if path.starts_with("file://")) {
            return Err(Error::invalid("stdout", "file:// cannot be used with a terminal"));
        }
        // The shim requires a stdout, and ignores stderr.
        return Ok([stdin, Route::output("stdout", stdout)?, none()]);
    }
    let (stdout, stderr) = match (stdout, stderr) {
        // Without any stream the shim gives the process /dev/null.
        (Stream::None, Stream::None) if matches!(&stdin, Route::Shim(path) if path.is_empty()) => {
            (none(), none())
        }
        // The shim reads only the URI of stdout, and writes both streams there; but without a
        // stderr it panics.
        (Stream::Path(uri), stderr) if is_uri(&uri) => {
            match stderr {
                Stream::None => {}
                Stream::Path(same) if same == uri => {}
                _ => {
                    let why = "must be none or the same if stdout is a URI, which takes both";
                    return Err(Error::invalid("stderr", why));
                }
            }
            let uri = check_path("stdout", uri)?;
            (Route::Shim(uri.clone()), Route::Shim(uri))
        }
        (_, Stream::Path(path)) if is_uri(&path) => {
            return Err(Error::invalid("stderr", "a URI must be given as stdout too"));
        }
        // The shim opens both or fails, so a stream that the caller leaves out gets a FIFO too.
        (stdout, stderr) => (Route::output("stdout", stdout)?, Route::output("stderr", stderr)?),
    };
    Ok([stdin, stdout, stderr])
}

/// Checks streams before they are needed.
pub(crate) fn check(stdio: &Stdio) -> Result<()> {
    routes(stdio.clone()).map(drop)
}

/// Whether a path is that of a FIFO of this library.
pub(crate) fn is_own(state_dir: &Path, path: &str) -> bool {
    fifo::is_own(state_dir, path)
}

/// Schemes that the shim knows (containerd 1.3 and later).
const SCHEMES: [&str; 2] = ["file://", "binary://"];

fn is_uri(path: &str) -> bool {
    SCHEMES.iter().any(|scheme| path.starts_with(scheme))
}

fn check_path(argument: &str, path: String) -> Result<String> {
    let absolute = SCHEMES.iter().find_map(|s| path.strip_prefix(s)).unwrap_or(&path);
    if !absolute.starts_with('/') {
        let why = "is not an absolute path, or file:// or binary:// and one";
        return Err(Error::invalid(argument, format!("{path:?} {why}")));
    }
    if path.contains('\0') {
        return Err(Error::invalid(argument, format!("{path:?} holds a NUL")));
    }
    if path.len() > MAX_PATH {
        return Err(Error::invalid(argument, "is longer than a path can be"));
    }
    Ok(path)
}

/// The streams of a process that go through FIFOs, before the process exists.
struct FifoStreams {
    engine: Arc<Engine>,
    fifos: FifoSet,
    /// The name of the FIFO, and the host's descriptor.
    input: Option<(String, Endpoint)>,
    outputs: Vec<(u64, Flow)>,
    lost: [Arc<lost::LostCounter>; 2],
}

impl FifoStreams {
    fn new(pump: &Pump, fifos: FifoSet) -> Result<FifoStreams> {
        let engine = pump.engine()?;
        let lost = [engine.lost_counter(), engine.lost_counter()];
        Ok(FifoStreams { engine, fifos, input: None, outputs: Vec::new(), lost })
    }

    /// Opens the FIFO of an output stream for reading.
    fn add_output(&mut self, stream: u64, name: &str, target: Option<Endpoint>) -> Result<()> {
        let fifo = Endpoint::fifo(self.fifos.open_reader(name)?);
        let [stdout, stderr] = &self.lost;
        let lost = if stream == STDOUT { stdout } else { stderr };
        self.outputs.push((stream, Flow::output(fifo, target, lost.clone())));
        Ok(())
    }
}

/// The streams for a process that is not created yet. The FIFOs of its output are open for reading
/// already. The drop removes the FIFOs.
pub(crate) struct Prepared {
    container: String,
    paths: Paths,
    streams: Option<FifoStreams>,
}

/// Makes the FIFOs of a process, in a directory of their own. `exec` is `None` for a container's
/// first process.
pub(crate) fn prepare(
    pump: &Pump,
    dir: FifoDir<'_>,
    id: &str,
    exec: Option<&str>,
    stdio: Stdio,
) -> Result<Prepared> {
    // They become names of files.
    identifier::check("namespace", dir.namespace)?;
    identifier::check("id", id)?;
    exec.iter().try_for_each(|exec| identifier::check("exec_id", exec))?;
    let mut paths = Paths { terminal: stdio.terminal, ..Paths::default() };
    let mut streams = None;
    let of_shim = [&mut paths.stdin, &mut paths.stdout, &mut paths.stderr];
    for (((stream, route), name), path) in
        (STDIN..).zip(routes(stdio)?).zip(STREAM_NAMES).zip(of_shim)
    {
        let endpoint = match route {
            Route::Fifo(endpoint) => endpoint,
            Route::Shim(given) => {
                *path = given;
                continue;
            }
        };
        let streams = match &mut streams {
            Some(streams) => streams,
            None => streams.insert(FifoStreams::new(pump, FifoSet::new(dir, id)?)?),
        };
        let name = fifo::file_name(exec.unwrap_or(id), name);
        *path = streams.fifos.make(&name)?;
        if stream == STDIN {
            streams.input = endpoint.map(|endpoint| (name, endpoint));
        } else {
            // Now, because the shim waits for a reader when it opens the FIFO.
            streams.add_output(stream, &name, endpoint)?;
        }
    }
    Ok(Prepared { container: id.to_owned(), paths, streams })
}

/// Opens the FIFOs that an earlier program made for a process. `None` if it has none of this
/// library. Output for which the caller gives no descriptor is read and dropped, because the
/// process waits otherwise.
pub(crate) fn reopen(
    pump: &Pump,
    state_dir: &Path,
    id: &str,
    paths: &Paths,
    stdio: Stdio,
) -> Result<Option<Prepared>> {
    let endpoint = |argument, stream| match stream {
        Stream::None => Ok(None),
        Stream::Fd(fd) if argument == "stdin" => Endpoint::source(argument, fd).map(Some),
        Stream::Fd(fd) => Endpoint::target(argument, fd).map(Some),
        Stream::Path(_) => Err(Error::invalid(argument, "the shim has its path already")),
    };
    let input = endpoint("stdin", stdio.stdin)?;
    let stdout = endpoint("stdout", stdio.stdout)?;
    let stderr = endpoint("stderr", stdio.stderr)?;
    let Some(fifos) = FifoSet::reopen(state_dir, paths)? else { return Ok(None) };
    let mut streams = FifoStreams::new(pump, fifos)?;
    for (stream, path, target) in [(STDOUT, &paths.stdout, stdout), (STDERR, &paths.stderr, stderr)]
    {
        if let Some(name) = streams.fifos.name_of(path) {
            streams.add_output(stream, &name, target)?;
        }
    }
    streams.input = streams.fifos.name_of(&paths.stdin).zip(input);
    Ok(Some(Prepared { container: id.to_owned(), paths: paths.clone(), streams: Some(streams) }))
}

/// Removes the FIFOs of a process that has ended, if they are below `state_dir`.
pub(crate) fn remove_fifos(state_dir: &Path, paths: &Paths) {
    if let Ok(Some(mut fifos)) = FifoSet::reopen(state_dir, paths) {
        fifos.set_keep(false);
    }
}

/// The directories of all FIFO sets for the containers of a server's namespace, each with the id of
/// its container. Some may be of a program that died before it could remove them. A container's
/// record is made before its FIFOs.
pub(crate) fn list_fifo_sets(dir: FifoDir<'_>) -> Vec<(String, PathBuf)> {
    fifo::list(dir)
}

/// Removes one of these directories.
pub(crate) fn remove_fifo_set(directory: &Path) {
    fifo::remove(directory);
}

/// Removes the FIFO sets of a process that has ended, whichever program made them. With the first
/// process of a container, all its processes have ended.
pub(crate) fn remove_fifo_sets_of(dir: FifoDir<'_>, id: &str, exec: Option<&str>) {
    let sets = list_fifo_sets(dir).into_iter().filter(|(of, _)| of == id);
    let its =
        sets.filter(|(_, directory)| exec.is_none_or(|exec| fifo::belongs_to(directory, exec)));
    its.for_each(|(_, directory)| remove_fifo_set(&directory));
}

/// Removes the FIFO sets of all execs of a container, whichever program made them.
pub(crate) fn remove_fifo_sets_of_execs(dir: FifoDir<'_>, id: &str) {
    let sets = list_fifo_sets(dir).into_iter().filter(|(of, _)| of == id);
    let its = sets.filter(|(_, directory)| fifo::belongs_to_exec(directory, id));
    its.for_each(|(_, directory)| remove_fifo_set(&directory));
}

impl Prepared {
    /// What the shim gets for the streams.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Starts to pass the output on. Called once the shim has opened its ends: after `Tasks.Create`
    /// returned for a container, after `Tasks.Start` returned for an exec. From here on a FIFO that
    /// nobody has open for writing is at its end. `drain` is how long output that is still in the
    /// pipes is waited for after the exit, unless a caller chooses otherwise.
    ///
    /// `input_closed` runs once, on the pump's thread, when the host's input has ended and the
    /// library's end of the FIFO is closed. It must not block. It is dropped instead if the process
    /// stops reading first, or the streams are closed.
    pub(crate) fn attach(self, drain: Duration, input_closed: InputClosed) -> Result<Attached> {
        let process = std::process::id();
        let Some(prepared) = self.streams else {
            return Ok(Attached { process, drain, streams: None, resources: Mutex::default() });
        };
        let streams = Streams::new(&prepared.engine, &self.container, prepared.lost)?;
        let input = prepared.input.map(|(name, source)| Input { name, source, input_closed });
        let resources = Resources { input, fifos: Some(prepared.fifos) };
        // From here on a failure drops the handle, which closes everything.
        let attached = Attached {
            process,
            drain,
            streams: Some(streams.clone()),
            resources: Mutex::new(resources),
        };
        for (stream, flow) in prepared.outputs {
            streams.add(stream, flow, None)?;
        }
        Ok(attached)
    }
}

/// The input, until the process runs.
struct Input {
    name: String,
    source: Endpoint,
    input_closed: InputClosed,
}

/// What the streams hold until they are closed.
#[derive(Default)]
struct Resources {
    input: Option<Input>,
    fifos: Option<FifoSet>,
}

/// The streams of a process that was created. The drop closes them, and removes the FIFOs unless these
/// are to be kept.
pub(crate) struct Attached {
    /// A child of the process shares epoll and the FIFOs, and must leave them to its parent.
    process: u32,
    drain: Duration,
    streams: Option<Arc<Streams>>,
    resources: Mutex<Resources>,
}

impl Attached {
    /// Starts to pass the input on. Called once the process runs: before its start the shim would not
    /// pass on that the input has ended. If the process has ended already, nothing of the host's is
    /// read.
    pub(crate) fn start_input(&self) -> Result<()> {
        let Some(streams) = &self.streams else { return Ok(()) };
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match (&resources.input, &resources.fifos) {
            (Some(input), Some(fifos)) => fifos.open_writer(&input.name)?,
            _ => None,
        };
        let input = resources.input.take();
        // The FIFOs of the output were opened before.
        resources.fifos.iter_mut().for_each(FifoSet::close_directory);
        drop(resources);
        let (Some(input), Some(writer)) = (input, writer) else { return Ok(()) };
        let flow = Flow::input(input.source, Endpoint::fifo(writer));
        streams.add(STDIN, flow, Some(input.input_closed))
    }

    /// Ends the input: the process has ended.
    fn end_input(&self) {
        let input = self.resources.lock().unwrap_or_else(PoisonError::into_inner).input.take();
        drop(input);
        self.streams.iter().for_each(|streams| streams.end_input());
    }

    /// How long output that is still in the pipes is waited for after the exit, unless a caller
    /// chooses otherwise.
    pub(crate) fn drain_time(&self) -> Duration {
        self.drain
    }

    /// Ends the input, for the process has ended, and waits until all output has been passed on. Some
    /// of it may come only after the exit; and if a descendant of the process has the pipe open, the
    /// output does not end at all. Fails if the limits end the wait before.
    pub(crate) fn drain(&self, limits: &Limits) -> Result<()> {
        self.end_input();
        self.streams.as_ref().map_or(Ok(()), |streams| streams.wait(limits))
    }

    /// The same without blocking.
    pub(crate) async fn drained(&self) {
        self.end_input();
        if let Some(streams) = &self.streams {
            poll_fn(|cx| streams.poll_ended(cx)).await;
        }
    }

    /// From now on drops the output, and counts it as lost.
    pub(crate) fn discard(&self) {
        self.streams.iter().for_each(|streams| streams.discard());
    }

    /// How many bytes of output are known to be lost: those that the host's descriptor did not take
    /// any more, and those that were dropped.
    pub(crate) fn lost(&self) -> OutputLost {
        self.streams.as_ref().map_or_else(OutputLost::default, |streams| streams.lost())
    }

    /// Keeps the FIFOs when this is dropped: the container outlives the client, and another client may
    /// recover it.
    pub(crate) fn keep_fifos(&self) {
        self.set_keep(true);
    }

    fn set_keep(&self, keep: bool) {
        self.streams.iter().for_each(|streams| streams.set_keeps_fifos(keep));
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.fifos.iter_mut().for_each(|fifos| fifos.set_keep(keep));
    }

    /// Stops passing on, closes everything and removes the FIFOs. When it returns, the pump touches no
    /// descriptor of these streams, and [`Attached::lost`] says all that was lost. Closing again does
    /// nothing.
    pub(crate) fn close(&self) {
        if std::process::id() == self.process {
            self.set_keep(false);
            self.end();
        }
    }

    fn end(&self) {
        self.streams.iter().for_each(|streams| streams.close());
        let resources = {
            let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *resources)
        };
        drop(resources);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests;
