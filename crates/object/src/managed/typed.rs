//! The four walks of server-side apply over a value and its merge facts: which fields a value has, what changed
//! between two, how a configuration merges into a live object, and a value without some fields.
//! After structured-merge-diff's `typed` package.

use serde_json::{Map, Value};

use super::set::{FieldSet, Step};
use crate::facts::{Facts, ListKind};

/// What changed from one value to another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
}

/// The fields that `value` has an opinion on.
pub(super) fn fields_of(facts: Facts<'_>, value: &Value) -> Result<FieldSet, String> {
    let mut set = FieldSet::default();
    collect_fields(facts, value, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn collect_fields(
    facts: Facts<'_>,
    value: &Value,
    path: &mut Vec<Step>,
    set: &mut FieldSet,
) -> Result<(), String> {
    match value {
        Value::Object(map) if !facts.map_is_atomic() => {
            for (name, child) in map {
                path.push(Step::Field(name.clone()));
                collect_fields(facts.field(name), child, path, set)?;
                let empty = child.as_object().is_some_and(Map::is_empty);
                if child.is_null() || empty || !facts.declares(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(items) if facts.list() != ListKind::Atomic => {
            let steps = steps_of(&facts.list(), items)?;
            for (i, (step, item)) in steps.iter().zip(items).enumerate() {
                // A key that occurs twice is owned as a whole.
                let twice = steps.iter().enumerate().any(|(j, other)| j != i && other == step);
                path.push(step.clone());
                if !twice {
                    collect_fields(facts.item(), item, path, set)?;
                }
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
    Ok(())
}

/// Compares two objects.
pub(super) fn compare(facts: Facts<'_>, before: &Value, after: &Value) -> Result<Comparison, String> {
    let mut out = Comparison::default();
    compare_values(facts, Some(before), Some(after), &mut Vec::new(), &mut out)?;
    Ok(out)
}

fn compare_values(
    facts: Facts<'_>,
    before: Option<&Value>,
    after: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> Result<(), String> {
    let leaf = match (before, after) {
        (None | Some(Value::Null), Some(Value::Object(_)))
        | (Some(Value::Object(_)), None | Some(Value::Null))
        | (Some(Value::Object(_)), Some(Value::Object(_))) => {
            let empty = |v: Option<&Value>| v.and_then(Value::as_object).is_none_or(Map::is_empty);
            let leaf = facts.map_is_atomic() || (empty(before) && empty(after));
            if !leaf {
                compare_maps(facts, before, after, path, out)?;
            }
            leaf
        }
        (None | Some(Value::Null), Some(Value::Array(_)))
        | (Some(Value::Array(_)), None | Some(Value::Null))
        | (Some(Value::Array(_)), Some(Value::Array(_))) => {
            let empty = |v: Option<&Value>| v.and_then(Value::as_array).is_none_or(Vec::is_empty);
            let leaf = facts.list() == ListKind::Atomic || (empty(before) && empty(after));
            if !leaf {
                compare_lists(facts, before, after, path, out)?;
            }
            leaf
        }
        _ => true,
    };
    match (before, after) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        (Some(a), Some(b)) if leaf && !equal(a, b) => out.modified.insert(path),
        _ => {}
    }
    Ok(())
}

fn compare_maps(
    facts: Facts<'_>,
    before: Option<&Value>,
    after: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> Result<(), String> {
    let nothing = Map::new();
    let before = before.and_then(Value::as_object).unwrap_or(&nothing);
    let after = after.and_then(Value::as_object).unwrap_or(&nothing);
    let only_after = after.keys().filter(|k| !before.contains_key(*k));
    for name in before.keys().chain(only_after) {
        path.push(Step::Field(name.clone()));
        compare_values(facts.field(name), before.get(name), after.get(name), path, out)?;
        path.pop();
    }
    Ok(())
}

fn compare_lists(
    facts: Facts<'_>,
    before: Option<&Value>,
    after: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> Result<(), String> {
    let items = |v: Option<&Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
    let (before, after) = (items(before), items(after));
    let kind = facts.list();
    let (before_steps, after_steps) = (steps_of(&kind, &before)?, steps_of(&kind, &after)?);
    let mut seen: Vec<&Step> = Vec::new();
    for step in before_steps.iter().chain(&after_steps) {
        if seen.contains(&step) {
            continue;
        }
        seen.push(step);
        let old = with_step(&before_steps, &before, step);
        let new = with_step(&after_steps, &after, step);
        path.push(step.clone());
        if old.len() <= 1 && new.len() <= 1 {
            let (old, new) = (old.first().copied(), new.first().copied());
            compare_values(facts.item(), old, new, path, out)?;
        } else if old.len() > 1 && new.len() > 1 {
            if old != new {
                out.modified.insert(path);
            }
        } else if old.len() > 1 {
            compare_lone(facts.item(), None, new.first().copied(), path, out)?;
            out.removed.insert(path);
        } else {
            compare_lone(facts.item(), old.first().copied(), None, path, out)?;
            out.added.insert(path);
        }
        path.pop();
    }
    Ok(())
}

fn compare_lone(
    facts: Facts<'_>,
    before: Option<&Value>,
    after: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> Result<(), String> {
    if before.is_none() && after.is_none() {
        return Ok(());
    }
    compare_values(facts, before, after, path, out)
}

fn with_step<'a>(steps: &[Step], items: &'a [Value], step: &Step) -> Vec<&'a Value> {
    steps.iter().zip(items).filter(|(s, _)| *s == step).map(|(_, item)| item).collect()
}

/// Merges a configuration into a live value: the configuration wins, what it does not mention stays.
pub(super) fn merge(facts: Facts<'_>, live: Option<&Value>, config: &Value) -> Result<Value, String> {
    match config {
        Value::Object(config) => {
            let live = live.and_then(Value::as_object);
            if facts.map_is_atomic() || live.is_none_or(Map::is_empty) {
                check_keys(facts, &Value::Object(config.clone()))?;
                return Ok(Value::Object(config.clone()));
            }
            let mut out = live.cloned().unwrap_or_default();
            for (name, value) in config {
                let merged = merge(facts.field(name), out.get(name), value)?;
                out.insert(name.clone(), merged);
            }
            Ok(Value::Object(out))
        }
        Value::Array(config) => {
            let live = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if facts.list() == ListKind::Atomic {
                return Ok(Value::Array(config.clone()));
            }
            merge_lists(facts, live, config).map(Value::Array)
        }
        // A null does not clear what is granular: its members may belong to others.
        Value::Null => {
            let keep = match live {
                Some(Value::Object(map)) => !facts.map_is_atomic() && !map.is_empty(),
                Some(Value::Array(items)) => facts.list() != ListKind::Atomic && !items.is_empty(),
                _ => false,
            };
            Ok(live.filter(|_| keep).cloned().unwrap_or(Value::Null))
        }
        scalar => Ok(scalar.clone()),
    }
}

/// A configuration that merges into nothing still has to have well-formed keyed lists.
fn check_keys(facts: Facts<'_>, config: &Value) -> Result<(), String> {
    match config {
        Value::Object(map) => map.iter().try_for_each(|(name, v)| check_keys(facts.field(name), v)),
        Value::Array(items) if facts.list() != ListKind::Atomic => {
            merge_lists(facts, &[], items)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn merge_lists(facts: Facts<'_>, live: &[Value], config: &[Value]) -> Result<Vec<Value>, String> {
    let kind = facts.list();
    let (live_steps, config_steps) = (steps_of(&kind, live)?, steps_of(&kind, config)?);
    for (i, step) in config_steps.iter().enumerate() {
        if config_steps[..i].contains(step) {
            return Err(format!("duplicate entries for key {step}"));
        }
    }
    let merged = |step: &Step, item: &Value| {
        let old = with_step(&live_steps, live, step);
        // Of an item that is there twice none is merged; the configuration's replaces them.
        let old = if old.len() == 1 { old.first().copied() } else { None };
        merge(facts.item(), old, item)
    };
    let mut shared = config_steps.iter().filter(|s| live_steps.contains(s));
    let mut next_shared = shared.next();
    let mut done: Vec<&Step> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut c) = (0, 0);
    while l < live_steps.len() || c < config_steps.len() {
        if let (Some(live_step), Some(config_step)) = (live_steps.get(l), config_steps.get(c)) {
            if live_step == config_step {
                out.push(merged(config_step, &config[c])?);
                done.push(config_step);
                (l, c) = (l + 1, c + 1);
                next_shared = shared.next();
                continue;
            }
            if config_steps.contains(live_step) && next_shared.is_some_and(|next| next != live_step) {
                l += 1;
                continue;
            }
        }
        if let Some(step) = live_steps.get(l) {
            if !config_steps.contains(step) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if done.contains(&step) {
                l += 1;
            }
        }
        if let Some(step) = config_steps.get(c) {
            out.push(merged(step, &config[c])?);
            done.push(step);
            c += 1;
            if next_shared == Some(step) {
                next_shared = shared.next();
            }
        }
    }
    Ok(out)
}

/// `value` without the members of `gone`; `None` if nothing of it is left.
pub(super) fn without(facts: Facts<'_>, value: &Value, gone: &FieldSet) -> Option<Value> {
    match value {
        Value::Object(map) if !facts.map_is_atomic() => {
            let mut out = Map::new();
            for (name, child) in map {
                let step = Step::Field(name.clone());
                if gone.has(&step) {
                    continue;
                }
                let child = match gone.below(&step) {
                    Some(below) => without(facts.field(name), child, below),
                    None => Some(child.clone()),
                };
                if let Some(child) = child {
                    out.insert(name.clone(), child);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(items) if facts.list() != ListKind::Atomic => {
            let kind = facts.list();
            let mut out = Vec::new();
            for item in items {
                // An item without a key cannot be named by a path, so it stays.
                let Ok(step) = step_of(&kind, item) else {
                    out.push(item.clone());
                    continue;
                };
                if gone.has(&step) {
                    continue;
                }
                match gone.below(&step) {
                    Some(below) => out.extend(without(facts.item(), item, below)),
                    None => out.push(item.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar.clone()),
    }
}

fn steps_of(kind: &ListKind, items: &[Value]) -> Result<Vec<Step>, String> {
    items
        .iter()
        .enumerate()
        .map(|(i, item)| step_of(kind, item).map_err(|e| format!("element {i}: {e}")))
        .collect()
}

fn step_of(kind: &ListKind, item: &Value) -> Result<Step, String> {
    let ListKind::Map(keys) = kind else { return Ok(Step::Item(item.to_string())) };
    let Some(item) = item.as_object() else {
        return Err("associative list with keys may not have non-map elements".to_owned());
    };
    let mut fields = Map::new();
    for (key, default) in keys {
        match item.get(key).filter(|v| !v.is_null()).or(default.as_ref()) {
            Some(value) => fields.insert(key.clone(), value.clone()),
            None => {
                return Err(format!(
                    "associative list with keys has an element that omits key field {key:?} (and doesn't have \
                     default value)"
                ));
            }
        };
    }
    Ok(Step::key(fields))
}

/// Equality of values; numbers by value, so that `1` and `1.0` are the same.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}
