//! Builds the root file system of a sandbox and makes it the process's root.
//!
//! The image's layers, a layer of our own above them (mount points, `/etc/hosts`, …) and, for a host base, a
//! skeleton below them are joined by overlayfs. What the process writes goes to `upper` in its scratch
//! directory. Every path inside is resolved by the kernel below the new root (`RESOLVE_IN_ROOT`), so a symbolic
//! link in an image cannot lead a mount out of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags};

use crate::init::{StepError, step};
use crate::{Mount, MountKind, Network, Spec, host_base, privileges};

const NOTHING: Option<&str> = None;

/// Paths of `/proc` and `/sys` that tell about or change the machine; the list container runtimes use.
const MASKED: [&str; 10] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds the root and enters it. The process must be alone in its mount and process namespaces.
pub(crate) fn build_and_enter(spec: &Spec) -> Result<(), StepError> {
    // Mounts made here must not show outside.
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)
        .map_err(step("keep mounts to itself"))?;
    let root = spec.scratch.join("root");
    mount_root(spec, &root)?;
    mount_system(spec, &root)?;
    for one in &spec.mounts {
        mount_volume(&root, one).map_err(step(format!("mount {}", one.target.display())))?;
    }
    if !spec.cwd.as_os_str().is_empty() {
        ensure_directory(&root, &spec.cwd, Some((spec.user.uid, spec.user.gid)))
            .map_err(step(format!("make {}", spec.cwd.display())))?;
    }
    mask(&root);
    if spec.read_only_root {
        for path in [root.join("usr"), root.clone()] {
            // `usr` is a mount of its own only with a host base.
            let result = remount_read_only(&path);
            if path == root {
                result.map_err(step("make the root read-only"))?;
            }
        }
    }
    enter(&root).map_err(step("enter the root"))
}

fn mount_root(spec: &Spec, root: &Path) -> Result<(), StepError> {
    let stage = spec.scratch.join("stage");
    for name in ["upper", "work", "stage", "root"] {
        let path = spec.scratch.join(name);
        fs::create_dir_all(&path).map_err(step(format!("make {}", path.display())))?;
    }
    set_mode(&spec.upper(), 0o755)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &stage, Some("tmpfs"), flags, Some("mode=755,size=16m"))
        .map_err(step("mount a memory file system"))?;
    let runtime = stage.join("runtime");
    write_runtime_layer(spec, &runtime).map_err(step("write /etc/hosts and the like"))?;
    let mut lower = vec!["runtime".to_owned()];
    for (index, layer) in spec.layers.iter().enumerate() {
        // Short relative names: the kernel takes one page of options at most.
        symlink(layer, stage.join(index.to_string())).map_err(step("link a layer"))?;
        lower.push(index.to_string());
    }
    if spec.host_base {
        let base = stage.join("base");
        host_base::populate(&base, spec.user.uid).map_err(step("make the host base"))?;
        lower.push("base".to_owned());
    }
    std::env::set_current_dir(&stage).map_err(step("enter the stage"))?;
    let result = overlay(&lower, &spec.upper(), &spec.scratch.join("work"), root)
        .and_then(|()| if spec.host_base { mount_host_usr(spec, root) } else { Ok(()) });
    std::env::set_current_dir("/").map_err(step("leave the stage"))?;
    result.map_err(step("join the layers by overlayfs"))
}

/// `/usr` is an overlay of its own, since overlayfs does not look into mounts below a layer.
fn mount_host_usr(spec: &Spec, root: &Path) -> io::Result<()> {
    let upper = spec.upper().join("usr");
    let work = spec.scratch.join("work-usr");
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let in_layer =
        |(index, layer): (usize, &PathBuf)| layer.join("usr").is_dir().then(|| format!("{index}/usr"));
    let mut lower: Vec<String> = spec.layers.iter().enumerate().filter_map(in_layer).collect();
    lower.push("/usr".to_owned());
    overlay(&lower, &upper, &work, &root.join("usr"))
}

