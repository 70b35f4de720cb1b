//! The server's memory: every object as JSON bytes under one counter of revisions, a window of recent events per
//! collection for watches, and a write-ahead log below, so that what was answered survives a crash.
//!
//! Reads take a shared lock and clone reference-counted bytes. Writes go through one committer thread (`commit`), which checks the
//! preconditions of a batch, writes the batch with one `fdatasync`, and only then makes it visible and answers.
//! A watch is a cursor into its collection's window: a slow watcher costs nothing but, at last, its own 410.

mod commit;
mod log;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

pub use log::OpenError;
use window::Window;
pub use window::{Change, Event};

/// Longest wait for a revision that this server has not reached yet, as Kubernetes waits.
const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);

/// One stored object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object as JSON, its `metadata.resourceVersion` included.
    pub value: Bytes,
    /// Revision of its last change.
    pub revision: u64,
}

/// JSON text cut where the resource version belongs, because only the committer knows the number.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Up to and including the opening quote of the resource version.
    pub before: Vec<u8>,
    /// From the closing quote on.
    pub after: Vec<u8>,
}

impl Cut {
    /// The whole text with a revision filled in.
    pub fn fill(&self, revision: u64) -> Bytes {
        let mut text = Vec::with_capacity(self.before.len() + self.after.len() + 20);
        text.extend_from_slice(&self.before);
        text.extend_from_slice(revision.to_string().as_bytes());
        text.extend_from_slice(&self.after);
        text.into()
    }
}

/// What has to hold when a write is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is stored under the key.
    Absent,
    /// The key's last change is this revision.
    Revision(u64),
}

/// One change of one key.
#[derive(Debug)]
pub struct Write {
    /// `<group>/<plural>`, the collection.
    pub collection: String,
    /// `<namespace>/<name>`, or `<name>` at cluster scope.
    pub key: String,
    /// Precondition.
    pub expect: Expect,
    /// Whether the object goes; the value is then its last state, which watchers see.
    pub delete: bool,
    /// The value to store.
    pub value: Cut,
}

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The precondition does not hold: somebody else was first.
    #[error("the stored object has changed")]
    Conflict,
    /// The log could not be written; nothing of the write is visible or will be after a restart.
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(Arc<std::io::Error>),
    /// The server is closing.
    #[error("the store is closed")]
    Closed,
}

/// Why a read at a revision is not possible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The revision's history is gone; `oldest` is the oldest that is still there.
    #[error("too old resource version: {asked} ({oldest})")]
    Compacted {
        /// What was asked for.
        asked: u64,
        /// The oldest revision that can be asked for.
        oldest: u64,
    },
    /// The revision lies in the future.
    #[error("Too large resource version: {asked}, current: {current}")]
    Future {
        /// What was asked for.
        asked: u64,
        /// The newest revision there is.
        current: u64,
    },
}

/// A part of a collection as of one revision.
#[derive(Debug)]
pub struct Page {
    /// Keys and entries in byte order of the key.
    pub items: Vec<(Arc<str>, Entry)>,
    /// The snapshot's revision.
    pub revision: u64,
}

/// One kind's objects.
struct Collection {
    objects: BTreeMap<Arc<str>, Entry>,
    window: Window,
    /// Carries the revision of the collection's last change; wakes watchers.
    changed: watch::Sender<u64>,
}

impl Collection {
    fn new(oldest: u64) -> Self {
        Self { objects: BTreeMap::new(), window: Window::new(oldest), changed: watch::Sender::new(oldest) }
    }
}

/// Everything that readers see.
struct State {
    revision: u64,
    /// History before this revision is gone for collections that nobody has touched since the start.
    oldest: u64,
    collections: HashMap<String, Collection>,
}

