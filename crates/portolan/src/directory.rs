//! A directory of this machine as the tree of a build.
//!
//! A build sees nothing outside of the root: a symbolic link that leads out is as good as broken. Only regular files are
//! read, up to kustomize's limit, so that neither a pipe nor a device can hold a build up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kustomize::{FILE_SIZE_LIMIT, Kind, Tree};

/// Files below a root. Paths of directories are looked up once: the tree is for one build.
pub(crate) struct Directory {
    /// Without links.
    root: PathBuf,
    /// Where the paths of directories lead.
    followed: RefCell<HashMap<String, Option<String>>>,
    /// Files that are there but could not be read.
    failures: RefCell<Vec<String>>,
}

impl Directory {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        Ok(Self { root, followed: RefCell::default(), failures: RefCell::default() })
    }

    /// What could not be read, in one line each; a build only sees that it is not there.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.borrow().clone()
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Where a path leads, from the root.
    fn resolve(&self, path: &str) -> Option<String> {
        let resolved = fs::canonicalize(self.full(path)).ok()?;
        Some(resolved.strip_prefix(&self.root).ok()?.to_str()?.to_owned())
    }

    /// As [`Tree::follow`], for a directory.
    fn follow_directory(&self, path: &str) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        if let Some(known) = self.followed.borrow().get(path) {
            return known.clone();
        }
        let followed = self.follow_last(path);
        self.followed.borrow_mut().insert(path.to_owned(), followed.clone());
        followed
    }

    /// Follows the directory that a path is in, then its last name.
    fn follow_last(&self, path: &str) -> Option<String> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.follow_directory(dir)?;
        let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        match fs::symlink_metadata(self.full(&path)) {
            Ok(metadata) if metadata.is_symlink() => self.resolve(&path),
            _ => Some(path),
        }
    }

    fn try_read(&self, path: &str) -> io::Result<Option<Bytes>> {
        let full = self.full(path);
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = match fs::symlink_metadata(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut content =
            Vec::with_capacity(usize::try_from(metadata.len().min(FILE_SIZE_LIMIT)).unwrap_or(0));
        File::open(full)?.take(FILE_SIZE_LIMIT + 1).read_to_end(&mut content)?;
        Ok(Some(content.into()))
    }
}

fn kind_of(file_type: fs::FileType) -> Option<Kind> {
    if file_type.is_file() {
        Some(Kind::File)
    } else if file_type.is_dir() {
        Some(Kind::Directory)
    } else {
        None
    }
}

impl Tree for Directory {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.try_read(path).unwrap_or_else(|error| {
            self.failures.borrow_mut().push(format!("{}: {error}", self.full(path).display()));
            None
        })
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        kind_of(fs::symlink_metadata(self.full(path)).ok()?.file_type())
    }

    fn list(&self, path: &str) -> Vec<(String, Kind)> {
        let entries = fs::read_dir(self.full(path)).into_iter().flatten().flatten();
        let mut names: Vec<(String, Kind)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let mut found = entry.file_type().ok()?;
                if found.is_symlink() {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    found = fs::symlink_metadata(self.full(&self.resolve(&path)?)).ok()?.file_type();
                }
                Some((name, kind_of(found)?))
            })
            .collect();
        names.sort();
        names
    }

    fn size(&self, path: &str) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.full(path)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    fn follow(&self, path: &str) -> Option<String> {
        self.follow_directory(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("base/files")).unwrap();
        fs::write(root.join("base/a.yaml"), "a: 1\n").unwrap();
        fs::write(folder.path().join("secret"), "out").unwrap();
        symlink("base", root.join("alias")).unwrap();
        symlink("../../../secret", root.join("base/files/out")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        symlink(root.join("base"), root.join("absolute")).unwrap();
        let directory = Directory::open(&root).unwrap();
        (folder, directory)
    }

    #[test]
    fn links_within_the_root_are_followed() {
        let (_folder, tree) = directory();
        assert_eq!(tree.follow("alias/a.yaml").as_deref(), Some("base/a.yaml"));
        assert_eq!(tree.follow("absolute/a.yaml").as_deref(), Some("base/a.yaml"));
        assert_eq!(tree.follow("alias/missing").as_deref(), Some("base/missing"));
        assert_eq!(tree.follow("no/such/path").as_deref(), Some("no/such/path"));
        assert_eq!(tree.follow("").as_deref(), Some(""));
    }

    #[test]
    fn links_out_of_the_root_and_broken_ones_lead_nowhere() {
        let (_folder, tree) = directory();
        for path in ["base/files/out", "alias/files/out", "broken", "broken/x"] {
            assert_eq!(tree.follow(path), None, "{path}");
        }
        assert_eq!(tree.read("base/files/out"), None);
        assert_eq!(tree.list("base/files"), []);
    }

    #[test]
    fn only_regular_files_are_read() {
        let (folder, tree) = directory();
        let pipe = folder.path().join("root/pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!((tree.kind("pipe"), tree.read("pipe")), (None, None));
        assert_eq!(tree.read("base"), None);
        assert_eq!(tree.read("base/a.yaml").as_deref(), Some(&b"a: 1\n"[..]));
        assert_eq!(tree.failures(), <[String; 0]>::default());
    }

    #[test]
    fn names_come_sorted_with_what_links_lead_to() {
        let (_folder, tree) = directory();
        let names: Vec<_> = tree.list("").into_iter().collect();
        let expected = [("absolute", Kind::Directory), ("alias", Kind::Directory), ("base", Kind::Directory)];
        assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
