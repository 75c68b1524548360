//! The contents of events: as JSON, and what this library itself needs to know of them.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protobuf::well_known_types::any::Any as WireAny;
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField};

use super::any::Any;
use super::wire::event_types::{container_create::Runtime, *};
use super::wire::images::{ImageCreate, ImageDelete, ImageUpdate};
use super::wire::types::Mount;
use crate::timestamp::rfc3339;

/// A message as a JSON object. The names and the order of the fields are those of the protos.
/// Fields that are not set are left out. Go's client prints events in the same way.
struct Object(String);

/// A message that can be written as JSON.
trait Fields {
    fn write(&self, object: &mut Object);
}

impl Object {
    fn of(message: &impl Fields) -> String {
        let mut object = Object("{".into());
        message.write(&mut object);
        object.0.push('}');
        object.0
    }

    fn of_any(any: &WireAny) -> String {
        object_of_unknown(&any.type_url, &any.value)
    }

    /// Adds a member. Its value is JSON.
    fn member(&mut self, name: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&string(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.member(name, &string(value));
        }
    }

    fn number(&mut self, name: &str, value: &(impl ToString + Default + PartialEq)) {
        if *value != Default::default() {
            self.member(name, &value.to_string());
        }
    }

    fn flag(&mut self, name: &str, value: &bool) {
        if *value {
            self.member(name, "true");
        }
    }

    fn time(&mut self, name: &str, value: &MessageField<Timestamp>) {
        if let Some(time) = value.as_ref() {
            let nanos = u32::try_from(time.nanos).unwrap_or_default();
            self.member(name, &string(&rfc3339(time.seconds, nanos)));
        }
    }

    fn labels(&mut self, name: &str, value: &HashMap<String, String>) {
        if !value.is_empty() {
            let mut labels: Vec<_> = value.iter().collect();
            labels.sort();
            let mut object = Object("{".into());
            for (key, value) in labels {
                object.member(key, &string(value));
            }
            object.0.push('}');
            self.member(name, &object.0);
        }
    }

    fn any(&mut self, name: &str, value: &MessageField<WireAny>) {
        if let Some(any) = value.as_ref() {
            self.member(name, &Object::of_any(any));
        }
    }

    fn message(&mut self, name: &str, value: &MessageField<impl Fields>) {
        if let Some(message) = value.as_ref() {
            self.member(name, &Object::of(message));
        }
    }

    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.collect();
        if !values.is_empty() {
            self.member(name, &format!("[{}]", values.join(",")));
        }
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        self.list(name, values.iter().map(|value| string(value)));
    }

    fn messages(&mut self, name: &str, values: &[impl Fields]) {
        self.list(name, values.iter().map(Object::of));
    }
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn object_of_unknown(type_url: &str, value: &[u8]) -> String {
    let mut object = Object("{".into());
    object.text("type_url", type_url);
    object.text("value", &STANDARD.encode(value));
    object.0.push('}');
    object.0
}

/// Declares the fields of messages, and how to write each of them.
macro_rules! fields {
    ($($message:ident { $($field:ident: $kind:ident),* })+) => {
        $(
            impl Fields for $message {
                fn write(&self, object: &mut Object) {
                    $(object.$kind(stringify!($field), &self.$field);)*
                }
            }
        )+
    };
}

/// The same for messages that are events, by the package that is in their type's URL. `json_of`
/// writes one of them; `None` if the type is unknown or the bytes cannot be decoded.
macro_rules! events {
    ($($package:literal: $($message:ident $fields:tt)+)+) => {
        $(fields! { $($message $fields)+ })+

        fn json_of(type_url: &str, value: &[u8]) -> Option<String> {
            match type_url {
                $($(
                    concat!($package, ".", stringify!($message)) => {
                        $message::parse_from_bytes(value).ok().map(|event| Object::of(&event))
                    }
                )+)+
                _ => None,
            }
        }
    };
}

events! {
    "containerd.events":
    ContainerCreate { id: text, image: text, runtime: message }
    ContainerDelete { id: text }
    ContainerUpdate { id: text, image: text, labels: labels, snapshot_key: text }
    ContentCreate { digest: text, size: number }
    ContentDelete { digest: text }
    NamespaceCreate { name: text, labels: labels }
    NamespaceDelete { name: text }
    NamespaceUpdate { name: text, labels: labels }
    SandboxCreate { sandbox_id: text }
    SandboxExit { sandbox_id: text, exit_status: number, exited_at: time }
    SandboxStart { sandbox_id: text }
    SnapshotCommit { key: text, name: text, snapshotter: text }
    SnapshotPrepare { key: text, parent: text, snapshotter: text }
    SnapshotRemove { key: text, snapshotter: text }
    TaskCheckpointed { container_id: text, checkpoint: text }
    TaskCreate {
        container_id: text, bundle: text, rootfs: messages, io: message, checkpoint: text,
        pid: number
    }
    TaskDelete {
        container_id: text, pid: number, exit_status: number, exited_at: time, id: text
    }
    TaskExecAdded { container_id: text, exec_id: text }
    TaskExecStarted { container_id: text, exec_id: text, pid: number }
    TaskExit { container_id: text, id: text, pid: number, exit_status: number, exited_at: time }
    TaskOOM { container_id: text }
    TaskPaused { container_id: text }
    TaskResumed { container_id: text }
    TaskStart { container_id: text, pid: number }

    "containerd.services.images.v1":
    ImageCreate { name: text, labels: labels }
    ImageDelete { name: text }
    ImageUpdate { name: text, labels: labels }
}

