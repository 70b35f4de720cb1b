//! Whether a composed resource is ready: the checks of function-patch-and-transform, and the health of its kind. Pure.

use object::health::{HealthStatus, health};
use object::meta;
use serde_json::Value;

use super::DefaultReadiness;
use crate::fieldpath;

/// All checks must hold. A path that is not there is not ready, and no error.
pub(super) fn is_ready(observed: &Value, checks: &Value, default: DefaultReadiness) -> Result<bool, String> {
    let checks = checks.as_array().map_or(&[][..], Vec::as_slice);
    if checks.is_empty() {
        return Ok(match default {
            DefaultReadiness::ReadyCondition => meta::condition_is_true(observed, "Ready"),
            DefaultReadiness::Health => by_health(observed),
        });
    }
    for (index, check) in checks.iter().enumerate() {
        match holds(observed, check) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(problem) => return Err(format!("cannot run readiness check at index {index}: {problem}")),
        }
    }
    Ok(true)
}

/// A condition Ready decides; a kind whose health is known decides by that; other objects are ready once they exist.
pub(super) fn by_health(observed: &Value) -> bool {
    if let Some(ready) = meta::condition(observed, "Ready") {
        return ready["status"] == "True";
    }
    health(observed).is_none_or(|health| health.status == HealthStatus::Healthy)
}

fn holds(observed: &Value, check: &Value) -> Result<bool, String> {
    let path = || check["fieldPath"].as_str().unwrap_or_default();
    let value = || match fieldpath::get(observed, path()) {
        Ok(value) => Ok(Some(value.clone())),
        Err(fieldpath::PathError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    Ok(match check["type"].as_str().unwrap_or_default() {
        "None" => true,
        "NonEmpty" => value()?.is_some_and(|v| !is_empty(&v)),
        "MatchString" => value()?.is_some_and(|v| v.is_string() && v == check["matchString"]),
        "MatchInteger" => {
            value()?.is_some_and(|v| v.as_i64().is_some() && v.as_i64() == check["matchInteger"].as_i64())
        }
        "MatchTrue" => value()?.is_some_and(|v| v == true),
        "MatchFalse" => value()?.is_some_and(|v| v == false),
        "MatchCondition" => {
            let wanted = &check["matchCondition"];
            let kind = wanted["type"].as_str().unwrap_or_default();
            meta::condition(observed, kind).is_some_and(|c| c["status"] == wanted["status"])
        }
        other => return Err(format!("readiness check type {other:?} is not supported")),
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks() {
        let observed = json!({"status": {
            "phase": "Bound", "count": 2, "flag": true, "empty": "",
            "conditions": [{"type": "Available", "status": "True"}]}});
        let check = |checks: Value, expected: Result<bool, &str>| {
            let actual = is_ready(&observed, &checks, DefaultReadiness::ReadyCondition);
            assert_eq!(actual, expected.map_err(str::to_owned), "{checks}");
        };
        check(json!([]), Ok(false));
        check(json!([{"type": "None"}]), Ok(true));
        check(
            json!([{"type": "MatchString", "fieldPath": "status.phase", "matchString": "Bound"}]),
            Ok(true),
        );
        check(
            json!([{"type": "MatchString", "fieldPath": "status.nothing", "matchString": "Bound"}]),
            Ok(false),
        );
        check(json!([{"type": "MatchInteger", "fieldPath": "status.count", "matchInteger": 2}]), Ok(true));
        check(json!([{"type": "MatchTrue", "fieldPath": "status.flag"}]), Ok(true));
        check(json!([{"type": "MatchFalse", "fieldPath": "status.flag"}]), Ok(false));
        check(json!([{"type": "NonEmpty", "fieldPath": "status.phase"}]), Ok(true));
        check(json!([{"type": "NonEmpty", "fieldPath": "status.empty"}]), Ok(false));
        let available =
            json!({"type": "MatchCondition", "matchCondition": {"type": "Available", "status": "True"}});
        check(json!([available, {"type": "NonEmpty", "fieldPath": "status.phase"}]), Ok(true));
        check(
            json!([{"type": "Magic"}]),
            Err("cannot run readiness check at index 0: readiness check type \"Magic\" is not supported"),
        );
    }

    #[test]
    fn health_of_kinds() {
        let check =
            |observed: Value, expected: bool| assert_eq!(by_health(&observed), expected, "{observed}");
        check(
            json!({"apiVersion": "x/v1", "kind": "X", "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            true,
        );
        check(
            json!({"apiVersion": "x/v1", "kind": "X", "status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
            false,
        );
        check(json!({"apiVersion": "v1", "kind": "ConfigMap"}), true);
        let deployment = |observed: i64| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1},
                "status": {"observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}})
        };
        check(deployment(2), true);
        check(deployment(1), false);
    }
}
