//! A process's input and output: FIFOs between the shim and us, and the one thread that pumps them.

mod fifo;
mod flow;
mod pump;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::identifier;

use fifo::{Fifos, MAX_PATH};
use flow::{End, Flow};
pub(crate) use pump::Pump;
use pump::{Closed, Engine, STDIN, Streams};

/// Where one stream of a process goes to or comes from.
#[derive(Debug, Default)]
pub enum Stream {
    /// Nowhere: reads end at once, writes vanish.
    #[default]
    None,
    /// A descriptor of the host's. It belongs to the library from here on; the flags of the open
    /// file that it shares with others are not changed. Output is passed on as fast as it is taken:
    /// where it is not, the process waits, as at a pipe. Where the descriptor fails (its reader has
    /// gone), further output is dropped. It is closed once the stream has ended.
    Fd(OwnedFd),
    /// Handed to the shim as it is: the absolute path of a FIFO or of a file that exists, and for
    /// output `file://` (appended to, and made where it is missing; not with a terminal) or
    /// `binary://` (a program that gets the output) with one. Such a URI in `stdout` takes `stderr`
    /// too, which must then be [`Stream::None`] or the same. The shim closes the file of `file://` when
    /// `stdout` ends, and may lose the end of `stderr` (containerd 1.6 to 2.1, `copyPipes`).
    Path(String),
}

impl Stream {
    /// A descriptor of the host's, which keeps its own. `argument` names it where it is none
    /// ([`crate::ErrorKind::InvalidArgument`]); [`crate::ErrorKind::Io`] where no further one can be had.
    pub fn duplicate(argument: &str, fd: BorrowedFd<'_>) -> Result<Stream> {
        fd.try_clone_to_owned().map(Stream::Fd).map_err(|e| match e.raw_os_error() {
            Some(libc::EBADF) => Error::invalid(argument, "is not open"),
            _ => Error::io(argument, e),
        })
    }
}

/// The streams of a process.
#[derive(Debug, Default)]
pub struct Stdio {
    /// What the process reads.
    pub stdin: Stream,
    /// What it writes.
    pub stdout: Stream,
    /// What it complains. Not used with a terminal.
    pub stderr: Stream,
    /// Whether the process has a terminal: then everything it writes comes from `stdout`.
    pub terminal: bool,
}

/// What the shim is told of the streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// How a stream is served.
enum Plan {
    /// Not by us: what the shim is told.
    Shim(String),
    /// Through a FIFO, whose other end is this; none where the output is to vanish.
    Fifo(Option<End>),
}

impl Plan {
    fn output(argument: &str, stream: Stream) -> Result<Plan> {
        Ok(match stream {
            Stream::None => Plan::Fifo(None),
            Stream::Fd(fd) => Plan::Fifo(Some(End::target(argument, fd)?)),
            Stream::Path(path) => Plan::Shim(check_path(argument, path)?),
        })
    }
}

/// How the streams are served: input, output and errors. Everything that can be wrong with what the
/// caller gave is found here, before anything is made.
fn plan(stdio: Stdio) -> Result<[Plan; 3]> {
    let Stdio { stdin, stdout, stderr, terminal } = stdio;
    let none = || Plan::Shim(String::new());
    let stdin = match stdin {
        Stream::None => none(),
        Stream::Fd(fd) => Plan::Fifo(Some(End::source("stdin", fd)?)),
        Stream::Path(path) if is_uri(&path) => {
            return Err(Error::invalid("stdin", "a URI is for output alone"));
        }
        Stream::Path(path) => Plan::Shim(check_path("stdin", path)?),
    };
    if terminal {
        if matches!(&stdout, Stream::Path(path) if path.starts_with("file://")) {
            return Err(Error::invalid("stdout", "file:// does not go with a terminal"));
        }
        // The shim wants a stdout, and looks at no stderr.
        return Ok([stdin, Plan::output("stdout", stdout)?, none()]);
    }
    let (stdout, stderr) = match (stdout, stderr) {
        // With no stream at all the shim gives the process /dev/null.
        (Stream::None, Stream::None) if matches!(&stdin, Plan::Shim(path) if path.is_empty()) => {
            (none(), none())
        }
        // The shim looks at the URI of stdout alone, and gives both streams to it; but it panics
        // where there is no stderr.
        (Stream::Path(uri), stderr) if is_uri(&uri) => {
            match stderr {
                Stream::None => {}
                Stream::Path(same) if same == uri => {}
                _ => {
                    let why = "must be none or the same where stdout is a URI, which takes both";
                    return Err(Error::invalid("stderr", why));
                }
            }
            let uri = check_path("stdout", uri)?;
            (Plan::Shim(uri.clone()), Plan::Shim(uri))
        }
        (_, Stream::Path(path)) if is_uri(&path) => {
            return Err(Error::invalid("stderr", "a URI must be given as stdout too"));
        }
        // It opens both or fails, so what the caller leaves out becomes a FIFO that is drained.
        (stdout, stderr) => (Plan::output("stdout", stdout)?, Plan::output("stderr", stderr)?),
    };
    Ok([stdin, stdout, stderr])
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

/// What is to be pumped once the process stands.
struct Served {
    engine: Arc<Engine>,
    fifos: Fifos,
    input: Option<(String, End)>,
    outputs: Vec<(u64, Flow)>,
}

/// FIFOs that stand ready for a process that is yet to be created: the reading ends of its output
/// are open already. Dropped, it removes them.
pub(crate) struct Prepared {
    paths: Paths,
    served: Option<Served>,
}

/// Where the FIFOs of a server's namespace are.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) state_dir: &'a Path,
    /// Tells the server from others, whose containers may have the same ids.
    pub(crate) server: &'a str,
    pub(crate) namespace: &'a str,
}

