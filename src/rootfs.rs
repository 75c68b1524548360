//! Reads files of a root file system, without a mount that other processes could see or that a
//! crash could leave behind.
//!
//! A snapshotter describes a root file system as mounts. An overlay is mounted a second time from the
//! same layers, read-only and detached: the mount exists only as long as our descriptor. The source of a
//! bind mount is opened directly.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
};

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::snapshots::Mount;
use crate::sys;

/// How many times a path lookup is tried. The kernel gives up a lookup if anything on the host is
/// renamed or mounted meanwhile (`openat2`: EAGAIN).
const LOOKUPS: usize = 100;

/// A root file system that is open for reading.
pub(crate) struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// Opens the root file system that these mounts describe. Overlay and bind mounts can be opened, which
    /// the snapshotters `overlayfs` and `native` use; for others the error is
    /// [`ErrorKind::Unsupported`].
    pub(crate) fn open(mounts: &[Mount]) -> Result<Rootfs> {
        let [mount] = mounts else {
            return Err(unsupported(format!("it has {} mounts", mounts.len())));
        };
        let bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        let root = match mount.kind.as_str() {
            "overlay" => Overlay::parse(&mount.options)?.open()?,
            "bind" => directory(&mount.source)?,
            _ if bind => directory(&mount.source)?,
            kind => return Err(unsupported(format!("its file system is {kind:?}"))),
        };
        Ok(Rootfs { root })
    }

    /// Opens the root file system of a running process, with everything that is mounted in it.
    pub(crate) fn of_process(pid: u32) -> Result<Rootfs> {
        directory(&format!("/proc/{pid}/root")).map(|root| Rootfs { root })
    }

    /// Reads a regular file of at most `limit` bytes; `None` if there is no file of this name. Symbolic
    /// links are followed within the root. A device or a FIFO is never opened.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let failed = |e: Errno| Error::io(format!("{path} of the root file system"), e);
        let Some(file) = self.look_up(path).map_err(failed)? else { return Ok(None) };
        let mode = fstat(&file).map_err(failed)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("{path} of the root file system is not a regular file"),
            ));
        }
        // Opened through its descriptor, so that it is the file whose type was checked.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = open(descriptor_path(&file), flags, Mode::empty()).map_err(failed)?;
        let mut data = Vec::new();
        File::from(file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut data)
            .map_err(|e| Error::io(format!("{path} of the root file system"), e))?;
        if data.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("{path} of the root file system has more than {limit} bytes"),
            ));
        }
        Ok(Some(data))
    }

    fn look_up(&self, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..LOOKUPS {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Ok(file) => return Ok(Some(file)),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(Errno::AGAIN) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::AGAIN)
    }
}

fn unsupported(why: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the root file system cannot be read: {why}"))
}

fn directory(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| Error::io(path, e))
}

/// A short path to an open file, whatever its own path is.
fn descriptor_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A read-only overlay.
#[derive(Debug, PartialEq)]
struct Overlay {
    /// The layers, the topmost first.
    layers: Vec<String>,
    /// Options that change how layers are read. Options about writing or caching are left out.
    settings: Vec<(String, Option<String>)>,
}

