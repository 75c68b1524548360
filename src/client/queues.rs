//! Queues of messages.

use super::Client;
use crate::call::Call;
use crate::delivery::{Queue, QueueConfig, Wants};
use crate::error::{Result, ResultExt};
use crate::filter;
use crate::message::MessageKind;

impl Client {
    /// Opens a queue. With events it blocks until the server sends them; what is said of
    /// [`Client::add_event_hook`] holds for them.
    pub fn open_queue(&self, config: &QueueConfig, call: &Call) -> Result<Queue> {
        let open = || {
            config.check()?;
            let filters = filter::render(&config.filters)?;
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
}
