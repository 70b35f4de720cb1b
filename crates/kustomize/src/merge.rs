//! kyaml's strategic merge: like apimachinery's, but items that a patch names come first in a list.

use object::facts::{Facts, Strategy};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `target`. None: the patch deletes the whole object.
pub(crate) fn apply(facts: Facts<'_>, target: &Value, patch: &Value) -> Result<Option<Value>, String> {
    merge(facts, Some(target), patch)
}

/// None: the field goes away.
fn merge(facts: Facts<'_>, target: Option<&Value>, patch: &Value) -> Result<Option<Value>, String> {
    match patch {
        Value::Null => Ok(None),
        Value::Object(fields) => match fields.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => Ok(None),
            Some("replace") => {
                let mut whole = fields.clone();
                whole.shift_remove(DIRECTIVE);
                Ok(Some(Value::Object(whole)))
            }
            Some("merge") | None => {
                let target = if facts.strategy() == Strategy::Replace { None } else { target };
                object(facts, target.and_then(Value::as_object), fields)
                    .map(|merged| Some(Value::Object(merged)))
            }
            Some(other) => Err(format!("unknown patch strategy '{other}'")),
        },
        Value::Array(items) => list(facts, target, items).map(|items| Some(Value::Array(items))),
        scalar => Ok(Some(scalar.clone())),
    }
}

fn object(
    facts: Facts<'_>,
    target: Option<&Map<String, Value>>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut merged = target.cloned().unwrap_or_default();
    for (name, change) in patch {
        if name.starts_with('$') {
            continue;
        }
        match merge(facts.field(name), merged.get(name), change)? {
            Some(value) => {
                merged.insert(name.clone(), value);
            }
            None => {
                merged.shift_remove(name);
            }
        }
    }
    Ok(merged)
}

fn list(facts: Facts<'_>, target: Option<&Value>, patch: &[Value]) -> Result<Vec<Value>, String> {
    let before = target.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match facts.strategy() {
        Strategy::Merge => {
            let mut merged = patch.to_vec();
            merged.extend(before.iter().filter(|item| !patch.contains(item)).cloned());
            Ok(merged)
        }
        Strategy::MergeKey(key) => keyed(facts, key, before, patch),
        Strategy::Default | Strategy::Replace => {
            let mut items = patch.to_vec();
            items.retain(|item| item.get(DIRECTIVE).is_none());
            Ok(items)
        }
    }
}

fn keyed(facts: Facts<'_>, key: &str, before: &[Value], patch: &[Value]) -> Result<Vec<Value>, String> {
    let replaces = |item: &Value| {
        item.as_object().is_some_and(|fields| fields.len() == 1) && item[DIRECTIVE] == "replace"
    };
    let before = if patch.iter().any(replaces) { &[] } else { before };
    // Items without the key cannot be told apart: the list is replaced.
    if patch.iter().filter(|item| !replaces(item)).any(|item| item.get(key).is_none()) {
        return Ok(patch.to_vec());
    }
    let mut merged = vec![];
    let mut used = vec![false; before.len()];
    for item in patch.iter().filter(|item| !replaces(item)) {
        let found = before.iter().position(|old| same(old, item, key));
        found.into_iter().for_each(|at| used[at] = true);
        merged.extend(merge(facts.item(), found.map(|at| &before[at]), item)?);
    }
    merged.extend(before.iter().zip(used).filter(|(_, used)| !used).map(|(item, _)| item.clone()));
    Ok(merged)
}

/// Ports are the same only with the same protocol, which is TCP unless said.
fn same(a: &Value, b: &Value, key: &str) -> bool {
    let is_port = matches!(key, "containerPort" | "port");
    let protocol = |item: &Value| item["protocol"].as_str().unwrap_or("TCP").to_owned();
    a.get(key) == b.get(key) && (!is_port || protocol(a) == protocol(b))
}
