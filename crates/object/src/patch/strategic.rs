//! Strategic merge patch: a merge patch that knows which lists are maps in disguise.
//! Semantics after apimachinery's `pkg/util/strategicpatch/patch.go`, the order of list items included.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::PatchError;
use crate::facts::{Facts, Strategy};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to `target`, an object whose lists merge as `facts` says.
pub fn apply(facts: Facts<'_>, target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else {
        return Err(malformed("cannot apply a strategic merge patch to anything but an object"));
    };
    merge_map(facts, target.clone(), patch).map(Value::Object)
}

fn merge_map(
    facts: Facts<'_>,
    mut target: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let mut whole = patch.clone();
            whole.shift_remove(DIRECTIVE);
            return merge_map(facts, Map::new(), &whole);
        }
        Some("delete") => return Ok(Map::new()),
        Some("merge") | None => {}
        Some(other) => return Err(malformed(&format!("unknown patch type found: {other}"))),
    }
    retain_keys(&mut target, patch)?;
    for (key, change) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST) {
            // The additions of the same patch come in the list's own key.
            delete_from_list(&mut target, list, change)?;
            continue;
        }
        if change.is_null() {
            target.shift_remove(key);
            continue;
        }
        let before = target.get(key);
        let order = patch.get(&format!("{ELEMENT_ORDER}{key}"));
        let after = merge_field(facts.field(key), before, change, order)?;
        // A directive `delete` on a map removes it.
        let removed = change.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
        if removed {
            target.shift_remove(key);
        } else {
            target.insert(key.clone(), after);
        }
    }
    order_untouched_lists(facts, &mut target, patch)?;
    Ok(target)
}

fn merge_field(
    facts: Facts<'_>,
    before: Option<&Value>,
    change: &Value,
    order: Option<&Value>,
) -> Result<Value, PatchError> {
    let strategy = facts.strategy();
    match change {
        Value::Object(change) => {
            let before = match before {
                Some(Value::Object(before)) if strategy != Strategy::Replace => before.clone(),
                _ => Map::new(),
            };
            merge_map(facts, before, change).map(Value::Object)
        }
        Value::Array(change) => {
            let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let merged = match strategy {
                Strategy::Merge => merge_scalars(before, change, order)?,
                Strategy::MergeKey(key) => merge_keyed(facts, key, before, change, order)?,
                Strategy::Default | Strategy::Replace => change.clone(),
            };
            Ok(Value::Array(merged))
        }
        scalar => Ok(scalar.clone()),
    }
}

/// `$retainKeys` clears every key of the target that it does not name.
fn retain_keys(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(retain) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let Some(keep) = retain.as_array() else {
        return Err(malformed("invalid patch format of retainKeys"));
    };
    let named = |key: &str| keep.iter().any(|k| k.as_str() == Some(key));
    if patch.keys().any(|key| !key.starts_with('$') && !named(key)) {
        return Err(malformed("invalid patch format of retainKeys"));
    }
    target.retain(|key, _| named(key));
    Ok(())
}

fn delete_from_list(target: &mut Map<String, Value>, list: &str, gone: &Value) -> Result<(), PatchError> {
    let Some(gone) = gone.as_array() else {
        return Err(malformed("invalid patch format of primitive list"));
    };
    if let Some(Value::Array(items)) = target.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// `$setElementOrder` without a patch of the list itself: the list is only put in order.
fn order_untouched_lists(
    facts: Facts<'_>,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    for (key, order) in patch {
        let Some(list) = key.strip_prefix(ELEMENT_ORDER) else { continue };
        let Some(wanted) = order.as_array() else {
            return Err(malformed("invalid patch format of setElementOrder list"));
        };
        if patch.contains_key(list) {
            continue;
        }
        let merge_key = match facts.field(list).strategy() {
            Strategy::MergeKey(merge_key) => merge_key,
            _ => "",
        };
        if let Some(Value::Array(items)) = target.get_mut(list) {
            let before = items.clone();
            *items = in_order(before.clone(), wanted, &before, merge_key);
        }
    }
    Ok(())
}

