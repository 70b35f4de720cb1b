//! DaemonSet: one pod on every node that may have it (`pkg/controller/daemon`). Pods go through the scheduler, bound to
//! their node by an affinity.

use std::sync::Arc;

use controller::{Cache, Cluster, Controller, EventType, Next, Propagation, ReconcileError, Reconciler};
use jiff::Timestamp;
use object::selector::LabelSelector;
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Work;
use crate::claim::claim;
use crate::hash::template_hash;
use crate::pods::{from_template, is_available, is_finished, is_ready, number, until_available};
use crate::recent::Recent;
use crate::scheduler::fit;

const REVISION: &str = "controller-revision-hash";

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let sets = cluster.watch(&kinds::DAEMON_SET);
    let all = sets.clone();
    let reconciler = DaemonSets {
        work: Work::new(&cluster, "daemonset-controller"),
        recent: Recent::new(&cluster, cluster.watch(&kinds::POD)),
        nodes: cluster.watch(&kinds::NODE),
        sets,
    };
    let controller = Controller::new("daemonset", &cluster, &kinds::DAEMON_SET)
        .owns(&kinds::POD, "DaemonSet")
        .watches(&kinds::NODE, move |_| all.list().iter().map(|set| meta::key(set)).collect());
    controller.run(Arc::new(reconciler), stop).await;
}

struct DaemonSets {
    work: Work,
    recent: Recent,
    nodes: Cache,
    sets: Cache,
}

impl Reconciler for DaemonSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let selector = LabelSelector::from_object(&set["spec"]["selector"])?;
        let candidates = self.recent.list(key).await?;
        let cluster = &self.work.cluster;
        let pods = claim(cluster, &kinds::DAEMON_SET, &set, &selector, &kinds::POD, candidates).await?;
        let now = Timestamp::now();
        let plan = plan(&set, &self.nodes.list(), &pods, now);
        if !meta::is_being_deleted(&set) {
            for pod in &plan.create {
                let created = cluster.create(&kinds::POD, pod).await?;
                self.recent.created(key, &created);
                let text = format!("Created pod: {}", meta::name(&created));
                self.work.events.record(&set, EventType::Normal, "SuccessfulCreate", &text).await;
            }
            for pod in &plan.delete {
                let (at, uid) = (meta::key(pod), Some(meta::uid(pod)));
                cluster.delete(&kinds::POD, &at, uid, Propagation::Background).await?;
                self.recent.deleted(key, pod);
                let text = format!("Deleted pod: {}", at.name);
                self.work.events.record(&set, EventType::Normal, "SuccessfulDelete", &text).await;
            }
        }
        cluster.write_status(&kinds::DAEMON_SET, &set, &plan.status).await?;
        let min_ready = number(&set["spec"]["minReadySeconds"], 0);
        let wait = pods.iter().filter_map(|pod| until_available(pod, min_ready, now)).min();
        Ok(wait.map_or(Next::Done, Next::After))
    }
}

struct Plan {
    create: Vec<Value>,
    delete: Vec<Arc<Value>>,
    status: Value,
}

fn plan(set: &Value, nodes: &[Arc<Value>], pods: &[Arc<Value>], now: Timestamp) -> Plan {
    let hash = template_hash(&set["spec"]["template"], None);
    let min_ready = number(&set["spec"]["minReadySeconds"], 0);
    let (mut create, mut delete) = (vec![], vec![]);
    let (mut desired, mut scheduled, mut ready, mut available, mut updated, mut misplaced) =
        (0, 0, 0, 0, 0, 0);
    let mut replaceable = vec![];
    for node in nodes {
        let name = meta::name(node);
        let wanted = pod_for(set, name, &hash);
        let should = fit::placement_problem(&wanted, node).is_none();
        let stays = !fit::untolerated(&wanted, node, &["NoExecute"]) && fit::matches_affinity(&wanted, node);
        let here: Vec<&Arc<Value>> = pods.iter().filter(|pod| target(pod) == Some(name)).collect();
        let (ended, live): (Vec<&Arc<Value>>, Vec<&Arc<Value>>) =
            here.into_iter().partition(|pod| is_finished(pod));
        delete.extend(ended.into_iter().filter(|pod| !meta::is_being_deleted(pod)).cloned());
        if !should {
            misplaced += i64::from(!live.is_empty());
            if !stays {
                delete.extend(live.into_iter().filter(|pod| !meta::is_being_deleted(pod)).cloned());
            }
            continue;
        }
        desired += 1;
        let Some(pod) = live.first() else {
            create.push(wanted);
            continue;
        };
        delete.extend(live.iter().skip(1).map(|pod| (*pod).clone()));
        scheduled += 1;
        let is_up = is_available(pod, min_ready, now);
        ready += i64::from(is_ready(pod));
        available += i64::from(is_up);
        let is_new = meta::label(pod, REVISION) == Some(&hash);
        updated += i64::from(is_new);
        if !is_new && !meta::is_being_deleted(pod) {
            replaceable.push((is_up, (*pod).clone()));
        }
    }
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        // Those that do not work anyway go first and without counting; of the others as many as may be missing.
        replaceable.sort_by_key(|(is_up, _)| *is_up);
        let mut room = max_unavailable(set, desired) - (desired - available);
        for (is_up, pod) in replaceable {
            if !is_up {
                delete.push(pod);
            } else if room > 0 {
                room -= 1;
                delete.push(pod);
            }
        }
    }
    let mut status = json!({
        "observedGeneration": meta::generation(set), "currentNumberScheduled": scheduled,
        "numberMisscheduled": misplaced, "desiredNumberScheduled": desired, "numberReady": ready,
    });
    crate::pods::set_nonzero(&mut status, "updatedNumberScheduled", updated);
    crate::pods::set_nonzero(&mut status, "numberAvailable", available);
    crate::pods::set_nonzero(&mut status, "numberUnavailable", desired - available);
    Plan { create, delete, status }
}

