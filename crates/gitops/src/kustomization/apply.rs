//! Applying: server-side, in stages, and only what differs.
//!
//! What was applied is remembered with a fingerprint of the live object. While both the wanted object and the
//! fingerprint stay the same, there is nothing to ask the server: an idle interval costs no request.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{ApiError, Cache, Cluster, Propagation};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object::{Key, Resource, kinds, meta};
use serde_json::Value;

use super::inventory::Entry;
use super::plan;
use super::render::steered;

/// The field manager, as Flux names it.
pub(crate) const MANAGER: &str = "kustomize-controller";
/// Dry runs at once: Flux's default.
const DRY_RUNS: usize = 4;
/// A new CRD has to be served, and a recreated object to be gone, within this time.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// A shared watch has to have its first list within this time.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// What an apply did with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Created,
    Configured,
    Unchanged,
    Skipped,
}

/// One object after its apply.
pub(crate) struct Outcome {
    pub(crate) entry: Entry,
    pub(crate) resource: Resource,
    pub(crate) action: Action,
}

/// Why an apply stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{subject} dry-run failed: {message}")]
    DryRun { subject: String, message: String, missing_kind: bool },
    #[error("{subject} namespace not specified")]
    NoNamespace { subject: String },
    #[error("{subject} apply failed: {message}")]
    Apply { subject: String, message: String },
    #[error("{subject} is not ready: timeout after 60s")]
    Timeout { subject: String },
}

impl ApplyError {
    /// Whether the kind of an object is not served (yet).
    pub(crate) fn is_missing_kind(&self) -> bool {
        matches!(self, ApplyError::DryRun { missing_kind: true, .. })
    }
}

/// What is known of an applied object.
#[derive(Clone)]
struct Memo {
    desired: u64,
    live: u64,
    /// Resource version that the watch showed when the apply was sent: while it still shows that one, it is behind.
    superseded: String,
}

/// Applies objects to one cluster.
pub(crate) struct Applier {
    cluster: Cluster,
    manager: &'static str,
    memos: Mutex<HashMap<(Resource, Key), Memo>>,
}

/// A wanted object with its address and what is there.
struct Wanted<'a> {
    object: &'a Value,
    entry: Entry,
    resource: Resource,
    live: Option<Arc<Value>>,
}

impl Applier {
    pub(crate) fn new(cluster: &Cluster, manager: &'static str) -> Self {
        Self { cluster: cluster.clone(), manager, memos: Mutex::default() }
    }

    /// Applies all objects, stage by stage. `force`: recreate what the server refuses to change.
    pub(crate) async fn apply(&self, objects: &[Value], force: bool) -> Result<Vec<Outcome>, ApplyError> {
        let mut outcomes = vec![];
        for stage in plan::stages(objects) {
            self.stage(stage, force, &mut outcomes).await?;
        }
        Ok(outcomes)
    }

