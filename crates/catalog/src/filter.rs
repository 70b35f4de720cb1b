//! Queries over entities, as `/entities/by-query` has them: filters over flattened rows, full text, order, fields.
//! Row keys follow Backstage's search table: `spec.type`, `metadata.tags` and `metadata.tags.<tag>`, `relations.<type>`.

use serde_json::{Map, Value};

use crate::api::Entity;

/// Fields that full text looks at when the query names none.
const TEXT_FIELDS: &[&str] =
    &["metadata.name", "metadata.title", "metadata.description", "metadata.tags", "spec.profile.displayname"];

/// One query. All parts are optional.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Any of these must match; each is a list of conditions that must all hold.
    pub any_of: Vec<Vec<Condition>>,
    /// Text that one of the fields must contain, case ignored.
    pub text: Option<String>,
    /// Fields for `text`; empty: name, title, description, tags, display name.
    pub text_fields: Vec<String>,
    /// `(field, descending)`; then by reference.
    pub order: Vec<(String, bool)>,
}

/// One condition of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Path, lower case.
    pub key: String,
    /// Values, lower case, one of which must be there; empty: the key must exist.
    pub values: Vec<String>,
}

/// Reads one `filter=` value: conditions joined by commas, each `key` or `key=value`; a key given twice means either.
#[must_use]
pub fn parse(filter: &str) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = Vec::new();
    for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value.trim().to_lowercase())),
            None => (part.to_lowercase(), None),
        };
        match conditions.iter_mut().find(|condition| condition.key == key) {
            Some(condition) => condition.values.extend(value),
            None => conditions.push(Condition { key, values: value.into_iter().collect() }),
        }
    }
    conditions
}

/// The entities that match, in the order asked for.
pub(crate) fn select<'a>(entities: impl Iterator<Item = &'a Entity>, query: &Query) -> Vec<&'a Entity> {
    let text = query.text.as_deref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    let mut found: Vec<&Entity> = entities
        .filter(|entity| query.any_of.is_empty() || query.any_of.iter().any(|all| holds(entity, all)))
        .filter(|entity| text.as_deref().is_none_or(|text| contains(entity, text, &query.text_fields)))
        .collect();
    if !query.order.is_empty() {
        found.sort_by(|left, right| {
            query.order.iter().fold(std::cmp::Ordering::Equal, |order, (field, descending)| {
                let field = field.to_lowercase();
                let next = match (first(left, &field), first(right, &field)) {
                    (Some(left), Some(right)) if *descending => right.cmp(left),
                    (Some(left), Some(right)) => left.cmp(right),
                    // Entities without the field come last, whatever the direction.
                    (left, right) => right.is_some().cmp(&left.is_some()),
                };
                order.then(next)
            })
        });
    }
    found
}

/// How many entities have each value of a facet, most frequent first.
pub(crate) fn facet(entities: &[&Entity], key: &str) -> Vec<(String, usize)> {
    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for entity in entities {
        let mut values = values_at(&entity.json, key);
        values.sort();
        values.dedup();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    counts
}

/// The entity cut down to the named fields (dot paths); the whole entity when none is named.
#[must_use]
pub fn project(entity: &Value, fields: &[String]) -> Value {
    if fields.is_empty() {
        return entity.clone();
    }
    let mut projected = Value::Object(Map::new());
    for field in fields {
        copy_path(entity, &mut projected, field);
    }
    projected
}

/// The search rows of an entity: `(key, value)`, both lower case.
pub(crate) fn rows_of(entity: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Some(fields) = entity.as_object() {
        for (key, value) in fields.iter().filter(|(key, _)| *key != "relations" && *key != "status") {
            flatten(&key.to_lowercase(), value, &mut rows);
        }
    }
    for relation in entity.get("relations").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| relation.get(key).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        rows.push((format!("relations.{}", text("type")), text("targetRef")));
    }
    rows
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&format!("{path}.{}", key.to_lowercase()), value, rows);
            }
        }
        Value::Array(items) => {
            for item in items {
                flatten(path, item, rows);
                if let Some(text) = item.as_str() {
                    rows.push((format!("{path}.{}", text.to_lowercase()), "true".to_owned()));
                }
            }
        }
        Value::Null => rows.push((path.to_owned(), "null".to_owned())),
        Value::String(text) => rows.push((path.to_owned(), text.to_lowercase())),
        other => rows.push((path.to_owned(), other.to_string())),
    }
}

fn holds(entity: &Entity, all: &[Condition]) -> bool {
    all.iter().all(|condition| {
        entity.rows.iter().any(|(key, value)| {
            *key == condition.key && (condition.values.is_empty() || condition.values.contains(value))
        })
    })
}

fn contains(entity: &Entity, text: &str, fields: &[String]) -> bool {
    let named: Vec<String> = fields.iter().map(|field| field.to_lowercase()).collect();
    entity.rows.iter().any(|(key, value)| {
        let looked_at = match named.as_slice() {
            [] => TEXT_FIELDS.contains(&key.as_str()),
            named => named.contains(key),
        };
        looked_at && value.contains(text)
    })
}

