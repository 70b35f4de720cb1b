//! Health of a ReplicaSet: as many pods available as wanted.

use serde_json::Value;

use super::{Health, is_behind, number, text};
use crate::meta;

pub(super) fn health(object: &Value) -> Health {
    if is_behind(object) {
        return Health::progressing(
            "Waiting for rollout to finish: observed replica set generation less than desired generation",
        );
    }
    if meta::condition_is_true(object, "ReplicaFailure") {
        let condition = meta::condition(object, "ReplicaFailure").unwrap_or(&Value::Null);
        return Health::degraded(text(condition, "/message"));
    }
    let available = number(object, "/status/availableReplicas");
    match object.pointer("/spec/replicas").and_then(Value::as_i64) {
        Some(wanted) if available < wanted => Health::progressing(format!(
            "Waiting for rollout to finish: {available} out of {wanted} new replicas are available..."
        )),
        _ => Health::healthy(""),
    }
}