fn overlay(lower: &[String], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let mut options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    if !privileges::has_id_range()? {
        options.push_str(",userxattr");
    }
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

/// The layer above the image: mount points and the files that tell the container about itself.
fn write_runtime_layer(spec: &Spec, layer: &Path) -> io::Result<()> {
    for directory in ["etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(layer.join(directory))?;
        fs::set_permissions(layer.join(directory), fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(layer.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let etc = layer.join("etc");
    let write = |name: &str, text: &str| {
        fs::write(etc.join(name), text)?;
        fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o644))
    };
    let machines = match spec.network {
        Network::Host => fs::read_to_string("/etc/resolv.conf").ok(),
        _ => None,
    };
    if let Some(text) = spec.resolv_conf.clone().or(machines) {
        write("resolv.conf", &text)?;
    }
    let own = if spec.hostname.is_empty() { "localhost" } else { &spec.hostname };
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{own}\n");
    write("hosts", spec.hosts.as_deref().unwrap_or(&hosts))?;
    write("hostname", &format!("{own}\n"))
}

fn mount_system(spec: &Spec, root: &Path) -> Result<(), StepError> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), quiet, NOTHING).map_err(step("mount /proc"))?;
    let sys = root.join("sys");
    if mount(Some("sysfs"), &sys, Some("sysfs"), quiet | MsFlags::MS_RDONLY, NOTHING).is_err() {
        // With the machine's network an ordinary user may only show the machine's own.
        let _ = mount(Some("/sys"), &sys, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING);
    }
    let dev = root.join("dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), flags, Some("mode=755,size=64k"))
        .map_err(step("mount /dev"))?;
    fill_dev(&dev).map_err(step("fill /dev"))?;
    if spec.terminal {
        // `/dev/console` is the terminal the caller opened.
        let console = dev.join("console");
        fs::write(&console, "").map_err(step("make /dev/console"))?;
        let _ = mount(Some("/proc/self/fd/0"), &console, NOTHING, MsFlags::MS_BIND, NOTHING);
    }
    Ok(())
}

fn fill_dev(dev: &Path) -> io::Result<()> {
    for name in DEVICES {
        let target = dev.join(name);
        fs::write(&target, "")?;
        mount(Some(&Path::new("/dev").join(name)), &target, NOTHING, MsFlags::MS_BIND, NOTHING)?;
    }
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fs::create_dir(dev.join("pts"))?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), quiet, Some(options))?;
    fs::create_dir(dev.join("shm"))?;
    let flags = quiet | MsFlags::MS_NODEV;
    mount(Some("shm"), &dev.join("shm"), Some("tmpfs"), flags, Some("mode=1777,size=64m"))?;
    Ok(())
}

fn mount_volume(root: &Path, volume: &Mount) -> io::Result<()> {
    match &volume.kind {
        MountKind::Tmpfs { size_bytes } => {
            let target = ensure_directory(root, &volume.target, None)?;
            let size = size_bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
            let options = format!("mode=1777{size}");
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("tmpfs"), &handle(&target), Some("tmpfs"), flags, Some(options.as_str()))?;
        }
        MountKind::Bind(source) => {
            let directory = fs::metadata(source)?.is_dir();
            let target = if directory {
                ensure_directory(root, &volume.target, None)?
            } else {
                ensure_file(root, &volume.target)?
            };
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(source), &handle(&target), NOTHING, flags, NOTHING)?;
        }
    }
    if volume.read_only {
        // The handle above is of what the mount now covers, so it is opened again.
        let top = open_in_root(&open_root(root)?, &volume.target)?;
        remount_read_only(&handle(&top))?;
    }
    Ok(())
}

fn remount_read_only(path: &Path) -> io::Result<()> {
    let now = rustix::fs::statvfs(path)?.f_flag;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    // A user namespace may not loosen what was set outside.
    for (had, flag) in [
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
        (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
        (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
    ] {
        if now.contains(had) {
            flags |= flag;
        }
    }
    mount(NOTHING, path, NOTHING, flags, NOTHING)?;
    Ok(())
}

/// Hides what [`MASKED`] names; a path that this kernel lacks needs no hiding.
fn mask(root: &Path) {
    for path in MASKED.map(|path| root.join(path)) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let result = if metadata.is_dir() {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some("size=0"))
        } else {
            mount(Some("/dev/null"), &path, NOTHING, MsFlags::MS_BIND, NOTHING)
        };
        let _ = result;
    }
    for path in READ_ONLY.map(|path| root.join(path)) {
        let bound = mount(Some(&path), &path, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING);
        if bound.is_ok() {
            let _ = remount_read_only(&path);
        }
    }
}

fn enter(root: &Path) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    // The old root lands on top of the new one and is taken off at once.
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

fn handle(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_in_root(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Opens a directory inside, making what is missing (owned by `owner` if given).
fn ensure_directory(root: &Path, path: &Path, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
    let root = open_root(root)?;
    let mut here = root.as_fd().try_clone_to_owned()?;
    let mut walked = PathBuf::new();
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        walked.push(name);
        here = match open_in_root(&root, &walked) {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(here.as_fd(), Path::new(name), owner)?;
                open_in_root(&root, &walked)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(here)
}

fn make_directory(parent: BorrowedFd<'_>, name: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    if let Some((uid, gid)) = owner
        && privileges::has_id_range()?
    {
        let (uid, gid) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn ensure_file(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let parent = ensure_directory(root, path.parent().unwrap_or(Path::new("/")), None)?;
    let fd = open_root(root)?;
    match open_in_root(&fd, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| io::Error::other("the path has no last part"))?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
            open_in_root(&fd, path)
        }
        other => other,
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StepError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(step(format!("set the mode of {}", path.display())))
}
