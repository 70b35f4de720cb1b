//! Where the registry keeps its content: plain files, each written beside its place, synced, then renamed.
//!
//! ```text
//! blobs/sha256/ab/abcd…                   content, shared by all repositories
//! repositories/<name>/_blobs/<hex>        this repository has that blob (empty file)
//! repositories/<name>/_manifests/<hex>    the manifest's media type; its bytes are a blob
//! repositories/<name>/_tags/<tag>         a digest
//! repositories/<name>/_referrers/<subject hex>/<hex>   a manifest that names the subject
//! uploads/<id>, uploads/<id>.repository   an upload under way
//! ```
//! Names of repositories have no component that starts with `_`, so the two never meet. When a call that writes has
//! returned, the content survives a crash of the machine.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncWriteExt as _;

use crate::digest::{Digest, Hasher};
use crate::image::Descriptor;
use crate::reference::{is_repository, is_tag};

/// Largest blob. A layer beyond this is a mistake: Docker Hub and GHCR stop at the same 10 GiB.
pub const MAX_BLOB_BYTES: u64 = 10 << 30;
/// Largest manifest, as the distribution specification recommends.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Uploads under way at once, over all repositories: each holds an open file.
pub const MAX_UPLOADS: usize = 500;
/// An upload not finished in this time is removed at the next start.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Content younger than this is no garbage even if nothing names it yet: its manifest may be on its way.
pub const GARBAGE_GRACE: Duration = Duration::from_secs(3600);
/// Tags that start so name one commit's image for ever.
pub const IMMUTABLE_TAG_PREFIX: &str = "sha-";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} is not a repository name")]
    Name(String),
    #[error("{0:?} is not a tag")]
    Tag(String),
    #[error("no such upload")]
    NoUpload,
    #[error("more than {MAX_UPLOADS} uploads at once")]
    TooManyUploads,
    #[error("the content is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the content has digest {actual}, not {wanted}")]
    Mismatch { wanted: Digest, actual: Digest },
    #[error("the chunk begins at {given}, but {held} bytes are here")]
    Range { given: u64, held: u64 },
    #[error(
        "tag {tag} of {repository} is immutable: it names {held}. Push under another tag; a tag sha-… names one commit"
    )]
    Immutable { repository: String, tag: String, held: Digest },
    #[error("the manifest names {0}, which is not in the repository")]
    MissingBlob(Digest),
    #[error("the registry's files: {action}")]
    File {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::File { action, source }
}

/// A manifest as it was pushed.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// The registry's content on disk. Calls block on files unless they are `async`.
pub struct Store {
    root: PathBuf,
    uploads: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Upload>>>>,
    /// Held while a tag is compared and replaced.
    tags: Mutex<()>,
    /// Written by the garbage collector, read by what adds links.
    sweep: RwLock<()>,
}

