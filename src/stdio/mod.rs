//! A process's input and output: FIFOs between the shim and us, and the one thread that pumps them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Where one stream of a process goes to or comes from.
#[derive(Debug, Default)]
pub enum Stream {
    /// Nowhere: reads end at once, writes vanish.
    #[default]
    None,
    /// A descriptor of the host's. It belongs to the library from here on; the flags of the file
    /// that it shares with others are not changed.
    Fd(OwnedFd),
    /// Handed to the shim as it is: the path of a FIFO or file, or `file://` or `binary://`.
    Path(String),
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

/// The thread that pumps the FIFOs of every container of a client. Started on first use.
#[derive(Default)]
pub(crate) struct Pump {}

impl Pump {
    /// Ends the thread. Streams that are still attached are closed.
    pub(crate) fn close(&self) {}
}

/// FIFOs that stand ready for a process that is yet to be created: the reading ends of its output
/// are open already. Dropped, it removes them.
pub(crate) struct Prepared {
    paths: Paths,
}

/// The streams of a process that was created. Dropped, it closes them and removes the FIFOs.
pub(crate) struct Attached {}

/// Makes the FIFOs of a process, in a directory of its own below `state_dir`.
pub(crate) fn prepare(
    _pump: &Pump,
    _state_dir: &Path,
    _namespace: &str,
    _id: &str,
    _exec: &str,
    _stdio: Stdio,
) -> Result<Prepared> {
    Err(Error::new(ErrorKind::Unsupported, "to be written"))
}

impl Prepared {
    /// What the shim is to be told.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Starts pumping the output: the process stands (its task was created) and does not run yet.
    /// `stdin_closed` runs once, on the pump's thread, when the host's input has ended and our end of the
    /// FIFO is closed; it must not block.
    pub(crate) fn attach(self, _stdin_closed: Box<dyn FnOnce() + Send>) -> Result<Attached> {
        Err(Error::new(ErrorKind::Unsupported, "to be written"))
    }
}

impl Attached {
    /// Starts pumping the input: the process runs. Before its start the shim would not pass on
    /// that the input has ended.
    pub(crate) fn start_input(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until all output has been passed on, at most so long. Says whether it was all.
    pub(crate) fn drain(&self, _timeout: Duration) -> bool {
        true
    }

    /// Stops pumping, closes everything and removes the FIFOs.
    pub(crate) fn close(&self) {}
}
