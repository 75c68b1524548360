//! The runtime specification of a container: containerd's default for Linux, and what an image's
//! configuration adds to it. Specifications are edited as JSON, so that members which we do not know
//! survive.

mod default;
mod image_config;
mod user;

use std::fmt::Display;

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::rootfs::Rootfs;
use crate::rpc::snapshots::Mount;
use image_config::ImageConfig;
use user::User;

/// Where the shim mounts a container's root file system: a directory of the bundle.
const ROOT_PATH: &str = "rootfs";

/// The search path where an image sets no environment at all (containerd `oci.defaultUnixEnv`).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of an image's `/etc/passwd` or `/etc/group` is read.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// containerd's default Linux specification as JSON, with the cgroups path `/<namespace>/<id>`. It
/// has no command: set `process.args`, or give a command where the container is created.
pub fn default_spec(namespace: &str, id: &str) -> Result<String> {
    identifier::check("namespace", namespace)?;
    identifier::check("id", id)?;
    Ok(default::spec(namespace, id).to_string())
}

/// What the specification of a new container is made from.
pub(crate) struct Sources<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
    /// The caller's own specification (checked by [`parse`]); the default where there is none.
    pub(crate) spec: Option<Value>,
    /// The configuration of the image (`config.json` of the image specification), where there is one.
    /// It is applied to the default specification, not to the caller's own.
    pub(crate) image_config: Option<&'a Value>,
    /// The command: instead of the image's `Cmd`, or of the caller's specification.
    pub(crate) args: &'a [String],
    pub(crate) terminal: bool,
    /// The root file system as the snapshotter mounts it: for users and groups. It is read only where
    /// they have to be looked up.
    pub(crate) rootfs: &'a [Mount],
}

/// Parses a caller's specification: JSON, an object, with an object `process`. What of it we read
/// later has the type it should have.
pub(crate) fn parse(json: &str) -> Result<Value> {
    let spec: Value = serde_json::from_str(json).map_err(bad_spec)?;
    let members = spec.as_object().ok_or_else(|| bad_spec("is not a JSON object"))?;
    let process = match members.get("process") {
        Some(Value::Object(process)) => process,
        Some(_) => return Err(bad_spec("process is not an object")),
        None => return Err(bad_spec("has no process")),
    };
    for name in ["args", "env"] {
        match process.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    check_text(&format!("process.{name}[{i}]"), item)?;
                }
            }
            Some(_) => return Err(bad_spec(format!("process.{name} is not an array"))),
        }
    }
    if let Some(cwd) = process.get("cwd") {
        check_text("process.cwd", cwd)?;
    }
    for name in ["root", "linux"] {
        if !matches!(members.get(name), None | Some(Value::Null | Value::Object(_))) {
            return Err(bad_spec(format!("{name} is not an object")));
        }
    }
    Ok(spec)
}

fn check_text(member: &str, value: &Value) -> Result<()> {
    match value.as_str() {
        None => Err(bad_spec(format!("{member} is not a string"))),
        Some(text) if text.contains('\0') => Err(bad_spec(format!("{member} holds a NUL"))),
        Some(_) => Ok(()),
    }
}

fn bad_spec(why: impl Display) -> Error {
    Error::invalid("spec_json", why)
}

/// Makes the specification of a new container.
///
/// A caller's own is kept as it is, but for what has to fit the rest of the request: `root.path` and
/// `linux.cgroupsPath` are set where they are missing, `process.args` where a command is given, and
/// `process.terminal` to what the task is created with, as containerd fails where the two differ.
pub(crate) fn build(mut sources: Sources<'_>) -> Result<Value> {
    if let Some(i) = sources.args.iter().position(|arg| arg.contains('\0')) {
        return Err(Error::invalid("args", format!("the string at index {i} holds a NUL")));
    }
    match sources.spec.take() {
        Some(spec) => fit(spec, &sources),
        None => from_default(&sources),
    }
}

