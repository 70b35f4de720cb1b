//! CompositionRevisions: each distinct spec of a Composition is kept under a number, so that composites can stay on one
//! (`internal/controller/apiextensions/composition`).

use std::sync::Arc;

use aws_lc_rs::digest;
use controller::{Cache, Cluster, Controller, Next, Patch, ReconcileError, Reconciler, now};
use object::{Key, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::{COMPOSITION, REVISION};

pub(crate) const COMPOSITION_NAME: &str = "crossplane.io/composition-name";
const COMPOSITION_HASH: &str = "crossplane.io/composition-hash";

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (compositions, revisions) = (cluster.watch(&COMPOSITION), cluster.watch(&REVISION));
    let controller =
        Controller::new("composition-revision", &cluster, &COMPOSITION).owns(&REVISION, "Composition");
    controller.run(Arc::new(Revisions { cluster, compositions, revisions }), stop).await;
}

struct Revisions {
    cluster: Cluster,
    compositions: Cache,
    revisions: Cache,
}

impl Reconciler for Revisions {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(composition) = self.compositions.get(key) else { return Ok(Next::Done) };
        if meta::is_being_deleted(&composition) {
            return Ok(Next::Done);
        }
        let wanted = revision(&composition);
        let known: Vec<Arc<Value>> = self
            .revisions
            .list()
            .into_iter()
            .filter(|r| meta::label(r, COMPOSITION_NAME) == Some(&key.name) && !meta::is_being_deleted(r))
            .collect();
        let highest = known.iter().map(|r| number(r)).max().unwrap_or(0);
        let hash = meta::label(&wanted, COMPOSITION_HASH);
        match known.iter().find(|r| meta::label(r, COMPOSITION_HASH) == hash) {
            // Back to an earlier spec: its revision becomes the newest again.
            Some(same) if number(same) < highest => {
                let patch = json!({"spec": {"revision": highest + 1}});
                self.cluster.patch(&REVISION, &meta::key(same), "", Patch::Merge(&patch)).await?;
            }
            Some(same) => self.mark_valid(same).await?,
            None => {
                let mut fresh = wanted;
                fresh["spec"]["revision"] = (highest + 1).into();
                match self.cluster.create(&REVISION, &fresh).await {
                    Err(error) if !error.is_already_exists() => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(Next::Done)
    }
}

impl Revisions {
    async fn mark_valid(&self, revision: &Value) -> Result<(), ReconcileError> {
        let mut status = if revision["status"].is_object() { revision["status"].clone() } else { json!({}) };
        let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let valid = json!({"type": "ValidPipeline", "status": "True", "reason": "ValidPipeline"});
        meta::set_condition(&mut conditions, valid, &now());
        status["conditions"] = conditions.into();
        self.cluster.write_status(&REVISION, revision, &status).await?;
        Ok(())
    }
}

/// `spec.revision`.
pub(crate) fn number(revision: &Value) -> i64 {
    revision["spec"]["revision"].as_i64().unwrap_or(0)
}

/// The revision of a Composition as it is, without a number.
fn revision(composition: &Value) -> Value {
    let hash = hash(composition);
    let mut out = json!({
        "apiVersion": REVISION.api_version(), "kind": REVISION.kind,
        "metadata": {
            "name": format!("{}-{}", meta::name(composition), &hash[..7]),
            "labels": composition["metadata"].get("labels").cloned().unwrap_or_else(|| json!({})),
            "ownerReferences": [meta::controller_reference(composition)],
        },
        "spec": composition["spec"],
    });
    meta::set_label(&mut out, COMPOSITION_NAME, meta::name(composition));
    meta::set_label(&mut out, COMPOSITION_HASH, &hash[..63]);
    out
}

/// Over labels, annotations and spec; the annotation that kubectl keeps for itself does not count.
fn hash(composition: &Value) -> String {
    let mut annotations = composition["metadata"]["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let parts = json!([composition["metadata"]["labels"], annotations, composition["spec"]]);
    let sum = digest::digest(&digest::SHA256, sorted(&parts).to_string().as_bytes());
    sum.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_named_by_its_content() {
        let composition = |spec: Value| json!({"metadata": {"name": "c", "uid": "u"}, "spec": spec});
        let (one, two) = (
            revision(&composition(json!({"a": 1, "b": 2}))),
            revision(&composition(json!({"b": 2, "a": 1}))),
        );
        assert_eq!(one["metadata"]["name"], two["metadata"]["name"]);
        assert_ne!(one["metadata"]["name"], revision(&composition(json!({"a": 2})))["metadata"]["name"]);
        assert_eq!(meta::label(&one, COMPOSITION_HASH).map(str::len), Some(63));
        assert_eq!(meta::label(&one, COMPOSITION_NAME), Some("c"));
    }
}
