//! Layers as archives: the same files always give the same bytes (sorted, one time for all, owners as numbers).

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use crate::digest::{Digest, Hasher, Hashing};
use crate::unpack::{is_opaque, is_whiteout};

/// One file of a layer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Directory,
    /// A file of this machine.
    File(PathBuf),
    Content(Vec<u8>),
    Link(PathBuf),
    /// The same file as another entry, by its path in the layer.
    Hard(PathBuf),
    Fifo,
}

/// The files of a layer by their path, without a slash in front. Parents sort before what is in them.
pub(super) type Entries = BTreeMap<PathBuf, Entry>;

/// An archive that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
}

/// Writes the archive to `file`, compressed; all times are `epoch_s`.
pub(super) fn write(entries: &Entries, epoch_s: u64, file: &Path) -> io::Result<Written> {
    let out = Hashing::new(io::BufWriter::new(File::create_new(file)?));
    // Speed over size: a build waits for this, and registries are near.
    let gzip = Hashing::new(GzEncoder::new(out, Compression::fast()));
    let mut builder = tar::Builder::new(gzip);
    for (path, entry) in entries {
        append(&mut builder, path, entry, epoch_s)?;
    }
    let gzip = builder.into_inner()?;
    let diff_id = gzip.hasher.finish();
    let mut out = gzip.inner.finish()?;
    out.flush()?;
    let size = out.hasher.length();
    Ok(Written { digest: out.hasher.finish(), diff_id, size })
}

fn append<W: io::Write>(
    builder: &mut tar::Builder<W>,
    path: &Path,
    entry: &Entry,
    epoch_s: u64,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(epoch_s);
    header.set_size(0);
    let kind = match &entry.kind {
        Kind::Directory => EntryType::Directory,
        Kind::File(_) | Kind::Content(_) => EntryType::Regular,
        Kind::Link(_) => EntryType::Symlink,
        Kind::Hard(_) => EntryType::Link,
        Kind::Fifo => EntryType::Fifo,
    };
    header.set_entry_type(kind);
    match &entry.kind {
        Kind::Directory | Kind::Fifo => builder.append_data(&mut header, path, io::empty()),
        Kind::Content(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Kind::File(source) => {
            let file = File::open(source)?;
            header.set_size(file.metadata()?.len());
            builder.append_data(&mut header, path, file)
        }
        Kind::Link(target) | Kind::Hard(target) => builder.append_link(&mut header, path, target),
    }
}

/// A digest of everything that the archive would hold but its times, for the build cache.
pub(super) fn fingerprint(entries: &Entries) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    for (path, entry) in entries {
        let (kind, target) = match &entry.kind {
            Kind::Directory => ("directory", Vec::new()),
            Kind::Fifo => ("fifo", Vec::new()),
            Kind::Link(target) => ("link", target.as_os_str().as_bytes().to_vec()),
            Kind::Hard(target) => ("hard", target.as_os_str().as_bytes().to_vec()),
            Kind::Content(bytes) => ("file", Digest::of(bytes).hex().as_bytes().to_vec()),
            Kind::File(source) => {
                let mut content = Hashing::new(File::open(source)?);
                io::copy(&mut content, &mut io::sink())?;
                ("file", content.hasher.finish().hex().as_bytes().to_vec())
            }
        };
        let facts = format!("\0{kind} {:o} {} {}\0", entry.mode, entry.uid, entry.gid);
        for part in [path.as_os_str().as_bytes(), facts.as_bytes(), &target, b"\n"] {
            hasher.update(part);
        }
    }
    Ok(hasher.finish())
}

/// What a process wrote, from an overlay's upper directory: its marks become the archive's whiteouts.
pub(super) fn from_upper(upper: &Path) -> io::Result<Entries> {
    let mut entries = Entries::new();
    let mut linked = HashMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let mut names = fs::read_dir(upper.join(&directory))?.collect::<io::Result<Vec<_>>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            let path = directory.join(name.file_name());
            let at = upper.join(&path);
            let meta = fs::symlink_metadata(&at)?;
            if is_whiteout(&meta) {
                let mut hidden = std::ffi::OsString::from(".wh.");
                hidden.push(name.file_name());
                entries.insert(directory.join(hidden), mark());
                continue;
            }
            let Some(kind) = kind_of(&at, &meta, &path, &mut linked)? else { continue };
            if meta.is_dir() {
                if is_redirected(&at) {
                    let text = "this kernel's overlayfs renames directories by reference (redirect_dir=on), which no layer can hold";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, text));
                }
                if is_opaque(&at) {
                    entries.insert(path.join(".wh..wh..opq"), mark());
                }
                open.push(path.clone());
            }
            let (uid, gid) = owner(&meta);
            entries.insert(path, Entry { kind, mode: meta.mode() & 0o7777, uid, gid });
        }
    }
    Ok(first_names(entries, &linked))
}

