//! What kstatus asks of each built-in kind.

use jiff::Timestamp;
use serde_json::Value;

use super::{Outcome, list, number, text};
use crate::meta;

/// A pod younger than this, in seconds, may still be unschedulable without having failed.
const SCHEDULE_WINDOW_SECONDS: i64 = 15;

/// The verdict by kind; `None` for kinds without rules of their own.
pub(super) fn outcome(object: &Value, now: Timestamp) -> Option<Outcome> {
    let (group, _) = meta::split_api_version(meta::api_version(object));
    Some(match (group, meta::kind(object)) {
        ("", "Service") => service(object),
        ("", "Pod") => pod(object, now),
        ("", "Secret" | "ConfigMap") => Outcome::current("Resource is always ready"),
        ("", "PersistentVolumeClaim") => claim(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps" | "extensions", "Deployment") => deployment(object),
        ("apps" | "extensions", "ReplicaSet") => replica_set(object),
        ("policy", "PodDisruptionBudget") => Outcome::current("AllowedDisruptions has been computed."),
        ("batch", "CronJob") => Outcome::current("CronJob is always considered current"),
        ("batch", "Job") => job(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => return None,
    })
}

fn service(object: &Value) -> Outcome {
    if text(object, "/spec/type") == "LoadBalancer" && text(object, "/spec/clusterIP").is_empty() {
        return Outcome::in_progress("NoIPAssigned", "ClusterIP not set. Service type: LoadBalancer");
    }
    Outcome::current("Service is ready")
}

fn pod(object: &Value, now: Timestamp) -> Outcome {
    match text(object, "/status/phase") {
        "Succeeded" => Outcome::current("Pod has completed successfully"),
        "Failed" => Outcome::current("Pod has completed, but not successfully"),
        "Running" if meta::condition_is_true(object, "Ready") => Outcome::current("Pod is Ready"),
        "Running" => {
            let statuses = list(object, "/status/containerStatuses").iter();
            let crashing = statuses.filter(|s| text(s, "/state/waiting/reason") == "CrashLoopBackOff");
            let names: Vec<&str> = crashing.map(|s| text(s, "/name")).collect();
            if names.is_empty() {
                return Outcome::in_progress("PodRunningNotReady", "Pod is running but is not Ready");
            }
            let message = format!("Containers in CrashLoop state: {}", names.join(","));
            Outcome::failed("ContainerCrashLooping", message)
        }
        "Pending" => {
            let scheduled = meta::condition(object, "PodScheduled").unwrap_or(&Value::Null);
            if text(scheduled, "/status") != "False" || text(scheduled, "/reason") != "Unschedulable" {
                return Outcome::in_progress("PodPending", "Pod is in the Pending phase");
            }
            let created = meta::creation_timestamp(object).parse::<Timestamp>();
            let is_new = created.is_ok_and(|c| now.as_second() - c.as_second() < SCHEDULE_WINDOW_SECONDS);
            if is_new {
                Outcome::in_progress("PodNotScheduled", "Pod has not been scheduled")
            } else {
                Outcome::failed("PodUnschedulable", "Pod could not be scheduled")
            }
        }
        "" => Outcome::in_progress("PodNotObserved", "Pod phase not available"),
        other => Outcome::in_progress("PodPhaseUnknown", format!("unknown phase {other}")),
    }
}

fn claim(object: &Value) -> Outcome {
    match text(object, "/status/phase") {
        "Bound" => Outcome::current("PVC is Bound"),
        phase => Outcome::in_progress("NotBound", format!("PVC is not Bound. phase: {phase}")),
    }
}

/// How many pods the spec asks for: one, if it does not say.
fn wanted_replicas(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

/// The first of `(reason, label, actual)` that is below `wanted`.
fn first_below(wanted: i64, counts: &[(&str, &str, i64)]) -> Option<Outcome> {
    let (reason, label, actual) = counts.iter().find(|(.., actual)| wanted > *actual)?;
    Some(Outcome::in_progress(reason, format!("{label}: {actual}/{wanted}")))
}

fn extra_pods(actual: i64, wanted: i64) -> Option<Outcome> {
    let message = || format!("Pending termination: {}", actual - wanted);
    (actual > wanted).then(|| Outcome::in_progress("ExtraPods", message()))
}

fn stateful_set(object: &Value) -> Outcome {
    if text(object, "/spec/updateStrategy/type").eq_ignore_ascii_case("OnDelete") {
        return Outcome::current("StatefulSet is using the ondelete update strategy");
    }
    let wanted = wanted_replicas(object);
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let replicas = status("replicas");
    let short = first_below(
        wanted,
        &[("LessReplicas", "Replicas", replicas), ("LessReady", "Ready", status("readyReplicas"))],
    );
    if let Some(outcome) = short.or_else(|| extra_pods(replicas, wanted)) {
        return outcome;
    }
    let updated = status("updatedReplicas");
    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    if let Some(partition) = partition {
        let target = wanted - partition;
        if updated < target {
            return Outcome::in_progress("PartitionRollout", format!("updated: {updated}/{target}"));
        }
        return Outcome::current(format!("Partition rollout complete. updated: {updated}"));
    }
    if let Some(outcome) = first_below(wanted, &[("LessCurrent", "current", status("currentReplicas"))]) {
        return outcome;
    }
    if text(object, "/status/currentRevision") != text(object, "/status/updateRevision") {
        return Outcome::in_progress("RevisionMismatch", "Waiting for updated revision to match current");
    }
    Outcome::current(format!("All replicas scheduled as expected. Replicas: {replicas}"))
}

fn daemon_set(object: &Value) -> Outcome {
    if object.pointer("/status/observedGeneration").is_none() {
        let message =
            "Controller has not observed the latest change. Status generation does not match with metadata";
        return Outcome::in_progress("NoObservedGeneration", message);
    }
    let Some(wanted) = object.pointer("/status/desiredNumberScheduled").and_then(Value::as_i64) else {
        return Outcome::in_progress("NoDesiredNumber", "Missing .status.desiredNumberScheduled");
    };
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let short = first_below(
        wanted,
        &[
            ("LessCurrent", "Current", status("currentNumberScheduled")),
            ("LessUpdated", "Updated", status("updatedNumberScheduled")),
            ("LessAvailable", "Available", status("numberAvailable")),
            ("LessReady", "Ready", status("numberReady")),
        ],
    );
    short.unwrap_or_else(|| {
        Outcome::current(format!("All replicas scheduled as expected. Replicas: {wanted}"))
    })
}

fn deployment(object: &Value) -> Outcome {
    // Without a deadline the controller sets no Progressing condition, so there is none to wait for.
    let deadline = object.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64);
    let has_deadline = deadline.is_some_and(|seconds| seconds != i64::from(i32::MAX));
    let progressing = meta::condition(object, "Progressing").unwrap_or(&Value::Null);
    if text(progressing, "/reason") == "ProgressDeadlineExceeded" {
        return Outcome::failed("ProgressDeadlineExceeded", "Progress deadline exceeded");
    }
    let progressed =
        text(progressing, "/status") == "True" && text(progressing, "/reason") == "NewReplicaSetAvailable";
    let wanted = wanted_replicas(object);
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let (replicas, updated) = (status("replicas"), status("updatedReplicas"));
    let short =
        first_below(wanted, &[("LessReplicas", "replicas", replicas), ("LessUpdated", "Updated", updated)])
            .or_else(|| extra_pods(replicas, wanted))
            .or_else(|| first_below(updated, &[("LessAvailable", "Available", status("availableReplicas"))]))
            .or_else(|| first_below(wanted, &[("LessReady", "Ready", status("readyReplicas"))]));
    if let Some(outcome) = short {
        return outcome;
    }
    if has_deadline && !progressed {
        return Outcome::in_progress("ReplicaSetNotAvailable", "ReplicaSet not Available");
    }
    if !meta::condition_is_true(object, "Available") {
        return Outcome::in_progress("DeploymentNotAvailable", "Deployment not Available");
    }
    Outcome::current(format!("Deployment is available. Replicas: {replicas}"))
}

fn replica_set(object: &Value) -> Outcome {
    if meta::condition_is_true(object, "ReplicaFailure") {
        return Outcome::in_progress("ReplicaFailure", "Replica Failure condition. Check Pods");
    }
    let wanted = wanted_replicas(object);
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let replicas = status("replicas");
    let short = first_below(
        wanted,
        &[
            ("LessLabelled", "Labelled", status("fullyLabeledReplicas")),
            ("LessAvailable", "Available", status("availableReplicas")),
            ("LessReady", "Ready", status("readyReplicas")),
        ],
    );
    short
        .or_else(|| extra_pods(replicas, wanted))
        .unwrap_or_else(|| Outcome::current(format!("ReplicaSet is available. Replicas: {replicas}")))
}

fn job(object: &Value) -> Outcome {
    let parallelism = object.pointer("/spec/parallelism").and_then(Value::as_i64).unwrap_or(1);
    let completions = object.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(parallelism);
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let (succeeded, active, failed) = (status("succeeded"), status("active"), status("failed"));
    if meta::condition_is_true(object, "Complete") {
        return Outcome::current(format!("Job Completed. succeeded: {succeeded}/{completions}"));
    }
    if meta::condition_is_true(object, "Failed") {
        return Outcome::failed("JobFailed", format!("Job Failed. failed: {failed}/{completions}"));
    }
    if text(object, "/status/startTime").is_empty() {
        return Outcome::in_progress("JobNotStarted", "Job not started");
    }
    Outcome::current(format!("Job in progress. success:{succeeded}, active: {active}, failed: {failed}"))
}

fn definition(object: &Value) -> Outcome {
    for condition in list(object, "/status/conditions") {
        let (status, reason) = (text(condition, "/status"), text(condition, "/reason"));
        let failed = || Outcome::failed(reason, text(condition, "/message"));
        match (text(condition, "/type"), status) {
            ("NamesAccepted", "False") => return failed(),
            ("Established", "False") if reason != "Installing" => return failed(),
            ("Established", "True") => return Outcome::current("CRD is established"),
            _ => {}
        }
    }
    Outcome::in_progress("Installing", "Install in progress")
}
