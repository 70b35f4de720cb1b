//! The path of a field spec, taken apart once.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use crate::node::Text;

/// A path with its names, which are found when they are first asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Path {
    text: Text,
    names: OnceLock<Arc<[Name]>>,
}

/// A name on a path.
#[derive(Debug)]
pub(crate) struct Name {
    /// As in the path, with its slashes.
    shown: Text,
    /// The length of the field's name, without `[]`.
    length: usize,
    /// Why kustomize takes it for no field's name.
    problem: Option<String>,
}

impl Path {
    pub(crate) fn names(&self) -> &[Name] {
        self.names.get_or_init(|| split(&self.text))
    }
}

impl Name {
    fn new(shown: &str) -> Self {
        let name = shown.strip_suffix("[]").unwrap_or(shown);
        Self { shown: shown.into(), length: name.len(), problem: problem(name) }
    }

    /// The name of a field.
    pub(super) fn text(&self) -> Result<&str, String> {
        match &self.problem {
            None => Ok(self.shown.get(..self.length).unwrap_or_default()),
            Some(problem) => Err(problem.clone()),
        }
    }

    /// Whether the field is said to be a list.
    pub(super) fn is_list(&self) -> bool {
        self.length < self.shown.len()
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

/// The names of a path; one slash may lead, `\/` is a slash inside a name.
fn split(path: &str) -> Arc<[Name]> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut names: Vec<String> = vec![];
    for part in path.split('/') {
        match names.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push('/');
                last.push_str(part);
            }
            _ => names.push(part.to_owned()),
        }
    }
    names.iter().map(|name| Name::new(name)).collect()
}

/// kustomize looks fields up with a path language of its own, in which some names are no names of fields.
fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("cannot set or create an empty field name".to_owned());
    }
    if name == "*" {
        return Some(format!("fieldName: {name}: wildcard is not supported in PathGetter"));
    }
    let is_index =
        name == "-" || name.parse::<i64>().is_ok() || (name.starts_with('[') && name.ends_with(']'));
    is_index.then(|| {
        format!(
            "fieldName: {name}: wrong node kind: expected SequenceNode but got MappingNode: '{name}' is an element of a list"
        )
    })
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Self { text: text.into(), names: OnceLock::new() }
    }
}

impl From<String> for Path {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for Path {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
