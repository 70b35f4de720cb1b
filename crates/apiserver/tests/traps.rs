//! Traps that break an otherwise good server, and the in-process client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use support::{admin, cluster, config_map};

#[tokio::test]
async fn the_client_in_process_is_a_whole_client_and_carries_its_identity() {
    use futures::{StreamExt as _, TryStreamExt as _};
    let c = cluster().await;
    let client = c.server.client(&admin());
    assert_eq!(client.apiserver_version().await.unwrap().minor, "33");
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let made = api
        .create(&PostParams::default(), &serde_json::from_value(config_map("a", json!({"k": "v"}))).unwrap())
        .await
        .unwrap();
    let version = made.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "w"}});
    let applied = api.patch("a", &PatchParams::apply("me").force(), &Patch::Apply(patch)).await.unwrap();
    assert_eq!(applied.data.unwrap()["k"], "w");
    assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Modified(_))));
    assert_eq!(api.list(&ListParams::default().labels("x=y")).await.unwrap().items.len(), 0);

    let nobody = apiserver::User { name: "nobody".into(), uid: String::new(), groups: vec![] };
    let api: Api<ConfigMap> = Api::namespaced(c.server.client(&nobody), "default");
    let error = api.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(error.contains("User \"nobody\" cannot list resource \"configmaps\""), "{error}");
}

