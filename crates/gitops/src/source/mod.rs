//! The source controller: keeps the artifact of every GitRepository at the newest commit of its ref.

pub(crate) mod fetch;
pub(crate) mod ignore;
mod semver;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use controller::{Cluster, EventType, Next, ReconcileError, Reconciler, Recorder, now};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::git_repository::{GIT_REPOSITORY, Spec};
use crate::api::requested_at;
use crate::conditions::Status;
use crate::kustomization::sources::directory;
use fetch::{FetchError, Fetched};

/// Longest fetch, when the object does not say.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval when the object's cannot be read.
const INTERVAL: Duration = Duration::from_secs(60);
/// A failed fetch is tried again this soon, or at the interval if that is sooner.
const RETRY: Duration = Duration::from_secs(10);

/// Keys whose remote is said to have changed.
#[derive(Clone, Default)]
pub(crate) struct Hinted(Arc<Mutex<HashSet<Key>>>);

impl Hinted {
    pub(crate) fn add(&self, key: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    pub(crate) fn take(&self, key: &Key) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

/// See the module.
pub(crate) struct SourceReconciler {
    cluster: Cluster,
    recorder: Recorder,
    cache: PathBuf,
    hinted: Hinted,
    /// A fetch under way does not hold up the end.
    stop: CancellationToken,
    /// What was last worked on, and when to look again.
    due: Mutex<HashMap<Key, (Seen, Instant)>>,
}

/// What of an object makes a fetch necessary when it changes.
#[derive(PartialEq, Eq)]
struct Seen {
    uid: String,
    generation: i64,
    requested: Option<String>,
}

/// Why there is no new artifact: the reason and text of the conditions.
struct Failure {
    reason: &'static str,
    message: String,
}

impl SourceReconciler {
    pub(crate) fn new(cluster: &Cluster, cache: PathBuf, hinted: Hinted, stop: CancellationToken) -> Self {
        let recorder = Recorder::new(cluster, "source-controller");
        Self { cluster: cluster.clone(), recorder, cache, hinted, stop, due: Mutex::default() }
    }

    async fn work(&self, object: &Value, spec: &Spec) -> Result<Next, ReconcileError> {
        let interval = spec.interval.unwrap_or(INTERVAL);
        let outcome = self.fetch(object, spec).await;
        if self.stop.is_cancelled() {
            return Ok(Next::Done);
        }
        let mut status = Status::of(object, &now());
        if let Some(requested) = requested_at(object) {
            status.value["lastHandledReconcileAt"] = requested.into();
        }
        let pause = match &outcome {
            Ok(fetched) => {
                record_success(&mut status, object, spec, fetched);
                interval
            }
            Err(failure) => {
                status.set("FetchFailed", "True", failure.reason, &failure.message);
                status.fail(failure.reason, &failure.message);
                interval.min(RETRY)
            }
        };
        self.cluster.write_status(&GIT_REPOSITORY, object, &status.value).await?;
        let before = object["status"]["artifact"]["revision"].as_str();
        match &outcome {
            Ok(fetched) if before != Some(fetched.revision.as_str()) => {
                let message = format!("stored artifact for commit '{}'", fetched.subject);
                self.recorder.record(object, EventType::Normal, "NewArtifact", &message).await;
            }
            Ok(_) => {}
            Err(failure) => {
                self.recorder.record(object, EventType::Warning, failure.reason, &failure.message).await;
            }
        }
        Ok(Next::After(pause))
    }

    async fn fetch(&self, object: &Value, spec: &Spec) -> Result<Fetched, Failure> {
        let authorization = match &spec.secret_ref {
            Some(secret) => Some(self.authorization(meta::namespace(object), &secret.name).await?),
            None => None,
        };
        let directory = directory(&self.cache, &meta::key(object));
        let timeout = spec.timeout.unwrap_or(TIMEOUT);
        let fetch = fetch::fetch(&directory, &spec.url, &spec.reference, authorization.as_deref(), timeout);
        let fetched = tokio::select! {
            fetched = fetch => fetched,
            () = self.stop.cancelled() => Err(FetchError::Stopped),
        };
        fetched.map_err(|error| Failure {
            reason: if error.is_authentication() { "AuthenticationFailed" } else { "GitOperationFailed" },
            message: format!("failed to checkout and determine revision: {error}"),
        })
    }

    /// The HTTP header's value from a Secret.
    async fn authorization(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let failed = |why: String| Failure {
            reason: "AuthenticationFailed",
            message: format!("failed to get secret '{namespace}/{name}': {why}"),
        };
        let secret = self.cluster.get(&kinds::SECRET, &Key::new(namespace, name)).await;
        let secret = secret.map_err(|error| failed(error.to_string()))?;
        let secret = secret.ok_or_else(|| failed(format!("secrets \"{name}\" not found")))?;
        let field = |field: &str| secret_field(&secret, field);
        match (field("bearerToken"), field("username"), field("password")) {
            (Some(token), _, _) => Ok(format!("Bearer {token}")),
            (None, Some(user), Some(password)) => {
                let packed = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Ok(format!("Basic {packed}"))
            }
            _ => Err(failed("it has neither bearerToken nor username and password".to_owned())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (Seen, Instant)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciler for SourceReconciler {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let hinted = self.hinted.take(key);
        let Some(object) = self.cluster.get(&GIT_REPOSITORY, key).await? else {
            self.lock().remove(key);
            // Only a cache: what cannot be removed now is in nobody's way.
            tokio::fs::remove_dir_all(directory(&self.cache, key)).await.ok();
            return Ok(Next::Done);
        };
        let spec = match Spec::of(&object) {
            Ok(spec) if spec.suspend => return Ok(Next::Done),
            Ok(spec) => spec,
            Err(error) => return self.refuse(&object, &format!("spec cannot be read: {error}")).await,
        };
        if let Some(field) = spec.unsupported() {
            return self.refuse(&object, &format!("spec.{field} is not supported")).await;
        }
        let seen = Seen {
            uid: meta::uid(&object).to_owned(),
            generation: meta::generation(&object),
            requested: requested_at(&object).map(str::to_owned),
        };
        let wait = match self.lock().get(key) {
            Some((before, due)) if *before == seen && !hinted => due.checked_duration_since(Instant::now()),
            _ => None,
        };
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Ok(Next::After(wait));
        }
        let next = self.work(&object, &spec).await?;
        if let Next::After(pause) = next {
            self.lock().insert(key.clone(), (seen, Instant::now() + pause));
        }
        Ok(next)
    }
}

impl SourceReconciler {
    async fn refuse(&self, object: &Value, message: &str) -> Result<Next, ReconcileError> {
        let mut status = Status::of(object, &now());
        status.stall("InvalidSpec", message);
        self.cluster.write_status(&GIT_REPOSITORY, object, &status.value).await?;
        Ok(Next::Done)
    }
}

/// A field of a Secret as text.
pub(crate) fn secret_field(secret: &Value, field: &str) -> Option<String> {
    let packed = secret["data"][field].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).ok()?;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

fn record_success(status: &mut Status, object: &Value, spec: &Spec, fetched: &Fetched) {
    let message = format!("stored artifact for revision '{}'", fetched.revision);
    let digest = digest(&fetched.tree, spec.ignore.as_deref());
    let artifact = &status.value["artifact"];
    if artifact["revision"] != fetched.revision.as_str() || artifact["digest"] != digest.as_str() {
        let path = format!(
            "gitrepository/{}/{}/{}.tar.gz",
            meta::namespace(object),
            meta::name(object),
            fetched.commit
        );
        status.value["artifact"] = json!({
            "digest": digest,
            "lastUpdateTime": now(),
            "path": path,
            "revision": fetched.revision,
            "url": format!("http://source-controller.{}.svc.cluster.local./{path}", meta::namespace(object)),
        });
    }
    match (&spec.ignore, status.value.as_object_mut()) {
        (Some(ignore), Some(fields)) => {
            fields.insert("observedIgnore".into(), ignore.as_str().into());
        }
        (None, Some(fields)) => {
            fields.shift_remove("observedIgnore");
        }
        (_, None) => {}
    }
    status.remove("FetchFailed");
    status.succeed("Succeeded", &message);
    status.set("ArtifactInStorage", "True", "Succeeded", &message);
}

/// Of the content: Git's tree id and the ignore patterns say all of it.
fn digest(tree: &str, ignore: Option<&str>) -> String {
    let text = format!("{tree}\n{}", ignore.unwrap_or_default());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
