//! Priority and DefaultTolerationSeconds.

use object::{kinds, meta};
use serde_json::{Value, json};

use crate::catalog::{Kind, collection};
use crate::convert;
use crate::error::ApiError;
use crate::http::Context;

/// How long a pod stays on a node that is gone, as Kubernetes.
const TOLERATION_S: u64 = 300;

/// Resolves the priority class.
pub(super) fn prioritise(cx: &Context, kind: &Kind, pod: &mut Value) -> Result<(), ApiError> {
    let classes = collection(&kinds::PRIORITY_CLASS);
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        let all = cx.api.store.list(&classes, "");
        all.items.iter().map(|(_, e)| convert::parse(&e.value)).find(|c| c["globalDefault"] == true)
    } else {
        let Some(entry) = cx.api.store.get(&classes, &name) else {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(ApiError::forbidden(&kind.resource, meta::name(pod), why));
        };
        Some(convert::parse(&entry.value))
    };
    let spec = &mut pod["spec"];
    let (value, policy) = match &class {
        Some(class) => {
            spec["priorityClassName"] = class["metadata"]["name"].clone();
            (
                class["value"].clone(),
                class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority").to_owned(),
            )
        }
        None => (0.into(), "PreemptLowerPriority".to_owned()),
    };
    if spec["priority"].as_i64().is_some_and(|given| Some(given) != value.as_i64()) {
        let why = "the integer value of priority (".to_owned()
            + &spec["priority"].to_string()
            + ") must not be provided in pod spec; priority admission controller computed "
            + &value.to_string()
            + " from the given PriorityClass name";
        return Err(ApiError::forbidden(&kind.resource, meta::name(pod), why));
    }
    pod["spec"]["priority"] = value;
    pod["spec"]["preemptionPolicy"] = policy.into();
    Ok(())
}

/// Adds the tolerations for nodes that are not ready or not reachable, unless the pod has its own.
pub(super) fn tolerate(pod: &mut Value) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            let effect = t["effect"].as_str().unwrap_or_default();
            (t["key"] == key || t["key"].as_str().unwrap_or_default().is_empty())
                && matches!(effect, "" | "NoExecute")
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_S,
            }));
        }
    }
    pod["spec"]["tolerations"] = tolerations.into();
}
