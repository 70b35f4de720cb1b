//! The lowest layer of a host base image: a minimal `/etc` and the top-level links that go with the machine's
//! `/usr`. Nothing of the machine's users is copied.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Users that known images have, with the numbers of the official ones.
const USERS: [(&str, u32, &str, &str); 8] = [
    ("root", 0, "/root", "/bin/sh"),
    ("daemon", 1, "/usr/sbin", "/usr/sbin/nologin"),
    ("postgres", 26, "/var/lib/postgresql", "/bin/sh"),
    ("www-data", 33, "/var/www", "/usr/sbin/nologin"),
    ("nginx", 101, "/nonexistent", "/bin/false"),
    ("node", 1000, "/home/node", "/bin/sh"),
    ("nobody", 65534, "/nonexistent", "/usr/sbin/nologin"),
    ("postgres999", 999, "/var/lib/postgresql", "/bin/sh"),
];

/// Files of the machine's `/etc` that programs below `/usr` need and that tell nothing about its users.
const COPIED: [&str; 16] = [
    "ld.so.cache",
    "ld.so.conf",
    "mime.types",
    "services",
    "protocols",
    "timezone",
    "os-release",
    "debian_version",
    "ssl/openssl.cnf",
    "ssl/certs/ca-certificates.crt",
    "pki/tls/certs/ca-bundle.crt",
    "nginx/mime.types",
    "login.defs",
    "profile",
    "shells",
    "host.conf",
];

/// Writes the layer. `uid` is the user of the process: programs such as PostgreSQL insist on a name for it.
pub(crate) fn populate(base: &Path, uid: u32) -> io::Result<()> {
    for (path, mode) in [
        ("usr", 0o755),
        ("etc/ssl/certs", 0o755),
        ("tmp", 0o1777),
        ("run", 0o755),
        ("root", 0o700),
        ("home/node", 0o755),
        ("opt", 0o755),
        ("srv", 0o755),
        ("mnt", 0o755),
        ("var/tmp", 0o1777),
        ("var/log", 0o755),
        ("var/cache", 0o755),
        ("var/lib/postgresql", 0o777),
        ("run/postgresql", 0o777),
    ] {
        fs::create_dir_all(base.join(path))?;
        fs::set_permissions(base.join(path), fs::Permissions::from_mode(mode))?;
    }
    symlink("/run", base.join("var/run"))?;
    for name in ["bin", "sbin", "lib", "lib64", "lib32"] {
        // A machine whose /bin is no link into /usr is older than any that this is built for.
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            symlink(target, base.join(name))?;
        }
    }
    let etc = base.join("etc");
    fs::write(etc.join("passwd"), passwd(Some(uid)))?;
    fs::write(etc.join("group"), group())?;
    fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
    for name in COPIED {
        let source = Path::new("/etc").join(name);
        if let (true, Some(parent)) = (source.is_file(), etc.join(name).parent()) {
            fs::create_dir_all(parent)?;
            fs::copy(&source, etc.join(name))?;
        }
    }
    copy_links(Path::new("/etc/alternatives"), &etc.join("alternatives"))?;
    if let Ok(zone) = fs::read_link("/etc/localtime") {
        symlink(zone, etc.join("localtime"))?;
    }
    Ok(())
}

/// The text of `/etc/passwd`, with a line for `uid` if no known user has it.
pub(crate) fn passwd(uid: Option<u32>) -> String {
    let line = |name: &str, uid: u32, home: &str, shell: &str| {
        format!("{name}:x:{uid}:{uid}:{name}:{home}:{shell}\n")
    };
    let mut text: String =
        USERS.iter().map(|(name, uid, home, shell)| line(name, *uid, home, shell)).collect();
    if let Some(uid) = uid
        && USERS.iter().all(|user| user.1 != uid)
    {
        text.push_str(&line(&format!("user{uid}"), uid, "/", "/usr/sbin/nologin"));
    }
    text
}

/// The text of `/etc/group`.
pub(crate) fn group() -> String {
    let known = USERS.iter().map(|(name, gid, ..)| format!("{name}:x:{gid}:\n"));
    known.chain(["tty:x:5:\n", "users:x:100:\n", "nogroup:x:65533:\n"].map(str::to_owned)).collect()
}

fn copy_links(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        if let Ok(target) = fs::read_link(entry.path()) {
            symlink(target, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
