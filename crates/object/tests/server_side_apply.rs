//! Ownership of fields: apply, conflicts, pruning, and what other writes do to it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::facts::Facts;
use object::managed::{self, Apply, ApplyError, Scope, Update};
use serde_json::{Value, json};

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn request<'a>(live: Option<&'a Value>, config: &'a Value, manager: &'a str, now: &'a str) -> Apply<'a> {
    let group = object::meta::split_api_version(object::meta::api_version(config)).0;
    Apply {
        live,
        config,
        manager,
        force: false,
        now,
        subresource: "",
        scope: Scope::NotStatus,
        facts: Facts::builtin(group, object::meta::kind(config)),
        drop_nulls: true,
    }
}

fn apply(live: Option<&Value>, config: &Value, manager: &str, now: &str) -> Value {
    managed::apply(&request(live, config, manager, now)).unwrap()
}

fn update(old: Option<&Value>, new: &Value, manager: &str, now: &str) -> Value {
    let group = object::meta::split_api_version(object::meta::api_version(new)).0;
    let facts = Facts::builtin(group, object::meta::kind(new));
    managed::update(
        old,
        new.clone(),
        &Update { manager, now, subresource: "", scope: Scope::NotStatus, facts },
    )
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

fn deployment(replicas: Value, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}}}})
}

#[test]
fn a_created_object_records_its_applier() {
    let created = apply(None, &deployment(json!(1), "nginx"), "flux", T1);
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((&entry["operation"], &entry["time"]), (&json!("Apply"), &json!(T1)));
    assert_eq!(
        entry["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {
                    "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}
                }}}
            }
        })
    );
}

#[test]
fn the_same_apply_again_changes_nothing() {
    let config = deployment(json!(1), "nginx");
    let first = apply(None, &config, "flux", T1);
    assert_eq!(apply(Some(&first), &config, "flux", T2), first);
}

