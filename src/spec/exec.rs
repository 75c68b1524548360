//! The process of an exec: the container's own process, changed as the caller asks.

use serde_json::{Map, Value, json};

use super::user::{self, User};
use super::{MAX_ACCOUNTS, check_process, environment, has_command, parse_object};
use crate::error::{Error, Result};
use crate::rootfs::Rootfs;

/// The members of the container's process that another process does not take over: its command and its
/// terminal.
const OWN_MEMBERS: [&str; 3] = ["args", "terminal", "consoleSize"];

/// The members that a privileged process does not inherit: they would confine it.
const CONFINEMENT: [&str; 2] = ["apparmorProfile", "selinuxLabel"];

/// The inputs of an exec's process.
pub(crate) struct ExecOptions<'a> {
    /// The specification of the container.
    pub(crate) spec: &'a Value,
    /// The caller's own members, checked by [`parse_process`]. They replace those of the container's
    /// process.
    pub(crate) process: Map<String, Value>,
    pub(crate) args: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) user: Option<&'a str>,
    pub(crate) cwd: Option<&'a str>,
    pub(crate) privileged: bool,
    pub(crate) terminal: bool,
    /// Columns and rows of the terminal.
    pub(crate) size: Option<(u32, u32)>,
    /// Opens the root file system. It is called only if a user or a group has to be looked up.
    pub(crate) rootfs: &'a dyn Fn() -> Result<Rootfs>,
    /// Returns the capabilities that a privileged process gets, a bit for each number. It is called only
    /// for such a process.
    pub(crate) capabilities: &'a dyn Fn() -> Result<u64>,
}

/// Parses the members of a process that the caller gives as a JSON object.
pub(crate) fn parse_process(json: &str) -> Result<Map<String, Value>> {
    const ARGUMENT: &str = "process_json";
    let process = parse_object(ARGUMENT, json)?;
    check_process(&process, "", &|why| Error::invalid(ARGUMENT, why))?;
    Ok(process)
}

/// Makes the process. Fails if no command is given.
pub(crate) fn exec_process(options: ExecOptions<'_>) -> Result<Value> {
    let mut process = match &options.spec["process"] {
        Value::Object(template) => template.clone(),
        _ => Map::new(),
    };
    for name in OWN_MEMBERS {
        process.remove(name);
    }
    process.extend(options.process);
    let mut process = Value::Object(process);
    if !options.args.is_empty() {
        process["args"] = options.args.into();
    }
    if !has_command(&process["args"]) {
        return Err(Error::invalid("args", "is empty"));
    }
    let env = process["env"].as_array().map_or(&[][..], Vec::as_slice);
    let env = env.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let over: Vec<&str> = options.env.iter().map(String::as_str).collect();
    process["env"] = environment(env, &over, options.terminal).into();
    match options.cwd {
        Some(cwd) => process["cwd"] = cwd.into(),
        None if process["cwd"].as_str().is_none_or(str::is_empty) => process["cwd"] = "/".into(),
        None => {}
    }
    if let Some(name) = options.user {
        let User { uid, gid, additional_gids } = look_up_user(name, options.rootfs)?;
        if !process["user"].is_object() {
            process["user"] = json!({});
        }
        let user = &mut process["user"];
        user["uid"] = uid.into();
        user["gid"] = gid.into();
        user["additionalGids"] = additional_gids.into();
    }
    process["terminal"] = options.terminal.into();
    if let Some((width, height)) = options.size {
        process["consoleSize"] = json!({ "width": width, "height": height });
    }
    if options.privileged {
        free(&mut process, (options.capabilities)()?);
    }
    Ok(process)
}

