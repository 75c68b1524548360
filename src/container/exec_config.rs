//! The configuration of an exec: as the caller gives it, and checked.

use std::time::Duration;

use serde_json::{Map, Value};

use super::destroy::DEFAULT_GRACE;
use crate::error::{Error, Result};
use crate::identifier;
use crate::random::random_hex;
use crate::record::DEFAULT_DRAIN;
use crate::rootfs::Rootfs;
use crate::spec::{self, ExecOptions};
use crate::stdio::Stdio;

/// A process that is to be executed in a container. It runs as the container's own process does (its
/// user, environment, working directory, capabilities and limits), unless the configuration says
/// otherwise.
///
/// ```no_run
/// use std::time::Duration;
///
/// use ctrd::{Call, Client, ExecConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// let config = ExecConfig::new("web")
///     .args(["sh", "-c", "exit 3"])
///     .env(["LANG=C"])
///     .user("nobody")
///     .run_time(Duration::from_secs(30));
/// let process = client.exec_container(&config, &Call::new())?;
/// let message = client.wait_exec("web", process.exec_id(), &Call::new())?;
/// println!("{:?}", message.exit_code());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ExecConfig {
    container: String,
    exec_id: Option<String>,
    args: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
    cwd: Option<String>,
    privileged: bool,
    console_size: Option<(u32, u32)>,
    process_json: Option<String>,
    stdio: Stdio,
    run_time: Option<Duration>,
    grace: Duration,
    drain: Duration,
    adopt: bool,
}

impl ExecConfig {
    /// A process in the container with this id. It needs a command too: [`ExecConfig::args`], or `args`
    /// in [`ExecConfig::process_json`].
    pub fn new(container: impl Into<String>) -> ExecConfig {
        ExecConfig {
            container: container.into(),
            exec_id: None,
            args: Vec::new(),
            env: Vec::new(),
            user: None,
            cwd: None,
            privileged: false,
            console_size: None,
            process_json: None,
            stdio: Stdio::default(),
            run_time: None,
            grace: DEFAULT_GRACE,
            drain: DEFAULT_DRAIN,
            adopt: false,
        }
    }

    /// The container that [`ExecConfig::new`] was given.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Its id among the execs of the container: at most 76 letters and digits, joined by single `.`, `_`
    /// or `-`, and not the container's id. Default: a random one, which
    /// [`crate::ExecProcess::exec_id`] returns.
    pub fn exec_id(mut self, id: impl Into<String>) -> ExecConfig {
        self.exec_id = Some(id.into());
        self
    }

    /// The command.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> ExecConfig {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Changes of the environment: `NAME=value` sets a variable, `NAME` removes it. With a terminal,
    /// `TERM=xterm` is added unless `TERM` is set. Default: the environment of the container's process.
    pub fn env(mut self, env: impl IntoIterator<Item = impl Into<String>>) -> ExecConfig {
        self.env = env.into_iter().map(Into::into).collect();
        self
    }

    /// Its user: `user` or `user:group`, each a name or a number. Names are looked up in the container's
    /// `/etc/passwd` and `/etc/group`, and the process gets the additional groups that list the user.
    /// Default: the user of the container's process.
    pub fn user(mut self, user: impl Into<String>) -> ExecConfig {
        self.user = Some(user.into());
        self
    }

    /// Its working directory, an absolute path. Default: that of the container's process.
    pub fn cwd(mut self, directory: impl Into<String>) -> ExecConfig {
        self.cwd = Some(directory.into());
        self
    }

    /// Whether it has all capabilities that this program has, and no AppArmor profile, SELinux label or
    /// `noNewPrivileges`. The container's seccomp filter and namespaces hold for it all the same.
    /// Default: no.
    pub fn privileged(mut self, privileged: bool) -> ExecConfig {
        self.privileged = privileged;
        self
    }

    /// The first size of its terminal, in characters. It needs [`Stdio::terminal`]. Default: the
    /// runtime's.
    pub fn console_size(mut self, columns: u32, rows: u32) -> ExecConfig {
        self.console_size = Some((columns, rows));
        self
    }

    /// Members of the process, as the JSON object `process` of the runtime specification has them. They
    /// replace those of the container's process. A value that another method sets replaces the member
    /// of the same name.
    pub fn process_json(mut self, json: impl Into<String>) -> ExecConfig {
        self.process_json = Some(json.into());
        self
    }

    /// Where its input comes from, and where its output goes. Default: nowhere. See
    /// [`crate::ContainerConfig::stdio`] for the descriptors.
    pub fn stdio(mut self, stdio: Stdio) -> ExecConfig {
        self.stdio = stdio;
        self
    }

    /// How long it may run. When the time is over, it gets SIGTERM, and SIGKILL once the grace period is
    /// over. The time counts from the start, and the call's timeout has nothing to do with it: the call
    /// returns when the process runs. The time ends with this client: a later run of the program that
    /// takes the process over does not know it. Only the process itself gets the signals, not its
    /// children. Default: without a limit.
    pub fn run_time(mut self, time: Duration) -> ExecConfig {
        self.run_time = Some(time);
        self
    }