#[tokio::test]
async fn discovery_has_three_forms() {
    let c = cluster().await;
    let accept =
        |form: &str| format!("application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList");
    for form in ["v2", "v2beta1"] {
        let answer = c.send_with("GET", "/apis", &[("accept", &accept(form))], vec![]).await;
        assert_eq!(answer.headers["content-type"].to_str().unwrap(), accept(form));
        assert_eq!(answer.json()["apiVersion"], format!("apidiscovery.k8s.io/{form}"));
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!((tag.len(), tag.as_str()), (130, tag.to_uppercase().as_str()));
        let again =
            c.send_with("GET", "/apis", &[("accept", &accept(form)), ("if-none-match", &tag)], vec![]).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
    assert_eq!(c.get("/apis").await.json()["kind"], "APIGroupList");
    assert_eq!(c.get("/api").await.json()["versions"], json!(["v1"]));
    let list = c.get("/api/v1").await.json();
    let eviction =
        list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction").unwrap();
    assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
}

#[tokio::test]
async fn openapi_v3_says_what_kubectl_verifies() {
    let c = cluster().await;
    let index = c.get("/openapi/v3").await.json();
    let url = index["paths"]["api/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .strip_prefix(support::PREFIX)
        .unwrap();
    let document = c.get(url).await;
    assert!(document.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let document = document.json();
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let container = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"];
    assert_eq!(container["ports"]["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(container["ports"]["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    let wrong = c.get("/openapi/v3/api/v1?hash=OLD").await;
    assert_eq!(
        (wrong.status, wrong.headers["location"].to_str().unwrap()),
        (301, index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap())
    );
    assert_eq!(c.get("/openapi/v3/apis/none/v1").await.status, 404);
}

#[tokio::test]
async fn protobuf_bodies_are_read_for_built_in_kinds_only() {
    let c = cluster().await;
    // TypeMeta{v1, ConfigMap}; ConfigMap{metadata{name: pb, generateName: ""}, data{k: v}}
    let meta = [b"\x0a\x02v1\x12\x09ConfigMap".as_slice()].concat();
    let object = b"\x0a\x06\x0a\x02pb\x12\x00\x12\x06\x0a\x01k\x12\x01v".to_vec();
    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8], bytes].concat();
    let body = [b"k8s\0".to_vec(), field(0x0a, &meta), field(0x12, &object)].concat();
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let made = c.send_with("POST", "/api/v1/namespaces/default/configmaps", &protobuf, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json()["data"], json!({"k": "v"}));
    assert_eq!(made.json()["metadata"].get("generateName"), None, "empty fields are left out");
    let cut = c
        .send_with(
            "POST",
            "/api/v1/namespaces/default/configmaps",
            &protobuf,
            body[..body.len() - 1].to_vec(),
        )
        .await;
    assert_eq!(cut.status, 400);
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let c = cluster().await;
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "note": "hello",
        "reason": "Started", "type": "Normal", "action": "x", "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c/x", "reportingInstance": "i",
    });
    let made = c.create("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!(made["apiVersion"], "events.k8s.io/v1");
    let core = c.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp").await.json();
    assert_eq!(
        (&core["items"][0]["message"], &core["items"][0]["apiVersion"]),
        (&json!("hello"), &json!("v1"))
    );
    let new = c
        .get("/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp")
        .await
        .json();
    assert_eq!(
        (&new["items"][0]["note"], &new["items"][0]["apiVersion"]),
        (&json!("hello"), &json!("events.k8s.io/v1"))
    );
}

#[tokio::test]
async fn a_service_accounts_token_opens_its_doors_until_it_is_gone() {
    let c = cluster().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    c.create(accounts, json!({"metadata": {"name": "robot"}})).await;
    let token =
        c.create(&format!("{accounts}/robot/token"), json!({"spec": {"expirationSeconds": 600}})).await;
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    let ask = async || {
        c.send_with("GET", "/api/v1/namespaces/default/pods", &[("authorization", &bearer)], vec![]).await
    };
    assert!(ask().await.json()["message"].as_str().unwrap().contains("system:serviceaccount:default:robot"));
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    c.create(bindings, json!({"metadata": {"name": "r"}, "roleRef": role, "subjects": [subject]})).await;
    assert_eq!(ask().await.status, 200);
    let review = json!({"spec": {"token": token["status"]["token"]}});
    let review = c.create("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(review["spec"].get("token"), None);
    c.send("DELETE", &format!("{accounts}/robot"), Value::Null).await;
    assert_eq!(ask().await.status, 401);
    assert_eq!(
        c.send_with("GET", "/version", &[("authorization", "Bearer wrong")], vec![]).await.status,
        401,
        "never anonymous"
    );
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let c = cluster().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role =
        |name: &str, kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let bob = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"});
    c.create(
        &format!("{rbac}/rolebindings"),
        json!({"metadata": {"name": "b"}, "roleRef": role("admin", "ClusterRole"), "subjects": [bob]}),
    )
    .await;
    let as_bob = [("authorization", "Bearer bob-token"), ("content-type", "application/json")];
    let rule = |resource: &str| json!({"metadata": {"name": resource}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    let refused =
        c.send_with("POST", &format!("{rbac}/roles"), &as_bob, rule("nodes").to_string().into_bytes()).await;
    assert_eq!(refused.status, 403);
    let text = "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}";
    assert_eq!(refused.json()["message"], text);
    let held =
        c.send_with("POST", &format!("{rbac}/roles"), &as_bob, rule("pods").to_string().into_bytes()).await;
    assert_eq!(held.status, 201, "{}", held.text);
    let bind =
        json!({"metadata": {"name": "x"}, "roleRef": role("cluster-admin", "ClusterRole"), "subjects": []});
    let refused =
        c.send_with("POST", &format!("{rbac}/rolebindings"), &as_bob, bind.to_string().into_bytes()).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let c = cluster().await;
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }});
    let made = c.create(crds, definition).await;
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "ThingList");
    let things = "/apis/example.com/v1/namespaces/default/things";
    let mut watch = c.watch(&format!("{things}?watch=true")).await;
    c.create(things, json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}})).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "a".into()));
    let going = c.send("DELETE", &format!("{crds}/things.example.com"), Value::Null).await.json();
    assert!(
        going["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["type"] == "Terminating" && c["status"] == "True")
    );
    assert_eq!(watch.brief().await, ("MODIFIED".into(), "a".into()), "the finalizer holds it");
    let refused = c.send("POST", things, json!({"metadata": {"name": "b"}})).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let mut definitions = c
        .watch(&format!(
            "{crds}?watch=true&resourceVersion={}",
            going["metadata"]["resourceVersion"].as_str().unwrap()
        ))
        .await;
    c.send("PATCH", &format!("{things}/a"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(watch.brief().await, ("DELETED".into(), "a".into()));
    assert_eq!(definitions.brief().await, ("DELETED".into(), "things.example.com".into()));
    assert_eq!(c.get(things).await.status, 404);
}
