//! The header's prototypes, the list of symbols, the version nodes and the exports agree.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use support::header::prototypes;
use support::{library, read, run};

/// The list: names and versions.
fn listed() -> BTreeSet<(String, String)> {
    read("ffi/symbols")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, since) = line.split_once(' ').expect("a line is a name and a version");
            (name.to_owned(), since.to_owned())
        })
        .collect()
}

#[test]
fn header_and_list_agree() {
    let declared: BTreeSet<_> = prototypes(&read("include/ctrd.h"))
        .into_iter()
        .map(|function| {
            let (_, since) = function.comment.split_once("Since: ").expect("since when");
            let since = since.lines().next().unwrap().trim_end_matches('.');
            (function.name, since.to_owned())
        })
        .collect();
    assert_eq!(declared, listed());
}

#[test]
fn exports_and_list_agree() {
    let path = library().join("libctrd.so");
    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&path));
    let mut exported = BTreeSet::new();
    for line in symbols.lines() {
        let (kind, symbol) = line[17..].split_once(' ').expect("a symbol has a kind and a name");
        match kind {
            // The version nodes themselves.
            "A" => assert!(symbol.starts_with("CTRD_"), "{symbol}"),
            _ => {
                let (name, version) = symbol.split_once("@@CTRD_").expect("it has a version");
                assert_eq!(kind, "T", "{name} is not a function");
                exported.insert((name.to_owned(), version.to_owned()));
            }
        }
    }
    assert_eq!(exported, listed());
}

#[test]
fn the_library_says_what_it_is_and_needs() {
    let path = library().join("libctrd.so");
    let dynamic = run(Command::new("readelf").args(["-d", "-W"]).arg(&path));
    assert!(dynamic.contains("Library soname: [libctrd.so.0]"), "{dynamic}");
    assert!(dynamic.lines().any(|l| l.contains("FLAGS_1") && l.contains("NODELETE")), "{dynamic}");
    let needed: BTreeSet<_> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    // A system library more is a dependency more, on every machine.
    let allowed =
        ["ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6", "libstdc++.so.6"];
    assert!(needed.iter().all(|library| allowed.contains(library)), "{needed:?}");
    let versions = run(Command::new("readelf").args(["-V", "-W"]).arg(&path));
    assert!(versions.contains("Name: CTRD_0.1"), "{versions}");
}
