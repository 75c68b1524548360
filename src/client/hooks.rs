//! Hooks: functions of the program's that receive messages.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use crate::call::Call;
use crate::delivery::{HookConfig, HookId, Liveness, Run, Sink};
use crate::error::{Result, ResultExt};
use crate::events;
use crate::filter;
use crate::inner::{Inner, Operation};
use crate::message::{Message, MessageKind};
use crate::submit;

impl Client {
    /// How long removing a hook may take if the call names no timeout.
    pub const REMOVE_HOOK_TIMEOUT: Duration = Duration::from_secs(10);

    // A hook is a function of the program's that receives messages, in the order in
    // which the client came to know. Any operation may be called from one. A hook that holds a
    // clone of the client keeps it open.

    /// Adds a hook. See [`HookConfig`]. Exits are those of the processes that this client watches: that
    /// it has created, started, recovered or probed; none is dropped. The hook's function is dropped
    /// once, when the hook is removed or the client is closed.
    ///
    /// With events it blocks until the server sends them, at most the client's call timeout unless
    /// `call` says otherwise. Whatever is published after this has returned reaches the hook, each
    /// event once, until the connection breaks: then a message of kind [`crate::MessageKind::Gap`]
    /// comes before the first event of the new connection. Up to 16,384 events wait for the hook;
    /// further ones are dropped, and a message of kind [`crate::MessageKind::Overflow`] says how
    /// many. If it fails while the hook runs already, it waits for the hook at most 1 s more.
    pub fn add_hook(
        &self,
        config: &HookConfig,
        hook: impl Fn(&Message) + Send + Sync + 'static,
        call: &Call,
    ) -> Result<HookId> {
        let hook: Run = Arc::new(hook);
        let add = || {
            config.check()?;
            let filters = filter::render(&config.filters)?;
            if !config.wants_events() {
                self.inner.check_process()?;
                submit::begin_operation()?;
                return Ok(self.inner.bus.add_hook(config, hook)?.consumer);
            }
            let operation = self.inner.begin(call)?;
            let added = self.inner.bus.add_hook(config, hook)?;
            let id = added.consumer;
            self.feed(&operation, filters, added.sink, added.liveness).inspect_err(|_| {
                self.inner.bus.withdraw_hook(id);
            })?;
            Ok(id)
        };
        add().at("add_hook", "")
    }

    /// Adds a hook for the exits of containers' first processes. Does not block.
    pub fn on_exit(&self, hook: impl Fn(&Message) + Send + Sync + 'static) -> Result<HookId> {
        self.add_hook(&HookConfig::new([MessageKind::Exit]), hook, &Call::new())
    }

    /// Adds a hook for the exits of processes that were executed in containers. Does not block.
    pub fn on_exec_exit(&self, hook: impl Fn(&Message) + Send + Sync + 'static) -> Result<HookId> {
        self.add_hook(&HookConfig::new([MessageKind::ExecExit]), hook, &Call::new())
    }

    pub(super) fn feed(
        &self,
        operation: &Operation,
        filters: Vec<String>,
        sink: Sink,
        liveness: Liveness,
    ) -> Result<()> {
        let Inner { executor, bus, .. } = &*self.inner;
        events::feed::begin(&operation.ctx, filters, executor, bus, sink, liveness)
    }

    /// Removes a hook. When this returns, the hook does not run and its function is dropped, also
    /// if another call removes it at the same time. It waits at most 10 s for that, unless `call`
    /// says otherwise; after [`crate::ErrorKind::Timeout`] the hook is not started again either.
    /// From inside a hook it does not wait: the function is dropped when the hook has returned, and
    /// that drop counts as inside the hook.
    pub fn remove_hook(&self, hook: HookId, call: &Call) -> Result<()> {
        let remove = || {
            self.inner.check_process()?;
            submit::begin_operation()?;
            self.inner.bus.remove_hook(hook, &call.limits(Some(Client::REMOVE_HOOK_TIMEOUT)))
        };
        remove().at("remove_hook", &hook.0.to_string())
    }

    /// A descriptor that is readable while [`Client::dispatch`] has something to do. The caller may
    /// only poll it. Does not block.
    pub fn dispatch_fd(&self) -> Result<BorrowedFd<'_>> {
        let fd = || {
            self.inner.check_process()?;
            self.inner.bus.dispatch_fd()
        };
        fd().at("dispatch_fd", "")
    }

    /// Runs hooks whose mode is [`crate::HookMode::Dispatch`] on the calling thread, for at most
    /// `max` messages. Returns their number, which is 0 if there is nothing to do. Does not wait
    /// for messages. One thread may dispatch at a time: another one gets
    /// [`crate::ErrorKind::Busy`], and a hook gets [`crate::ErrorKind::Reentrant`].
    pub fn dispatch(&self, max: usize) -> Result<usize> {
        let dispatch = || {
            self.inner.check_process()?;
            self.inner.bus.dispatch(max)
        };
        dispatch().at("dispatch", "")
    }
}
