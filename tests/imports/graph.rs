//! Which module of a crate imports which, read from its sources.
//!
//! A module is a file. It imports another one by a path that begins with `crate`, `super`, `self` or
//! the name of a child. What only tests import does not count: a test may use whatever it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{Word, are, words};

/// An import: the module, the module that it imports, and the place in the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub module: String,
    pub imported: String,
    pub at: String,
}

/// The modules of a crate and their imports.
pub struct Graph {
    pub modules: BTreeSet<String>,
    pub imports: BTreeSet<Import>,
}

struct File {
    path: String,
    module: Vec<String>,
    words: Vec<Word>,
    /// The modules that it declares, and whether each is for tests alone.
    children: Vec<(String, bool)>,
}

impl Graph {
    /// The graph of the sources, each a path below `root` and its text. `lib.rs` is the root module:
    /// what it exports is known by its own module.
    pub fn new(root: &str, sources: &[(&str, &str)]) -> Graph {
        let files: Vec<File> =
            sources.iter().filter_map(|(path, text)| File::new(root, path, text)).collect();
        let mut tests = BTreeSet::new();
        for file in &files {
            for (child, _) in file.children.iter().filter(|(_, is_test)| *is_test) {
                tests.insert([&file.module[..], std::slice::from_ref(child)].concat());
            }
        }
        let is_test = |module: &[String]| (1..=module.len()).any(|n| tests.contains(&module[..n]));
        let files: Vec<File> = files.into_iter().filter(|file| !is_test(&file.module)).collect();
        let known: BTreeSet<Vec<String>> = files.iter().map(|file| file.module.clone()).collect();
        let exports = files.iter().find(|file| file.module.is_empty()).map(File::exports);
        let exports = exports.unwrap_or_default();

        let mut imports = BTreeSet::new();
        for file in files.iter().filter(|file| !file.module.is_empty()) {
            for (path, line) in file.paths() {
                let path = match path.first().and_then(|first| exports.get(first)) {
                    Some(module) => module,
                    None => &path,
                };
                let longest = (1..=path.len()).rev().find(|n| known.contains(&path[..*n]));
                let Some(imported) = longest.map(|n| path[..n].join("::")) else { continue };
                let module = file.module.join("::");
                let at = format!("{}:{}", file.path, line + 1);
                if imported != module {
                    imports.insert(Import { module, imported, at });
                }
            }
        }
        let modules = known.iter().filter(|m| !m.is_empty()).map(|m| m.join("::")).collect();
        Graph { modules, imports }
    }
}

impl File {
    fn new(root: &str, path: &str, text: &str) -> Option<File> {
        let below = path.strip_prefix(root)?.strip_suffix(".rs")?;
        let mut module: Vec<String> =
            below.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        let (words, children) = without_tests(&words(text));
        Some(File { path: path.to_owned(), module, words, children })
    }

    /// The names that the root module exports, and the path of the module that has each.
    fn exports(&self) -> BTreeMap<String, Vec<String>> {
        let mut exports = BTreeMap::new();
        for i in 0..self.words.len() {
            if !are(&self.words, i, &["pub", "use"]) {
                continue;
            }
            let (mut paths, _) = paths_at(&self.words, i + 2);
            for path in &mut paths {
                if let Some(name) = path.pop() {
                    exports.insert(name, path.clone());
                }
            }
        }
        exports
    }

    /// The paths from the crate's root that the file names, with their lines.
    fn paths(&self) -> Vec<(Vec<String>, usize)> {
        let mut all = Vec::new();
        for (i, word) in self.words.iter().enumerate() {
            // Not the middle of a path, nor of `pub(in crate::module)`.
            let begins = are(&self.words, i + 1, &[":", ":"])
                && !(i > 1 && are(&self.words, i - 2, &[":", ":"]))
                && !(i > 0 && are(&self.words, i - 1, &["in"]));
            if !begins {
                continue;
            }
            let mut base = self.module.clone();
            match word.text.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                child if self.children.iter().any(|(c, _)| c == child) => {
                    base.push(child.to_owned());
                }
                _ => continue,
            }
            let (paths, _) = paths_at(&self.words, i + 3);
            for path in paths {
                let (mut base, mut rest) = (base.clone(), &path[..]);
                while rest.first().is_some_and(|first| first == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                base.extend_from_slice(rest);
                all.push((base, word.line));
            }
        }
        all
    }
}

/// The paths that begin at a word: one, or several if a group follows. Gives the position behind them
/// too.
fn paths_at(words: &[Word], start: usize) -> (Vec<Vec<String>>, usize) {
    let text = |i: usize| words.get(i).map_or("", |word| word.text.as_str());
    let is_name = |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let (mut path, mut i) = (Vec::new(), start);
    loop {
        match text(i) {
            "{" => {
                let mut all = Vec::new();
                i += 1;
                while !matches!(text(i), "}" | "") {
                    let (members, after) = paths_at(words, i);
                    all.extend(members.into_iter().map(|member| [&path[..], &member].concat()));
                    i = after;
                    // Behind a member: a comma, or the other name of it.
                    while !matches!(text(i), "," | "}" | "") {
                        i += 1;
                    }
                    i += usize::from(text(i) == ",");
                }
                return (all, i + 1);
            }
            name if is_name(name) && name != "self" => path.push(name.to_owned()),
            _ => return (vec![path], i + 1),
        }
        if !are(words, i + 1, &[":", ":"]) {
            return (vec![path], i + 1);
        }
        i += 3;
    }
}

/// The words without the items that are for tests alone, and the modules that are declared.
fn without_tests(all: &[Word]) -> (Vec<Word>, Vec<(String, bool)>) {
    let (mut words, mut children) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < all.len() {
        let is_test = are(all, i, &["#", "[", "cfg", "(", "test", ")", "]"]);
        let end = if is_test { end_of_item(all, i + 7) } else { i + 1 };
        let module = (i..end).find(|i| all[*i].text == "mod" && are(all, i + 2, &[";"]));
        if let Some(module) = module {
            children.push((all[module + 1].text.clone(), is_test));
        }
        if !is_test {
            words.push(all[i].clone());
        }
        i = end;
    }
    (words, children)
}

/// The position behind the item that begins at a word.
fn end_of_item(words: &[Word], start: usize) -> usize {
    let mut depth = 0;
    for (i, word) in words.iter().enumerate().skip(start) {
        match word.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(word.text.as_str(), "}" | ";") {
            return i + 1;
        }
    }
    words.len()
}