impl Store {
    /// Opens the store in `root`, made if missing, and removes uploads past their time.
    pub fn open(root: &Path) -> Result<Store> {
        for part in ["blobs/sha256", "repositories", "uploads"] {
            fs::create_dir_all(root.join(part)).map_err(failed("making the directories"))?;
        }
        let store = Store {
            root: root.to_path_buf(),
            uploads: Mutex::new(HashMap::new()),
            tags: Mutex::new(()),
            sweep: RwLock::new(()),
        };
        for entry in store.list(&root.join("uploads"))? {
            let path = root.join("uploads").join(entry);
            if older_than(&path, UPLOAD_LIFETIME) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(store)
    }

    /// Where the blob's content is, and how many bytes it has, if the repository has it.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Result<Option<(PathBuf, u64)>> {
        if !self.repository(repository)?.join("_blobs").join(digest.hex()).exists() {
            return Ok(None);
        }
        let path = self.content(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some((path, meta.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading a blob")(error)),
        }
    }

    /// Takes the blob out of the repository. Its bytes stay until [`Store::collect_garbage`] finds them unused.
    /// False: it was not there.
    pub fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        remove(&self.repository(repository)?.join("_blobs").join(digest.hex()))
    }

    /// Makes a blob of one repository a blob of another. False: the source does not have it.
    pub fn mount(&self, repository: &str, from: &str, digest: &Digest) -> Result<bool> {
        let _sweep = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        if self.blob(from, digest)?.is_none() {
            return Ok(false);
        }
        self.link(repository, digest)?;
        Ok(true)
    }

    /// Begins an upload and returns its id.
    pub async fn begin_upload(&self, repository: &str) -> Result<String> {
        self.repository(repository)?;
        if lock(&self.uploads).len() >= MAX_UPLOADS {
            return Err(StoreError::TooManyUploads);
        }
        let id = random_id();
        let path = self.root.join("uploads").join(&id);
        let owner = path.with_extension("repository");
        tokio::fs::write(&owner, repository).await.map_err(failed("starting an upload"))?;
        let file = tokio::fs::File::create_new(&path).await.map_err(failed("starting an upload"))?;
        let upload = Upload { repository: repository.to_string(), path, file, hasher: Hasher::new() };
        lock(&self.uploads).insert(id.clone(), Arc::new(tokio::sync::Mutex::new(upload)));
        Ok(id)
    }

    /// An upload under way; one from before a restart is picked up where its file ends.
    pub async fn upload(&self, repository: &str, id: &str) -> Result<Arc<tokio::sync::Mutex<Upload>>> {
        let known = lock(&self.uploads).get(id).cloned();
        let upload = match known {
            Some(upload) => upload,
            None => {
                let resumed = Arc::new(tokio::sync::Mutex::new(self.resume(id).await?));
                // Two requests may have resumed it at once: the first one's state counts.
                lock(&self.uploads).entry(id.to_string()).or_insert(resumed).clone()
            }
        };
        if upload.lock().await.repository != repository {
            return Err(StoreError::NoUpload);
        }
        Ok(upload)
    }

    async fn resume(&self, id: &str) -> Result<Upload> {
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(StoreError::NoUpload);
        }
        let path = self.root.join("uploads").join(id);
        let blocking = tokio::task::spawn_blocking(move || {
            let repository = fs::read_to_string(path.with_extension("repository"))?;
            let mut file = File::options().read(true).write(true).open(&path)?;
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
            Ok(Upload { repository, path, file: tokio::fs::File::from_std(file), hasher })
        });
        let resumed: io::Result<Upload> = blocking.await.map_err(|_| StoreError::NoUpload)?;
        resumed.map_err(|_| StoreError::NoUpload)
    }

    /// Ends an upload: its content becomes a blob of the repository if it has the digest.
    pub async fn finish_upload(&self, repository: &str, id: &str, wanted: &Digest) -> Result<()> {
        let upload = self.upload(repository, id).await?;
        let mut upload = upload.lock().await;
        // Forgotten first: whatever happens now, the upload is over.
        lock(&self.uploads).remove(id);
        let ended = self.settle(&mut upload, wanted).await;
        let _ = fs::remove_file(&upload.path);
        let _ = fs::remove_file(upload.path.with_extension("repository"));
        ended
    }

    async fn settle(&self, upload: &mut Upload, wanted: &Digest) -> Result<()> {
        let actual = upload.hasher.clone().finish();
        if actual != *wanted {
            return Err(StoreError::Mismatch { wanted: wanted.clone(), actual });
        }
        upload.file.flush().await.map_err(failed("writing a blob"))?;
        upload.file.sync_all().await.map_err(failed("writing a blob"))?;
        let _sweep = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let target = self.content(wanted);
        publish(&upload.path, &target).map_err(failed("writing a blob"))?;
        self.link(&upload.repository, wanted)
    }

    /// Ends an upload without a result.
    pub async fn cancel_upload(&self, repository: &str, id: &str) -> Result<()> {
        let upload = self.upload(repository, id).await?;
        let upload = upload.lock().await;
        lock(&self.uploads).remove(id);
        let _ = fs::remove_file(upload.path.with_extension("repository"));
        fs::remove_file(&upload.path).map_err(failed("removing an upload"))
    }