/// Whether a specification's string is absent: empty is the same to a runtime written in Go.
fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn fit(mut spec: Value, sources: &Sources<'_>) -> Result<Value> {
    if is_absent(&spec["root"]["path"]) {
        spec["root"]["path"] = ROOT_PATH.into();
    }
    // Without one, runc would put containers of one id from two namespaces into the same cgroup. A
    // specification that says nothing of Linux at all is left so.
    if spec["linux"].is_object() && is_absent(&spec["linux"]["cgroupsPath"]) {
        spec["linux"]["cgroupsPath"] = default::cgroups_path(sources.namespace, sources.id).into();
    }
    let process = &mut spec["process"];
    if !sources.args.is_empty() {
        process["args"] = sources.args.into();
    }
    if process["args"].as_array().is_none_or(Vec::is_empty) {
        return Err(bad_spec("process.args names no command, and args is empty"));
    }
    if sources.terminal || !process["terminal"].is_null() {
        process["terminal"] = sources.terminal.into();
    }
    Ok(spec)
}

fn from_default(sources: &Sources<'_>) -> Result<Value> {
    identifier::check("namespace", sources.namespace)?;
    identifier::check("id", sources.id)?;
    let mut spec = default::spec(sources.namespace, sources.id);
    let mut config = match sources.image_config {
        Some(document) => {
            let config = ImageConfig::parse(document)?;
            spec["process"]["user"] = run_as(&config.user, sources)?;
            config
        }
        None => ImageConfig::default(),
    };

    let process = &mut spec["process"];
    process["cwd"] = config.cwd().into();
    let mut args = config.entrypoint;
    args.extend(if sources.args.is_empty() { config.cmd } else { sources.args.to_vec() });
    if args.is_empty() {
        let why = match sources.image_config {
            Some(_) => "is empty, and the image names no command",
            None => "is empty, and there is no image to take a command from",
        };
        return Err(Error::invalid("args", why));
    }
    process["args"] = args.into();
    if config.env.is_empty() {
        config.env.push(PATH.into());
    }
    if sources.terminal {
        process["terminal"] = true.into();
        // As containerd's `oci.WithTTY`, but an image that sets it knows better.
        if !config.env.iter().any(|entry| entry.starts_with("TERM=")) {
            config.env.push("TERM=xterm".into());
        }
    }
    process["env"] = config.env.into();
    Ok(spec)
}

/// The `process.user` of an image's `User`.
fn run_as(user: &str, sources: &Sources<'_>) -> Result<Value> {
    let mut opened = None;
    let mut files = |path: &str| {
        let rootfs = match opened {
            Some(ref rootfs) => rootfs,
            None => opened.insert(Rootfs::open(sources.rootfs)?),
        };
        rootfs.read(path, MAX_ACCOUNTS)
    };
    let found = match user::resolve(user, &mut files) {
        // An image that names no user needs no file: where its root file system cannot be opened
        // from here, root goes without the groups that may list it.
        Err(e) if user.is_empty() && cannot_open(&e) => {
            log::warn!("{}: the groups of root are not looked up: {e}", sources.id);
            User { uid: 0, gid: 0, additional_gids: vec![0] }
        }
        found => found?,
    };
    Ok(json!({ "uid": found.uid, "gid": found.gid, "additionalGids": found.additional_gids }))
}