/// The owner as the sandbox sees it: in an ordinary user's session, that user is its root.
fn owner(meta: &fs::Metadata) -> (u32, u32) {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let inside = |id: u32, own: u32| if !user.is_root() && id == own { 0 } else { id };
    (inside(meta.uid(), user.as_raw()), inside(meta.gid(), group.as_raw()))
}

/// A directory whose content stayed in a lower layer, under another name.
fn is_redirected(path: &Path) -> bool {
    let mut value = [0u8; 0];
    ["trusted.overlay.redirect", "user.overlay.redirect"]
        .iter()
        .any(|name| rustix::fs::lgetxattr(path, *name, &mut value[..]).is_ok_and(|length| length > 0))
}

fn kind_of(
    at: &Path,
    meta: &fs::Metadata,
    path: &Path,
    linked: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<Option<Kind>> {
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok(Some(Kind::Directory));
    }
    if kind.is_symlink() {
        return Ok(Some(Kind::Link(fs::read_link(at)?)));
    }
    if kind.is_fifo() {
        return Ok(Some(Kind::Fifo));
    }
    // Sockets mean nothing without their process; devices are the sandbox's business.
    if kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Ok(None);
    }
    if meta.nlink() > 1 {
        // The name that sorts first carries the content, so that it comes first in the archive.
        let first = linked.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_path_buf());
        if path < first.as_path() {
            *first = path.to_path_buf();
        }
    }
    Ok(Some(Kind::File(at.to_path_buf())))
}

/// Turns all but the first name of each hard-linked file into links to it.
fn first_names(mut entries: Entries, linked: &HashMap<(u64, u64), PathBuf>) -> Entries {
    for (path, entry) in &mut entries {
        let Kind::File(at) = &entry.kind else { continue };
        let Ok(meta) = fs::symlink_metadata(at) else { continue };
        if let Some(first) = linked.get(&(meta.dev(), meta.ino()))
            && first != path
        {
            entry.kind = Kind::Hard(first.clone());
        }
    }
    entries
}

fn mark() -> Entry {
    Entry { kind: Kind::Content(Vec::new()), mode: 0o644, uid: 0, gid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever builds: as an ordinary user, too, whose files are the sandbox's root's.
    #[test]
    fn what_the_builder_owns_belongs_to_root_in_the_layer() {
        let upper = tempfile::tempdir().unwrap();
        fs::write(upper.path().join("f"), "content").unwrap();
        let owners: Vec<_> =
            from_upper(upper.path()).unwrap().into_values().map(|entry| (entry.uid, entry.gid)).collect();
        assert_eq!(owners, [(0, 0)]);
    }

    #[test]
    fn the_same_files_give_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "content").unwrap();
        let entry = |kind| Entry { kind, mode: 0o644, uid: 0, gid: 0 };
        let long = format!("{}/file", "d".repeat(150));
        let entries: Entries = [
            (PathBuf::from("b"), entry(Kind::File(file.clone()))),
            (PathBuf::from("a"), entry(Kind::Link("b".into()))),
            (PathBuf::from(long), entry(Kind::Content(b"x".to_vec()))),
        ]
        .into();
        let first = write(&entries, 1, &dir.path().join("1")).unwrap();
        let second = write(&entries, 1, &dir.path().join("2")).unwrap();
        assert_eq!(first.digest, second.digest);
        assert_eq!(first.digest, Digest::of(fs::read(dir.path().join("1")).unwrap()));
        let before = fingerprint(&entries).unwrap();
        fs::write(&file, "changed").unwrap();
        assert_ne!(before, fingerprint(&entries).unwrap());
    }

    #[test]
    fn an_upper_directory_becomes_a_layer() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("upper");
        fs::create_dir_all(upper.join("app")).unwrap();
        fs::write(upper.join("app/z"), "same").unwrap();
        fs::hard_link(upper.join("app/z"), upper.join("app/a")).unwrap();
        let marks = crate::unpack::whiteout(&upper.join("app/gone")).is_ok();
        let entries = from_upper(&upper).unwrap();
        assert!(
            matches!(&entries[Path::new("app/z")].kind, Kind::Hard(first) if first == Path::new("app/a"))
        );
        assert!(matches!(&entries[Path::new("app/a")].kind, Kind::File(_)));
        assert_eq!(entries.contains_key(Path::new("app/.wh.gone")), marks);
        let written = write(&entries, 0, &dir.path().join("layer")).unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let layer = File::open(dir.path().join("layer")).unwrap();
        assert_eq!(crate::unpack::unpack(layer, &out).unwrap(), written.diff_id);
        assert_eq!(fs::read_to_string(out.join("app/z")).unwrap(), "same");
    }
}
