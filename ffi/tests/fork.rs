//! No call hangs in a child: every export of the list is called in hundreds of children of a process
//! whose threads keep the library busy, and log through a hook that has a lock.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use support::header::{Prototype, prototypes};
use support::{cargo_build, compile, program, read, root, run};

/// An argument of a function, by its type and its name.
fn argument(function: &Prototype, position: usize) -> String {
    let (kind, name) = (function.types[position].as_str(), function.parameters[position].as_str());
    let pointee = kind.trim_start_matches("const ").trim_end_matches(" *");
    let struct_name = pointee.trim_start_matches("ctrd_").trim_end_matches("_t");
    match kind {
        "ctrd_error_t **" => "&err".into(),
        _ if kind.ends_with("**") => format!("&({}){{NULL}}", kind.strip_suffix('*').unwrap()),
        "const char *" if name == "exec_id" => "NULL".into(),
        "const char *" => "\"x\"".into(),
        "const char *const *" | "void *" => "NULL".into(),
        "char *" => "string".into(),
        "ctrd_counters_t *" => "&(ctrd_counters_t)CTRD_COUNTERS_INIT".into(),
        "uint32_t *" | "uint64_t *" => format!("&({pointee}){{0}}"),
        "ctrd_time_t *" => "&(ctrd_time_t){0, 0, 0}".into(),
        "ctrd_process_t *" => "&(ctrd_process_t){0, 0, 0}".into(),
        "size_t" if name == "size" => {
            format!("sizeof({})", function.types[0].strip_suffix(" *").unwrap())
        }
        "size_t" | "uint32_t" | "uint64_t" | "ctrd_status_t" if name != "level" => "0".into(),
        "uint32_t" => "CTRD_LOG_TRACE".into(),
        _ if kind.ends_with("_fn") => {
            format!("on_{}", struct_name.trim_end_matches("_fn"))
        }
        // A struct to be initialised.
        _ if name != "cancel" && function.name.ends_with("_init") => {
            format!("&({pointee}){}_INIT", pointee.trim_end_matches("_t").to_uppercase())
        }
        _ if struct_name.ends_with("_config") || ["io", "call"].contains(&struct_name) => {
            format!("&{struct_name}")
        }
        "ctrd_daemon_t *" | "const ctrd_daemon_t *" => "daemon_".into(),
        // A handle, which the program has under this name.
        _ if kind.starts_with("ctrd_") || kind.starts_with("const ctrd_") => struct_name.into(),
        other => panic!("{}: an argument of type {other}", function.name),
    }
}

/// The call of an export, and the check of its outcome. What can be submitted is submitted as well.
fn call(function: &Prototype) -> String {
    let arguments: Vec<_> =
        (0..function.parameters.len()).map(|position| argument(function, position)).collect();
    let name = &function.name;
    let call = format!("{name}({})", arguments.join(", "));
    let mut checks = format!("    *step = \"{name}\";\n");
    let checked = match function.parameters.last() {
        Some(last) if last == "err" && function.takes_a_call() => {
            let submitted: Vec<_> = (0..arguments.len())
                .map(|position| match function.types[position].as_str() {
                    "const ctrd_call_t *" => "&submitted",
                    _ if function.is_output(position) => "NULL",
                    _ => &arguments[position],
                })
                .collect();
            let submitted = format!("{name}({})", submitted.join(", "));
            let _ = writeln!(checks, "    must_be_forked({submitted}, \"{name}\");");
            format!("must_be_forked({call}, \"{name}\")")
        }
        Some(last) if last == "err" => format!("may_work({call}, \"{name}\")"),
        _ => format!("(void){call}"),
    };
    checks + &format!("    {checked};\n")
}

#[test]
fn no_export_hangs_in_a_child() {
    let header = prototypes(&read("include/ctrd.h"));
    let functions: BTreeMap<_, _> =
        header.iter().map(|function| (function.name.as_str(), function)).collect();
    let list = read("ffi/symbols");
    let names: Vec<_> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert!(names.len() > 80, "only {} exports are listed", names.len());
    // Handles are freed when everything else was called.
    let (frees, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| name.ends_with("_free"));
    let mut calls = String::new();
    for name in others.into_iter().chain(frees) {
        let function = functions.get(name).unwrap_or_else(|| panic!("{name} is not in the header"));
        let _ = write!(calls, "{}", call(function));
    }

    cargo_build(&["--example", "ground"]);
    let source = program("every_export.c");
    let text = read("ffi/tests/fork.c.in").replace("@CALLS@", calls.trim_end());
    std::fs::write(&source, text).unwrap();
    let flags = ["-D_GNU_SOURCE", "-pthread", "-Iffi/tests/c"];
    let binary = compile(&source, "every_export", &flags);
    let said = run(Command::new(root().join("target/release/examples/ground")).arg(&binary));
    assert!(said.contains("children called every export"), "{said}");
}
