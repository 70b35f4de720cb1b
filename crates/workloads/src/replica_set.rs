//! ReplicaSet: as many pods of one template as asked (`pkg/controller/replicaset/replica_set.go`).

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use controller::{
    ApiError, Cache, Cluster, Controller, EventType, Next, Propagation, ReconcileError, Reconciler, now,
};
use jiff::Timestamp;
use object::selector::LabelSelector;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::claim::claim;
use crate::pods::{
    from_template, is_active, is_available, is_finished, is_ready, number, phase, ready_since, restarts,
    set_nonzero, until_available,
};
use crate::recent::Recent;

/// At most so many pods are created or deleted in one pass (`BurstReplicas`).
const BURST: usize = 500;

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let pods = cluster.watch(&kinds::POD);
    let sets = cluster.watch(&kinds::REPLICA_SET);
    let reconciler = ReplicaSets {
        work: Work::new(&cluster, "replicaset-controller"),
        recent: Recent::new(&cluster, pods),
        sets: sets.clone(),
    };
    let controller = Controller::new("replicaset", &cluster, &kinds::REPLICA_SET)
        .owns(&kinds::POD, "ReplicaSet")
        .watches(&kinds::POD, move |pod| matching_sets(&sets, pod));
    controller.run(Arc::new(reconciler), stop).await;
}

/// For an orphan: the sets that would adopt it.
fn matching_sets(sets: &Cache, pod: &Value) -> Vec<Key> {
    if meta::controller_of(pod).is_some() {
        return vec![];
    }
    let matches = |set: &Arc<Value>| {
        LabelSelector::from_object(&set["spec"]["selector"])
            .is_ok_and(|s| s.matches(&pod["metadata"]["labels"]))
    };
    sets.list_in(meta::namespace(pod)).iter().filter(|set| matches(set)).map(|set| meta::key(set)).collect()
}

struct ReplicaSets {
    work: Work,
    recent: Recent,
    sets: Cache,
}

impl Reconciler for ReplicaSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let selector = LabelSelector::from_object(&set["spec"]["selector"])?;
        let candidates = self.recent.list(key).await?;
        let candidates = candidates.into_iter().filter(|pod| !is_finished(pod)).collect();
        let cluster = &self.work.cluster;
        let mine = claim(cluster, &kinds::REPLICA_SET, &set, &selector, &kinds::POD, candidates).await?;
        let terminating = mine.iter().filter(|pod| meta::is_being_deleted(pod)).count();
        let active: Vec<Arc<Value>> = mine.into_iter().filter(|pod| is_active(pod)).collect();
        let failure = if meta::is_being_deleted(&set) { Ok(()) } else { self.manage(&set, &active).await };
        let at = Timestamp::now();
        let status = status(&set, &active, terminating, &failure, at);
        match cluster.write_status(&kinds::REPLICA_SET, &set, &status).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        if let Err(failure) = failure {
            return Err(failure.error.into());
        }
        let min_ready = number(&set["spec"]["minReadySeconds"], 0);
        let wait = active.iter().filter_map(|pod| until_available(pod, min_ready, at)).min();
        Ok(wait.map_or(Next::Done, |wait| Next::After(wait + Duration::from_millis(100))))
    }
}

/// A pod that could not be made or removed; `reason` is that of the condition ReplicaFailure.
struct Failure {
    reason: &'static str,
    error: ApiError,
}

impl ReplicaSets {
    async fn manage(&self, set: &Value, active: &[Arc<Value>]) -> Result<(), Failure> {
        let wanted = usize::try_from(number(&set["spec"]["replicas"], 1)).unwrap_or(0);
        match wanted.cmp(&active.len()) {
            Ordering::Greater => self.create(set, (wanted - active.len()).min(BURST)).await,
            Ordering::Less => {
                let surplus = (active.len() - wanted).min(BURST);
                let condemned = condemned(active, surplus, Timestamp::now());
                self.delete(set, &condemned).await
            }
            Ordering::Equal => Ok(()),
        }
    }

