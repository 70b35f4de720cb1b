//! Uniqueness in lists that the schema calls sets or maps.

use serde_json::{Map, Value};

use super::{field_schema, is_embedded, is_envelope};
use crate::cause::Cause;
use crate::facts::{Facts, ListKind};

/// Duplicates in set and map lists, unless the list is unchanged from `old`.
pub(super) fn validate(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, object, old, "", true, &mut causes);
    causes
}

fn walk(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    is_resource: bool,
    causes: &mut Vec<Cause>,
) {
    if old == Some(value) {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, child) in map.iter().filter(|(n, _)| !(is_resource && is_envelope(n))) {
                if let Some(inner) = field_schema(schema, name) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let old = old.and_then(|o| o.get(name));
                    walk(inner, child, old, &path, is_embedded(inner), causes);
                }
            }
        }
        Value::Array(items) => {
            duplicates(schema, items, path, causes);
            let Some(inner) = schema.get("items") else { return };
            for (i, item) in items.iter().enumerate() {
                walk(inner, item, None, &format!("{path}[{i}]"), is_embedded(inner), causes);
            }
        }
        _ => {}
    }
}

fn duplicates(schema: &Value, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let identity: Vec<Value> = match list_kind(schema) {
        ListKind::Atomic => return,
        ListKind::Set => items.to_vec(),
        ListKind::Map(keys) => items.iter().map(|item| key_of(item, &keys)).collect(),
    };
    for (i, key) in identity.iter().enumerate() {
        if identity[..i].contains(key) {
            causes.push(Cause::duplicate(format!("{path}[{i}]"), key));
        }
    }
}

fn list_kind(schema: &Value) -> ListKind {
    Facts::crd_node(schema).list()
}

fn key_of(item: &Value, keys: &[(String, Option<Value>)]) -> Value {
    let mut out = Map::new();
    for (key, default) in keys {
        if let Some(value) = item.get(key).or(default.as_ref()) {
            out.insert(key.clone(), value.clone());
        }
    }
    out.sort_keys();
    Value::Object(out)
}
