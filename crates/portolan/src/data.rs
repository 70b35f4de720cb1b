//! The data directory: one platform at a time, one format version, everything in it has a place.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Raised when a newer platform writes what an older one could not read.
const FORMAT: u32 = 1;

/// With less space than this nothing could be stored for long, and the platform does not start.
const LEAST_SPACE_MIB: u64 = 16;

/// An opened data directory, locked for as long as this lives.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens or makes the directory, readable by its owner only.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot make {} private: does it belong to you?", path.display()))?;
        check_space(&path)?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let mut lock =
            lock.with_context(|| format!("cannot write to the data directory {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = fs::read_to_string(&lock_path).unwrap_or_default();
                bail!(
                    "the data directory {} is in use by another portolan (process {}): stop that one, or choose another --data",
                    path.display(),
                    owner.trim()
                );
            }
            Err(TryLockError::Error(e)) => return Err(e).context("cannot lock the data directory"),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .context("cannot write the lock")?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// A place inside, made when missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// A file inside.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Where data lives when nobody says: `$XDG_DATA_HOME/portolan` or `~/.local/share/portolan`.
pub(crate) fn default_path() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(home).join("portolan"));
    }
    let home = std::env::home_dir().context("there is no home directory: say where with --data DIR")?;
    Ok(home.join(".local/share/portolan"))
}

/// Writes a file that appears whole or not at all, readable by its owner only.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    let write = || {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn check_space(path: &Path) -> Result<()> {
    let disk = rustix::fs::statvfs(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) / (1024 * 1024);
    if free < LEAST_SPACE_MIB {
        bail!(
            "the disk of {} is full: {free} MiB are free, at least {LEAST_SPACE_MIB} are needed; make space there, or choose another --data",
            path.display()
        );
    }
    Ok(())
}

fn check_format(path: &Path) -> Result<()> {
    let marker = path.join("FORMAT");
    match fs::read_to_string(&marker) {
        Ok(text) => {
            let found: u32 =
                text.trim().parse().with_context(|| format!("{} is not a number", marker.display()))?;
            if found > FORMAT {
                bail!(
                    "the data directory {} was written by a newer portolan (format {found}, this one reads up to {FORMAT}): use that version, or choose another --data",
                    path.display()
                );
            }
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            write_private(&marker, format!("{FORMAT}\n").as_bytes())
        }
        Err(e) => Err(e).with_context(|| format!("cannot read {}", marker.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_one_format() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let second = DataDir::open(dir.path()).err().unwrap().to_string();
        assert!(second.contains("in use by another portolan"), "{second}");
        drop(first);
        drop(DataDir::open(dir.path()).unwrap());
        fs::write(dir.path().join("FORMAT"), "99\n").unwrap();
        let newer = DataDir::open(dir.path()).err().unwrap().to_string();
        assert!(newer.contains("written by a newer portolan"), "{newer}");
    }
}
