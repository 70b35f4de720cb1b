//! Facts about pods that several controllers share, and how a template becomes a pod.

use std::time::Duration;

use jiff::Timestamp;
use object::meta;
use serde_json::{Value, json};

/// Counts against a workload's replicas: neither finished nor being deleted.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !meta::is_being_deleted(pod)
}

/// Its containers will never run again.
pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// `status.phase`; a pod that nobody has looked at yet is pending.
pub(crate) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

/// Whether the pod takes traffic.
pub(crate) fn is_ready(pod: &Value) -> bool {
    meta::condition_is_true(pod, "Ready")
}

/// Since when the pod's condition Ready stands as it does.
pub(crate) fn ready_since(pod: &Value) -> Option<Timestamp> {
    meta::condition(pod, "Ready")?["lastTransitionTime"].as_str()?.parse().ok()
}

/// Ready for at least `min_ready_s` seconds.
pub(crate) fn is_available(pod: &Value, min_ready_s: i64, now: Timestamp) -> bool {
    is_ready(pod) && (min_ready_s == 0 || until_available(pod, min_ready_s, now).is_none())
}

/// How long a ready pod still has to stay ready until it counts as available; none: it does already, or is not ready.
pub(crate) fn until_available(pod: &Value, min_ready_s: i64, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) || min_ready_s <= 0 {
        return None;
    }
    let since = ready_since(pod)?;
    let left = since.as_second() + min_ready_s - now.as_second();
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
}

/// A pod made from `template` and controlled by `owner`, without a name.
pub(crate) fn from_template(template: &Value, owner: &Value) -> Value {
    let mut metadata = json!({"namespace": meta::namespace(owner)});
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|v| !v.is_null()) {
            metadata[field] = value.clone();
        }
    }
    metadata["ownerReferences"] = json!([meta::controller_reference(owner)]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Sum of the restarts of all containers.
pub(crate) fn restarts(pod: &Value) -> i64 {
    let of = |field: &str| -> i64 {
        let statuses = pod["status"][field].as_array().into_iter().flatten();
        statuses.filter_map(|s| s["restartCount"].as_i64()).sum()
    };
    of("containerStatuses") + of("initContainerStatuses")
}

/// An integer that a defaulting server always fills in.
pub(crate) fn number(value: &Value, default: i64) -> i64 {
    value.as_i64().unwrap_or(default)
}

/// `map[key] = value`, unless the number is zero: Kubernetes leaves zero counters out of a status.
pub(crate) fn set_nonzero(map: &mut Value, key: &str, value: i64) {
    if value != 0 {
        map[key] = value.into();
    }
}
