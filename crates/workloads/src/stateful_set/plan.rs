//! Which pods of a StatefulSet come and go next (`stateful_set_control.go updateStatefulSet`). Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object::meta;
use serde_json::{Value, json};

use crate::pods::{
    from_template, is_available, is_finished, is_ready, number, phase, set_nonzero, until_available,
};

const REVISION: &str = "controller-revision-hash";

pub(super) struct Observed<'a> {
    pub(super) set: &'a Value,
    pub(super) pods: &'a [Arc<Value>],
    /// The revision that pods below the partition stay at, and its template.
    pub(super) current: &'a str,
    pub(super) current_template: &'a Value,
    /// The revision of today's template.
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
}

pub(super) enum Action {
    Create(Value),
    Delete(Arc<Value>),
}

pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: Value,
    pub(super) again: Option<Duration>,
}

/// The number in `<set>-<number>`.
pub(super) fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    meta::name(pod).strip_prefix(meta::name(set))?.strip_prefix('-')?.parse().ok().filter(|n| *n >= 0)
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let min_ready = number(&observed.set["spec"]["minReadySeconds"], 0);
    let again = observed.pods.iter().filter_map(|pod| until_available(pod, min_ready, observed.now)).min();
    Plan { actions: Planner::new(observed, min_ready).actions(), status: status(observed, min_ready), again }
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    min_ready: i64,
    start: i64,
    replicas: i64,
    /// One after the other.
    ordered: bool,
    /// Below this ordinal pods stay at the current revision.
    partition: i64,
    rolling: bool,
}

impl<'a> Planner<'a> {
    fn new(observed: &'a Observed<'a>, min_ready: i64) -> Self {
        let spec = &observed.set["spec"];
        let start = number(&spec["ordinals"]["start"], 0);
        let rolling = spec["updateStrategy"]["type"] != "OnDelete";
        let partition = start + number(&spec["updateStrategy"]["rollingUpdate"]["partition"], 0);
        let ordered = spec["podManagementPolicy"] != "Parallel";
        Self {
            observed,
            min_ready,
            start,
            replicas: number(&spec["replicas"], 1),
            ordered,
            partition,
            rolling,
        }
    }

    fn pod(&self, ordinal: i64) -> Option<&'a Arc<Value>> {
        self.observed.pods.iter().find(|pod| self::ordinal(self.observed.set, pod) == Some(ordinal))
    }

    fn is_up(&self, pod: &Value) -> bool {
        phase(pod) == "Running" && is_available(pod, self.min_ready, self.observed.now)
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = vec![];
        let wanted = self.start..self.start + self.replicas;
        for number in wanted.clone() {
            let settled = match self.pod(number) {
                None => {
                    actions.push(Action::Create(self.fresh(number)));
                    false
                }
                Some(pod) if meta::is_being_deleted(pod) => false,
                Some(pod) if is_finished(pod) => {
                    actions.push(Action::Delete(pod.clone()));
                    false
                }
                Some(pod) => self.is_up(pod),
            };
            if !settled && self.ordered {
                return actions;
            }
        }
        let mut condemned: Vec<(i64, &Arc<Value>)> = self
            .observed
            .pods
            .iter()
            .filter_map(|pod| Some((ordinal(self.observed.set, pod)?, pod)))
            .filter(|(number, _)| !wanted.contains(number))
            .collect();
        condemned.sort_by_key(|(number, _)| -number);
        for (_, pod) in condemned {
            let leaving = meta::is_being_deleted(pod);
            if !leaving {
                actions.push(Action::Delete(pod.clone()));
            }
            if self.ordered {
                return actions;
            }
        }
        if self.rolling && actions.is_empty() {
            actions.extend(self.outdated());
        }
        actions
    }

    /// From the highest down: the first pod of an old revision goes, unless one above it is not up yet.
    fn outdated(&self) -> Option<Action> {
        for number in (self.partition.max(self.start)..self.start + self.replicas).rev() {
            let pod = self.pod(number)?;
            if meta::label(pod, REVISION) != Some(self.observed.update) && !meta::is_being_deleted(pod) {
                return Some(Action::Delete(pod.clone()));
            }
            if !self.is_up(pod) {
                return None;
            }
        }
        None
    }

    fn fresh(&self, number: i64) -> Value {
        let stays = self.rolling && number < self.partition;
        let (revision, template) = if stays {
            (self.observed.current, self.observed.current_template)
        } else {
            (self.observed.update, &self.observed.set["spec"]["template"])
        };
        let set = self.observed.set;
        let name = format!("{}-{number}", meta::name(set));
        let mut pod = from_template(template, set);
        pod["metadata"]["name"] = name.clone().into();
        meta::set_label(&mut pod, "statefulset.kubernetes.io/pod-name", &name);
        meta::set_label(&mut pod, "apps.kubernetes.io/pod-index", &number.to_string());
        meta::set_label(&mut pod, REVISION, revision);
        pod["spec"]["hostname"] = name.clone().into();
        if let Some(service) = set["spec"]["serviceName"].as_str().filter(|s| !s.is_empty()) {
            pod["spec"]["subdomain"] = service.into();
        }
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        for template in templates(set) {
            let volume = meta::name(template);
            volumes.retain(|v| v["name"] != volume);
            let claim = claim_name(template, &name);
            volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
        }
        if !volumes.is_empty() {
            pod["spec"]["volumes"] = volumes.into();
        }
        pod
    }
}

