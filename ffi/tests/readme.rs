//! The README's C program is the example of that name, and runs as it is said there.

mod support;

use std::process::Command;

use support::{cargo_build, library, read, root, run};

/// The README's program.
fn program(readme: &str) -> &str {
    let (_, rest) = readme.split_once("<!-- ffi/examples/hello.c -->\n```c\n").expect("its place");
    rest.split_once("```").expect("its end").0
}

/// The command among the README's indented lines that begins so.
fn command<'a>(readme: &'a str, beginning: &str) -> &'a str {
    let line = readme.lines().find(|line| line.trim_start().starts_with(beginning));
    line.unwrap_or_else(|| panic!("README has no line with {beginning}")).trim()
}

#[test]
fn the_program_is_the_example_and_runs_as_printed() {
    let readme = read("README.md");
    let program = program(&readme);
    assert_eq!(program, read("ffi/examples/hello.c"));

    library();
    cargo_build(&["--example", "ground"]);
    let dir = std::env::temp_dir().join(format!("ctrd-readme-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("hello.c"), program).unwrap();
    for name in ["include", "target"] {
        std::os::unix::fs::symlink(root().join(name), dir.join(name)).unwrap();
    }
    let start = command(&readme, "LD_LIBRARY_PATH=");
    let (start, _arguments) = start.split_once("./hello").expect("it starts the program");
    let script = format!(
        "set -e\n{compile}\n\
         for example in run watch; do\n\
         cc -Iinclude {root}/ffi/examples/$example.c -Ltarget/release/lib -lctrd -o $example\n\
         done\n\
         {start} ./run \"$1\" \"$2\" /bin/true >&2\n\
         mkfifo input\n{start} ./watch \"$1\" default <input >watched &\nexec 3>input\n\
         until grep -q '^watching default$' watched; do kill -0 $!; sleep 0.1; done\n\
         {start} ./hello \"$1\" \"$2\"\n\
         until grep -q '^/tasks/delete ' watched; do kill -0 $!; sleep 0.1; done\n\
         exec 3>&-\nwait $!\n\
         grep -q '^/tasks/exit .*\"exit_status\":3' watched\n",
        compile = command(&readme, "cc "),
        root = root().display(),
    );
    let mut ground = Command::new(root().join("target/release/examples/ground"));
    ground.args(["--clean", "sh", "-c", &script, "sh", "{address}", "{image}"]).current_dir(&dir);
    let printed = ground.output();
    std::fs::remove_dir_all(&dir).unwrap();
    let printed = printed.unwrap();
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "hello\nexit code 3\n", "{printed:?}");
}

#[test]
fn the_examples_compile_without_a_warning() {
    for example in ["hello", "run", "watch", "epolld"] {
        for compiler in ["gcc", "clang"] {
            run(Command::new(compiler).current_dir(root()).args([
                "-std=c99",
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Werror",
                "-Iinclude",
                "-fsyntax-only",
                &format!("ffi/examples/{example}.c"),
            ]));
        }
    }
}
