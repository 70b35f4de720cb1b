//! Patches of function-patch-and-transform (`patches.go`): a value is read, transformed, and written elsewhere. Pure.

use serde_json::{Map, Value};

use super::transforms::resolve_all;
use crate::fieldpath::{self, PathError};
use crate::gofmt::sprintf;

type Applied = Result<(), String>;

/// Patches that write to the composed resource: from the composite and from the environment.
pub(super) fn to_composed(
    patch: &Value,
    composite: &Value,
    environment: &Value,
    composed: &mut Value,
) -> Applied {
    match kind(patch) {
        "FromCompositeFieldPath" => field(patch, composite, composed),
        "FromEnvironmentFieldPath" => field(patch, environment, composed),
        "CombineFromComposite" => combine(patch, composite, composed),
        "CombineFromEnvironment" => combine(patch, environment, composed),
        "ToCompositeFieldPath" | "CombineToComposite" | "ToEnvironmentFieldPath" | "CombineToEnvironment" => {
            Ok(())
        }
        other => Err(format!("patch type {other} is unsupported")),
    }
}

/// Patches that read the composed resource as it is observed.
pub(super) fn from_composed(
    patch: &Value,
    composed: &Value,
    composite: &mut Value,
    environment: &mut Value,
) -> Applied {
    match kind(patch) {
        "ToCompositeFieldPath" => field(patch, composed, composite),
        "ToEnvironmentFieldPath" => field(patch, composed, environment),
        "CombineToComposite" => combine(patch, composed, composite),
        "CombineToEnvironment" => combine(patch, composed, environment),
        _ => Ok(()),
    }
}

/// Patches between the composite and the environment, without a composed resource.
pub(super) fn apply_environment(
    patch: &Value,
    composite: &Value,
    desired_composite: &mut Value,
    environment: &mut Value,
) -> Applied {
    match kind(patch) {
        "FromCompositeFieldPath" => field(patch, composite, environment),
        "CombineFromComposite" => combine(patch, composite, environment),
        "ToCompositeFieldPath" => field(patch, &environment.clone(), desired_composite),
        "CombineToComposite" => combine(patch, &environment.clone(), desired_composite),
        other => Err(format!("patch type {other} cannot be used in the environment")),
    }
}

fn kind(patch: &Value) -> &str {
    patch["type"].as_str().unwrap_or("FromCompositeFieldPath")
}

fn is_optional(patch: &Value) -> bool {
    patch["policy"]["fromFieldPath"] != "Required"
}

fn transforms(patch: &Value) -> &[Value] {
    patch["transforms"].as_array().map_or(&[], Vec::as_slice)
}

