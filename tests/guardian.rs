//! The ground of the other tests: it has what they rely on, and nothing of it is left, however a
//! test program ends. Needs root and the packages of `tests/packages`.

mod ground;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ground::image::{Recipe, foreign_architecture};
use ground::registry::{PASSWORD, USER};
use ground::{Ground, mounts_below, processes_naming, runs, unique, wait_until};

/// Runs a program that starts a ground with a container in it, and then ends as `job` says.
fn helper(job: &str) -> (Child, PathBuf, u32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_process", "--nocapture"])
        .env("CTRD_GUARDIAN_HELPER", job)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .find_map(|line| line.unwrap().split_once("ready: ").map(|(_, rest)| rest.to_owned()))
        .expect("the helper did not come up");
    let (dir, pid) = ready.split_once(' ').unwrap();
    (child, dir.into(), pid.parse().unwrap())
}

/// Not a test. This is the program that `helper` runs.
#[test]
fn helper_process() {
    let Some(job) = std::env::var_os("CTRD_GUARDIAN_HELPER") else { return };
    let ground = Ground::get();
    let id = unique("guardian");
    ground.ctr(&["images", "pull", "--plain-http", ground.image()]);
    ground.ctr(&["run", "-d", "--null-io", ground.image(), &id, "/bin/sleep", "1000"]);
    let tasks = ground.ctr(&["tasks", "ls"]);
    let pid = tasks.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();
    println!("ready: {} {pid}", ground.dir().display());
    // Wait until the parent has looked.
    let _ = std::io::stdin().read_line(&mut String::new());
    match job.to_str().unwrap() {
        "return" => {}
        "fail" => panic!("as a failing test"),
        "exit" => std::process::exit(0),
        job => panic!("{job}"),
    }
}

fn assert_nothing_is_left(dir: &Path, container: u32, id_part: u32) {
    wait_until("the directory stays", || !dir.exists());
    assert_eq!(processes_naming(dir), []);
    assert!(!runs(container));
    assert_eq!(mounts_below(dir), Vec::<String>::new());
    let id = format!("guardian-{id_part}-");
    for place in ["/run/containerd/runc/default", "/sys/fs/cgroup/pids/default"] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            assert!(!entry.file_name().to_string_lossy().starts_with(&id), "{entry:?}");
        }
    }
}

#[test]
fn nothing_is_left_of_a_program() {
    for job in ["kill", "return", "fail", "exit"] {
        let (mut child, dir, container) = helper(job);
        assert!(runs(container));
        // containerd, a shim and the registry.
        let named = processes_naming(&dir);
        assert_eq!(named.len(), 3, "{named:?}");
        assert_ne!(mounts_below(&dir), Vec::<String>::new());
        if job == "kill" {
            child.kill().unwrap();
        }
        drop(child.stdin.take());
        let id = child.id();
        child.wait().unwrap();
        assert_nothing_is_left(&dir, container, id);
    }
}

#[test]
fn a_ground_goes_when_it_is_dropped() {
    let ground = Ground::raise();
    let dir = ground.dir().to_owned();
    ground.ctr(&["images", "pull", "--plain-http", ground.image()]);
    let private = ground.private_registry();
    assert_eq!(processes_naming(&dir).len(), 3);
    drop(private);
    drop(ground);
    assert!(!dir.exists());
    assert_eq!(processes_naming(&dir), []);
}

#[test]
fn the_image_is_what_it_is_said_to_be() {
    let ground = Ground::get();
    ground.ctr(&["images", "pull", "--plain-http", ground.image()]);
    let run = |arguments: &[&str]| {
        let id = unique("image");
        ground.ctr(&[&["run", "--rm", ground.image(), &id], arguments].concat())
    };
    assert_eq!(run(&[]), "hello from ctrd/test\n");
    let script = "cat /data/link; test -e /etc/removed || echo gone; grep -c tester /etc/group; id";
    assert_eq!(
        run(&["/bin/sh", "-c", script]),
        "hello\ngone\n4\nuid=0(root) gid=0(root) groups=0(root),4(adm),10(wheel)\n"
    );
    let holdings = ground.holdings("default");
    assert_eq!((holdings.images, holdings.snapshots, holdings.containers), (1, 3, 0));
    assert_eq!((holdings.mounts, holdings.shims, holdings.ingests, holdings.tasks), (0, 0, 0, 0));
}

#[test]
fn images_come_in_variants() {
    let ground = Ground::get();
    let registry = ground.registry();
    let pull = |arguments: &[&str]| {
        let pull = ["-a", ground.address(), "-n", "variants", "images", "pull", "--plain-http"];
        Command::new("ctr").args(pull).args(arguments).output().unwrap()
    };
    let recipe = Recipe {
        user: "tester".into(),
        entrypoint: vec!["/bin/sh".into(), "-c".into()],
        cmd: vec!["id; pwd; stat -c %s /noise/0 /noise/1".into()],
        working_dir: "/data".into(),
        more_layers: vec![300_000, 200_001],
        without_index: true,
        ..Default::default()
    };
    let reference = registry.push("ctrd/variant", "1", &recipe);
    assert!(pull(&[&reference]).status.success());
    let id = unique("variant");
    let output = ground.ctr(&["-n", "variants", "run", "--rm", &reference, &id]);
    assert!(output.starts_with("uid=1000(tester) gid=1000(tester)"), "{output}");
    assert!(output.ends_with("/data\n300000\n200001\n"), "{output}");

    let foreign = Recipe { native: false, ..Default::default() };
    let reference = registry.push("ctrd/foreign", "1", &foreign);
    let platform = format!("linux/{}", foreign_architecture());
    assert!(pull(&["--platform", &platform, &reference]).status.success());
    let images = ground.ctr(&["-n", "variants", "images", "ls"]);
    let row = images.lines().find(|row| row.starts_with(&reference)).unwrap();
    assert!(row.contains(&format!(" {platform} ")), "{row}");

    let private = ground.private_registry();
    let reference = private.push("ctrd/private", "1", &Recipe::default());
    assert!(!pull(&[&reference]).status.success());
    assert!(pull(&["--user", &format!("{USER}:{PASSWORD}"), &reference]).status.success());
}
