//! Defaults of the kinds that make pods, and of what scales them.

use serde_json::{Value, json};

use super::{config, items, pod, put, section, set, set_text, text};

pub(super) fn deployment(object: &mut Value) {
    let spec = section(object, "spec");
    pod::template_of(spec);
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    let strategy = section(spec, "strategy");
    set_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = section(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
}

pub(super) fn replica_set(object: &mut Value) {
    let spec = section(object, "spec");
    pod::template_of(spec);
    set(spec, "replicas", 1);
}

pub(super) fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let spec = section(object, "spec");
    pod::template_of(spec);
    set(spec, "replicas", 1);
    if let Some(labels) = labels {
        set(spec, "selector", labels.clone());
        set(section(object, "metadata"), "labels", labels);
    }
}

pub(super) fn stateful_set(object: &mut Value) {
    let spec = section(object, "spec");
    pod::template_of(spec);
    set_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = section(spec, "updateStrategy");
    if text(strategy, "type").is_empty() {
        put(strategy, "type", "RollingUpdate");
        set(section(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = section(spec, "persistentVolumeClaimRetentionPolicy");
    set_text(retention, "whenDeleted", "Retain");
    set_text(retention, "whenScaled", "Retain");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "serviceName", "");
    for claim in items(spec, "volumeClaimTemplates") {
        set_text(claim, "apiVersion", "v1");
        set_text(claim, "kind", "PersistentVolumeClaim");
        config::persistent_volume_claim(claim);
    }
}

pub(super) fn daemon_set(object: &mut Value) {
    let spec = section(object, "spec");
    pod::template_of(spec);
    set(spec, "revisionHistoryLimit", 10);
    let strategy = section(spec, "updateStrategy");
    set_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = section(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
}

pub(super) fn job(object: &mut Value) {
    let template_labels = object.pointer("/spec/template/metadata/labels").cloned();
    job_spec(section(object, "spec"));
    if let Some(labels) = template_labels {
        set(section(object, "metadata"), "labels", labels);
    }
}

fn job_spec(spec: &mut Value) {
    pod::template_of(spec);
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let per_index = spec.get("backoffLimitPerIndex").is_some();
    set(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    set_text(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let replacement = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    set_text(spec, "podReplacementPolicy", replacement);
}

pub(super) fn cron_job(object: &mut Value) {
    let spec = section(object, "spec");
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    // Of the job template only the pods are defaulted; its own fields are when the job is made.
    if let Some(template) = spec.pointer_mut("/jobTemplate/spec/template") {
        pod::template(template);
    }
}

pub(super) fn autoscaler(object: &mut Value) {
    let is_v2 = text(object, "apiVersion") == "autoscaling/v2";
    let spec = section(object, "spec");
    set(spec, "minReplicas", 1);
    if !is_v2 {
        return;
    }
    let utilization = json!({"type": "Utilization", "averageUtilization": 80});
    set(spec, "metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}]));
    let Some(behavior) = spec.get_mut("behavior").filter(|b| b.is_object()) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let up = section(behavior, "scaleUp");
    set(up, "stabilizationWindowSeconds", 0);
    set_text(up, "selectPolicy", "Max");
    set(up, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]));
    let down = section(behavior, "scaleDown");
    set_text(down, "selectPolicy", "Max");
    set(down, "policies", json!([percent]));
}
