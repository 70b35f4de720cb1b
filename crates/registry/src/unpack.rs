//! Layer archives into directories for overlay mounts.
//!
//! An image layer is a tar archive of changes; `.wh.NAME` removes a lower file, `.wh..wh..opq` empties a lower directory
//! (OCI image specification, `layer.md`). An overlay mount says the same with a character device 0:0 and an extended
//! attribute. File capabilities (a PAX header) are not carried over. Archives come from strangers: nothing is written outside the directory, whatever names and links say.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::XattrFlags;
use tar::{Archive, Entry, EntryType};

use crate::digest::{Digest, Hashing};

/// Most bytes one layer may unpack to: a guard against archives that are small only while compressed.
pub const MAX_UNPACKED_BYTES: u64 = 20 << 30;
/// Most entries in one layer. The largest real ones (a full Linux distribution, a node_modules) stay below a tenth of it.
pub const MAX_ENTRIES: u64 = 2_000_000;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("reading the layer")]
    Read(#[source] io::Error),
    #[error("layer entry {path:?}")]
    Entry {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("layer entry {0:?} leads out of the image")]
    Escape(String),
    #[error("the layer unpacks to more than {MAX_UNPACKED_BYTES} bytes")]
    TooLarge,
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooMany,
    #[error("layers compressed as {0} are not supported, only gzip and plain tar")]
    Compression(String),
}

/// Unpacks a layer (gzip or plain tar, told by its first bytes) into the empty directory `root` and returns the digest of
/// the uncompressed archive. Owners are kept where this process may give files away, that is as root.
///
/// # Errors
/// See [`UnpackError`]; the directory is then half filled and has to be thrown away.
pub fn unpack(layer: impl Read, root: &Path) -> Result<Digest, UnpackError> {
    let mut layer = io::BufReader::with_capacity(1 << 16, layer);
    let start = io::BufRead::fill_buf(&mut layer).map_err(UnpackError::Read)?;
    let reader: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(layer)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(UnpackError::Compression("zstd".to_string())),
        _ => Box::new(layer),
    };
    let mut hashing = Hashing::new(reader.take(MAX_UNPACKED_BYTES + 1));
    let mut unpacker =
        Unpacker { root, owners: has_many_users(), modes: Vec::new(), checked: HashSet::new() };
    let mut archive = Archive::new(&mut hashing);
    let mut count = 0;
    for entry in archive.entries().map_err(UnpackError::Read)? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        unpacker.entry(&mut entry.map_err(UnpackError::Read)?)?;
    }
    unpacker.finish()?;
    // What follows the end marker belongs to the digest as well.
    io::copy(&mut hashing, &mut io::sink()).map_err(UnpackError::Read)?;
    if hashing.hasher.length() > MAX_UNPACKED_BYTES {
        return Err(UnpackError::TooLarge);
    }
    Ok(hashing.hasher.finish())
}

/// Whether files can be given to other users: root outside of user namespaces, or in one with a range of users.
pub(crate) fn has_many_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = |line: &str| line.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    nix::unistd::geteuid().is_root() && map.lines().filter_map(count).sum::<u64>() > u64::from(u16::MAX)
}

