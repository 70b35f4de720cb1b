//! The scheduler: pods without a node get one that fits (`pkg/scheduler`). Filters and their words are the default
//! plugins'; the score is the least allocated node.

pub(crate) mod fit;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Patch, ReconcileError, Reconciler, now,
};
use http::Method;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::pods::is_finished;
use fit::{Node, Verdict};

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// A pod that fits nowhere is looked at again after this time, even if no event says that room was made.
const RETRY: Duration = Duration::from_secs(10);

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (pods, nodes) = (cluster.watch(&kinds::POD), cluster.watch(&kinds::NODE));
    let (waiting, room, of_claim) = (pods.clone(), pods.clone(), pods.clone());
    let reconciler = Scheduler {
        work: Work::new(&cluster, "default-scheduler"),
        claims: cluster.watch(&kinds::PERSISTENT_VOLUME_CLAIM),
        pods,
        nodes,
        assumed: Mutex::default(),
    };
    let controller = Controller::new("scheduler", &cluster, &kinds::POD)
        .watches(&kinds::NODE, move |_| unscheduled(&waiting))
        .watches(&kinds::PERSISTENT_VOLUME_CLAIM, move |claim| unscheduled_with(&of_claim, claim))
        .watches(&kinds::POD, move |pod| {
            let makes_room = is_finished(pod) || meta::is_being_deleted(pod);
            if makes_room { unscheduled(&room) } else { vec![] }
        })
        .workers(1);
    controller.run(Arc::new(reconciler), stop).await;
}

fn unscheduled(pods: &Cache) -> Vec<Key> {
    pods.list().iter().filter(|pod| is_ours(pod)).map(|pod| meta::key(pod)).collect()
}

fn unscheduled_with(pods: &Cache, claim: &Value) -> Vec<Key> {
    let uses = |pod: &Value| fit::claims(pod).any(|name| name == meta::name(claim));
    let pods = pods.list_in(meta::namespace(claim));
    pods.iter().filter(|pod| is_ours(pod) && uses(pod)).map(|pod| meta::key(pod)).collect()
}

fn is_ours(pod: &Value) -> bool {
    let has_node = pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    !has_node && scheduler == "default-scheduler" && !is_finished(pod) && !meta::is_being_deleted(pod)
}

struct Scheduler {
    work: Work,
    claims: Cache,
    pods: Cache,
    nodes: Cache,
    /// Pods that were bound, with their nodes, until the watch shows it: they take room already.
    assumed: Mutex<HashMap<Key, (String, Arc<Value>)>>,
}

impl Reconciler for Scheduler {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| is_ours(pod)) else { return Ok(Next::Done) };
        if self.is_assumed(&pod) {
            return Ok(Next::Done);
        }
        let gates: Vec<&str> = pod["spec"]["schedulingGates"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|g| g["name"].as_str())
            .collect();
        if !gates.is_empty() {
            let message =
                format!("Scheduling is blocked due to non-empty scheduling gates: [{}]", gates.join(" "));
            self.unschedulable(&pod, "SchedulingGated", &message).await?;
            return Ok(Next::Done);
        }
        let claims = self.claims.list_in(&key.namespace);
        match fit::choose(&pod, &self.nodes_with_load(), &claims) {
            Verdict::Node(node) => self.bind(&pod, &node).await,
            Verdict::Nowhere(message) => {
                let event: String = message.chars().take(1024).collect();
                self.work.events.record(&pod, EventType::Warning, "FailedScheduling", &event).await;
                self.unschedulable(&pod, "Unschedulable", &message).await?;
                Ok(Next::After(RETRY))
            }
        }
    }
}

impl Scheduler {
    fn is_assumed(&self, pod: &Value) -> bool {
        let assumed = self.assumed.lock().unwrap_or_else(PoisonError::into_inner);
        assumed.get(&meta::key(pod)).is_some_and(|(_, bound)| meta::uid(bound) == meta::uid(pod))
    }

    fn nodes_with_load(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.nodes.list().into_iter().map(Node::new).collect();
        let mut assumed = self.assumed.lock().unwrap_or_else(PoisonError::into_inner);
        assumed.retain(|key, (_, bound)| {
            let seen = self.pods.get(key);
            seen.is_some_and(|p| meta::uid(&p) == meta::uid(bound) && !p["spec"]["nodeName"].is_string())
        });
        let bound = self
            .pods
            .list()
            .into_iter()
            .filter_map(|pod| Some((pod["spec"]["nodeName"].as_str()?.to_owned(), pod)));
        for (name, pod) in bound.chain(assumed.values().cloned()) {
            if let Some(node) =
                nodes.iter_mut().find(|node| node.name() == name).filter(|_| !is_finished(&pod))
            {
                node.carry(&pod);
            }
        }
        nodes
    }

    async fn bind(&self, pod: &Arc<Value>, node: &str) -> Result<Next, ReconcileError> {
        let key = meta::key(pod);
        self.select_node_for_claims(pod, node).await?;
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": meta::uid(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let (path, body) = (format!("{}/binding", kinds::POD.object_path(&key)), binding.to_string());
        match self.work.cluster.call(Method::POST, &path, Some("application/json"), body.as_bytes()).await {
            Ok(_) => {}
            // Gone, or somebody else was faster.
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(Next::Done),
            Err(error) => return Err(error.into()),
        }
        let entry = (node.to_owned(), pod.clone());
        self.assumed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), entry);
        let message = format!("Successfully assigned {key} to {node}");
        self.work.events.record(pod, EventType::Normal, "Scheduled", &message).await;
        Ok(Next::Done)
    }

    /// A provisioner that waits for the first consumer learns from this annotation where the volume is needed.
    async fn select_node_for_claims(&self, pod: &Value, node: &str) -> Result<(), ApiError> {
        for name in fit::claims(pod) {
            let key = Key::new(meta::namespace(pod), name);
            let unbound = |c: &Arc<Value>| c["spec"]["volumeName"].as_str().is_none_or(str::is_empty);
            let fresh = self.claims.get(&key).filter(unbound);
            if fresh.is_none_or(|claim| meta::annotation(&claim, SELECTED_NODE).is_some()) {
                continue;
            }
            let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            self.work.cluster.patch(&kinds::PERSISTENT_VOLUME_CLAIM, &key, "", Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    async fn unschedulable(&self, pod: &Value, reason: &str, message: &str) -> Result<(), ApiError> {
        let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        meta::set_condition(&mut conditions, condition, &now());
        if Some(&conditions) == pod["status"]["conditions"].as_array() {
            return Ok(());
        }
        let patch = json!({"status": {"phase": "Pending", "conditions": conditions}});
        match self.work.cluster.patch(&kinds::POD, &meta::key(pod), "status", Patch::Merge(&patch)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
