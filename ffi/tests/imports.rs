//! The modules of the library import one way: no circle among them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use support::root;

/// The modules of a folder by their names, as in `abi::guard`, and the text of each.
fn modules(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            modules(&path, &format!("{prefix}{name}::"), found);
        } else if name != "lib" && name != "mod" {
            found.insert(format!("{prefix}{name}"), fs::read_to_string(&path).unwrap());
        }
    }
}

/// The paths below `crate::` that a text names.
fn paths(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap();
        let path = after[..end].trim_end_matches(':');
        if after[end..].starts_with('{') {
            let (group, _) = after[end + 1..].split_once('}').expect("a group ends");
            for member in group.split(',') {
                let member: String = member.split_whitespace().take(1).collect();
                found.insert(format!("{path}::{member}"));
            }
        } else {
            found.insert(path.to_owned());
        }
    }
    found
}

#[test]
fn no_module_imports_itself_through_others() {
    let mut texts = BTreeMap::new();
    modules(&root().join("ffi/src"), "", &mut texts);
    assert!(texts.len() > 20 && texts.contains_key("abi::guard"), "{:?}", texts.keys());
    // The switch of the panic test is a part of the guard.
    texts.remove("abi::panic_test");

    let mut left: BTreeMap<&str, BTreeSet<&str>> = texts
        .iter()
        .map(|(name, text)| {
            let named = paths(text);
            let imports = texts.keys().map(String::as_str).filter(|module| {
                *module != name
                    && named
                        .iter()
                        .any(|path| path == module || path.starts_with(&format!("{module}::")))
            });
            (name.as_str(), imports.collect())
        })
        .collect();
    assert!(left["client"].contains("abi::guard") && left["queue"].contains("hook"), "{left:?}");
    // The modules below the nouns know none of them, except the status values and, to read them, the calls.
    for (name, imports) in left.iter().filter(|(name, _)| name.starts_with("abi::")) {
        for import in imports {
            let known = import.starts_with("abi::") || *import == "status";
            assert!(known || (*name, *import) == ("abi::operation", "call"), "{name}: {import}");
        }
    }
    // Takes away what imports nothing that is left, until nothing is left or all of it is in circles.
    while let Some(bottom) = left.iter().find(|(_, imports)| imports.is_empty()) {
        let bottom = *bottom.0;
        left.remove(bottom);
        for imports in left.values_mut() {
            imports.remove(bottom);
        }
    }
    assert!(left.is_empty(), "these modules are in circles, or import what is: {left:#?}");
}
