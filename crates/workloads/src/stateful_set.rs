//! StatefulSet: pods with a number, a claim and a name that stay (`pkg/controller/statefulset`).

mod plan;

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
use crate::hash::template_hash;
use crate::pods::number;
use plan::{Action, Observed};

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let reconciler = StatefulSets {
        work: Work::new(&cluster, "statefulset-controller"),
        sets: cluster.watch(&kinds::STATEFUL_SET),
        pods: cluster.watch(&kinds::POD),
        claims: cluster.watch(&kinds::PERSISTENT_VOLUME_CLAIM),
        revisions: cluster.watch(&kinds::CONTROLLER_REVISION),
    };
    let controller = Controller::new("statefulset", &cluster, &kinds::STATEFUL_SET)
        .owns(&kinds::POD, "StatefulSet")
        .owns(&kinds::CONTROLLER_REVISION, "StatefulSet");
    controller.run(Arc::new(reconciler), stop).await;
}

struct StatefulSets {
    work: Work,
    sets: Cache,
    pods: Cache,
    claims: Cache,
    revisions: Cache,
}

impl Reconciler for StatefulSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let selector = LabelSelector::from_object(&set["spec"]["selector"])?;
        let cluster = &self.work.cluster;
        let mut candidates = self.pods.list_in(&key.namespace);
        // Only pods of the form `<set>-<ordinal>` are members.
        candidates.retain(|pod| plan::ordinal(&set, pod).is_some());
        let pods = claim(cluster, &kinds::STATEFUL_SET, &set, &selector, &kinds::POD, candidates).await?;
        let revisions = self.revisions.controlled_by(&key.namespace, meta::uid(&set));
        let update = self.update_revision(&set, &revisions).await?;
        let current =
            set["status"]["currentRevision"].as_str().filter(|c| !c.is_empty()).unwrap_or(&update).to_owned();
        let template = revisions.iter().find(|r| meta::name(r) == current);
        let template = template.map_or(&set["spec"]["template"], |r| &r["data"]["spec"]["template"]);
        let now = Timestamp::now();
        let observed = Observed {
            set: &set,
            pods: &pods,
            current: &current,
            current_template: template,
            update: &update,
            now,
        };
        let plan = plan::plan(&observed);
        if !meta::is_being_deleted(&set) {
            for action in &plan.actions {
                match action {
                    Action::Create(pod) => self.create(&set, pod).await?,
                    Action::Delete(pod) => self.delete(&set, pod).await?,
                }
            }
            self.prune(&set, &revisions, &[&current, &update]).await?;
        }
        cluster.write_status(&kinds::STATEFUL_SET, &set, &plan.status).await?;
        Ok(plan.again.map_or(Next::Done, Next::After))
    }
}

impl StatefulSets {
    /// The name of the ControllerRevision of today's template, which is the newest.
    async fn update_revision(&self, set: &Value, revisions: &[Arc<Value>]) -> Result<String, ApiError> {
        let hash = template_hash(&set["spec"]["template"], None);
        let name = format!("{}-{hash}", meta::name(set));
        let highest = revisions.iter().map(|r| number(&r["revision"], 0)).max().unwrap_or(0);
        let cluster = &self.work.cluster;
        match revisions.iter().find(|r| meta::name(r) == name) {
            Some(known) if number(&known["revision"], 0) < highest => {
                let patch = json!({"revision": highest + 1});
                cluster
                    .patch(&kinds::CONTROLLER_REVISION, &meta::key(known), "", Patch::Merge(&patch))
                    .await?;
            }
            Some(_) => {}
            None => {
                let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
                if !labels.is_object() {
                    labels = json!({});
                }
                labels["controller.kubernetes.io/hash"] = hash.into();
                let revision = json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision",
                    "metadata": {"name": name, "namespace": meta::namespace(set), "labels": labels,
                                 "ownerReferences": [meta::controller_reference(set)]},
                    "data": {"spec": {"template": set["spec"]["template"]}},
                    "revision": highest + 1,
                });
                match cluster.create(&kinds::CONTROLLER_REVISION, &revision).await {
                    Err(error) if !error.is_already_exists() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(name)
    }

    /// Old revisions beyond `revisionHistoryLimit`, but never one that is in use.
    async fn prune(&self, set: &Value, revisions: &[Arc<Value>], used: &[&str]) -> Result<(), ApiError> {
        let limit = usize::try_from(number(&set["spec"]["revisionHistoryLimit"], 10)).unwrap_or(10);
        let mut old: Vec<&Arc<Value>> = revisions.iter().filter(|r| !used.contains(&meta::name(r))).collect();
        old.sort_by_key(|r| number(&r["revision"], 0));
        let surplus = old.len().saturating_sub(limit);
        for revision in old.into_iter().take(surplus) {
            let (key, uid) = (meta::key(revision), Some(meta::uid(revision)));
            self.work.cluster.delete(&kinds::CONTROLLER_REVISION, &key, uid, Propagation::Background).await?;
        }
        Ok(())
    }

    /// The claims come before their pod.
    async fn create(&self, set: &Value, pod: &Value) -> Result<(), ApiError> {
        let (name, set_name) = (meta::name(pod), meta::name(set));
        for claim in plan::claims(set, name) {
            if self.claims.get(&meta::key(&claim)).is_some() {
                continue;
            }
            match self.work.cluster.create(&kinds::PERSISTENT_VOLUME_CLAIM, &claim).await {
                Ok(_) => {
                    let claim = meta::name(&claim);
                    let text = format!("create Claim {claim} Pod {name} in StatefulSet {set_name} success");
                    self.work.events.record(set, EventType::Normal, "SuccessfulCreate", &text).await;
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        match self.work.cluster.create(&kinds::POD, pod).await {
            Ok(_) => {
                let text = format!("create Pod {name} in StatefulSet {set_name} successful");
                self.work.events.record(set, EventType::Normal, "SuccessfulCreate", &text).await;
                Ok(())
            }
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => {
                let text = format!("create Pod {name} in StatefulSet {set_name} failed error: {error}");
                self.work.events.record(set, EventType::Warning, "FailedCreate", &text).await;
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &Value, pod: &Value) -> Result<(), ApiError> {
        let (key, uid) = (meta::key(pod), Some(meta::uid(pod)));
        match self.work.cluster.delete(&kinds::POD, &key, uid, Propagation::Background).await {
            Err(error) if error.is_conflict() => return Ok(()),
            outcome => outcome?,
        }
        let text = format!("delete Pod {} in StatefulSet {} successful", key.name, meta::name(set));
        self.work.events.record(set, EventType::Normal, "SuccessfulDelete", &text).await;
        Ok(())
    }
}
