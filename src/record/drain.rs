//! How long output that is still in the pipes is waited for after the exit.

use std::time::Duration;

use crate::rpc::containers::Container;

/// How long it is unless the caller chooses. It needs a bound: a descendant outside of the container's
/// pid namespace may keep a pipe open for ever.
pub(crate) const DEFAULT_DRAIN: Duration = Duration::from_secs(1);

/// The label that keeps it for a client that recovers the container, in milliseconds.
const LABEL: &str = "io.ctrd.drain";

/// The value for a wait without a limit.
const FOREVER: &str = "forever";

/// The label for a container. `None` for the default.
pub(crate) fn drain_label(drain: Duration) -> Option<(String, String)> {
    // Rounded up, so that a short wait does not become none.
    let milliseconds = u64::try_from(drain.as_nanos().div_ceil(1_000_000));
    let value = match milliseconds {
        _ if drain == DEFAULT_DRAIN => return None,
        Ok(milliseconds) => milliseconds.to_string(),
        Err(_) => FOREVER.to_owned(),
    };
    Some((LABEL.into(), value))
}

/// The time that a record gives.
pub(crate) fn drain(record: &Container) -> Duration {
    match record.labels.get(LABEL).map(String::as_str) {
        Some(FOREVER) => Duration::MAX,
        Some(value) => value.parse().map_or(DEFAULT_DRAIN, Duration::from_millis),
        None => DEFAULT_DRAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_the_time() {
        let [short, rounded] = [Duration::from_nanos(1), Duration::from_millis(1)];
        for (given, kept) in [
            (Duration::ZERO, Duration::ZERO),
            (short, rounded),
            (Duration::from_secs(60), Duration::from_secs(60)),
            (Duration::MAX, Duration::MAX),
            (DEFAULT_DRAIN, DEFAULT_DRAIN),
        ] {
            let labels = drain_label(given).into_iter().collect();
            let record = Container { labels, ..Default::default() };
            assert_eq!(drain(&record), kept, "{given:?}");
        }
        assert_eq!(drain_label(DEFAULT_DRAIN), None);
        let labels = [(LABEL.to_owned(), "soon".to_owned())].into();
        assert_eq!(drain(&Container { labels, ..Default::default() }), DEFAULT_DRAIN);
    }
}