/// Takes everything from a process that confines it, apart from the container's seccomp filter and
/// namespaces, which it cannot leave.
fn free(process: &mut Value, capabilities: u64) {
    let names = CAPABILITIES.iter().enumerate();
    let all: Vec<_> =
        names.filter(|(i, _)| capabilities & 1 << i != 0).map(|(_, name)| name).collect();
    process["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    process["noNewPrivileges"] = false.into();
    if let Some(process) = process.as_object_mut() {
        for name in CONFINEMENT {
            process.remove(name);
        }
    }
}

fn look_up_user(name: &str, rootfs: &dyn Fn() -> Result<Rootfs>) -> Result<User> {
    let mut opened = None;
    user::resolve(name, &mut |path: &str| {
        let rootfs = match opened {
            Some(ref rootfs) => rootfs,
            None => opened.insert(rootfs()?),
        };
        rootfs.read(path, MAX_ACCOUNTS)
    })
}

/// The capabilities by their numbers (capabilities(7), `linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn spec() -> Value {
        json!({ "process": {
            "args": ["httpd", "-f"],
            "env": ["PATH=/bin", "A=1", "B=2"],
            "cwd": "/srv",
            "user": { "uid": 7, "gid": 8, "additionalGids": [8, 9], "umask": 18 },
            "terminal": true,
            "consoleSize": { "width": 1, "height": 2 },
            "noNewPrivileges": true,
            "apparmorProfile": "x",
            "capabilities": { "bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1, "soft": 1 }],
            "unknown": [1],
        } })
    }

    fn options<'a>(spec: &'a Value, args: &'a [String]) -> ExecOptions<'a> {
        ExecOptions {
            spec,
            process: Map::new(),
            args,
            env: &[],
            user: None,
            cwd: None,
            privileged: false,
            terminal: false,
            size: None,
            rootfs: &|| panic!("the root file system is opened"),
            capabilities: &|| panic!("the kernel is asked"),
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn everything_but_command_and_terminal_is_the_containers() {
        let (spec, args) = (spec(), words(&["ls", "-l"]));
        let process = exec_process(options(&spec, &args)).unwrap();
        let mut expected = spec["process"].clone();
        expected["args"] = json!(["ls", "-l"]);
        expected["terminal"] = false.into();
        expected.as_object_mut().unwrap().remove("consoleSize");
        assert_eq!(process, expected);
    }

    #[test]
    fn a_command_is_needed() {
        let spec = spec();
        let error = exec_process(options(&spec, &[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("args: "), "{error}");
        let process = parse_process(r#"{"args": ["id"], "cwd": "/tmp", "new": 1}"#).unwrap();
        let process = exec_process(ExecOptions { process, ..options(&spec, &[]) }).unwrap();
        assert_eq!(process["args"], json!(["id"]));
        assert_eq!((&process["cwd"], &process["new"]), (&json!("/tmp"), &json!(1)));
    }

    #[test]
    fn the_environment_is_changed_entry_by_entry() {
        let (spec, args, env) = (spec(), words(&["x"]), words(&["A=9", "B", "C=3", "D"]));
        let process = exec_process(ExecOptions { env: &env, ..options(&spec, &args) }).unwrap();
        assert_eq!(process["env"], json!(["PATH=/bin", "A=9", "C=3"]));
        let terminal =
            ExecOptions { terminal: true, size: Some((80, 24)), ..options(&spec, &args) };
        let process = exec_process(terminal).unwrap();
        assert_eq!(process["env"], json!(["PATH=/bin", "A=1", "B=2", "TERM=xterm"]));
        assert_eq!(process["terminal"], json!(true));
        assert_eq!(process["consoleSize"], json!({ "width": 80, "height": 24 }));
    }

    #[test]
    fn a_user_by_numbers_needs_no_file() {
        let (spec, args) = (spec(), words(&["x"]));
        let user = ExecOptions { user: Some("1:2"), ..options(&spec, &args) };
        let process = exec_process(user).unwrap();
        let expected = json!({ "uid": 1, "gid": 2, "additionalGids": [2], "umask": 18 });
        assert_eq!(process["user"], expected);
        let failing = &|| Err(Error::new(ErrorKind::Io, "broken"));
        let named = ExecOptions { user: Some("app"), rootfs: failing, ..options(&spec, &args) };
        assert_eq!(exec_process(named).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_privileged_process_has_the_capabilities_that_it_may_have() {
        let (spec, args) = (spec(), words(&["x"]));
        for (mask, expected) in
            [(0b11, &CAPABILITIES[..2]), (1 << 40, &CAPABILITIES[40..]), (u64::MAX, &CAPABILITIES)]
        {
            let process = exec_process(ExecOptions {
                privileged: true,
                capabilities: &|| Ok(mask),
                ..options(&spec, &args)
            })
            .unwrap();
            let sets = &process["capabilities"];
            for set in ["bounding", "effective", "permitted"] {
                assert_eq!(sets[set], json!(expected));
            }
            assert_eq!(sets["ambient"], Value::Null);
            assert_eq!(process["noNewPrivileges"], json!(false));
            assert_eq!(process.get("apparmorProfile"), None);
        }
    }

    #[test]
    fn malformed_members_are_refused() {
        for (json, part) in [
            ("", "line 1 column 0"),
            ("[]", "is not a JSON object"),
            (r#"{"args": "ls"}"#, "args is not an array"),
            (r#"{"args": ["ls", 1]}"#, "args[1] is not a string"),
            (r#"{"env": ["a\u0000"]}"#, "env[0] contains a NUL"),
            (r#"{"cwd": 1}"#, "cwd is not a string"),
            (r#"{"user": 0}"#, "user is not an object"),
        ] {
            let error = parse_process(json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with("process_json: "), "{error}");
            assert!(error.message().contains(part), "{error}");
        }
    }
}