/// Makes the FIFOs of a process, in a directory of its own. `exec` is empty for a container's first
/// process.
pub(crate) fn prepare(
    pump: &Pump,
    place: Place<'_>,
    id: &str,
    exec: &str,
    stdio: Stdio,
) -> Result<Prepared> {
    // They become names of files.
    identifier::check("namespace", place.namespace)?;
    identifier::check("id", id)?;
    let process = if exec.is_empty() { id } else { exec };
    identifier::check("exec", process)?;
    let mut paths = Paths { terminal: stdio.terminal, ..Paths::default() };
    let mut served = None;
    let names = ["stdin", "stdout", "stderr"];
    let told = [&mut paths.stdin, &mut paths.stdout, &mut paths.stderr];
    for (((stream, plan), name), told) in (STDIN..).zip(plan(stdio)?).zip(names).zip(told) {
        let end = match plan {
            Plan::Fifo(end) => end,
            Plan::Shim(path) => {
                *told = path;
                continue;
            }
        };
        let served = match &mut served {
            Some(served) => served,
            None => served.insert(Served {
                engine: pump.engine()?,
                fifos: Fifos::new(place, id)?,
                input: None,
                outputs: Vec::new(),
            }),
        };
        let name = format!("{process}-{name}");
        *told = served.fifos.make(&name)?;
        if stream == STDIN {
            served.input = end.map(|end| (name, end));
        } else {
            // Without a reader the shim would wait for one when it opens its end.
            let fifo = End::fifo(served.fifos.open_reader(&name)?);
            served.outputs.push((stream, Flow::output(fifo, end)));
        }
    }
    Ok(Prepared { paths, served })
}

/// Opens the FIFOs of a process that an earlier program has left standing. `None` where it has none of
/// ours. Where the caller says nothing of a stream, its output is fetched and dropped, as somebody must.
pub(crate) fn reopen(
    pump: &Pump,
    state_dir: &Path,
    paths: &Paths,
    stdio: Stdio,
) -> Result<Option<Prepared>> {
    let end = |argument, stream| match stream {
        Stream::None => Ok(None),
        Stream::Fd(fd) if argument == "stdin" => End::source(argument, fd).map(Some),
        Stream::Fd(fd) => End::target(argument, fd).map(Some),
        Stream::Path(_) => Err(Error::invalid(argument, "the shim has its path already")),
    };
    let mut input = end("stdin", stdio.stdin)?;
    let mut targets = [end("stdout", stdio.stdout)?, end("stderr", stdio.stderr)?];
    let Some(fifos) = Fifos::reopen(state_dir, paths)? else { return Ok(None) };
    let name = |path: &str| fifos.name_of(path);
    let mut outputs = Vec::new();
    for (stream, path) in (STDIN + 1..).zip([&paths.stdout, &paths.stderr]) {
        let Some(name) = name(path) else { continue };
        let fifo = End::fifo(fifos.open_reader(&name)?);
        let target = usize::try_from(stream - 1).ok().and_then(|i| targets.get_mut(i)?.take());
        outputs.push((stream, Flow::output(fifo, target)));
    }
    let input = name(&paths.stdin).and_then(|name| Some((name, input.take()?)));
    let served = Served { engine: pump.engine()?, fifos, input, outputs };
    Ok(Some(Prepared { paths: paths.clone(), served: Some(served) }))
}

/// Removes what stands of the FIFOs of a process that has ended.
pub(crate) fn remove(state_dir: &Path, paths: &Paths) {
    if let Ok(Some(mut fifos)) = Fifos::reopen(state_dir, paths) {
        fifos.stand(false);
    }
}

