//! Status values never change, and every kind of error has one, with its name.

mod support;

use support::header::macros;
use support::read;

#[path = "../src/status.rs"]
#[allow(dead_code, non_camel_case_types)]
mod status;

/// The values. Once they are released they never change, and new ones are added at the end.
const SNAPSHOT: &[(&str, i32)] = &[
    ("CTRD_OK", 0),
    ("CTRD_E_INVALID_ARGUMENT", -1),
    ("CTRD_E_NOT_FOUND", -2),
    ("CTRD_E_ALREADY_EXISTS", -3),
    ("CTRD_E_FAILED_PRECONDITION", -4),
    ("CTRD_E_PERMISSION_DENIED", -5),
    ("CTRD_E_UNAUTHENTICATED", -6),
    ("CTRD_E_UNAVAILABLE", -7),
    ("CTRD_E_TIMEOUT", -8),
    ("CTRD_E_CANCELLED", -9),
    ("CTRD_E_BUSY", -10),
    ("CTRD_E_WOULD_BLOCK", -11),
    ("CTRD_E_CLOSED", -12),
    ("CTRD_E_FORKED", -13),
    ("CTRD_E_REENTRANT", -14),
    ("CTRD_E_UNSUPPORTED", -15),
    ("CTRD_E_RESOURCE_EXHAUSTED", -16),
    ("CTRD_E_ABORTED", -17),
    ("CTRD_E_OUT_OF_RANGE", -18),
    ("CTRD_E_DATA_LOSS", -19),
    ("CTRD_E_IO", -20),
    ("CTRD_E_PROTOCOL", -21),
    ("CTRD_E_INTERNAL", -22),
    ("CTRD_E_UNKNOWN", -23),
    ("CTRD_E_PANIC", -24),
];

/// The reasons. Once they are released they never change, and new ones are added at the end.
const REASONS: &[&str] = &[
    "NO_CONTAINER",
    "NO_TASK",
    "NO_IMAGE",
    "NO_CONTENT",
    "NO_SNAPSHOT",
    "NO_SNAPSHOTTER",
    "NO_RUNTIME",
    "NO_LEASE",
    "OTHER_OWNER",
    "SHIM_DIED",
    "CONTENT_LOCKED",
    "PROGRAM_NOT_FOUND",
    "PROGRAM_NOT_EXECUTABLE",
    "START_FAILED",
];

#[test]
fn the_reasons_are_those_of_the_list() {
    let header = macros(&read("include/ctrd.h"));
    let defined: Vec<_> = header
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("CTRD_REASON_")?, value.as_str())))
        .collect();
    let numbers: Vec<_> = (1..=REASONS.len()).map(|number| number.to_string()).collect();
    let expected: Vec<_> =
        REASONS.iter().copied().zip(numbers.iter().map(String::as_str)).collect();
    assert_eq!(defined, expected);
}

#[test]
fn the_values_are_those_of_the_list() {
    let defined: Vec<_> = macros(&read("include/ctrd.h"))
        .into_iter()
        .filter(|(name, _)| name == "CTRD_OK" || name.starts_with("CTRD_E_"))
        .map(|(name, value)| {
            let value: i32 = value.trim_matches(['(', ')']).parse().expect("a status is a number");
            (name, value)
        })
        .collect();
    let snapshot: Vec<_> =
        SNAPSHOT.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    assert_eq!(defined, snapshot);
}

#[test]
fn every_kind_has_a_value_of_its_own() {
    let mut values: Vec<_> = ctrd::ffi::ERROR_KINDS
        .iter()
        .map(|kind| {
            let entry = status::STATUS_OF_KIND.iter().find(|(k, _, _)| k == kind);
            entry.unwrap_or_else(|| panic!("{kind:?} has no status")).1
        })
        .collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), ctrd::ffi::ERROR_KINDS.len());
}

#[test]
fn every_value_has_its_name() {
    for (name, value) in SNAPSHOT {
        assert_eq!(status::name(*value).to_str(), Ok(*name));
    }
    for value in [1, -(SNAPSHOT.len() as i32)] {
        assert_eq!(status::name(value).to_str(), Ok("unknown status"));
    }
}
