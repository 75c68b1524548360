//! Cases that users of containerd's clients reported in public, tried with a small program that is linked
//! with the library that is shipped (`reports/try.c`).

#[path = "../../tests/ground/mod.rs"]
mod ground;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ground::image::Recipe;
use ground::{Ground, unique};

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| support::compile("ffi/tests/reports/try.c", "try", &["-D_GNU_SOURCE"]))
}

/// A namespace that only one case uses.
struct Case {
    ground: &'static Ground,
    namespace: String,
}

impl Case {
    fn new() -> Case {
        Case { ground: Ground::get(), namespace: unique("case") }
    }

    /// Runs the program, and returns what it prints.
    fn attempt(&self, arguments: &[&str]) -> String {
        let output = Command::new(program())
            .arg(self.ground.address())
            .arg(&self.namespace)
            .arg(self.ground.state_dir())
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with a command that must succeed.
    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let text = self.attempt(arguments);
        assert!(!text.contains("ERROR"), "{arguments:?}: {text}");
        text
    }

    /// Pushes an image whose command prints `word`, and pulls it. Returns its reference.
    fn pull(&self, word: &str) -> String {
        let cmd = ["/bin/sh", "-c", &format!("echo {word}")].map(str::to_owned).to_vec();
        let recipe = Recipe { cmd, ..Recipe::default() };
        let reference = self.ground.registry().push(&unique("reports/image"), "t", &recipe);
        let pulled = self.succeed(&["pull", &reference]);
        assert!(pulled.starts_with(&format!("IMAGE {reference} sha256:")), "{pulled}");
        reference
    }

    /// Gives an image another name, as other clients do.
    fn tag(&self, reference: &str, name: &str) {
        self.ground.ctr(&["-n", &self.namespace, "images", "tag", reference, name]);
    }

    fn names(&self) -> Vec<String> {
        let listed = self.succeed(&["list"]);
        listed.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

#[test]
fn an_image_is_pulled_and_run() {
    let case = Case::new();
    let reference = case.pull("works");
    assert_eq!(case.succeed(&["run", &reference]), "works\nEXIT 0\n");
    let exits = ["run", &reference, "/bin/sh", "-c", "echo other; exit 3"];
    assert_eq!(case.succeed(&exits), "other\nEXIT 3\n");
    assert!(case.attempt(&["get", "nothing:9"]).starts_with("ERROR CTRD_E_NOT_FOUND "));
}

#[test]
fn an_image_has_the_name_that_another_client_gave_it() {
    let case = Case::new();
    let reference = case.pull("short");
    let digest = case.succeed(&["get", &reference]).split_whitespace().last().unwrap().to_owned();
    let names = ["busybox:9", "corp/app:v1", "import-2026-01-01:v1", &digest];
    names.iter().for_each(|name| case.tag(&reference, name));
    let listed = case.names();
    for name in names {
        assert!(listed.iter().any(|listed| listed == name), "{name}: {listed:?}");
        assert_eq!(case.succeed(&["get", name]), format!("IMAGE {name} {digest}\n"));
        assert_eq!(case.succeed(&["run", name]), "short\nEXIT 0\n");
    }

    // The name that a short one is completed to is another image.
    let complete = "docker.io/library/busybox:9";
    case.tag(&case.pull("complete"), complete);
    assert_eq!(case.succeed(&["run", "busybox:9"]), "short\nEXIT 0\n");
    assert_eq!(case.succeed(&["run", complete]), "complete\nEXIT 0\n");
    case.succeed(&["remove", "busybox:9"]);
    let left = case.names();
    assert!(left.iter().any(|name| name == complete), "{left:?}");
    assert!(!left.iter().any(|name| name == "busybox:9"), "{left:?}");
    // Now the short name is completed.
    assert_eq!(case.succeed(&["run", "busybox:9"]), "complete\nEXIT 0\n");
    case.succeed(&["remove", "busybox:9"]);
    assert!(!case.names().iter().any(|name| name == complete));
}