struct Unpacker<'a> {
    root: &'a Path,
    owners: bool,
    /// Modes of directories, set at the end: a directory without write permission may still get entries.
    modes: Vec<(PathBuf, u32)>,
    /// Directories known to be real directories (not links) all the way from the root.
    checked: HashSet<PathBuf>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        let Some(relative) = inside(Path::new(std::ffi::OsStr::from_bytes(&raw))) else {
            return Err(UnpackError::Escape(shown));
        };
        let failed = |source| UnpackError::Entry { path: shown.clone(), source };
        let path = self.root.join(&relative);
        let Some(parent) = relative.parent() else {
            // The root itself: only its mode counts.
            if let Ok(mode) = entry.header().mode() {
                self.modes.push((path, mode));
            }
            return Ok(());
        };
        self.directory(parent).map_err(failed)?;
        let name = relative.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        if name == OPAQUE {
            return set_opaque(&self.root.join(parent)).map_err(failed);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = std::ffi::OsStr::from_bytes(hidden);
            if hidden.is_empty() || hidden == "." || hidden == ".." {
                return Err(UnpackError::Escape(shown));
            }
            let target = self.root.join(parent).join(hidden);
            return self.clear(&target).and_then(|()| whiteout(&target)).map_err(failed);
        }
        self.create(entry, &path, kind).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied if error.get_ref().is_some() => {
                UnpackError::Escape(shown.clone())
            }
            _ => UnpackError::Entry { path: shown.clone(), source: error },
        })
    }

    fn create<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path, kind: EntryType) -> io::Result<()> {
        let mode = entry.header().mode()? & 0o7777;
        match kind {
            EntryType::Directory => {
                if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
                    self.clear(path)?;
                    fs::create_dir(path)?;
                }
                self.modes.push((path.to_path_buf(), mode));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(path)?;
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                io::copy(entry, &mut file)?;
                if let Ok(mtime) = entry.header().mtime() {
                    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
                    file.set_modified(time)?;
                }
            }
            EntryType::Symlink => {
                let target =
                    entry.link_name()?.ok_or_else(|| io::Error::other("a symbolic link without target"))?;
                self.clear(path)?;
                symlink(&target, path)?;
            }
            EntryType::Link => return self.hard_link(entry, path),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.clear(path)?;
                self.special(entry, path, kind, mode)?;
            }
            other => return Err(io::Error::other(format!("entries of type {other:?} are not supported"))),
        }
        self.own(entry, path, kind, mode)
    }

    /// A hard link's target is a name inside the image; the directories leading to it must not be links either.
    fn hard_link<R: Read>(&mut self, entry: &Entry<'_, R>, path: &Path) -> io::Result<()> {
        let target = entry.link_name()?.ok_or_else(|| io::Error::other("a hard link without target"))?;
        let relative = inside(&target).ok_or_else(escape)?;
        if let Some(parent) = relative.parent() {
            self.directory(parent)?;
        }
        self.clear(path)?;
        fs::hard_link(self.root.join(relative), path)
    }

    /// Device nodes need privilege that a rootless machine lacks; an image's devices are replaced by the sandbox anyway.
    fn special<R: Read>(
        &self,
        entry: &Entry<'_, R>,
        path: &Path,
        kind: EntryType,
        mode: u32,
    ) -> io::Result<()> {
        let header = entry.header();
        let flag = match kind {
            EntryType::Char => SFlag::S_IFCHR,
            EntryType::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        if kind != EntryType::Fifo && !self.owners {
            fs::File::create_new(path)?;
            return Ok(());
        }
        let major = header.device_major()?.unwrap_or(0);
        let minor = header.device_minor()?.unwrap_or(0);
        Ok(mknod(path, flag, Mode::from_bits_truncate(mode), makedev(u64::from(major), u64::from(minor)))?)
    }

    fn own<R: Read>(&self, entry: &Entry<'_, R>, path: &Path, kind: EntryType, mode: u32) -> io::Result<()> {
        let header = entry.header();
        let link = kind == EntryType::Symlink;
        if self.owners {
            let id =
                |value: u64| u32::try_from(value).map_err(|_| io::Error::other("an owner beyond 32 bits"));
            let (user, group) = (Some(id(header.uid()?)?), Some(id(header.gid()?)?));
            if link { lchown(path, user, group)? } else { chown(path, user, group)? }
        }
        // After the owner: chown clears the set-id bits.
        if !link && kind != EntryType::Directory {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Makes sure that `relative` is a directory inside the root, reached without following any link.
    fn directory(&mut self, relative: &Path) -> io::Result<()> {
        if self.checked.contains(relative) {
            return Ok(());
        }
        let mut path = self.root.to_path_buf();
        let mut walked = PathBuf::new();
        for part in relative.components() {
            path.push(part);
            walked.push(part);
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    // A link or file of this same layer: later entries replace earlier ones.
                    fs::remove_file(&path)?;
                    fs::create_dir(&path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&path)?,
                Err(error) => return Err(error),
            }
            self.checked.insert(walked.clone());
        }
        Ok(())
    }

    /// Removes what stands at `path`, so that nothing is ever written through it.
    fn clear(&mut self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                self.checked.clear();
                self.modes.retain(|(kept, _)| !kept.starts_with(path));
                fs::remove_dir_all(path)
            }
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn finish(self) -> Result<(), UnpackError> {
        for (path, mode) in self.modes.iter().rev() {
            // Without root's override, a directory has to stay usable for its owner.
            let mode = if self.owners { mode & 0o7777 } else { mode & 0o7777 | 0o700 };
            let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            set.map_err(|source| UnpackError::Entry { path: path.display().to_string(), source })?;
        }
        Ok(())
    }
}

/// `path` without leading `/` and `.` parts; none if any part is `..`.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

fn escape() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "leads out of the image")
}

/// Marks `path` as removed for an overlay mount. Linux allows this device to everyone since 5.8.
///
/// # Errors
/// The file system refuses device nodes.
pub fn whiteout(path: &Path) -> io::Result<()> {
    Ok(mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?)
}

/// Marks the directory `path` as hiding everything below it: `trusted.` for mounts by root, `user.` for mounts with
/// `userxattr` (inside a user namespace).
///
/// # Errors
/// The file system takes neither attribute.
pub fn set_opaque(path: &Path) -> io::Result<()> {
    let user = rustix::fs::setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty());
    let trusted = rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty());
    if trusted.is_err() { Ok(user?) } else { Ok(()) }
}

/// Whether an overlay mount would take `path` for a removed file.
pub fn is_whiteout(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// Whether an overlay mount would take the directory `path` for one that hides what is below it.
pub fn is_opaque(path: &Path) -> bool {
    let mut value = [0u8; 2];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        rustix::fs::lgetxattr(path, *name, &mut value[..]).is_ok_and(|n| n == 1 && value[0] == b'y')
    })
}