    /// Stores a manifest under its digest and, if `tag` is given, under that tag. `parts` have to be in the repository
    /// (blobs or manifests); `subject` is the manifest this one is about.
    ///
    /// # Errors
    /// [`StoreError::Immutable`] for another digest under a tag `sha-…`; nothing is changed then.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
        parts: &[&Descriptor],
        subject: Option<&Digest>,
    ) -> Result<Digest> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(StoreError::TooLarge(MAX_MANIFEST_BYTES as u64));
        }
        let root = self.repository(repository)?;
        let digest = Digest::of(bytes);
        let _sweep = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let _tags = lock(&self.tags);
        if let Some(tag) = tag {
            self.check_tag(repository, tag, &digest)?;
        }
        for part in parts {
            let hex = part.digest.hex();
            if !root.join("_blobs").join(hex).exists() && !root.join("_manifests").join(hex).exists() {
                return Err(StoreError::MissingBlob(part.digest.clone()));
            }
        }
        write_durably(&self.content(&digest), bytes).map_err(failed("writing a manifest"))?;
        let write = |path: PathBuf, text: &str| {
            write_durably(&path, text.as_bytes()).map_err(failed("writing a manifest"))
        };
        write(root.join("_manifests").join(digest.hex()), media_type)?;
        if let Some(subject) = subject {
            write(root.join("_referrers").join(subject.hex()).join(digest.hex()), "")?;
        }
        if let Some(tag) = tag {
            write(root.join("_tags").join(tag), &digest.to_string())?;
        }
        Ok(digest)
    }

    fn check_tag(&self, repository: &str, tag: &str, digest: &Digest) -> Result<()> {
        if !is_tag(tag) {
            return Err(StoreError::Tag(tag.to_string()));
        }
        if !tag.starts_with(IMMUTABLE_TAG_PREFIX) {
            return Ok(());
        }
        match self.tag(repository, tag)? {
            Some(held) if held != *digest => {
                Err(StoreError::Immutable { repository: repository.to_string(), tag: tag.to_string(), held })
            }
            _ => Ok(()),
        }
    }

    /// The manifest under a tag or a digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Result<Option<StoredManifest>> {
        let digest = match reference.parse() {
            Ok(digest) => Some(digest),
            Err(_) => self.tag(repository, reference)?,
        };
        let Some(digest) = digest else { return Ok(None) };
        let link = self.repository(repository)?.join("_manifests").join(digest.hex());
        let Some(media_type) = read(&link)? else { return Ok(None) };
        match fs::read(self.content(&digest)) {
            Ok(bytes) => Ok(Some(StoredManifest { media_type, digest, bytes })),
            Err(error) => Err(failed("reading a manifest")(error)),
        }
    }

    /// The digest under a tag.
    pub fn tag(&self, repository: &str, tag: &str) -> Result<Option<Digest>> {
        if !is_tag(tag) {
            return Ok(None);
        }
        let text = read(&self.repository(repository)?.join("_tags").join(tag))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Removes a manifest with the tags that name it, or one tag. False: it was not there.
    pub fn delete_manifest(&self, repository: &str, reference: &str) -> Result<bool> {
        let root = self.repository(repository)?;
        let _tags = lock(&self.tags);
        let Ok(digest) = reference.parse::<Digest>() else {
            return if is_tag(reference) { remove(&root.join("_tags").join(reference)) } else { Ok(false) };
        };
        if !remove(&root.join("_manifests").join(digest.hex()))? {
            return Ok(false);
        }
        for tag in self.list(&root.join("_tags"))? {
            if self.tag(repository, &tag)?.as_ref() == Some(&digest) {
                remove(&root.join("_tags").join(tag))?;
            }
        }
        for subject in self.list(&root.join("_referrers"))? {
            remove(&root.join("_referrers").join(subject).join(digest.hex()))?;
        }
        Ok(true)
    }

    /// All tags in lexical order; none if there is no such repository.
    pub fn tags(&self, repository: &str) -> Result<Option<Vec<String>>> {
        let root = self.repository(repository)?;
        if !root.join("_manifests").is_dir() {
            return Ok(None);
        }
        let mut tags = self.list(&root.join("_tags"))?;
        tags.sort();
        Ok(Some(tags))
    }

    /// Manifests that name `subject`, in order of their digests.
    pub fn referrers(&self, repository: &str, subject: &Digest) -> Result<Vec<StoredManifest>> {
        let mut names = self.list(&self.repository(repository)?.join("_referrers").join(subject.hex()))?;
        names.sort();
        let manifests = names.iter().map(|hex| self.manifest(repository, &format!("sha256:{hex}")));
        Ok(manifests.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// All repositories that have a manifest, in lexical order.
    pub fn repositories(&self) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            for name in self.list(&self.root.join("repositories").join(&prefix))? {
                if name == "_manifests" {
                    found.insert(prefix.clone());
                } else if !name.starts_with('_') {
                    open.push(if prefix.is_empty() { name } else { format!("{prefix}/{name}") });
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Removes content that no repository links and that is older than `grace`; returns the number of files.
    pub fn collect_garbage(&self, grace: Duration) -> Result<usize> {
        let _sweep = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let mut used = HashSet::new();
        let mut open = vec![self.root.join("repositories")];
        while let Some(directory) = open.pop() {
            for name in self.list(&directory)? {
                let path = directory.join(&name);
                if name == "_blobs" || name == "_manifests" {
                    used.extend(self.list(&path)?);
                } else if !name.starts_with('_') {
                    open.push(path);
                }
            }
        }
        let blobs = self.root.join("blobs/sha256");
        let mut removed = 0;
        for shard in self.list(&blobs)? {
            for hex in self.list(&blobs.join(&shard))? {
                let path = blobs.join(&shard).join(&hex);
                if !used.contains(&hex) && older_than(&path, grace) {
                    removed += usize::from(remove(&path)?);
                }
            }
        }
        Ok(removed)
    }

    fn link(&self, repository: &str, digest: &Digest) -> Result<()> {
        let path = self.repository(repository)?.join("_blobs").join(digest.hex());
        if path.exists() {
            return Ok(());
        }
        write_durably(&path, b"").map_err(failed("writing a blob"))
    }

    fn repository(&self, name: &str) -> Result<PathBuf> {
        if is_repository(name) {
            Ok(self.root.join("repositories").join(name))
        } else {
            Err(StoreError::Name(name.to_string()))
        }
    }

    fn content(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("listing a directory")(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("listing a directory"))?.file_name();
            // Names with a leading dot are files not yet renamed.
            names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
        }
        Ok(names)
    }
}

/// Content on its way in.
pub struct Upload {
    repository: String,
    path: PathBuf,
    file: tokio::fs::File,
    hasher: Hasher,
}

impl Upload {
    /// Bytes received.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Appends; the digest is computed as the bytes pass.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.length() + bytes.len() as u64 > MAX_BLOB_BYTES {
            return Err(StoreError::TooLarge(MAX_BLOB_BYTES));
        }
        self.file.write_all(bytes).await.map_err(failed("writing a blob"))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Waits until the file has what was appended, so that a resumed upload begins at the same byte.
    pub async fn flush(&mut self) -> Result<()> {
        self.file.flush().await.map_err(failed("writing a blob"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn older_than(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|gone| gone >= age))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading a link")(error)),
    }
}

fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            if let Some(parent) = path.parent() {
                sync_directory(parent).map_err(failed("removing a link"))?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("removing a link")(error)),
    }
}

/// Writes a file so that after the return either all of it is there after a crash, whatever was there before.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(parent)?;
    let beside = parent.join(format!(".{}", random_id()));
    let mut file = File::create_new(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    renamed?;
    sync_directory(parent)
}

/// Moves a synced file to its place.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(parent)?;
    fs::rename(from, to)?;
    sync_directory(parent)
}

