//! Files of a source's artifact, read from the Git objects that the source controller fetched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use git::Repository;
use kustomize::{ContentId, MemoryTree, Renderer};
use object::Key;
use serde_json::Value;

use crate::source::ignore::Ignore;

/// Largest file that can be part of a manifest; larger ones are as if they were not there.
const FILE_LIMIT: u64 = 16 << 20;

/// Where the fetched repository of a GitRepository lies.
pub(crate) fn directory(cache: &Path, source: &Key) -> PathBuf {
    cache.join(&source.namespace).join(format!("{}.git", source.name))
}

/// Most bytes that are kept of what was rendered from one source: a thousand overlays of a dozen objects take 24 MiB.
const RENDERED_LIMIT: usize = 32 << 20;

/// A commit's files, as the Kustomizations may read them.
pub(crate) struct Snapshot {
    /// Git's id of the tree: equal ids mean equal files.
    pub(crate) tree_id: String,
    pub(crate) files: MemoryTree,
    renderer: Arc<Mutex<Renderer>>,
}

impl Snapshot {
    /// What renders this source's files: it knows what it made of earlier commits, so that a commit costs what it
    /// changes.
    pub(crate) fn renderer(&self) -> MutexGuard<'_, Renderer> {
        self.renderer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads snapshots; keeps the blobs of the last one of each source, since most stay the same between two commits.
pub(crate) struct Sources {
    cache: PathBuf,
    last: Mutex<HashMap<Key, Arc<Kept>>>,
}

struct Kept {
    commit: String,
    ignore: Option<String>,
    snapshot: Arc<Snapshot>,
    blobs: HashMap<String, Bytes>,
}

impl Sources {
    pub(crate) fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), last: Mutex::default() }
    }

    /// The files of a commit of a source, without the ignored ones.
    pub(crate) async fn snapshot(
        &self,
        source: &Key,
        object: &Value,
        commit: &str,
    ) -> Result<Arc<Snapshot>, git::Error> {
        let ignore = object["spec"]["ignore"].as_str().map(str::to_owned);
        let last = self.lock().get(source).cloned();
        if let Some(kept) = last.as_ref().filter(|kept| kept.commit == commit && kept.ignore == ignore) {
            return Ok(kept.snapshot.clone());
        }
        let repository = Repository::at(directory(&self.cache, source));
        let tree_id = repository.commit_at(commit).await?.tree;
        let mut entries = repository.read_tree(commit, "", true).await?;
        entries.retain(|entry| {
            let regular = entry.kind == "blob" && entry.mode != "120000";
            regular && entry.size.is_none_or(|size| size <= FILE_LIMIT)
        });
        let mut blobs = HashMap::new();
        let missing: Vec<String> = entries
            .iter()
            .map(|entry| &entry.id)
            .filter(|id| match last.as_ref().and_then(|kept| kept.blobs.get(*id)) {
                Some(blob) => {
                    blobs.insert((*id).clone(), blob.clone());
                    false
                }
                None => true,
            })
            .cloned()
            .collect();
        let contents = repository.read_blobs(&missing).await?;
        blobs.extend(missing.into_iter().zip(contents));
        let content = |entry: &git::repository::Entry| blobs.get(&entry.id).cloned().unwrap_or_default();
        let in_repository =
            entries.iter().filter(|entry| entry.path.rsplit('/').next() == Some(".sourceignore"));
        let files: Vec<(String, Bytes)> =
            in_repository.map(|entry| (entry.path.clone(), content(entry))).collect();
        let rules = Ignore::new(ignore.as_deref(), &files);
        let files = entries.iter().filter(|entry| !rules.excludes(&entry.path));
        // Git's ids are those of contents.
        let id = |entry: &git::repository::Entry| ContentId::of(entry.id.as_bytes());
        let files = MemoryTree::with_ids(files.map(|entry| (entry.path.clone(), content(entry), id(entry))));
        let renderer = match &last {
            Some(kept) => kept.snapshot.renderer.clone(),
            None => Arc::new(Mutex::new(Renderer::with_size_limit(RENDERED_LIMIT))),
        };
        let snapshot = Arc::new(Snapshot { tree_id, files, renderer });
        let kept = Kept { commit: commit.to_owned(), ignore, snapshot: snapshot.clone(), blobs };
        self.keep(source, kept);
        Ok(snapshot)
    }

    /// Keeps the last of a source, and nothing of sources whose repository was deleted meanwhile.
    fn keep(&self, source: &Key, kept: Kept) {
        let mut last = self.lock();
        last.retain(|source, _| directory(&self.cache, source).is_dir());
        last.insert(source.clone(), Arc::new(kept));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Kept>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_sources_are_forgotten() {
        let cache = tempfile::tempdir().unwrap();
        let sources = Sources::new(cache.path());
        let kept = || Kept {
            commit: String::new(),
            ignore: None,
            snapshot: Arc::new(Snapshot {
                tree_id: String::new(),
                files: MemoryTree::default(),
                renderer: Arc::default(),
            }),
            blobs: HashMap::new(),
        };
        let keys = ["a", "b"].map(|name| Key::new("ns", name));
        for key in &keys {
            std::fs::create_dir_all(directory(cache.path(), key)).unwrap();
            sources.keep(key, kept());
        }
        assert_eq!(sources.lock().len(), 2);
        std::fs::remove_dir(directory(cache.path(), &keys[0])).unwrap();
        sources.keep(&keys[1], kept());
        assert_eq!(sources.lock().keys().collect::<Vec<_>>(), [&keys[1]]);
    }
}
