//! What an entity must look like before the catalog takes it: the envelope rules of Backstage's descriptor format
//! and the required fields of the kinds that it knows. Pure.

use serde_json::Value;

/// Longest name, tag, or label value, in characters.
const NAME_MAX: usize = 63;
/// Longest domain prefix of a label or annotation key.
const PREFIX_MAX: usize = 253;

/// Kinds and the `spec` fields each needs, as Backstage's entity policies have them.
const KINDS: &[(&str, &[&str])] = &[
    ("component", &["type", "lifecycle", "owner"]),
    ("api", &["type", "lifecycle", "owner", "definition"]),
    ("resource", &["type", "owner"]),
    ("system", &["owner"]),
    ("domain", &["owner"]),
    ("group", &["type", "children"]),
    ("user", &[]),
    ("location", &[]),
    ("template", &["type", "steps"]),
];

/// Everything that is wrong with an entity, in words that name the field; empty when it is fine.
#[must_use]
pub fn problems(entity: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if !entity.is_object() {
        return vec!["the document is not a map".to_owned()];
    }
    let text =
        |path: &[&str]| path.iter().try_fold(entity, |value, key| value.get(key)).and_then(Value::as_str);
    check_api_version(text(&["apiVersion"]), &mut problems);
    let kind = text(&["kind"]).unwrap_or_default();
    if kind.is_empty() || kind.len() > NAME_MAX || !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        problems.push("kind: must be a word of letters and digits".to_owned());
    }
    match text(&["metadata", "name"]) {
        Some(name) if is_name(name) => {}
        Some(name) => problems.push(format!(
            "metadata.name: \"{name}\" must be 1 to {NAME_MAX} letters and digits, joined by -, _ or ."
        )),
        None => problems.push("metadata.name: is missing".to_owned()),
    }
    if let Some(namespace) = entity.get("metadata").and_then(|metadata| metadata.get("namespace")) {
        let valid = namespace.as_str().is_some_and(|namespace| is_joined(namespace, "-"));
        if !valid {
            problems.push(format!("metadata.namespace: {namespace} must be letters and digits, joined by -"));
        }
    }
    check_metadata(entity.get("metadata").unwrap_or(&Value::Null), &mut problems);
    check_spec(&kind.to_lowercase(), entity.get("spec").unwrap_or(&Value::Null), &mut problems);
    problems
}

/// Whether a text is a valid entity name: 1 to 63 of `[a-zA-Z0-9]`, joined by `-`, `_` or `.`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    is_joined(text, "-_.")
}

fn is_joined(text: &str, joints: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.len() <= NAME_MAX
        && text.chars().all(|c| alphanumeric(c) || joints.contains(c))
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
}

fn check_api_version(version: Option<&str>, problems: &mut Vec<String>) {
    match version {
        Some(version) if !version.is_empty() && version.split('/').count() <= 2 => {}
        Some(version) => problems.push(format!("apiVersion: \"{version}\" must have the form group/version")),
        None => problems.push("apiVersion: is missing".to_owned()),
    }
}

fn check_metadata(metadata: &Value, problems: &mut Vec<String>) {
    for (field, is_label) in [("labels", true), ("annotations", false)] {
        let Some(map) = metadata.get(field).filter(|map| !map.is_null()) else { continue };
        let Some(map) = map.as_object() else {
            problems.push(format!("metadata.{field}: must be a map of texts"));
            continue;
        };
        for (key, value) in map {
            let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
            if !is_name(name) || prefix.len() > PREFIX_MAX {
                problems.push(format!("metadata.{field}.{key}: is not a valid key"));
            }
            match value.as_str() {
                Some(text) if !is_label || text.is_empty() || is_name(text) => {}
                Some(text) => {
                    problems.push(format!("metadata.labels.{key}: \"{text}\" is not a valid label value"))
                }
                None => problems.push(format!("metadata.{field}.{key}: must be a text")),
            }
        }
    }
    if let Some(tags) = metadata.get("tags").filter(|tags| !tags.is_null()) {
        let valid = |tag: &Value| {
            tag.as_str().is_some_and(|tag| {
                !tag.is_empty()
                    && tag.len() <= NAME_MAX
                    && tag.split('-').all(|part| {
                        !part.is_empty()
                            && part
                                .chars()
                                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+#:".contains(c))
                    })
            })
        };
        if !tags.as_array().is_some_and(|tags| tags.iter().all(valid)) {
            problems.push("metadata.tags: must be a list of lower-case words such as node or c++".to_owned());
        }
    }
}

fn check_spec(kind: &str, spec: &Value, problems: &mut Vec<String>) {
    let Some((_, required)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        if !kind.is_empty() {
            problems.push(format!("kind: \"{kind}\" is not a kind that this catalog knows"));
        }
        return;
    };
    for field in *required {
        let present = match spec.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            // `definition` may be a substitution; lists such as `children` and `steps` may be empty.
            Some(_) => true,
        };
        if !present {
            problems.push(format!("spec.{field}: is missing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::problems;
    use serde_json::json;

    #[test]
    fn problems_name_the_field() {
        let check = |change: serde_json::Value, expected: &[&str]| {
            let mut entity = json!({
                "apiVersion": "backstage.io/v1alpha1", "kind": "Component", "metadata": {"name": "web"},
                "spec": {"type": "website", "lifecycle": "production", "owner": "ops"}
            });
            for (key, value) in change.as_object().unwrap() {
                entity[key] = value.clone();
            }
            let found = problems(&entity);
            let fields: Vec<&str> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
            assert_eq!(fields, expected, "{found:?}");
        };
        check(json!({}), &[]);
        check(json!({"metadata": {"name": "Dash Board!"}}), &["metadata.name"]);
        check(json!({"metadata": {}}), &["metadata.name"]);
        check(json!({"metadata": {"name": "a", "namespace": "a_b"}}), &["metadata.namespace"]);
        check(json!({"metadata": {"name": "a", "tags": ["Java"]}}), &["metadata.tags"]);
        check(json!({"metadata": {"name": "a", "tags": ["c++", "node-js"]}}), &[]);
        check(json!({"metadata": {"name": "a", "labels": {"a.b/c": "x y"}}}), &["metadata.labels.a.b/c"]);
        check(json!({"spec": {"type": "website"}}), &["spec.lifecycle", "spec.owner"]);
        check(json!({"kind": "Banana"}), &["kind"]);
        check(json!({"apiVersion": null}), &["apiVersion"]);
    }
}
