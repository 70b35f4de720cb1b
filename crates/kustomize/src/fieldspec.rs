//! Field specs: which field of which kind a transformation concerns.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::resource::Gvk;

/// A field of some kinds; `path` has `/` between names and passes through lists by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FieldSpec {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) path: String,
    /// Whether missing maps on the way are made.
    pub(crate) create: bool,
}

/// What is made at the end of a path that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Nothing,
    Scalar,
    Map,
}

impl FieldSpec {
    pub(crate) fn gvk(&self) -> Gvk {
        Gvk { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }

    /// Calls `set` for every node at this path, if the object is of the kind.
    pub(crate) fn apply(
        &self,
        object: &mut Value,
        leaf: Leaf,
        set: &mut dyn FnMut(&mut Value) -> Result<(), String>,
    ) -> Result<(), String> {
        if !Gvk::of(object).matches(&self.gvk()) {
            return Ok(());
        }
        let path = split(&self.path);
        let leaf = if self.create { leaf } else { Leaf::Nothing };
        walk(object, &path, leaf, set)
            .map_err(|message| format!("considering field '{}': {message}", self.path))
    }
}

/// Names of a path; `\/` is a slash inside a name.
fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut characters = path.trim_start_matches('/').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'/') => {
                characters.next();
                names.last_mut().into_iter().for_each(|name| name.push('/'));
            }
            '/' => names.push(String::new()),
            other => names.last_mut().into_iter().for_each(|name| name.push(other)),
        }
    }
    names
}

fn walk(
    node: &mut Value,
    path: &[String],
    leaf: Leaf,
    set: &mut dyn FnMut(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    let Some((name, rest)) = path.split_first() else { return set(node) };
    match node {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter_mut().try_for_each(|item| walk(item, path, leaf, set)),
        Value::Object(map) => {
            let (name, is_list) = match name.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (name.as_str(), false),
            };
            if leaf != Leaf::Nothing && !is_list && map.get(name).is_none_or(Value::is_null) {
                let made = if rest.is_empty() && leaf == Leaf::Scalar {
                    Value::Null
                } else {
                    Value::Object(Map::new())
                };
                map.insert(name.to_owned(), made);
            }
            map.get_mut(name).map_or(Ok(()), |next| walk(next, rest, leaf, set))
        }
        _ => Err("expected sequence or mapping node".to_owned()),
    }
}
