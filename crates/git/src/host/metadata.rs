//! What the host knows about a repository besides its objects: one JSON file per repository, one per commit with
//! statuses, and a log of who moved which ref. Files are replaced as a whole, on disk before the answer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RefUpdate, Sender};
use crate::Error;

const FILE: &str = "portolan.json";
const ACTIVITY: &str = "portolan-activity.jsonl";
/// The activity log is cut to its newer half beyond this many bytes: some ten thousand pushes.
const ACTIVITY_LIMIT: u64 = 4 << 20;
/// Statuses of one commit, as GitHub's limit per commit and context.
const STATUS_LIMIT: usize = 1000;

/// Facts about one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    pub id: u64,
    pub description: String,
    pub homepage: String,
    pub topics: Vec<String>,
    pub private: bool,
    pub archived: bool,
    pub default_branch: String,
    /// Full names of branches that cannot be deleted or force-pushed.
    pub protected: Vec<String>,
    pub hooks: Vec<Webhook>,
    pub created_at: String,
    pub updated_at: String,
    pub pushed_at: Option<String>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            id: 0,
            description: String::new(),
            homepage: String::new(),
            topics: Vec::new(),
            private: false,
            archived: false,
            default_branch: "main".to_owned(),
            protected: Vec::new(),
            hooks: Vec::new(),
            created_at: String::new(),
            updated_at: String::new(),
            pushed_at: None,
        }
    }
}

impl Metadata {
    /// What others see of it: a change here is worth an event.
    pub(crate) fn shown(&self) -> (&str, &[String], bool, bool, &str) {
        (&self.description, &self.topics, self.private, self.archived, &self.default_branch)
    }
}

/// One webhook of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: u64,
    pub active: bool,
    /// Event names; `*` is all.
    pub events: Vec<String>,
    pub url: String,
    /// `json` or `form`.
    pub content_type: String,
    /// Key of the signature; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// One commit status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub id: u64,
    /// `error`, `failure`, `pending` or `success`.
    pub state: String,
    pub context: String,
    pub description: Option<String>,
    pub target_url: Option<String>,
    pub creator: String,
    pub created_at: String,
    pub updated_at: String,
}

/// One ref that somebody moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    #[serde(rename = "ref")]
    pub reference: String,
    pub before: String,
    pub after: String,
    pub actor: String,
    pub timestamp: String,
}

impl Activity {
    pub(crate) fn new(update: &RefUpdate, sender: &Sender, now: &str) -> Activity {
        Activity {
            reference: update.reference.clone(),
            before: update.before.clone(),
            after: update.after.clone(),
            actor: sender.login.clone(),
            timestamp: now.to_owned(),
        }
    }
}

/// Reads a repository's metadata; one that was put there by hand gets the defaults.
pub(crate) fn load(repository: &Path) -> Result<Metadata, Error> {
    let path = repository.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Metadata::default()),
        Err(e) => Err(Error::file(&path, e)),
    }
}

/// Writes a repository's metadata.
pub(crate) async fn save(repository: &Path, metadata: &Metadata) -> Result<(), Error> {
    write_durably(repository.join(FILE), serde_json::to_vec_pretty(metadata).unwrap_or_default()).await
}

/// Statuses of a commit, newest first.
pub(crate) async fn statuses(repository: &Path, sha: &str) -> Result<Vec<Status>, Error> {
    let path = status_path(repository, sha);
    match tokio::fs::read(&path).await {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::file(&path, e)),
    }
}

/// Adds a status in front of a commit's others and gives it its id.
pub(crate) async fn add_status(repository: &Path, sha: &str, status: &mut Status) -> Result<(), Error> {
    let mut all = statuses(repository, sha).await?;
    status.id = all.first().map_or(1, |newest| newest.id + 1);
    all.insert(0, status.clone());
    all.truncate(STATUS_LIMIT);
    write_durably(status_path(repository, sha), serde_json::to_vec(&all).unwrap_or_default()).await
}

/// Appends to the activity log.
pub(crate) async fn record(repository: &Path, activities: &[Activity]) -> Result<(), Error> {
    let path = repository.join(ACTIVITY);
    let mut lines = String::new();
    for activity in activities {
        lines.push_str(&serde_json::to_string(activity).unwrap_or_default());
        lines.push('\n');
    }
    blocking(path, move |path| {
        use std::io::Write as _;
        if std::fs::metadata(path).is_ok_and(|facts| facts.len() > ACTIVITY_LIMIT) {
            let text = std::fs::read_to_string(path)?;
            let half = text[text.len() / 2..].split_once('\n').map_or("", |(_, newer)| newer);
            replace(path, half.as_bytes())?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    })
    .await
}

/// The activity log, newest first.
pub(crate) async fn activities(repository: &Path) -> Result<Vec<Activity>, Error> {
    let path = repository.join(ACTIVITY);
    match tokio::fs::read_to_string(&path).await {
        // A line that a crash cut short is not an activity.
        Ok(text) => Ok(text.lines().rev().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::file(&path, e)),
    }
}

/// Makes new names in a directory survive a crash.
pub(crate) async fn sync_directory(path: &Path) -> Result<(), Error> {
    blocking(path.to_path_buf(), |path| std::fs::File::open(path)?.sync_all()).await
}

fn status_path(repository: &Path, sha: &str) -> PathBuf {
    repository.join("portolan-statuses").join(format!("{sha}.json"))
}

async fn write_durably(path: PathBuf, content: Vec<u8>) -> Result<(), Error> {
    blocking(path, move |path| replace(path, &content)).await
}

/// Writes beside, syncs, renames, syncs the directory: a reader sees the old file or the new one, also after a crash.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    std::fs::File::open(directory)?.sync_all()
}

async fn blocking(
    path: PathBuf,
    work: impl FnOnce(&Path) -> std::io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(move || work(&path).map_err(|e| Error::file(&path, e)));
    done.await.unwrap_or_else(|_| Err(Error::Output { operation: "write".into() }))
}
