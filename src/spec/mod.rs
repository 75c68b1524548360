//! The runtime specification of a container: containerd's default for Linux, and the image's
//! configuration applied to it or to the caller's own. Specifications are edited as JSON, so that members
//! which this library does not know survive.

mod default;
mod exec;
mod image_config;
mod user;

use std::fmt::Display;

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::identifier;
use crate::rootfs::Rootfs;
use crate::rpc::snapshots::Mount;
pub(crate) use exec::{ExecOptions, exec_process, parse_process};
use image_config::{ImageConfig, merge_env};
use user::User;

/// The search path if the image sets no environment at all (containerd `oci.defaultUnixEnv`).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How large an image's `/etc/passwd` or `/etc/group` may be, in bytes.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// containerd's default specification for Linux as JSON, with the cgroups path `/<namespace>/<id>`. It
/// has no command: set `process.args`, or give a command when the container is created.
///
/// ```
/// let json = ctrd::default_spec("example", "web")?;
/// let mut spec: serde_json::Value = serde_json::from_str(&json).unwrap();
/// spec["process"]["args"] = serde_json::json!(["httpd", "-f"]);
/// let config = ctrd::ContainerConfig::new("web").image("busybox").spec_json(spec.to_string());
/// # let _ = config;
/// # Ok::<(), ctrd::Error>(())
/// ```
pub fn default_spec(namespace: &str, id: &str) -> Result<String> {
    identifier::check("namespace", namespace)?;
    identifier::check("id", id)?;
    default::spec(namespace, id).map(|spec| spec.to_string())
}

/// The inputs of a container's specification.
pub(crate) struct SpecOptions<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
    /// The caller's own specification, checked by [`parse`]. `None` means the default.
    pub(crate) spec: Option<Value>,
    /// The image's configuration (`config.json` of the image specification), if there is an image.
    pub(crate) image_config: Option<&'a Value>,
    /// Whether the image's configuration is applied to the caller's specification too. It is always
    /// applied to the default.
    pub(crate) apply_image: bool,
    /// The caller's command.
    pub(crate) args: &'a [String],
    pub(crate) terminal: bool,
    /// The directory that is the root file system, if it is not made of mounts.
    pub(crate) directory: Option<&'a str>,
    /// Returns the mounts of the image's root file system. It is called only if a user or a group has
    /// to be looked up.
    pub(crate) mounts: &'a dyn Fn() -> Result<Vec<Mount>>,
}

/// Parses a caller's specification: a JSON object with an object `process`. The members that this
/// library reads later have the right type.
pub(crate) fn parse(json: &str) -> Result<Value> {
    let members = parse_object("spec_json", json)?;
    let process = match members.get("process") {
        Some(Value::Object(process)) => process,
        Some(_) => return Err(bad_spec("process is not an object")),
        None => return Err(bad_spec("has no process")),
    };
    check_process(process, "process.", &|why| bad_spec(why))?;
    for name in ["root", "linux"] {
        if !matches!(members.get(name), None | Some(Value::Null | Value::Object(_))) {
            return Err(bad_spec(format!("{name} is not an object")));
        }
    }
    Ok(Value::Object(members))
}

/// Parses an argument that is a JSON object.
pub(crate) fn parse_object(argument: &str, json: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Error::invalid(argument, "is not a JSON object")),
        Err(e) => Err(Error::invalid(argument, e)),
    }
}

/// Checks the type of the members of a process that this library reads. `prefix` stands before their
/// names in an error, which `bad` makes.
fn check_process(
    process: &Map<String, Value>,
    prefix: &str,
    bad: &dyn Fn(String) -> Error,
) -> Result<()> {
    let check_text = |member: &str, value: &Value| match value.as_str() {
        None => Err(bad(format!("{prefix}{member} is not a string"))),
        Some(text) if text.contains('\0') => Err(bad(format!("{prefix}{member} contains a NUL"))),
        Some(_) => Ok(()),
    };
    for name in ["args", "env"] {
        match process.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    check_text(&format!("{name}[{i}]"), item)?;
                }
            }
            Some(_) => return Err(bad(format!("{prefix}{name} is not an array"))),
        }
    }
    if let Some(cwd) = process.get("cwd") {
        check_text("cwd", cwd)?;
    }
    match process.get("user") {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(_) => Err(bad(format!("{prefix}user is not an object"))),
    }
}