#[test]
fn other_values_of_owned_fields_conflict_until_forced() {
    let live = apply(None, &config_map(json!({"a": "1", "b": "1"})), "flux", T1);
    let config = config_map(json!({"a": "2"}));
    let Err(ApplyError::Conflict(conflicts)) = managed::apply(&request(Some(&live), &config, "me", T2))
    else {
        panic!("expected a conflict")
    };
    assert_eq!(conflicts.to_string(), r#"Apply failed with 1 conflict: conflict with "flux": .data.a"#);
    assert_eq!(
        conflicts.causes(),
        [json!({"reason": "FieldManagerConflict", "message": "conflict with \"flux\"", "field": ".data.a"})]
    );
    let forced = managed::apply(&Apply { force: true, ..request(Some(&live), &config, "me", T2) }).unwrap();
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(fields(&forced, "me"), json!({"f:data": {"f:a": {}}}));
    assert_eq!(fields(&forced, "flux"), json!({"f:data": {"f:b": {}}}));
}

#[test]
fn conflicts_with_updaters_name_their_version() {
    let created = update(None, &deployment(json!(1), "nginx"), "kubectl-client-side-apply", T1);
    let config = deployment(json!(2), "other");
    let Err(ApplyError::Conflict(conflicts)) = managed::apply(&request(Some(&created), &config, "me", T2))
    else {
        panic!("expected a conflict")
    };
    assert_eq!(
        conflicts.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n\
         - .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
}

#[test]
fn what_an_applier_no_longer_mentions_goes_unless_someone_owns_it() {
    let first = apply(None, &config_map(json!({"a": "1", "b": "1", "c": "1"})), "flux", T1);
    let shared = apply(Some(&first), &config_map(json!({"b": "1"})), "me", T1);
    assert_eq!(fields(&shared, "me"), json!({"f:data": {"f:b": {}}}), "equal values become shared");
    let mut edited = shared.clone();
    edited["data"]["x"] = json!("unowned by flux");
    let edited = update(Some(&shared), &edited, "editor", T1);
    let pruned = apply(Some(&edited), &config_map(json!({"a": "1"})), "flux", T2);
    assert_eq!(pruned["data"], json!({"a": "1", "b": "1", "x": "unowned by flux"}));
    let last = apply(
        Some(&pruned),
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        "flux",
        T2,
    );
    assert_eq!(last["data"], json!({"b": "1", "x": "unowned by flux"}));
    assert_eq!(fields(&last, "flux"), Value::Null);
}

#[test]
fn a_dropped_struct_and_list_item_go_whole() {
    let mut config = deployment(json!(1), "nginx");
    let containers = &mut config["spec"]["template"]["spec"]["containers"];
    containers
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "side", "image": "x", "resources": {"limits": {"cpu": "1"}}}));
    let live = apply(None, &config, "flux", T1);
    let result = apply(Some(&live), &deployment(json!(1), "nginx"), "flux", T2);
    assert_eq!(result["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
    let mut no_labels = deployment(json!(1), "nginx");
    no_labels["metadata"].as_object_mut().unwrap().shift_remove("labels");
    let result = apply(Some(&live), &no_labels, "flux", T2);
    assert_eq!(result["metadata"].get("labels"), None);
}

#[test]
fn items_keep_the_order_of_the_configuration() {
    let with = |names: &[&str]| {
        let mut config = deployment(json!(1), "nginx");
        config["spec"]["template"]["spec"]["containers"] =
            names.iter().map(|n| json!({"name": n, "image": "x"})).collect();
        config
    };
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    let live = apply(None, &with(&["a", "b", "c"]), "flux", T1);
    let result = apply(Some(&live), &with(&["c", "a", "d"]), "flux", T2);
    assert_eq!(names(&result), ["c", "a", "d"]);
    let other = apply(Some(&live), &with(&["d", "b"]), "me", T2);
    assert_eq!(names(&other), ["a", "d", "b", "c"]);
}

#[test]
fn an_update_takes_what_it_changed() {
    let created = update(None, &config_map(json!({"a": "1"})), "one", T1);
    assert_eq!(fields(&created, "one"), json!({"f:data": {".": {}, "f:a": {}}}));
    let mut changed = created.clone();
    changed["data"]["a"] = json!("2");
    let changed = update(Some(&created), &changed, "two", T2);
    assert_eq!(fields(&changed, "two"), json!({"f:data": {"f:a": {}}}));
    assert_eq!(fields(&changed, "one"), json!({"f:data": {}}));
    assert_eq!(update(Some(&changed), &changed, "three", T2), changed, "no change, no entry");
}

#[test]
fn status_belongs_to_the_status_endpoint() {
    let live = apply(None, &deployment(json!(1), "nginx"), "flux", T1);
    let mut new = live.clone();
    new["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    let facts = Facts::builtin("apps", "Deployment");
    let by_controller =
        Update { manager: "controller", now: T2, subresource: "status", scope: Scope::StatusOnly, facts };
    let result = managed::update(Some(&live), new, &by_controller);
    let entries = result["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(
        entries[1]["fieldsV1"],
        json!({"f:status": {".": {}, "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}}, "f:replicas": {}}})
    );
    let mut config = deployment(json!(1), "nginx");
    config["status"] = json!({"replicas": 9});
    assert_eq!(apply(Some(&result), &config, "flux", T2), result, "status is not the applier's");
}

#[test]
fn objects_from_before_are_owned_by_before_first_apply() {
    let live = config_map(json!({"a": "1"}));
    let result = apply(Some(&live), &config_map(json!({"b": "2"})), "flux", T1);
    assert_eq!(fields(&result, "before-first-apply"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(fields(&result, "flux"), json!({"f:data": {"f:b": {}}}));
}

#[test]
fn ten_update_entries_are_the_limit() {
    let mut object = update(None, &config_map(json!({})), "first", T1);
    for i in 0..15 {
        let mut next = object.clone();
        next["data"][format!("k{i}")] = json!("v");
        object =
            update(Some(&object), &next, &format!("writer-{i:02}"), &format!("2026-01-01T00:01:{i:02}Z"));
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries.iter().filter(|e| e["manager"] == "ancient-changes").count(), 1);
}

#[test]
fn resetting_forgets_owners() {
    let live = apply(None, &config_map(json!({"a": "1"})), "flux", T1);
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    let reset = update(Some(&live), &new, "me", T2);
    assert_eq!(reset["metadata"].get("managedFields"), None);
}

#[test]
fn refused_configurations() {
    let mut config = config_map(json!({}));
    config["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let error = managed::apply(&request(None, &config, "m", T1)).unwrap_err();
    assert_eq!(error.to_string(), "metadata.managedFields must be nil");
    let mut config = deployment(json!(1), "x");
    let twice = json!([{"name": "c"}, {"name": "c"}]);
    config["spec"]["template"]["spec"]["containers"] = twice;
    let error = managed::apply(&request(None, &config, "m", T1)).unwrap_err();
    assert_eq!(error.to_string(), "failed to merge config: duplicate entries for key [name=\"c\"]");
}

#[test]
fn custom_resources_follow_their_schema() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["host"],
            "items": {"type": "object", "properties": {"host": {"type": "string", "default": "*"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let config = json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "a", "finalizers": ["f"]},
        "spec": {"rules": [{"to": "b"}], "tags": ["t"], "free": {"a": {"b": [1]}}}});
    let facts = Facts::crd(&schema);
    let apply = Apply { facts, drop_nulls: false, scope: Scope::Whole, ..request(None, &config, "m", T1) };
    let result = managed::apply(&apply).unwrap();
    assert_eq!(
        fields(&result, "m"),
        json!({"f:metadata": {"f:finalizers": {"v:\"f\"": {}}},
            "f:spec": {"f:free": {"f:a": {".": {}, "f:b": {}}}, "f:rules": {"k:{\"host\":\"*\"}": {".": {}, "f:to": {}}},
                "f:tags": {"v:\"t\"": {}}}})
    );
}

#[test]
fn kubectl_may_migrate_its_own_fields() {
    let mut live = config_map(json!({"a": "1"}));
    object::meta::set_annotation(
        &mut live,
        "kubectl.kubernetes.io/last-applied-configuration",
        &config_map(json!({"a": "1"})).to_string(),
    );
    let live = update(None, &live, "kubectl-client-side-apply", T1);
    let config = config_map(json!({"a": "2"}));
    assert!(managed::apply(&request(Some(&live), &config, "other", T2)).is_err());
    let result = managed::apply(&request(Some(&live), &config, "kubectl", T2)).unwrap();
    assert_eq!(result["data"]["a"], "2");
    let annotation =
        object::meta::annotation(&result, "kubectl.kubernetes.io/last-applied-configuration").unwrap();
    assert!(annotation.contains(r#""a":"2""#), "{annotation}");
}
