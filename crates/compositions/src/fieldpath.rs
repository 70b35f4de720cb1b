//! Field paths as Crossplane writes them: `spec.a[0].b`, `metadata.labels['app.kubernetes.io/name']`, `spec.list[*].x`
//! (`crossplane-runtime/pkg/fieldpath`). Pure.

use serde_json::{Map, Value};

/// A larger index would allocate a list as long as itself.
const INDEX_LIMIT: usize = 10_000;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Field(String),
    Index(usize),
    /// `[*]`: every item of a list or every field of an object.
    Wildcard,
}

/// Why a path could not be followed. `NotFound` is no error for optional patches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("{0}: no such field")]
    NotFound(String),
    #[error("{path}: not {expected}")]
    WrongType { path: String, expected: &'static str },
    #[error("cannot parse path {path:?}: {problem}")]
    Syntax { path: String, problem: String },
    #[error("{0}: wildcards can only be used in toFieldPath")]
    Wildcard(String),
}

/// Parses a path.
pub(crate) fn parse(path: &str) -> Result<Vec<Segment>, PathError> {
    let syntax = |problem: &str| PathError::Syntax { path: path.to_owned(), problem: problem.to_owned() };
    let (mut segments, mut rest) = (vec![], path);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (segment, after) = bracket(inner).ok_or_else(|| syntax("unterminated '['"))?;
            segments.push(segment.ok_or_else(|| syntax("unexpected content in brackets"))?);
            rest = after;
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() {
                    return Err(syntax("unexpected '.' at the end"));
                }
                rest = after;
            }
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() || after == "." {
            return Err(syntax("unexpected '.'"));
        }
        segments.push(Segment::Field(name.to_owned()));
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    if segments.is_empty() { Err(syntax("it is empty")) } else { Ok(segments) }
}

/// What is between brackets, and the rest after them.
fn bracket(inner: &str) -> Option<(Option<Segment>, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let close = format!("{quote}]");
            let (name, after) = quoted.split_once(close.as_str())?;
            return Some((Some(Segment::Field(name.to_owned())), after));
        }
    }
    let (text, after) = inner.split_once(']')?;
    let segment = match text {
        "" => None,
        "*" => Some(Segment::Wildcard),
        number if number.bytes().all(|b| b.is_ascii_digit()) => {
            number.parse().ok().filter(|index| *index < INDEX_LIMIT).map(Segment::Index)
        }
        name => Some(Segment::Field(name.to_owned())),
    };
    Some((segment, after))
}

/// The text of a path.
pub(crate) fn text(segments: &[Segment]) -> String {
    let mut out = String::new();
    for segment in segments {
        match segment {
            Segment::Field(name) if name.contains('.') => out.push_str(&format!("[{name}]")),
            Segment::Field(name) if out.is_empty() => out.push_str(name),
            Segment::Field(name) => out.push_str(&format!(".{name}")),
            Segment::Index(index) => out.push_str(&format!("[{index}]")),
            Segment::Wildcard => out.push_str("[*]"),
        }
    }
    out
}

/// The value at a path.
pub(crate) fn get<'a>(value: &'a Value, path: &str) -> Result<&'a Value, PathError> {
    let segments = parse(path)?;
    let mut current = value;
    for (at, segment) in segments.iter().enumerate() {
        let here = || text(&segments[..=at]);
        let parent = || text(&segments[..at]);
        current = match (segment, current) {
            (Segment::Wildcard, _) => return Err(PathError::Wildcard(path.to_owned())),
            (Segment::Field(name), Value::Object(map)) => {
                map.get(name).ok_or_else(|| PathError::NotFound(here()))?
            }
            (Segment::Index(index), Value::Array(items)) => {
                items.get(*index).ok_or_else(|| PathError::NotFound(here()))?
            }
            (_, Value::Null) => return Err(PathError::NotFound(here())),
            (Segment::Field(_), _) => {
                return Err(PathError::WrongType { path: parent(), expected: "an object" });
            }
            (Segment::Index(_), _) => {
                return Err(PathError::WrongType { path: parent(), expected: "an array" });
            }
        };
    }
    Ok(current)
}

