//! Deployment: moves pods from one template to the next through ReplicaSets
//! (`pkg/controller/deployment/`). [`plan`] decides, this file observes and acts.

mod conditions;
mod plan;
mod sets;

use std::sync::Arc;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Patch, Propagation, ReconcileError, Reconciler,
};
use jiff::Timestamp;
use object::selector::LabelSelector;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::claim::claim;
use crate::hash;
use crate::pods::{is_finished, number};
use plan::{Observed, Plan};

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (deployments, sets, pods) =
        (cluster.watch(&kinds::DEPLOYMENT), cluster.watch(&kinds::REPLICA_SET), cluster.watch(&kinds::POD));
    let of_pod = sets.clone();
    let orphans = deployments.clone();
    let work = Work::new(&cluster, "deployment-controller");
    let reconciler = Deployments { work, deployments, sets, pods };
    let controller = Controller::new("deployment", &cluster, &kinds::DEPLOYMENT)
        .owns(&kinds::REPLICA_SET, "Deployment")
        .watches(&kinds::REPLICA_SET, move |set| adopters(&orphans, set))
        .watches(&kinds::POD, move |pod| recreated(&of_pod, pod));
    controller.run(Arc::new(reconciler), stop).await;
}

/// For an orphan ReplicaSet: the Deployments that would adopt it.
fn adopters(deployments: &Cache, set: &Value) -> Vec<Key> {
    if meta::controller_of(set).is_some() {
        return vec![];
    }
    let matches = |d: &Arc<Value>| {
        LabelSelector::from_object(&d["spec"]["selector"])
            .is_ok_and(|s| s.matches(&set["metadata"]["labels"]))
    };
    deployments.list_in(meta::namespace(set)).iter().filter(|d| matches(d)).map(|d| meta::key(d)).collect()
}

/// The Deployment behind a pod that is about to go: strategy Recreate waits for its end.
fn recreated(sets: &Cache, pod: &Value) -> Vec<Key> {
    if !meta::is_being_deleted(pod) && !is_finished(pod) {
        return vec![];
    }
    let set = meta::controller_of(pod).filter(|o| o["kind"] == "ReplicaSet").and_then(|o| o["name"].as_str());
    let set = set.and_then(|name| sets.get(&Key::new(meta::namespace(pod), name)));
    let owner = set.and_then(|set| Some(meta::controller_of(&set)?["name"].as_str()?.to_owned()));
    owner.map(|name| Key::new(meta::namespace(pod), name)).into_iter().collect()
}

struct Deployments {
    work: Work,
    deployments: Cache,
    sets: Cache,
    pods: Cache,
}

impl Reconciler for Deployments {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Done) };
        let selector = LabelSelector::from_object(&deployment["spec"]["selector"])?;
        if selector.is_everything() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            self.work.events.record(&deployment, EventType::Warning, "SelectingAll", text).await;
            let patch = json!({"status": {"observedGeneration": meta::generation(&deployment)}});
            self.work.cluster.patch(&kinds::DEPLOYMENT, key, "status", Patch::Merge(&patch)).await?;
            return Ok(Next::Done);
        }
        let candidates = self.sets.list_in(&key.namespace);
        let cluster = &self.work.cluster;
        let sets =
            claim(cluster, &kinds::DEPLOYMENT, &deployment, &selector, &kinds::REPLICA_SET, candidates)
                .await?;
        let pods = self.pods_of(&key.namespace, &sets);
        let observed = Observed { deployment: &deployment, sets: &sets, pods: &pods, now: Timestamp::now() };
        let plan = plan::plan(&observed);
        match self.act(&deployment, plan).await {
            Ok(next) => Ok(next),
            // The watch was behind; what changed brings the key here again, the pause is for a lost event.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                Ok(Next::After(std::time::Duration::from_millis(50)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Deployments {
    fn pods_of(&self, namespace: &str, sets: &[Arc<Value>]) -> Vec<Arc<Value>> {
        let mine = |pod: &Arc<Value>| {
            let owner = meta::controller_of(pod).and_then(|o| o["uid"].as_str());
            owner.is_some_and(|uid| sets.iter().any(|set| meta::uid(set) == uid))
        };
        self.pods.list_in(namespace).into_iter().filter(mine).collect()
    }

    async fn act(&self, deployment: &Value, plan: Plan) -> Result<Next, ApiError> {
        let cluster = &self.work.cluster;
        let mut status = plan.status;
        if let Some(set) = plan.create {
            self.create(deployment, &set, &mut status).await?;
        }
        for change in &plan.changes {
            cluster.patch(&kinds::REPLICA_SET, &change.key, "", Patch::Merge(&change.patch)).await?;
            if let Some(message) = &change.event {
                self.work.events.record(deployment, EventType::Normal, "ScalingReplicaSet", message).await;
            }
        }
        for set in &plan.delete {
            let (key, uid) = (meta::key(set), Some(meta::uid(set)));
            cluster.delete(&kinds::REPLICA_SET, &key, uid, Propagation::Background).await?;
        }
        if let Some(revision) = &plan.revision {
            let patch = json!({"metadata": {"annotations": {sets::REVISION: revision}}});
            cluster.patch(&kinds::DEPLOYMENT, &meta::key(deployment), "", Patch::Merge(&patch)).await?;
        }
        cluster.write_status(&kinds::DEPLOYMENT, deployment, &status).await?;
        Ok(plan.again.map_or(Next::Done, Next::After))
    }

    /// Creates the new ReplicaSet. Its name may be taken: by itself, when the watch is behind, or by a set of another
    /// template with the same hash, which the collision count then changes.
    async fn create(&self, deployment: &Value, set: &Value, status: &mut Value) -> Result<(), ApiError> {
        let cluster = &self.work.cluster;
        match cluster.create(&kinds::REPLICA_SET, set).await {
            Ok(created) => {
                let replicas = number(&created["spec"]["replicas"], 0);
                if replicas > 0 {
                    let message =
                        format!("Scaled up replica set {} from 0 to {replicas}", meta::name(&created));
                    self.work
                        .events
                        .record(deployment, EventType::Normal, "ScalingReplicaSet", &message)
                        .await;
                }
                Ok(())
            }
            Err(error) if error.is_already_exists() => {
                let live = cluster.get(&kinds::REPLICA_SET, &meta::key(set)).await?.unwrap_or_default();
                let same = hash::same_template(&live["spec"]["template"], &set["spec"]["template"]);
                if !(same && meta::is_controlled_by(&live, meta::uid(deployment))) {
                    let count = number(&deployment["status"]["collisionCount"], 0) + 1;
                    let patch = json!({"status": {"collisionCount": count}});
                    cluster
                        .patch(&kinds::DEPLOYMENT, &meta::key(deployment), "status", Patch::Merge(&patch))
                        .await?;
                }
                Err(ApiError::Status {
                    code: 409,
                    reason: "Conflict".into(),
                    message: "the new replica set exists".into(),
                    details: Value::Null,
                })
            }
            Err(error) => {
                let message = format!("Failed to create new replica set {:?}: {error}", meta::name(set));
                self.work
                    .events
                    .record(deployment, EventType::Warning, "ReplicaSetCreateError", &message)
                    .await;
                conditions::set(
                    status,
                    "Progressing",
                    "False",
                    "ReplicaSetCreateError",
                    &message,
                    Timestamp::now(),
                );
                cluster.write_status(&kinds::DEPLOYMENT, deployment, status).await?;
                Err(error)
            }
        }
    }
}
