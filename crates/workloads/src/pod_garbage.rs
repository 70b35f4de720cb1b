//! Pods that no node will ever end: those bound to a node that is gone, and those deleted before they had a node
//! (`pkg/controller/podgc/gc_controller.go`).

use std::sync::Arc;
use std::time::Duration;

use controller::{Cache, Cluster, Controller, Next, Patch, ReconcileError, Reconciler, now};
use http::Method;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::pods::is_finished;

/// A missing node gets this long to come back.
const QUARANTINE: Duration = Duration::from_secs(40);

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (pods, nodes) = (cluster.watch(&kinds::POD), cluster.watch(&kinds::NODE));
    let of_node = pods.clone();
    let controller =
        Controller::new("pod-garbage-collector", &cluster, &kinds::POD).watches(&kinds::NODE, move |node| {
            let name = meta::name(node);
            of_node
                .list()
                .iter()
                .filter(|pod| pod["spec"]["nodeName"] == name)
                .map(|pod| meta::key(pod))
                .collect()
        });
    let missing = std::sync::Mutex::default();
    controller.run(Arc::new(PodGarbage { cluster, pods, nodes, missing }), stop).await;
}

struct PodGarbage {
    cluster: Cluster,
    pods: Cache,
    nodes: Cache,
    /// Since when a node is missed.
    missing: std::sync::Mutex<std::collections::HashMap<String, tokio::time::Instant>>,
}

impl Reconciler for PodGarbage {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::Done) };
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            if meta::is_being_deleted(&pod) {
                self.force(&pod).await?;
            }
            return Ok(Next::Done);
        }
        if self.nodes.get(&Key::cluster(node)).is_some() {
            self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(node);
            return Ok(Next::Done);
        }
        let now_at = tokio::time::Instant::now();
        let since = *self
            .missing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(node.to_owned())
            .or_insert(now_at);
        let left = QUARANTINE.saturating_sub(now_at.duration_since(since));
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        if self.cluster.get(&kinds::NODE, &Key::cluster(node)).await?.is_some() {
            return Ok(Next::Done);
        }
        if !is_finished(&pod) {
            self.cluster.patch(&kinds::POD, key, "status", Patch::Merge(&failed(&pod, &now()))).await?;
        }
        self.force(&pod).await?;
        Ok(Next::Done)
    }
}

impl PodGarbage {
    /// Deletes without a grace period: nobody would confirm the end.
    async fn force(&self, pod: &Value) -> Result<(), ReconcileError> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": meta::uid(pod)},
        });
        let (path, body) = (kinds::POD.object_path(&meta::key(pod)), options.to_string());
        match self.cluster.call(Method::DELETE, &path, Some("application/json"), body.as_bytes()).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn failed(pod: &Value, now: &str) -> Value {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
    });
    meta::set_condition(&mut conditions, condition, now);
    json!({"status": {"phase": "Failed", "conditions": conditions}})
}