impl Overlay {
    /// Parses a snapshotter's mount options. The upper directory becomes the topmost layer.
    fn parse(options: &[String]) -> Result<Overlay> {
        let mut upper = None;
        let mut lower = Vec::new();
        let mut settings = Vec::new();
        for option in options {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option.as_str(), None),
            };
            match (key, value) {
                ("upperdir", Some(value)) => upper = Some(value),
                ("lowerdir", Some(value)) => lower = paths(value, Some(':')),
                ("userxattr", _) | ("index" | "metacopy" | "redirect_dir", Some(_)) => {
                    settings.push((key.to_owned(), value.map(str::to_owned)));
                }
                _ => {}
            }
        }
        let mut layers = upper.map_or_else(Vec::new, |upper| paths(upper, None));
        layers.append(&mut lower);
        if layers.is_empty() || layers.iter().any(String::is_empty) {
            return Err(unsupported(format!("its options name no layers: {options:?}")));
        }
        Ok(Overlay { layers, settings })
    }

    fn open(&self) -> Result<OwnedFd> {
        // Overlayfs needs two layers. A single layer has the same files as the overlay.
        if let [only] = self.layers.as_slice() {
            return directory(only);
        }
        match self.detached() {
            Err(e) if is_kernel_too_old(&e) => self.in_own_namespace(),
            other => other,
        }
    }

    /// Makes a detached mount, layer by layer (Linux 6.8 and later). Older kernels accept the layers in one
    /// string only, of at most 255 characters.
    fn detached(&self) -> Result<OwnedFd> {
        let failed = |e: Errno| Error::io("an overlay of the root file system", e);
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
        for (key, value) in &self.settings {
            match value {
                Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str()),
                None => fsconfig_set_flag(&context, key.as_str()),
            }
            .map_err(failed)?;
        }
        for layer in &self.layers {
            let layer = directory(layer)?;
            fsconfig_set_string(&context, "lowerdir+", descriptor_path(&layer)).map_err(failed)?;
        }
        fsconfig_create(&context).map_err(failed)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
    }

    /// The same for older kernels: an ordinary mount, in a mount namespace that a thread creates
    /// for it and that ends with the thread. The host never sees the mount, and nothing has to be
    /// unmounted. A crash leaves nothing behind. (A mount on a temporary directory that is detached
    /// later would not have these properties.) `mount` accepts one page of options, which is enough
    /// for about 200 layers.
    fn in_own_namespace(&self) -> Result<OwnedFd> {
        thread::scope(|scope| {
            let work = || self.mount_in_namespace();
            let thread = sys::with_signals_blocked(|| {
                thread::Builder::new().name("ctrd-mount".into()).spawn_scoped(scope, work)
            })
            .map_err(|e| Error::io("starting a thread", e))?;
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Panic, "reading layers panicked")))
        })
    }

    /// Mounts the overlay in a new mount namespace of the calling thread. The descriptor outlives both.
    fn mount_in_namespace(&self) -> Result<OwnedFd> {
        let failed = |e: Errno| Error::io("an overlay of the root file system", e);
        sys::unshare_mounts().map_err(|e| Error::io("a mount namespace", e))?;
        // Otherwise the mount would propagate to the namespace that this one was copied from.
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|e| Error::io("making the mounts of a namespace private", e))?;
        // Opened in the new namespace: overlayfs accepts no directories of another one.
        let layers: Vec<OwnedFd> =
            self.layers.iter().map(|layer| directory(layer)).collect::<Result<_>>()?;
        let lower: Vec<String> = layers.iter().map(descriptor_path).collect();
        let mut options = format!("lowerdir={}", lower.join(":"));
        for (key, value) in &self.settings {
            options.push(',');
            options.push_str(key);
            if let Some(value) = value {
                options.push('=');
                options.push_str(value);
            }
        }
        let options = CString::new(options).map_err(|_| failed(Errno::INVAL))?;
        let flags =
            MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        // Any directory can be the mount point. The topmost layer is one that exists.
        let Some(target) = self.layers.first() else { return Err(failed(Errno::INVAL)) };
        mount("overlay", target.as_str(), "overlay", flags, options.as_c_str()).map_err(failed)?;
        directory(target)
    }
}

/// Whether the error is that of a kernel without `fsopen` (before 5.2) or `lowerdir+` (before 6.8).
fn is_kernel_too_old(error: &Error) -> bool {
    let is = |errno: Errno| error.errno() == Some(errno.raw_os_error());
    is(Errno::NOSYS) || is(Errno::INVAL)
}