fn cannot_open(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::NotFound
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use oci_spec::runtime::Spec;

    use super::*;

    fn sources<'a>() -> Sources<'a> {
        Sources {
            namespace: "ns",
            id: "c1",
            spec: None,
            image_config: None,
            args: &[],
            terminal: false,
            rootfs: &[],
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A caller's specification, as `create` hands it on.
    fn own(spec: Value) -> Option<Value> {
        Some(parse(&spec.to_string()).unwrap())
    }

    #[test]
    fn the_default_is_a_specification() {
        let json = default_spec("ns", "c1").unwrap();
        let spec: Spec = serde_json::from_str(&json).unwrap();
        assert_eq!(spec.version(), "1.0.2");
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.cgroups_path().as_ref().unwrap().to_str(), Some("/ns/c1"));
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 5);
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 14);
        assert!(capabilities.inheritable().as_ref().is_none_or(|set| set.is_empty()));
        // Every member is one that the types know: nothing is misspelt.
        let known = serde_json::to_value(&spec).unwrap();
        let ours: Value = serde_json::from_str(&json).unwrap();
        assert_contains(&known, &ours, "");
    }

    /// Whether every member of `part` is in `whole`. A set's order is its own.
    fn assert_contains(whole: &Value, part: &Value, at: &str) {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                for (name, value) in part {
                    let at = format!("{at}.{name}");
                    let whole = whole.get(name).unwrap_or_else(|| panic!("{at} is unknown"));
                    assert_contains(whole, value, &at);
                }
            }
            (Value::Array(whole), Value::Array(part)) => {
                assert_eq!(whole.len(), part.len(), "{at}");
                if part.iter().all(Value::is_string) {
                    assert!(part.iter().all(|item| whole.contains(item)), "{at}");
                } else {
                    for (i, (whole, part)) in whole.iter().zip(part).enumerate() {
                        assert_contains(whole, part, &format!("{at}[{i}]"));
                    }
                }
            }
            (whole, part) => assert_eq!(whole, part, "{at}"),
        }
    }

    #[test]
    fn names_are_checked() {
        for (namespace, id, argument) in [("a/b", "c", "namespace"), ("a", "../c", "id")] {
            let error = default_spec(namespace, id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(argument), "{error}");
            let args = words(&["x"]);
            let error = build(Sources { namespace, id, args: &args, ..sources() }).unwrap_err();
            assert!(error.message().starts_with(argument), "{error}");
        }
    }

    #[test]
    fn what_is_no_specification_is_refused() {
        for (json, part) in [
            ("", "line 1 column 0"),
            ("{\n \"process\": ]", "line 2 column 13"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("{}", "has no process"),
            (r#"{"process": null}"#, "process is not an object"),
            (r#"{"process": {"args": "sh"}}"#, "process.args is not an array"),
            (r#"{"process": {"args": ["sh", 1]}}"#, "process.args[1] is not a string"),
            (r#"{"process": {"args": ["a\u0000"]}}"#, "process.args[0] holds a NUL"),
            (r#"{"process": {"env": ["a\u0000"]}}"#, "process.env[0] holds a NUL"),
            (r#"{"process": {"cwd": 1}}"#, "process.cwd is not a string"),
            (r#"{"process": {}, "root": "/"}"#, "root is not an object"),
            (r#"{"process": {}, "linux": []}"#, "linux is not an object"),
            (&"[".repeat(100_000), "recursion limit"),
        ] {
            let error = parse(json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with("spec_json: "), "{error}");
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn a_callers_specification_is_kept() {
        let given = json!({
            "ociVersion": "1.0.2",
            "process": { "args": ["sh"], "cwd": "/", "new": { "member": [1, 2.5, "x"] } },
            "root": { "path": "/elsewhere", "readonly": true },
            "linux": { "cgroupsPath": "system.slice:x:y" },
            "vendor": { "unknown": null, "large": 18_446_744_073_709_551_615u64 },
        });
        // Of an image only the files are used, not the configuration.
        let image = json!({ "config": { "Env": ["A=1"], "User": "4294967296" } });
        let sources = Sources { spec: own(given.clone()), image_config: Some(&image), ..sources() };
        assert_eq!(build(sources).unwrap(), given);
    }

    #[test]
    fn a_callers_specification_is_made_to_fit() {
        let args = words(&["ls", "-l"]);
        let spec = own(json!({
            "process": { "args": ["sh"], "terminal": true, "env": ["A=1"] },
            "root": { "readonly": true },
        }));
        let built = build(Sources { spec, args: &args, ..sources() }).unwrap();
        let expected = json!({
            "process": { "args": ["ls", "-l"], "terminal": false, "env": ["A=1"] },
            "root": { "path": "rootfs", "readonly": true },
        });
        assert_eq!(built, expected);

        let spec = own(json!({ "process": {}, "root": null, "linux": { "cgroupsPath": "" } }));
        let built = build(Sources { spec, args: &args, terminal: true, ..sources() }).unwrap();
        let expected = json!({
            "process": { "args": ["ls", "-l"], "terminal": true },
            "root": { "path": "rootfs" },
            "linux": { "cgroupsPath": "/ns/c1" },
        });
        assert_eq!(built, expected);
    }

    #[test]
    fn no_command_is_an_error() {
        let image = json!({ "config": { "Env": ["A=1"] } });
        for (spec, image, start) in [
            (None, None, "args: is empty, and there is no image"),
            (None, Some(&image), "args: is empty, and the image names"),
            (own(json!({ "process": {} })), None, "spec_json: process.args names no command"),
            (own(json!({ "process": { "args": [] } })), Some(&image), "spec_json: process.args"),
        ] {
            let sources = Sources { spec, image_config: image, ..sources() };
            let error = build(sources).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(start), "{error}");
        }
        let nul = words(&["sh", "a\0b"]);
        for spec in [None, own(json!({ "process": { "args": ["sh"] } }))] {
            let error = build(Sources { spec, args: &nul, ..sources() }).unwrap_err();
            assert_eq!(error.message(), "args: the string at index 1 holds a NUL");
        }
    }

    #[test]
    fn an_images_configuration_is_applied() {
        let image = json!({ "config": {
            "Env": ["A=1", "PATH=/bin"],
            "Entrypoint": ["/entry", "-v"],
            "Cmd": ["serve"],
            "WorkingDir": "srv",
            "User": "12:34",
        } });
        let image = Some(&image);
        let spec = build(Sources { image_config: image, ..sources() }).unwrap();
        let process = &spec["process"];
        assert_eq!(process["args"], json!(["/entry", "-v", "serve"]));
        assert_eq!(process["env"], json!(["A=1", "PATH=/bin"]));
        assert_eq!(process["cwd"], "/srv");
        assert_eq!(process["user"], json!({ "uid": 12, "gid": 34, "additionalGids": [34] }));
        assert_eq!(process["terminal"], Value::Null);

        let args = words(&["--help"]);
        let sources = Sources { image_config: image, args: &args, terminal: true, ..sources() };
        let spec = build(sources).unwrap();
        assert_eq!(spec["process"]["args"], json!(["/entry", "-v", "--help"]));
        assert_eq!(spec["process"]["env"], json!(["A=1", "PATH=/bin", "TERM=xterm"]));
        assert_eq!(spec["process"]["terminal"], true);
    }

    #[test]
    fn environments_that_say_less_or_more() {
        let args = words(&["sh"]);
        let none = json!({ "config": { "User": "0:0" } });
        let own_term = json!({ "config": { "User": "0:0", "Env": ["TERM=vt100"] } });
        for (image, terminal, expected) in [
            (None, false, json!([PATH])),
            (None, true, json!([PATH, "TERM=xterm"])),
            (Some(&none), false, json!([PATH])),
            (Some(&own_term), true, json!(["TERM=vt100"])),
        ] {
            let sources = Sources { image_config: image, args: &args, terminal, ..sources() };
            assert_eq!(build(sources).unwrap()["process"]["env"], expected);
        }
    }

    #[test]
    fn a_root_that_cannot_be_opened_matters_only_where_a_name_is_looked_up() {
        let args = words(&["sh"]);
        let other = [Mount { kind: "ext4".into(), source: "/dev/none".into(), ..Mount::default() }];
        let user = |user: &str| {
            let image = json!({ "config": { "User": user } });
            let sources =
                Sources { image_config: Some(&image), args: &args, rootfs: &other, ..sources() };
            build(sources).map(|spec| spec["process"]["user"].clone())
        };
        let root = json!({ "uid": 0, "gid": 0, "additionalGids": [0] });
        assert_eq!(user("").unwrap(), root);
        assert_eq!(user("1:2").unwrap()["uid"], 1);
        assert_eq!(user("app").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(user("4294967296").unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }

    /// A bundle of the root file system and the specification, which runc runs. Goes with the test.
    struct Bundle(PathBuf);

    impl Bundle {
        fn new(name: &str) -> Bundle {
            let name = format!("ctrd-spec-{}-{name}", std::process::id());
            let bundle = Bundle(std::env::temp_dir().join(name));
            for directory in ["rootfs/bin", "rootfs/etc", "rootfs/srv/app", "state"] {
                fs::create_dir_all(bundle.0.join(directory)).unwrap();
            }
            fs::copy("/bin/busybox", bundle.0.join("rootfs/bin/busybox")).unwrap();
            bundle.write("passwd", "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n");
            bundle.write("group", "root:x:0:root\napp:x:1001:\nops:x:50:app\nwheel:x:10:root\n");
            bundle
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.join("rootfs/etc").join(file), text).unwrap();
        }

        /// The root as the snapshotter `native` would give it.
        fn mounts(&self) -> [Mount; 1] {
            let source = self.0.join("rootfs").to_str().unwrap().to_owned();
            [Mount { kind: "bind".into(), source, ..Mount::default() }]
        }

        /// What the container writes.
        fn run(&self, namespace: &str, id: &str, spec: &Value) -> String {
            fs::write(self.0.join("config.json"), spec.to_string()).unwrap();
            let output = Command::new("runc")
                .arg("--root")
                .arg(self.0.join("state"))
                .args(["run", "--bundle"])
                .args([self.0.as_os_str(), id.as_ref()])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            // runc takes the container's own cgroup away, not the one above it.
            let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap();
            for hierarchy in hierarchies.map(|entry| entry.unwrap().path()) {
                let _ = fs::remove_dir(hierarchy.join(namespace));
            }
            let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(namespace));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "runc: {} {errors}", output.status);
            assert_eq!(errors, "");
            String::from_utf8(output.stdout).unwrap()
        }
    }

    impl Drop for Bundle {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn runc_runs_the_default_with_an_images_configuration() {
        let bundle = Bundle::new("image");
        let namespace = format!("ctrd-image-{}", std::process::id());
        let script = "b=/bin/busybox; $b id -u; $b id -g; $b id -G; $b pwd; echo $A $PATH; echo $0;
            $b grep NoNewPrivs /proc/self/status; $b cat /proc/self/cgroup; ulimit -n";
        for (user, ids) in [
            ("", "0\n0\n0 10\n"),
            ("app", "1000\n1001\n1001 50\n"),
            ("1000:ops", "1000\n50\n50\n"),
            ("4242", "4242\n0\n0\n"),
            ("7:8", "7\n8\n8\n"),
        ] {
            let image = json!({ "config": {
                "Entrypoint": ["/bin/busybox", "sh", "-c"],
                "Cmd": [script, "zero"],
                "Env": ["A=from-the-image", "PATH=/opt"],
                "WorkingDir": "srv/app",
                "User": user,
            } });
            let sources = Sources {
                namespace: &namespace,
                image_config: Some(&image),
                rootfs: &bundle.mounts(),
                ..sources()
            };
            let output = bundle.run(&namespace, "c1", &build(sources).unwrap());
            let (told, rest) = output.split_at(ids.len());
            assert_eq!(told, ids, "{user:?}");
            let start = "/srv/app\nfrom-the-image /opt\nzero\nNoNewPrivs:\t1\n";
            assert!(rest.starts_with(start), "{rest}");
            assert!(rest.contains(&format!(":/{namespace}/c1\n")), "{rest}");
            assert!(rest.ends_with("\n1024\n"), "{rest}");
        }
    }

    #[test]
    fn runc_runs_a_callers_specification() {
        let bundle = Bundle::new("own");
        let namespace = format!("ctrd-own-{}", std::process::id());
        let args = words(&["/bin/busybox", "sh", "-c", "echo $MARK"]);
        let mut spec: Value =
            serde_json::from_str(&default_spec(&namespace, "c2").unwrap()).unwrap();
        spec["process"]["env"] = json!(["MARK=mine"]);
        spec["unknown"] = json!({ "to": "runc" });
        spec.as_object_mut().unwrap().remove("root");
        spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        let sources =
            Sources { namespace: &namespace, id: "c2", spec: own(spec), args: &args, ..sources() };
        assert_eq!(bundle.run(&namespace, "c2", &build(sources).unwrap()), "mine\n");
    }
}
