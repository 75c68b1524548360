//! Every function with a `ctrd_call_t` gives the same whether a thread waits for it or a queue receives
//! its completion: status, error and result. The calls are generated from the header. `both_ways.c.in`
//! says what each function is called with; it does not compile if a function is missing there.

mod support;

use std::fmt::Write as _;
use std::process::Command;

use support::header::{Prototype, prototypes};
use support::{cargo_build, compile, program, read, root, run};

/// The functions that cannot be submitted, and the argument because of which they refuse it.
const NEVER: &[(&str, &str)] = &[("ctrd_add_hook", "callback"), ("ctrd_queue_next", "queue")];

/// An argument of a function that is no output and no call.
fn argument(function: &Prototype, position: usize) -> String {
    let (kind, name) = (function.types[position].as_str(), function.parameters[position].as_str());
    let pointee = kind.trim_start_matches("const ").trim_end_matches(" *");
    let noun = pointee.trim_start_matches("ctrd_").trim_end_matches("_t");
    match kind {
        "ctrd_error_t **" => "&err".into(),
        "ctrd_message_fn" => "on_nothing".into(),
        _ if kind.ends_with("_fn") || kind == "void *" => "NULL".into(),
        // Several functions have a parameter of this name, each of its own type.
        _ if noun.ends_with("_config") => format!("with.{noun}"),
        _ => format!("with.{name}"),
    }
}

/// A function that can be submitted: how it is called, and what becomes of its result.
struct Operation<'a> {
    function: &'a Prototype,
    /// The output's position.
    output: Option<usize>,
}

