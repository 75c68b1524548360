//! Makes `include/ctrd.h`: a section for each noun of the library, as cbindgen writes it, and the text
//! around them.

use std::fmt::Write as _;

use super::header::{prototypes, sized_structs};
use super::{read, root};

/// The sections, each by the files that declare it; the last of them has its title. They are in an order
/// in which every type but a handle is declared before it is used.
const SECTIONS: &[&[&str]] = &[
    &["status"],
    &["abi/errors", "error"],
    &["abi/times"],
    &["abi/callbacks"],
    &["cancel"],
    &["call"],
    &["client"],
    &["version"],
    &["progress"],
    &["message"],
    &["io"],
    &["process", "container"],
    &["container_info"],
    &["exec"],
    &["control"],
    &["stats"],
    &["recovery"],
    &["hook"],
    &["abi/queues", "queue"],
    &["image"],
    &["pull"],
    &["snapshot"],
    &["spec"],
    &["daemon"],
    &["log"],
];

/// The macros of the section "Times". They are built from casts, because pedantic C89 has no 64-bit
/// constants.
const TIMES: &str = r"/** As a timeout: wait without an end. As a grace period: no SIGKILL. */
#define CTRD_FOREVER ((int64_t)(~(uint64_t)0 >> 1))
/** As a timeout: do not wait at all. */
#define CTRD_POLL (-CTRD_FOREVER - 1)
/**
 * As a timeout: the time until a deadline, where deadline and now are milliseconds of the same clock. If
 * no time is left it is -1, a deadline that has passed; 0 would be the default.
 */
#define CTRD_REMAINING(deadline, now) \
    ((deadline) > (now) ? (int64_t)(deadline) - (int64_t)(now) : (int64_t)-1)

";

/// The width that the text of the header keeps to.
const WIDTH: usize = 100;

/// The header as it should be.
pub fn header() -> String {
    let sections: String = SECTIONS.iter().map(|files| section(files)).collect();
    let (handles, sections) = handles(&sections);
    let opening = read("ffi/header.txt").trim_end().replace("    @THREADS@", &threads(&sections));
    let mut text = String::from("/*\n");
    for line in opening.lines() {
        text += format!(" * {line}").trim_end();
        text.push('\n');
    }
    text += " *\n * Generated from ffi/src by \"make header\". Licence: Apache-2.0.\n */\n";
    text + &frame(&(handles + &sections))
}

/// Takes the declarations of the handles out of the sections, and puts them together.
fn handles(sections: &str) -> (String, String) {
    let mut handles = String::from(
        "\n/* Handles -----------------------------------------------------------------------------------------\n\
         \x20*\n * A handle points to something that only the library can read. The sections below describe them.\n */\n\n",
    );
    let mut rest: Vec<&str> = Vec::new();
    for line in sections.lines() {
        let name = line.strip_prefix("typedef struct ").and_then(|line| line.strip_suffix(';'));
        if name.is_none() {
            rest.push(line);
            continue;
        }
        let start =
            rest.iter().rposition(|line| line.starts_with("/**")).expect("it has a comment");
        for comment in rest.split_off(start) {
            let _ = writeln!(handles, "{comment}");
        }
        let _ = writeln!(handles, "{line}");
    }
    let mut text = rest.join("\n") + "\n";
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    (handles, text)
}

/// Guards, versions and linkage around the sections.
fn frame(sections: &str) -> String {
    let (major, minor, patch) = (
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    );
    let part = |text: &str| text.parse::<u32>().expect("a version is of numbers");
    let number = part(major) * 10000 + part(minor) * 100 + part(patch);
    format!(
        r#"#ifndef CTRD_H
#define CTRD_H

#include <stddef.h>
#include <stdint.h>

/** The header's version; ctrd_library_version_number() gives the library's. */
#define CTRD_VERSION_MAJOR {major}
#define CTRD_VERSION_MINOR {minor}
#define CTRD_VERSION_PATCH {patch}
/** The header's version as one number: major * 10000 + minor * 100 + patch. */
#define CTRD_VERSION_NUMBER {number}
/** The header's version as text. */
#define CTRD_VERSION_STRING "{major}.{minor}.{patch}"

/* Makes the compiler warn if a program ignores the status of a call. A program that does not want that
 * defines it as nothing before it includes this file. */
#ifndef CTRD_CHECK
#if defined(__GNUC__)
#define CTRD_CHECK __attribute__((warn_unused_result))
#else
#define CTRD_CHECK
#endif
#endif

#ifdef __cplusplus
extern "C" {{
#endif
{sections}
#ifdef __cplusplus
}}
#endif

#endif /* CTRD_H */
"#
    )
}

/// What some files of the library declare.
fn section(files: &[&str]) -> String {
    let config = cbindgen::Config::from_file(root().join("ffi/cbindgen.toml"))
        .unwrap_or_else(|e| panic!("cbindgen.toml: {e}"));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(root().join(format!("ffi/src/{file}.rs")));
    }
    let mut written = Vec::new();
    builder.generate().unwrap_or_else(|e| panic!("{files:?}: {e}")).write(&mut written);
    let written = String::from_utf8(written).expect("the header is text");
    let name = files.last().expect("a section has a file");
    let macros = if *name == "abi/times" { TIMES } else { "" };
    let declared = grouped(&with_initialisers(&tidied(written.trim())));
    format!("{}\n{macros}{declared}", heading(name))
}