fn first<'a>(entity: &'a Entity, key: &str) -> Option<&'a str> {
    entity.rows.iter().find(|(row, _)| row == key).map(|(_, value)| value.as_str())
}

/// Values at a path as written (not lower-cased); keys may themselves contain dots.
fn values_at(value: &Value, path: &str) -> Vec<String> {
    if path.is_empty() {
        return match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items.iter().flat_map(|item| values_at(item, path)).collect(),
            Value::Null | Value::Object(_) => Vec::new(),
            other => vec![other.to_string()],
        };
    }
    if let Some(kind) = path.strip_prefix("relations.") {
        let relations = value.get("relations").and_then(Value::as_array).into_iter().flatten();
        return relations
            .filter(|relation| {
                relation["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(kind))
            })
            .filter_map(|relation| relation["targetRef"].as_str().map(str::to_owned))
            .collect();
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(key, value)| {
                let rest = path.get(..key.len()).filter(|start| start.eq_ignore_ascii_case(key))?;
                let rest = &path[rest.len()..];
                if rest.is_empty() {
                    Some(values_at(value, ""))
                } else {
                    Some(values_at(value, rest.strip_prefix('.')?))
                }
            })
            .flatten()
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| values_at(item, path)).collect(),
        _ => Vec::new(),
    }
}

fn copy_path(from: &Value, to: &mut Value, path: &str) {
    let (Some(fields), Some(target)) = (from.as_object(), to.as_object_mut()) else { return };
    for (key, value) in fields {
        if path == key {
            target.insert(key.clone(), value.clone());
        } else if let Some(rest) = path.strip_prefix(key.as_str()).and_then(|rest| rest.strip_prefix('.'))
            && value.is_object()
        {
            let inner = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            copy_path(value, inner, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EntityRef;
    use serde_json::json;

    fn entities() -> Vec<Entity> {
        let make = |kind: &str, name: &str, more: Value| {
            let mut json = json!({"kind": kind, "metadata": {"name": name, "tags": ["java"], "annotations": {"a.b/c": "D"}},
                "relations": [{"type": "ownedBy", "targetRef": "group:default/ops"}]});
            json["spec"] = more;
            Entity { reference: EntityRef::new(kind, "default", name), rows: rows_of(&json), json }
        };
        vec![
            make("Component", "alpha", json!({"type": "website"})),
            make("Component", "beta", json!({"type": "service"})),
            make("API", "gamma", json!({})),
        ]
    }

    #[test]
    fn filters_follow_backstage() {
        let check = |filters: &[&str], expected: &[&str]| {
            let query =
                Query { any_of: filters.iter().map(|filter| parse(filter)).collect(), ..Query::default() };
            let entities = entities();
            let found: Vec<&str> =
                select(entities.iter(), &query).iter().map(|e| e.reference.name.as_str()).collect();
            assert_eq!(found, expected, "{filters:?}");
        };
        check(&[], &["alpha", "beta", "gamma"]);
        check(&["kind=component"], &["alpha", "beta"]);
        check(&["kind=component,spec.type=website"], &["alpha"]);
        check(&["kind=component,spec.type=website,spec.type=service"], &["alpha", "beta"]);
        check(&["spec.type=website", "kind=API"], &["alpha", "gamma"]);
        check(&["spec.type"], &["alpha", "beta"]);
        check(&["metadata.tags.java"], &["alpha", "beta", "gamma"]);
        check(&["metadata.tags=java,kind=api"], &["gamma"]);
        check(&["relations.ownedby=group:default/ops,kind=api"], &["gamma"]);
        check(&["metadata.annotations.a.b/c=d,kind=api"], &["gamma"]);
        check(&["kind=user"], &[]);
    }

    #[test]
    fn text_order_facets_and_fields() {
        let entities = entities();
        let query = Query { text: Some("ALP".to_owned()), ..Query::default() };
        assert_eq!(select(entities.iter(), &query).len(), 1);
        let query = Query { order: vec![("spec.type".to_owned(), true)], ..Query::default() };
        let names: Vec<&str> =
            select(entities.iter(), &query).iter().map(|e| e.reference.name.as_str()).collect();
        assert_eq!(names, ["alpha", "beta", "gamma"]);
        let all: Vec<&Entity> = entities.iter().collect();
        assert_eq!(facet(&all, "kind"), [("Component".to_owned(), 2), ("API".to_owned(), 1)]);
        assert_eq!(facet(&all, "relations.ownedBy"), [("group:default/ops".to_owned(), 3)]);
        assert_eq!(facet(&all, "metadata.annotations.a.b/c"), [("D".to_owned(), 3)]);
        let fields = ["metadata.name".to_owned(), "metadata.annotations.a.b/c".to_owned()];
        assert_eq!(
            project(&entities[0].json, &fields),
            json!({"metadata": {"name": "alpha", "annotations": {"a.b/c": "D"}}})
        );
    }
}