/// The directories of FIFOs that stand for the containers of a server's namespace, with the ids of
/// these: some may be of a program that died before it could remove them. A container's record is older
/// than they are.
pub(crate) fn standing(place: Place<'_>) -> Vec<(String, PathBuf)> {
    fifo::standing(place)
}

/// Removes what stands of the FIFOs of a container, whoever has left them.
pub(crate) fn remove_of(place: Place<'_>, id: &str) {
    let its = standing(place).into_iter().filter(|(of, _)| of == id);
    its.for_each(|(_, directory)| remove_standing(&directory));
}

/// Removes such a directory.
pub(crate) fn remove_standing(directory: &Path) {
    fifo::remove(directory);
}

impl Prepared {
    /// What the shim is to be told.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Starts pumping the output. Called once the shim has opened its ends: after `Tasks.Create`
    /// returned for a container, after `Tasks.Start` did for an exec. A FIFO that nobody writes is
    /// at its end from here on.
    ///
    /// `input_closed` runs once, on the pump's thread, when the host's input has ended and our end
    /// of the FIFO is closed; it must not block. It is dropped instead where the process stops
    /// reading first, or the streams are closed.
    pub(crate) fn attach(self, input_closed: Closed) -> Result<Attached> {
        let Some(served) = self.served else {
            return Ok(Attached {
                process: std::process::id(),
                streams: None,
                rest: Mutex::default(),
            });
        };
        let streams = Streams::new(&served.engine)?;
        let input = served.input.map(|(name, source)| Input { name, source, input_closed });
        // From here on a failure drops, and so closes, what there is.
        let attached = Attached {
            process: std::process::id(),
            streams: Some(streams.clone()),
            rest: Mutex::new(Rest { input, fifos: Some(served.fifos) }),
        };
        for (stream, flow) in served.outputs {
            streams.add(stream, flow, None)?;
        }
        Ok(attached)
    }
}

/// The input, until the process runs.
struct Input {
    name: String,
    source: End,
    input_closed: Closed,
}

#[derive(Default)]
struct Rest {
    input: Option<Input>,
    fifos: Option<Fifos>,
}

/// How long output that is still in the pipes is passed on after the exit. A descendant outside of
/// the container's pid namespace may hold a pipe open for ever.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);

/// The streams of a process that was created. Dropped, it closes them and removes the FIFOs, unless
/// these are to stand.
pub(crate) struct Attached {
    /// A child of the process shares epoll and the FIFOs, and must leave them to its parent.
    process: u32,
    streams: Option<Arc<Streams>>,
    rest: Mutex<Rest>,
}

impl Attached {
    /// Starts pumping the input: the process runs. Before its start the shim would not pass on that
    /// the input has ended. Where the process is gone already, nothing is read of the host's.
    pub(crate) fn start_input(&self) -> Result<()> {
        let Some(streams) = &self.streams else { return Ok(()) };
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match (&rest.input, &rest.fifos) {
            (Some(input), Some(fifos)) => fifos.open_writer(&input.name)?,
            _ => None,
        };
        let input = rest.input.take();
        // The output was opened before.
        rest.fifos.iter_mut().for_each(Fifos::close);
        drop(rest);
        let (Some(input), Some(writer)) = (input, writer) else { return Ok(()) };
        let flow = Flow::input(input.source, End::fifo(writer));
        streams.add(STDIN, flow, Some(input.input_closed))
    }

    /// Ends the input, for the process has exited, and waits until all output has been passed on, at
    /// most so long. Says whether the host got all of it. Not all is there at the exit, and never
    /// will be where a child of the process lives on with its output.
    pub(crate) fn drain(&self, timeout: Duration) -> bool {
        let Some(streams) = &self.streams else { return true };
        let input = self.rest.lock().unwrap_or_else(PoisonError::into_inner).input.take();
        drop(input);
        streams.end_input();
        streams.drain(timeout)
    }

    /// Lets the FIFOs stand when this is dropped: the container outlives the client, and another one
    /// may recover it.
    pub(crate) fn stand(&self) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.fifos.iter_mut().for_each(|fifos| fifos.stand(true));
    }

    /// Stops pumping, closes everything and removes the FIFOs. When it returns, the pump touches no
    /// descriptor of these streams. Closing again does nothing. Gives the number of bytes of output
    /// that did not reach the host.
    pub(crate) fn close(&self) -> u64 {
        self.end(true)
    }

    fn end(&self, remove: bool) -> u64 {
        if std::process::id() != self.process {
            return 0;
        }
        let dropped = self.streams.as_ref().map_or(0, |streams| streams.close());
        let mut rest = {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *rest)
        };
        if remove {
            rest.fifos.iter_mut().for_each(|fifos| fifos.stand(false));
        }
        drop(rest);
        dropped
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests;
