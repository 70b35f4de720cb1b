//! Structured text in a scalar: a replacement may lead into the YAML or JSON that a ConfigMap's entry holds.

mod write;

use serde_json::Value;

use crate::node::{Node, Scalar, read_embedded, to_value};
use crate::path::{self, Change};

/// The object with a change inside of the text that the path passes through; none where there is no such text, or the
/// path leads nowhere in it.
pub(super) fn change(object: &Node, path: &[String], change: &Change<'_>) -> Option<Node> {
    let (outer, inner, scalar) = (1..path.len()).find_map(|length| {
        let (outer, inner) = path.split_at(length);
        let scalar = path::get(object, outer).ok().flatten()?.as_scalar()?;
        Some((outer, inner, scalar))
    })?;
    let tree = read_embedded(&scalar.text).ok()?.into_iter().next()?;
    match change.apply(&tree, inner).ok()? {
        (_, 0) => None,
        (None, _) => Some(object.clone()),
        (Some(changed), _) => {
            let text = written(&scalar.text, &changed)?;
            let new = Node::Scalar(Scalar { text: text.into(), ..scalar.clone() });
            path::replaced(object, outer, new).ok()
        }
    }
}

/// A document in the form that the text had before.
fn written(before: &str, changed: &Node) -> Option<String> {
    let trimmed = before.trim();
    if !trimmed.starts_with(['{', '[']) {
        return Some(write::yaml(before, changed)?.trim().to_owned());
    }
    let mut value: Value = to_value(changed).ok()?;
    value.sort_all_objects();
    let is_pretty = before.contains('\n') && before.contains("  ");
    let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    Some(escaped(&text.ok()?))
}

/// Go's JSON is safe to stand in HTML.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}
