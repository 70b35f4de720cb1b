//! Layers into directories: what archives may and may not do.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use registry::digest::Digest;
use registry::unpack::{UnpackError, is_opaque, is_whiteout, unpack};
use tar::{EntryType, Header};

enum Item<'a> {
    File(&'a str, &'a str, u32),
    Dir(&'a str, u32),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
}

/// Writes names as they are: the `tar` crate's own builder would refuse the evil ones.
fn archive(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        let (name, content, kind, mode, target) = match *item {
            Item::File(name, content, mode) => (name, content, EntryType::Regular, mode, ""),
            Item::Dir(name, mode) => (name, "", EntryType::Directory, mode, ""),
            Item::Link(name, target) => (name, "", EntryType::Symlink, 0o777, target),
            Item::Hard(name, target) => (name, "", EntryType::Link, 0o644, target),
        };
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(items: &[Item<'_>]) -> (tempfile::TempDir, Result<Digest, UnpackError>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    std::fs::write(dir.path().join("outside"), "untouched").unwrap();
    let done = unpack(archive(items).as_slice(), &dir.path().join("root"));
    (dir, done)
}

fn read(dir: &tempfile::TempDir, path: &str) -> String {
    std::fs::read_to_string(dir.path().join("root").join(path)).unwrap()
}

#[test]
fn files_links_and_modes_are_kept() {
    let (dir, done) = unpacked(&[
        Item::Dir("bin", 0o555),
        Item::File("bin/tool", "tool", 0o4755),
        Item::Hard("bin/same", "bin/tool"),
        Item::Link("etc", "bin"),
        Item::File("a/b/c", "deep", 0o600),
    ]);
    done.unwrap();
    let root = dir.path().join("root");
    let meta = |path: &str| std::fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!(meta("bin/tool").permissions().mode() & 0o7777, 0o4755);
    assert_eq!(meta("bin/tool").mtime(), 1_000_000_000);
    assert_eq!(meta("bin/tool").ino(), meta("bin/same").ino());
    assert_eq!(std::fs::read_link(root.join("etc")).unwrap(), Path::new("bin"));
    assert_eq!(read(&dir, "a/b/c"), "deep");
    // The owner has to be able to remove the directory again.
    std::fs::set_permissions(root.join("bin"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nothing_is_written_outside() {
    let evil: [&[Item<'_>]; 6] = [
        &[Item::File("../outside", "evil", 0o644)],
        &[Item::File("a/../../outside", "evil", 0o644)],
        &[Item::Link("up", ".."), Item::File("up/outside", "evil", 0o644)],
        &[Item::Hard("mine", "../outside"), Item::File("mine", "evil", 0o644)],
        &[Item::Link("up", "../outside"), Item::File("up", "evil", 0o644)],
        &[Item::Link("d", ".."), Item::Hard("mine", "d/outside"), Item::File("mine", "evil", 0o644)],
    ];
    for (n, items) in evil.iter().enumerate() {
        let (dir, _) = unpacked(items);
        assert_eq!(std::fs::read_to_string(dir.path().join("outside")).unwrap(), "untouched", "archive {n}");
    }
    let (_dir, done) = unpacked(evil[0]);
    assert!(matches!(done, Err(UnpackError::Escape(_))), "{done:?}");
    let (dir, done) = unpacked(&[Item::File("/etc/passwd", "inside", 0o644)]);
    done.unwrap();
    assert_eq!(read(&dir, "etc/passwd"), "inside");
}

#[test]
fn removals_become_overlay_whiteouts() {
    let (dir, done) = unpacked(&[
        Item::Dir("etc", 0o755),
        Item::File("etc/.wh.passwd", "", 0o644),
        Item::Dir("var", 0o755),
        Item::File("var/.wh..wh..opq", "", 0o644),
        Item::File("var/new", "new", 0o644),
    ]);
    if let Err(UnpackError::Entry { source, .. }) = &done
        && matches!(source.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::Unsupported)
    {
        println!("skipped: this file system takes no overlay marks: {source}");
        return;
    }
    done.unwrap();
    let root = dir.path().join("root");
    assert!(is_whiteout(&std::fs::symlink_metadata(root.join("etc/passwd")).unwrap()));
    assert!(is_opaque(&root.join("var")) && !is_opaque(&root.join("etc")));
    assert_eq!(read(&dir, "var/new"), "new");
}

#[test]
fn the_digest_is_of_the_plain_archive() {
    let plain = archive(&[Item::File("x", "content", 0o644)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    for layer in [&plain, &gzip] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unpack(layer.as_slice(), dir.path()).unwrap(), Digest::of(&plain));
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(unpack(&gzip[..gzip.len() / 2], dir.path()).is_err(), "a cut layer was accepted");
    let zstd = unpack([0x28, 0xb5, 0x2f, 0xfd, 0].as_slice(), dir.path());
    assert!(matches!(zstd, Err(UnpackError::Compression(_))));
}