fn bad_spec(why: impl Display) -> Error {
    Error::invalid("spec_json", why)
}

/// Makes the specification of a new container. Fails if no command is given anywhere.
pub(crate) fn build(options: SpecOptions<'_>) -> Result<Value> {
    let (is_own, has_image) = (options.spec.is_some(), options.image_config.is_some());
    let applied = has_image && options.apply_image;
    let spec = without_command_check(options)?;
    if has_command(&spec["process"]["args"]) {
        return Ok(spec);
    }
    Err(match (is_own, has_image) {
        (true, _) if applied => {
            bad_spec("process.args names no command, nor does the image, and args is empty")
        }
        (true, _) => bad_spec("process.args names no command, and args is empty"),
        (false, true) => Error::invalid("args", "is empty, and the image names no command"),
        (false, false) => {
            Error::invalid("args", "is empty, and there is no image to take a command from")
        }
    })
}

/// Makes a specification as [`build`] does, but leaves `process.args` out if no command is given.
///
/// A caller's own specification is kept, except for what has to fit the rest of the request:
/// `root.path` and `linux.cgroupsPath` are set if they are missing, `process.args` if a command is
/// given, and `process.terminal` as the task will be created, because containerd fails if the two
/// differ.
pub(crate) fn without_command_check(mut options: SpecOptions<'_>) -> Result<Value> {
    if let Some(i) = options.args.iter().position(|arg| arg.contains('\0')) {
        return Err(Error::invalid("args", format!("the string at index {i} contains a NUL")));
    }
    let (mut spec, is_default) = match options.spec.take() {
        Some(spec) => (spec, false),
        None => {
            identifier::check("namespace", options.namespace)?;
            identifier::check("id", options.id)?;
            (default::spec(options.namespace, options.id)?, true)
        }
    };
    match options.image_config {
        Some(document) if is_default || options.apply_image => {
            apply(&mut spec, ImageConfig::parse(document)?, &options)?;
        }
        _ => {
            if !options.args.is_empty() {
                spec["process"]["args"] = options.args.into();
            }
            if is_default {
                spec["process"]["env"] = environment(Vec::new(), &[], options.terminal).into();
            }
        }
    }

    if let Some(directory) = options.directory {
        spec["root"]["path"] = directory.into();
    } else if is_absent(&spec["root"]["path"]) {
        spec["root"]["path"] = default::ROOT_PATH.into();
    }
    // Without a cgroups path, runc would put containers of the same id in two namespaces into the same
    // cgroup. A specification without a member `linux` stays without one.
    if spec["linux"].is_object() && is_absent(&spec["linux"]["cgroupsPath"]) {
        spec["linux"]["cgroupsPath"] = default::cgroups_path(options.namespace, options.id).into();
    }
    let process = &mut spec["process"];
    if options.terminal || !process["terminal"].is_null() {
        process["terminal"] = options.terminal.into();
    }
    Ok(spec)
}

/// Whether a specification's string is absent: to a runtime written in Go an empty one is the same.
fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn has_command(args: &Value) -> bool {
    args.as_array().is_some_and(|args| !args.is_empty())
}

