//! The runner: hints and sweeps make `WorkflowRun` objects, a watch on them starts and ends runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{Cluster, Patch, now};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::{self, RunStatus, WORKFLOW_RUN};
use crate::concurrency::Groups;
use crate::forge::Forge;
use crate::log::Logs;
use crate::{process, run, triggers};

/// How often an interrupted run is run again; a run that takes the platform down must not do so for ever.
const INTERRUPTION_LIMIT: i64 = 1;
/// Wait before the objects are read again when the API server does not answer.
const RETRY: Duration = Duration::from_secs(2);
/// Subject of the runner itself.
const SUBJECT: &str = "system:pipelines";

/// Makes a token for claims.
pub type Mint = Arc<dyn Fn(&identity::Claims) -> String + Send + Sync>;
/// The secrets of a repository, by name.
pub type Secrets = Arc<dyn Fn(&str) -> BTreeMap<String, String> + Send + Sync>;
/// Who sends an HTTP request: by token or by the portal's session.
pub type Authenticate = Arc<dyn Fn(&http::HeaderMap) -> Option<identity::Claims> + Send + Sync>;

/// What the runner needs to know.
#[derive(Clone)]
pub struct Config {
    /// Address of the git host, such as `http://127.0.0.1:7007`; also `github.server_url`.
    pub git_url: String,
    /// Where links in commit statuses lead.
    pub portal_url: String,
    /// Host and port of the registry, which a job finds in `REGISTRY`.
    pub registry: String,
    /// Logs, work directories, caches and artifacts.
    pub data: PathBuf,
    /// The `platform` API server; the CRDs of [`api::crds`] are applied by whoever starts it.
    pub cluster: Cluster,
    /// Organisations whose repositories are swept.
    pub organizations: Vec<String>,
    pub mint: Mint,
    pub secrets: Secrets,
    /// Variables of a repository (`vars`).
    pub variables: Secrets,
    pub authenticate: Authenticate,
    /// What builds images; `None` where the machine has no sandbox.
    pub builder: Option<Builder>,
    /// Jobs at once.
    pub concurrency: usize,
    /// Time between two sweeps for pushes whose hint was lost.
    pub sweep: Duration,
}

/// What `docker/build-push-action` builds with.
#[derive(Clone)]
pub struct Builder {
    pub images: Arc<registry::pull::Images>,
    pub launcher: Arc<sandbox::Launcher>,
}

/// A started runner.
#[derive(Clone)]
pub struct Runner {
    pub(crate) shared: Arc<Shared>,
}

/// Why the runner cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the directory {}", path.display())]
    Data {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) forge: Forge,
    pub(crate) logs: Logs,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) groups: Groups,
    /// Runs under way, with the token that cancels each.
    active: Mutex<HashMap<String, CancellationToken>>,
    /// Names one process of the platform's data directory apart from another's.
    pub(crate) tracking: String,
}

impl Runner {
    /// Starts everything in the background and returns at once; it ends with `stop`. Runs under way then stay as they
    /// are, and the next start takes them up.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Runner, StartError> {
        let work = config.data.join("work");
        let file = |source| StartError::Data { path: work.clone(), source };
        let _ = tokio::fs::remove_dir_all(&work).await;
        tokio::fs::create_dir_all(&work).await.map_err(file)?;
        let data = tokio::fs::canonicalize(&config.data).await.map_err(file)?;
        let config = Config { data, ..config };
        let claims =
            claims(SUBJECT, "Pipelines", vec!["repo:*:read".to_owned(), "status:*:write".to_owned()]);
        let mint = config.mint.clone();
        let forge = Forge::new(&config.git_url, Arc::new(move || mint(&claims)));
        let tracking = format!("portolan-{}-", triggers::hash(&[&config.data.to_string_lossy()]));
        process::end_tracked(&tracking);
        let shared = Arc::new(Shared {
            forge: forge.map_err(|error| StartError::Client(error.to_string()))?,
            logs: Logs::default(),
            slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
            groups: Groups::default(),
            active: Mutex::default(),
            tracking,
            config,
        });
        tokio::spawn(until(stop.clone(), watch(shared.clone(), stop.clone())));
        tokio::spawn(until(stop.clone(), listen(shared.clone())));
        tokio::spawn(until(stop, triggers::sweep(shared.clone())));
        Ok(Runner { shared })
    }

    /// `/api/pipelines/…`.
    pub fn routes(&self) -> axum::Router {
        crate::http::routes(self)
    }
}