    /// Batches of 1, 2, 4, …, so that a quota that refuses all is not asked a hundred times.
    async fn create(&self, set: &Value, count: usize) -> Result<(), Failure> {
        let mut pod = from_template(&set["spec"]["template"], set);
        pod["metadata"]["generateName"] = format!("{}-", meta::name(set)).into();
        let (mut left, mut batch) = (count, 1);
        let resource = kinds::POD;
        while left > 0 {
            let size = batch.min(left);
            let tries = (0..size).map(|_| self.work.cluster.create(&resource, &pod));
            let mut failed = None;
            for outcome in futures::future::join_all(tries).await {
                match outcome {
                    Ok(created) => {
                        self.recent.created(&meta::key(set), &created);
                        let message = format!("Created pod: {}", meta::name(&created));
                        self.work.events.record(set, EventType::Normal, "SuccessfulCreate", &message).await;
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                let message = format!("Error creating: {error}");
                self.work.events.record(set, EventType::Warning, "FailedCreate", &message).await;
                return Err(Failure { reason: "FailedCreate", error });
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, set: &Value, condemned: &[Arc<Value>]) -> Result<(), Failure> {
        for pod in condemned {
            let (key, uid) = (meta::key(pod), Some(meta::uid(pod)));
            let outcome = self.work.cluster.delete(&kinds::POD, &key, uid, Propagation::Background).await;
            if let Err(error) = outcome
                && !error.is_conflict()
            {
                let message = format!("Error deleting: {error}");
                self.work.events.record(set, EventType::Warning, "FailedDelete", &message).await;
                return Err(Failure { reason: "FailedDelete", error });
            }
            self.recent.deleted(&meta::key(set), pod);
            let message = format!("Deleted pod: {}", key.name);
            self.work.events.record(set, EventType::Normal, "SuccessfulDelete", &message).await;
        }
        Ok(())
    }
}

/// The pods to delete when there are `surplus` too many, least useful first (`ActivePodsWithRanks`).
fn condemned(active: &[Arc<Value>], surplus: usize, at: Timestamp) -> Vec<Arc<Value>> {
    let mut pods = active.to_vec();
    let on_node = |pod: &Value| {
        let node = pod["spec"]["nodeName"].as_str();
        active.iter().filter(|other| node.is_some() && other["spec"]["nodeName"].as_str() == node).count()
    };
    pods.sort_by_cached_key(|pod| Rank::of(pod, on_node(pod), at));
    pods.truncate(surplus);
    pods
}

/// Lower goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i64,
    colocated: std::cmp::Reverse<usize>,
    ready_for: u32,
    restarts: std::cmp::Reverse<i64>,
    age: u32,
    uid: String,
}

impl Rank {
    fn of(pod: &Value, colocated: usize, at: Timestamp) -> Self {
        let log2 = |since: Option<Timestamp>| {
            let seconds = since.map_or(0, |since| at.as_second() - since.as_second());
            u64::try_from(seconds).unwrap_or(0).checked_ilog2().map_or(0, |log| log + 1)
        };
        let cost = meta::annotation(pod, "controller.kubernetes.io/pod-deletion-cost");
        Self {
            assigned: pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty()),
            phase: match phase(pod) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready: is_ready(pod),
            cost: cost.and_then(|c| c.parse().ok()).unwrap_or(0),
            colocated: std::cmp::Reverse(colocated),
            ready_for: if is_ready(pod) { log2(ready_since(pod)) } else { 0 },
            restarts: std::cmp::Reverse(restarts(pod)),
            age: log2(meta::creation_timestamp(pod).parse().ok()),
            uid: meta::uid(pod).to_owned(),
        }
    }
}

/// Counters, observedGeneration and conditions, written together.
fn status(
    set: &Value,
    active: &[Arc<Value>],
    terminating: usize,
    failure: &Result<(), Failure>,
    at: Timestamp,
) -> Value {
    let min_ready = number(&set["spec"]["minReadySeconds"], 0);
    let labels = set["spec"]["template"]["metadata"]["labels"].as_object();
    let labelled = |pod: &Value| {
        labels.is_none_or(|labels| labels.iter().all(|(k, v)| pod["metadata"]["labels"].get(k) == Some(v)))
    };
    let count =
        |test: &dyn Fn(&Value) -> bool| i64::try_from(active.iter().filter(|p| test(p)).count()).unwrap_or(0);
    let mut status = json!({"replicas": active.len()});
    set_nonzero(&mut status, "fullyLabeledReplicas", count(&labelled));
    set_nonzero(&mut status, "readyReplicas", count(&is_ready));
    set_nonzero(&mut status, "availableReplicas", count(&|pod| is_available(pod, min_ready, at)));
    set_nonzero(&mut status, "terminatingReplicas", i64::try_from(terminating).unwrap_or(0));
    status["observedGeneration"] = meta::generation(set).into();
    let old = set["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions: Vec<Value> = old.into_iter().filter(|c| c["type"] != "ReplicaFailure").collect();
    if let Err(failure) = failure {
        let mut condition = json!({
            "type": "ReplicaFailure", "status": "True", "reason": failure.reason, "message": failure.error.to_string(),
        });
        let since = meta::condition(set, "ReplicaFailure").map(|c| c["lastTransitionTime"].clone());
        condition["lastTransitionTime"] = since.unwrap_or_else(|| now().into());
        conditions.push(condition);
    }
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, change: Value) -> Arc<Value> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        });
        pod = object::patch::merge::apply(&pod, &change);
        Arc::new(pod)
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let at: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let check = |worse: Value, better: Value| {
            let pods = [pod("a", better.clone()), pod("b", worse.clone())];
            assert_eq!(meta::name(&condemned(&pods, 1, at)[0]), "b", "{worse} should go before {better}");
        };
        let not_ready = json!([{"type": "Ready", "status": "False"}]);
        let lately =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T09:59:00Z"}]);
        check(json!({"spec": {"nodeName": null}}), json!({"status": {"phase": "Pending"}}));
        check(
            json!({"status": {"phase": "Pending"}}),
            json!({"status": {"phase": "Running", "conditions": not_ready}}),
        );
        check(json!({"status": {"conditions": not_ready}}), json!({}));
        let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
        check(cost("-5"), json!({}));
        check(json!({}), cost("5"));
        check(json!({"status": {"conditions": lately}}), json!({}));
        check(json!({"status": {"containerStatuses": [{"restartCount": 3}]}}), json!({}));
        check(json!({"metadata": {"creationTimestamp": "2026-01-01T09:59:59Z"}}), json!({}));
    }

    #[test]
    fn counters_and_the_failure_condition() {
        let at: Timestamp = "2026-01-01T00:00:12Z".parse().unwrap();
        let set = json!({"metadata": {"generation": 3}, "spec": {"minReadySeconds": 5, "template": {"metadata": {}}}});
        let pods = [pod("a", json!({})), pod("b", json!({"status": {"conditions": []}}))];
        let ok = status(&set, &pods, 1, &Ok(()), at);
        assert_eq!(
            ok,
            json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "terminatingReplicas": 1, "observedGeneration": 3})
        );
        assert_eq!(until_available(&pods[0], 5, at), Some(Duration::from_secs(3)));
        let later: Timestamp = "2026-01-01T00:00:15Z".parse().unwrap();
        assert_eq!(status(&set, &pods, 0, &Ok(()), later)["availableReplicas"], 1);
        let error = ApiError::Transport("quota".into());
        let failed = status(&set, &pods, 0, &Err(Failure { reason: "FailedCreate", error }), at);
        assert_eq!(failed["conditions"][0]["reason"], "FailedCreate");
    }
}
