//! What the tests of the library share: where things are, and what the header says.
#![allow(dead_code)]

pub mod generate;
pub mod header;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// The workspace's directory.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ffi is in the workspace").to_owned()
}

/// The committed header.
pub fn header_path() -> PathBuf {
    root().join("include/ctrd.h")
}

/// Reads a file of the workspace.
pub fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs a command, and gives what it wrote to stdout. It must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output is text")
}

/// Builds a part of the workspace as it is now.
pub fn cargo_build(what: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--release", "--quiet"]).args(what);
    // What cargo has set for this test would make build scripts that look at it run again.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    run(&mut cargo);
}

/// The file of a C program of the tests, or of its source if that is generated.
pub fn program(name: &str) -> PathBuf {
    let file = root().join("target/release/c").join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    file
}

/// Compiles a C program as a reader of the header does, and links it with the library as it is shipped.
pub fn compile(source: impl AsRef<Path>, name: &str, flags: &[&str]) -> PathBuf {
    let (lib, program) = (library(), program(name));
    run(Command::new("cc")
        .current_dir(root())
        .args(["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Iinclude"])
        .args(flags)
        .arg(source.as_ref())
        .arg(format!("-L{}", lib.display()))
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .args(["-lctrd", "-o"])
        .arg(&program));
    program
}

/// Builds the library as it is shipped, and gives the directory that it is in.
pub fn library() -> PathBuf {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        cargo_build(&["-p", "ctrd-ffi"]);
        run(Command::new("sh").current_dir(root()).arg("ffi/link.sh"));
    });
    root().join("target/release/lib")
}
