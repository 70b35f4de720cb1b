//! Dropping what a schema does not know.

use serde_json::Value;

use super::{field_schema, is_embedded, is_envelope, preserves_unknown};

/// The fields of object metadata; inside embedded resources others are dropped.
const METADATA_FIELDS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Prunes a whole resource; returns the paths of what went, sorted.
pub(super) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    prune_value(schema, object, "", true, &mut gone);
    gone.sort();
    gone
}

fn prune_value(schema: &Value, value: &mut Value, path: &str, is_resource: bool, gone: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let preserve = preserves_unknown(schema)
                || schema.get("additionalProperties").and_then(Value::as_bool) == Some(true);
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                let child_path = join(path, &name);
                if is_resource && is_envelope(&name) {
                    if let Some(metadata) = map.get_mut("metadata").filter(|_| name == "metadata") {
                        prune_metadata(metadata, &child_path, gone);
                    }
                    continue;
                }
                match (field_schema(schema, &name), map.get_mut(&name)) {
                    (Some(inner), Some(child)) => {
                        prune_value(inner, child, &child_path, is_embedded(inner), gone);
                    }
                    (None, _) if !preserve => {
                        map.shift_remove(&name);
                        gone.push(child_path);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = schema.get("items") else { return };
            for (i, item) in items.iter_mut().enumerate() {
                prune_value(inner, item, &format!("{path}[{i}]"), is_embedded(inner), gone);
            }
        }
        _ => {}
    }
}

fn prune_metadata(metadata: &mut Value, path: &str, gone: &mut Vec<String>) {
    let Some(map) = metadata.as_object_mut() else { return };
    map.retain(|name, _| {
        let known = METADATA_FIELDS.contains(&name.as_str());
        if !known {
            gone.push(join(path, name));
        }
        known
    });
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
