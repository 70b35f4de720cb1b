//! What to do next for a Deployment: pure arithmetic over its ReplicaSets, in the order of
//! `deployment_controller.go syncDeployment`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object::meta;
use serde_json::{Value, json};

use super::conditions;
use super::sets::{self, Change, Set};
use crate::hash::same_template;
use crate::pods::{is_finished, number, set_nonzero};

/// Everything a plan depends on.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Value,
    /// The ReplicaSets it controls.
    pub(super) sets: &'a [Arc<Value>],
    /// The pods of those sets.
    pub(super) pods: &'a [Arc<Value>],
    pub(super) now: Timestamp,
}

/// What to write, in this order.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) create: Option<Value>,
    pub(super) changes: Vec<Change>,
    pub(super) delete: Vec<Arc<Value>>,
    /// The Deployment's own revision annotation, if it is another one.
    pub(super) revision: Option<String>,
    /// The whole status.
    pub(super) status: Value,
    /// When to come back even if nothing happens.
    pub(super) again: Option<Duration>,
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut planner = Planner::new(observed);
    let deployment = observed.deployment;
    if meta::is_being_deleted(deployment) {
        return planner.finish(false);
    }
    conditions::paused(&mut planner.status, deployment, observed.now);
    let is_paused = deployment["spec"]["paused"] == true;
    if is_paused || planner.is_scaling_event() {
        planner.note_revision();
        planner.scale();
        if is_paused {
            planner.clean_up();
        }
        return planner.finish(false);
    }
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        planner.recreate();
    } else {
        planner.roll();
    }
    planner.finish(true)
}

/// Bounds of a rolling update in pods: surge rounds up, unavailable rounds down, and not both are 0.
pub(super) fn fenceposts(deployment: &Value) -> (i64, i64) {
    let desired = number(&deployment["spec"]["replicas"], 1);
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        return (0, 0);
    }
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = scaled(&rolling["maxSurge"], desired, true);
    let unavailable = scaled(&rolling["maxUnavailable"], desired, false);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (surge, unavailable.min(desired))
}

/// A number or a percentage of `of`; 25 % when absent.
fn scaled(value: &Value, of: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let text = value.as_str().unwrap_or("25%");
    let percent: i64 = text.strip_suffix('%').and_then(|t| t.parse().ok()).unwrap_or(0);
    if up { (of * percent + 99).div_euclid(100) } else { (of * percent).div_euclid(100) }
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    new: Option<Set>,
    /// Oldest first.
    old: Vec<Set>,
    status: Value,
    plan: Plan,
    desired: i64,
    surge: i64,
    unavailable: i64,
}