fields! {
    Runtime { name: text, options: any }
    TaskIO { stdin: text, stdout: text, stderr: text, terminal: flag }
}

impl Fields for Mount {
    fn write(&self, object: &mut Object) {
        object.text("type", &self.type_);
        object.text("source", &self.source);
        object.text("target", &self.target);
        object.texts("options", &self.options);
    }
}

/// The content of an event, as a JSON object. If the type is not known or the bytes are damaged,
/// the URL of the type and the bytes: `{"type_url":"...","value":"<base64>"}`.
pub(crate) fn json(event: &Any) -> String {
    json_of(&event.type_url, &event.value)
        .unwrap_or_else(|| object_of_unknown(&event.type_url, &event.value))
}

/// The process that an event is about: the container's id, and the exec's id. The exec's id is
/// empty for the first process, and for the container as a whole.
pub(crate) fn process(event: &Any) -> Option<(String, String)> {
    let value = &event.value;
    macro_rules! read {
        ($message:ident, $container:ident) => {
            $message::parse_from_bytes(value).ok().map(|event| (event.$container, String::new()))
        };
        ($message:ident, $container:ident, $exec:ident) => {
            $message::parse_from_bytes(value)
                .ok()
                .map(|event| (exec_id(&event.$container, event.$exec), event.$container))
                .map(|(exec, container)| (container, exec))
        };
    }
    match event.type_url.strip_prefix("containerd.events.")? {
        "ContainerCreate" => read!(ContainerCreate, id),
        "ContainerDelete" => read!(ContainerDelete, id),
        "ContainerUpdate" => read!(ContainerUpdate, id),
        "TaskCheckpointed" => read!(TaskCheckpointed, container_id),
        "TaskCreate" => read!(TaskCreate, container_id),
        "TaskDelete" => read!(TaskDelete, container_id, id),
        "TaskExecAdded" => read!(TaskExecAdded, container_id, exec_id),
        "TaskExecStarted" => read!(TaskExecStarted, container_id, exec_id),
        "TaskExit" => read!(TaskExit, container_id, id),
        "TaskOOM" => read!(TaskOOM, container_id),
        "TaskPaused" => read!(TaskPaused, container_id),
        "TaskResumed" => read!(TaskResumed, container_id),
        "TaskStart" => read!(TaskStart, container_id),
        _ => None,
    }
}

/// In events, the first process has the container's id or an empty one.
fn exec_id(container: &str, id: String) -> String {
    if id == container { String::new() } else { id }
}

#[cfg(test)]
mod tests {

    use protobuf::MessageDyn;
    use protobuf::reflect::{
        FileDescriptor, MessageDescriptor, ReflectValueBox, RuntimeFieldType, RuntimeType,
    };
    use protobuf::well_known_types::{any, empty, field_mask, timestamp};
    use serde_json::{Map, Value, json as value};

    use super::*;

    /// The events of the protos, as descriptors.
    fn events() -> Vec<MessageDescriptor> {
        let inputs = ["event_types", "images", "types"].map(|name| format!("protos/{name}.proto"));
        let set = protobuf_parse::Parser::new()
            .pure()
            .include("protos")
            .inputs(inputs)
            .file_descriptor_set()
            .unwrap();
        let files = FileDescriptor::new_dynamic_fds(
            set.file,
            &[
                any::file_descriptor().clone(),
                empty::file_descriptor().clone(),
                field_mask::file_descriptor().clone(),
                timestamp::file_descriptor().clone(),
            ],
        )
        .unwrap();
        let is_event = |message: &MessageDescriptor| match message.full_name() {
            "containerd.events.TaskIO" => false,
            name => {
                name.starts_with("containerd.events.")
                    || ["Create", "Update", "Delete"]
                        .iter()
                        .any(|verb| name == format!("containerd.services.images.v1.Image{verb}"))
            }
        };
        files.iter().flat_map(|file| file.messages()).filter(is_event).collect()
    }