/// Splits an option's value into paths. A backslash makes the next character an ordinary one (overlayfs).
fn paths(value: &str, separator: Option<char>) -> Vec<String> {
    let mut all = Vec::new();
    let mut path = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => path.extend(characters.next()),
            _ if Some(character) == separator => all.push(std::mem::take(&mut path)),
            _ => path.push(character),
        }
    }
    all.push(path);
    all
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::fs::{XattrFlags, makedev, mknodat, setxattr};

    use super::*;

    /// A directory that is removed with the test.
    struct Temp(PathBuf);

    impl Temp {
        fn new() -> Temp {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ctrd-rootfs-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Temp(path)
        }

        /// Creates a layer with these files.
        fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
            let layer = self.0.join(name);
            fs::create_dir_all(&layer).unwrap();
            for (path, content) in files {
                let path = layer.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            layer
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let removed = fs::remove_dir_all(&self.0);
            if !thread::panicking() {
                assert!(!mounted.contains(self.0.to_str().unwrap()), "a mount is left: {mounted}");
                removed.unwrap();
            }
        }
    }

    fn overlay(upper: &Path, lower: &[PathBuf]) -> Mount {
        let lower: Vec<&str> = lower.iter().map(|path| path.to_str().unwrap()).collect();
        Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            options: vec![
                "index=off".into(),
                "volatile".into(),
                format!("lowerdir={}", lower.join(":")),
                "workdir=/nowhere/work".into(),
                format!("upperdir={}", upper.display()),
                "x-not-known=1".into(),
            ],
            ..Mount::default()
        }
    }

    fn bind(source: &Path) -> Mount {
        Mount {
            kind: "bind".into(),
            source: source.to_str().unwrap().into(),
            options: vec!["ro".into(), "rbind".into()],
            ..Mount::default()
        }
    }

    /// The same root, opened in each way: they must not differ.
    fn each_way(mount: &Mount) -> [Rootfs; 3] {
        let overlay = Overlay::parse(&mount.options).unwrap();
        [
            Rootfs { root: overlay.detached().unwrap() },
            Rootfs { root: overlay.in_own_namespace().unwrap() },
            Rootfs::open(std::slice::from_ref(mount)).unwrap(),
        ]
    }

    fn text(root: &Rootfs, path: &str) -> Option<String> {
        root.read(path, 1024).unwrap().map(|data| String::from_utf8(data).unwrap())
    }

    #[test]
    fn layers_are_merged_and_nothing_is_mounted() {
        let temp = Temp::new();
        let upper = temp.layer("upper", &[("etc/group", "upper")]);
        let middle = temp.layer("middle", &[("etc/group", "middle"), ("opt/new/a", "new")]);
        let lower = temp.layer(
            "lower",
            &[("etc/passwd", "lower"), ("etc/gone", "x"), ("etc/shadow", "x"), ("opt/old/a", "x")],
        );
        // Whiteouts in both upper layers, and a directory that hides the one below it.
        for gone in [upper.join("etc/gone"), middle.join("etc/shadow")] {
            fs::create_dir_all(gone.parent().unwrap()).unwrap();
            mknodat(CWD, &gone, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
        }
        setxattr(middle.join("opt"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();

        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        for root in each_way(&overlay(&upper, &[middle, lower])) {
            assert_eq!(text(&root, "/etc/group").unwrap(), "upper");
            assert_eq!(text(&root, "etc/passwd").unwrap(), "lower");
            assert_eq!(text(&root, "/etc/gone"), None);
            assert_eq!(text(&root, "/etc/shadow"), None);
            assert_eq!(text(&root, "/opt/new/a").unwrap(), "new");
            assert_eq!(text(&root, "/opt/old/a"), None);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let written = rustix::fs::openat(&root.root, "x", flags, Mode::RUSR);
            assert_eq!(written.unwrap_err(), Errno::ROFS);
            assert!(!mounts().contains(temp.0.to_str().unwrap()));
        }
    }

    #[test]
    fn many_layers_with_long_paths() {
        let temp = Temp::new();
        let long = "long".repeat(60);
        let layer = |i: usize| {
            let file = format!("etc/{i}");
            let files = [(file.as_str(), "own"), ("etc/passwd", &*i.to_string())];
            temp.layer(&format!("{long}/{long}/{i}:with\\colon"), &files)
        };
        let upper = layer(0);
        let lower: Vec<PathBuf> = (1..100).map(layer).collect();
        let mut mount = overlay(&upper, &lower);
        for option in &mut mount.options {
            *option = option.replace('\\', "\\\\").replace(":with", "\\:with");
        }
        for root in each_way(&mount) {
            assert_eq!(text(&root, "/etc/passwd").unwrap(), "0");
            for i in 0..100 {
                assert_eq!(text(&root, &format!("/etc/{i}")).unwrap(), "own");
            }
        }
    }

    #[test]
    fn links_stay_inside() {
        let temp = Temp::new();
        let outside = temp.layer("outside", &[("secret", "secret")]);
        let lower = temp.layer("lower", &[("etc/real", "real"), ("secret", "inside")]);
        let upper = temp.layer("upper", &[("usr/lib/group", "group")]);
        fs::create_dir_all(upper.join("etc")).unwrap();
        for (link, target) in [
            ("passwd", "../../../../../etc/real"),
            ("absolute", "/usr/lib/group"),
            ("dangling", "/none"),
            ("loop", "loop"),
            ("escape", outside.join("secret").to_str().unwrap()),
            ("process", "/proc/self/environ"),
            ("up", "../../secret"),
        ] {
            symlink(target, upper.join("etc").join(link)).unwrap();
        }
        for root in each_way(&overlay(&upper, &[lower])) {
            assert_eq!(text(&root, "/etc/passwd").unwrap(), "real");
            assert_eq!(text(&root, "/etc/absolute").unwrap(), "group");
            assert_eq!(text(&root, "/etc/up").unwrap(), "inside");
            assert_eq!(text(&root, "../../../etc/real").unwrap(), "real");
            for none in ["/etc/dangling", "/etc/escape", "/etc/process", "/etc/real/x", "/x/y"] {
                assert_eq!(text(&root, none), None, "{none}");
            }
            assert_eq!(root.read("/etc/loop", 9).unwrap_err().errno(), Some(40));
        }
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let temp = Temp::new();
        let root = temp.layer("root", &[("full", "123456789"), ("over", "1234567890")]);
        fs::create_dir(root.join("directory")).unwrap();
        for (name, kind, device) in [
            ("fifo", FileType::Fifo, 0),
            ("socket", FileType::Socket, 0),
            ("zero", FileType::CharacterDevice, makedev(1, 5)),
        ] {
            mknodat(CWD, root.join(name), kind, Mode::RUSR, device).unwrap();
        }
        let file = File::create(root.join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();

        let root = Rootfs::open(&[bind(&root)]).unwrap();
        assert_eq!(root.read("full", 9).unwrap().unwrap(), b"123456789");
        for large in ["over", "sparse"] {
            let error = root.read(large, 9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        }
        for other in ["directory", "fifo", "socket", "zero", "/", "."] {
            let error = root.read(other, 9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{other}: {error}");
        }
    }

    #[test]
    fn a_single_layer_is_opened_directly() {
        let temp = Temp::new();
        let layer = temp.layer("layer", &[("a", "a")]);
        let options = vec![format!("lowerdir={}", layer.display())];
        let mount = Mount { kind: "overlay".into(), options, ..Mount::default() };
        assert_eq!(text(&Rootfs::open(&[mount]).unwrap(), "a").unwrap(), "a");
    }

    #[test]
    fn options_are_parsed_in_any_order() {
        let options = |options: &[&str]| -> Vec<String> {
            options.iter().map(|option| (*option).to_owned()).collect()
        };
        let expected = Overlay {
            layers: options(&["/u:u", "/a", "/b:c\\"]),
            settings: vec![("userxattr".into(), None), ("redirect_dir".into(), Some("on".into()))],
        };
        let mut given = [
            "upperdir=/u:u",
            "userxattr",
            "lowerdir=/a:/b\\:c\\\\",
            "redirect_dir=on",
            "workdir=/w",
            "volatile",
            "xino=off",
        ];
        assert_eq!(Overlay::parse(&options(&given)).unwrap(), expected);
        given.rotate_left(3);
        let other = Overlay::parse(&options(&given)).unwrap();
        assert_eq!(other.layers, expected.layers);
        assert_eq!(other.settings.len(), 2);
        for none in [&["ro"][..], &[], &["lowerdir="], &["lowerdir=/a::/b"], &["upperdir"]] {
            let error = Overlay::parse(&options(none)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn overlay_options_reach_the_kernel() {
        let temp = Temp::new();
        let upper = temp.layer("upper", &[("d/new", "new")]);
        let lower = temp.layer("lower", &[("d/old", "old")]);
        // This attribute hides the directory below. It does so only with `userxattr`.
        setxattr(upper.join("d"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        let mut mount = overlay(&upper, std::slice::from_ref(&lower));
        for root in each_way(&mount) {
            assert_eq!(text(&root, "d/old").unwrap(), "old");
        }
        mount.options.push("userxattr".into());
        for root in each_way(&mount) {
            assert_eq!(text(&root, "d/new").unwrap(), "new");
            assert_eq!(text(&root, "d/old"), None);
        }
        let mut mount = overlay(&upper, &[lower]);
        mount.options.extend(["redirect_dir=on", "metacopy=on", "index=on"].map(String::from));
        for root in each_way(&mount) {
            assert_eq!(text(&root, "d/old").unwrap(), "old");
        }
    }

    #[test]
    fn an_error_names_the_path_that_cannot_be_opened() {
        let temp = Temp::new();
        let layer = temp.layer("layer", &[]);
        let gone = temp.0.join("gone");
        for mount in [bind(&gone), overlay(&gone, std::slice::from_ref(&layer))] {
            let Err(error) = Rootfs::open(&[mount]) else { panic!("it was opened") };
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.message().contains(gone.to_str().unwrap()), "{error}");
        }
        let ext4 = Mount { kind: "ext4".into(), source: "/dev/x".into(), ..Mount::default() };
        for mounts in [&[ext4][..], &[], &[bind(&layer), bind(&layer)]] {
            let Err(error) = Rootfs::open(mounts) else { panic!("it was opened") };
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        // An option that the kernel refuses is an error with the older way too.
        let mut mount = overlay(&layer, std::slice::from_ref(&layer));
        mount.options.push("redirect_dir=nonsense".into());
        let Err(error) = Rootfs::open(&[mount]) else { panic!("it was opened") };
        assert_eq!(error.errno(), Some(Errno::INVAL.raw_os_error()), "{error}");
    }
}
