//! What a build reads: a tree of files, and a reader that notes what it was asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::Error;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// Files by their paths: relative to the root, `/` between names, no `.` or `..`, `""` for the root.
pub trait Tree {
    /// The content of a file; none when there is no file of that path.
    fn read(&self, path: &str) -> Option<Bytes>;
    /// Whether there is something at a path, and what.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// The names in a directory, sorted; empty when there is no such directory.
    fn list(&self, path: &str) -> Vec<(String, Kind)>;
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    files: BTreeMap<String, Bytes>,
}

impl MemoryTree {
    /// From paths and contents.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Bytes>) {
        self.files.insert(path.into(), content.into());
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = self.files.range(prefix.clone()..);
        from.map_while(move |(name, _)| name.strip_prefix(prefix.as_str()))
    }
}

impl Tree for MemoryTree {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).cloned()
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        if self.files.contains_key(path) {
            return Some(Kind::File);
        }
        (path.is_empty() || self.below(path).next().is_some()).then_some(Kind::Directory)
    }

    fn list(&self, path: &str) -> Vec<(String, Kind)> {
        let mut names = BTreeMap::new();
        for name in self.below(path) {
            match name.split_once('/') {
                Some((dir, _)) => names.insert(dir.to_owned(), Kind::Directory),
                None => names.insert(name.to_owned(), Kind::File),
            };
        }
        names.into_iter().collect()
    }
}

/// A tree with one file laid over it.
pub struct Overlay<'a> {
    /// What is below.
    pub base: &'a dyn Tree,
    /// Where the file is.
    pub path: String,
    /// Its content.
    pub content: Bytes,
}

impl Tree for Overlay<'_> {
    fn read(&self, path: &str) -> Option<Bytes> {
        if path == self.path { Some(self.content.clone()) } else { self.base.read(path) }
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        if path == self.path { Some(Kind::File) } else { self.base.kind(path) }
    }

    fn list(&self, path: &str) -> Vec<(String, Kind)> {
        let mut names = self.base.list(path);
        let (dir, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        if dir == path && !names.iter().any(|(other, _)| other == name) {
            names.push((name.to_owned(), Kind::File));
            names.sort();
        }
        names
    }
}

/// `path` as seen from directory `dir`; none when it is absolute or leaves the root.
pub fn join(dir: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut names: Vec<&str> = dir.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

/// A tree that notes which paths were asked for.
pub(crate) struct Reader<'a> {
    tree: &'a dyn Tree,
    unrestricted: bool,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tree: &'a dyn Tree, unrestricted: bool) -> Self {
        Self { tree, unrestricted, read: RefCell::default() }
    }

    pub(crate) fn into_read(self) -> BTreeSet<String> {
        self.read.into_inner()
    }

    pub(crate) fn kind(&self, path: &str) -> Option<Kind> {
        self.read.borrow_mut().insert(path.to_owned());
        self.tree.kind(path)
    }

    pub(crate) fn read(&self, path: &str) -> Option<Bytes> {
        self.read.borrow_mut().insert(path.to_owned());
        self.tree.read(path)
    }

    /// A file that the kustomization in `dir` names.
    pub(crate) fn load(&self, dir: &str, file: &str, path: &str) -> Result<(String, Bytes), Error> {
        let outside = |path: String| Error::Outside { file: file.to_owned(), path, dir: shown(dir) };
        let full = join(dir, path).ok_or_else(|| outside(path.to_owned()))?;
        let inside = dir.is_empty() || full.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
        let missing = || Error::Missing { file: file.to_owned(), path: path.to_owned() };
        let content = self.read(&full).ok_or_else(missing)?;
        if !inside && !self.unrestricted {
            return Err(outside(shown(&full)));
        }
        Ok((full, content))
    }

    /// A text file that the kustomization in `dir` names.
    pub(crate) fn load_text(&self, dir: &str, file: &str, path: &str) -> Result<(String, String), Error> {
        let (full, content) = self.load(dir, file, path)?;
        match String::from_utf8(content.to_vec()) {
            Ok(text) => Ok((full, text)),
            Err(_) => Err(Error::Invalid { file: full, message: "the file is not UTF-8 text".to_owned() }),
        }
    }
}

/// A directory as errors name it.
pub(crate) fn shown(dir: &str) -> String {
    format!("/{dir}")
}