    /// A message with every field set, and its expected JSON.
    fn filled(descriptor: &MessageDescriptor) -> (Box<dyn MessageDyn>, Value) {
        let mut message = descriptor.new_instance();
        let mut members = Map::new();
        for field in descriptor.fields() {
            let one = |kind: &RuntimeType| match kind {
                RuntimeType::String => {
                    let text = format!("{} \"\\\n\u{1f600}<", field.name());
                    (ReflectValueBox::String(text.clone()), Value::from(text))
                }
                RuntimeType::U32 => (ReflectValueBox::U32(u32::MAX), u32::MAX.into()),
                RuntimeType::I32 => (ReflectValueBox::I32(500_000_000), Value::Null),
                RuntimeType::I64 => (ReflectValueBox::I64(1 << 60), (1i64 << 60).into()),
                RuntimeType::Bool => (ReflectValueBox::Bool(true), true.into()),
                RuntimeType::VecU8 => (ReflectValueBox::Bytes(vec![0, 255]), "AP8=".into()),
                RuntimeType::Message(of) if of.full_name() == "google.protobuf.Timestamp" => {
                    let mut time = of.new_instance();
                    for (name, number) in [
                        ("seconds", ReflectValueBox::I64(-1)),
                        ("nanos", ReflectValueBox::I32(500_000_000)),
                    ] {
                        of.field_by_name(name).unwrap().set_singular_field(&mut *time, number);
                    }
                    (ReflectValueBox::Message(time), "1969-12-31T23:59:59.5Z".into())
                }
                RuntimeType::Message(of) => {
                    let (message, value) = filled(of);
                    (ReflectValueBox::Message(message), value)
                }
                other => panic!("{} is of type {other}", field.full_name()),
            };
            let value = match field.runtime_field_type() {
                RuntimeFieldType::Singular(kind) => {
                    let (set, value) = one(&kind);
                    field.set_singular_field(&mut *message, set);
                    value
                }
                RuntimeFieldType::Repeated(kind) => {
                    let mut list = field.mut_repeated(&mut *message);
                    let values = [(); 2].map(|()| {
                        let (set, value) = one(&kind);
                        list.push(set);
                        value
                    });
                    values.to_vec().into()
                }
                RuntimeFieldType::Map(key, of) => {
                    let ((key, name), (set, value)) = (one(&key), one(&of));
                    field.mut_map(&mut *message).insert(key, set);
                    Map::from_iter([(name.as_str().unwrap().to_owned(), value)]).into()
                }
            };
            members.insert(field.name().to_owned(), value);
        }
        (message, members.into())
    }

    #[test]
    fn every_field_of_every_event_is_in_the_json() {
        let events = events();
        assert_eq!(events.len(), 27);
        for descriptor in events {
            let type_url = descriptor.full_name().to_owned();
            let empty = Any { type_url: type_url.clone(), value: Vec::new() };
            assert_eq!(json(&empty), "{}", "{type_url}");

            let (message, expected) = filled(&descriptor);
            let bytes = message.write_to_bytes_dyn().unwrap();
            let written = json(&Any { type_url: type_url.clone(), value: bytes.clone() });
            let value: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(value, expected, "{type_url}");
            // The fields are in the order of the protos.
            let at = |name: &str| written.find(&format!("\"{name}\":")).unwrap();
            let places: Vec<usize> = descriptor.fields().map(|f| at(f.name())).collect();
            assert!(places.is_sorted(), "{written}");

            // If the bytes are cut short, the event is returned as it is.
            let cut = bytes[..bytes.len() - 1].to_vec();
            let expected = value!({ "type_url": type_url, "value": STANDARD.encode(&cut) });
            let written = json(&Any { type_url, value: cut });
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
        }
    }

    #[test]
    fn an_unknown_event_is_passed_on_as_it_is() {
        let any =
            |type_url: &str, value: &[u8]| Any { type_url: type_url.into(), value: value.to_vec() };
        let event = any("example.Other", b"\x00\xff");
        assert_eq!(json(&event), r#"{"type_url":"example.Other","value":"AP8="}"#);
        assert_eq!(json(&any("", b"")), "{}");
        assert_eq!(process(&event), None);
        assert_eq!(process(&any("containerd.events.TaskExit", b"\xff")), None);
    }

    fn event<M: Message>(name: &str, message: M) -> Any {
        let type_url = format!("containerd.events.{name}");
        Any { type_url, value: message.write_to_bytes().unwrap() }
    }

    /// For each event: whether it is about a process, and whether it names an exec.
    #[test]
    fn the_process_of_an_event_is_known() {
        for descriptor in events() {
            let name = descriptor.full_name();
            let of_container = ["events.Container", "events.Task"].iter().any(|s| name.contains(s));
            let (message, _) = filled(&descriptor);
            let event = Any { type_url: name.into(), value: message.write_to_bytes_dyn().unwrap() };
            let Some((container, exec)) = process(&event) else {
                assert!(!of_container, "{name}");
                continue;
            };
            assert!(of_container, "{name}");
            let field = if name.contains("Container") { "id" } else { "container_id" };
            assert!(container.starts_with(&format!("{field} ")), "{name}: {container}");
            let field = match name.rsplit('.').next().unwrap() {
                "TaskExit" | "TaskDelete" => "id ",
                "TaskExecAdded" | "TaskExecStarted" => "exec_id ",
                _ => "",
            };
            assert!(exec.starts_with(field) && exec.is_empty() == field.is_empty(), "{name}");
        }
        let mut first = TaskDelete::new();
        first.container_id = "c".into();
        let expected = Some(("c".to_owned(), String::new()));
        assert_eq!(process(&event("TaskDelete", first.clone())), expected);
        first.id = "c".into();
        assert_eq!(process(&event("TaskDelete", first)), expected);
    }
}
