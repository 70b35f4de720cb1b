//! What a Job does next. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object::meta;
use serde_json::{Value, json};

use crate::pods::{from_template, is_finished, is_ready, number, phase, restarts, set_nonzero};

pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// First pause after a failed pod; doubled up to the longest.
const BACK_OFF_S: i64 = 10;
const LONGEST_BACK_OFF_S: i64 = 600;
/// At most so many pods are made in one pass.
const BURST: usize = 500;

pub(super) struct Observed<'a> {
    pub(super) job: &'a Value,
    /// The pods it controls.
    pub(super) pods: &'a [Arc<Value>],
    pub(super) now: Timestamp,
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Value>,
    pub(super) delete: Vec<Arc<Value>>,
    /// Pods whose finalizer goes once the status is written.
    pub(super) release: Vec<Arc<Value>>,
    pub(super) status: Value,
    pub(super) again: Option<Duration>,
    /// Reason, message, and whether it is good news.
    pub(super) event: Option<(String, String, bool)>,
    /// `ttlSecondsAfterFinished` is over.
    pub(super) expired: bool,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut planner = Planner::new(observed);
    if let Some(finished) = finished(observed.job) {
        return planner.rest(&finished.clone());
    }
    planner.count();
    planner.decide();
    planner.finish()
}

/// The condition that ended the Job.
fn finished(job: &Value) -> Option<&Value> {
    ["Complete", "Failed"]
        .into_iter()
        .find_map(|kind| meta::condition(job, kind).filter(|c| c["status"] == "True"))
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    status: Value,
    plan: Plan,
    active: Vec<Arc<Value>>,
    terminating: i64,
    succeeded: i64,
    failed: i64,
    /// Finished pods that the status does not count for good yet: succeeded, failed.
    uncounted: [Vec<String>; 2],
    indexes: BTreeSet<i64>,
}

impl<'a> Planner<'a> {
    fn new(observed: &'a Observed<'a>) -> Self {
        let status = &observed.job["status"];
        let is_active = |pod: &&Arc<Value>| !is_finished(pod) && !meta::is_being_deleted(pod);
        let leaving = observed.pods.iter().filter(|pod| meta::is_being_deleted(pod) && !is_finished(pod));
        Self {
            observed,
            status: if status.is_object() { status.clone() } else { json!({}) },
            plan: Plan::default(),
            active: observed.pods.iter().filter(is_active).cloned().collect(),
            terminating: i64::try_from(leaving.count()).unwrap_or(0),
            succeeded: number(&status["succeeded"], 0),
            failed: number(&status["failed"], 0),
            uncounted: [vec![], vec![]],
            indexes: parse_indexes(status["completedIndexes"].as_str().unwrap_or_default()),
        }
    }

