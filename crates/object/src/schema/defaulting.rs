//! Filling in a schema's defaults.

use serde_json::Value;

use super::{field_schema, flag, is_embedded, is_envelope};

pub(super) fn default(schema: &Value, object: &mut Value) {
    default_value(schema, object, true);
}

fn default_value(schema: &Value, value: &mut Value, is_resource: bool) {
    match value {
        Value::Object(map) => {
            let declared = schema.get("properties").and_then(Value::as_object);
            for (name, inner) in declared.into_iter().flatten() {
                if is_resource && is_envelope(name) {
                    continue;
                }
                let Some(default) = inner.get("default") else { continue };
                let unset = match map.get(name) {
                    None => true,
                    Some(Value::Null) => !flag(inner, "nullable"),
                    Some(_) => false,
                };
                if unset {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, child) in map.iter_mut() {
                if is_resource && is_envelope(name) {
                    continue;
                }
                if let Some(inner) = field_schema(schema, name) {
                    if child.is_null()
                        && !flag(inner, "nullable")
                        && let Some(default) = inner.get("default")
                    {
                        *child = default.clone();
                    }
                    default_value(inner, child, is_embedded(inner));
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = schema.get("items") else { return };
            for item in items {
                if item.is_null()
                    && !flag(inner, "nullable")
                    && let Some(default) = inner.get("default")
                {
                    *item = default.clone();
                }
                default_value(inner, item, is_embedded(inner));
            }
        }
        _ => {}
    }
}