/// Makes a directory and its missing parents, each entry synced.
fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn upload(store: &Store, repository: &str, content: &[u8]) -> Digest {
        let id = store.begin_upload(repository).await.unwrap();
        store.upload(repository, &id).await.unwrap().lock().await.append(content).await.unwrap();
        store.finish_upload(repository, &id, &Digest::of(content)).await.unwrap();
        Digest::of(content)
    }

    #[tokio::test]
    async fn an_upload_is_continued_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let id = store.begin_upload("p/x").await.unwrap();
        {
            let upload = store.upload("p/x", &id).await.unwrap();
            let mut upload = upload.lock().await;
            upload.append(b"hello ").await.unwrap();
            upload.flush().await.unwrap();
        }
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert!(matches!(store.upload("p/other", &id).await, Err(StoreError::NoUpload)));
        let upload = store.upload("p/x", &id).await.unwrap();
        assert_eq!(upload.lock().await.length(), 6);
        upload.lock().await.append(b"world").await.unwrap();
        let digest = Digest::of("hello world");
        store.finish_upload("p/x", &id, &digest).await.unwrap();
        let (path, size) = store.blob("p/x", &digest).unwrap().unwrap();
        assert_eq!((fs::read(path).unwrap(), size), (b"hello world".to_vec(), 11));
        assert!(store.list(&directory.path().join("uploads")).unwrap().is_empty());
    }

    #[tokio::test]
    async fn content_with_another_digest_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let id = store.begin_upload("p/x").await.unwrap();
        store.upload("p/x", &id).await.unwrap().lock().await.append(b"bad").await.unwrap();
        let wanted = Digest::of("good");
        let refused = store.finish_upload("p/x", &id, &wanted).await;
        assert!(matches!(refused, Err(StoreError::Mismatch { .. })), "{refused:?}");
        assert!(store.blob("p/x", &wanted).unwrap().is_none());
        assert!(matches!(store.upload("p/x", &id).await, Err(StoreError::NoUpload)));
    }

    #[tokio::test]
    async fn garbage_is_what_no_repository_links() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let kept = upload(&store, "p/x", b"kept").await;
        let gone = upload(&store, "p/x", b"gone").await;
        assert!(store.mount("p/y", "p/x", &kept).unwrap());
        assert!(!store.mount("p/y", "p/z", &kept).unwrap());
        store.delete_blob("p/x", &kept).unwrap();
        store.delete_blob("p/x", &gone).unwrap();
        assert_eq!(store.collect_garbage(GARBAGE_GRACE).unwrap(), 0, "young content is kept");
        assert_eq!(store.collect_garbage(Duration::ZERO).unwrap(), 1);
        assert!(store.blob("p/y", &kept).unwrap().is_some());
        assert!(!store.content(&gone).exists());
    }

    #[test]
    fn a_tag_of_a_commit_is_never_moved() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let put = |tag: &str, text: &[u8]| store.put_manifest("p/x", Some(tag), "t", text, &[], None);
        let first = put("sha-1", b"{}").unwrap();
        assert_eq!(put("sha-1", b"{}").unwrap(), first, "the same content again is fine");
        assert!(matches!(put("sha-1", b"{ }"), Err(StoreError::Immutable { .. })));
        put("latest", b"{}").unwrap();
        let second = put("latest", b"{ }").unwrap();
        assert_eq!(store.tag("p/x", "latest").unwrap(), Some(second));
        assert_eq!(store.tags("p/x").unwrap().unwrap(), ["latest", "sha-1"]);
        assert_eq!(store.repositories().unwrap(), ["p/x"]);
        assert!(store.delete_manifest("p/x", &first.to_string()).unwrap());
        assert_eq!(store.tags("p/x").unwrap().unwrap(), ["latest"]);
    }
}
