//! The protos against the contract: `wire/contract.json` holds the facts of containerd's wire as its
//! releases have them, and neither side may know what the other does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use protobuf::descriptor::field_descriptor_proto::{Label, Type};
use protobuf::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};
use serde_json::Value;

/// A fact in words, by what it is about: `message a.B.c` is `1 string`.
type Facts = BTreeMap<String, String>;

fn protos() -> Vec<PathBuf> {
    let mut protos: Vec<PathBuf> = fs::read_dir("protos")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    protos.sort();
    protos
}

fn parse(directory: &str, inputs: &[PathBuf]) -> FileDescriptorSet {
    protobuf_parse::Parser::new()
        .pure()
        .include(directory)
        .inputs(inputs)
        .file_descriptor_set()
        .unwrap()
}

/// The content of the protos, without the well-known types that they import.
fn facts_of_protos(files: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in &files.file {
        let package = file.package();
        if package == "google.protobuf" {
            continue;
        }
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
        for message in &file.message_type {
            add_message(&mut facts, package, message);
        }
        for item in &file.enum_type {
            add_enum(&mut facts, package, item);
        }
        for service in &file.service {
            add_service(&mut facts, package, service);
        }
    }
    facts
}

fn add(facts: &mut Facts, key: String, value: String) {
    assert!(!facts.contains_key(&key), "{key} is there twice");
    facts.insert(key, value);
}