impl<'a> Planner<'a> {
    fn new(observed: &'a Observed<'a>) -> Self {
        let deployment = observed.deployment;
        let mut all: Vec<Set> = observed.sets.iter().map(Set::new).collect();
        all.sort_by_key(Set::age_order);
        let template = &deployment["spec"]["template"];
        let at = all.iter().position(|set| same_template(&set.observed["spec"]["template"], template));
        let new = at.map(|at| all.remove(at));
        let (surge, unavailable) = fenceposts(deployment);
        let mut status = json!({});
        if let Some(conditions) = deployment["status"].get("conditions") {
            status["conditions"] = conditions.clone();
        }
        let desired = number(&deployment["spec"]["replicas"], 1);
        Self { observed, new, old: all, status, plan: Plan::default(), desired, surge, unavailable }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    fn total(&self) -> i64 {
        self.all().map(|set| set.replicas).sum()
    }

    fn is_scaling_event(&self) -> bool {
        self.all().any(|s| s.replicas > 0 && s.desired_annotation().is_some_and(|d| d != self.desired))
    }

    /// Gives the newest set the highest revision, or makes it.
    fn ensure_new(&mut self) {
        let revision = self.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        let now = self.observed.now;
        match &mut self.new {
            Some(new) => {
                new.take_over(self.observed.deployment, revision);
                if let Some(seconds) = self.observed.deployment["spec"]["minReadySeconds"].as_i64() {
                    new.set_min_ready(seconds);
                }
                let has_deadline = conditions::deadline(self.observed.deployment).is_some();
                if has_deadline && conditions::find(&self.status, "Progressing").is_none() {
                    let message = format!("Found new replica set {:?}", new.name());
                    conditions::set(
                        &mut self.status,
                        "Progressing",
                        "True",
                        "FoundNewReplicaSet",
                        &message,
                        now,
                    );
                }
            }
            None => {
                let replicas = self.new_replicas(0);
                let set = sets::fresh(self.observed.deployment, replicas, revision, self.surge);
                if conditions::deadline(self.observed.deployment).is_some() {
                    let message = format!("Created new replica set {:?}", meta::name(&set));
                    conditions::put(
                        &mut self.status,
                        "Progressing",
                        "True",
                        "NewReplicaSetCreated",
                        &message,
                        now,
                    );
                }
                self.plan.create = Some(set);
                self.set_revision(revision);
            }
        }
        self.note_revision();
    }

    fn note_revision(&mut self) {
        if let Some(new) = &self.new {
            let others = self.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
            self.set_revision(new.revision().max(others));
        }
    }

    fn set_revision(&mut self, revision: i64) {
        let text = revision.to_string();
        if meta::annotation(self.observed.deployment, sets::REVISION) != Some(&text) {
            self.plan.revision = Some(text);
        }
    }

    /// `NewRSNewReplicas`.
    fn new_replicas(&self, current: i64) -> i64 {
        if self.observed.deployment["spec"]["strategy"]["type"] == "Recreate" {
            return self.desired;
        }
        let room = self.desired + self.surge - self.total();
        if room <= 0 { current } else { current + room.min(self.desired - current) }
    }

    fn roll(&mut self) {
        self.ensure_new();
        let Some(current) = self.new.as_ref().map(|new| new.replicas) else { return };
        let wanted = if current > self.desired { self.desired } else { self.new_replicas(current) };
        if wanted != current {
            self.resize_new(wanted);
            return;
        }
        if self.scale_down_old() {
            return;
        }
        if self.is_complete() {
            self.clean_up();
        }
    }

    fn resize_new(&mut self, replicas: i64) {
        let (desired, surge) = (self.desired, self.surge);
        if let Some(new) = &mut self.new {
            new.replicas = replicas;
            new.record_size(desired, surge);
        }
    }

    /// Unhealthy old pods first, then as many as availability allows. Says whether anything was scaled.
    fn scale_down_old(&mut self) -> bool {
        let min_available = self.desired - self.unavailable;
        let (new_replicas, new_available) = self.new.as_ref().map_or((0, 0), |n| (n.replicas, n.available()));
        let allowed = self.total() - min_available - (new_replicas - new_available);
        if allowed <= 0 || self.old.iter().all(|set| set.replicas == 0) {
            return false;
        }
        let (desired, surge) = (self.desired, self.surge);
        let mut left = allowed;
        for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
            let unhealthy = (set.replicas - set.available()).max(0).min(left);
            if unhealthy > 0 {
                set.replicas -= unhealthy;
                set.record_size(desired, surge);
                left -= unhealthy;
            }
        }
        let available: i64 = self.all().map(Set::available).sum();
        let mut spare = available - min_available;
        for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
            let healthy = spare.min(set.replicas).max(0);
            if healthy > 0 {
                set.replicas -= healthy;
                set.record_size(desired, surge);
                spare -= healthy;
            }
        }
        true
    }

    fn recreate(&mut self) {
        if self.old.iter().any(|set| set.replicas > 0) {
            let (desired, surge) = (self.desired, self.surge);
            for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
                set.replicas = 0;
                set.record_size(desired, surge);
            }
            return;
        }
        if self.old_pods_remain() {
            return;
        }
        self.ensure_new();
        if self.new.as_ref().is_some_and(|new| new.replicas != self.desired) {
            self.resize_new(self.desired);
        } else if self.is_complete() {
            self.clean_up();
        }
    }

    /// Pods that are being deleted count until they are gone.
    fn old_pods_remain(&self) -> bool {
        let new_uid = self.new.as_ref().map(|new| meta::uid(&new.observed));
        let of_old = |pod: &Value| meta::controller_of(pod).and_then(|o| o["uid"].as_str()) != new_uid;
        self.old.iter().any(|set| set.status("replicas") > 0)
            || self.observed.pods.iter().any(|pod| of_old(pod) && !is_finished(pod))
    }

    /// On a scaling event or while paused: keep the proportions (`sync.go scale`).
    fn scale(&mut self) {
        let (desired, surge) = (self.desired, self.surge);
        let active = self.all().filter(|set| set.replicas > 0).count();
        if active <= 1 {
            let newest = self.old.len().wrapping_sub(1);
            let only = self.old.iter().position(|set| set.replicas > 0);
            let set = match (only, &mut self.new) {
                (Some(at), _) => self.old.get_mut(at),
                (None, Some(new)) => Some(new),
                (None, None) => self.old.get_mut(newest),
            };
            if let Some(set) =
                set.filter(|set| set.replicas != desired || set.desired_annotation() != Some(desired))
            {
                set.replicas = desired;
                set.record_size(desired, surge);
            }
            return;
        }
        let saturated = self.new.as_ref().is_some_and(|new| {
            new.replicas == desired && new.desired_annotation() == Some(desired) && new.available() == desired
        });
        if saturated {
            for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
                set.replicas = 0;
                set.record_size(desired, surge);
            }
            return;
        }
        if self.observed.deployment["spec"]["strategy"]["type"] != "Recreate" {
            self.scale_in_proportion();
        }
    }

    fn scale_in_proportion(&mut self) {
        let (desired, surge) = (self.desired, self.surge);
        let allowed = if desired > 0 { desired + surge } else { 0 };
        let to_add = allowed - self.total();
        let mut sets: Vec<&mut Set> =
            self.old.iter_mut().chain(&mut self.new).filter(|s| s.replicas > 0).collect();
        // Largest first; among equals newer ones grow first and older ones shrink first.
        sets.sort_by(|a, b| {
            let age = a.age_order().cmp(&b.age_order());
            b.replicas.cmp(&a.replicas).then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut added = 0;
        for set in &mut sets {
            if to_add != 0 {
                let fraction = fraction(set, desired, surge);
                let share =
                    if to_add > 0 { fraction.min(to_add - added) } else { fraction.max(to_add - added) };
                set.replicas += share;
                added += share;
            }
            set.record_size(desired, surge);
        }
        if let Some(first) = sets.first_mut() {
            first.replicas = (first.replicas + to_add - added).max(0);
        }
    }

    fn clean_up(&mut self) {
        let Some(limit) = self.observed.deployment["spec"]["revisionHistoryLimit"].as_u64() else { return };
        let surplus = self.old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut candidates: Vec<&Set> = self.old.iter().collect();
        candidates.sort_by_key(|set| set.revision());
        let empty = |set: &&&Set| {
            let observed =
                number(&set.observed["status"]["observedGeneration"], 0) >= meta::generation(&set.observed);
            set.status("replicas") == 0
                && set.replicas == 0
                && observed
                && !meta::is_being_deleted(&set.observed)
        };
        let doomed = candidates.iter().take(surplus).filter(empty).map(|set| set.observed.clone());
        self.plan.delete = doomed.collect();
    }

    fn is_complete(&self) -> bool {
        conditions::is_complete(self.observed.deployment, &self.counters())
    }

    /// The counters of the status, as the ReplicaSets reported them.
    fn counters(&self) -> Value {
        let sum = |field: &str| self.all().map(|set| set.status(field)).sum::<i64>();
        let mut counters = json!({});
        let available = sum("availableReplicas");
        let asked: i64 = self.all().map(|set| number(&set.observed["spec"]["replicas"], 1)).sum();
        set_nonzero(&mut counters, "replicas", sum("replicas"));
        set_nonzero(
            &mut counters,
            "updatedReplicas",
            self.new.as_ref().map_or(0, |new| new.status("replicas")),
        );
        set_nonzero(&mut counters, "readyReplicas", sum("readyReplicas"));
        set_nonzero(&mut counters, "availableReplicas", available);
        set_nonzero(&mut counters, "unavailableReplicas", (asked - available).max(0));
        set_nonzero(&mut counters, "terminatingReplicas", sum("terminatingReplicas"));
        counters
    }

    fn finish(mut self, rollout: bool) -> Plan {
        let (deployment, now) = (self.observed.deployment, self.observed.now);
        let mut status = json!({"observedGeneration": meta::generation(deployment)});
        let counters = self.counters();
        let conditions = self.status["conditions"].take();
        for (field, value) in counters.as_object().into_iter().flatten() {
            status[field] = value.clone();
        }
        if let Some(count) = deployment["status"]["collisionCount"].as_i64() {
            status["collisionCount"] = count.into();
        }
        if conditions.is_array() {
            status["conditions"] = conditions;
        }
        let available = number(&status["availableReplicas"], 0);
        conditions::available(&mut status, available >= self.desired - self.unavailable, now);
        if rollout {
            conditions::progressing(deployment, &mut status, self.new.as_ref(), now);
            self.plan.again = conditions::until_deadline(deployment, &status, now);
        }
        conditions::replica_failure(&mut status, self.new.as_ref(), &self.old, now);
        let changes = self.old.iter().chain(&self.new).filter_map(Set::change);
        self.plan.changes = changes.collect();
        self.plan.status = status;
        self.plan
    }
}

/// One set's share of a change in size; half rounds away from zero.
fn fraction(set: &Set, desired: i64, surge: i64) -> i64 {
    if desired == 0 {
        return -set.replicas;
    }
    let before = set.max_annotation().filter(|max| *max > 0).unwrap_or_else(|| set.status("replicas"));
    if before == 0 {
        return 0;
    }
    (2 * set.replicas * (desired + surge) + before).div_euclid(2 * before) - set.replicas
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
