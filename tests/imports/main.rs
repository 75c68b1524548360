//! The rules that keep the tree easy to understand. The test reads the sources:
//!
//! - only `src/rpc/` names gRPC, a generated message or the libraries that make them;
//! - imports go one way: `modules.txt` lists what each module of the core may import;
//! - `unsafe` is in `src/sys.rs` and `ffi/` alone, each block near a `SAFETY:` line;
//! - nothing prints.

mod graph;
mod rules;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use graph::Graph;
use rules::Rules;
use words::{Word, are, words};

/// The libraries that have to do with the wire.
const WIRE: [&str; 5] = ["grpcio", "grpcio_sys", "protobuf", "futures_util", "futures"];

/// The list of the modules that each module of the core may import.
const MODULES: &str = include_str!("modules.txt");

const PRINTS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// How far above a block its `SAFETY:` line may begin.
const NEAR: usize = 8;

const MAX_SYS_LINES: usize = 200;

/// A source file: its path from the root of the repository, its text, and its words without those
/// of comments and strings.
struct Source {
    path: String,
    text: String,
    words: Vec<Word>,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into(), words: words(text) }
    }

    fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }

    /// Whether the words from `start` on are these.
    fn has(&self, start: usize, sequence: &[&str]) -> bool {
        are(&self.words, start, sequence)
    }
}

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(folder), &mut found);
    found.sort();
    found
        .iter()
        .map(|path| Source::new(path.to_str().unwrap(), &fs::read_to_string(path).unwrap()))
        .collect()
}

