//! The scaffolder: runs v1beta3 templates from the catalog as tasks and serves Backstage's REST shapes below
//! `/api/scaffolder`. A task's record is an object in the API server that keeps the platform's records; its secrets
//! are only in memory. Repositories are made through the git host's REST API and filled by an ordinary push, both with
//! the rights of the person who started the task.

mod actions;
mod catalog;
mod content;
mod engine;
mod fields;
mod git_host;
mod http_api;
pub mod record;
mod redact;
mod submit;
pub mod template;
pub mod validate;
mod workspace;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{ApiError, Cluster, Propagation};
use identity::Claims;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use catalog::CatalogClient;
use content::Copies;
use engine::Task;
use git_host::GitHost;
use record::{CRD, Phase, Record, TASK};

/// Tasks that run at the same time; others wait (Backstage's default).
const RUNNING_MAX: usize = 10;
/// Records that are kept; the oldest finished ones go.
const RECORDS_MAX: usize = 1000;
/// How long the API server may take to serve the new kind.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes the token that a person's calls to the git host carry.
pub type TokenSource = Arc<dyn Fn(&Claims) -> String + Send + Sync>;

/// What the scaffolder works with.
#[derive(Clone)]
pub struct Config {
    /// HTTP client to reach the git host with.
    pub client: reqwest::Client,
    /// Address of the git host, without a last slash. Its host part (`127.0.0.1:7007`) is a valid `repoUrl` host.
    pub git_url: String,
    /// Further hosts that a `repoUrl` may name for the same git host, for example `localhost:7007` or `github.com`.
    pub git_hosts: Vec<String>,
    /// See [`TokenSource`].
    pub token: TokenSource,
    /// Routes of the catalog (`/api/catalog/…`); called in process with the caller's claims as an extension.
    pub catalog: axum::Router,
    /// API server that keeps the records.
    pub cluster: Cluster,
    /// Folder for workspaces and copies of template repositories; deleting it loses nothing but unfinished work.
    pub cache: PathBuf,
    /// `environment.parameters` of templates, for example `{"registry": "localhost:7007", "gitHost": "localhost:7007"}`.
    pub environment: Value,
}

