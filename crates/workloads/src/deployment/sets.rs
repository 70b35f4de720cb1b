//! A Deployment's ReplicaSets while a plan is made: sizes, annotations and revisions that the plan changes,
//! turned into one patch for each set at the end.

use std::sync::Arc;

use object::{Key, meta};
use serde_json::{Map, Value, json};

use crate::hash;
use crate::pods::number;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Longer histories lose their oldest entries.
const HISTORY_LIMIT: usize = 2000;

/// One ReplicaSet as it is and as it shall be.
pub(super) struct Set {
    pub(super) observed: Arc<Value>,
    pub(super) replicas: i64,
    annotations: Map<String, Value>,
    min_ready: Option<i64>,
}

/// A patch of one set, with the event that tells people.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) patch: Value,
    pub(super) event: Option<String>,
}

impl Set {
    pub(super) fn new(observed: &Arc<Value>) -> Self {
        let replicas = number(&observed["spec"]["replicas"], 1);
        Self { observed: observed.clone(), replicas, annotations: Map::new(), min_ready: None }
    }

    pub(super) fn name(&self) -> &str {
        meta::name(&self.observed)
    }

    pub(super) fn status(&self, field: &str) -> i64 {
        number(&self.observed["status"][field], 0)
    }

    pub(super) fn available(&self) -> i64 {
        self.status("availableReplicas")
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotated(REVISION).unwrap_or(0)
    }

    pub(super) fn desired_annotation(&self) -> Option<i64> {
        self.annotated(DESIRED)
    }

    pub(super) fn max_annotation(&self) -> Option<i64> {
        self.annotated(MAX)
    }

    /// Oldest first; the name decides between sets of the same second.
    pub(super) fn age_order(&self) -> (String, String) {
        (meta::creation_timestamp(&self.observed).to_owned(), self.name().to_owned())
    }

    /// What scaling always records, even when the size stays.
    pub(super) fn record_size(&mut self, desired: i64, surge: i64) {
        self.annotate(DESIRED, desired.to_string());
        self.annotate(MAX, (desired + surge).to_string());
    }

    /// Gives the newest set its revision and the Deployment's annotations.
    pub(super) fn take_over(&mut self, deployment: &Value, revision: i64) {
        for (key, value) in copied(deployment) {
            self.annotate(&key, value);
        }
        let old = self.revision();
        if old < revision {
            if old > 0 {
                let history = meta::annotation(&self.observed, HISTORY).unwrap_or_default();
                self.annotate(HISTORY, extended_history(history, old));
            }
            self.annotate(REVISION, revision.to_string());
        }
    }

    /// Follows the Deployment's minReadySeconds.
    pub(super) fn set_min_ready(&mut self, seconds: i64) {
        self.min_ready = (number(&self.observed["spec"]["minReadySeconds"], 0) != seconds).then_some(seconds);
    }

    /// The patch that makes it so; none when nothing changes.
    pub(super) fn change(&self) -> Option<Change> {
        let before = number(&self.observed["spec"]["replicas"], 1);
        let mut patch = json!({"metadata": {"resourceVersion": meta::resource_version(&self.observed)}});
        if self.replicas == before && self.annotations.is_empty() && self.min_ready.is_none() {
            return None;
        }
        if !self.annotations.is_empty() {
            patch["metadata"]["annotations"] = self.annotations.clone().into();
        }
        if let Some(seconds) = self.min_ready {
            patch["spec"]["minReadySeconds"] = seconds.into();
        }
        let event = (self.replicas != before).then(|| {
            patch["spec"]["replicas"] = self.replicas.into();
            let direction = if self.replicas > before { "up" } else { "down" };
            format!("Scaled {direction} replica set {} from {before} to {}", self.name(), self.replicas)
        });
        Some(Change { key: meta::key(&self.observed), patch, event })
    }

    fn annotated(&self, key: &str) -> Option<i64> {
        meta::annotation(&self.observed, key)?.parse().ok()
    }

    fn annotate(&mut self, key: &str, value: String) {
        if meta::annotation(&self.observed, key) == Some(&value) {
            self.annotations.shift_remove(key);
        } else {
            self.annotations.insert(key.to_owned(), value.into());
        }
    }
}

/// A ReplicaSet for the Deployment's template of today.
pub(super) fn fresh(deployment: &Value, replicas: i64, revision: i64, surge: i64) -> Value {
    let collisions = deployment["status"]["collisionCount"].as_i64();
    let mut template = deployment["spec"]["template"].clone();
    let hash = hash::template_hash(&template, collisions);
    meta::set_label(&mut template, "pod-template-hash", &hash);
    let mut selector = deployment["spec"]["selector"].clone();
    if !selector["matchLabels"].is_object() {
        selector["matchLabels"] = json!({});
    }
    selector["matchLabels"]["pod-template-hash"] = hash.clone().into();
    let room = 253 - hash.len() - 1;
    let name: String = meta::name(deployment).chars().take(room).collect();
    let mut annotations: Map<String, Value> = copied(deployment).map(|(k, v)| (k, v.into())).collect();
    annotations.insert(REVISION.into(), revision.to_string().into());
    let desired = number(&deployment["spec"]["replicas"], 1);
    annotations.insert(DESIRED.into(), desired.to_string().into());
    annotations.insert(MAX.into(), (desired + surge).to_string().into());
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
    if let Some(seconds) = deployment["spec"]["minReadySeconds"].as_i64().filter(|s| *s != 0) {
        spec["minReadySeconds"] = seconds.into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{name}-{hash}"),
            "namespace": meta::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [meta::controller_reference(deployment)],
        },
        "spec": spec,
    })
}

/// The Deployment's annotations that its new ReplicaSet gets, such as `kubernetes.io/change-cause`.
fn copied(deployment: &Value) -> impl Iterator<Item = (String, String)> + '_ {
    let all = deployment["metadata"]["annotations"].as_object().into_iter().flatten();
    all.filter(|(key, _)| ![LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX].contains(&key.as_str()))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
}

fn extended_history(history: &str, revision: i64) -> String {
    let mut entries: Vec<String> = history.split(',').filter(|e| !e.is_empty()).map(str::to_owned).collect();
    entries.push(revision.to_string());
    while entries.join(",").len() > HISTORY_LIMIT {
        entries.remove(0);
    }
    entries.join(",")
}
