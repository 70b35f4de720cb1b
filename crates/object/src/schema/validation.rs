//! Checking values against a schema, with the texts of Kubernetes' OpenAPI validation.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::{field_schema, flag, formats, is_embedded};
use crate::cause::Cause;
use crate::regexp;

/// Patterns of a schema, compiled once: validation runs on every write.
pub(super) type Patterns = BTreeMap<String, Regex>;

pub(super) fn validate(
    schema: &Value,
    patterns: &Patterns,
    object: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(patterns, schema, object, old, "", &mut causes);
    causes
}

/// Compiles every `pattern` in a schema; those that do not compile have been refused with the schema.
pub(super) fn patterns(schema: &Value) -> Patterns {
    let mut out = Patterns::new();
    collect_patterns(schema, &mut out);
    out
}

fn collect_patterns(schema: &Value, out: &mut Patterns) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(pattern)) = map.get("pattern")
                && let Ok(regex) = regexp::compile(pattern)
            {
                out.insert(pattern.clone(), regex);
            }
            map.values().for_each(|child| collect_patterns(child, out));
        }
        Value::Array(items) => items.iter().for_each(|child| collect_patterns(child, out)),
        _ => {}
    }
}

fn check(
    patterns: &Patterns,
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    // What was stored before is not held against a write that does not touch it.
    if old == Some(value) {
        return;
    }
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if let Some(cause) = wrong_type(schema, value, path) {
        causes.push(cause);
        return;
    }
    check_enum(schema, value, path, causes);
    match value {
        Value::Object(map) => check_map(patterns, schema, map, old, path, causes),
        Value::Array(items) => check_list(patterns, schema, items, old, path, causes),
        Value::String(text) => check_string(patterns, schema, text, path, causes),
        Value::Number(number) => check_number(schema, number, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
    check_junctors(patterns, schema, value, path, causes);
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> Option<Cause> {
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let wanted = match schema.get("type").and_then(Value::as_str) {
        _ if int_or_string => "integer,string",
        Some(wanted) => wanted,
        None => return None,
    };
    let is_integer = |n: &Number| n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f.fract() == 0.0);
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if is_integer(n) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = wanted.split(',').any(|w| w == actual || (w == "number" && actual == "integer"));
    if fits {
        return None;
    }
    let detail = format!("{path} in body must be of type {wanted}: {actual:?}");
    Some(Cause::type_invalid(path, &actual.into(), detail))
}

fn check_enum(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else { return };
    if allowed.contains(value) {
        return;
    }
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let allowed: Vec<String> = allowed.iter().map(plain).collect();
    causes.push(Cause::not_supported(path, value, &allowed));
}

fn check_map(
    patterns: &Patterns,
    schema: &Value,
    map: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            causes.push(Cause::required(join(path, name), ""));
        }
    }
    if is_embedded(schema) {
        for name in ["apiVersion", "kind"] {
            if map.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                causes.push(Cause::required(join(path, name), "must not be empty"));
            }
        }
    }
    let count = map.len();
    if let Some(max) = limit(schema, "maxProperties").filter(|max| count > *max) {
        causes.push(Cause::too_many(path, count, max));
    }
    if let Some(min) = limit(schema, "minProperties").filter(|min| count < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        causes.push(Cause::invalid(path, &Value::Object(map.clone()), detail));
    }
    for (name, child) in map {
        if let Some(inner) = field_schema(schema, name) {
            check(patterns, inner, child, old.and_then(|o| o.get(name)), &join(path, name), causes);
        }
    }
}

fn check_list(
    patterns: &Patterns,
    schema: &Value,
    items: &[Value],
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let count = items.len();
    if let Some(max) = limit(schema, "maxItems").filter(|max| count > *max) {
        causes.push(Cause::too_many(path, count, max));
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| count < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        causes.push(Cause::invalid(path, &Value::Array(items.to_vec()), detail));
    }
    let Some(inner) = schema.get("items") else { return };
    for (i, item) in items.iter().enumerate() {
        check(patterns, inner, item, same_item(schema, item, old), &format!("{path}[{i}]"), causes);
    }
}

/// The old item that is this one's earlier self; only lists that are maps tell.
fn same_item<'a>(schema: &Value, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if schema.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
        return None;
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array)?;
    let same = |other: &&Value| keys.iter().filter_map(Value::as_str).all(|k| other.get(k) == item.get(k));
    old?.as_array()?.iter().find(same)
}

fn check_string(patterns: &Patterns, schema: &Value, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count();
    let value = Value::from(text);
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        causes.push(Cause::too_long(path, max));
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        causes.push(Cause::invalid(path, &value, detail));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && patterns.get(pattern).is_some_and(|regex| !regex.is_match(text))
    {
        let detail = format!("{path} in body should match '{pattern}'");
        causes.push(Cause::invalid(path, &value, detail));
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && !formats::holds(format, text)
    {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        causes.push(Cause::invalid(path, &value, detail));
    }
}

fn check_number(schema: &Value, number: &Number, path: &str, causes: &mut Vec<Cause>) {
    let Some(actual) = number.as_f64() else { return };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let shown = |name: &str| schema.get(name).map(Value::to_string).unwrap_or_default();
    let mut report = |detail: String| {
        causes.push(Cause::invalid(path, &Value::Number(number.clone()), format!("{path} in body {detail}")));
    };
    if let Some(max) = bound("maximum") {
        if flag(schema, "exclusiveMaximum") && actual >= max {
            report(format!("should be less than {}", shown("maximum")));
        } else if actual > max {
            report(format!("should be less than or equal to {}", shown("maximum")));
        }
    }
    if let Some(min) = bound("minimum") {
        if flag(schema, "exclusiveMinimum") && actual <= min {
            report(format!("should be greater than {}", shown("minimum")));
        } else if actual < min {
            report(format!("should be greater than or equal to {}", shown("minimum")));
        }
    }
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0)
        && (actual / step).fract() != 0.0
    {
        report(format!("should be a multiple of {}", shown("multipleOf")));
    }
    let range = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => Some(f64::from(i32::MIN)..=f64::from(i32::MAX)),
        _ => None,
    };
    if range.is_some_and(|range| !range.contains(&actual)) {
        report("must be of type int32".to_owned() + &format!(": {:?}", number.to_string()));
    }
}

fn check_junctors(patterns: &Patterns, schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let valid = |inner: &Value| {
        let mut found = Vec::new();
        check(patterns, inner, value, None, path, &mut found);
        found.is_empty()
    };
    let list = |name: &str| schema.get(name).and_then(Value::as_array);
    let mut report =
        |detail: String| causes.push(Cause::invalid(path, &"".into(), format!("{path:?} must {detail}")));
    if list("allOf").is_some_and(|all| !all.iter().all(valid)) {
        report("validate all the schemas (allOf)".to_owned());
    }
    if list("anyOf").is_some_and(|any| !any.iter().any(valid)) {
        report("validate at least one schema (anyOf)".to_owned());
    }
    if let Some(one) = list("oneOf") {
        match one.iter().filter(|inner| valid(inner)).count() {
            1 => {}
            0 => report("validate one and only one schema (oneOf). Found none valid".to_owned()),
            n => report(format!("validate one and only one schema (oneOf). Found {n} valid alternatives")),
        }
    }
    if schema.get("not").is_some_and(valid) {
        report("not validate the schema (not)".to_owned());
    }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
