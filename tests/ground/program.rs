//! Raises the ground of the tests, runs a command on it, and takes it down again.
//!
//!     ground COMMAND [ARGUMENT...]
//!
//! In the arguments `{address}`, `{image}`, `{registry}` and `{dir}` are replaced; the command has
//! them as `CTRD_TEST_ADDRESS`, `CTRD_TEST_IMAGE`, `CTRD_TEST_REGISTRY` and `CTRD_TEST_DIR` too. Its
//! exit code is passed on.

#[path = "mod.rs"]
mod ground;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use ground::Ground;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((program, arguments)) = arguments.split_first() else {
        eprintln!("usage: ground COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let ground = Ground::raise();
    let dir = ground.dir().to_string_lossy().into_owned();
    let names = [
        ("{address}", "CTRD_TEST_ADDRESS", ground.address()),
        ("{image}", "CTRD_TEST_IMAGE", ground.image()),
        ("{registry}", "CTRD_TEST_REGISTRY", ground.registry().host()),
        ("{dir}", "CTRD_TEST_DIR", &dir),
    ];
    let replaced = |text: &String| {
        names.iter().fold(text.clone(), |text, (name, _, value)| text.replace(name, value))
    };
    let status = Command::new(replaced(program))
        .args(arguments.iter().map(replaced))
        .envs(names.iter().map(|(_, variable, value)| (variable, value)))
        .status();
    match status {
        // As a shell says it: 128 and the signal.
        Ok(status) => {
            let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => {
            eprintln!("ground: {program}: {error}");
            ExitCode::from(127)
        }
    }
}
