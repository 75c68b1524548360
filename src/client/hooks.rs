//! Hooks: functions of the host's that are told of something.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Client;
use crate::call::Call;
use crate::delivery::{HookId, HookMode, Presence, Sink, Wants};
use crate::error::{Result, ResultExt};
use crate::events;
use crate::filter::{self, EventFilter};
use crate::identifier;
use crate::inner::{Inner, Operation};
use crate::message::{Message, MessageKind};

/// How long removing a hook may take, unless the call says otherwise.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many events wait for a hook at most.
const EVENTS_PER_HOOK: usize = 16_384;

impl Client {
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
            let filters = filter::render(filters)?;
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

    pub(super) fn feed(
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
    /// most 10 s, unless `call` says otherwise; after [`crate::ErrorKind::Timeout`] the hook is not started
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
    /// time: another one gets [`crate::ErrorKind::Busy`], a hook [`crate::ErrorKind::Reentrant`].
    pub fn dispatch(&self, max: usize) -> Result<usize> {
        let dispatch = || {
            self.inner.check_process()?;
            self.inner.bus.dispatch(max)
        };
        dispatch().at("dispatch", "")
    }
}