    fn spec(&self) -> &'a Value {
        &self.observed.job["spec"]
    }

    /// Moves what was written down and let go into the counters, and writes down what has ended since.
    fn count(&mut self) {
        let old = &self.observed.job["status"]["uncountedTerminatedPods"];
        let tracked = |uid: &str| {
            self.observed.pods.iter().any(|pod| meta::uid(pod) == uid && meta::has_finalizer(pod, TRACKING))
        };
        let mut counted = [0, 0];
        for (slot, field) in ["succeeded", "failed"].into_iter().enumerate() {
            for uid in old[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if tracked(uid) {
                    self.uncounted[slot].push(uid.to_owned());
                } else {
                    counted[slot] += 1;
                }
            }
        }
        self.succeeded += counted[0];
        self.failed += counted[1];
        for pod in self.observed.pods.iter().filter(|pod| meta::has_finalizer(pod, TRACKING)) {
            // A pod that is deleted before any node had it never ends by itself.
            let lost =
                meta::is_being_deleted(pod) && pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
            if !is_finished(pod) && !lost {
                continue;
            }
            let slot = usize::from(phase(pod) != "Succeeded");
            let uid = meta::uid(pod).to_owned();
            if slot == 0
                && let Some(index) = index(pod)
            {
                self.indexes.insert(index);
            }
            if !self.uncounted.iter().flatten().any(|known| *known == uid) {
                self.uncounted[slot].push(uid);
            }
            self.plan.release.push(pod.clone());
        }
    }

    fn total(&self, slot: usize) -> i64 {
        let counted = if slot == 0 { self.succeeded } else { self.failed };
        counted + i64::try_from(self.uncounted[slot].len()).unwrap_or(0)
    }

    fn decide(&mut self) {
        let suspended = self.spec()["suspend"] == true;
        if let Some(kind) = self.pending_end() {
            return self.end(kind);
        }
        if let Some((reason, message)) = self.failure().filter(|_| !suspended) {
            self.set_condition("FailureTarget", reason, &message);
            return self.end("Failed");
        }
        if self.is_complete() {
            self.set_condition(
                "SuccessCriteriaMet",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            );
            return self.end("Complete");
        }
        if suspended {
            self.suspend();
            return;
        }
        self.resume();
        self.balance();
    }

    /// An end that was announced: its condition waits for the last pod.
    fn pending_end(&self) -> Option<&'static str> {
        let announced = |kind| meta::condition_is_true(self.observed.job, kind);
        if announced("FailureTarget") {
            Some("Failed")
        } else {
            announced("SuccessCriteriaMet").then_some("Complete")
        }
    }

    fn failure(&self) -> Option<(&'static str, String)> {
        let limit = number(&self.spec()["backoffLimit"], 6);
        let on_failure = self.spec()["template"]["spec"]["restartPolicy"] == "OnFailure";
        let restarts: i64 = self.active.iter().map(|pod| restarts(pod)).sum();
        let restarted = on_failure && restarts > 0 && restarts >= limit;
        if self.total(1) > limit || restarted {
            return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
        }
        let deadline = self.spec()["activeDeadlineSeconds"].as_i64()?;
        let start: Timestamp = self.status["startTime"].as_str()?.parse().ok()?;
        let over = self.observed.now.as_second() - start.as_second() >= deadline;
        over.then(|| ("DeadlineExceeded", "Job was active longer than specified deadline".to_owned()))
    }

    fn is_complete(&self) -> bool {
        match self.spec()["completions"].as_i64() {
            Some(wanted) if self.is_indexed() => {
                i64::try_from(self.indexes.len()).is_ok_and(|done| done >= wanted)
            }
            Some(wanted) => self.total(0) >= wanted,
            // A work queue: one success says that there is no more work.
            None => self.total(0) > 0 && self.active.is_empty(),
        }
    }

    fn is_indexed(&self) -> bool {
        self.spec()["completionMode"] == "Indexed"
    }

    /// Stops what runs; the last condition comes when nothing runs and everything is counted.
    fn end(&mut self, kind: &'static str) {
        self.plan.delete = std::mem::take(&mut self.active);
        let leaving = self.terminating > 0 || !self.plan.delete.is_empty();
        if leaving || !self.plan.release.is_empty() || self.uncounted.iter().any(|list| !list.is_empty()) {
            return;
        }
        let announced = if kind == "Failed" { "FailureTarget" } else { "SuccessCriteriaMet" };
        let object = json!({"status": self.status});
        let Some(target) = meta::condition(&object, announced) else { return };
        let text = |field: &str| target[field].as_str().unwrap_or_default().to_owned();
        let (reason, message) = (text("reason"), text("message"));
        self.set_condition(kind, &reason, &message);
        if kind == "Complete" {
            self.status["completionTime"] = self.now().into();
            self.plan.event = Some(("Completed".to_owned(), "Job completed".to_owned(), true));
        } else {
            self.plan.event = Some((reason, message, false));
        }
        self.plan.again = Some(Duration::ZERO).filter(|_| self.spec()["ttlSecondsAfterFinished"].is_i64());
    }

    fn suspend(&mut self) {
        self.plan.delete = std::mem::take(&mut self.active);
        if !meta::condition_is_true(self.observed.job, "Suspended") {
            self.set_condition("Suspended", "JobSuspended", "Job suspended");
            self.plan.event = Some(("Suspended".to_owned(), "Job suspended".to_owned(), true));
        }
    }

    fn resume(&mut self) {
        let was_suspended = meta::condition_is_true(self.observed.job, "Suspended");
        if was_suspended {
            self.write_condition("Suspended", "False", "JobResumed", "Job resumed");
            self.plan.event = Some(("Resumed".to_owned(), "Job resumed".to_owned(), true));
        }
        if was_suspended || !self.status["startTime"].is_string() {
            self.status["startTime"] = self.now().into();
        }
    }

    fn balance(&mut self) {
        if let Some(deadline) = self.spec()["activeDeadlineSeconds"].as_i64() {
            let start: Option<Timestamp> = self.status["startTime"].as_str().and_then(|t| t.parse().ok());
            let left = start.map_or(0, |start| start.as_second() + deadline - self.observed.now.as_second());
            self.plan.again = Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
        }
        let parallelism = number(&self.spec()["parallelism"], 1);
        let wanted = match self.spec()["completions"].as_i64() {
            Some(completions) => parallelism.min(completions - self.total(0)).max(0),
            None if self.total(0) > 0 => i64::try_from(self.active.len()).unwrap_or(0).min(parallelism),
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or(0);
        if self.active.len() > wanted {
            // The youngest go: they have done the least.
            self.active.sort_by_key(|pod| {
                (is_ready(pod), std::cmp::Reverse(meta::creation_timestamp(pod).to_owned()))
            });
            self.plan.delete = self.active.drain(..self.active.len() - wanted).collect();
            return;
        }
        let missing = (wanted - self.active.len()).min(BURST);
        if missing == 0 {
            return;
        }
        if let Some(wait) = self.back_off() {
            self.plan.again = Some(self.plan.again.map_or(wait, |other| other.min(wait)));
            return;
        }
        let indexes: Vec<Option<i64>> = if self.is_indexed() {
            let taken: BTreeSet<i64> =
                self.active.iter().filter_map(|pod| index(pod)).chain(self.indexes.iter().copied()).collect();
            let all = 0..number(&self.spec()["completions"], 0);
            all.filter(|index| !taken.contains(index)).take(missing).map(Some).collect()
        } else {
            vec![None; missing]
        };
        self.plan.create = indexes.into_iter().map(|index| pod(self.observed.job, index)).collect();
    }

    /// How long to wait after the last failure: 10 s, doubled with each that followed the last success.
    fn back_off(&self) -> Option<Duration> {
        let ended = |pod: &Arc<Value>| {
            let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
            let times = statuses
                .filter_map(|s| s["state"]["terminated"]["finishedAt"].as_str()?.parse::<Timestamp>().ok());
            times.max()
        };
        let of = |phase_wanted: &'static str| {
            self.observed.pods.iter().filter(move |pod| phase(pod) == phase_wanted).filter_map(ended)
        };
        let last_success = of("Succeeded").max();
        let failures: Vec<Timestamp> =
            of("Failed").filter(|at| last_success.is_none_or(|s| *at > s)).collect();
        let last = failures.iter().max()?;
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
        let pause = (BACK_OFF_S << doublings).min(LONGEST_BACK_OFF_S);
        let left = last.as_second() + pause - self.observed.now.as_second();
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
    }

    fn now(&self) -> String {
        self.observed.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn set_condition(&mut self, kind: &str, reason: &str, message: &str) {
        self.write_condition(kind, "True", reason, message);
    }

    fn write_condition(&mut self, kind: &str, value: &str, reason: &str, message: &str) {
        let mut conditions = self.status["conditions"].as_array().cloned().unwrap_or_default();
        let now = self.now();
        let condition = json!({"type": kind, "status": value, "reason": reason, "message": message, "lastProbeTime": now});
        if !conditions.iter().any(|c| c["type"] == kind && c["status"] == value) {
            meta::set_condition(&mut conditions, condition, &now);
        }
        self.status["conditions"] = conditions.into();
    }

    /// A finished Job only waits for its end of life.
    fn rest(mut self, finished: &Value) -> Plan {
        self.plan.release =
            self.observed.pods.iter().filter(|p| meta::has_finalizer(p, TRACKING)).cloned().collect();
        self.plan.status = self.observed.job["status"].clone();
        if let Some(ttl) = self.spec()["ttlSecondsAfterFinished"].as_i64() {
            let ended: Option<Timestamp> =
                finished["lastTransitionTime"].as_str().and_then(|t| t.parse().ok());
            let left = ended.map_or(0, |ended| ended.as_second() + ttl - self.observed.now.as_second());
            self.plan.expired = left <= 0;
            self.plan.again = Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
        }
        self.plan
    }

    fn finish(mut self) -> Plan {
        let mut status = std::mem::take(&mut self.status);
        for field in [
            "active",
            "ready",
            "succeeded",
            "failed",
            "terminating",
            "uncountedTerminatedPods",
            "completedIndexes",
        ] {
            status.as_object_mut().map(|map| map.shift_remove(field));
        }
        let made = self.active.len() + self.plan.create.len();
        set_nonzero(&mut status, "active", i64::try_from(made).unwrap_or(0));
        set_nonzero(&mut status, "succeeded", self.succeeded);
        set_nonzero(&mut status, "failed", self.failed);
        let ready = self.active.iter().filter(|pod| is_ready(pod)).count();
        status["ready"] = ready.into();
        let leaving = self.terminating + i64::try_from(self.plan.delete.len()).unwrap_or(0);
        status["terminating"] = leaving.into();
        let [succeeded, failed] = self.uncounted;
        let mut uncounted = json!({});
        for (field, list) in [("succeeded", succeeded), ("failed", failed)] {
            if !list.is_empty() {
                uncounted[field] = list.into();
            }
        }
        status["uncountedTerminatedPods"] = uncounted;
        if !self.indexes.is_empty() {
            status["completedIndexes"] = print_indexes(&self.indexes).into();
        }
        self.plan.status = status;
        self.plan
    }
}

