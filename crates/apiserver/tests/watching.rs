//! Watches: what they start with, how selectors turn changes into events, bookmarks, ends and errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_continues_exactly_where_the_list_ended() {
    let c = cluster().await;
    c.create(MAPS, config_map("a", json!({}))).await;
    let list = c.get(MAPS).await.json();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    c.create(MAPS, config_map("b", json!({}))).await;
    let mut watch = c.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await;
    assert_eq!(watch.brief().await, pair("ADDED", "b"));
    c.send("PATCH", &format!("{MAPS}/b"), json!({"data": {"x": "1"}})).await;
    assert_eq!(watch.brief().await, pair("MODIFIED", "b"));
    c.send("PATCH", &format!("{MAPS}/b"), json!({"data": {"x": "1"}})).await;
    c.create("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}})).await;
    let before: u64 =
        c.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    c.send("DELETE", &format!("{MAPS}/b"), Value::Null).await;
    let deleted = watch.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(deleted["object"]["data"]["x"], "1");
    assert_eq!(
        deleted["object"]["metadata"]["resourceVersion"],
        (before + 1).to_string(),
        "the deletion's own revision"
    );
}

#[tokio::test]
async fn only_a_watch_from_nowhere_or_zero_starts_with_what_exists() {
    let c = cluster().await;
    c.create(MAPS, config_map("a", json!({}))).await;
    for start in ["watch=true", "watch=true&resourceVersion=0"] {
        let mut watch = c.watch(&format!("{MAPS}?{start}&fieldSelector=metadata.name%3Da")).await;
        assert_eq!(watch.brief().await, pair("ADDED", "a"), "{start}");
    }
    let mut streaming = c
        .watch(&format!("{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da"))
        .await;
    assert_eq!(streaming.brief().await, pair("ADDED", "a"));
    let bookmark = streaming.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn entering_and_leaving_a_selection_are_added_and_deleted() {
    let c = cluster().await;
    let mut watch = c.watch(&format!("{MAPS}?watch=true&labelSelector=app%3Dx")).await;
    let mut object = config_map("a", json!({"v": "1"}));
    object["metadata"]["labels"] = json!({"app": "y"});
    c.create(MAPS, object).await;
    let path = format!("{MAPS}/a");
    c.send("PATCH", &path, json!({"metadata": {"labels": {"app": "x"}}})).await;
    assert_eq!(watch.brief().await, pair("ADDED", "a"));
    let left = c
        .send("PATCH", &path, json!({"metadata": {"labels": {"app": "z"}}, "data": {"v": "2"}}))
        .await
        .json();
    let event = watch.next().await.unwrap();
    assert_eq!(
        (event["type"].as_str(), event["object"]["data"]["v"].as_str()),
        (Some("DELETED"), Some("1")),
        "the previous content"
    );
    assert_eq!(
        event["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"],
        "with the new revision"
    );
}

#[tokio::test]
async fn a_compacted_revision_is_an_error_event_only_after_the_start() {
    let c = cluster().await;
    c.create(MAPS, config_map("a", json!({}))).await;
    let start = c.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    // More bytes than the window keeps.
    for n in 0..40 {
        c.send("PATCH", &format!("{MAPS}/a"), json!({"data": {"k": format!("{n}{}", "x".repeat(200_000))}}))
            .await;
    }
    let refused = c.get(&format!("{MAPS}?watch=true&resourceVersion={start}")).await;
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (410, Some("Expired")));
    let old = c.get(&format!("{MAPS}?resourceVersion={start}&resourceVersionMatch=Exact")).await;
    assert_eq!(old.json()["message"], "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn a_watch_ends_after_its_time_with_a_bookmark_before() {
    let c = cluster().await;
    let mut watch = c.watch(&format!("{MAPS}?watch=true&resourceVersion=1&timeoutSeconds=3&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone")).await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert!(bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 1);
    assert_eq!(watch.next().await, None, "the server ends the stream");
}

#[tokio::test]
async fn tables_name_their_columns_once() {
    let c = cluster().await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    c.create(MAPS, config_map("a", json!({"k": "v"}))).await;
    let list =
        c.send_with("GET", &format!("{MAPS}?fieldSelector=metadata.name%3Da"), &accept, vec![]).await.json();
    assert_eq!(list["kind"], "Table");
    assert_eq!(list["rows"][0]["cells"][0], "a");
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(list["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()));
    c.create(MAPS, config_map("b", json!({}))).await;
    let watch = format!("{MAPS}?watch=true&resourceVersion=1&timeoutSeconds=1");
    let text = c.send_with("GET", &watch, &accept, vec![]).await.text;
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(events.len() >= 2);
    assert!(events[0]["object"]["columnDefinitions"].is_array());
    assert!(
        events[1..]
            .iter()
            .all(|e| e["object"]["columnDefinitions"].is_null() && e["object"]["kind"] == "Table")
    );
}