/// Applies an image's configuration to a specification (containerd `oci.WithImageConfigArgs`):
///
/// - `process.args` becomes the image's entry point, followed by `args` or, if there are none, by the
///   image's command. The specification's own command stays if that is empty.
/// - `process.env` becomes the image's environment with the specification's own entries over it. See
///   [`merge_env`].
/// - `process.cwd` becomes the image's working directory if it names one.
/// - `process.user` gets the user, the group and the additional groups of the image's user. If the image
///   names none, only a specification without a user of its own gets root's groups.
fn apply(spec: &mut Value, config: ImageConfig, options: &SpecOptions<'_>) -> Result<()> {
    let process = &mut spec["process"];
    let user = &mut process["user"];
    if !config.user.is_empty() || is_plain_root(user) {
        let User { uid, gid, additional_gids } = look_up_user(&config.user, options)?;
        if user.is_null() {
            *user = json!({});
        }
        user["uid"] = uid.into();
        user["gid"] = gid.into();
        user["additionalGids"] = additional_gids.into();
    }
    match config.cwd() {
        Some(cwd) => process["cwd"] = cwd.into(),
        None if is_absent(&process["cwd"]) => process["cwd"] = "/".into(),
        None => {}
    }
    let own = process["env"].as_array().map_or(&[][..], Vec::as_slice);
    let own: Vec<&str> = own.iter().filter_map(Value::as_str).collect();
    process["env"] = environment(config.env, &own, options.terminal).into();
    let mut args = config.entrypoint;
    args.extend(if options.args.is_empty() { config.cmd } else { options.args.to_vec() });
    if !args.is_empty() {
        process["args"] = args.into();
    }
    Ok(())
}

/// Whether `process.user` is absent, or is root without additional groups, as in the default
/// specification.
fn is_plain_root(user: &Value) -> bool {
    let is_zero = |id: &Value| id.is_null() || id.as_u64() == Some(0);
    is_zero(&user["uid"])
        && is_zero(&user["gid"])
        && user["additionalGids"].as_array().is_none_or(Vec::is_empty)
        && is_absent(&user["username"])
}

/// The environment of a process: that of the image, with entries of the specification over it.
fn environment(mut image: Vec<String>, own: &[&str], terminal: bool) -> Vec<String> {
    if image.is_empty() {
        image.push(PATH.into());
    }
    let mut env = merge_env(image, own);
    // As containerd's `oci.WithTTY`, but a value that is set already wins.
    if terminal && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    env
}

