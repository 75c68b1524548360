//! Starts the ground of the tests, runs a command with it, and removes it again.
//!
//!     ground [--clean] COMMAND [ARGUMENT...]
//!
//! `{address}`, `{image}`, `{registry}` and `{dir}` are replaced in the arguments. The command also
//! has them as `CTRD_TEST_ADDRESS`, `CTRD_TEST_IMAGE`, `CTRD_TEST_REGISTRY` and `CTRD_TEST_DIR`.
//! Its exit code is passed on. With `--clean`, it is a failure if the command leaves anything
//! except images: a container, a task, a lease, a mount, a FIFO, a shim. In any case, it is a
//! failure if anything of the ground is left afterwards.

#[path = "mod.rs"]
mod ground;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use ground::{Ground, mounts_below, processes_naming};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let clean = arguments.first().is_some_and(|first| first == "--clean");
    if clean {
        arguments.remove(0);
    }
    let Some((program, arguments)) = arguments.split_first() else {
        eprintln!("usage: ground [--clean] COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let ground = Ground::raise();
    let dir = ground.dir().to_owned();
    let mut code = run(&ground, program, arguments);
    if clean {
        for namespace in ground.ctr(&["namespaces", "ls", "-q"]).lines() {
            let left = ground.holdings(namespace);
            if !left.only_images() {
                eprintln!("ground: {program} left in the namespace {namespace}: {left:?}");
                code = code.max(1);
            }
        }
    }
    drop(ground);
    let processes = processes_naming(&dir);
    let mounts = mounts_below(&dir);
    if dir.exists() || !processes.is_empty() || !mounts.is_empty() {
        eprintln!("ground: {} is left: {processes:?} {mounts:?}", dir.display());
        code = code.max(1);
    }
    ExitCode::from(code)
}

/// Runs the command, and returns its exit code.
fn run(ground: &Ground, program: &str, arguments: &[String]) -> u8 {
    let dir = ground.dir().to_string_lossy();
    let names = [
        ("{address}", "CTRD_TEST_ADDRESS", ground.address()),
        ("{image}", "CTRD_TEST_IMAGE", ground.image()),
        ("{registry}", "CTRD_TEST_REGISTRY", ground.registry().host()),
        ("{dir}", "CTRD_TEST_DIR", &dir),
    ];
    let replaced = |text: &str| {
        names.iter().fold(text.to_owned(), |text, (name, _, value)| text.replace(name, value))
    };
    let status = Command::new(replaced(program))
        .args(arguments.iter().map(|argument| replaced(argument)))
        .envs(names.iter().map(|(_, variable, value)| (variable, value)))
        .status();
    match status {
        // As a shell reports it: 128 plus the signal.
        Ok(status) => {
            let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            u8::try_from(code).unwrap_or(u8::MAX)
        }
        Err(error) => {
            eprintln!("ground: {program}: {error}");
            127
        }
    }
}
