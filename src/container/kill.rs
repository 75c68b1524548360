//! Sending signals to the processes of a container.

use super::owned::owned_record;
use crate::call::Call;
use crate::error::{Error, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::rpc::tasks;
use crate::signal::{self, signal_number};

/// A signal, and the processes that get it.
///
/// ```no_run
/// use ctrd::{Call, Client, KillConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// client.kill_container("web", &KillConfig::new().signal_name("HUP"), &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct KillConfig {
    exec_id: Option<String>,
    signal: Signal,
    all: bool,
}

#[derive(Clone, Debug)]
enum Signal {
    Number(u32),
    Name(String),
}

impl Default for KillConfig {
    fn default() -> KillConfig {
        let signal = Signal::Number(libc::SIGTERM.unsigned_abs());
        KillConfig { exec_id: None, signal, all: false }
    }
}

impl KillConfig {
    /// SIGTERM to the container's first process.
    pub fn new() -> KillConfig {
        KillConfig::default()
    }

    /// Sends the signal to the exec with this id. Default: to the container's first process.
    pub fn exec_id(mut self, id: impl Into<String>) -> KillConfig {
        self.exec_id = Some(id.into());
        self
    }

    /// Sets the signal by its number, 0 to 64. 0 is not sent: the call only says whether there is such
    /// a process.
    pub fn signal(mut self, number: u32) -> KillConfig {
        self.signal = Signal::Number(number);
        self
    }

    /// Sets the signal by its name, as [`crate::signal_number`] takes it.
    pub fn signal_name(mut self, name: impl Into<String>) -> KillConfig {
        self.signal = Signal::Name(name.into());
        self
    }

    /// Whether the signal goes to all processes of the container. Default: no.
    pub fn all(mut self, all: bool) -> KillConfig {
        self.all = all;
        self
    }

    fn number(&self) -> Result<u32> {
        match &self.signal {
            Signal::Number(number) => signal::check("signal", *number),
            Signal::Name(name) => signal_number(name).ok_or_else(|| {
                Error::invalid("signal_name", format!("there is no signal {name:?}"))
            }),
        }
    }
}

/// Sends a signal.
pub(crate) fn kill(client: &Inner, id: &str, config: &KillConfig, call: &Call) -> Result<()> {
    identifier::check("id", id)?;
    let exec_id = config.exec_id.as_deref();
    exec_id.map_or(Ok(()), |exec_id| identifier::check("exec_id", exec_id))?;
    let signal = config.number()?;
    if config.all && exec_id.is_some() {
        // containerd would send it to that process alone.
        return Err(Error::invalid("all", "must not be set if exec_id is given"));
    }
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    owned_record(client, ctx, id)?;
    tasks::kill(ctx, id, exec_id.unwrap_or_default(), signal, config.all).step("send the signal")
}
