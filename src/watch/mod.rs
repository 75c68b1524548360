//! Which processes are watched, and how they ended.

/// The watched processes of a client.
#[derive(Default)]
pub(crate) struct Watches {}

impl Watches {
    /// Ends every wait: the client is closed.
    pub(crate) fn close(&self) {}
}
