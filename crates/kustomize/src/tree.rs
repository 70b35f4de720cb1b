//! What a build reads from: a tree of files, given by the caller.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// What tells one content of a file from another: equal ids mean equal content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// The id of a content that nothing better is known about: its SHA-256.
    pub fn of(content: &[u8]) -> Self {
        Self::from_digest(digest(&SHA256, content).as_ref())
    }

    /// From a digest that somebody keeps anyway, such as the id of a Git blob: up to 32 bytes.
    pub fn from_digest(digest: &[u8]) -> Self {
        let mut id = [0; 32];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

/// Files by their paths: relative to the root, `/` between names, no `.` or `..`, `""` for the root.
pub trait Tree {
    /// The content of a file; none when there is no file of that path.
    fn read(&self, path: &str) -> Option<Bytes>;

    /// Whether there is something at a path, and what. A symbolic link is what it leads to.
    fn kind(&self, path: &str) -> Option<Kind>;

    /// The names in a directory, sorted; empty when there is no such directory.
    fn list(&self, path: &str) -> Vec<(String, Kind)>;

    /// The size of a file in bytes where that is known without reading it: a file above the limit is then not read.
    fn size(&self, path: &str) -> Option<u64> {
        let _ = path;
        None
    }

    /// What tells the content of a file from any other; none when there is no file of that path. A [`Renderer`] asks for
    /// it instead of reading what it has read before, so a tree that knows ids without reading does well to say them.
    ///
    /// [`Renderer`]: crate::Renderer
    fn id(&self, path: &str) -> Option<ContentId> {
        self.read(path).map(|content| ContentId::of(&content))
    }

    /// The path with every symbolic link on it followed; the same path where there are none. None when a link leads out
    /// of the root or nowhere. A build follows each path before it asks for anything else about it.
    fn follow(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }
}

/// Most symbolic links that one path may lead through: Linux has the same limit.
const LINK_LIMIT: usize = 40;

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
}

/// A file in memory.
#[derive(Clone, Debug)]
struct File {
    content: Bytes,
    /// Computed when it is first asked for.
    id: OnceLock<ContentId>,
}

impl File {
    fn new(content: Bytes) -> Self {
        Self { content, id: OnceLock::new() }
    }
}

impl MemoryTree {
    /// From paths and contents.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let files = files.into_iter().map(|(path, content)| (path, File::new(content)));
        Self { files: files.collect(), links: BTreeMap::new() }
    }

    /// From paths, contents and ids that tell the contents apart, where those are known anyway.
    pub fn with_ids(files: impl IntoIterator<Item = (String, Bytes, ContentId)>) -> Self {
        let file = |content, id| File { content, id: OnceLock::from(id) };
        let files = files.into_iter().map(|(path, content, id)| (path, file(content, id)));
        Self { files: files.collect(), links: BTreeMap::new() }
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Bytes>) {
        self.files.insert(path.into(), File::new(content.into()));
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Adds a symbolic link; the target is as `readlink` gives it, relative to the link's directory.
    pub fn link(&mut self, path: impl Into<String>, target: impl Into<String>) {
        self.links.insert(path.into(), target.into());
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = self.files.range(prefix.clone()..);
        from.map_while(move |(name, _)| name.strip_prefix(prefix.as_str()))
    }
}

impl Tree for MemoryTree {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).map(|file| file.content.clone())
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

    fn size(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|file| file.content.len() as u64)
    }

    fn id(&self, path: &str) -> Option<ContentId> {
        self.files.get(path).map(|file| *file.id.get_or_init(|| ContentId::of(&file.content)))
    }

    fn follow(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..=LINK_LIMIT {
            if self.links.is_empty() {
                return Some(path);
            }
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let mut links = ends.filter_map(|end| Some((end, self.links.get(path.get(..end)?)?)));
            let Some((end, target)) = links.next() else { return Some(path) };
            let (link, rest) = path.split_at(end);
            let dir = link.rsplit_once('/').map_or("", |(dir, _)| dir);
            path = join(dir, &format!("{target}{rest}"))?;
        }
        None
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

    fn size(&self, path: &str) -> Option<u64> {
        if path == self.path { Some(self.content.len() as u64) } else { self.base.size(path) }
    }

    fn id(&self, path: &str) -> Option<ContentId> {
        if path == self.path { Some(ContentId::of(&self.content)) } else { self.base.id(path) }
    }

    fn follow(&self, path: &str) -> Option<String> {
        if path == self.path { Some(path.to_owned()) } else { self.base.follow(path) }
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

/// Whether `path` is `dir` or lies below it.
pub(crate) fn is_in(dir: &str, path: &str) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path as errors name it.
pub(crate) fn shown(path: &str) -> String {
    format!("/{path}")
}
