//! No panic crosses the C API: every export of the list is called while every guard panics.

mod support;

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::io::Read;
use std::os::fd::AsRawFd;

use support::header::prototypes;
use support::{cargo_build, read, root, run};

/// More arguments than any export has.
#[rustfmt::skip]
type Export = extern "C" fn(
    usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize,
) -> usize;

fn symbol(library: *mut c_void, name: &str) -> *mut c_void {
    let c_name = CString::new(name).unwrap();
    // SAFETY: the library is open, and the name is a string.
    let found = unsafe { libc::dlsym(library, c_name.as_ptr()) };
    assert!(!found.is_null(), "{name} is not exported");
    found
}

#[test]
fn every_export_stops_panics() {
    cargo_build(&["-p", "ctrd-panic"]);
    let path = root().join("target/release/libctrd_panic.so");
    let panic_status: i32 = support::header::macros(&read("include/ctrd.h"))
        .into_iter()
        .find(|(name, _)| name == "CTRD_E_PANIC")
        .and_then(|(_, value)| value.trim_matches(['(', ')']).parse().ok())
        .expect("the header defines CTRD_E_PANIC");
    let returns: BTreeMap<_, _> = prototypes(&read("include/ctrd.h"))
        .into_iter()
        .map(|function| {
            // Of a status that an accessor reads, 0 is the default.
            let can_fail = function.parameters.iter().any(|parameter| parameter == "err");
            (function.name, (function.returns, can_fail))
        })
        .collect();

    // From the library itself, so that an export that is missing in the list is called as well.
    let listing = run(std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(&path));
    let exports: Vec<_> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| *name != "ctrd_test_panic")
        .collect();
    assert!(exports.len() > 80, "only {} exports are found", exports.len());

    let c_path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a string; the library's constructors are gRPC's own.
    let library = unsafe { libc::dlopen(c_path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!library.is_null(), "{} cannot be loaded", path.display());
    // SAFETY: it is declared so in panic_test.rs.
    let panics: extern "C" fn(c_int) -> c_int =
        unsafe { std::mem::transmute(symbol(library, "ctrd_test_panic")) };

    let mut silence = Silence::begin();
    let mut failures = Vec::new();
    for name in exports {
        let before = panics(1);
        // SAFETY: surplus arguments are ignored (System V ABI), and all exports take NULL and 0. If an
        // export returns nothing, the register of the result is not looked at.
        let export: Export = unsafe { std::mem::transmute(symbol(library, name)) };
        let result = export(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        let caught = panics(0) - before;
        // Results are of 32 bits, or as wide as the register.
        let low = u32::try_from(result & 0xffff_ffff).unwrap().cast_signed();
        let (returned, can_fail) = returns.get(name).cloned().unzip();
        let right = match returned.as_deref() {
            Some("ctrd_status_t") if can_fail == Some(true) => low == panic_status,
            Some("void") => true,
            // 0 is a descriptor, and a signal.
            Some("int32_t") if name.ends_with("_fd") || name == "ctrd_signal_number" => low == -1,
            Some("int32_t" | "uint32_t" | "ctrd_status_t") => low == 0,
            // SAFETY: it is NULL or a text.
            Some("const char *") => result == 0 || unsafe { *(result as *const u8) } == 0,
            Some(_) => result == 0,
            None => false,
        };
        if caught != 1 || !right {
            failures.push(format!("{name}: {caught} panics caught, gave {result:#x}"));
        }
    }
    let printed = silence.end();
    assert!(failures.is_empty(), "without a guard:\n{}", failures.join("\n"));
    assert_eq!(printed, "", "something was printed to stderr");
}

/// Stderr, caught in a pipe.
struct Silence {
    reader: std::io::PipeReader,
    stderr: c_int,
}

impl Silence {
    fn begin() -> Silence {
        let (reader, writer) = std::io::pipe().unwrap();
        // SAFETY: the descriptors are open.
        let stderr = unsafe {
            let stderr = libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3);
            libc::dup2(writer.as_raw_fd(), 2);
            stderr
        };
        Silence { reader, stderr }
    }

    fn end(&mut self) -> String {
        // SAFETY: the descriptors are open. The pipe's writing end is closed with it.
        unsafe { libc::dup2(self.stderr, 2) };
        let mut printed = String::new();
        self.reader.read_to_string(&mut printed).unwrap();
        printed
    }
}