impl<'a> Operation<'a> {
    fn new(function: &'a Prototype) -> Operation<'a> {
        let output = (0..function.parameters.len()).find(|position| function.is_output(*position));
        Operation { function, output }
    }

    fn name(&self) -> &str {
        self.function.name.trim_start_matches("ctrd_")
    }

    /// A call of it, with these values as the call and the output.
    fn call(&self, call: &str, out: &str) -> String {
        let arguments: Vec<_> = (0..self.function.parameters.len())
            .map(|position| match self.function.types[position].as_str() {
                "const ctrd_call_t *" => call.to_owned(),
                _ if Some(position) == self.output => out.to_owned(),
                _ => argument(self.function, position),
            })
            .collect();
        format!("{}({})", self.function.name, arguments.join(", "))
    }

    /// Its result: the type, the function that takes it out of a completion, the function that writes it
    /// down, and the one that frees it.
    fn result(&self, takers: &[&Prototype]) -> Option<(String, String, String, String)> {
        let kind = self.function.types[self.output?].strip_suffix('*').unwrap().trim();
        let comment = &self.function.comment;
        let name = &self.function.name;
        if ["uint32_t", "ctrd_process_t"].contains(&kind) {
            let (noun, accessors) = match kind {
                "uint32_t" => ("number", &["pid"][..]),
                _ => ("process", &["pid", "generation"][..]),
            };
            for accessor in accessors {
                let accessor = format!("ctrd_message_{accessor}()");
                assert!(comment.contains(&accessor), "{name} does not name {accessor}");
            }
            let take = format!("out = {noun}_of(message)");
            return Some((kind.to_owned(), take, noun.into(), "(void)".into()));
        }
        let pointer = format!("{kind}*");
        let taker = takers
            .iter()
            .find(|taker| taker.types[1].replace(' ', "") == pointer.replace(' ', ""))
            .unwrap_or_else(|| panic!("no function takes the result of {name}"));
        let taker = &taker.name;
        assert!(comment.contains(&format!("{taker}()")), "{name} does not name {taker}()");
        let noun = kind.trim_start_matches("ctrd_").trim_end_matches(" *").trim_end_matches("_t");
        let (noun, free) = match noun {
            "char" => ("string", "ctrd_string_free".to_owned()),
            noun => (noun, format!("ctrd_{noun}_free")),
        };
        assert_eq!(*taker, format!("ctrd_message_take_{noun}"), "it has the name of its handle");
        Some((kind.to_owned(), format!("OK({taker}(message, &out, &err))"), noun.into(), free))
    }

    fn code(&self, takers: &[&Prototype]) -> String {
        let name = self.name();
        let result = self.result(takers);
        let (mut declared, mut taken, mut described) =
            (String::new(), String::new(), String::new());
        if let Some((kind, take, noun, free)) = &result {
            let zero = match kind.as_str() {
                "uint32_t" => "0",
                "ctrd_process_t" => "{0, 0, 0}",
                _ => "NULL",
            };
            declared = format!("    {kind} out = {zero};\n\n");
            taken =
                format!("            if (outcome->status == CTRD_OK)\n                {take};\n");
            described = format!(
                "    if (outcome->status == CTRD_OK) {{\n        describe_{noun}(outcome, out);\n        \
                 {free}(out);\n    }}\n"
            );
        }
        let mut refusals = String::new();
        if let Some(position) = self.output {
            let (parameter, kind) =
                (&self.function.parameters[position], self.function.types[position].as_str());
            let place = format!("({kind})&err");
            let call = self.call("&submitted", &place);
            let _ = writeln!(refusals, "    REFUSES(\"{parameter}\", {call});");
        }
        let call = self.call("&polled", "NULL");
        let _ = writeln!(refusals, "    REFUSES(\"timeout_ms\", {call});");
        let call = self.call("&over", "NULL");
        let _ = writeln!(refusals, "    FAILS(CTRD_E_TIMEOUT, {call});");
        format!(
            "static void call_{name}(struct outcome *outcome, int is_submitted)\n{{\n{declared}    \
             if (!is_submitted) {{\n        returned(outcome, {blocking});\n    \
             }} else if (accepted(outcome, {submitted})) {{\n        \
             ctrd_message_t *message = completion(outcome);\n\n{taken}            \
             ctrd_message_free(message);\n    }}\n{described}}}\n\n\
             static void refuse_{name}(void)\n{{\n{refusals}}}\n\n",
            blocking = self.call("&with.call", "&out"),
            submitted = self.call("&submitted", "NULL"),
        )
    }
}

#[test]
fn a_submitted_call_gives_what_a_blocking_one_gives() {
    let header = prototypes(&read("include/ctrd.h"));
    let takers: Vec<_> =
        header.iter().filter(|function| function.name.starts_with("ctrd_message_take_")).collect();
    let (mut functions, mut runs) = (String::new(), String::new());
    let mut count = 0;
    for function in header.iter().filter(|function| function.takes_a_call()) {
        let operation = Operation::new(function);
        let name = operation.name();
        if let Some((_, argument)) = NEVER.iter().find(|(never, _)| *never == function.name) {
            let call = operation.call("&submitted", "NULL");
            let _ = writeln!(runs, "    with.client = client;");
            let _ = writeln!(runs, "    prepare_{name}(0);");
            let _ = writeln!(runs, "    REFUSES(\"{argument}\", {call});");
            continue;
        }
        functions += &operation.code(&takers);
        let _ = writeln!(
            runs,
            "    both_ways(\"{name}\", prepare_{name}, call_{name}, refuse_{name}, finish_{name});"
        );
        count += 1;
    }
    assert!(count > 20, "only {count} functions are found");

    cargo_build(&["--example", "ground"]);
    let source = program("both_ways.c");
    let text = read("ffi/tests/both_ways.c.in")
        .replace("@FUNCTIONS@", functions.trim_end())
        .replace("@RUNS@", runs.trim_end());
    std::fs::write(&source, text).unwrap();
    let flags = ["-D_GNU_SOURCE", "-pthread", "-Iffi/tests/c"];
    let binary = compile(&source, "both_ways", &flags);
    let said = run(Command::new(root().join("target/release/examples/ground")).arg(&binary));
    assert!(said.contains(&format!("{count} functions, both ways")), "{said}");
}
