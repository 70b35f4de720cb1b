//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

/// Maps merge, `null` removes, everything else replaces.
pub fn apply(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut result = target.as_object().cloned().unwrap_or_default();
    merge_map(&mut result, changes);
    Value::Object(result)
}

fn merge_map(result: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        if change.is_null() {
            result.shift_remove(key);
        } else {
            let before = result.get(key).unwrap_or(&Value::Null);
            let after = apply(before, change);
            result.insert(key.clone(), after);
        }
    }
}