/// Every concrete path that a path with wildcards stands for.
pub(crate) fn expand(value: &Value, segments: &[Segment]) -> Vec<Vec<Segment>> {
    let Some(at) = segments.iter().position(|s| *s == Segment::Wildcard) else {
        return vec![segments.to_vec()];
    };
    let mut parent = value;
    for segment in &segments[..at] {
        let next = match segment {
            Segment::Field(name) => parent.get(name),
            Segment::Index(index) => parent.get(index),
            Segment::Wildcard => None,
        };
        let Some(next) = next else { return vec![] };
        parent = next;
    }
    let steps: Vec<Segment> = match parent {
        Value::Array(items) => (0..items.len()).map(Segment::Index).collect(),
        Value::Object(map) => map.keys().cloned().map(Segment::Field).collect(),
        _ => vec![],
    };
    let fill = |step: Segment| {
        let mut path = segments.to_vec();
        path[at] = step;
        expand(value, &path)
    };
    steps.into_iter().flat_map(fill).collect()
}

/// Puts a value at a path, making the objects and lists on the way.
pub(crate) fn set(target: &mut Value, segments: &[Segment], new: Value) -> Result<(), PathError> {
    *place(target, segments)? = new;
    Ok(())
}

/// The place at a path, made if it is not there.
pub(crate) fn place<'a>(target: &'a mut Value, segments: &[Segment]) -> Result<&'a mut Value, PathError> {
    let mut current = target;
    for (at, segment) in segments.iter().enumerate() {
        let wrong = |expected| PathError::WrongType { path: text(&segments[..at]), expected };
        match segment {
            Segment::Field(name) => {
                if current.is_null() {
                    *current = Value::Object(Map::new());
                }
                let map = current.as_object_mut().ok_or_else(|| wrong("an object"))?;
                current = map.entry(name.clone()).or_insert(Value::Null);
            }
            Segment::Index(index) => {
                if current.is_null() {
                    *current = Value::Array(vec![]);
                }
                let items = current.as_array_mut().ok_or_else(|| wrong("an array"))?;
                if items.len() <= *index {
                    items.resize(*index + 1, Value::Null);
                }
                current = &mut items[*index];
            }
            Segment::Wildcard => return Err(PathError::Wildcard(text(segments))),
        }
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_read() {
        let object = json!({"spec": {"a": [{"b": 1}], "l": {"x.y/z": "v", "k": "w"}}, "n": null});
        let check = |path: &str, expected: Result<Value, &str>| {
            let actual = get(&object, path).cloned().map_err(|e| e.to_string());
            assert_eq!(actual, expected.map_err(str::to_owned), "{path}");
        };
        check("spec.a[0].b", Ok(json!(1)));
        check("spec.l['x.y/z']", Ok(json!("v")));
        check("spec.l[\"x.y/z\"]", Ok(json!("v")));
        check("spec.l[x.y/z]", Ok(json!("v")));
        check("spec['l'].k", Ok(json!("w")));
        check("spec.c", Err("spec.c: no such field"));
        check("n.deeper", Err("n.deeper: no such field"));
        check("spec.a[3]", Err("spec.a[3]: no such field"));
        check("spec.a.b", Err("spec.a: not an object"));
        check("spec[0]", Err("spec: not an array"));
        check("spec.a[*].b", Err("spec.a[*].b: wildcards can only be used in toFieldPath"));
        check("spec..a", Err("cannot parse path \"spec..a\": unexpected '.'"));
        check("spec.l['x", Err("cannot parse path \"spec.l['x\": unterminated '['"));
        check("", Err("cannot parse path \"\": it is empty"));
    }

    #[test]
    fn paths_write() {
        let check = |mut object: Value, path: &str, expected: Value| {
            let segments = parse(path).unwrap();
            for concrete in expand(&object.clone(), &segments) {
                set(&mut object, &concrete, json!("new")).unwrap();
            }
            assert_eq!(object, expected, "{path}");
        };
        check(json!({}), "a.b[1].c", json!({"a": {"b": [null, {"c": "new"}]}}));
        check(json!({"a": [{"b": 1}, {}]}), "a[*].b", json!({"a": [{"b": "new"}, {"b": "new"}]}));
        check(
            json!({"a": {"x": {}, "y": {}}}),
            "a[*].b",
            json!({"a": {"x": {"b": "new"}, "y": {"b": "new"}}}),
        );
        check(json!({}), "metadata.labels['a.b/c']", json!({"metadata": {"labels": {"a.b/c": "new"}}}));
        assert!(set(&mut json!({"a": 1}), &parse("a.b").unwrap(), json!(1)).is_err());
        assert!(parse("a[99999999]").is_err(), "an index that large is a mistake");
    }
}