fn check_wire(source: &Source) -> Vec<String> {
    if source.is_under("src/rpc/") {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for (i, word) in source.words.iter().enumerate() {
        let names_wire = source.has(i, &["rpc", ":", ":", "wire"]);
        if WIRE.contains(&word.text.as_str()) || names_wire {
            broken.push(format!("{}: names {}", source.at(word.line), word.text));
        }
    }
    broken
}

fn check_unsafe(source: &Source) -> Vec<String> {
    let allowed = source.path == "src/sys.rs" || source.is_under("ffi/");
    let lines: Vec<&str> = source.text.lines().collect();
    let mut broken = Vec::new();
    for (i, word) in source.words.iter().enumerate() {
        if word.text == "unsafe" && !allowed {
            broken.push(format!("{}: unsafe", source.at(word.line)));
        }
        // Functions, types of functions and attributes have nothing to prove; what is done has.
        let proves = source.has(i, &["unsafe", "{"]) || source.has(i, &["unsafe", "impl"]);
        let near = &lines[word.line.saturating_sub(NEAR)..=word.line];
        if proves && !near.iter().any(|line| line.contains("SAFETY:")) {
            broken.push(format!("{}: unsafe without SAFETY", source.at(word.line)));
        }
    }
    if source.path == "src/sys.rs" && lines.len() >= MAX_SYS_LINES {
        broken.push(format!("{} has {} lines", source.path, lines.len()));
    }
    broken
}

fn check_prints(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (i, word) in source.words.iter().enumerate() {
        let is_macro = PRINTS.contains(&word.text.as_str()) && source.has(i + 1, &["!"]);
        let is_stream =
            ["stdout", "stderr"].iter().any(|stream| source.has(i, &["io", ":", ":", stream, "("]));
        if is_macro || is_stream {
            broken.push(format!("{}: prints", source.at(word.line)));
        }
    }
    broken
}

fn assert_none(broken: Vec<String>) {
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The sources of the core and of the C interface; both must be there.
fn all() -> Vec<Source> {
    let all: Vec<Source> = ["src", "ffi/src"].into_iter().flat_map(sources).collect();
    for path in
        ["src/lib.rs", "src/sys.rs", "src/rpc/mod.rs", "src/client/mod.rs", "ffi/src/lib.rs"]
    {
        assert!(all.iter().any(|source| source.path == path), "{path} is not there");
    }
    all
}

#[test]
fn only_rpc_names_the_wire() {
    let all = all();
    assert!(all.iter().any(|source| source.words.iter().any(|word| word.text == "grpcio")));
    assert_none(all.iter().flat_map(check_wire).collect());
}

#[test]
fn imports_go_one_way() {
    let all = all();
    let core: Vec<(&str, &str)> =
        all.iter().filter(|s| s.is_under("src/")).map(|s| (&*s.path, &*s.text)).collect();
    let graph = Graph::new("src/", &core);
    assert!(graph.imports.iter().any(|i| i.module == "client::images" && i.imported == "image"));
    assert_none(Rules::parse(MODULES).check(&graph));
}

#[test]
fn unsafe_is_where_it_may_be() {
    assert_none(all().iter().flat_map(check_unsafe).collect());
}

#[test]
fn nothing_prints() {
    assert_none(all().iter().flat_map(check_prints).collect());
}

/// The checks can fail, and fail for nothing else.
#[test]
fn a_broken_rule_is_reported() {
    let snippet = |path: &str, text: &str| Source::new(path, text);
    type Check<'a> = &'a dyn Fn(&Source) -> Vec<String>;
    let many_lines = "\n".repeat(MAX_SYS_LINES);
    let far = format!("// SAFETY: far\n{}unsafe {{ f() }}", "\n".repeat(NEAR));

    let bad: &[(Check, &str, &str)] = &[
        (&check_wire, "src/spec/mod.rs", "fn f() -> grpcio::Result<()> {}"),
        (&check_wire, "src/wait.rs", "use protobuf::Message;"),
        (&check_wire, "src/image/pull.rs", "use futures_util::Sink;"),
        (&check_wire, "src/image/pull.rs", "use crate::rpc::wire::images;"),
        (&check_wire, "ffi/src/lib.rs", "pub type T = protobuf::Error;"),
        (&check_unsafe, "src/spec/mod.rs", "// SAFETY: fine\nunsafe { f() }"),
        (&check_unsafe, "src/rpc/any.rs", "unsafe fn f() {}"),
        (&check_unsafe, "src/sys.rs", "fn f() { unsafe { g() } }"),
        (&check_unsafe, "ffi/src/lib.rs", "unsafe impl Send for T {}"),
        (&check_unsafe, "ffi/src/lib.rs", &far),
        (&check_unsafe, "src/sys.rs", &many_lines),
        (&check_prints, "src/executor.rs", "println!(\"x\");"),
        (&check_prints, "src/executor.rs", "let x = dbg!(y);"),
        (&check_prints, "ffi/src/lib.rs", "std::eprintln! {\"x\"}"),
        (&check_prints, "src/executor.rs", "write!(std::io::stderr(), \"x\");"),
        // The words after each kind of comment, string and character are read.
        (&check_wire, "src/a.rs", "/* a /* b */ c */ use grpcio;"),
        (&check_wire, "src/a.rs", "f(\"\\\\\"); use grpcio;"),
        (&check_wire, "src/a.rs", "f(r#\"\"quoted\"\"#); use grpcio;"),
        (&check_wire, "src/a.rs", "f('\"'); f('\\''); f('\\u{1F600}'); use grpcio;"),
        (&check_wire, "src/a.rs", "fn f<'a>(x: &'a str) { grpcio::f(x) }"),
    ];
    for (check, path, text) in bad {
        let broken = check(&snippet(path, text));
        assert!(!broken.is_empty(), "{path}: {text:?} passes");
        assert!(broken[0].starts_with(path), "{broken:?}");
    }

    let good: &[(Check, &str, &str)] = &[
        (&check_wire, "src/rpc/any.rs", "use grpcio::Client;"),
        (&check_wire, "src/spec/mod.rs", "// grpcio\n/* protobuf */ f(\"grpcio\", r\"protobuf\");"),
        (&check_wire, "src/spec/mod.rs", "use crate::rpc::snapshots::Mount; let grpcios = 1;"),
        (&check_unsafe, "src/sys.rs", "// SAFETY: fine\nunsafe { f() }"),
        (&check_unsafe, "ffi/src/lib.rs", "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn f() {}"),
        (&check_unsafe, "src/lib.rs", "#![deny(unsafe_code)] // unsafe { }"),
        (&check_prints, "src/executor.rs", "f(\"println!\"); // dbg!(x)\nlet stdout = x.stdout();"),
    ];
    for (check, path, text) in good {
        assert_none(check(&snippet(path, text)));
    }
}

/// A crate of these files, and a list for it: the list is right, until something is changed.
const CRATE: [(&str, &str); 8] = [
    ("src/lib.rs", "mod error; mod wire; mod noun; pub use error::Error;"),
    ("src/error.rs", "pub struct Error;"),
    ("src/wire.rs", "use crate::Error;"),
    ("src/noun/mod.rs", "mod low; mod high;\npub use high::High;\n#[cfg(test)]\nmod tests;"),
    ("src/noun/low.rs", "use crate::{error::{self, Error}, wire::Wire as Other};"),
    ("src/noun/high.rs", "fn f() { super::low::f() }"),
    ("src/noun/tests.rs", "use crate::noun;"),
    ("src/noun/folder/deep.rs", "use super::super::low;"),
];

const LIST: &str = "
# A comment.
[base]
error:
[core]
wire:
noun::low: wire
noun::folder: super::low
noun::high:
    super::low
noun: self::high
";

fn check_list(list: &str, path: &str, text: &str) -> Vec<String> {
    let mut sources = CRATE.to_vec();
    sources.retain(|(other, _)| *other != path);
    sources.push((path, text));
    Rules::parse(list).check(&Graph::new("src/", &sources))
}

#[test]
fn an_import_that_is_not_listed_is_reported() {
    for (path, text) in [
        CRATE[1],
        ("src/noun/mod.rs", "mod high;\n// low::x\nuse self::high::a;"),
        ("src/noun/low.rs", "use crate::wire; #[cfg(test)] use super::high; fn f() {}"),
        ("src/noun/low.rs", "use crate::wire; #[cfg(test)] mod t { use crate::noun; }"),
        ("src/noun/low.rs", "use crate::wire; pub(in crate::noun) fn f(high: u8) {}"),
        ("src/noun/tests.rs", "use super::*;"),
    ] {
        assert_none(check_list(LIST, path, text));
    }
    for (path, text, expected) in [
        ("src/error.rs", "use crate::wire::Wire;", "src/error.rs:1: error imports wire"),
        ("src/wire.rs", "\nfn f(_: crate::noun::Noun) {}", "src/wire.rs:2: wire imports noun"),
        ("src/wire.rs", "use crate::{Error, noun::{low::{a, b}, c}};", "wire imports noun::low"),
        ("src/wire.rs", "use crate::{Error, noun::{low::{a, b}, c}};", "wire imports noun"),
        ("src/noun/low.rs", "use super::*; use crate::wire;", "noun::low imports noun"),
        ("src/noun/low.rs", "use crate::wire; use super::high;", "noun::low imports noun::high"),
        (
            "src/noun/mod.rs",
            "mod low; use high::A; use low::f; mod high;",
            "noun imports noun::low",
        ),
        ("src/noun/high.rs", "use super::low; use super::super::wire;", "noun::high imports wire"),
        ("src/noun/low.rs", "", "noun::low does not import wire: strike it"),
        ("src/new.rs", "use crate::Error;", "the module new, which imports: error"),
    ] {
        let broken = check_list(LIST, path, text);
        assert!(broken.iter().any(|line| line.ends_with(expected)), "{path}: {text:?}: {broken:?}");
    }
}

#[test]
fn a_list_with_a_circle_is_reported() {
    let (path, text) = ("src/noun/low.rs", "use crate::wire; use super::high;");
    let circle = LIST.replace("noun::low: wire", "noun::low: wire super::high");
    let broken = check_list(&circle, path, text);
    assert_eq!(broken, ["the list has no noun::high above noun::low, which may import it"]);
    // A folder as a whole, too.
    let folder = LIST.replace("\nwire:", "\nwire: noun::*");
    let broken = check_list(&folder, "src/wire.rs", "use crate::noun::low;");
    assert_eq!(broken, ["the list has no noun::* above wire, which may import it"]);
    let more = LIST.replace("[core]", "[core]\ngone:");
    let broken = check_list(&more, path, "use crate::wire;");
    assert_eq!(broken, ["the list has gone, and there is no such module"]);
    let twice = LIST.replace("[core]", "[core]\nwire:");
    let broken = check_list(&twice, path, "use crate::wire;");
    assert_eq!(broken, ["the list has wire twice"]);
}
