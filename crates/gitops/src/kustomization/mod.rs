//! The kustomize controller: keeps what a Kustomization's source describes applied.

pub(crate) mod apply;
mod drift;
mod health;
mod inventory;
mod plan;
mod render;
pub(crate) mod run;
pub(crate) mod sources;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{Cluster, EventType, Next, Patch, ReconcileError, Reconciler, Recorder, now};
use object::{Key, meta};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::git_repository::GIT_REPOSITORY;
use crate::api::kustomization::{FINALIZER, KUSTOMIZATION, Spec};
use crate::api::requested_at;
use crate::conditions::Status;
use apply::{Applier, hash};
use drift::Drift;
use inventory::Entry;
use sources::Sources;

/// How soon to look again for what another object has to do first; its changes are hints to look sooner.
const DEPENDENCY_INTERVAL: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct KustomizationReconciler {
    cluster: Cluster,
    recorder: Recorder,
    sources: Sources,
    applier: Arc<Applier>,
    drift: Arc<Drift>,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is remembered of a Kustomization between two reconciles; all of it can be lost.
#[derive(Default)]
struct Memory {
    /// What the last work depended on.
    inputs: u64,
    due: Option<Instant>,
    /// Since when the health of which revision is waited for.
    health: Option<(String, Instant)>,
    /// The last build and what it was made of.
    built: Option<(u64, Arc<Vec<Value>>)>,
}

impl KustomizationReconciler {
    /// `hints` brings keys back to the controller when applied objects change.
    pub(crate) fn new(cluster: &Cluster, cache: &Path, hints: mpsc::UnboundedSender<Key>) -> Self {
        let applier = Arc::new(Applier::new(cluster, apply::MANAGER));
        Self {
            cluster: cluster.clone(),
            recorder: Recorder::new(cluster, apply::MANAGER),
            sources: Sources::new(cache),
            drift: Arc::new(Drift::new(cluster, applier.clone(), hints)),
            applier,
            memory: Mutex::default(),
        }
    }

    /// What to ask when a definition changed: which keys were waiting for a kind.
    pub(crate) fn definition_changed(&self) -> impl Fn(&Value) -> Vec<Key> + Send + 'static {
        let drift = self.drift.clone();
        move |definition| match meta::condition_is_true(definition, "Established") {
            true => drift.definition_changed(),
            false => vec![],
        }
    }

    async fn ready_to_work(&self, object: &Value, spec: &Spec) -> Result<Next, ReconcileError> {
        let key = meta::key(object);
        let drifted = self.drift.take(&key);
        let source_key = source_key(&key, spec);
        let source = match spec.source_ref.kind.as_str() {
            "GitRepository" => self.cluster.get(&GIT_REPOSITORY, &source_key).await?,
            kind => {
                let message = format!("source `{}` kind '{kind}' not supported", spec.source_ref.name);
                return self.stalled(object, "ArtifactFailed", &message).await;
            }
        };
        let dependencies = self.dependencies(&key, spec).await?;
        let artifact = source.as_ref().map(|source| &source["status"]["artifact"]);
        let inputs = hash(&json!([
            meta::uid(object),
            meta::generation(object),
            requested_at(object),
            artifact.map(|artifact| json!([artifact["revision"], artifact["digest"]])),
            dependencies,
        ]));
        let wait = match self.lock().get(&key) {
            Some(memory) if memory.inputs == inputs && !drifted && !self.drift.is_waiting(&key) => memory.due,
            _ => None,
        };
        if let Some(wait) =
            wait.and_then(|due| due.checked_duration_since(Instant::now())).filter(|w| !w.is_zero())
        {
            return Ok(Next::After(wait));
        }
        let next = match (&source, artifact.filter(|artifact| artifact.is_object())) {
            (None, _) => {
                let message =
                    format!("gitrepositories.source.toolkit.fluxcd.io \"{}\" not found", source_key.name);
                self.not_yet(object, "ArtifactFailed", &message, spec.retry_interval()).await?
            }
            (Some(_), None) => {
                let message = "Source artifact not found, retrying in 30s";
                self.not_yet(object, "ArtifactFailed", message, DEPENDENCY_INTERVAL).await?
            }
            (Some(_), Some(artifact)) => match unready(&dependencies, artifact) {
                Some(message) => {
                    self.not_yet(object, "DependencyNotReady", &message, DEPENDENCY_INTERVAL).await?
                }
                None => self.run(object, spec, source.as_ref().unwrap_or(&Value::Null)).await?,
            },
        };
        if let Next::After(pause) = next {
            let mut memory = self.lock();
            let memory = memory.entry(key).or_default();
            (memory.inputs, memory.due) = (inputs, Some(Instant::now() + pause));
        }
        Ok(next)
    }

    /// For each dependency: its name, whether it is ready, whether it has the same source, and what it applied.
    async fn dependencies(&self, key: &Key, spec: &Spec) -> Result<Vec<Value>, ReconcileError> {
        let mut found = vec![];
        for dependency in &spec.depends_on {
            let namespace =
                if dependency.namespace.is_empty() { &key.namespace } else { &dependency.namespace };
            let other_key = Key::new(namespace.as_str(), dependency.name.as_str());
            let other = self.cluster.get(&KUSTOMIZATION, &other_key).await?;
            let Some(other) = other else {
                found.push(json!({"name": other_key.to_string(), "found": false}));
                continue;
            };
            let observed = other["status"]["observedGeneration"].as_i64() == Some(meta::generation(&other));
            let same_source =
                Spec::of(&other).is_ok_and(|theirs| source_key(&other_key, &theirs) == source_key(key, spec));
            found.push(json!({
                "name": other_key.to_string(),
                "found": true,
                "ready": observed && meta::condition_is_true(&other, "Ready"),
                "sameSource": same_source,
                "revision": other["status"]["lastAppliedRevision"],
            }));
        }
        Ok(found)
    }

    /// Something else has to happen first.
    async fn not_yet(
        &self,
        object: &Value,
        reason: &str,
        message: &str,
        pause: Duration,
    ) -> Result<Next, ReconcileError> {
        let mut status = self.status(object);
        status.remove("Stalled");
        status.set("Ready", "False", reason, message);
        self.cluster.write_status(&KUSTOMIZATION, object, &status.value).await?;
        Ok(Next::After(pause))
    }

    /// Only a change of the object can help.
    async fn stalled(&self, object: &Value, reason: &str, message: &str) -> Result<Next, ReconcileError> {
        let mut status = self.status(object);
        status.stall(reason, message);
        self.cluster.write_status(&KUSTOMIZATION, object, &status.value).await?;
        self.recorder.record(object, EventType::Warning, reason, message).await;
        Ok(Next::Done)
    }

    fn status(&self, object: &Value) -> Status {
        let mut status = Status::of(object, &now());
        if let Some(requested) = requested_at(object) {
            status.value["lastHandledReconcileAt"] = requested.into();
        }
        status
    }

    /// Deletes what was applied, as the deletion policy says, and lets the object go.
    async fn finalize(&self, object: &Value, spec: Option<&Spec>) -> Result<Next, ReconcileError> {
        let key = meta::key(object);
        if !meta::has_finalizer(object, FINALIZER) {
            return Ok(Next::Done);
        }
        if spec.is_some_and(|spec| spec.deletes() && !spec.suspend) {
            let entries = plan::stale(&inventory::read(&object["status"]), &[]);
            let mut deleted = vec![];
            for entry in &entries {
                if self.applier.prune(entry, &key).await? {
                    deleted.push(format!("{} deleted", entry.subject()));
                }
            }
            if !deleted.is_empty() {
                self.recorder.record(object, EventType::Normal, "Progressing", &deleted.join("\n")).await;
            }
            let waits = spec.and_then(|spec| spec.deletion_policy.as_deref()) == Some("WaitForTermination");
            if waits && self.any_left(&entries, &key).await? && !self.waited_enough(object, spec) {
                return Ok(Next::After(Duration::from_secs(1)));
            }
        }
        let rest: Vec<&str> = meta::finalizers(object).filter(|finalizer| *finalizer != FINALIZER).collect();
        let patch =
            json!({"metadata": {"finalizers": rest, "resourceVersion": meta::resource_version(object)}});
        match self.cluster.patch(&KUSTOMIZATION, &key, "", Patch::Merge(&patch)).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        self.lock().remove(&key);
        self.drift.set_waiting(&key, false);
        Ok(Next::Done)
    }

    async fn any_left(&self, entries: &[Entry], owner: &Key) -> Result<bool, ReconcileError> {
        for entry in entries {
            let Ok(resource) = self.cluster.resolve(&entry.api_version(), &entry.kind).await else {
                continue;
            };
            let live = self.cluster.get(&resource, &entry.key).await?;
            if live.is_some_and(|live| plan::may_prune(&live, owner)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn waited_enough(&self, object: &Value, spec: Option<&Spec>) -> bool {
        let since = object["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse().ok());
        let (Some(since), Some(spec)) = (since, spec) else { return true };
        let since: jiff::Timestamp = since;
        let waited = Duration::try_from(jiff::Timestamp::now() - since).unwrap_or(Duration::ZERO);
        waited > spec.timeout()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciler for KustomizationReconciler {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(object) = self.cluster.get(&KUSTOMIZATION, key).await? else {
            self.lock().remove(key);
            self.drift.set_waiting(key, false);
            return Ok(Next::Done);
        };
        let spec = Spec::of(&object);
        if meta::is_being_deleted(&object) {
            return self.finalize(&object, spec.as_ref().ok()).await;
        }
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => {
                return self.stalled(&object, "BuildFailed", &format!("spec cannot be read: {error}")).await;
            }
        };
        let object = if meta::has_finalizer(&object, FINALIZER) {
            object
        } else {
            let all: Vec<&str> = meta::finalizers(&object).chain([FINALIZER]).collect();
            let patch =
                json!({"metadata": {"finalizers": all, "resourceVersion": meta::resource_version(&object)}});
            self.cluster.patch(&KUSTOMIZATION, key, "", Patch::Merge(&patch)).await?
        };
        if spec.suspend {
            return Ok(Next::Done);
        }
        match spec.unsupported() {
            Some(field) => {
                self.stalled(&object, "BuildFailed", &format!("spec.{field} is not supported")).await
            }
            None => self.ready_to_work(&object, &spec).await,
        }
    }
}

/// The key of a Kustomization's source.
pub(crate) fn source_key(key: &Key, spec: &Spec) -> Key {
    let source = &spec.source_ref;
    let namespace = if source.namespace.is_empty() { &key.namespace } else { &source.namespace };
    Key::new(namespace.as_str(), source.name.as_str())
}

/// What the first dependency that is not ready lacks.
fn unready(dependencies: &[Value], artifact: &Value) -> Option<String> {
    dependencies.iter().find_map(|dependency| {
        let name = dependency["name"].as_str().unwrap_or_default();
        if dependency["found"] == false {
            Some(format!("dependency '{name}' not found"))
        } else if dependency["ready"] == false {
            Some(format!("dependency '{name}' is not ready"))
        } else if dependency["sameSource"] == true && dependency["revision"] != artifact["revision"] {
            Some(format!("dependency '{name}' revision is not up to date"))
        } else {
            None
        }
    })
}