fn index(pod: &Value) -> Option<i64> {
    meta::annotation(pod, INDEX)?.parse().ok()
}

fn pod(job: &Value, index: Option<i64>) -> Value {
    let mut pod = from_template(&job["spec"]["template"], job);
    let name = meta::name(job);
    for prefix in ["batch.kubernetes.io/", ""] {
        meta::set_label(&mut pod, &format!("{prefix}job-name"), name);
        meta::set_label(&mut pod, &format!("{prefix}controller-uid"), meta::uid(job));
    }
    let mut finalizers: Vec<Value> = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.push(TRACKING.into());
    pod["metadata"]["finalizers"] = finalizers.into();
    let Some(index) = index else {
        pod["metadata"]["generateName"] = format!("{name}-").into();
        return pod;
    };
    pod["metadata"]["generateName"] = format!("{name}-{index}-").into();
    meta::set_annotation(&mut pod, INDEX, &index.to_string());
    meta::set_label(&mut pod, INDEX, &index.to_string());
    pod["spec"]["hostname"] = format!("{name}-{index}").into();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            if !env.iter().any(|e| e["name"] == "JOB_COMPLETION_INDEX") {
                env.push(json!({"name": "JOB_COMPLETION_INDEX", "value": index.to_string()}));
            }
            container["env"] = env.into();
        }
    }
    pod
}

/// `0-2,5`
fn print_indexes(indexes: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = vec![];
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i64, i64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

fn parse_indexes(text: &str) -> BTreeSet<i64> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            all.extend(first..=last.min(first + 100_000));
        }
    }
    all
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