/// Says the same in fewer lines: comments that fit on one, prototypes that fill theirs, and types by
/// their names alone. Negative constants get parentheses.
fn tidied(text: &str) -> String {
    let mut result = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let line = if line.starts_with("typedef struct ") {
            line.to_owned()
        } else {
            line.replace("struct ctrd_", "ctrd_")
        };
        if line.trim() == "/**" {
            let mut comment = vec![line];
            while !comment.last().is_some_and(|line| line.ends_with("*/")) {
                comment.push(lines.next().expect("a comment ends").to_owned());
            }
            let indent = comment[0].len() - "/**".len();
            let one_line = format!(
                "{}/** {} */",
                " ".repeat(indent),
                comment[1].trim_start_matches([' ', '*'])
            );
            if comment.len() == 3 && one_line.len() <= WIDTH {
                comment = vec![one_line];
            }
            result += &comment.join("\n");
            result.push('\n');
        } else if let Some((name, value)) =
            line.strip_prefix("#define ").and_then(|rest| rest.split_once(" -"))
        {
            let _ = writeln!(result, "#define {name} (-{value})");
        } else if line.contains("ctrd_") && line.contains('(') && !line.starts_with(' ') {
            let mut whole = line;
            while !whole.ends_with(';') {
                whole.push(' ');
                whole += &lines.next().expect("a declaration ends").trim().replace("struct ", "");
            }
            result += &filled(&whole);
        } else {
            let _ = writeln!(result, "{line}");
        }
    }
    result
}

/// A prototype on as few lines as it needs.
fn filled(prototype: &str) -> String {
    let check = if prototype.contains("ctrd_error_t **err)") { "CTRD_CHECK " } else { "" };
    let whole = format!("{check}{prototype}");
    if whole.len() <= WIDTH {
        return whole + "\n";
    }
    let open = whole.rfind('(').expect("a prototype has parameters") + 1;
    let mut text = whole[..open].to_owned();
    let mut line = String::from("\n   ");
    for parameter in whole[open..].split_inclusive(',') {
        if line.len() + parameter.trim().len() > WIDTH {
            text += &line;
            line = String::from("\n   ");
        }
        line.push(' ');
        line += parameter.trim();
    }
    text + &line + "\n"
}

/// Joins constants of one kind into blocks.
fn grouped(text: &str) -> String {
    let kind = |line: &str| {
        let name = line.strip_prefix("#define ")?;
        name.split('_').nth(1).map(str::to_owned)
    };
    let lines: Vec<_> = text.lines().collect();
    let mut result = String::new();
    for (number, line) in lines.iter().enumerate() {
        let around = |offset: usize| lines.get(number + offset).copied().unwrap_or_default();
        let before = number.checked_sub(1).map_or("", |before| lines[before]);
        let joins = line.is_empty()
            && around(1).starts_with("/** ")
            && kind(before).is_some()
            && kind(before) == kind(around(2));
        if !joins {
            let _ = writeln!(result, "{line}");
        }
    }
    result
}

/// A section's heading: the comment that its file begins with.
fn heading(name: &str) -> String {
    let source = read(&format!("ffi/src/{name}.rs"));
    let mut lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start);
    let title = lines.next().unwrap_or_else(|| panic!("{name}.rs begins with its section's title"));
    let rest: String =
        lines.map(|line| format!("\n *{}{line}", if line.is_empty() { "" } else { " " })).collect();
    let end = if rest.is_empty() { " */" } else { "\n */" };
    format!(
        "\n/* {title} {}{rest}{end}\n",
        "-".repeat(WIDTH - title.len() - 4 - if rest.is_empty() { 3 } else { 0 })
    )
}

/// Puts the macro that initialises it behind each struct that begins with its size.
fn with_initialisers(text: &str) -> String {
    let mut result = text.to_owned();
    for (name, values) in sized_structs(text) {
        let end = format!("}} {name};\n");
        let macro_name = name.trim_end_matches("_t").to_uppercase() + "_INIT";
        let mut initialiser = format!(
            "{end}\n/** Initialises a {name}: everything is the default. */\n\
             #define {macro_name} \\\n    {{ sizeof({name})"
        );
        let mut width = name.len();
        for value in values {
            width += value.len() + ", ".len();
            let limit = WIDTH - 30;
            initialiser += if width > limit { ", \\\n      " } else { ", " };
            width = if width > limit { 0 } else { width };
            initialiser += value;
        }
        initialiser += " }\n";
        result = result.replace(&end, &initialiser);
    }
    result
}

/// The table of the threads that may call each function, made from the functions' comments.
fn threads(sections: &str) -> String {
    let classes = [
        ("any", "From any thread, at the same time as any other function on the same handle:"),
        ("signal", "Like these, and also from a signal handler:"),
        ("owner", "From one thread, when no other thread uses the handle any more:"),
    ];
    let prototypes = prototypes(sections);
    let mut text = String::new();
    let mut listed = 0;
    for (class, meaning) in classes {
        let tag = format!("Threads: {class}.");
        let names: Vec<_> = prototypes
            .iter()
            .filter(|prototype| prototype.comment.contains(&tag))
            .map(|prototype| prototype.name.as_str())
            .collect();
        listed += names.len();
        let _ = writeln!(text, "    {meaning}");
        let mut line = String::from("       ");
        for name in names {
            if line.len() + name.len() + 1 > WIDTH - 4 {
                let _ = writeln!(text, "{line}");
                line = String::from("       ");
            }
            line.push(' ');
            line += name;
        }
        let _ = writeln!(text, "{line}");
    }
    assert_eq!(listed, prototypes.len(), "each function says from which threads it may be called");
    text.trim_end().to_owned()
}
