//! The counters of a client.

/// The counters of a client since it was opened ([`crate::Client::counters`]).
///
/// ```no_run
/// # fn f(client: &ctrd::Client) {
/// let counters = client.counters();
/// if counters.dropped() > 0 {
///     println!("{} messages were dropped", counters.dropped());
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub(super) reconnects: u64,
    pub(super) reconciled: u64,
    pub(super) dropped: u64,
    pub(super) outstanding: u64,
    pub(super) output_lost: u64,
}

impl Counters {
    /// How often a connection broke: once for each subscription to events that had to begin again,
    /// and once for all waits for exits that broke off within a second.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// How many processes were looked up with a result, because their wait broke off or its answer
    /// left a doubt.
    pub fn reconciled(&self) -> u64 {
        self.reconciled
    }

    /// How many messages were dropped because a queue or a hook was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many processes are watched whose exit is not known.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// How many bytes of output of containers did not reach the host's descriptors: a descriptor
    /// failed, or streams were closed while a reader was behind (by a destroy, a clean-up, because
    /// another client had removed the container, or by the close of the client).
    pub fn output_lost(&self) -> u64 {
        self.output_lost
    }
}
