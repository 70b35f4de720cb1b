//! What differs between two objects, path by path: for drift detection and for pages that show a change.

use serde_json::Value;

/// One difference. Absent and null are not the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// For example `spec.template.spec.containers[0].image`; keys with dots are in brackets: `metadata.labels[a.b/c]`.
    pub path: String,
    /// `None` if it was added.
    pub before: Option<Value>,
    /// `None` if it was removed.
    pub after: Option<Value>,
}

/// All differences, in the order of `before`, then what only `after` has. Lists are compared by position, unless
/// all items of both have distinct names: then by `name`, as `containers[name=web]`.
pub fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut out = Vec::new();
    walk(String::new(), Some(before), Some(after), &mut out);
    out
}

/// The path of a field below `base`.
pub(crate) fn child_path(base: &str, key: &str) -> String {
    if key.contains(['.', '/', '[', ']']) {
        format!("{base}[{key}]")
    } else if base.is_empty() {
        key.to_owned()
    } else {
        format!("{base}.{key}")
    }
}

fn walk(path: String, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Change>) {
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|k| !a.contains_key(*k));
            for key in a.keys().chain(added) {
                walk(child_path(&path, key), a.get(key), b.get(key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => walk_lists(&path, a, b, out),
        (a, b) if a != b => out.push(Change { path, before: a.cloned(), after: b.cloned() }),
        _ => {}
    }
}

fn walk_lists(path: &str, before: &[Value], after: &[Value], out: &mut Vec<Change>) {
    if let (Some(old), Some(new)) = (names(before), names(after)) {
        let added = new.iter().filter(|n| !old.contains(*n));
        for name in old.iter().chain(added) {
            let find = |names: &[&str], items: &'_ [Value]| {
                names.iter().position(|n| n == name).and_then(|i| items.get(i)).cloned()
            };
            let (a, b) = (find(&old, before), find(&new, after));
            walk(format!("{path}[name={name}]"), a.as_ref(), b.as_ref(), out);
        }
        return;
    }
    for i in 0..before.len().max(after.len()) {
        walk(format!("{path}[{i}]"), before.get(i), after.get(i), out);
    }
}

/// The names of all items, if each has one and none occurs twice.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let mut out: Vec<&str> = Vec::new();
    for item in items {
        let name = item.get("name")?.as_str()?;
        if out.contains(&name) {
            return None;
        }
        out.push(name);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_path() {
        let before =
            json!({"a": 1, "l": [{"name": "x", "v": 1}, {"name": "y"}], "m": {"k.v": "1"}, "p": [1, 2]});
        let after =
            json!({"l": [{"name": "y"}, {"name": "x", "v": 2}], "m": {"k.v": "2"}, "p": [1], "n": null});
        let paths: Vec<String> = diff(&before, &after).into_iter().map(|c| c.path).collect();
        assert_eq!(paths, ["a", "l[name=x].v", "m[k.v]", "p[1]", "n"]);
        assert!(diff(&before, &before).is_empty());
    }
}
