//! The rules that keep the tree easy to see through, held by reading the sources:
//!
//! - only `src/rpc/` names gRPC, a generated message or what they are made with;
//! - layers import one way, and nobody imports the client;
//! - `unsafe` stands in `src/sys.rs` and `ffi/` alone, each block next to a `SAFETY:` line;
//! - nothing prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What has to do with the wire.
const WIRE: [&str; 5] = ["grpcio", "grpcio_sys", "protobuf", "futures_util", "futures"];

/// The modules at the bottom: they import each other and nothing else.
const BASE: [&str; 10] = [
    "call",
    "cancel",
    "error",
    "filter",
    "identifier",
    "message",
    "random",
    "sys",
    "timestamp",
    "wait",
];

/// The modules above the bottom and below the nouns.
const MIDDLE: [&str; 2] = ["executor", "rpc"];

/// The module above the nouns.
const TOP: &str = "client";

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

/// An identifier or a single other character, and the number of its line, from 0.
#[derive(Debug, PartialEq)]
struct Word {
    text: String,
    line: usize,
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

    /// The top-level module of the core that the file belongs to; `None` for `lib.rs`.
    fn module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let name = path.split('/').next()?.trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// Whether these words stand one after the other from `start` on.
    fn has(&self, start: usize, sequence: &[&str]) -> bool {
        sequence
            .iter()
            .enumerate()
            .all(|(i, word)| self.words.get(start + i).is_some_and(|w| w.text == *word))
    }
}