fn add_message(facts: &mut Facts, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    add(facts, format!("message {name}"), String::new());
    for field in &message.field {
        let entry = message.nested_type.iter().find(|nested| {
            nested.options.map_entry() && field.type_name() == format!(".{name}.{}", nested.name())
        });
        let fact = match entry {
            Some(entry) => {
                let part = |number| {
                    let mut parts = entry.field.iter();
                    type_of(parts.find(|part| part.number() == number).unwrap())
                };
                format!("map<{},{}>", part(1), part(2))
            }
            None if field.label() == Label::LABEL_REPEATED => {
                format!("repeated {}", type_of(field))
            }
            None => type_of(field),
        };
        let key = format!("message {name}.{}", field.name());
        add(facts, key, format!("{} {fact}", field.number()));
    }
    for nested in message.nested_type.iter().filter(|nested| !nested.options.map_entry()) {
        add_message(facts, &name, nested);
    }
    for nested in &message.enum_type {
        add_enum(facts, &name, nested);
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    match field.type_() {
        Type::TYPE_MESSAGE | Type::TYPE_ENUM => field.type_name().trim_start_matches('.').into(),
        Type::TYPE_GROUP => panic!("{} is a group", field.name()),
        // `TYPE_UINT64` is `uint64`.
        scalar => format!("{scalar:?}").trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn add_enum(facts: &mut Facts, scope: &str, item: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", item.name());
    add(facts, format!("enum {name}"), String::new());
    for value in &item.value {
        add(facts, format!("enum {name}.{}", value.name()), value.number().to_string());
    }
}

fn add_service(facts: &mut Facts, package: &str, service: &ServiceDescriptorProto) {
    let name = format!("{package}.{}", service.name());
    add(facts, format!("service {name}"), String::new());
    let side = |streams: bool, kind: &str| {
        let stream = if streams { "stream " } else { "" };
        format!("{stream}{}", kind.trim_start_matches('.'))
    };
    for method in &service.method {
        let request = side(method.client_streaming(), method.input_type());
        let response = side(method.server_streaming(), method.output_type());
        let key = format!("service {name}.{}", method.name());
        add(facts, key, format!("{request} -> {response}"));
    }
}

/// The content of the contract.
fn facts_of_contract(contract: &Value) -> Facts {
    let mut facts = Facts::new();
    let mut section = |section: &str, word: &str, fact: fn(&Value) -> String| {
        for (name, item) in contract[section].as_object().unwrap() {
            add(&mut facts, format!("{word} {name}"), String::new());
            for (entry, value) in item["entries"].as_object().unwrap() {
                add(&mut facts, format!("{word} {name}.{entry}"), fact(value));
            }
        }
    };
    section("messages", "message", |field| {
        let repeated = if field["repeated"] == true { "repeated " } else { "" };
        format!("{} {repeated}{}", field["number"], field["type"].as_str().unwrap())
    });
    section("enums", "enum", |value| value["number"].to_string());
    section("services", "service", |method| {
        let side = |name: &str| method[name].as_str().unwrap().to_owned();
        format!("{} -> {}", side("request"), side("response"))
    });
    facts
}

/// The differences of two accounts, a line each.
fn differences(protos: &Facts, contract: &Facts) -> Vec<String> {
    let mut all = Vec::new();
    for (key, fact) in protos {
        match contract.get(key) {
            None => all.push(format!("{key}: the contract does not have it")),
            Some(other) if other != fact => {
                all.push(format!("{key}: {fact:?} in the protos, {other:?} in the contract"));
            }
            Some(_) => {}
        }
    }
    let absent = contract.keys().filter(|key| !protos.contains_key(*key));
    all.extend(absent.map(|key| format!("{key}: the protos do not have it")));
    all
}

fn contract() -> Facts {
    let json = fs::read_to_string("tests/wire/contract.json").unwrap();
    facts_of_contract(&serde_json::from_str(&json).unwrap())
}

#[test]
fn the_protos_are_the_contract() {
    let protos = facts_of_protos(&parse("protos", &protos()));
    let contract = contract();
    let differences = differences(&protos, &contract);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // Something was read at all.
    for (word, least) in [("service ", 90), ("message ", 700), ("enum ", 20)] {
        let count = contract.keys().filter(|key| key.starts_with(word)).count();
        assert!(count >= least, "{count} facts of the kind {word:?}");
    }
}

/// Each kind of mistake is seen: the protos are changed, one line at a time.
#[test]
fn a_mistake_in_the_protos_is_seen() {
    let contract = contract();
    for (file, right, wrong, about) in [
        ("tasks", "uint32 pid = 2;", "uint32 pid = 3;", "message containerd.services.tasks.v1."),
        ("snapshots", "  ACTIVE = 2;", "  ACTIVE = 4;", "Kind.ACTIVE"),
        (
            "content",
            "returns (stream ReadContentResponse)",
            "returns (ReadContentResponse)",
            "Read",
        ),
        ("version", "string revision = 2;", "", "VersionResponse.revision: the protos do not"),
        ("version", "string version = 1;", "bytes version = 1;", "VersionResponse.version"),
        ("version", "string version = 1;", "repeated string version = 1;", "\"1 repeated string\""),
        (
            "version",
            "message VersionResponse {",
            "message More {} message VersionResponse {",
            "More",
        ),
        ("leases", "map<string, string> labels", "map<string, bytes> labels", "map<string,bytes>"),
        ("diff", "rpc Apply(ApplyRequest)", "rpc Applies(ApplyRequest)", "Diff.Applies"),
    ] {
        let directory = std::env::temp_dir().join(format!("ctrd-wire-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut copies = Vec::new();
        for path in protos() {
            let mut text = fs::read_to_string(&path).unwrap();
            if path.file_stem().unwrap() == file {
                assert!(text.contains(right), "{file}.proto has no {right:?}");
                text = text.replacen(right, wrong, 1);
            }
            let copy = directory.join(path.file_name().unwrap());
            fs::write(&copy, text).unwrap();
            copies.push(copy);
        }
        let changed = facts_of_protos(&parse(directory.to_str().unwrap(), &copies));
        fs::remove_dir_all(&directory).unwrap();
        let differences = differences(&changed, &contract).join("\n");
        assert!(differences.contains(about), "{wrong:?} in {file}.proto: {differences:?}");
    }
}
