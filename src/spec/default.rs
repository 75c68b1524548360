//! containerd's default specification for Linux (`oci.GenerateSpec`, which differs from 1.6 to 2.x in
//! single paths only).

use oci_spec::runtime::{
    Capability, Linux, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, LinuxResources,
    Mount, PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec,
};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};

/// The directory of the bundle where the shim mounts a container's root file system.
pub(super) const ROOT_PATH: &str = "rootfs";

/// The version of the runtime specification that the result declares: the oldest release that has all
/// members used here, because a runtime may refuse a newer one than it knows. Every runc from 1.0 on
/// implements it.
const VERSION: &str = "1.0.2";

/// The capabilities of a process (`oci.defaultUnixCaps`).
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// The kernel's files that are hidden from the container, if they exist. containerd hides the last one
/// since 2.0 (CVE-2020-8694: energy counters leak secrets).
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

/// The container's own namespaces. It shares the host's cgroup namespace.
const NAMESPACES: [LinuxNamespaceType; 5] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Network,
];

/// Destination, type, source and options of each mount.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
];

/// The path of a container's cgroup below each hierarchy. It contains the namespace, because two
/// namespaces may have containers of the same id, which would otherwise share a cgroup.
pub(super) fn cgroups_path(namespace: &str, id: &str) -> String {
    format!("/{namespace}/{id}")
}

/// The specification. It has no command and no environment: those come from the image or the caller.
pub(super) fn spec(namespace: &str, id: &str) -> Result<Value> {
    // The types have defaults of their own for a shell in a container, so every member is set.
    let mut root = Root::default();
    root.set_path(ROOT_PATH.into()).set_readonly(None);
    let mut spec = Spec::default();
    spec.set_version(VERSION.into())
        .set_root(Some(root))
        .set_process(Some(process()?))
        .set_mounts(Some(MOUNTS.map(mount).into()))
        .set_linux(Some(linux(namespace, id)))
        .set_hostname(None)
        .set_annotations(None);
    let mut spec = serde_json::to_value(spec).map_err(internal)?;
    // The type of the capabilities is a set, which has no order of its own.
    spec["process"]["capabilities"] = json!({
        "bounding": CAPABILITIES,
        "effective": CAPABILITIES,
        "permitted": CAPABILITIES,
    });
    Ok(spec)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("the default specification: {error}"))
}

fn process() -> Result<Process> {
    let open_files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .hard(1024u64)
        .soft(1024u64)
        .build()
        .map_err(internal)?;
    let mut process = Process::default();
    process
        .set_terminal(None)
        .set_args(None)
        .set_env(None)
        .set_cwd("/".into())
        .set_no_new_privileges(Some(true))
        .set_capabilities(None)
        .set_rlimits(Some(vec![open_files]));
    Ok(process)
}

fn mount((destination, typ, source, options): (&str, &str, &str, &[&str])) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(typ.into()))
        .set_source(Some(source.into()))
        .set_options(Some(strings(options)));
    mount
}

fn linux(namespace: &str, id: &str) -> Linux {
    let mut no_devices = LinuxDeviceCgroup::default();
    no_devices.set_allow(false).set_access(Some("rwm".into()));
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(vec![no_devices]));
    let namespaces = NAMESPACES.map(|typ| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    });
    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(Some(cgroups_path(namespace, id).into()))
        .set_namespaces(Some(namespaces.into()))
        .set_masked_paths(Some(strings(&MASKED)))
        .set_readonly_paths(Some(strings(&READONLY)));
    linux
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
