//! `google.protobuf.Any` and the other well-known types, as plain ones.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protobuf::well_known_types::any::Any as WireAny;
use protobuf::well_known_types::field_mask::FieldMask;
use protobuf::well_known_types::timestamp::Timestamp;

/// A typed value. Its URL has no `type.googleapis.com/`: containerd 1.6 refuses that.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(crate) struct Any {
    pub(crate) type_url: String,
    pub(crate) value: Vec<u8>,
}

impl Any {
    /// The runtime specification of a container, as JSON.
    pub(crate) fn spec(json: Vec<u8>) -> Any {
        Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: json,
        }
    }

    /// A process that is to be executed in a container, as JSON.
    pub(crate) fn process(json: Vec<u8>) -> Any {
        Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: json,
        }
    }

    /// The resources of a container, as JSON.
    pub(super) fn resources(json: Vec<u8>) -> Any {
        Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: json,
        }
    }

    pub(super) fn into_wire(self) -> WireAny {
        WireAny { type_url: self.type_url, value: self.value, ..Default::default() }
    }

    pub(super) fn from_wire(any: WireAny) -> Any {
        Any { type_url: any.type_url, value: any.value }
    }
}

/// A time. `None` if the server sent none, or Go's zero time (year 1), which means the same.
pub(super) fn time(wire: Option<&Timestamp>) -> Option<SystemTime> {
    let wire = wire?;
    let nanos = Duration::from_nanos(wire.nanos.try_into().ok()?);
    match u64::try_from(wire.seconds) {
        Ok(0) if nanos.is_zero() => None,
        Ok(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?.checked_add(nanos),
        Err(_) => None,
    }
}

/// A mask of these paths.
pub(super) fn mask(paths: &[&str]) -> FieldMask {
    FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect(), ..Default::default() }
}

/// Labels for a generated message.
pub(super) fn labels(labels: &[(String, String)]) -> HashMap<String, String> {
    labels.iter().cloned().collect()
}