fn templates(set: &Value) -> impl Iterator<Item = &Value> {
    set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten()
}

fn claim_name(template: &Value, pod: &str) -> String {
    format!("{}-{pod}", meta::name(template))
}

/// The claims of one pod. They stay when the set goes, unless its retention policy says otherwise.
pub(super) fn claims(set: &Value, pod: &str) -> Vec<Value> {
    let goes = set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete";
    let claim = |template: &Value| {
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim_name(template, pod), "namespace": meta::namespace(set)}, "spec": template["spec"],
        });
        for field in ["labels", "annotations"] {
            if let Some(map) = template["metadata"].get(field).filter(|m| m.is_object()) {
                claim["metadata"][field] = map.clone();
            }
        }
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
            meta::set_label(&mut claim, key, value.as_str().unwrap_or_default());
        }
        if goes {
            claim["metadata"]["ownerReferences"] = json!([meta::controller_reference(set)]);
        }
        claim
    };
    templates(set).map(claim).collect()
}

fn status(observed: &Observed<'_>, min_ready: i64) -> Value {
    let set = observed.set;
    let wanted = number(&set["spec"]["replicas"], 1);
    let count = |test: &dyn Fn(&Value) -> bool| {
        i64::try_from(observed.pods.iter().filter(|p| test(p)).count()).unwrap_or(i64::MAX)
    };
    let created = |pod: &Value| !is_finished(pod);
    let alive = |pod: &Value| created(pod) && !meta::is_being_deleted(pod);
    let at = |pod: &Value, revision: &str| meta::label(pod, REVISION) == Some(revision);
    let ready = count(&|p| alive(p) && is_ready(p));
    let updated = count(&|p| alive(p) && at(p, observed.update));
    let replicas = count(&created);
    let done = updated == wanted
        && ready == wanted
        && replicas == wanted
        && set["spec"]["updateStrategy"]["type"] != "OnDelete";
    let current = if done { observed.update } else { observed.current };
    let mut status = json!({
        "observedGeneration": meta::generation(set), "replicas": replicas,
        "currentRevision": current, "updateRevision": observed.update, "collisionCount": 0,
    });
    set_nonzero(&mut status, "readyReplicas", ready);
    set_nonzero(&mut status, "currentReplicas", count(&|p| alive(p) && at(p, current)));
    set_nonzero(&mut status, "updatedReplicas", updated);
    status["availableReplicas"] = count(&|p| alive(p) && is_available(p, min_ready, observed.now)).into();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(change: Value) -> Value {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"replicas": 3, "serviceName": "peers", "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]},
        });
        object::patch::merge::apply(&set, &change)
    }

    fn pod(number: i64, state: &str, revision: &str) -> Arc<Value> {
        let ready = if state == "up" { "True" } else { "False" };
        let phase = if state == "failed" { "Failed" } else { "Running" };
        let mut pod = json!({"metadata": {"name": format!("web-{number}"), "labels": {REVISION: revision}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        if state == "leaving" {
            pod["metadata"]["deletionTimestamp"] = "t".into();
        }
        Arc::new(pod)
    }

    fn planned(set: &Value, pods: &[Arc<Value>]) -> Plan {
        let template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "old"}]}});
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        plan(&Observed { set, pods, current: "old", current_template: &template, update: "new", now })
    }

    fn check(change: Value, pods: &[(i64, &str, &str)], expected: &[&str]) {
        let pods: Vec<Arc<Value>> = pods.iter().map(|(n, s, r)| pod(*n, s, r)).collect();
        let actions = planned(&set(change), &pods).actions;
        let text = |action: &Action| match action {
            Action::Create(pod) => {
                format!("create {} {}", meta::name(pod), meta::label(pod, REVISION).unwrap())
            }
            Action::Delete(pod) => format!("delete {}", meta::name(pod)),
        };
        assert_eq!(actions.iter().map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pods_come_one_after_the_other() {
        check(json!({}), &[], &["create web-0 new"]);
        check(json!({}), &[(0, "starting", "new")], &[]);
        check(json!({}), &[(0, "up", "new")], &["create web-1 new"]);
        check(json!({}), &[(0, "failed", "new"), (1, "up", "new")], &["delete web-0"]);
        check(
            json!({"spec": {"podManagementPolicy": "Parallel"}}),
            &[],
            &["create web-0 new", "create web-1 new", "create web-2 new"],
        );
        check(json!({"spec": {"ordinals": {"start": 5}}}), &[(5, "up", "new")], &["create web-6 new"]);
    }

    #[test]
    fn pods_go_from_the_highest() {
        let one = || json!({"spec": {"replicas": 1}});
        let up = |n: i64| (n, "up", "new");
        check(one(), &[up(0), up(1), up(2)], &["delete web-2"]);
        check(one(), &[up(0), up(1), (2, "leaving", "new")], &[]);
        check(
            json!({"spec": {"replicas": 1, "podManagementPolicy": "Parallel"}}),
            &[up(0), up(1), up(2)],
            &["delete web-2", "delete web-1"],
        );
    }

    #[test]
    fn updates_wait_for_each_other_and_for_the_partition() {
        let (old, new) = (|n: i64| (n, "up", "old"), |n: i64| (n, "up", "new"));
        let partition = || json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}});
        check(json!({}), &[old(0), old(1), old(2)], &["delete web-2"]);
        check(json!({}), &[old(0), old(1), new(2)], &["delete web-1"]);
        check(json!({}), &[old(0), old(1), (2, "starting", "new")], &[]);
        check(partition(), &[old(0), old(1), new(2)], &[]);
        check(partition(), &[old(0), new(2)], &["create web-1 old"]);
        check(json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}), &[old(0), old(1), old(2)], &[]);
    }

    #[test]
    fn a_pod_has_its_name_and_claim() {
        let set = set(json!({}));
        let Action::Create(pod) = &planned(&set, &[]).actions[0] else { panic!("nothing created") };
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-0"), &json!("peers")));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}])
        );
        let claims = claims(&set, "web-0");
        assert_eq!((meta::name(&claims[0]), meta::label(&claims[0], "app")), ("data-web-0", Some("web")));
    }

    #[test]
    fn the_current_revision_follows_when_all_are_updated() {
        let set = set(json!({"spec": {"replicas": 1}}));
        let at = |revision: &str| planned(&set, &[pod(0, "up", revision)]).status["currentRevision"].clone();
        assert_eq!((at("old"), at("new")), (json!("old"), json!("new")));
    }
}
