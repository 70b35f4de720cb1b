//! JSON patch, merge patch and strategic merge patch.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::facts::Facts;
use object::patch::{PatchError, json, merge, strategic};
use serde_json::{Value, json};

fn strategic_check(name: &str, kind: (&str, &str), target: Value, patch: Value, expected: Value) {
    let result = strategic::apply(Facts::builtin(kind.0, kind.1), &target, &patch).unwrap();
    assert_eq!(result.to_string(), expected.to_string(), "{name}");
}

const DEPLOYMENT: (&str, &str) = ("apps", "Deployment");
const POD: (&str, &str) = ("", "Pod");

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

#[test]
fn merge_patch() {
    let target = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": "x"});
    let patch = json!({"a": {"b": null, "f": {"g": null, "h": 3}}, "d": [2], "e": null});
    assert_eq!(merge::apply(&target, &patch), json!({"a": {"c": 2, "f": {"h": 3}}, "d": [2]}));
}

#[test]
fn json_patch() {
    let target = json!({"a": [1, 2]});
    let patch =
        json!([{"op": "test", "path": "/a/0", "value": 1}, {"op": "add", "path": "/a/-", "value": 3}]);
    assert_eq!(json::apply(&target, &patch).unwrap(), json!({"a": [1, 2, 3]}));
    let error = json::apply(&target, &json!([{"op": "test", "path": "/a/0", "value": 9}])).unwrap_err();
    assert!(matches!(error, PatchError::Rejected(_)));
    assert_eq!(error.to_string(), "the server rejected our request due to an error in our request");
    let error = json::apply(&target, &json!([{"op": "fly"}])).unwrap_err();
    assert!(matches!(error, PatchError::Malformed(_)));
}

#[test]
fn lists_with_merge_keys() {
    strategic_check(
        "kubectl set image",
        DEPLOYMENT,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "c", "image": "2"}]}}}}),
        json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
            "containers": [{"image": "x", "name": "c"}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "c", "image": "x"}]}}}}),
    );
    strategic_check(
        "a new item without an order comes first",
        POD,
        pod(json!({"containers": [{"name": "a"}]})),
        pod(json!({"containers": [{"name": "b"}]})),
        pod(json!({"containers": [{"name": "b"}, {"name": "a"}]})),
    );
    strategic_check(
        "ports merge by containerPort alone",
        POD,
        pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]})),
        pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]})),
        pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]})),
    );
    strategic_check(
        "delete one item, merge another",
        POD,
        pod(json!({"containers": [{"name": "a"}, {"name": "b", "image": "1"}]})),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b", "command": ["x"]}]})),
        pod(json!({"containers": [{"name": "b", "image": "1", "command": ["x"]}]})),
    );
    strategic_check(
        "replace the list",
        POD,
        pod(json!({"containers": [{"name": "a"}, {"name": "b"}]})),
        pod(json!({"containers": [{"$patch": "replace"}, {"name": "c"}]})),
        pod(json!({"containers": [{"name": "c"}]})),
    );
    strategic_check(
        "a list without a key is replaced",
        POD,
        pod(json!({"tolerations": [{"key": "a"}]})),
        pod(json!({"tolerations": [{"key": "b"}]})),
        pod(json!({"tolerations": [{"key": "b"}]})),
    );
}

#[test]
fn maps_and_scalar_lists() {
    strategic_check(
        "null deletes, replace replaces, delete empties",
        POD,
        json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}, "spec": {"nodeSelector": {"k": "v"}}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": {"$patch": "replace", "z": "1"}},
            "spec": {"nodeSelector": {"$patch": "delete"}}}),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}, "annotations": {"z": "1"}}, "spec": {}}),
    );
    strategic_check(
        "retainKeys",
        DEPLOYMENT,
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
    strategic_check(
        "finalizers add up and can be taken out",
        POD,
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "c"],
            "finalizers": ["c"]}}),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
    );
    strategic_check(
        "an orphaned dependent loses its owner",
        POD,
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}}),
        json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "2", "name": "b"}]}}),
    );
}

#[test]
fn malformed_patches() {
    for (patch, expected) in [
        (
            pod(json!({"containers": [{"image": "x"}]})),
            r#"map: {"image":"x"} does not contain declared merge key: name"#,
        ),
        (pod(json!({"$setElementOrder/containers": "x"})), "invalid patch format of setElementOrder list"),
        (pod(json!({"$patch": "fly"})), "unknown patch type found: fly"),
    ] {
        let error = strategic::apply(Facts::builtin("", "Pod"), &pod(json!({})), &patch).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
