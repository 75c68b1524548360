//! The conventions of the Rust API. The tests read the sources.

use std::fs;
use std::path::Path;

/// The declaration of a public type: its documentation, its attributes, and the code.
struct Declaration {
    docs: String,
    attributes: String,
    code: String,
}

/// The types that `src/lib.rs` exports.
fn public_types() -> Vec<String> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let exports = text.split("\npub use ").skip(1).map(|rest| rest.split_once(';').unwrap().0);
    let names = exports.flat_map(|export| export.split(|c: char| !c.is_alphanumeric()));
    let is_type = |name: &&str| name.starts_with(char::is_uppercase) && *name != "Result";
    let types: Vec<String> = names.filter(is_type).map(str::to_owned).collect();
    assert!(types.len() > 30, "{types:?}");
    types
}

/// Adds the texts of all Rust files below a directory.
fn read_sources(directory: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The public types with their declarations.
fn declarations() -> Vec<(String, Declaration)> {
    let mut sources = Vec::new();
    read_sources(Path::new("src"), &mut sources);
    let find = |name: String| {
        let declaration = sources.iter().find_map(|text| declaration(text, &name));
        let declaration = declaration.unwrap_or_else(|| panic!("{name} is not declared"));
        (name, declaration)
    };
    public_types().into_iter().map(find).collect()
}

/// The declaration of a public type in a source file.
fn declaration(text: &str, name: &str) -> Option<Declaration> {
    let lines: Vec<&str> = text.lines().collect();
    let declares = |line: &&str| {
        let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
        let rest = rest.and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    let start = lines.iter().position(declares)?;
    let before: Vec<&str> =
        lines[..start].iter().rev().take_while(|line| !line.is_empty()).copied().collect();
    let (docs, attributes): (Vec<&str>, Vec<&str>) =
        before.into_iter().rev().partition(|line| line.starts_with("///"));
    let ends = |line: &&str| line.starts_with('}') || line.ends_with(';');
    let length =
        if ends(&lines[start]) { 0 } else { lines[start..].iter().position(|l| *l == "}")? };
    Some(Declaration {
        docs: docs.join("\n"),
        attributes: attributes.join("\n"),
        code: lines[start..=start + length].join("\n"),
    })
}

/// The names of the types for which the condition does not hold.
fn without(condition: impl Fn(&str, &Declaration) -> bool) -> Vec<String> {
    let wrong = declarations().into_iter().filter(|(name, found)| !condition(name, found));
    wrong.map(|(name, _)| name).collect()
}

#[test]
fn every_public_type_has_an_example() {
    assert_eq!(without(|_, found| found.docs.contains("/// ```")), [""; 0]);
}

#[test]
fn every_public_type_is_asserted_to_be_send_and_sync() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    assert_eq!(without(|name, _| text.contains(&format!("assert_send_sync::<{name}>"))), [""; 0]);
}

#[test]
fn every_public_enum_can_grow() {
    let can_grow = |_: &str, found: &Declaration| {
        !found.code.starts_with("pub enum") || found.attributes.contains("#[non_exhaustive]")
    };
    assert_eq!(without(can_grow), [""; 0]);
}

#[test]
fn no_public_struct_has_public_fields() {
    let is_closed = |_: &str, found: &Declaration| {
        !found.code.starts_with("pub struct") || !found.code[4..].contains("pub ")
    };
    assert_eq!(without(is_closed), [""; 0]);
}

/// A bool or an `Option` among the arguments does not say at the call what it means.
#[test]
fn no_method_of_the_client_takes_a_bool_or_an_option() {
    let mut sources = Vec::new();
    read_sources(Path::new("src/client"), &mut sources);
    let mut methods = 0;
    for method in sources.iter().flat_map(|text| text.split("\n    pub fn ").skip(1)) {
        let (parameters, _) = method.split_once(" {\n").unwrap();
        let (parameters, _) = parameters.rsplit_once(')').unwrap();
        assert!(
            !parameters.contains(": bool") && !parameters.contains(": Option<"),
            "{parameters}"
        );
        methods += 1;
    }
    assert!(methods > 25, "{methods}");
}

#[test]
fn types_that_must_not_be_dropped_at_once_say_so() {
    let must_use = |name: &str, found: &Declaration| {
        let is_named = ["Call", "Client", "Daemon", "Queue", "Submission", "Subscription"];
        let matters = name.ends_with("Config") || is_named.contains(&name);
        !matters || found.attributes.contains("#[must_use")
    };
    assert_eq!(without(must_use), [""; 0]);
}

#[test]
fn the_example_of_readme_is_one_that_compiles() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, rest) = readme.split_once("```rust,no_run\n").unwrap();
    let (code, _) = rest.split_once("```\n").unwrap();
    let example = fs::read_to_string("examples/hello.rs").unwrap();
    assert_eq!(example, format!("//! The example of README.\n\n{code}"));
}
