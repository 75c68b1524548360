//! The part of an image's configuration that says how its process runs (image specification,
//! "Conversion to OCI Runtime Configuration").

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// How an image's process runs. Everything is empty that the image does not name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ImageConfig {
    pub(super) env: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) working_dir: String,
    pub(super) user: String,
}

impl ImageConfig {
    /// Parses an image's `config.json`. A member that is absent or null is empty. Labels and other members
    /// are ignored: nothing in a specification comes from them.
    pub(super) fn parse(document: &Value) -> Result<ImageConfig> {
        let config = match document.get("config") {
            None | Some(Value::Null) => return Ok(ImageConfig::default()),
            Some(Value::Object(config)) => config,
            Some(_) => return Err(damaged("config is not an object")),
        };
        Ok(ImageConfig {
            env: strings(config, "Env")?,
            entrypoint: strings(config, "Entrypoint")?,
            cmd: strings(config, "Cmd")?,
            working_dir: string("WorkingDir", config.get("WorkingDir").unwrap_or(&Value::Null))?,
            user: string("User", config.get("User").unwrap_or(&Value::Null))?,
        })
    }

    /// The working directory as an absolute path, which is what a runtime needs. `None` if the image
    /// names none.
    pub(super) fn cwd(&self) -> Option<String> {
        match self.working_dir.as_str() {
            "" => None,
            absolute if absolute.starts_with('/') => Some(absolute.to_owned()),
            relative => Some(format!("/{relative}")),
        }
    }
}

/// Merges two environments. An entry of `over` replaces the entry of `base` with the same name, or is
/// appended. An entry of `over` without `=` removes the variable of this name (containerd
/// `oci.replaceOrAppendEnvValues`).
pub(super) fn merge_env(base: Vec<String>, over: &[&str]) -> Vec<String> {
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut merged: Vec<Option<String>> = Vec::with_capacity(base.len() + over.len());
    for entry in base {
        positions.insert(name(&entry).to_owned(), merged.len());
        merged.push(Some(entry));
    }
    for &entry in over {
        let position = positions.get(name(entry)).copied();
        let value = entry.contains('=').then(|| entry.to_owned());
        match position.and_then(|position| merged.get_mut(position)) {
            Some(slot) => *slot = value,
            None => {
                positions.insert(name(entry).to_owned(), merged.len());
                merged.push(value);
            }
        }
    }
    merged.into_iter().flatten().collect()
}

fn strings(config: &Map<String, Value>, name: &str) -> Result<Vec<String>> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(i, item)| match item {
                Value::Null => Err(damaged(format!("{name}[{i}] is null"))),
                item => string(&format!("{name}[{i}]"), item),
            })
            .collect(),
        Some(_) => Err(damaged(format!("{name} is not an array"))),
    }
}

fn string(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.contains('\0') => {
            Err(damaged(format!("{name} contains a NUL")))
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err(damaged(format!("{name} is not a string"))),
    }
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("the image's configuration: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_null_and_unknown_members() {
        for document in [
            json!({}),
            json!({ "config": null }),
            json!({ "config": {} }),
            json!({ "config": { "Env": null, "Cmd": null, "Entrypoint": null, "User": null,
                                "Labels": { "containerd.io/gc.root": "x" }, "Volumes": 3 } }),
        ] {
            assert_eq!(ImageConfig::parse(&document).unwrap(), ImageConfig::default());
        }
    }

    #[test]
    fn a_damaged_member_is_named() {
        for (config, part) in [
            (json!([]), "config is not an object"),
            (json!({ "Env": "A=1" }), "Env is not an array"),
            (json!({ "Env": ["A=1", 2] }), "Env[1] is not a string"),
            (json!({ "Cmd": [null] }), "Cmd[0] is null"),
            (json!({ "Cmd": ["a\0b"] }), "Cmd[0] contains a NUL"),
            (json!({ "User": 0 }), "User is not a string"),
            (json!({ "WorkingDir": "/a\0" }), "WorkingDir contains a NUL"),
        ] {
            let error = ImageConfig::parse(&json!({ "config": config })).unwrap_err();
            assert!(error.message().ends_with(part), "{error}");
        }
    }

    #[test]
    fn a_working_directory_is_absolute() {
        for (given, cwd) in
            [("", None), ("/", Some("/")), ("app", Some("/app")), ("/a/b", Some("/a/b"))]
        {
            let config = ImageConfig { working_dir: given.into(), ..ImageConfig::default() };
            assert_eq!(config.cwd().as_deref(), cwd);
        }
    }

    #[test]
    fn environments_are_merged_by_name() {
        let base = ["A=1", "B=2", "A=3", "bare", "C="].map(String::from);
        for (over, expected) in [
            (&[][..], &["A=1", "B=2", "A=3", "bare", "C="][..]),
            (&["B=x=y", "D=4"], &["A=1", "B=x=y", "A=3", "bare", "C=", "D=4"]),
            (&["B", "unknown"], &["A=1", "A=3", "bare", "C="]),
            (&["B", "B=5", "B=6"], &["A=1", "B=6", "A=3", "bare", "C="]),
            (&["D=1", "D"], &["A=1", "B=2", "A=3", "bare", "C="]),
            (&["bare=1"], &["A=1", "B=2", "A=3", "bare=1", "C="]),
            (&["a=1"], &["A=1", "B=2", "A=3", "bare", "C=", "a=1"]),
        ] {
            assert_eq!(merge_env(base.to_vec(), over), expected, "{over:?}");
        }
    }
}