fn max_unavailable(set: &Value, desired: i64) -> i64 {
    let value = &set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse::<i64>().ok());
    percent.map_or_else(|| number(value, 1), |percent| (desired * percent + 99).div_euclid(100)).max(1)
}

/// The node that a pod is for, whether it is there yet or not.
fn target(pod: &Value) -> Option<&str> {
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return Some(node);
    }
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str()
}

fn pod_for(set: &Value, node: &str, hash: &str) -> Value {
    let mut pod = from_template(&set["spec"]["template"], set);
    pod["metadata"]["generateName"] = format!("{}-", meta::name(set)).into();
    meta::set_label(&mut pod, REVISION, hash);
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut terms = required["nodeSelectorTerms"].as_array().cloned().unwrap_or_default();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        term["matchFields"] = json!([field]);
    }
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({ "nodeSelectorTerms": terms });
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let mut add = |key: &str, effect: &str| {
        let key = format!("node.kubernetes.io/{key}");
        tolerations.push(json!({"key": key, "operator": "Exists", "effect": effect}));
    };
    add("not-ready", "NoExecute");
    add("unreachable", "NoExecute");
    for pressure in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
        add(pressure, "NoSchedule");
    }
    if pod["spec"]["hostNetwork"] == true {
        add("network-unavailable", "NoSchedule");
    }
    pod["spec"]["tolerations"] = tolerations.into();
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "n", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": []}}}})
    }

    fn node(name: &str, spec: Value) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": name}, "spec": spec}))
    }

    fn pod(node: &str, revision: &str, ready: bool) -> Arc<Value> {
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            json!({"metadata": {"name": format!("agent-{node}"), "labels": {REVISION: revision}}, "spec": {"nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
        )
    }

    fn check(nodes: &[Arc<Value>], pods: &[Arc<Value>], create: &[&str], delete: &[&str], ready: i64) {
        let plan = plan(&set(), nodes, pods, "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(plan.create.iter().map(|p| target(p).unwrap()).collect::<Vec<_>>(), create);
        assert_eq!(plan.delete.iter().map(|p| meta::name(p)).collect::<Vec<_>>(), delete);
        assert_eq!(plan.status["numberReady"], ready);
    }

    #[test]
    fn one_pod_for_each_node_that_may_have_it() {
        let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        let evicting = json!({"taints": [{"key": "k", "effect": "NoExecute"}]});
        let hash = template_hash(&set()["spec"]["template"], None);
        check(&[node("a", json!({})), node("b", tainted.clone())], &[], &["a"], &[], 0);
        check(&[node("a", json!({"unschedulable": true}))], &[], &["a"], &[], 0);
        check(&[node("a", tainted)], &[pod("a", &hash, true)], &[], &[], 0);
        check(&[node("a", evicting)], &[pod("a", &hash, true)], &[], &["agent-a"], 0);
        check(&[node("a", json!({}))], &[pod("a", &hash, true)], &[], &[], 1);
    }

    #[test]
    fn an_update_takes_one_working_pod_at_a_time() {
        let nodes = ["a", "b", "c"].map(|n| node(n, json!({})));
        let old = |up: [bool; 3]| -> Vec<Arc<Value>> {
            ["a", "b", "c"].iter().zip(up).map(|(n, up)| pod(n, "old", up)).collect()
        };
        check(&nodes, &old([true, true, true]), &[], &["agent-a"], 3);
        check(&nodes, &old([true, false, true]), &[], &["agent-b"], 2);
    }
}
