//! The embedded git host: a data directory with `<organisation>/<repository>.git` bare repositories, each with its
//! metadata beside the objects. `http` puts Git's and GitHub's protocols in front of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, broadcast};

use crate::command::Call;
use crate::hints::Event;
use crate::names::check_name;
use crate::repository::Repository;
use crate::{Error, NewCommit};

pub mod hooks;
mod leftovers;
pub mod metadata;
pub mod webhooks;

use metadata::{Activity, Metadata, Status};

/// Events that a slow subscriber may be behind; then it misses some, which is why events are only hints.
const EVENT_BUFFER: usize = 1024;
/// Repositories of one host: the index of all of them is in memory, a few KiB each.
const REPOSITORY_LIMIT: usize = 20_000;

/// One in so many pushes looks whether the repository should be packed.
const TIDY_EVERY: u64 = 50;

/// How the host presents itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address that links start with, without a last slash, such as `http://127.0.0.1:7007`; `None` takes the request's
    /// `Host` header.
    pub public_url: Option<String>,
    /// Organisations that exist from the start.
    pub organizations: Vec<String>,
    /// People whom `GET /users/{name}` knows.
    pub people: Vec<Person>,
}

/// One person in [`Options::people`].
#[derive(Clone, Debug)]
pub struct Person {
    pub login: String,
    pub name: String,
    pub email: String,
}

/// The host. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) hooks: PathBuf,
    pub(crate) options: Options,
    pub(crate) keyring: identity::Keyring,
    repositories: RwLock<BTreeMap<String, Arc<Hosted>>>,
    events: broadcast::Sender<Event>,
    pub(crate) processes: Arc<Semaphore>,
    pub(crate) webhooks: webhooks::Sender,
    creating: tokio::sync::Mutex<()>,
}

/// One repository of the host.
pub struct Hosted {
    /// `organisation/name`.
    pub full_name: String,
    pub git: Repository,
    metadata: RwLock<Metadata>,
    /// One writer at a time: metadata files are replaced as a whole.
    writing: tokio::sync::Mutex<()>,
    /// Pushes since the start, to tidy now and then.
    moves: AtomicU64,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub login: String,
    pub name: String,
    pub email: String,
}

/// One ref that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    pub reference: String,
    pub before: String,
    pub after: String,
}

impl Host {
    /// Opens the data directory, making it when it is new, and starts the webhook deliveries.
    ///
    /// Must be called inside a tokio runtime.
    pub async fn open(directory: &Path, keyring: identity::Keyring, options: Options) -> Result<Host, Error> {
        crate::command::version().await?;
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        // Hooks and alternates need absolute paths.
        tokio::fs::create_dir_all(directory).await.map_err(|e| Error::file(directory, e))?;
        let root = tokio::fs::canonicalize(directory).await.map_err(|e| Error::file(directory, e))?;
        for organization in &options.organizations {
            let path = root.join(check_name(organization)?);
            tokio::fs::create_dir_all(&path).await.map_err(|e| Error::file(&path, e))?;
        }
        let hooks = hooks::install(&root).await?;
        let repositories = load(root.clone()).await?;
        let inner = Inner {
            root,
            hooks,
            options,
            keyring,
            repositories: RwLock::new(repositories),
            events: broadcast::Sender::new(EVENT_BUFFER),
            processes: Arc::new(Semaphore::new(crate::http::PROCESS_LIMIT)),
            webhooks: webhooks::start()?,
            creating: tokio::sync::Mutex::new(()),
        };
        Ok(Host { inner: Arc::new(inner) })
    }

    /// Git smart HTTP below `/{org}/{repo}.git`, GitHub's REST API below `/api/v3`.
    pub fn router(&self) -> axum::Router {
        crate::http::router(self.clone())
    }

    /// Everything that happens from now on. Hints: a slow reader misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Whether an organisation exists.
    pub fn has_organization(&self, name: &str) -> bool {
        check_name(name).is_ok() && self.inner.root.join(name).is_dir()
    }

