//! Reads for a build: follows links, keeps to the limits and the restrictions, and notes what was asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::node::{Node, Text, read_documents};
use crate::remote::{Fetch, is_url};
use crate::renderer::{COST, Known, Parsed, Seen};
use crate::tree::{ContentId, Kind, Tree, is_in, join, shown};
use crate::{Error, FILE_COUNT_LIMIT, FILE_SIZE_LIMIT, TOTAL_SIZE_LIMIT};

/// A tree that notes which paths were asked for.
pub(crate) struct Reader<'a> {
    tree: &'a dyn Tree,
    pub(crate) fetch: Option<&'a dyn Fetch>,
    unrestricted: bool,
    read: RefCell<BTreeSet<String>>,
    bytes: Cell<u64>,
    /// Documents of the manifests that were read more than once, for a base that several overlays use. Most are read
    /// once: those are not kept, so that what changes in them need not be copied.
    documents: RefCell<HashMap<String, Option<Arc<[Node]>>>>,
    /// What other builds have made, and what this one has seen, if that is to be used again.
    known: Option<&'a RefCell<Known>>,
    seen: RefCell<Vec<Seen>>,
}

/// A file that was looked for.
pub(crate) enum Look<T> {
    Missing,
    /// What was made of the same content before.
    Known(T),
    /// The content, and its id if what is made of it is to be kept.
    Content(Bytes, Option<ContentId>),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tree: &'a dyn Tree, unrestricted: bool, fetch: Option<&'a dyn Fetch>) -> Self {
        Self {
            tree,
            fetch,
            unrestricted,
            read: RefCell::default(),
            bytes: Cell::default(),
            documents: RefCell::default(),
            known: None,
            seen: RefCell::default(),
        }
    }

    /// A reader that takes and gives what can be used again, and notes what it has seen.
    pub(crate) fn knowing(tree: &'a dyn Tree, unrestricted: bool, known: &'a RefCell<Known>) -> Self {
        Self { known: Some(known), ..Self::new(tree, unrestricted, None) }
    }

    /// Every path that was asked for, and what was seen there.
    pub(crate) fn finish(self) -> (BTreeSet<String>, Vec<Seen>) {
        (self.read.into_inner(), self.seen.into_inner())
    }

    pub(crate) fn tree(&self) -> &'a dyn Tree {
        self.tree
    }

    pub(crate) fn known(&self) -> Option<&'a RefCell<Known>> {
        self.known
    }

    pub(crate) fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// How many bytes were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    fn note(&self, seen: impl FnOnce() -> Seen) {
        if self.known.is_some() {
            self.seen.borrow_mut().push(seen());
        }
    }

    /// How much was seen so far.
    pub(crate) fn seen_so_far(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Takes away what was seen since.
    pub(crate) fn take_seen(&self, since: usize) -> Vec<Seen> {
        self.seen.borrow_mut().split_off(since)
    }

    /// Notes all that a layer has seen.
    pub(crate) fn note_layer(&self, seen: Arc<[Seen]>) {
        self.note(|| Seen::Layer(seen));
    }

    /// Notes what another build has read, as if it were read here. An error if that is too much for one build.
    pub(crate) fn recall(&self, seen: &Arc<[Seen]>, bytes: u64) -> Result<(), Error> {
        self.take(bytes)?;
        let mut read = self.read.borrow_mut();
        add_paths(seen, &mut read);
        if read.len() > FILE_COUNT_LIMIT {
            return Err(Error::Limit { what: "files in one build", limit: FILE_COUNT_LIMIT });
        }
        self.note_layer(seen.clone());
        Ok(())
    }

    /// Counts what is read.
    fn take(&self, bytes: u64) -> Result<(), Error> {
        self.bytes.set(self.bytes.get() + bytes);
        if self.bytes.get() > TOTAL_SIZE_LIMIT {
            let limit = usize::try_from(TOTAL_SIZE_LIMIT).unwrap_or(usize::MAX);
            return Err(Error::Limit { what: "bytes read in one build", limit });
        }
        Ok(())
    }

    /// Keeps what was made of a content for other builds.
    pub(crate) fn keep(&self, id: Option<ContentId>, keep: impl FnOnce(&mut Known, ContentId)) {
        if let (Some(known), Some(id)) = (self.known, id) {
            keep(&mut known.borrow_mut(), id);
        }
    }

    /// Where a path leads once links are followed.
    pub(crate) fn follow(&self, path: &str) -> Option<String> {
        let followed = self.tree.follow(path);
        self.note(|| Seen::Followed { path: path.into(), to: followed.as_deref().map(Text::from) });
        let followed = followed?;
        let mut read = self.read.borrow_mut();
        if followed != path {
            read.insert(path.to_owned());
        }
        if !read.contains(&followed) {
            read.insert(followed.clone());
        }
        Some(followed)
    }

    /// What is at a path that was followed.
    pub(crate) fn kind(&self, path: &str) -> Option<Kind> {
        let kind = self.tree.kind(path);
        self.note(|| Seen::Kind { path: path.into(), kind });
        kind
    }

    /// Whether a kustomization in `dir` may read a file at a followed path.
    pub(crate) fn permits(&self, dir: &str, followed: &str) -> bool {
        self.unrestricted || is_in(dir, followed)
    }

    /// A path that a kustomization in `dir` names, from the root. An absolute one is the tree's.
    pub(crate) fn resolve(dir: &str, path: &str) -> Option<String> {
        match path.strip_prefix('/') {
            Some(absolute) => join("", absolute.trim_start_matches('/')),
            None => join(dir, path),
        }
    }

    /// A file that the kustomization `file` in `dir` names: where it is and what it says.
    pub(crate) fn load(&self, dir: &str, file: &str, path: &str) -> Result<(String, Bytes), Error> {
        if is_url(path) {
            return self.load_url(file, path);
        }
        let (full, followed) = self.locate(dir, file, path)?;
        match self.look(file, &followed, |_, _| None::<Parsed<()>>)? {
            Look::Content(content, _) => Ok((full, content)),
            _ => Err(Error::Missing { file: file.to_owned(), path: shown(&full) }),
        }
    }

    /// Where a file is that the kustomization `file` in `dir` names, as written and with links followed.
    fn locate(&self, dir: &str, file: &str, path: &str) -> Result<(String, String), Error> {
        let outside = |path: String| Error::Outside { file: file.to_owned(), path, dir: shown(dir) };
        let full = Self::resolve(dir, path).ok_or_else(|| outside(path.to_owned()))?;
        let link = || Error::Link { file: file.to_owned(), path: shown(&full) };
        let followed = self.follow(&full).ok_or_else(link)?;
        match self.kind(&followed) {
            Some(Kind::File) => {}
            Some(Kind::Directory) => {
                return Err(Error::NotFile { file: file.to_owned(), path: shown(&full) });
            }
            None => return Err(Error::Missing { file: file.to_owned(), path: shown(&full) }),
        }
        if !self.permits(dir, &followed) {
            return Err(outside(shown(&full)));
        }
        Ok((full, followed))
    }

    /// A text file that the kustomization in `dir` names.
    pub(crate) fn load_text(&self, dir: &str, file: &str, path: &str) -> Result<(String, String), Error> {
        let (full, content) = self.load(dir, file, path)?;
        let text = text(&full, &content)?.to_owned();
        Ok((full, text))
    }

    /// The documents of a manifest that the kustomization in `dir` names, empty ones included.
    pub(crate) fn load_documents(
        &self,
        dir: &str,
        file: &str,
        path: &str,
    ) -> Result<(String, Arc<[Node]>), Error> {
        let (full, content, id) = if is_url(path) {
            let (full, content) = self.load_url(file, path)?;
            (full, content, None)
        } else {
            let (full, followed) = self.locate(dir, file, path)?;
            match self.look(file, &followed, |known, id| known.documents.get(&id))? {
                Look::Known(documents) => return Ok((full, documents)),
                Look::Content(content, id) => (full, content, id),
                Look::Missing => return Err(Error::Missing { file: file.to_owned(), path: shown(&full) }),
            }
        };
        let before = self.documents.borrow().get(&full).cloned();
        if let Some(Some(documents)) = before {
            return Ok((full, documents));
        }
        let documents: Arc<[Node]> = read_documents(text(&full, &content)?)
            .map_err(|error| Error::Yaml { file: full.clone(), error })?
            .into();
        if self.known.is_none() {
            self.documents.borrow_mut().insert(full.clone(), before.map(|_| documents.clone()));
        }
        self.keep(id, |known, id| {
            let (what, size) = (documents.clone(), content.len());
            known.documents.insert(id, Parsed { what, size: size as u64 }, COST * size);
        });
        Ok((full, documents))
    }

    /// A file at a followed path: what was made of it before, as `find` finds it, or its content.
    pub(crate) fn look<T>(
        &self,
        file: &str,
        path: &str,
        find: impl FnOnce(&mut Known, ContentId) -> Option<Parsed<T>>,
    ) -> Result<Look<T>, Error> {
        let check = |size: u64| {
            if size <= FILE_SIZE_LIMIT {
                return Ok(());
            }
            let (file, path) = (file.to_owned(), shown(path));
            Err(Error::TooLarge { file, path, size, limit: FILE_SIZE_LIMIT })
        };
        if self.read.borrow().len() > FILE_COUNT_LIMIT {
            return Err(Error::Limit { what: "files in one build", limit: FILE_COUNT_LIMIT });
        }
        check(self.tree.size(path).unwrap_or_default())?;
        let mut id = None;
        if let Some(known) = self.known {
            id = self.tree.id(path);
            self.note(|| Seen::Content { path: path.into(), id });
            let Some(id) = id else { return Ok(Look::Missing) };
            if let Some(found) = find(&mut known.borrow_mut(), id) {
                self.take(found.size)?;
                return Ok(Look::Known(found.what));
            }
        }
        let Some(content) = self.tree.read(path) else { return Ok(Look::Missing) };
        check(content.len() as u64)?;
        self.take(content.len() as u64)?;
        Ok(Look::Content(content, id))
    }

    fn load_url(&self, file: &str, url: &str) -> Result<(String, Bytes), Error> {
        let failed = |reason: String| Error::Remote { file: file.to_owned(), url: url.to_owned(), reason };
        let fetch = self.fetch.ok_or_else(|| failed(NO_FETCHER.to_owned()))?;
        let content = fetch.file(url).map_err(failed)?;
        let size = content.len() as u64;
        if size > FILE_SIZE_LIMIT {
            let (file, path) = (file.to_owned(), url.to_owned());
            return Err(Error::TooLarge { file, path, size, limit: FILE_SIZE_LIMIT });
        }
        Ok((url.to_owned(), content))
    }
}

/// Every path that was followed, and where it led.
fn add_paths(seen: &[Seen], read: &mut BTreeSet<String>) {
    for seen in seen {
        match seen {
            Seen::Followed { path, to: Some(to) } => {
                for path in [path, to] {
                    if !read.contains(&**path) {
                        read.insert(path.to_string());
                    }
                }
            }
            Seen::Layer(seen) => add_paths(seen, read),
            _ => {}
        }
    }
}

/// Why a remote reference fails where nobody fetches.
pub(crate) const NO_FETCHER: &str = "remote files and repositories are not fetched here";

/// A file's content as text.
pub(crate) fn text<'c>(file: &str, content: &'c [u8]) -> Result<&'c str, Error> {
    let invalid =
        |_| Error::Invalid { file: file.to_owned(), message: "the file is not UTF-8 text".to_owned() };
    std::str::from_utf8(content).map_err(invalid)
}
