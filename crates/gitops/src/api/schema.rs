//! Building blocks for structural schemas.

use serde_json::{Map, Value, json};

/// A Go duration.
pub(super) const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

pub(super) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

pub(super) fn duration(description: &str) -> Value {
    json!({"type": "string", "pattern": DURATION, "description": description})
}

pub(super) fn one_of(values: &[&str], description: &str) -> Value {
    json!({"type": "string", "enum": values, "description": description})
}

pub(super) fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub(super) fn texts() -> Value {
    list(json!({"type": "string"}))
}

pub(super) fn text_map() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// `{name}` of an object in the same namespace.
pub(super) fn local_reference(description: &str) -> Value {
    let mut schema = object(&["name"], json!({"name": {"type": "string"}}));
    schema["description"] = description.into();
    schema
}

/// What both a patch target and an ignore target are.
pub(super) fn selector() -> Value {
    let fields = ["group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector"];
    let properties: Map<String, Value> =
        fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
    object(&[], Value::Object(properties))
}

/// `status` with the fields that every kind here has.
pub(super) fn status(more: Value) -> Value {
    let mut properties = json!({
        "observedGeneration": {"type": "integer", "format": "int64"},
        "lastHandledReconcileAt": {"type": "string"},
        "conditions": list(object(
            &["lastTransitionTime", "message", "reason", "status", "type"],
            json!({
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"type": "string", "maxLength": 32768},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            }),
        )),
    });
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    let mut schema = object(&[], properties);
    schema["default"] = json!({"observedGeneration": -1});
    schema
}

/// Names and schemas of one namespaced kind with a status.
pub(super) struct Definition<'a> {
    pub(super) resource: object::Resource,
    pub(super) singular: &'a str,
    pub(super) short: &'a [&'a str],
    pub(super) categories: &'a [&'a str],
    /// Name and JSON path of columns before Age, Ready and Status.
    pub(super) columns: &'a [(&'a str, &'a str)],
    pub(super) description: &'a str,
    pub(super) spec: Value,
    pub(super) status: Value,
}

pub(super) fn crd(definition: Definition<'_>) -> Value {
    let Definition { resource, singular, short, categories, columns, description, spec, status } = definition;
    let mut printed: Vec<Value> = columns
        .iter()
        .map(|(name, path)| json!({"name": name, "type": "string", "jsonPath": path}))
        .collect();
    printed.push(json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}));
    for (name, field) in [("Ready", "status"), ("Status", "message")] {
        let path = format!(".status.conditions[?(@.type==\"Ready\")].{field}");
        printed.push(json!({"name": name, "type": "string", "jsonPath": path}));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group)},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": format!("{}List", resource.kind),
                "plural": resource.plural,
                "singular": singular,
                "shortNames": short,
                "categories": categories,
            },
            "versions": [{
                "name": resource.version,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": printed,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": description,
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                        "spec": spec,
                        "status": status,
                    },
                }},
            }],
        },
    })
}