    /// How long it has after SIGTERM before SIGKILL, if its time is over. Zero: SIGKILL at once.
    /// [`Duration::MAX`]: no SIGKILL. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> ExecConfig {
        self.grace = grace;
        self
    }

    /// How long output that is still in the pipes after the exit is waited for, before its streams are
    /// closed and it is deleted. See [`crate::ContainerConfig::drain`]. Default: 1 s.
    pub fn drain(mut self, drain: Duration) -> ExecConfig {
        self.drain = drain;
        self
    }

    /// Whether a running exec with this id is taken over instead, so that "run it, or attach to it" is
    /// one call: its exit is watched, and if no streams of it are open in this client, those of
    /// [`ExecConfig::stdio`] are attached. The rest of the configuration is then not used. Needs
    /// [`ExecConfig::exec_id`]. Default: no; the call fails with
    /// [`crate::ErrorKind::AlreadyExists`].
    pub fn adopt(mut self, adopt: bool) -> ExecConfig {
        self.adopt = adopt;
        self
    }

    pub(super) fn is_adoption(&self) -> bool {
        self.adopt
    }

    pub(super) fn drain_time(&self) -> Duration {
        self.drain
    }

    /// How long it may run, and its grace period then.
    pub(super) fn clock(&self) -> Option<(Duration, Duration)> {
        self.run_time.map(|time| (time, self.grace))
    }
}

/// A configuration that was checked.
pub(super) struct CheckedExec<'a> {
    pub(super) asked: &'a ExecConfig,
    /// Its id, which the caller may have left out.
    pub(super) exec: String,
    process: Map<String, Value>,
    /// Its streams, with a terminal also if only `process_json` asks for one.
    pub(super) stdio: Stdio,
}

impl CheckedExec<'_> {
    pub(super) fn new(config: &ExecConfig) -> Result<CheckedExec<'_>> {
        identifier::check("container", &config.container)?;
        let exec = match &config.exec_id {
            Some(id) => {
                check_exec_id(&config.container, id)?;
                id.clone()
            }
            None if config.adopt => {
                return Err(Error::invalid("adopt", "needs an exec_id"));
            }
            None => random_hex()?,
        };
        for (name, texts) in [("args", &config.args), ("env", &config.env)] {
            if let Some(i) = texts.iter().position(|text| text.contains('\0')) {
                return Err(Error::invalid(
                    name,
                    format!("the string at index {i} contains a NUL"),
                ));
            }
        }
        if let Some(i) =
            config.env.iter().position(|entry| entry.is_empty() || entry.starts_with('='))
        {
            return Err(Error::invalid("env", format!("the string at index {i} has no name")));
        }
        match config.cwd.as_deref() {
            Some(cwd) if !cwd.starts_with('/') => {
                return Err(Error::invalid("cwd", "is not an absolute path"));
            }
            Some(cwd) if cwd.contains('\0') => {
                return Err(Error::invalid("cwd", "contains a NUL"));
            }
            _ => {}
        }
        if config.user.as_deref() == Some("") {
            return Err(Error::invalid("user", "must not be empty"));
        }
        let process = match &config.process_json {
            Some(json) => spec::parse_process(json)?,
            None => Map::new(),
        };
        // If the members ask for a terminal, the process gets one.
        let asks = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
        let terminal = config.stdio.terminal || asks;
        match config.console_size {
            Some(_) if !terminal => {
                return Err(Error::invalid("console_size", "needs a terminal"));
            }
            Some((columns, rows)) if columns == 0 || rows == 0 => {
                return Err(Error::invalid("console_size", "must not be zero"));
            }
            _ => {}
        }
        let stdio = config.stdio.clone().terminal(terminal);
        Ok(CheckedExec { asked: config, exec, process, stdio })
    }

    /// The container.
    pub(super) fn container(&self) -> &str {
        &self.asked.container
    }

    /// The inputs of the process.
    pub(super) fn options<'b>(
        &'b self,
        spec: &'b Value,
        rootfs: &'b dyn Fn() -> Result<Rootfs>,
        capabilities: &'b dyn Fn() -> Result<u64>,
    ) -> ExecOptions<'b> {
        ExecOptions {
            spec,
            process: self.process.clone(),
            args: &self.asked.args,
            env: &self.asked.env,
            user: self.asked.user.as_deref(),
            cwd: self.asked.cwd.as_deref(),
            privileged: self.asked.privileged,
            terminal: self.stdio.terminal,
            size: self.asked.console_size,
            rootfs,
            capabilities,
        }
    }
}

/// Checks the id of an exec. In containerd's events an exec with its container's id would be the
/// container's first process.
pub(super) fn check_exec_id(container: &str, id: &str) -> Result<()> {
    identifier::check("exec_id", id)?;
    if id == container {
        return Err(Error::invalid("exec_id", "must not be the container's id"));
    }
    Ok(())
}