/// Why the scaffolder could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The records cannot be read.
    #[error("the scaffolder's records cannot be read")]
    Records(#[source] ApiError),
    /// The cache folder cannot be made.
    #[error("the folder {} cannot be made", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A running scaffolder; cheap to clone.
#[derive(Clone)]
pub struct Scaffolder {
    inner: Arc<Inner>,
}

struct Inner {
    services: Arc<Services>,
    tasks: Mutex<HashMap<String, Arc<Task>>>,
    running: Arc<Semaphore>,
}

/// Everything that a running task needs of the outside.
pub(crate) struct Services {
    client: reqwest::Client,
    git_url: String,
    git_hosts: Vec<String>,
    token: TokenSource,
    pub(crate) catalog: CatalogClient,
    pub(crate) cluster: Cluster,
    cache: PathBuf,
    pub(crate) copies: Copies,
    pub(crate) environment: Value,
    /// The platform is stopping: no further step begins.
    pub(crate) stop: CancellationToken,
}

impl Services {
    /// The git host with a person's rights.
    pub(crate) fn git_host(&self, user: &Claims) -> GitHost {
        GitHost { client: self.client.clone(), base_url: self.git_url.clone(), token: (self.token)(user) }
    }

    /// The folder of a task's files.
    pub(crate) fn workspace(&self, id: &str) -> PathBuf {
        self.cache.join("workspaces").join(id)
    }

    /// Whether an address is on the git host that this scaffolder works with.
    pub(crate) fn is_own_address(&self, address: &str) -> bool {
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        self.git_hosts.iter().any(|own| own == host)
    }

    /// Owner and name of a `repoUrl`, if it is on the git host.
    pub(crate) fn repository_of(&self, address: &str) -> Result<(String, String), String> {
        let parts = dialect::nunjucks::parse_repo_url(address)
            .ok_or_else(|| format!("repoUrl: \"{address}\" is not of the form host?owner=o&repo=r"))?;
        let part = |key: &str| parts.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !self.is_own_address(&part("host")) {
            return Err(format!(
                "repoUrl: the host {} is none of {}",
                part("host"),
                self.git_hosts.join(", ")
            ));
        }
        if part("owner").is_empty() {
            return Err(format!("repoUrl: \"{address}\" names no owner"));
        }
        Ok((part("owner"), part("repo")))
    }
}

impl Scaffolder {
    /// Makes the kind known, reads the records, and marks tasks that a stop interrupted as failed: they can be retried.
    ///
    /// # Errors
    /// When the API server or the cache folder cannot be used.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Scaffolder, StartError> {
        let workspaces = config.cache.join("workspaces");
        let made = tokio::fs::create_dir_all(&workspaces).await;
        made.map_err(|source| StartError::Cache { path: workspaces, source })?;
        let git_url = config.git_url.trim_end_matches('/').to_owned();
        let mut git_hosts = config.git_hosts;
        let own = git_url.split_once("://").map_or(git_url.as_str(), |(_, host)| host).to_owned();
        if !git_hosts.contains(&own) {
            git_hosts.push(own);
        }
        let services = Arc::new(Services {
            client: config.client,
            git_url,
            git_hosts,
            token: config.token,
            catalog: CatalogClient { router: config.catalog },
            cluster: config.cluster,
            copies: Copies::new(config.cache.join("repositories")),
            cache: config.cache,
            environment: config.environment,
            stop,
        });
        let tasks = load(&services).await.map_err(StartError::Records)?;
        let inner =
            Inner { services, tasks: Mutex::new(tasks), running: Arc::new(Semaphore::new(RUNNING_MAX)) };
        Ok(Scaffolder { inner: Arc::new(inner) })
    }

    /// The REST API below `/api/scaffolder`. Every request must carry an `identity::Claims` extension.
    pub fn routes(&self) -> axum::Router {
        http_api::routes(self.clone())
    }

    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.inner.services
    }

    pub(crate) fn task(&self, id: &str) -> Option<Arc<Task>> {
        self.tasks().get(id).cloned()
    }

    /// All tasks, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Task>> {
        let mut all: Vec<(String, Arc<Task>)> = self
            .tasks()
            .values()
            .map(|task| (task.with(|record| record.status.created_at.clone()), task.clone()))
            .collect();
        all.sort_by(|left, right| {
            right
                .0
                .cmp(&left.0)
                .then_with(|| right.1.with(|r| r.id.clone()).cmp(&left.1.with(|r| r.id.clone())))
        });
        all.into_iter().map(|(_, task)| task).collect()
    }

    /// Stores a new task and sets it going; it is durable when this returns.
    pub(crate) async fn add(
        &self,
        record: Record,
        secrets: Map<String, Value>,
    ) -> Result<Arc<Task>, ApiError> {
        let services = self.services();
        services.cluster.create(&TASK, &record.object()).await?;
        let task = Task::new(record, secrets);
        // The status is a part of its own: creating an object does not store it.
        if let Err(error) = task.store(services).await {
            return Err(ApiError::Transport(error));
        }
        self.tasks().insert(task.with(|record| record.id.clone()), task.clone());
        self.launch(task.clone());
        self.forget_oldest().await;
        Ok(task)
    }

    /// Runs a task in the background when its turn comes.
    pub(crate) fn launch(&self, task: Arc<Task>) {
        *engine::lock(&task.cancel) = CancellationToken::new();
        let (services, running) = (self.services().clone(), self.inner.running.clone());
        tokio::spawn(async move {
            let Ok(_turn) = running.acquire_owned().await else { return };
            task.update(|record| record.status.phase = Phase::Processing);
            engine::run(services, task).await;
        });
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forget_oldest(&self) {
        let all = self.all();
        for task in
            all.iter().skip(RECORDS_MAX).filter(|task| task.with(|record| record.status.phase.is_final()))
        {
            let id = task.with(|record| record.id.clone());
            let key = object::Key::cluster(id.clone());
            match self.services().cluster.delete(&TASK, &key, None, Propagation::Background).await {
                Ok(()) => {
                    self.tasks().remove(&id);
                    // A workspace that stays is found unused by nobody and small; the folder is a cache.
                    let _ = tokio::fs::remove_dir_all(self.services().workspace(&id)).await;
                }
                Err(error) => tracing::warn!(%error, id, "an old task's record could not be removed"),
            }
        }
    }
}

/// Applies the kind and reads all records.
async fn load(services: &Arc<Services>) -> Result<HashMap<String, Arc<Task>>, ApiError> {
    let crd: Value = serde_json::from_str(CRD).unwrap_or_default();
    services.cluster.apply(&object::kinds::CUSTOM_RESOURCE_DEFINITION, &crd, "portolan-scaffolder").await?;
    let deadline = tokio::time::Instant::now() + ESTABLISH_TIMEOUT;
    let list = loop {
        match services.cluster.list(&TASK, "", "").await {
            Ok(list) => break list,
            // Served only once the definition is established.
            Err(error) if error.is_not_found() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error),
        }
    };
    let mut tasks = HashMap::new();
    for record in list.items.iter().filter_map(Record::read) {
        let interrupted = !record.status.phase.is_final();
        let task = Task::new(record, Map::new());
        if interrupted {
            mark_interrupted(services, &task).await;
        }
        tasks.insert(task.with(|record| record.id.clone()), task);
    }
    Ok(tasks)
}

/// A task that was running when the platform stopped.
async fn mark_interrupted(services: &Services, task: &Task) {
    let message = engine::INTERRUPTED;
    task.update(|record| {
        record.status.phase = Phase::Failed;
        let now = engine::now();
        for step in record.status.steps.iter_mut().filter(|step| step.status == Phase::Processing) {
            step.status = Phase::Failed;
            step.ended_at = Some(now.clone());
            step.error = Some(message.to_owned());
        }
        let body =
            json!({"message": message, "status": "failed", "error": {"name": "Error", "message": message}});
        record.push_event("completion", body, &now);
    });
    if let Err(error) = task.store(services).await {
        tracing::warn!(error, "an interrupted task could not be recorded");
    }
}