/// Claims of a robot, which the runner mints tokens for.
pub(crate) fn claims(subject: &str, name: &str, scopes: Vec<String>) -> identity::Claims {
    identity::Claims {
        subject: subject.to_owned(),
        name: name.to_owned(),
        email: format!("{}@portolan.localhost", subject.trim_start_matches("system:")),
        groups: Vec::new(),
        scopes,
        expires_at_s: None,
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Hints of the git host, for as long as the platform runs.
async fn listen(shared: Arc<Shared>) {
    let scopes = vec!["repo:*:read".to_owned()];
    let token = (shared.config.mint)(&claims(SUBJECT, "Pipelines", scopes));
    let mut hints = Box::pin(git::hints::listen(&shared.config.git_url, &token));
    while let Some(event) = hints.next().await {
        triggers::on_event(&shared, event).await;
    }
}

/// Takes up what a former process left, then starts and cancels runs as their objects say.
async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let cluster = &shared.config.cluster;
    while let Err(error) = recover(&shared).await {
        tracing::warn!(%error, "cannot read the workflow runs yet");
        tokio::time::sleep(RETRY).await;
    }
    let mut changes = cluster.watch(&WORKFLOW_RUN).subscribe();
    // What was started is not started again, however late its object's older states arrive.
    let mut started: HashSet<(String, i64)> = HashSet::new();
    while let Some(change) = changes.recv().await {
        let Some(object) = change.after else {
            shared.cancel(object::meta::name(change.latest()));
            continue;
        };
        let name = object::meta::name(&object).to_owned();
        let (spec, status) = api::parse(&object);
        if spec.cancel {
            shared.cancel(&name);
        }
        let status = status.unwrap_or_default();
        let wanted =
            status.attempt < spec.attempt || (status.status == "queued" && status.attempt == spec.attempt);
        let idle = matches!(status.status.as_str(), "" | "queued" | "completed");
        if wanted && idle && started.insert((name.clone(), spec.attempt)) {
            // Not a child of `stop`: a platform that stops does not cancel its runs, it leaves them for the next start.
            let cancel = CancellationToken::new();
            if spec.cancel {
                cancel.cancel();
            }
            shared.active().insert(name.clone(), cancel.clone());
            let (shared, stop) = (shared.clone(), stop.clone());
            tokio::spawn(async move {
                let run = run::execute(shared.clone(), (*object).clone(), cancel);
                until(stop, run).await;
                shared.active().remove(&name);
            });
        }
    }
}

/// Runs that were under way when the platform ended: once more, or over.
async fn recover(shared: &Shared) -> Result<(), controller::ApiError> {
    let cluster = &shared.config.cluster;
    for object in cluster.list(&WORKFLOW_RUN, "", "").await?.items {
        let (spec, status) = api::parse(&object);
        let Some(mut status) = status.filter(|status| status.status == "in_progress") else { continue };
        let key = object::meta::key(&object);
        status.interruptions += 1;
        if status.interruptions > INTERRUPTION_LIMIT {
            let message = "the platform ended during the run, twice".to_owned();
            let status = RunStatus {
                status: "completed".into(),
                conclusion: Some("failure".into()),
                message: Some(message),
                completed_at: Some(now()),
                ..status
            };
            cluster.write_status(&WORKFLOW_RUN, &object, &json!(status)).await?;
            continue;
        }
        let status = RunStatus {
            status: "queued".into(),
            message: Some("the platform ended during the run: it is run again".to_owned()),
            ..status
        };
        // The status first: were the platform to end in between, the run would still be seen as interrupted once.
        cluster.write_status(&WORKFLOW_RUN, &object, &json!(status)).await?;
        let again: Value = json!({ "spec": { "attempt": spec.attempt + 1 } });
        cluster.patch(&WORKFLOW_RUN, &key, "", Patch::Merge(&again)).await?;
    }
    Ok(())
}

impl Shared {
    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, name: &str) {
        if let Some(token) = self.active().get(name) {
            token.cancel();
        }
    }

    /// The log of a job.
    pub(crate) fn log_path(&self, run: &str, job: &str) -> PathBuf {
        self.config.data.join("logs").join(run).join(format!("{job}.log"))
    }
}
