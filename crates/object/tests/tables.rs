//! What `kubectl get` shows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::Resource;
use object::table::{Include, table};
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T01:00:00Z";
const CREATED: &str = "2026-01-01T00:00:00Z";

fn show(resource: (&str, &str), columns: Option<Value>, object: Value) -> (Vec<String>, Value) {
    let resource = Resource::new(resource.0, "v1", "x", resource.1, true);
    let mut object = object;
    object["metadata"]["creationTimestamp"] = CREATED.into();
    let table = table(&resource, columns.as_ref(), [&object], NOW.parse().unwrap(), Include::Metadata);
    let names = table["columnDefinitions"].as_array().unwrap().iter();
    let names: Vec<String> = names.map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    let row = table["rows"][0].clone();
    assert_eq!(row["cells"].as_array().unwrap().len(), names.len(), "one cell per column");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    (names, row["cells"].clone())
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for kind in object::kinds::ALL {
        show((&kind.group, &kind.kind), None, json!({"metadata": {"name": "a"}}));
    }
}

#[test]
fn pods() {
    let pod = |spec: Value, status: Value| json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
    let one = json!({"containers": [{"name": "c"}]});
    let with = |status: Value| {
        let (_, cells) = show(("", "Pod"), None, pod(one.clone(), status));
        format!(
            "{} {} {}",
            cells[1].as_str().unwrap(),
            cells[2].as_str().unwrap(),
            cells[3].as_str().unwrap()
        )
    };
    assert_eq!(
        with(
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}]})
        ),
        "1/1 Running 2 (5m ago)"
    );
    assert_eq!(
        with(
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]})
        ),
        "0/1 CrashLoopBackOff 0"
    );
    assert_eq!(
        with(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]})),
        "0/1 Init:0/0 0"
    );
    assert_eq!(
        with(
            json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]})
        ),
        "0/1 ExitCode:3 0"
    );
}

#[test]
fn some_built_in_kinds() {
    let (names, cells) = show(
        ("apps", "Deployment"),
        None,
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
    );
    assert_eq!(names[..5], ["Name", "Ready", "Up-to-date", "Available", "Age"]);
    assert_eq!(cells, json!(["web", "1/2", 2, 0, "60m", "c", "nginx", "app=web"]));
    let (_, cells) = show(
        ("", "Service"),
        None,
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}}),
    );
    assert_eq!(cells, json!(["s", "NodePort", "10.96.0.5", "<none>", "80:30080/TCP", "60m", "<none>"]));
    let (_, cells) = show(("", "Widget"), None, json!({"metadata": {"name": "w"}}));
    assert_eq!(cells, json!(["w", "60m"]));
}

#[test]
fn custom_columns() {
    let columns = json!([
        {"name": "Synced", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Synced')].status"},
        {"name": "Port", "type": "integer", "jsonPath": ".spec.port"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Tags", "type": "string", "jsonPath": ".spec.tags", "priority": 1},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.nothing"}
    ]);
    let object = json!({"metadata": {"name": "x"}, "spec": {"port": 3.7, "tags": ["a"]},
        "status": {"conditions": [{"type": "Synced", "status": "True"}]}});
    let (names, cells) = show(("platform.io", "XNodeApp"), Some(columns), object.clone());
    assert_eq!(names, ["Name", "Synced", "Port", "Since", "Tags", "Missing"]);
    assert_eq!(cells, json!(["x", "True", 3, "60m", "[\"a\"]", null]));
    let (names, cells) = show(("platform.io", "XNodeApp"), Some(json!([])), object);
    assert_eq!((names, cells), (vec!["Name".to_owned(), "Age".to_owned()], json!(["x", "60m"])));
}