impl State {
    /// Makes a change visible. `value` is already filled in.
    fn apply(&mut self, revision: u64, collection: &str, key: &str, delete: bool, value: Bytes) {
        self.revision = revision;
        let oldest = self.oldest;
        if !self.collections.contains_key(collection) {
            self.collections.insert(collection.to_owned(), Collection::new(oldest));
        }
        let Some(collection) = self.collections.get_mut(collection) else { return };
        let (key, previous) = if delete {
            match collection.objects.remove_entry(key) {
                Some((key, entry)) => (key, Some(entry.value)),
                None => return,
            }
        } else {
            let key: Arc<str> = match collection.objects.get_key_value(key) {
                Some((key, _)) => Arc::clone(key),
                None => key.into(),
            };
            let entry = Entry { value: value.clone(), revision };
            let previous = collection.objects.insert(Arc::clone(&key), entry).map(|old| old.value);
            (key, previous)
        };
        let change = match (delete, &previous) {
            (true, _) => Change::Deleted,
            (false, None) => Change::Added,
            (false, Some(_)) => Change::Modified,
        };
        collection.window.push(Event { revision, key, change, value, previous });
        collection.changed.send_replace(revision);
    }
}

/// The store of one API server.
pub struct Store {
    state: Arc<RwLock<State>>,
    /// Every revision, for those who wait for one.
    revision: watch::Receiver<u64>,
    writes: Mutex<Option<mpsc::Sender<commit::Request>>>,
    committer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Store {
    /// Opens (or makes) the store in a directory: takes its lock, checks its format, loads the snapshot and replays the log.
    ///
    /// # Errors
    /// Directory in use by another process, written by a newer version, damaged, or not readable.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let (log, state) = log::Log::open(dir)?;
        let (sender, revision) = watch::channel(state.revision);
        let state = Arc::new(RwLock::new(state));
        let (writes, requests) = mpsc::channel();
        let shared = Arc::clone(&state);
        let committer = std::thread::Builder::new()
            .name("apiserver-commit".into())
            .spawn(move || commit::run(log, &shared, &sender, &requests))
            .map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        Ok(Self { state, revision, writes: Mutex::new(Some(writes)), committer: Mutex::new(Some(committer)) })
    }