fn field(patch: &Value, from: &Value, to: &mut Value) -> Applied {
    let Some(source) = patch["fromFieldPath"].as_str() else {
        return Err(format!("fromFieldPath is required for patch type {}", kind(patch)));
    };
    let target = patch["toFieldPath"].as_str().unwrap_or(source);
    let value = match fieldpath::get(from, source) {
        Ok(value) => value.clone(),
        Err(PathError::NotFound(_)) if is_optional(patch) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let value = resolve_all(transforms(patch), value).map_err(|e| e.to_string())?;
    let segments = fieldpath::parse(target).map_err(|e| e.to_string())?;
    let places = fieldpath::expand(to, &segments);
    if places.is_empty() {
        return Err(format!("cannot expand wildcards: {target}: no such field"));
    }
    for place in places {
        let place = fieldpath::place(to, &place).map_err(|e| e.to_string())?;
        *place = merged(place, value.clone(), patch["policy"]["toFieldPath"].as_str());
    }
    Ok(())
}

fn combine(patch: &Value, from: &Value, to: &mut Value) -> Applied {
    let config = &patch["combine"];
    let Some(target) = patch["toFieldPath"].as_str() else {
        return Err(format!("toFieldPath is required for patch type {}", kind(patch)));
    };
    if config["strategy"].as_str().unwrap_or("string") != "string" {
        return Err(format!("combine strategy {} is not supported", config["strategy"]));
    }
    let Some(format) = config["string"]["fmt"].as_str() else {
        return Err("given combine strategy string requires configuration".to_owned());
    };
    let mut variables = vec![];
    for variable in config["variables"].as_array().into_iter().flatten() {
        match fieldpath::get(from, variable["fromFieldPath"].as_str().unwrap_or_default()) {
            Ok(value) => variables.push(value.clone()),
            Err(PathError::NotFound(_)) if is_optional(patch) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    if variables.is_empty() {
        return Err("combine patch types require at least one variable".to_owned());
    }
    let value =
        resolve_all(transforms(patch), sprintf(format, &variables).into()).map_err(|e| e.to_string())?;
    let segments = fieldpath::parse(target).map_err(|e| e.to_string())?;
    fieldpath::set(to, &segments, value).map_err(|e| e.to_string())
}

/// What stands at the target after the patch: replaced, or merged as `policy.toFieldPath` says.
fn merged(old: &Value, new: Value, policy: Option<&str>) -> Value {
    let (force, append) = match policy {
        Some("MergeObjects" | "MergeObject") => (false, false),
        Some("MergeObjectsAppendArrays") => (false, true),
        Some("ForceMergeObjects") => (true, false),
        Some("ForceMergeObjectsAppendArrays" | "AppendArray") => (true, true),
        _ => return new,
    };
    merge(old, new, force, append)
}

fn merge(old: &Value, new: Value, force: bool, append: bool) -> Value {
    match (old, new) {
        (Value::Null, new) => new,
        (Value::Object(old), Value::Object(new)) => {
            let mut out: Map<String, Value> = old.clone();
            for (key, value) in new {
                let value = match out.get(&key) {
                    Some(existing) => merge(existing, value, force, append),
                    None => value,
                };
                out.insert(key, value);
            }
            out.into()
        }
        (Value::Array(old), Value::Array(new)) if append => old.iter().cloned().chain(new).collect(),
        (_, new) if force => new,
        (old, _) => old.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn composite() -> Value {
        json!({"metadata": {"name": "shop"}, "spec": {"team": "blue", "port": 3001, "labels": {"a": "1", "b": "2"}}})
    }

    #[test]
    fn patches_read_transform_and_write() {
        let check = |patch: Value, mut base: Value, expected: Result<Value, &str>| {
            let outcome = to_composed(&patch, &composite(), &json!({"region": "eu"}), &mut base);
            assert_eq!(outcome.map(|()| base), expected.map_err(str::to_owned), "{patch}");
        };
        check(
            json!({"fromFieldPath": "spec.port", "toFieldPath": "spec.p"}),
            json!({}),
            Ok(json!({"spec": {"p": 3001}})),
        );
        check(json!({"fromFieldPath": "spec.team"}), json!({}), Ok(json!({"spec": {"team": "blue"}})));
        check(json!({"fromFieldPath": "spec.none"}), json!({"a": 1}), Ok(json!({"a": 1})));
        let required = json!({"fromFieldPath": "spec.none", "policy": {"fromFieldPath": "Required"}});
        check(required, json!({}), Err("spec.none: no such field"));
        let combined = json!({"type": "CombineFromComposite", "toFieldPath": "metadata.name", "combine": {
            "variables": [{"fromFieldPath": "metadata.name"}, {"fromFieldPath": "spec.team"}],
            "strategy": "string", "string": {"fmt": "%s-%s"}}});
        check(combined, json!({}), Ok(json!({"metadata": {"name": "shop-blue"}})));
        let wild = json!({"fromFieldPath": "spec.team", "toFieldPath": "c[*].t"});
        check(wild.clone(), json!({"c": [{}, {"t": 1}]}), Ok(json!({"c": [{"t": "blue"}, {"t": "blue"}]})));
        check(wild, json!({}), Err("cannot expand wildcards: c[*].t: no such field"));
        let env = json!({"type": "FromEnvironmentFieldPath", "fromFieldPath": "region", "toFieldPath": "r"});
        check(env, json!({}), Ok(json!({"r": "eu"})));
        let text = json!({"fromFieldPath": "spec.port", "toFieldPath": "p", "transforms": [
            {"type": "convert", "convert": {"toType": "string"}}, {"type": "string", "string": {"fmt": "port %s"}}]});
        check(text, json!({}), Ok(json!({"p": "port 3001"})));
    }

    #[test]
    fn merge_policies() {
        let check = |policy: &str, expected: Value| {
            let old = json!({"a": "0", "l": [1]});
            let new = json!({"a": "1", "b": "2", "l": [2]});
            assert_eq!(merged(&old, new, Some(policy)), expected, "{policy}");
        };
        check("Replace", json!({"a": "1", "b": "2", "l": [2]}));
        check("MergeObjects", json!({"a": "0", "l": [1], "b": "2"}));
        check("MergeObjectsAppendArrays", json!({"a": "0", "l": [1, 2], "b": "2"}));
        check("ForceMergeObjects", json!({"a": "1", "l": [2], "b": "2"}));
        check("ForceMergeObjectsAppendArrays", json!({"a": "1", "l": [1, 2], "b": "2"}));
    }

    #[test]
    fn the_composite_learns_from_what_is_observed() {
        let (mut composite, mut environment) = (json!({}), json!({}));
        let patch = json!({"type": "ToCompositeFieldPath", "fromFieldPath": "status.ready", "toFieldPath": "status.up"});
        from_composed(&patch, &json!({"status": {"ready": 2}}), &mut composite, &mut environment).unwrap();
        assert_eq!(composite, json!({"status": {"up": 2}}));
    }
}