    /// All repositories, ordered by full name.
    pub fn repositories(&self) -> Vec<Arc<Hosted>> {
        self.inner.repositories.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One repository by `organisation/name`.
    pub fn repository(&self, full_name: &str) -> Option<Arc<Hosted>> {
        self.inner.repositories.read().unwrap_or_else(PoisonError::into_inner).get(full_name).cloned()
    }

    /// Makes an empty repository, durable when this returns. [`Error::Conflict`] when the name is taken.
    pub async fn create(
        &self,
        owner: &str,
        name: &str,
        metadata: Metadata,
        sender: &Sender,
    ) -> Result<Arc<Hosted>, Error> {
        let full_name = format!("{}/{}", check_name(owner)?, check_name(name)?);
        if !self.has_organization(owner) {
            return Err(Error::NotFound(format!("organisation {owner}")));
        }
        let _creating = self.inner.creating.lock().await;
        let existing = self.repositories();
        if existing.iter().any(|r| r.full_name.eq_ignore_ascii_case(&full_name)) {
            let message = "name already exists on this account".to_owned();
            return Err(Error::Conflict { reference: full_name, message });
        }
        if existing.len() >= REPOSITORY_LIMIT {
            return Err(Error::Invalid(format!("the host holds {REPOSITORY_LIMIT} repositories, its limit")));
        }
        let id = existing.iter().map(|r| r.metadata().id).max().unwrap_or(0) + 1;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let metadata = Metadata { id, created_at: now.clone(), updated_at: now, ..metadata };
        let path = self.inner.root.join(format!("{full_name}.git"));
        create_on_disk(&self.inner.root, &path, &metadata).await?;
        let hosted = Arc::new(Hosted::new(full_name.clone(), path, metadata));
        self.index(|all| all.insert(full_name, hosted.clone()));
        self.emit(&hosted, hosted.repository_event("created", sender));
        Ok(hosted)
    }

    /// Removes a repository with everything in it.
    pub async fn delete(&self, hosted: &Arc<Hosted>, sender: &Sender) -> Result<(), Error> {
        let _creating = self.inner.creating.lock().await;
        let path = hosted.git.path().to_path_buf();
        let trash = self.inner.root.join(format!(".removed-{}-{}", std::process::id(), hosted.metadata().id));
        // Renamed first: from then on no request sees half a repository, and a restart removes what is left.
        tokio::fs::rename(&path, &trash).await.map_err(|e| Error::file(&path, e))?;
        self.index(|all| all.remove(&hosted.full_name));
        tokio::fs::remove_dir_all(&trash).await.map_err(|e| Error::file(&trash, e))?;
        self.emit(hosted, hosted.repository_event("deleted", sender));
        Ok(())
    }

    /// Changes metadata, durable when this returns; an event follows if something that others see changed.
    pub async fn edit(
        &self,
        hosted: &Arc<Hosted>,
        sender: &Sender,
        edit: impl FnOnce(&mut Metadata),
    ) -> Result<(), Error> {
        let _writing = hosted.writing.lock().await;
        let before = hosted.metadata();
        let mut metadata = before.clone();
        edit(&mut metadata);
        if metadata == before {
            return Ok(());
        }
        metadata.updated_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        if metadata.default_branch != before.default_branch {
            let head = format!("refs/heads/{}", metadata.default_branch);
            hosted.git.call(["symbolic-ref", "HEAD", crate::names::check_ref(&head)?]).output().await?;
        }
        metadata::save(hosted.git.path(), &metadata).await?;
        let visible = metadata.shown() != before.shown();
        *hosted.metadata.write().unwrap_or_else(PoisonError::into_inner) = metadata;
        if visible {
            self.emit(hosted, hosted.repository_event("edited", sender));
        }
        Ok(())
    }

    /// Makes a commit in a hosted repository and tells everyone, as a push would.
    pub async fn commit(
        &self,
        hosted: &Arc<Hosted>,
        new: &NewCommit,
        sender: &Sender,
    ) -> Result<String, Error> {
        let after = hosted.git.commit(new).await?;
        let before = new.parent.clone().unwrap_or_else(|| crate::write::ZERO.to_owned());
        let update = RefUpdate { reference: new.reference.clone(), before, after: after.clone() };
        self.updated(hosted, vec![update], sender).await;
        Ok(after)
    }

    /// Packs a repository's loose objects now and then, in the background.
    fn tidy_sometimes(&self, hosted: &Arc<Hosted>) {
        if !hosted.moves.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            return;
        }
        let (hosted, processes) = (hosted.clone(), self.inner.processes.clone());
        tokio::spawn(async move {
            let Ok(_slot) = processes.acquire_owned().await else { return };
            if let Err(error) = hosted.git.tidy().await {
                tracing::warn!(repository = hosted.full_name, %error, "cannot tidy a repository");
            }
        });
    }

