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
            assert!(comment.contains("@return CTRD_OK; CTRD_E_"), "{name}: its errors");
            assert!(comment.contains("Blocking: "), "{name}: whether it blocks");
        }
        assert!(comment.contains("Since: "), "{name}: since when");
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
