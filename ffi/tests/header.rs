//! `include/ctrd.h` is what the library's source says, and its comments are complete.

mod support;

use std::process::Command;
use support::header::prototypes;

use support::{generate, header_path, library, read, root, run};

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = generate::header();
    if std::env::var_os("CTRD_WRITE_HEADER").is_some() {
        std::fs::write(header_path(), &generated).unwrap();
    }
    let committed = read("include/ctrd.h");
    for (number, (ours, theirs)) in committed.lines().zip(generated.lines()).enumerate() {
        assert_eq!(ours, theirs, "include/ctrd.h:{}: run \"make header\"", number + 1);
    }
    assert_eq!(committed, generated, "include/ctrd.h: run \"make header\"");
}

#[test]
fn every_comment_is_complete() {
    let prototypes = prototypes(&generate::header());
    assert!(prototypes.len() > 80, "only {} functions are found", prototypes.len());
    for function in prototypes {
        let (name, comment) = (&function.name, &function.comment);
        for parameter in &function.parameters {
            assert!(comment.contains(&format!("@param {parameter} ")), "{name}: {parameter}");
        }
        assert_eq!(comment.contains("@return"), function.returns != "void", "{name}: @return");
        if function.returns == "ctrd_status_t" && function.parameters.iter().any(|p| p == "err") {
            assert!(comment.contains("@return CTRD_OK"), "{name}: its outcome");
        }
        for line in ["Blocking: ", "Threads: ", "Since: "] {
            assert_eq!(comment.matches(line).count(), 1, "{name}: {line}");
        }
        let never_blocks = comment.contains("Blocking: no. ");
        let takes_a_call = function.parameters.iter().any(|parameter| parameter == "call");
        if takes_a_call && !name.ends_with("_init") {
            assert!(!never_blocks, "{name}: it takes a ctrd_call_t, and so it may block");
        }
    }
}

/// The errors that the header lists once, for every function.
const COMMON: &[&str] = &[
    "INVALID_ARGUMENT",
    "FORKED",
    "REENTRANT",
    "PANIC",
    "INTERNAL",
    "TIMEOUT",
    "CANCELLED",
    "WOULD_BLOCK",
    "IO",
    "UNAVAILABLE",
    "PROTOCOL",
];

/// Common errors are said once, at the top; a function's own comment says what is special about them.
#[test]
fn common_errors_are_said_once() {
    let header = generate::header();
    let (top, _) = header.split_once("#ifndef CTRD_H").unwrap();
    for error in COMMON {
        let said = top.split(|c: char| !c.is_alphanumeric() && c != '_');
        let name = format!("CTRD_E_{error}");
        assert!(said.into_iter().any(|word| word == name), "the top of the header: {name}");
    }
    for function in prototypes(&header) {
        let (_, errors) = function.comment.split_once("@return").unwrap_or_default();
        let (errors, _) = errors.split_once(" *\n").unwrap_or_default();
        for error in COMMON {
            for end in [";", "."] {
                let bare = format!("CTRD_E_{error}{end}");
                assert!(!errors.contains(&bare), "{}: {bare}", function.name);
            }
        }
    }
}

/// A function that changes something takes a handle that is not const; accessors take a const one.
#[test]
fn handles_are_const_for_accessors_alone() {
    for function in prototypes(&generate::header()) {
        let Some(handle) = function.types.first().filter(|first| first.ends_with("_t *")) else {
            continue;
        };
        let changes = function.parameters.iter().any(|parameter| parameter == "call")
            || ["_free", "_init", "_fire", "_take_", "_try_", "ctrd_add_", "ctrd_dispatch"]
                .iter()
                .any(|word| function.name.contains(word) && !function.name.ends_with("_fd"));
        // These read what they begin with.
        let reads = ["ctrd_client_open", "ctrd_daemon_start"].contains(&function.name.as_str());
        assert_eq!(handle.starts_with("const "), !changes || reads, "{}: {handle}", function.name);
    }
}

#[test]
fn it_compiles_in_every_dialect() {
    let said = run(Command::new("sh").current_dir(root()).arg("ffi/tests/matrix.sh"));
    assert!(said.contains("compiles in"), "{said}");
}

#[test]
fn bindings_can_read_it() {
    library();
    let said = run(Command::new("sh").current_dir(root()).arg("ffi/tests/parse.sh"));
    assert_eq!(said.lines().count(), 3, "{said}");
}

/// The structs have no padding, so that every compiler gives them the same layout.
#[test]
fn structs_have_no_padding() {
    let said = run(Command::new("sh").current_dir(root()).arg("ffi/tests/layout.sh"));
    assert!(said.contains("structs have no padding"), "{said}");
}