fn merge_scalars(
    before: &[Value],
    change: &[Value],
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let mut merged: Vec<Value> = Vec::new();
    for value in before.iter().chain(change) {
        if !merged.contains(value) {
            merged.push(value.clone());
        }
    }
    let wanted = wanted_order(change, order, "")?;
    Ok(in_order(merged, wanted, before, ""))
}

fn merge_keyed(
    facts: Facts<'_>,
    merge_key: &str,
    before: &[Value],
    change: &[Value],
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let mut merged = before.to_vec();
    let mut replace = false;
    let mut ordinary = Vec::new();
    for item in change {
        let Value::Object(fields) = item else {
            return Err(malformed("expected an object in a list with a merge key"));
        };
        match fields.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => {
                let key = key_of(fields, merge_key)?;
                merged.retain(|old| old.get(merge_key) != Some(key));
            }
            Some("replace") if fields.len() == 1 => replace = true,
            Some("replace") => {
                let key = key_of(fields, merge_key)?.clone();
                merged.retain(|old| old.get(merge_key) != Some(&key));
                ordinary.push(fields);
            }
            Some("merge") | None => ordinary.push(fields),
            Some(other) => return Err(malformed(&format!("unknown patch type found: {other}"))),
        }
    }
    if replace {
        merged.clear();
    }
    for fields in &ordinary {
        let key = key_of(fields, merge_key)?;
        match merged.iter_mut().find(|old| old.get(merge_key) == Some(key)) {
            Some(Value::Object(old)) => *old = merge_map(facts.item(), old.clone(), fields)?,
            _ => merged.push(Value::Object(merge_map(facts.item(), Map::new(), fields)?)),
        }
    }
    if replace {
        return Ok(merged);
    }
    let named: Vec<Value> = ordinary.into_iter().map(|fields| Value::Object(fields.clone())).collect();
    let wanted = wanted_order(&named, order, merge_key)?;
    Ok(in_order(merged, wanted, before, merge_key))
}

/// The order that the patch asks for: `$setElementOrder`, or that of its items.
/// The items have to occur in `$setElementOrder` in the same order.
fn wanted_order<'a>(
    items: &'a [Value],
    order: Option<&'a Value>,
    merge_key: &str,
) -> Result<&'a [Value], PatchError> {
    let Some(order) = order else { return Ok(items) };
    let Some(order) = order.as_array() else {
        return Err(malformed("invalid patch format of setElementOrder list"));
    };
    let mut rest = order.iter();
    for item in items {
        if !rest.any(|wanted| same(wanted, item, merge_key)) {
            let print = |list: &[Value]| Value::Array(list.to_vec()).to_string();
            return Err(malformed(&format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                print(items),
                print(order)
            )));
        }
    }
    Ok(order)
}

/// Items named by `wanted` in its order; the others keep their place of `before` relative to them.
fn in_order(merged: Vec<Value>, wanted: &[Value], before: &[Value], merge_key: &str) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, merge_key));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(wanted, item).is_some());
    named.sort_by_key(|item| place(wanted, item));
    others.sort_by(|a, b| match (place(before, a), place(before, b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    });
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(other), Some(item)) = (others.peek(), named.peek()) {
        let other_first = matches!((place(before, other), place(before, item)), (Some(o), Some(i)) if o < i);
        out.extend(if other_first { others.next() } else { named.next() });
    }
    out.extend(others);
    out.extend(named);
    out
}

fn same(a: &Value, b: &Value, merge_key: &str) -> bool {
    if merge_key.is_empty() {
        a == b
    } else {
        a.get(merge_key).is_some() && a.get(merge_key) == b.get(merge_key)
    }
}

fn key_of<'a>(fields: &'a Map<String, Value>, merge_key: &str) -> Result<&'a Value, PatchError> {
    fields.get(merge_key).ok_or_else(|| {
        let shown = Value::Object(fields.clone());
        malformed(&format!("map: {shown} does not contain declared merge key: {merge_key}"))
    })
}

fn malformed(text: &str) -> PatchError {
    PatchError::Malformed(text.to_owned())
}
