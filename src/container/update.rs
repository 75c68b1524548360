//! Changing the resources that a container may use.

use serde_json::{Map, Value};

use super::lock::lock;
use super::owned::{has_generation, owned_record, specification};
use super::undo::Undo;
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::identifier;
use crate::inner::Inner;
use crate::record::generation;
use crate::rpc::containers::{self, Container};
use crate::rpc::tasks::{self, Status};
use crate::rpc::{Any, Ctx};
use crate::spec;

/// A change of a container's resources.
///
/// ```no_run
/// use ctrd::{Call, Client, UpdateConfig};
///
/// # fn f(client: &Client) -> ctrd::Result<()> {
/// // 64 MiB, and half of a processor.
/// let resources = r#"{"memory": {"limit": 67108864}, "cpu": {"quota": 50000, "period": 100000}}"#;
/// let config = UpdateConfig::new().resources_json(resources);
/// client.update_container("web", &config, &Call::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateConfig {
    resources_json: Option<String>,
}

impl UpdateConfig {
    /// Nothing yet: [`UpdateConfig::resources_json`] is required.
    pub fn new() -> UpdateConfig {
        UpdateConfig::default()
    }

    /// The resources that change, as JSON: an object like `linux.resources` of the runtime
    /// specification. A member that it does not name stays as it is. `null` removes a member from the
    /// specification, without an effect before the next restart. Arrays are replaced as a whole.
    pub fn resources_json(mut self, json: impl Into<String>) -> UpdateConfig {
        self.resources_json = Some(json.into());
        self
    }

    fn resources(&self) -> Result<Map<String, Value>> {
        match self.resources_json.as_deref() {
            Some(json) => spec::parse_object("resources_json", json),
            None => Err(Error::invalid("resources_json", "must be given")),
        }
    }
}

/// Changes the record first, so that a process which another call creates meanwhile gets the new
/// resources, and then the task. `nerdctl update` and containerd's CRI plugin do the same.
pub(crate) fn update(client: &Inner, id: &str, config: &UpdateConfig, call: &Call) -> Result<()> {
    identifier::check("id", id)?;
    let changes = config.resources()?;
    let operation = client.begin(call)?;
    let ctx = &operation.ctx;
    let _lock = lock(client, ctx, id, "update_container")?;
    let record = owned_record(client, ctx, id)?;
    let (spec, resources) =
        merged(specification(&record)?, changes).step("change the specification")?;
    let mut undo = Undo::default();
    update_steps(ctx, &record, spec, resources, &mut undo).map_err(|error| undo.run(ctx, error))
}

fn update_steps(
    ctx: &Ctx,
    record: &Container,
    spec: Vec<u8>,
    resources: Vec<u8>,
    undo: &mut Undo,
) -> Result<()> {
    let set = containers::set_spec(ctx, &record.id, Any { value: spec, ..record.spec.clone() });
    if set.as_ref().map_or_else(Error::is_outcome_unknown, |()| true) {
        let (id, before, generation) =
            (record.id.clone(), record.spec.clone(), generation::of(record));
        undo.push("change the record", move |ctx| {
            if has_generation(ctx, &id, &generation)? {
                containers::set_spec(ctx, &id, before.clone())?;
            }
            Ok(true)
        });
    }
    set.step("change the record")?;
    match tasks::update(ctx, &record.id, resources) {
        Err(e) if e.kind() != ErrorKind::NotFound && !has_ended(ctx, &record.id, &e) => {
            Err(e.step("update the task"))
        }
        // A container without a process gets the resources with its next one.
        _ => Ok(()),
    }
}

/// Whether a task could not be updated because its process has ended. containerd says that only in words.
fn has_ended(ctx: &Ctx, id: &str, error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unknown | ErrorKind::FailedPrecondition)
        && tasks::get(ctx, id, "")
            .is_ok_and(|process| matches!(process.status, Status::Stopped | Status::Ending))
}

/// The specification with the changes, and all of its resources: a runtime may take what is left out for
/// unlimited.
fn merged(mut spec: Value, changes: Map<String, Value>) -> Result<(Vec<u8>, Vec<u8>)> {
    let bad = |why| Error::new(ErrorKind::FailedPrecondition, why);
    if !spec.is_object() {
        return Err(bad("the record's specification is not a JSON object"));
    }
    let linux = &mut spec["linux"];
    if !matches!(linux, Value::Null | Value::Object(_)) {
        return Err(bad("linux is not an object in the record's specification"));
    }
    let resources = &mut linux["resources"];
    merge(resources, Value::Object(changes));
    let write = |value: &Value| {
        serde_json::to_vec(value).map_err(|e| {
            Error::new(ErrorKind::Internal, format!("the specification cannot be written: {e}"))
        })
    };
    let resources = write(resources)?;
    Ok((write(&spec)?, resources))
}

/// Merges objects member by member (RFC 7396).
fn merge(into: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else {
        *into = changes;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, change) in changes {
        match (change, into.as_object_mut()) {
            (Value::Null, Some(members)) => drop(members.remove(&name)),
            (change, _) => merge(&mut into[name], change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_merged_member_by_member() {
        for (before, change, after) in [
            ("{}", r#"{"pids":{"limit":5}}"#, r#"{"linux":{"resources":{"pids":{"limit":5}}}}"#),
            (
                r#"{"linux":{"x":1,"resources":{"cpu":{"shares":9,"quota":7},"devices":[1,2],"y":2}}}"#,
                r#"{"cpu":{"shares":null,"period":8},"devices":[3],"y":null,"z":null}"#,
                r#"{"linux":{"x":1,"resources":{"cpu":{"quota":7,"period":8},"devices":[3]}}}"#,
            ),
            (
                r#"{"linux":{"resources":null}}"#,
                r#"{"memory":{"limit":-1,"swap":null}}"#,
                r#"{"linux":{"resources":{"memory":{"limit":-1}}}}"#,
            ),
        ] {
            let change = UpdateConfig::new().resources_json(change).resources().unwrap();
            let (spec, resources) = merged(serde_json::from_str(before).unwrap(), change).unwrap();
            let spec: Value = serde_json::from_slice(&spec).unwrap();
            assert_eq!(spec, serde_json::from_str::<Value>(after).unwrap());
            let resources: Value = serde_json::from_slice(&resources).unwrap();
            assert_eq!(resources, spec["linux"]["resources"]);
        }
        for bad in ["3", r#""text""#, r#"{"linux":3}"#] {
            let error = merged(serde_json::from_str(bad).unwrap(), Map::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        }
    }

    #[test]
    fn only_an_object_is_accepted() {
        for json in [None, Some(""), Some("null"), Some("[]"), Some("3"), Some("{")] {
            let config = json
                .map_or_else(UpdateConfig::new, |json| UpdateConfig::new().resources_json(json));
            let error = config.resources().unwrap_err();
            assert!(error.message().starts_with("resources_json: "), "{error}");
        }
    }
}