    /// Records refs that moved, and who moved them, and emits the events. The refs themselves are already durable; a
    /// failure here is logged.
    pub async fn updated(&self, hosted: &Arc<Hosted>, updates: Vec<RefUpdate>, sender: &Sender) {
        if updates.is_empty() {
            return;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let activities: Vec<Activity> =
            updates.iter().map(|update| Activity::new(update, sender, &now)).collect();
        {
            let _writing = hosted.writing.lock().await;
            let metadata = Metadata { pushed_at: Some(now), ..hosted.metadata() };
            let saved = metadata::save(hosted.git.path(), &metadata).await;
            let recorded = metadata::record(hosted.git.path(), &activities).await;
            for error in [saved, recorded].into_iter().filter_map(Result::err) {
                tracing::warn!(repository = hosted.full_name, %error, "cannot record a push");
            }
            *hosted.metadata.write().unwrap_or_else(PoisonError::into_inner) = metadata;
        }
        self.tidy_sometimes(hosted);
        self.follow_first_branch(hosted, &updates, sender).await;
        for update in updates {
            self.emit(
                hosted,
                Event::Push {
                    repository: hosted.full_name.clone(),
                    reference: update.reference,
                    before: update.before,
                    after: update.after,
                    sender: sender.login.clone(),
                },
            );
        }
    }

    /// The first branch that is pushed becomes the default branch if the one that is set does not exist, as on GitHub.
    async fn follow_first_branch(&self, hosted: &Arc<Hosted>, updates: &[RefUpdate], sender: &Sender) {
        let default = format!("refs/heads/{}", hosted.metadata().default_branch);
        let pushed = |update: &RefUpdate| {
            let name = update.reference.strip_prefix("refs/heads/")?;
            (update.after != crate::write::ZERO).then(|| name.to_owned())
        };
        let Some(first) = updates.iter().find_map(pushed) else { return };
        if updates.iter().any(|update| update.reference == default)
            || !matches!(hosted.git.tip(&default).await, Ok(None))
        {
            return;
        }
        if let Err(error) = self.edit(hosted, sender, |facts| facts.default_branch = first).await {
            tracing::warn!(repository = hosted.full_name, %error, "cannot change the default branch");
        }
    }

    /// Adds a commit status, durable when this returns.
    pub async fn set_status(
        &self,
        hosted: &Arc<Hosted>,
        sha: &str,
        mut status: Status,
        sender: &Sender,
    ) -> Result<Status, Error> {
        let sha = hosted.git.resolve(sha).await?;
        {
            let _writing = hosted.writing.lock().await;
            metadata::add_status(hosted.git.path(), &sha, &mut status).await?;
        }
        self.emit(
            hosted,
            Event::Status {
                repository: hosted.full_name.clone(),
                sha,
                context: status.context.clone(),
                state: status.state.clone(),
                sender: sender.login.clone(),
            },
        );
        Ok(status)
    }

    /// Tells subscribers and webhooks. Nobody listening is fine.
    pub(crate) fn emit(&self, hosted: &Arc<Hosted>, event: Event) {
        tracing::debug!(?event, "event");
        self.inner.webhooks.deliver(self, hosted, &event);
        self.inner.events.send(event).ok();
    }

    fn index<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Hosted>>) -> T) -> T {
        change(&mut self.inner.repositories.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hosted {
    fn new(full_name: String, path: PathBuf, metadata: Metadata) -> Hosted {
        let (git, metadata) = (Repository::at(path), RwLock::new(metadata));
        Hosted { full_name, git, metadata, writing: tokio::sync::Mutex::new(()), moves: AtomicU64::new(1) }
    }

    /// What is known about the repository now.
    pub fn metadata(&self) -> Metadata {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The organisation.
    pub fn owner(&self) -> &str {
        self.full_name.split_once('/').map_or("", |(owner, _)| owner)
    }

    /// The name without the organisation.
    pub fn name(&self) -> &str {
        self.full_name.split_once('/').map_or("", |(_, name)| name)
    }

    fn repository_event(&self, action: &str, sender: &Sender) -> Event {
        Event::Repository {
            repository: self.full_name.clone(),
            action: action.to_owned(),
            topics: self.metadata().topics,
            sender: sender.login.clone(),
        }
    }
}

/// Reads all repositories, and clears what a crash may have left: processes, half-made or half-removed repositories, and
/// lock files.
async fn load(root: PathBuf) -> Result<BTreeMap<String, Arc<Hosted>>, Error> {
    let work = move || -> Result<BTreeMap<String, Arc<Hosted>>, Error> {
        leftovers::end_processes(&root);
        let mut all = BTreeMap::new();
        for organization in directories(&root)? {
            let owner = file_name(&organization);
            if owner.starts_with('.') {
                if owner.starts_with(".removed-") || owner.starts_with(".new-") {
                    std::fs::remove_dir_all(&organization).map_err(|e| Error::file(&organization, e))?;
                }
                continue;
            }
            for path in directories(&organization)? {
                let Some(name) = file_name(&path).strip_suffix(".git").map(str::to_owned) else { continue };
                leftovers::remove_locks(&path)?;
                let full_name = format!("{owner}/{name}");
                let metadata = metadata::load(&path)?;
                all.insert(full_name.clone(), Arc::new(Hosted::new(full_name, path, metadata)));
            }
        }
        Ok(all)
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::Output { operation: "load".into() }))
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(path).map_err(|e| Error::file(path, e))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Makes the whole repository aside and renames it into place: there is never half of one.
async fn create_on_disk(root: &Path, path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(root).map_err(|e| Error::file(root, e))?;
    let head = format!("refs/heads/{}", metadata.default_branch);
    crate::names::check_ref(&head)?;
    let branch = format!("--initial-branch={}", metadata.default_branch);
    Call::new(new.path()).args(["init", "--quiet", "--bare", "--template=", &branch, "."]).output().await?;
    metadata::save(new.path(), metadata).await?;
    let new = new.keep();
    tokio::fs::rename(&new, path).await.map_err(|e| Error::file(path, e))?;
    metadata::sync_directory(path.parent().unwrap_or(root)).await
}
