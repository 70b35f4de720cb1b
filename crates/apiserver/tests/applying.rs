//! Patches and server-side apply through the API: owners, conflicts, what an endpoint may change, versions of custom resources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Cluster, cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn wanted(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn an_apply_creates_keeps_conflicts_and_takes_over() {
    let c = cluster().await;
    let path = format!("{MAPS}/a");
    let first = c.apply(&path, "one", false, wanted(json!({"k": "1", "own": "x"}))).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = c.apply(&path, "one", false, wanted(json!({"k": "1", "own": "x"}))).await;
    assert_eq!((again.status, again.json()), (200, first.json()), "nothing changed, not even times");
    let shared = c.apply(&path, "two", false, wanted(json!({"k": "1"}))).await;
    assert_eq!(shared.status, 200, "equal values are shared");
    let refused = c.apply(&path, "three", false, wanted(json!({"k": "2"}))).await;
    assert_eq!(refused.status, 409);
    let message = "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.k\nconflicts with \"two\":\n- .data.k";
    assert_eq!(refused.json()["message"], message);
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = c.apply(&path, "three", true, wanted(json!({"k": "2"}))).await.json();
    assert_eq!(forced["data"], json!({"k": "2", "own": "x"}));
    let dropped = c.apply(&path, "one", false, wanted(json!({}))).await.json();
    assert_eq!(dropped["data"], json!({"k": "2"}), "what only this manager owned goes");
}

#[tokio::test]
async fn an_apply_that_cannot_be_is_refused() {
    let c = cluster().await;
    let check = async |path: &str, body: Value, status: u16, message: &str| {
        let content = [("content-type", "application/apply-patch+yaml")];
        let answer = c.send_with("PATCH", path, &content, body.to_string().into_bytes()).await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (status, Some(message)), "{path}");
    };
    let path = format!("{MAPS}/a?fieldManager=x");
    check(
        &format!("{MAPS}/a"),
        wanted(json!({})),
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    )
    .await;
    check(
        &path,
        json!({"apiVersion": "v2", "kind": "ConfigMap"}),
        400,
        "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1",
    )
    .await;
    let mut managed = wanted(json!({}));
    managed["metadata"]["managedFields"] = json!([{}]);
    check(&path, managed, 400, "metadata.managedFields must be nil").await;
    let mut unknown = wanted(json!({}));
    unknown["foo"] = 1.into();
    check(&path, unknown, 500, "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .foo: field not declared in schema").await;
}

#[tokio::test]
async fn every_kind_of_patch() {
    let c = cluster().await;
    c.create(MAPS, config_map("a", json!({"k": "1"}))).await;
    let path = format!("{MAPS}/a");
    let patch = async |content: &str, path: &str, body: Value| {
        c.send_with("PATCH", path, &[("content-type", content)], body.to_string().into_bytes()).await
    };
    let (json_patch, strategic) = ("application/json-patch+json", "application/strategic-merge-patch+json");
    let added =
        patch(json_patch, &path, json!([{"op": "add", "path": "/data/x", "value": "y"}])).await.json();
    assert_eq!(added["data"], json!({"k": "1", "x": "y"}));
    let failed = patch(json_patch, &path, json!([{"op": "test", "path": "/data/x", "value": "z"}])).await;
    assert_eq!((failed.status, failed.json()["reason"].as_str()), (422, Some("Invalid")));
    let removed = patch("application/merge-patch+json; charset=utf-8", &path, json!({"data": {"x": null}}))
        .await
        .json();
    assert_eq!(removed["data"], json!({"k": "1"}));
    let stale =
        patch("application/merge-patch+json", &path, json!({"metadata": {"resourceVersion": "1"}})).await;
    assert_eq!(stale.status, 409, "a resource version in a patch is a precondition");
    assert_eq!(patch("application/x", &path, json!({})).await.status, 415);
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let container = |name: &str| json!({"name": name, "image": "x"});
    c.create(
        deployments,
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container("one"), container("two")]}}}}),
    )
    .await;
    let two = json!({"spec": {"template": {"spec": {"containers": [{"name": "two", "image": "y"}]}}}});
    let merged = patch(strategic, &format!("{deployments}/d"), two).await.json();
    let containers = merged["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.iter().map(|c| c["image"].as_str().unwrap()).collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(merged["metadata"]["generation"], 2);
    let selector = patch(
        strategic,
        &format!("{deployments}/d"),
        json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
    )
    .await;
    assert!(selector.status == 422 && selector.text.contains("field is immutable"), "{}", selector.text);
}

async fn define(c: &Cluster) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 3},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "string"}}}},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}}});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [version("v1beta1", false), version("v1", true)],
    }});
    c.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
}

#[tokio::test]
async fn custom_resources_default_validate_and_merge_by_their_schema() {
    let c = cluster().await;
    define(&c).await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let path = format!("{things}/a");
    let thing = |parts: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"parts": parts}});
    c.apply(&path, "one", false, thing(json!([{"name": "x", "v": "1"}]))).await;
    let both = c.apply(&path, "two", false, thing(json!([{"name": "y", "v": "2"}]))).await.json();
    assert_eq!(
        both["spec"]["parts"],
        json!([{"name": "x", "v": "1"}, {"name": "y", "v": "2"}]),
        "a keyed list merges by its key"
    );
    assert_eq!(both["spec"]["size"], 3, "the default of the schema");
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(c.send_with("PATCH", &path, &strategic, b"{}".to_vec()).await.status, 415);
    let small = c.send("PATCH", &path, json!({"spec": {"size": 0}})).await;
    assert!(
        small.status == 422 && small.text.contains("spec.size in body should be greater than or equal to 1"),
        "{}",
        small.text
    );
    let mut put = both.clone();
    put["metadata"].as_object_mut().unwrap().shift_remove("resourceVersion");
    let refused = c.send("PUT", &path, put).await;
    assert!(
        refused.text.contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        "{}",
        refused.text
    );
    let mut status = thing(json!([]));
    status["status"] = json!({"ready": true});
    status["spec"]["size"] = 9.into();
    let applied = c.apply(&format!("{path}/status"), "three", true, status).await.json();
    assert_eq!((&applied["status"], &applied["spec"]["size"]), (&json!({"ready": true}), &json!(3)));
    assert_eq!(applied["metadata"]["generation"], both["metadata"]["generation"]);
}

#[tokio::test]
async fn versions_of_a_custom_resource_are_the_same_object() {
    let c = cluster().await;
    define(&c).await;
    let beta = "/apis/example.com/v1beta1/namespaces/default/things";
    let made = c.create(beta, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made["apiVersion"], "example.com/v1beta1");
    let v1 = c.get("/apis/example.com/v1/namespaces/default/things/a").await.json();
    assert_eq!(
        (v1["apiVersion"].as_str(), &v1["metadata"]["uid"]),
        (Some("example.com/v1"), &made["metadata"]["uid"])
    );
    let list = c.get(beta).await.json();
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    let group = c.get("/apis/example.com").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1", "stable before beta");
}

#[tokio::test]
async fn writers_at_once_lose_nothing() {
    let c = std::sync::Arc::new(cluster().await);
    c.create(MAPS, config_map("a", json!({}))).await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let c = std::sync::Arc::clone(&c);
            tokio::spawn(async move {
                c.send("PATCH", &format!("{MAPS}/a"), json!({"data": {(format!("k{n}")): "v"}})).await.status
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(c.get(&format!("{MAPS}/a")).await.json()["data"].as_object().unwrap().len(), 40);
}