    /// Makes one change durable and visible. Returns the new entry (for a deletion: the last state with the deletion's revision).
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        let (answer, answered) = oneshot::channel();
        {
            let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            let sender = writes.as_ref().ok_or(WriteError::Closed)?;
            sender.send(commit::Request { write, answer }).map_err(|_| WriteError::Closed)?;
        }
        answered.await.map_err(|_| WriteError::Closed)?
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        read(&self.state).revision
    }

    /// One object.
    pub fn get(&self, collection: &str, key: &str) -> Option<Entry> {
        read(&self.state).collections.get(collection)?.objects.get(key).cloned()
    }

    /// All objects whose key starts with `prefix` (`""`, or `<namespace>/`), at the newest revision.
    pub fn list(&self, collection: &str, prefix: &str) -> Page {
        let state = read(&self.state);
        let items =
            state.collections.get(collection).map(|c| range(&c.objects, prefix, "")).unwrap_or_default();
        Page { items, revision: state.revision }
    }

    /// As [`Store::list`], but as of an earlier revision, and from the key `start` on. The past is found by undoing the window's events.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn list_at(
        &self,
        collection: &str,
        prefix: &str,
        start: &str,
        revision: u64,
    ) -> Result<Page, ReadError> {
        let state = read(&self.state);
        if revision > state.revision {
            return Err(ReadError::Future { asked: revision, current: state.revision });
        }
        let Some(found) = state.collections.get(collection) else {
            return Ok(Page { items: vec![], revision });
        };
        if revision < found.window.oldest() {
            return Err(ReadError::Compacted { asked: revision, oldest: found.window.oldest() });
        }
        let mut past: BTreeMap<Arc<str>, Entry> = range(&found.objects, prefix, start).into_iter().collect();
        for event in found.window.after(revision).rev() {
            if !event.key.starts_with(prefix) || &*event.key < start {
                continue;
            }
            match &event.previous {
                Some(previous) => {
                    let entry = Entry { value: previous.clone(), revision: 0 };
                    past.insert(Arc::clone(&event.key), entry);
                }
                None => {
                    past.remove(&event.key);
                }
            }
        }
        Ok(Page { items: past.into_iter().collect(), revision })
    }

    /// Waits until the store has reached a revision, three seconds at most.
    ///
    /// # Errors
    /// [`ReadError::Future`] when the time is over.
    pub async fn reached(&self, revision: u64) -> Result<(), ReadError> {
        let mut receiver = self.revision.clone();
        let wait = receiver.wait_for(|current| *current >= revision);
        if let Ok(Ok(_)) = tokio::time::timeout(FUTURE_REVISION_WAIT, wait).await {
            return Ok(());
        }
        Err(ReadError::Future { asked: revision, current: self.revision() })
    }

    /// A watch over a collection's changes after `revision`, of keys that start with `prefix`.
    ///
    /// # Errors
    /// The revision's history is gone.
    pub fn watch(&self, collection: &str, prefix: &str, revision: u64) -> Result<Watch, ReadError> {
        let mut state = write(&self.state);
        let oldest = state.oldest;
        let found = state.collections.entry(collection.to_owned()).or_insert_with(|| Collection::new(oldest));
        if revision < found.window.oldest() {
            return Err(ReadError::Compacted { asked: revision, oldest: found.window.oldest() });
        }
        let mut changed = found.changed.subscribe();
        changed.mark_changed();
        Ok(Watch {
            state: Arc::clone(&self.state),
            collection: collection.to_owned(),
            prefix: prefix.to_owned(),
            cursor: revision,
            changed,
        })
    }

    /// Revision of a collection's last change; 0 if it never had an object.
    pub fn changed(&self, collection: &str) -> u64 {
        read(&self.state).collections.get(collection).map_or(0, |c| *c.changed.borrow())
    }

    /// Number of objects of a collection.
    pub fn count(&self, collection: &str) -> usize {
        read(&self.state).collections.get(collection).map_or(0, |c| c.objects.len())
    }

    /// Stops the committer after everything that was accepted is written.
    pub fn close(&self) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!("the store's committer ended with a panic");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// A cursor into one collection's events.
pub struct Watch {
    state: Arc<RwLock<State>>,
    collection: String,
    prefix: String,
    cursor: u64,
    changed: watch::Receiver<u64>,
}

impl Watch {
    /// The next events in order: waits until there is at least one.
    ///
    /// # Errors
    /// The watcher was so slow that events it has not seen are gone.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReadError> {
        loop {
            let events = self.ready()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The events that are already there.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn ready(&mut self) -> Result<Vec<Event>, ReadError> {
        self.changed.mark_unchanged();
        let state = read(&self.state);
        let Some(collection) = state.collections.get(&self.collection) else { return Ok(vec![]) };
        if self.cursor < collection.window.oldest() {
            return Err(ReadError::Compacted { asked: self.cursor, oldest: collection.window.oldest() });
        }
        let events = collection
            .window
            .after(self.cursor)
            .filter(|e| e.key.starts_with(&self.prefix))
            .cloned()
            .collect();
        self.cursor = self.cursor.max(state.revision);
        Ok(events)
    }

    /// The revision up to which every event has been handed out; the newest one if none is waiting.
    pub fn advance(&mut self) -> u64 {
        let state = read(&self.state);
        let waiting = state
            .collections
            .get(&self.collection)
            .is_some_and(|c| c.window.after(self.cursor).next().is_some());
        if !waiting {
            self.cursor = self.cursor.max(state.revision);
        }
        self.cursor
    }
}

fn range(objects: &BTreeMap<Arc<str>, Entry>, prefix: &str, start: &str) -> Vec<(Arc<str>, Entry)> {
    let from = if start > prefix { start } else { prefix };
    objects
        .range::<str, _>((Bound::Included(from), Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix))
        .map(|(key, entry)| (Arc::clone(key), entry.clone()))
        .collect()
}

fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}