/// Looks up an image's `User` in the root file system.
fn look_up_user(user: &str, options: &SpecOptions<'_>) -> Result<User> {
    let mut opened = None;
    let mut mounts_error = None;
    let mut files = |path: &str| {
        let rootfs = match opened {
            Some(ref rootfs) => rootfs,
            None => {
                let mounts = (options.mounts)().inspect_err(|e| mounts_error = Some(e.clone()))?;
                opened.insert(Rootfs::open(&mounts)?)
            }
        };
        rootfs.read(path, MAX_ACCOUNTS)
    };
    let result = user::resolve(user, &mut files);
    match (result, mounts_error) {
        (_, Some(error)) => Err(error),
        // An image that names no user needs no file. If its root file system cannot be opened from
        // here, root goes without the groups that may list it as a member.
        (Err(e), None) if user.is_empty() && cannot_open(&e) => {
            log::warn!("{}: root's groups are not looked up: {e}", options.id);
            Ok(User { uid: 0, gid: 0, additional_gids: vec![0] })
        }
        (result, None) => result,
    }
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

    use super::*;

    fn options<'a>() -> SpecOptions<'a> {
        SpecOptions {
            namespace: "ns",
            id: "c1",
            spec: None,
            image_config: None,
            args: &[],
            terminal: false,
            apply_image: false,
            directory: None,
            mounts: &|| Ok(Vec::new()),
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A caller's specification, as a create passes it.
    fn own(spec: Value) -> Option<Value> {
        Some(parse(&spec.to_string()).unwrap())
    }

    #[test]
    fn the_default_specification() {
        // In a file, so that a change is seen in review.
        let expected: Value = serde_json::from_str(include_str!("default.json")).unwrap();
        let json = default_spec("ns", "c1").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
        // The same every time: no order is left to chance.
        assert_eq!(default_spec("ns", "c1").unwrap(), json);
        let spec: oci_spec::runtime::Spec = serde_json::from_str(&json).unwrap();
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        for set in [capabilities.bounding(), capabilities.effective(), capabilities.permitted()] {
            assert_eq!(set.as_ref().unwrap().len(), 14);
        }
    }

    #[test]
    fn names_are_checked() {
        for (namespace, id, argument) in [("a/b", "c", "namespace"), ("a", "../c", "id")] {
            let error = default_spec(namespace, id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(argument), "{error}");
            let args = words(&["x"]);
            let error = build(SpecOptions { namespace, id, args: &args, ..options() }).unwrap_err();
            assert!(error.message().starts_with(argument), "{error}");
        }
    }

    #[test]
    fn malformed_specifications_are_refused() {
        for (json, part) in [
            ("", "line 1 column 0"),
            ("{\n \"process\": ]", "line 2 column 13"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("{}", "has no process"),
            (r#"{"process": null}"#, "process is not an object"),
            (r#"{"process": {"args": "sh"}}"#, "process.args is not an array"),
            (r#"{"process": {"args": ["sh", 1]}}"#, "process.args[1] is not a string"),
            (r#"{"process": {"args": ["a\u0000"]}}"#, "process.args[0] contains a NUL"),
            (r#"{"process": {"env": ["a\u0000"]}}"#, "process.env[0] contains a NUL"),
            (r#"{"process": {"cwd": 1}}"#, "process.cwd is not a string"),
            (r#"{"process": {"user": 0}}"#, "process.user is not an object"),
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
        // The image's configuration is not applied unless that is asked for.
        let image = json!({ "config": { "Env": ["A=1"], "User": "4294967296" } });
        let options =
            SpecOptions { spec: own(given.clone()), image_config: Some(&image), ..options() };
        assert_eq!(build(options).unwrap(), given);
    }

    #[test]
    fn a_callers_specification_is_made_to_fit() {
        let args = words(&["ls", "-l"]);
        let spec = own(json!({
            "process": { "args": ["sh"], "terminal": true, "env": ["A=1"] },
            "root": { "readonly": true },
        }));
        let built = build(SpecOptions { spec, args: &args, ..options() }).unwrap();
        let expected = json!({
            "process": { "args": ["ls", "-l"], "terminal": false, "env": ["A=1"] },
            "root": { "path": "rootfs", "readonly": true },
        });
        assert_eq!(built, expected);

        let spec = own(json!({ "process": {}, "root": null, "linux": { "cgroupsPath": "" } }));
        let built = build(SpecOptions { spec, args: &args, terminal: true, ..options() }).unwrap();
        let expected = json!({
            "process": { "args": ["ls", "-l"], "terminal": true },
            "root": { "path": "rootfs" },
            "linux": { "cgroupsPath": "/ns/c1" },
        });
        assert_eq!(built, expected);
    }

    #[test]
    fn a_missing_command_is_an_error() {
        let image = json!({ "config": { "Env": ["A=1"] } });
        for (spec, image, start) in [
            (None, None, "args: is empty, and there is no image"),
            (None, Some(&image), "args: is empty, and the image names"),
            (own(json!({ "process": {} })), None, "spec_json: process.args names no command"),
            (own(json!({ "process": { "args": [] } })), Some(&image), "spec_json: process.args"),
        ] {
            let options = SpecOptions { spec, image_config: image, ..options() };
            let error = build(options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(start), "{error}");
        }
        let nul = words(&["sh", "a\0b"]);
        for spec in [None, own(json!({ "process": { "args": ["sh"] } }))] {
            let error = build(SpecOptions { spec, args: &nul, ..options() }).unwrap_err();
            assert_eq!(error.message(), "args: the string at index 1 contains a NUL");
        }
    }

    #[test]
    fn an_images_configuration_is_applied_to_the_default() {
        let image = json!({ "config": {
            "Env": ["A=1", "PATH=/bin"],
            "Entrypoint": ["/entry", "-v"],
            "Cmd": ["serve"],
            "WorkingDir": "srv",
            "User": "12:34",
        } });
        let image = Some(&image);
        let spec = build(SpecOptions { image_config: image, ..options() }).unwrap();
        let process = &spec["process"];
        assert_eq!(process["args"], json!(["/entry", "-v", "serve"]));
        assert_eq!(process["env"], json!(["A=1", "PATH=/bin"]));
        assert_eq!(process["cwd"], "/srv");
        assert_eq!(process["user"], json!({ "uid": 12, "gid": 34, "additionalGids": [34] }));
        assert_eq!(process["terminal"], Value::Null);

        let args = words(&["--help"]);
        let options = SpecOptions { image_config: image, args: &args, terminal: true, ..options() };
        let spec = build(options).unwrap();
        assert_eq!(spec["process"]["args"], json!(["/entry", "-v", "--help"]));
        assert_eq!(spec["process"]["env"], json!(["A=1", "PATH=/bin", "TERM=xterm"]));
        assert_eq!(spec["process"]["terminal"], true);
    }

    #[test]
    fn an_images_configuration_is_applied_to_a_callers_specification() {
        let image = json!({ "config": {
            "Env": ["A=1", "B=2", "PATH=/bin"],
            "Entrypoint": ["/entry", "-v"],
            "Cmd": ["serve"],
            "WorkingDir": "srv",
            "User": "12:34",
        } });
        let given = json!({
            "process": {
                "args": ["sh"],
                "env": ["B=mine", "C=3", "A"],
                "cwd": "/home",
                "user": { "uid": 7, "gid": 7, "additionalGids": [8], "umask": 18 },
                "vendor": 1,
            },
            "root": { "path": "/elsewhere" },
            "vendor": [null],
        });
        let apply = |given: &Value, args: &[&str]| {
            let args = words(args);
            let spec = own(given.clone());
            build(SpecOptions {
                spec,
                image_config: Some(&image),
                apply_image: true,
                args: &args,
                ..options()
            })
            .unwrap()
        };
        let expected = json!({
            "process": {
                "args": ["/entry", "-v", "serve"],
                "env": ["B=mine", "PATH=/bin", "C=3"],
                "cwd": "/srv",
                "user": { "uid": 12, "gid": 34, "additionalGids": [34], "umask": 18 },
                "vendor": 1,
            },
            "root": { "path": "/elsewhere" },
            "vendor": [null],
        });
        let applied = apply(&given, &[]);
        assert_eq!(applied, expected);
        assert_eq!(
            apply(&given, &["--help"])["process"]["args"],
            json!(["/entry", "-v", "--help"])
        );
        let bare = apply(&json!({ "process": {} }), &[]);
        assert_eq!(bare["process"]["env"], json!(["A=1", "B=2", "PATH=/bin"]));
        // Applied twice, it is the same.
        let twice = apply(&apply(&json!({ "process": {} }), &[]), &[]);
        assert_eq!(twice, bare);
    }

    #[test]
    fn members_that_an_image_does_not_name_stay_the_callers() {
        let image = json!({ "config": { "Env": ["A=1"] } });
        let given = json!({
            "process": { "args": ["sh"], "cwd": "/home", "user": { "uid": 7, "gid": 0 } },
            "root": { "path": "/elsewhere" },
        });
        let apply = |given: &Value, terminal: bool| {
            let spec = own(given.clone());
            let image_config = Some(&image);
            build(SpecOptions { spec, image_config, apply_image: true, terminal, ..options() })
        };
        let mut expected = given.clone();
        expected["process"]["env"] = json!(["A=1"]);
        assert_eq!(apply(&given, false).unwrap(), expected);
        let env = apply(&given, true).unwrap()["process"]["env"].clone();
        assert_eq!(env, json!(["A=1", "TERM=xterm"]));
        for user in [json!({ "uid": 0, "gid": 7 }), json!({ "additionalGids": [9] })] {
            let mut given = given.clone();
            given["process"]["user"] = user.clone();
            assert_eq!(apply(&given, false).unwrap()["process"]["user"], user);
        }
        // Without a user and a directory of its own it is root in `/`, as by default.
        let bare = apply(&json!({ "process": { "args": ["sh"] } }), false).unwrap();
        assert_eq!(bare["process"]["cwd"], "/");
        let root = json!({ "uid": 0, "gid": 0, "additionalGids": [0] });
        assert_eq!(bare["process"]["user"], root);
        let error = apply(&json!({ "process": {} }), false).unwrap_err();
        assert!(error.message().ends_with("nor does the image, and args is empty"), "{error}");
    }

    #[test]
    fn an_image_applied_to_the_default_specification_gives_the_default() {
        let bundle = Bundle::new("applied");
        for user in ["", "app", "root", "1000:ops", "12:34"] {
            let image = json!({ "config": {
                "Env": ["A=1"], "Cmd": ["serve"], "WorkingDir": "srv", "User": user,
            } });
            for terminal in [false, true] {
                let rootfs = || Ok(bundle.mounts().into());
                let options = |spec| SpecOptions {
                    spec,
                    image_config: Some(&image),
                    apply_image: true,
                    terminal,
                    mounts: &rootfs,
                    ..options()
                };
                let default = build(options(None)).unwrap();
                let spec = parse(&default_spec("ns", "c1").unwrap()).unwrap();
                assert_eq!(build(options(Some(spec))).unwrap(), default, "{user:?}");
                // A specification that was edited and handed back is unchanged too.
                assert_eq!(build(options(Some(default.clone()))).unwrap(), default, "{user:?}");
            }
        }
    }

    #[test]
    fn the_environment_of_the_default() {
        let args = words(&["sh"]);
        let none = json!({ "config": { "User": "0:0" } });
        let own_term = json!({ "config": { "User": "0:0", "Env": ["TERM=vt100"] } });
        for (image, terminal, expected) in [
            (None, false, json!([PATH])),
            (None, true, json!([PATH, "TERM=xterm"])),
            (Some(&none), false, json!([PATH])),
            (Some(&own_term), true, json!(["TERM=vt100"])),
        ] {
            let options = SpecOptions { image_config: image, args: &args, terminal, ..options() };
            assert_eq!(build(options).unwrap()["process"]["env"], expected);
        }
    }

    #[test]
    fn a_root_file_system_that_cannot_be_opened_matters_only_to_a_user_by_name() {
        let args = words(&["sh"]);
        let unopenable = || {
            Ok(vec![Mount { kind: "ext4".into(), source: "/dev/none".into(), ..Mount::default() }])
        };
        let user = |user: &str| {
            let image = json!({ "config": { "User": user } });
            let options = SpecOptions {
                image_config: Some(&image),
                args: &args,
                mounts: &unopenable,
                ..options()
            };
            build(options).map(|spec| spec["process"]["user"].clone())
        };
        let root = json!({ "uid": 0, "gid": 0, "additionalGids": [0] });
        assert_eq!(user("").unwrap(), root);
        assert_eq!(user("1:2").unwrap()["uid"], 1);
        assert_eq!(user("app").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(user("4294967296").unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }

    #[test]
    fn a_failure_to_get_the_root_file_system_is_an_error() {
        let image = json!({ "config": { "Cmd": ["sh"] } });
        let options = SpecOptions {
            image_config: Some(&image),
            mounts: &|| Err(Error::new(ErrorKind::NotFound, "no such snapshot")),
            ..options()
        };
        assert_eq!(build(options).unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// A bundle of a root file system and a specification, which runc runs. It is removed with the test.
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

        /// The mounts that the snapshotter `native` would give.
        fn mounts(&self) -> [Mount; 1] {
            let source = self.0.join("rootfs").to_str().unwrap().to_owned();
            [Mount { kind: "bind".into(), source, ..Mount::default() }]
        }

        /// Runs the container and returns its output.
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
            // runc removes the container's own cgroup and not the one above it.
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
            let options = SpecOptions {
                namespace: &namespace,
                image_config: Some(&image),
                mounts: &|| Ok(bundle.mounts().into()),
                ..options()
            };
            let output = bundle.run(&namespace, "c1", &build(options).unwrap());
            let (shown, rest) = output.split_at(ids.len());
            assert_eq!(shown, ids, "{user:?}");
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
        let options = SpecOptions {
            namespace: &namespace,
            id: "c2",
            spec: own(spec),
            args: &args,
            ..options()
        };
        assert_eq!(bundle.run(&namespace, "c2", &build(options).unwrap()), "mine\n");
    }
}
