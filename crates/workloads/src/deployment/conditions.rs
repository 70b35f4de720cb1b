//! A Deployment's conditions: Available, Progressing, ReplicaFailure, in the words of `deployment_util.go`.

use std::time::Duration;

use jiff::Timestamp;
use object::meta;
use serde_json::{Value, json};

use super::sets::Set;
use crate::pods::number;

/// Sets a condition in `status`. With the same status and reason nothing changes, so that its times stand;
/// `lastTransitionTime` moves only with the status.
pub(super) fn set(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let old = find(status, kind);
    if old.as_ref().is_some_and(|old| old["status"] == value && old["reason"] == reason) {
        return;
    }
    put(status, kind, value, reason, message, now);
}

/// As [`set`], but moves `lastUpdateTime` even if nothing else changes.
pub(super) fn put(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let now = text(now);
    let old = find(status, kind);
    let since = old.filter(|old| old["status"] == value).map(|old| old["lastTransitionTime"].clone());
    let condition = json!({
        "type": kind, "status": value, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.clone().into()),
    });
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    match all.iter_mut().find(|c| c["type"] == kind) {
        Some(place) => *place = condition,
        None => all.push(condition),
    }
    status["conditions"] = all.into();
}

/// The condition of one type in a status.
pub(super) fn find(status: &Value, kind: &str) -> Option<Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == kind).cloned()
}

/// Available: at least as many as the strategy promises.
pub(super) fn available(status: &mut Value, enough: bool, now: Timestamp) {
    if enough {
        let text = "Deployment has minimum availability.";
        set(status, "Available", "True", "MinimumReplicasAvailable", text, now);
    } else {
        let text = "Deployment does not have minimum availability.";
        set(status, "Available", "False", "MinimumReplicasUnavailable", text, now);
    }
}

/// ReplicaFailure, copied from a ReplicaSet that cannot make its pods; the new one first.
pub(super) fn replica_failure(status: &mut Value, new: Option<&Set>, old: &[Set], now: Timestamp) {
    let failures = new.into_iter().chain(old).filter_map(|s| meta::condition(&s.observed, "ReplicaFailure"));
    if let Some(failure) = failures.into_iter().next() {
        let field = |name: &str| failure[name].as_str().unwrap_or_default();
        set(status, "ReplicaFailure", field("status"), field("reason"), field("message"), now);
    } else if let Some(all) = status["conditions"].as_array_mut() {
        all.retain(|c| c["type"] != "ReplicaFailure");
    }
}

/// Pausing and resuming; a timeout that was reached is not hidden by it.
pub(super) fn paused(status: &mut Value, deployment: &Value, now: Timestamp) {
    if deployment["spec"].get("progressDeadlineSeconds").is_none() {
        return;
    }
    let old = find(status, "Progressing");
    let reason = old.as_ref().and_then(|c| c["reason"].as_str()).unwrap_or_default();
    if reason == "ProgressDeadlineExceeded" {
        return;
    }
    let is_paused = deployment["spec"]["paused"] == true;
    if is_paused && reason != "DeploymentPaused" {
        set(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now);
    } else if !is_paused && reason == "DeploymentPaused" {
        set(status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now);
    }
}

/// The deadline in seconds; none: the Deployment may take for ever.
pub(super) fn deadline(deployment: &Value) -> Option<i64> {
    deployment["spec"]["progressDeadlineSeconds"].as_i64().filter(|s| *s != i64::from(i32::MAX))
}

/// Progressing while or after a rollout. `before` is the status in the API, `status` the new one.
pub(super) fn progressing(deployment: &Value, status: &mut Value, new: Option<&Set>, now: Timestamp) {
    let Some(deadline) = deadline(deployment) else {
        if let Some(all) = status["conditions"].as_array_mut() {
            all.retain(|c| c["type"] != "Progressing");
        }
        return;
    };
    let before = &deployment["status"];
    let reason = find(status, "Progressing").and_then(|c| c["reason"].as_str().map(str::to_owned));
    let name = new.map_or_else(|| meta::name(deployment).to_owned(), |set| set.name().to_owned());
    let settled = status["replicas"] == status["updatedReplicas"]
        && reason.as_deref() == Some("NewReplicaSetAvailable");
    if settled {
        return;
    }
    if is_complete(deployment, status) {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        set(status, "Progressing", "True", "NewReplicaSetAvailable", &message, now);
    } else if has_progressed(before, status) {
        let message = format!("ReplicaSet {name:?} is progressing.");
        put(status, "Progressing", "True", "ReplicaSetUpdated", &message, now);
    } else if has_timed_out(status, deadline, now) {
        let message = format!("ReplicaSet {name:?} has timed out progressing.");
        set(status, "Progressing", "False", "ProgressDeadlineExceeded", &message, now);
    }
}

/// When to look again for a missed deadline.
pub(super) fn until_deadline(deployment: &Value, status: &Value, now: Timestamp) -> Option<Duration> {
    let deadline = deadline(deployment)?;
    let progressing = find(status, "Progressing")?;
    let reason = progressing["reason"].as_str()?;
    if reason == "NewReplicaSetAvailable"
        || reason == "ProgressDeadlineExceeded"
        || is_complete(deployment, status)
    {
        return None;
    }
    let since: Timestamp = progressing["lastUpdateTime"].as_str()?.parse().ok()?;
    let left = since.as_second() + deadline + 1 - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)))
}

/// All replicas are of the new template and available, and nothing else runs.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let desired = number(&deployment["spec"]["replicas"], 1);
    let all = |field: &str| number(&status[field], 0) == desired;
    all("updatedReplicas") && all("replicas") && all("availableReplicas")
}

fn has_progressed(before: &Value, after: &Value) -> bool {
    let get = |status: &Value, field: &str| number(&status[field], 0);
    let old = |status: &Value| get(status, "replicas") - get(status, "updatedReplicas");
    let more = |field: &str| get(after, field) > get(before, field);
    more("updatedReplicas") || old(after) < old(before) || more("readyReplicas") || more("availableReplicas")
}

fn has_timed_out(status: &Value, deadline: i64, now: Timestamp) -> bool {
    let Some(condition) = find(status, "Progressing") else { return false };
    match condition["reason"].as_str() {
        Some("ProgressDeadlineExceeded") => return true,
        Some("NewReplicaSetAvailable") => return false,
        _ => {}
    }
    let since: Option<Timestamp> = condition["lastUpdateTime"].as_str().and_then(|t| t.parse().ok());
    since.is_some_and(|since| since.as_second() + deadline < now.as_second())
}

fn text(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
