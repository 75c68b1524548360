//! containerd's default specification for Linux (`oci.GenerateSpec`, the same from 1.6 to 2.x but for
//! single paths).

use serde_json::{Value, json};

/// The version of the runtime specification that the result says it follows: the oldest release
/// that has all that is used here, because a runtime may refuse one that is newer than itself. Every
/// runc from 1.0 on implements it.
const VERSION: &str = "1.0.2";

/// What a process may at most do (`oci.defaultUnixCaps`).
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What of the kernel's is hidden; a path that does not exist is passed over. The last is hidden
/// since containerd 2.0 (CVE-2020-8694: energy counters tell secrets).
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The namespaces that are the container's own. The cgroup namespace is the host's.
const NAMESPACES: [&str; 5] = ["pid", "ipc", "uts", "mount", "network"];

/// The path of a container's cgroup below each hierarchy. The namespace is part of it because two
/// namespaces may hold containers of one id, which would share a cgroup otherwise.
pub(super) fn cgroups_path(namespace: &str, id: &str) -> String {
    format!("/{namespace}/{id}")
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// The specification. It has neither command nor environment: they are the image's or the caller's.
pub(super) fn spec(namespace: &str, id: &str) -> Value {
    json!({
        "ociVersion": VERSION,
        "root": { "path": super::ROOT_PATH },
        "process": {
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
        },
        "mounts": [
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ],
        "linux": {
            "cgroupsPath": cgroups_path(namespace, id),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": NAMESPACES.map(|kind| json!({ "type": kind })),
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    })
}
