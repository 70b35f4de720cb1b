//! Pruning, defaulting and validating custom resources.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::schema::Schema;
use serde_json::{Value, json};

fn schema() -> Schema {
    Schema::new(json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["project"], "properties": {
            "project": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 10},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 3001},
            "monitoring": {"type": "boolean", "default": false},
            "size": {"type": "string", "enum": ["small", "large"]},
            "target": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "note": {"type": "string", "nullable": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "rules": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["host"],
                "items": {"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}, "weight": {"type": "integer", "default": 1}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "nested": {"type": "object", "default": {}, "properties": {"a": {"type": "string", "default": "x"}}},
            "choice": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            "at": {"type": "string", "format": "date-time"}
        }}}}))
    .unwrap()
}

fn resource(spec: Value) -> Value {
    json!({"apiVersion": "platform.io/v1", "kind": "XNodeApp", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": spec})
}

#[test]
fn unknown_fields_are_pruned_and_named() {
    let mut object = resource(
        json!({"project": "a", "bad": 1, "free": {"any": {"thing": 1}}, "labels": {"k": "v"},
        "rules": [{"host": "h", "oops": 1}], "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "junk": 1}, "spec": {}}}),
    );
    object["extra"] = json!(1);
    let gone = schema().prune(&mut object);
    assert_eq!(gone, ["extra", "spec.bad", "spec.rules[0].oops", "spec.template.metadata.junk"]);
    assert_eq!(object["spec"]["free"], json!({"any": {"thing": 1}}));
    assert_eq!(object["metadata"]["labels"], json!({"x": "y"}));
    assert_eq!(object["spec"]["template"]["spec"], json!({}));
}

#[test]
fn defaults_go_all_the_way_down() {
    let mut object = resource(json!({"project": "a", "port": null, "note": null, "rules": [{"host": "h"}]}));
    schema().default(&mut object);
    assert_eq!(
        object["spec"],
        json!({"project": "a", "port": 3001, "note": null, "rules": [{"host": "h", "weight": 1}],
            "monitoring": false, "nested": {"a": "x"}})
    );
}

#[test]
fn what_is_wrong_is_said_as_kubernetes_says_it() {
    for (spec, expected) in [
        (json!({}), "spec.project: Required value"),
        (
            json!({"project": 1}),
            r#"spec.project: Invalid value: "integer": spec.project in body must be of type string: "integer""#,
        ),
        (
            json!({"project": "Bad"}),
            r#"spec.project: Invalid value: "Bad": spec.project in body should match '^[a-z]+$'"#,
        ),
        (json!({"project": "abcdefghijkl"}), "spec.project: Too long: may not be more than 10 bytes"),
        (
            json!({"project": "a", "port": 70000}),
            "spec.port: Invalid value: 70000: spec.port in body should be less than or equal to 65535",
        ),
        (
            json!({"project": "a", "size": "xl"}),
            r#"spec.size: Unsupported value: "xl": supported values: "small", "large""#,
        ),
        (
            json!({"project": "a", "target": true}),
            r#"spec.target: Invalid value: "boolean": spec.target in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"project": "a", "size": null}),
            r#"spec.size: Invalid value: "null": spec.size in body must be of type string: "null""#,
        ),
        (
            json!({"project": "a", "rules": [{"host": "h"}, {"host": "h"}]}),
            r#"spec.rules[1]: Duplicate value: {"host":"h"}"#,
        ),
        (
            json!({"project": "a", "template": {"kind": "Pod"}}),
            "spec.template.apiVersion: Required value: must not be empty",
        ),
        (
            json!({"project": "a", "choice": {}}),
            r#"spec.choice: Invalid value: "": "spec.choice" must validate one and only one schema (oneOf). Found none valid"#,
        ),
        (
            json!({"project": "a", "at": "soon"}),
            r#"spec.at: Invalid value: "soon": spec.at in body must be of type date-time: "soon""#,
        ),
        (
            json!({"project": "a", "labels": {"k": 1}}),
            r#"spec.labels.k: Invalid value: "integer": spec.labels.k in body must be of type string: "integer""#,
        ),
    ] {
        let causes: Vec<String> =
            schema().validate(&resource(spec.clone()), None).iter().map(ToString::to_string).collect();
        assert_eq!(causes, [expected], "{spec}");
    }
    let good = resource(
        json!({"project": "a", "target": "http", "note": null, "choice": {"a": "1"}, "at": "2026-01-01T00:00:00Z"}),
    );
    assert_eq!(schema().validate(&good, None), []);
}

#[test]
fn old_mistakes_do_not_block_other_changes() {
    let old = resource(json!({"project": "Bad"}));
    let mut new = old.clone();
    new["spec"]["port"] = json!(5);
    assert_eq!(schema().validate(&new, Some(&old)), []);
    new["spec"]["project"] = json!("Worse");
    assert_eq!(schema().validate(&new, Some(&old)).len(), 1);
}

#[test]
fn schemas_have_to_be_structural() {
    for (schema, expected) in [
        (json!({"properties": {}}), "type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "#", "type": "string"}}}}),
            "properties[a].items.$ref: Forbidden: $ref is not supported",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
            "anyOf[0].properties[a].type: Forbidden: must be undefined to be structural",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}}}),
            "properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
    ] {
        let causes = Schema::new(schema).unwrap_err();
        assert_eq!(causes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}
