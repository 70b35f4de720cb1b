//! Whatever a client sends, these functions answer; a value of the wrong shape never ends the server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use jiff::Timestamp;
use object::facts::Facts;
use object::managed::{self, Apply, Scope, Update};
use object::patch::strategic;
use object::schema::Schema;
use object::table::{Include, table};
use object::{defaults, diff, health, kinds, validate};
use serde_json::{Value, json};

/// Objects whose parts are of every wrong type, at several depths.
fn junk() -> Vec<Value> {
    let bad = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([1, "a", null, [], {}]),
        json!({}),
        json!({"a": 1}),
    ];
    let mut out: Vec<Value> = bad.to_vec();
    for value in &bad {
        out.push(json!({"metadata": value, "spec": value, "status": value, "data": value, "rules": value, "subjects": value, "roleRef": value}));
        out.push(json!({
            "apiVersion": value, "kind": value,
            "metadata": {"name": value, "namespace": value, "labels": value, "annotations": value, "finalizers": value,
                "ownerReferences": value, "managedFields": value, "creationTimestamp": value, "deletionTimestamp": value},
            "spec": {"template": value, "selector": value, "containers": value, "ports": value, "versions": value, "names": value,
                "rules": value, "strategy": value, "updateStrategy": value, "volumeClaimTemplates": value, "resources": value,
                "jobTemplate": value, "schedule": value, "metrics": value, "volumes": value, "tolerations": value},
            "status": {"conditions": value, "containerStatuses": value, "loadBalancer": value, "phase": value}
        }));
        out.push(json!({"metadata": {"name": "a", "namespace": "b", "finalizers": [value], "ownerReferences": [value], "managedFields": [value]},
            "spec": {"containers": [value], "ports": [value], "volumes": [value], "versions": [value], "rules": [{"http": {"paths": [value]}}],
                "template": {"metadata": value, "spec": {"containers": [value, {"ports": [value], "env": [value], "volumeMounts": [value],
                    "resources": value, "livenessProbe": value, "image": value, "name": value}], "volumes": [value]}}},
            "status": {"conditions": [value], "containerStatuses": [value], "loadBalancer": {"ingress": [value]}}}));
    }
    out
}

#[test]
fn built_in_kinds_survive_any_shape() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let junk = junk();
    for kind in kinds::ALL {
        for object in &junk {
            let mut object = object.clone();
            defaults::apply_defaults(kind, &mut object);
            validate::create(kind, &object);
            validate::update(kind, &object, &junk[junk.len() - 1]);
            validate::update(kind, &junk[junk.len() - 1], &object);
            table(kind, None, [&object], now, Include::Metadata);
            if let Some(map) = object.as_object_mut() {
                map.insert("apiVersion".into(), kind.api_version().into());
                map.insert("kind".into(), kind.kind.as_ref().into());
            }
            health::health(&object);
            health::kstatus::compute(&object, now);
        }
    }
}

#[test]
fn writes_survive_any_shape() {
    let junk = junk();
    let facts = Facts::builtin("apps", "Deployment");
    for old in &junk {
        for new in &junk {
            let _ = strategic::apply(facts, old, new);
            diff::diff(old, new);
            let update = Update { manager: "m", now: "t", subresource: "", scope: Scope::NotStatus, facts };
            managed::update(Some(old), new.clone(), &update);
            managed::update(None, new.clone(), &update);
            let apply = Apply {
                live: Some(old),
                config: new,
                manager: "kubectl",
                force: false,
                now: "t",
                subresource: "",
                scope: Scope::StatusOnly,
                facts,
                drop_nulls: true,
            };
            let _ = managed::apply(&apply);
        }
    }
}

#[test]
fn schemas_survive_any_shape() {
    for schema in junk() {
        let _ = Schema::new(schema);
    }
    let schema = Schema::new(json!({"type": "object", "properties": {
        "metadata": {"type": "object"},
        "spec": {"type": "object", "default": {}, "required": ["x"], "properties": {
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}},
            "rules": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}}}}));
    let schema = schema.unwrap();
    for object in junk() {
        let mut object = object;
        schema.prune(&mut object);
        schema.default(&mut object);
        schema.validate(&object, None);
    }
}
