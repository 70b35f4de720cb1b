//! Health of a StatefulSet: its rollout, partitioned or not.

use serde_json::Value;

use super::{Health, is_behind, number, text};

pub(super) fn health(object: &Value) -> Health {
    if number(object, "/status/observedGeneration") == 0 || is_behind(object) {
        return Health::progressing("Waiting for statefulset spec update to be observed...");
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64);
    let ready = number(object, "/status/readyReplicas");
    let updated = number(object, "/status/updatedReplicas");
    if let Some(wanted) = wanted.filter(|wanted| ready < *wanted) {
        return Health::progressing(format!("Waiting for {} pods to be ready...", wanted - ready));
    }
    let strategy = text(object, "/spec/updateStrategy/type");
    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    if let ("RollingUpdate", Some(wanted), Some(partition)) = (strategy, wanted, partition) {
        let target = wanted - partition;
        if updated < target {
            return Health::progressing(format!(
                "Waiting for partitioned roll out to finish: {updated} out of {target} new pods have been updated..."
            ));
        }
        return Health::healthy(format!(
            "partitioned roll out complete: {updated} new pods have been updated..."
        ));
    }
    if strategy == "OnDelete" {
        return Health::healthy(format!("statefulset has {ready} ready pods"));
    }
    let target = text(object, "/status/updateRevision");
    let current = text(object, "/status/currentRevision");
    if target != current {
        return Health::progressing(format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {target}..."
        ));
    }
    let count = number(object, "/status/currentReplicas");
    Health::healthy(format!("statefulset rolling update complete {count} pods at revision {current}..."))
}