    /// Whether a change of a live object concerns more than its status.
    pub(crate) fn is_drift(&self, resource: &Resource, key: &Key, after: Option<&Value>) -> bool {
        let memo = self.lock().get(&(resource.clone(), key.clone())).cloned();
        match (memo, after) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(memo), Some(after)) => {
                memo.superseded != meta::resource_version(after) && memo.live != fingerprint(after)
            }
        }
    }

    /// Deletes a pruned object, if it is still this owner's; whether there was something to delete.
    pub(crate) async fn prune(&self, entry: &Entry, owner: &Key) -> Result<bool, ApiError> {
        let resource = match self.cluster.resolve(&entry.api_version(), &entry.kind).await {
            Ok(resource) => resource,
            // Its definition is gone, and with it all its objects.
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(live) = self.cluster.get(&resource, &entry.key).await? else { return Ok(false) };
        if meta::is_being_deleted(&live) || !plan::may_prune(&live, owner) {
            return Ok(false);
        }
        self.lock().remove(&(resource.clone(), entry.key.clone()));
        self.cluster.delete(&resource, &entry.key, Some(meta::uid(&live)), Propagation::Background).await?;
        Ok(true)
    }

    /// The shared watch of a kind, once it has its first list; none when that takes too long.
    pub(crate) async fn cache(&self, resource: &Resource) -> Option<Cache> {
        let cache = self.cluster.watch(resource);
        tokio::time::timeout(SYNC_TIMEOUT, cache.synced()).await.is_ok().then_some(cache)
    }

    async fn stage(
        &self,
        stage: Vec<&Value>,
        force: bool,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), ApplyError> {
        let mut changed = vec![];
        for object in stage {
            let wanted = self.look(object).await?;
            let action = if plan::is_skipped(object, wanted.live.as_deref()) {
                Action::Skipped
            } else if self.is_as_wanted(&wanted) {
                Action::Unchanged
            } else {
                changed.push(wanted);
                continue;
            };
            outcomes.push(Outcome { entry: wanted.entry, resource: wanted.resource, action });
        }
        // Nothing of a stage is applied before all of it has passed a dry run.
        let mut checks: Vec<BoxFuture<'_, Result<bool, ApplyError>>> = vec![];
        for wanted in &changed {
            checks.push(self.dry_run(wanted, force).boxed());
        }
        let recreate: Vec<bool> = futures::stream::iter(checks).buffered(DRY_RUNS).try_collect().await?;
        let mut definitions = vec![];
        for (wanted, recreate) in changed.into_iter().zip(recreate) {
            let action = self.apply_one(&wanted, recreate).await?;
            if wanted.resource == kinds::CUSTOM_RESOURCE_DEFINITION {
                definitions.push(wanted.entry.clone());
            }
            outcomes.push(Outcome { entry: wanted.entry, resource: wanted.resource, action });
        }
        for definition in definitions {
            self.await_definition(&definition).await?;
        }
        Ok(())
    }

    async fn look<'a>(&self, object: &'a Value) -> Result<Wanted<'a>, ApplyError> {
        let entry = Entry::of(object);
        let resource = self.cluster.resolve(&entry.api_version(), &entry.kind).await;
        let resource = resource.map_err(|error| ApplyError::DryRun {
            subject: entry.subject(),
            message: error.to_string(),
            missing_kind: error.is_not_found(),
        })?;
        if resource.namespaced && entry.key.namespace.is_empty() {
            return Err(ApplyError::NoNamespace { subject: entry.subject() });
        }
        let live = match self.cache(&resource).await {
            Some(cache) => cache.get(&entry.key),
            None => None,
        };
        Ok(Wanted { object, entry, resource, live })
    }

    fn is_as_wanted(&self, wanted: &Wanted<'_>) -> bool {
        let Some(live) = &wanted.live else { return false };
        let memo = self.lock().get(&(wanted.resource.clone(), wanted.entry.key.clone())).cloned();
        memo.is_some_and(|memo| {
            memo.desired == hash(wanted.object)
                && (memo.superseded == meta::resource_version(live) || memo.live == fingerprint(live))
        })
    }

    /// Asks the server whether it would take the object; true: only after a deletion.
    async fn dry_run(&self, wanted: &Wanted<'_>, force: bool) -> Result<bool, ApplyError> {
        let force = force || steered(wanted.object, "force") == Some("enabled");
        match self.cluster.dry_apply(&wanted.resource, wanted.object, self.manager).await {
            Ok(_) => Ok(false),
            Err(error) if force && wanted.live.is_some() && is_immutable(&error) => Ok(true),
            Err(error) => Err(ApplyError::DryRun {
                subject: wanted.entry.subject(),
                message: describe(&error),
                missing_kind: matches!(error, ApiError::NoKind { .. }),
            }),
        }
    }

    async fn apply_one(&self, wanted: &Wanted<'_>, recreate: bool) -> Result<Action, ApplyError> {
        let failed = |error: ApiError| ApplyError::Apply {
            subject: wanted.entry.subject(),
            message: describe(&error),
        };
        let (resource, key) = (&wanted.resource, &wanted.entry.key);
        if recreate {
            self.lock().remove(&(resource.clone(), key.clone()));
            self.cluster.delete(resource, key, None, Propagation::Background).await.map_err(failed)?;
            let cache = self.cluster.watch(resource);
            let gone =
                tokio::time::timeout(ESTABLISH_TIMEOUT, cache.wait_for(key, |live| live.is_none())).await;
            gone.map_err(|_| ApplyError::Timeout { subject: wanted.entry.subject() })?;
        }
        let live = self.cluster.apply(resource, wanted.object, self.manager).await.map_err(failed)?;
        let action = match &wanted.live {
            None => Action::Created,
            Some(before) if meta::resource_version(before) == meta::resource_version(&live) => {
                Action::Unchanged
            }
            Some(_) => Action::Configured,
        };
        let memo = Memo {
            desired: hash(wanted.object),
            live: fingerprint(&live),
            superseded: wanted.live.as_deref().map(meta::resource_version).unwrap_or_default().to_owned(),
        };
        self.lock().insert((resource.clone(), key.clone()), memo);
        Ok(action)
    }

    /// Waits until a new kind is served.
    async fn await_definition(&self, definition: &Entry) -> Result<(), ApplyError> {
        let cache = self.cluster.watch(&kinds::CUSTOM_RESOURCE_DEFINITION);
        let established =
            |live: Option<&Value>| live.is_some_and(|live| meta::condition_is_true(live, "Established"));
        let waited =
            tokio::time::timeout(ESTABLISH_TIMEOUT, cache.wait_for(&definition.key, established)).await;
        let live = waited.map_err(|_| ApplyError::Timeout { subject: definition.subject() })?;
        if let Some(group) = live.as_ref().and_then(|live| live["spec"]["group"].as_str()) {
            self.cluster.forget_kinds(group);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Resource, Key), Memo>> {
        self.memos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors that say: this field cannot change on a living object.
fn is_immutable(error: &ApiError) -> bool {
    let text = error.to_string();
    matches!(error.code(), 409 | 422) || text.contains("is immutable") || text.contains("immutable field")
}

/// The server's reason and text.
fn describe(error: &ApiError) -> String {
    match error {
        ApiError::Status { reason, message, .. } if !reason.is_empty() => format!("({reason}): {message}"),
        other => other.to_string(),
    }
}

/// Everything of an object that is not status or bookkeeping of the server.
fn fingerprint(live: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (field, value) in live.as_object().into_iter().flatten() {
        match field.as_str() {
            "status" | "apiVersion" | "kind" => {}
            "metadata" => {
                value["labels"].to_string().hash(&mut hasher);
                let annotations = value["annotations"].as_object().into_iter().flatten();
                let annotations =
                    annotations.filter(|(key, _)| !key.starts_with("deployment.kubernetes.io/"));
                annotations.for_each(|(key, value)| (key, value.to_string()).hash(&mut hasher));
                value["deletionTimestamp"].to_string().hash(&mut hasher);
            }
            other => (other, value.to_string()).hash(&mut hasher),
        }
    }
    hasher.finish()
}

pub(crate) fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
