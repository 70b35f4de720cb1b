//! Reads for a build: follows links, keeps to the limits and the restrictions, and notes what was asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::node::{Node, read_documents};
use crate::remote::{Fetch, is_url};
use crate::tree::{Kind, Tree, is_in, join, shown};
use crate::{Error, FILE_COUNT_LIMIT, FILE_SIZE_LIMIT, TOTAL_SIZE_LIMIT};

/// A tree that notes which paths were asked for.
pub(crate) struct Reader<'a> {
    tree: &'a dyn Tree,
    pub(crate) fetch: Option<&'a dyn Fetch>,
    unrestricted: bool,
    read: RefCell<BTreeSet<String>>,
    size: Cell<u64>,
    /// Documents of the manifests read so far: a base that several overlays use is parsed once.
    documents: RefCell<HashMap<String, Arc<[Node]>>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tree: &'a dyn Tree, unrestricted: bool, fetch: Option<&'a dyn Fetch>) -> Self {
        Self {
            tree,
            fetch,
            unrestricted,
            read: RefCell::default(),
            size: Cell::default(),
            documents: RefCell::default(),
        }
    }

    /// Every path that was asked for.
    pub(crate) fn into_read(self) -> BTreeSet<String> {
        self.read.into_inner()
    }

    /// Where a path leads once links are followed.
    pub(crate) fn follow(&self, path: &str) -> Option<String> {
        let followed = self.tree.follow(path)?;
        let mut read = self.read.borrow_mut();
        if followed != path {
            read.insert(path.to_owned());
        }
        read.insert(followed.clone());
        Some(followed)
    }

    /// What is at a path that was followed.
    pub(crate) fn kind(&self, path: &str) -> Option<Kind> {
        self.tree.kind(path)
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
        let content = self.content(file, &followed)?;
        let missing = || Error::Missing { file: file.to_owned(), path: shown(&full) };
        Ok((full.clone(), content.ok_or_else(missing)?))
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
        let (full, content) = self.load(dir, file, path)?;
        if let Some(documents) = self.documents.borrow().get(&full) {
            return Ok((full, documents.clone()));
        }
        let documents: Arc<[Node]> = read_documents(text(&full, &content)?)
            .map_err(|error| Error::Yaml { file: full.clone(), error })?
            .into();
        self.documents.borrow_mut().insert(full.clone(), documents.clone());
        Ok((full, documents))
    }

    /// The content of a followed path; none when there is no file.
    pub(crate) fn content(&self, file: &str, path: &str) -> Result<Option<Bytes>, Error> {
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
        let Some(content) = self.tree.read(path) else { return Ok(None) };
        check(content.len() as u64)?;
        self.size.set(self.size.get() + content.len() as u64);
        if self.size.get() > TOTAL_SIZE_LIMIT {
            let limit = usize::try_from(TOTAL_SIZE_LIMIT).unwrap_or(usize::MAX);
            return Err(Error::Limit { what: "bytes read in one build", limit });
        }
        Ok(Some(content))
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

/// Why a remote reference fails where nobody fetches.
pub(crate) const NO_FETCHER: &str = "remote files and repositories are not fetched here";

/// A file's content as text.
pub(crate) fn text<'c>(file: &str, content: &'c [u8]) -> Result<&'c str, Error> {
    let invalid =
        |_| Error::Invalid { file: file.to_owned(), message: "the file is not UTF-8 text".to_owned() };
    std::str::from_utf8(content).map_err(invalid)
}