/// Splits Rust into words. Strings become `""`, characters and lifetimes go, comments too.
fn words(text: &str) -> Vec<Word> {
    let bytes: Vec<char> = text.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut all: Vec<Word> = Vec::new();
    let (mut i, mut line) = (0, 0);
    while i < bytes.len() {
        let start = i;
        let mut word = None;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < bytes.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= bytes.len() {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < bytes.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                word = Some("\"\"".to_owned());
            }
            // A character, unless it is a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += 2;
                if at(i - 1) == '\\' {
                    i += 1;
                }
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c if is_name(c) => {
                while is_name(at(i)) {
                    i += 1;
                }
                let name: String = bytes[start..i].iter().collect();
                let mut hashes = 0;
                while at(i + hashes) == '#' {
                    hashes += 1;
                }
                let raw = matches!(name.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"';
                if raw {
                    let end: String = format!("\"{}", "#".repeat(hashes));
                    let end: Vec<char> = end.chars().collect();
                    i += hashes + 1;
                    while i < bytes.len() && !bytes[i..].starts_with(&end) {
                        i += 1;
                    }
                    i += end.len();
                    word = Some("\"\"".to_owned());
                } else {
                    word = Some(name);
                }
            }
            c => {
                i += 1;
                word = (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        if let Some(text) = word {
            all.push(Word { text, line });
        }
        let end = i.min(bytes.len());
        line += bytes[start..end].iter().filter(|c| **c == '\n').count();
    }
    all
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

/// What `lib.rs` exports, and from which module: `crate::Client` names the client too.
fn exports(lib: &Source) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for (i, word) in lib.words.iter().enumerate() {
        if word.text != "use" {
            continue;
        }
        let module = &lib.words[i + 1].text;
        for item in lib.words[i + 2..].iter().take_while(|item| item.text != ";") {
            exports.insert(item.text.clone(), module.clone());
        }
    }
    exports
}

/// The modules that a file names by `crate::`, with the lines.
fn imports(source: &Source, exports: &BTreeMap<String, String>) -> BTreeSet<(String, usize)> {
    let mut found = BTreeSet::new();
    let mut add = |word: &Word| {
        let module = exports.get(&word.text).unwrap_or(&word.text);
        found.insert((module.clone(), word.line));
    };
    for i in 0..source.words.len() {
        if !source.has(i, &["crate", ":", ":"]) {
            continue;
        }
        let Some(first) = source.words.get(i + 3) else { continue };
        if first.text != "{" {
            add(first);
            continue;
        }
        // Of a group, the first name of each member.
        let mut depth = 0;
        let mut is_first = true;
        for word in &source.words[i + 3..] {
            match word.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => is_first = true,
                _ if depth == 1 && is_first => {
                    add(word);
                    is_first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// Whether a module of the core may import another.
fn may_import(module: &str, other: &str) -> bool {
    if module == other || module == TOP {
        true
    } else if BASE.contains(&module) || MIDDLE.contains(&module) {
        BASE.contains(&other)
    } else {
        other != TOP
    }
}

fn check_layers(source: &Source, exports: &BTreeMap<String, String>) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let mut broken: Vec<String> = imports(source, exports)
        .into_iter()
        .filter(|(other, _)| !may_import(module, other))
        .map(|(other, line)| format!("{}: {module} imports {other}", source.at(line)))
        .collect();
    for i in 0..source.words.len() {
        // Such a path could leave the module unseen.
        if source.has(i, &["super", ":", ":", "super"]) {
            broken.push(format!("{}: super::super", source.at(source.words[i].line)));
        }
    }
    broken
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
fn layers_import_one_way() {
    let all = all();
    let exports = exports(all.iter().find(|source| source.path == "src/lib.rs").unwrap());
    assert_eq!(exports["Client"], "client");
    assert!(all.iter().any(|source| !imports(source, &exports).is_empty()));
    assert_none(all.iter().flat_map(|source| check_layers(source, &exports)).collect());
}

#[test]
fn unsafe_stands_where_it_may() {
    assert_none(all().iter().flat_map(check_unsafe).collect());
}

#[test]
fn nothing_prints() {
    assert_none(all().iter().flat_map(check_prints).collect());
}

/// The checks can fail, and do so for nothing else.
#[test]
fn what_breaks_a_rule_is_seen() {
    let exports = exports(&Source::new(
        "src/lib.rs",
        "pub use client::{Client, Version};\npub use error::Error;\npub use image::Image;",
    ));
    let layers = |source: &Source| check_layers(source, &exports);
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
        (&layers, "src/error.rs", "use crate::rpc::Cx;"),
        (&layers, "src/wait.rs", "use crate::executor::Executor;"),
        (&layers, "src/rpc/tasks.rs", "use crate::container::ContainerConfig;"),
        (&layers, "src/rpc/tasks.rs", "use crate::{error::Error, image, sys};"),
        (&layers, "src/rpc/tasks.rs", "use crate::{error::{Error, Result}, spec::Sources};"),
        (&layers, "src/rpc/tasks.rs", "fn f() -> crate::Image { todo!() }"),
        (&layers, "src/executor.rs", "use crate::context::Context;"),
        (&layers, "src/executor.rs", "use crate::rpc::Cx;"),
        (&layers, "src/image/mod.rs", "use crate::client::Client;"),
        (&layers, "src/image/mod.rs", "fn f(_: &crate::Client) {}"),
        (&layers, "src/image/pull.rs", "use super::super::client::Client;"),
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
        // What follows each kind of comment, string and character is read.
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
        (&layers, "src/error.rs", "use crate::message::Message; /// [`crate::Client`]\nfn f() {}"),
        (&layers, "src/wait.rs", "use crate::{call::Limits, error::{Error, Result}};"),
        (&layers, "src/rpc/tasks.rs", "use crate::sys; use crate::Error; use super::any;"),
        (&layers, "src/image/mod.rs", "use crate::{content, context::Context, rpc, snapshot};"),
        (&layers, "src/client/mod.rs", "use crate::{image, container};"),
        (&layers, "src/lib.rs", "pub use client::Client;"),
        (&check_unsafe, "src/sys.rs", "// SAFETY: fine\nunsafe { f() }"),
        (&check_unsafe, "ffi/src/lib.rs", "#[unsafe(no_mangle)] pub unsafe extern \"C\" fn f() {}"),
        (&check_unsafe, "src/lib.rs", "#![deny(unsafe_code)] // unsafe { }"),
        (&check_prints, "src/executor.rs", "f(\"println!\"); // dbg!(x)\nlet stdout = x.stdout();"),
    ];
    for (check, path, text) in good {
        assert_none(check(&snippet(path, text)));
    }
}
