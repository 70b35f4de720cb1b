//! Objects over HTTP: create, read, list, update, delete, and what their answers look like.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let c = cluster().await;
    let created = c.create(MAPS, config_map("a", json!({"k": "1"}))).await;
    let meta = &created["metadata"];
    assert_eq!((created["kind"].as_str(), meta["namespace"].as_str()), (Some("ConfigMap"), Some("default")));
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.json(), created);

    let mut changed = created.clone();
    changed["data"]["k"] = "2".into();
    let updated = c.send("PUT", &format!("{MAPS}/a"), changed.clone()).await.json();
    assert_eq!(updated["data"]["k"], "2");
    assert_ne!(updated["metadata"]["resourceVersion"], meta["resourceVersion"]);
    let refused = c.send("PUT", &format!("{MAPS}/a"), changed).await;
    assert_eq!(refused.status, 409, "the old resource version is not accepted again");
    assert_eq!(
        refused.json()["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );

    let gone = c.send("DELETE", &format!("{MAPS}/a"), Value::Null).await.json();
    assert_eq!(gone["status"], "Success");
    assert_eq!(gone["details"]["uid"], meta["uid"]);
    let missing = c.get(&format!("{MAPS}/a")).await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let c = cluster().await;
    c.create(MAPS, config_map("a", json!({}))).await;
    let check = async |method: &str, path: &str, body: Value, status: u16, message: &str| {
        let answer = c.send(method, path, body).await;
        assert_eq!(
            (answer.status, answer.json()["message"].as_str()),
            (status, Some(message)),
            "{method} {path}"
        );
    };
    check("POST", MAPS, config_map("a", json!({})), 409, "configmaps \"a\" already exists").await;
    check(
        "GET",
        "/api/v1/namespaces/default/nothings",
        Value::Null,
        404,
        "the server could not find the requested resource",
    )
    .await;
    check(
        "POST",
        "/api/v1/namespaces/none/configmaps",
        config_map("a", json!({})),
        404,
        "namespaces \"none\" not found",
    )
    .await;
    check(
        "PUT",
        &format!("{MAPS}/b"),
        config_map("a", json!({})),
        400,
        "the name of the object (a) does not match the name on the URL (b)",
    )
    .await;
    check(
        "DELETE",
        "/api/v1/namespaces/default",
        Value::Null,
        403,
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    )
    .await;
    let current = c.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let future = format!("Timeout: Too large resource version: 9999, current: {current}");
    check("GET", &format!("{MAPS}?resourceVersion=9999"), Value::Null, 504, &future).await;
    check(
        "GET",
        &format!("{MAPS}?fieldSelector=spec.x%3D1"),
        Value::Null,
        400,
        "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    )
    .await;
    assert_eq!(c.get("/nothing").await.text, "404 page not found\n");
}

#[tokio::test]
async fn generated_names_and_dry_runs() {
    let c = cluster().await;
    let generated = c.create(MAPS, json!({"metadata": {"generateName": "x-"}})).await;
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    let dry = c.create(&format!("{MAPS}?dryRun=All"), config_map("dry", json!({}))).await;
    assert!(dry["metadata"]["uid"].is_string() && dry["metadata"]["resourceVersion"].is_null());
    assert_eq!(c.get(&format!("{MAPS}/dry")).await.status, 404);
}

#[tokio::test]
async fn unknown_and_duplicate_fields_follow_field_validation() {
    let c = cluster().await;
    let body = br#"{"metadata":{"name":"s"},"data":{"a":"1","a":"2"},"foo":1}"#.to_vec();
    let json = [("content-type", "application/json")];
    let strict = c.send_with("POST", &format!("{MAPS}?fieldValidation=Strict"), &json, body.clone()).await;
    assert_eq!(strict.status, 400);
    assert_eq!(
        strict.json()["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\", duplicate field \"data.a\""
    );
    let warned = c.send_with("POST", MAPS, &json, body).await;
    assert_eq!(warned.status, 201);
    let warnings: Vec<&str> = warned.headers.get_all("warning").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(warnings, [r#"299 - "unknown field \"foo\"""#, r#"299 - "duplicate field \"data.a\"""#]);
    assert_eq!(warned.json().get("foo"), None);
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_none() {
    let c = cluster().await;
    let created = c.create(MAPS, config_map("a", json!({"k": "1"}))).await;
    let same = c.send("PATCH", &format!("{MAPS}/a"), json!({"data": {"k": "1"}})).await.json();
    assert_eq!(same, created);
    let same = c.send("PUT", &format!("{MAPS}/a"), created.clone()).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn lists_come_in_key_order_and_in_pages_of_one_snapshot() {
    let c = cluster().await;
    for namespace in ["a", "a-b"] {
        c.create("/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await;
        for name in ["x", "y"] {
            c.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), config_map(name, json!({})))
                .await;
        }
    }
    let keys = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|o| {
                format!(
                    "{}/{}",
                    o["metadata"]["namespace"].as_str().unwrap(),
                    o["metadata"]["name"].as_str().unwrap()
                )
            })
            .collect()
    };
    let selector = "fieldSelector=metadata.namespace!%3Ddefault,metadata.namespace!%3Dkube-system,metadata.namespace!%3Dkube-public,metadata.namespace!%3Dkube-node-lease";
    let first = c.get(&format!("/api/v1/configmaps?{selector}&limit=3")).await.json();
    assert_eq!(keys(&first), ["a-b/x", "a-b/y", "a/x"], "namespace a-b sorts before a");
    let token = first["metadata"]["continue"].as_str().unwrap();
    c.send("DELETE", "/api/v1/namespaces/a/configmaps/y", Value::Null).await;
    let second = c.get(&format!("/api/v1/configmaps?{selector}&limit=3&continue={token}")).await.json();
    assert_eq!(keys(&second), ["a/y"], "the second page is of the same moment as the first");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"].get("continue"), None);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let c = cluster().await;
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/x"]);
    c.create(MAPS, object).await;
    let held =
        c.send("DELETE", &format!("{MAPS}/a"), json!({"propagationPolicy": "Background"})).await.json();
    assert_eq!(held["kind"], "ConfigMap");
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let again = c.send("DELETE", &format!("{MAPS}/a"), Value::Null).await.json();
    assert_eq!(again, held, "a second delete changes nothing");
    let more = c
        .send(
            "PATCH",
            &format!("{MAPS}/a"),
            json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}),
        )
        .await;
    assert_eq!(more.status, 422, "{}", more.text);
    let last = c.send("PATCH", &format!("{MAPS}/a"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(last.status, 200);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.status, 404);
}

#[tokio::test]
async fn deletes_answer_the_object_for_some_kinds() {
    let c = cluster().await;
    let check = async |path: &str, body: Value, expected: &str| {
        let created = c.create(path, body).await;
        let name = created["metadata"]["name"].as_str().unwrap();
        assert_eq!(
            c.send("DELETE", &format!("{path}/{name}"), Value::Null).await.json()["kind"],
            expected,
            "{path}"
        );
    };
    check("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "x"}}), "ServiceAccount")
        .await;
    check(
        "/api/v1/namespaces/default/services",
        json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
        "Service",
    )
    .await;
    check("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "x"}}), "Status").await;
}

#[tokio::test]
async fn a_full_or_broken_request_is_refused_whole() {
    let c = cluster().await;
    let json = [("content-type", "application/json")];
    let large = c.send_with("POST", MAPS, &json, vec![b' '; 3 * 1024 * 1024 + 1]).await;
    assert_eq!(
        (large.status, large.json()["message"].as_str()),
        (413, Some("Request entity too large: limit is 3145728"))
    );
    let odd = c.send_with("POST", MAPS, &[("content-type", "text/plain")], b"{}".to_vec()).await;
    assert_eq!(odd.status, 415);
    let accept = c.send_with("GET", MAPS, &[("accept", "text/html")], vec![]).await;
    assert_eq!(accept.status, 406);
}

#[tokio::test]
async fn a_namespace_goes_when_its_last_finalizer_does() {
    let c = cluster().await;
    let path = "/api/v1/namespaces/a";
    let made = c.create("/api/v1/namespaces", json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        (&made["spec"]["finalizers"], &made["status"]["phase"]),
        (&json!(["kubernetes"]), &json!("Active"))
    );
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
    let going = c.send("DELETE", path, Value::Null).await.json();
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = c.send("POST", &format!("{path}/configmaps"), config_map("x", json!({}))).await;
    assert_eq!(
        (refused.status, &refused.json()["details"]["causes"][0]["reason"]),
        (403, &json!("NamespaceTerminating"))
    );
    let mut kept = going.clone();
    kept["spec"]["finalizers"] = json!([]);
    let put = c.send("PUT", path, kept.clone()).await.json();
    assert_eq!(put["spec"]["finalizers"], json!(["kubernetes"]), "only /finalize changes them");
    kept["metadata"]["resourceVersion"] = put["metadata"]["resourceVersion"].clone();
    assert_eq!(c.send("PUT", &format!("{path}/finalize"), kept).await.status, 200);
    assert_eq!(c.get(path).await.status, 404);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let c = cluster().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"app": app});
        c.create(MAPS, object).await;
    }
    let gone = c.send("DELETE", &format!("{MAPS}?labelSelector=app%3Dx"), Value::Null).await.json();
    assert_eq!((&gone["kind"], gone["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 2));
    let left = c.get(&format!("{MAPS}?labelSelector=app")).await.json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(c.send("DELETE", "/api/v1/namespaces", Value::Null).await.status, 405);
}

#[tokio::test]
async fn a_put_creates_some_kinds_and_preconditions_guard_deletes() {
    let c = cluster().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    assert_eq!(c.send("PUT", &format!("{leases}/l"), lease).await.status, 201);
    assert_eq!(c.send("PUT", &format!("{MAPS}/none"), config_map("none", json!({}))).await.status, 404);
    let made = c.create(MAPS, config_map("a", json!({}))).await;
    let delete = |preconditions: Value| {
        c.send("DELETE", "/api/v1/namespaces/default/configmaps/a", json!({"preconditions": preconditions}))
    };
    let wrong = delete(json!({"uid": "x"})).await;
    assert_eq!(wrong.status, 409);
    assert!(
        wrong.text.contains("the UID in the precondition (x) does not match the UID in record"),
        "{}",
        wrong.text
    );
    assert_eq!(delete(json!({"resourceVersion": "1"})).await.status, 409);
    assert_eq!(delete(json!({"uid": made["metadata"]["uid"]})).await.status, 200);
}

#[tokio::test]
async fn list_options_that_contradict_each_other_are_refused() {
    let c = cluster().await;
    let check = async |query: &str, status: u16, text: &str| {
        let answer = c.get(&format!("{MAPS}?{query}")).await;
        assert!(
            answer.status == status && answer.text.contains(text),
            "{query}: {} {}",
            answer.status,
            answer.text
        );
    };
    check(
        "resourceVersionMatch=Exact",
        422,
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
    )
    .await;
    check("resourceVersionMatch=Exact&resourceVersion=0", 422, "is forbidden for resourceVersion").await;
    check("resourceVersion=x", 422, "resourceVersion: Invalid value").await;
    check("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list").await;
    check("watch=true&resourceVersionMatch=NotOlderThan", 422, "unless sendInitialEvents is provided").await;
    check("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement").await;
    check("limit=x", 400, "invalid syntax").await;
    check("continue=x", 400, "continue key is not valid").await;
    check("resourceVersion=0&limit=1", 200, "ConfigMapList").await;
}

#[tokio::test]
async fn a_page_token_that_is_too_old_continues_inconsistently() {
    let c = cluster().await;
    for name in ["a", "b", "c"] {
        c.create(MAPS, config_map(name, json!({}))).await;
    }
    let first = c.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 2, "with the root certificate there are four");
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    for n in 0..20 {
        for name in ["a", "b"] {
            c.send(
                "PATCH",
                &format!("{MAPS}/{name}"),
                json!({"data": {"k": format!("{n}{}", "x".repeat(200_000))}}),
            )
            .await;
        }
    }
    let expired = c.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((expired.status, &expired.json()["reason"]), (410, &json!("Expired")));
    let token = expired.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = c.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    let names: Vec<&str> =
        rest["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "kube-root-ca.crt"]);
}

#[tokio::test]
async fn yaml_comes_in_and_goes_out() {
    let c = cluster().await;
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let body = "metadata:\n  name: a\ndata:\n  k: 'on'\n";
    let made = c.send_with("POST", MAPS, &headers, body.as_bytes().to_vec()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.headers["content-type"], "application/yaml");
    assert!(made.text.contains("\ndata:\n  k: \"on\"\n"), "{}", made.text);
    let watch = c.send_with("GET", &format!("{MAPS}?watch=true"), &headers, vec![]).await;
    assert_eq!(watch.status, 406, "YAML cannot be watched");
}
