//! The list of what each module may import, and what breaks it.

use std::collections::BTreeSet;

use super::graph::Graph;

/// A line of the list: a module, and what it may import.
struct Rule<'a> {
    module: &'a str,
    is_base: bool,
    /// Names of the list. One that ends with `::*` means a module and all modules below it.
    allowed: Vec<String>,
}

/// The list, from the bottom up.
pub struct Rules<'a>(Vec<Rule<'a>>);

impl<'a> Rules<'a> {
    /// Reads a list: the format is described at its top.
    pub fn parse(text: &'a str) -> Rules<'a> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut is_base = false;
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let names = match line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))
            {
                Some((module, names)) if !line.starts_with(' ') => {
                    rules.push(Rule { module, is_base, allowed: Vec::new() });
                    names
                }
                _ if line.starts_with('[') => {
                    is_base = line == "[base]";
                    continue;
                }
                _ => line,
            };
            let rule = rules.last_mut().expect("a module comes first");
            let parent = rule.module.rsplit_once("::").map_or("", |(parent, _)| parent);
            rule.allowed.extend(names.split_whitespace().map(|name| match name.split_once("::") {
                Some(("super", rest)) => format!("{parent}::{rest}"),
                Some(("self", rest)) => format!("{}::{rest}", rule.module),
                _ => name.to_owned(),
            }));
        }
        Rules(rules)
    }

    /// The line for a module: its own, or that of the nearest folder.
    fn position(&self, module: &str) -> Option<usize> {
        let mut name = module;
        loop {
            if let Some(position) = self.0.iter().position(|rule| rule.module == name) {
                return Some(position);
            }
            (name, _) = name.rsplit_once("::")?;
        }
    }

    /// The rules that the imports of a crate break.
    pub fn check(&self, graph: &Graph) -> Vec<String> {
        let mut broken = Vec::new();
        let mut used = BTreeSet::new();
        for import in &graph.imports {
            let from = self.position(&import.module).map(|at| &self.0[at]);
            let to = self.position(&import.imported).map(|at| &self.0[at]);
            let (Some(from), Some(to)) = (from, to) else { continue };
            if from.module == to.module || (to.is_base && !from.is_base) {
                continue;
            }
            match from.allowed.iter().find(|name| matches(name, to.module)) {
                Some(name) => drop(used.insert((from.module, name.as_str()))),
                None => {
                    broken.push(format!("{}: {} imports {}", import.at, from.module, to.module))
                }
            }
        }
        for module in graph.modules.iter().filter(|module| self.position(module).is_none()) {
            let own = graph.imports.iter().filter(|import| import.module == *module);
            let names: BTreeSet<&str> = own.map(|import| &*import.imported).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(" ");
            broken.push(format!(
                "the list does not have the module {module}, which imports: {names}"
            ));
        }
        for (position, rule) in self.0.iter().enumerate() {
            let exists = graph.modules.iter().any(|m| self.position(m) == Some(position));
            if self.0[..position].iter().any(|other| other.module == rule.module) {
                broken.push(format!("the list has {} twice", rule.module));
            } else if !exists {
                broken.push(format!("the list has {}, and there is no such module", rule.module));
            }
            for name in &rule.allowed {
                // So there can be no circle.
                let all = self.0.iter().filter(|other| matches(name, other.module)).count();
                let above = self.0[..position].iter().filter(|other| matches(name, other.module));
                if all == 0 || above.count() < all {
                    let module = rule.module;
                    broken.push(format!(
                        "the list has no {name} above {module}, which may import it"
                    ));
                } else if !used.contains(&(rule.module, name)) {
                    broken.push(format!("{} does not import {name}: strike it", rule.module));
                }
            }
        }
        broken
    }
}

fn matches(name: &str, module: &str) -> bool {
    match name.strip_suffix("::*") {
        Some(folder) => module == folder || module.starts_with(&format!("{folder}::")),
        None => module == name,
    }
}
