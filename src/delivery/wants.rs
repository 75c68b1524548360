//! The messages that a hook or a subscription wants.

use crate::error::{Error, Result};
use crate::filter::EventFilter;
use crate::message::{Message, MessageKind};

/// The kinds that a program can ask for.
const KINDS: [MessageKind; 4] =
    [MessageKind::Exit, MessageKind::ExecExit, MessageKind::Event, MessageKind::Progress];

pub(super) fn check_kinds(kinds: &[MessageKind], filters: &[EventFilter]) -> Result<()> {
    if kinds.is_empty() {
        return Err(Error::invalid("kinds", "must not be empty"));
    }
    if let Some(other) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Error::invalid("kinds", format!("{other:?} cannot be asked for")));
    }
    if !filters.is_empty() && !kinds.contains(&MessageKind::Event) {
        return Err(Error::invalid("filters", "are for events, which kinds does not name"));
    }
    Ok(())
}

/// The messages of the bus that a consumer wants. Events do not come from the bus: a stream from the
/// server brings them.
#[derive(Clone, Debug)]
pub(super) struct Wants {
    kinds: Vec<MessageKind>,
    /// Only messages about this container, of any namespace.
    container: Option<String>,
    /// Only messages about this exec.
    exec: Option<String>,
}

impl Wants {
    pub(super) fn new(
        kinds: &[MessageKind],
        container: Option<&String>,
        exec: Option<&String>,
    ) -> Wants {
        let kinds = kinds.iter().copied().filter(|kind| *kind != MessageKind::Event).collect();
        Wants { kinds, container: container.cloned(), exec: exec.cloned() }
    }

    pub(super) fn includes_kind(&self, kind: MessageKind) -> bool {
        self.kinds.contains(&kind)
    }

    pub(super) fn include(&self, message: &Message) -> bool {
        self.includes_kind(message.kind())
            && self.container.as_ref().is_none_or(|id| id == message.container_id())
            && self.exec.as_deref().is_none_or(|id| Some(id) == message.exec_id())
    }
}
