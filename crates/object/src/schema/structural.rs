//! Whether a schema is structural: every node typed, nothing that a server could not prune and default by.

use serde_json::{Map, Value};

use super::{flag, is_embedded, preserves_unknown};
use crate::cause::Cause;

/// Keywords that structural schemas may not use anywhere.
const UNSUPPORTED: [&str; 5] =
    ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems"];
/// Keywords that say what a value is, and so may not stand below `allOf`, `anyOf`, `oneOf` or `not`.
const NOT_IN_JUNCTORS: [&str; 10] = [
    "type",
    "default",
    "nullable",
    "description",
    "title",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];

/// The violations; fields are relative to the schema, such as `properties[spec].type`.
pub(super) fn check(schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {}
        None | Some("") => causes.push(Cause::required("type", "must not be empty at the root")),
        Some(other) => {
            causes.push(Cause::invalid("type", &other.into(), "must be object at the root"));
        }
    }
    check_node(schema, "", &mut causes);
    causes
}

fn check_node(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_keywords(schema, path, causes);
    check_list(schema, path, causes);
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, inner) in fields.into_iter().flatten() {
        let path = join(path, &format!("properties[{name}]"));
        require_type(inner, &path, "must not be empty for specified object fields", causes);
        check_node(inner, &path, causes);
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|s| s.is_object()) {
        let path = join(path, "additionalProperties");
        require_type(inner, &path, "must not be empty for specified object fields", causes);
        check_node(inner, &path, causes);
    }
    match schema.get("items") {
        Some(Value::Array(_)) => causes
            .push(Cause::forbidden(join(path, "items"), "items must be a schema object and not an array")),
        Some(inner) if inner.is_object() => {
            let path = join(path, "items");
            require_type(inner, &path, "must not be empty for specified array items", causes);
            check_node(inner, &path, causes);
        }
        _ => {}
    }
    for (junctor, inner) in junctors(schema) {
        check_junctor(inner, schema, &join(path, &junctor), causes);
    }
}

fn require_type(schema: &Value, path: &str, detail: &str, causes: &mut Vec<Cause>) {
    let untyped = schema.get("type").and_then(Value::as_str).is_none_or(str::is_empty);
    if untyped && !flag(schema, "x-kubernetes-int-or-string") && !preserves_unknown(schema) {
        causes.push(Cause::required(join(path, "type"), detail));
    }
}

fn check_keywords(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    for keyword in UNSUPPORTED {
        if schema.get(keyword).is_some() {
            causes.push(Cause::forbidden(join(path, keyword), format!("{keyword} is not supported")));
        }
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(join(path, "uniqueItems"), detail));
    }
    if schema.get("type").and_then(Value::as_str) == Some("null") {
        let detail = "type cannot be set to null, use nullable as an alternative";
        causes.push(Cause::forbidden(join(path, "type"), detail));
    }
    let has =
        |name: &str| schema.get(name).and_then(Value::as_object).is_some_and(|m: &Map<_, _>| !m.is_empty());
    if has("properties") && has("additionalProperties") {
        let detail = "additionalProperties and properties are mutual exclusive";
        causes.push(Cause::forbidden(join(path, "additionalProperties"), detail));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Err(error) = crate::regexp::compile(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(Cause::invalid(join(path, "pattern"), &pattern.into(), detail));
    }
    if is_embedded(schema) && !preserves_unknown(schema) && !has("properties") {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(Cause::required(join(path, "properties"), detail));
    }
}

fn check_list(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = schema.get("x-kubernetes-list-type");
    let supported = ["atomic", "map", "set"].map(str::to_owned);
    match kind.and_then(Value::as_str) {
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            if keys.is_none_or(Vec::is_empty) {
                let detail = "must not be empty if x-kubernetes-list-type is map";
                causes.push(Cause::required(join(path, "x-kubernetes-list-map-keys"), detail));
            }
            for key in keys.into_iter().flatten().filter_map(Value::as_str) {
                if schema["items"]["properties"].get(key).is_none() {
                    let detail = "entries must all be names of item properties";
                    causes.push(Cause::invalid(
                        join(path, "x-kubernetes-list-map-keys"),
                        &key.into(),
                        detail,
                    ));
                }
            }
        }
        None | Some("atomic" | "set") => {}
        Some(other) => {
            causes.push(Cause::not_supported(
                join(path, "x-kubernetes-list-type"),
                &other.into(),
                &supported,
            ));
        }
    }
}

fn check_junctor(schema: &Value, outer: &Value, path: &str, causes: &mut Vec<Cause>) {
    let int_or_string = flag(outer, "x-kubernetes-int-or-string");
    for keyword in NOT_IN_JUNCTORS {
        if schema.get(keyword).is_some() && !(keyword == "type" && int_or_string) {
            causes.push(Cause::forbidden(join(path, keyword), "must be undefined to be structural"));
        }
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let inner_path = join(path, &format!("properties[{name}]"));
        match outer.get("properties").and_then(|p| p.get(name)) {
            Some(outer) => check_junctor(inner, outer, &inner_path, causes),
            None => {
                let outer_path = format!("properties[{name}]");
                let detail = format!("because it is defined in {inner_path}");
                causes.push(Cause::required(outer_path, &detail));
            }
        }
    }
    if let (Some(inner), Some(outer)) = (schema.get("items"), outer.get("items")) {
        check_junctor(inner, outer, &join(path, "items"), causes);
    }
    for (junctor, inner) in junctors(schema) {
        check_junctor(inner, outer, &join(path, &junctor), causes);
    }
}

fn junctors(schema: &Value) -> Vec<(String, &Value)> {
    let mut out = Vec::new();
    for name in ["allOf", "anyOf", "oneOf"] {
        let list = schema.get(name).and_then(Value::as_array);
        for (i, inner) in list.into_iter().flatten().enumerate() {
            out.push((format!("{name}[{i}]"), inner));
        }
    }
    out.extend(schema.get("not").map(|inner| ("not".to_owned(), inner)));
    out
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") }
}
