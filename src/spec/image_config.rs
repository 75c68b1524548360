//! What an image's configuration adds to the default specification (image specification,
//! "Conversion to OCI Runtime Configuration"; containerd `oci.WithImageConfigArgs`).

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The part of an image's configuration that says how its process runs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ImageConfig {
    pub(super) env: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) working_dir: String,
    pub(super) user: String,
}

impl ImageConfig {
    /// Reads it from an image's `config.json`. A member that is absent or null is empty; labels and
    /// everything else have no part in a specification.
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

    /// The working directory, which a runtime wants absolute.
    pub(super) fn cwd(&self) -> String {
        if self.working_dir.starts_with('/') {
            self.working_dir.clone()
        } else {
            format!("/{}", self.working_dir)
        }
    }
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
        Value::String(text) if text.contains('\0') => Err(damaged(format!("{name} holds a NUL"))),
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
    fn what_is_damaged_is_named() {
        for (config, part) in [
            (json!([]), "config is not an object"),
            (json!({ "Env": "A=1" }), "Env is not an array"),
            (json!({ "Env": ["A=1", 2] }), "Env[1] is not a string"),
            (json!({ "Cmd": [null] }), "Cmd[0] is null"),
            (json!({ "Cmd": ["a\0b"] }), "Cmd[0] holds a NUL"),
            (json!({ "User": 0 }), "User is not a string"),
            (json!({ "WorkingDir": "/a\0" }), "WorkingDir holds a NUL"),
        ] {
            let error = ImageConfig::parse(&json!({ "config": config })).unwrap_err();
            assert!(error.message().ends_with(part), "{error}");
        }
    }

    #[test]
    fn a_working_directory_is_absolute() {
        for (given, cwd) in [("", "/"), ("/", "/"), ("app", "/app"), ("/a/b", "/a/b")] {
            let config = ImageConfig { working_dir: given.into(), ..ImageConfig::default() };
            assert_eq!(config.cwd(), cwd);
        }
    }
}
