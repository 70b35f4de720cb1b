//! Field specs: which field of which kinds a transformation concerns, and the walk to it.

mod path;

use std::ops::Deref;
use std::sync::Arc;

use serde::Deserialize;

use crate::id::{Gvk, split_api_version};
use crate::node::{Map, Node, Tag, Text};
use path::Name;

pub(crate) use path::Path;

/// A field of some kinds. The path has `/` between names (`\/` is a slash in a name) and passes through lists by
/// itself; a name that ends in `[]` says that the field is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldSpec {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) path: Path,
    /// Whether missing maps on the way, and the field, are made.
    pub(crate) create: bool,
}

/// Field specs that many share: cloning them is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<FieldSpec>")]
pub(crate) struct Specs(Arc<Vec<FieldSpec>>);

impl Specs {
    pub(crate) fn to_mut(&mut self) -> &mut Vec<FieldSpec> {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Vec<FieldSpec>> for Specs {
    fn from(specs: Vec<FieldSpec>) -> Self {
        Self(Arc::new(specs))
    }
}

impl Deref for Specs {
    type Target = [FieldSpec];

    fn deref(&self) -> &[FieldSpec] {
        &self.0
    }
}

/// What a spec with `create` makes at the end of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Nothing: such a transformation never creates, whatever the spec says.
    Nothing,
    /// An empty scalar. A null that is there keeps its text and takes this tag.
    Scalar(Tag),
    Map,
}

/// What is called for every node at the end of a path: what it becomes, none when it stays as it is.
pub(crate) type Set<'a> = dyn FnMut(&Node) -> Result<Option<Node>, String> + 'a;

impl FieldSpec {
    pub(crate) fn new(group: &str, version: &str, kind: &str, path: &str, create: bool) -> Self {
        let (group, version) = (group.to_owned(), version.to_owned());
        Self { group, version, kind: kind.to_owned(), path: path.into(), create }
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::new(&self.group, &self.version, &self.kind)
    }

    /// Whether the spec is about objects of this group, version and kind.
    pub(crate) fn selects(&self, gvk: &Gvk) -> bool {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        fits(&self.kind, &gvk.kind) && fits(&self.group, &gvk.group) && fits(&self.version, &gvk.version)
    }

    /// Whether the spec is about all that another one, taken literally, is about.
    fn covers(&self, other: &Self) -> bool {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        fits(&self.kind, &other.kind)
            && fits(&self.group, &other.group)
            && fits(&self.version, &other.version)
    }

    /// Whether the spec is about an object's kind.
    pub(crate) fn selects_object(&self, object: &Node) -> bool {
        self.concerns(object.text_at(&["apiVersion"]), object.text_at(&["kind"]))
    }

    fn concerns(&self, api_version: &str, kind: &str) -> bool {
        if !self.kind.is_empty() && self.kind != kind {
            return false;
        }
        if self.group.is_empty() && self.version.is_empty() {
            return true;
        }
        let (group, version) = split_api_version(api_version);
        (self.group.is_empty() || self.group == group) && (self.version.is_empty() || self.version == version)
    }

    /// Calls `set` for every node at this path, if the object is of the kind. Only what changes is copied.
    pub(crate) fn apply(&self, object: &mut Node, leaf: &Leaf, set: &mut Set<'_>) -> Result<(), String> {
        if self.selects_object(object) { self.apply_anyway(object, leaf, set) } else { Ok(()) }
    }

    /// As [`FieldSpec::apply`], whatever the object's kind is.
    pub(crate) fn apply_anyway(
        &self,
        object: &mut Node,
        leaf: &Leaf,
        set: &mut Set<'_>,
    ) -> Result<(), String> {
        let leaf = if self.create { leaf } else { &Leaf::Nothing };
        let walked = walk(object, self.path.names(), leaf, set);
        walked.map(drop).map_err(|message| self.failed(object, &message))
    }

    fn failed(&self, object: &Node, message: &str) -> String {
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let name = or(object.text_at(&["metadata", "name"]), "[noName]");
        let namespace = or(object.text_at(&["metadata", "namespace"]), "[noNs]");
        let gvk = Gvk::of(object);
        format!("considering field '{}' of object {gvk}/{name}.{namespace}: {message}", self.path)
    }
}

/// Applies several specs, one after the other.
pub(crate) fn apply_all(
    specs: &[FieldSpec],
    object: &mut Node,
    leaf: &Leaf,
    set: &mut Set<'_>,
) -> Result<(), String> {
    let mut rest = specs;
    loop {
        // Most specs are about other kinds: those are passed over with one look at the object.
        let (api_version, kind) = (object.text_at(&["apiVersion"]), object.text_at(&["kind"]));
        let Some(next) = rest.iter().position(|spec| spec.concerns(api_version, kind)) else { return Ok(()) };
        let Some((spec, after)) = rest.get(next..).and_then(<[_]>::split_first) else { return Ok(()) };
        spec.apply_anyway(object, leaf, set)?;
        rest = after;
    }
}

/// Adds the specs that are not there yet; the same field with another `create` is a contradiction.
pub(crate) fn merge_specs(mine: &mut Specs, more: &[FieldSpec]) -> Result<(), String> {
    for spec in more {
        // As in kustomize, what is left out in the new spec is a wildcard.
        match mine.iter().find(|old| old.path == spec.path && spec.covers(old)) {
            Some(same) if same.create != spec.create => {
                let (path, kind) = (&spec.path, &spec.kind);
                return Err(format!("conflicting fieldspecs for the field '{path}' of kind '{kind}'"));
            }
            Some(_) => {}
            None => mine.to_mut().push(spec.clone()),
        }
    }
    Ok(())
}

/// Whether anything changed. What is shared is copied only then.
fn walk(node: &mut Node, path: &[Name], leaf: &Leaf, set: &mut Set<'_>) -> Result<bool, String> {
    let Some((name, rest)) = path.split_first() else {
        let new = set(node)?;
        let changed = new.is_some();
        new.into_iter().for_each(|new| *node = new);
        return Ok(changed);
    };
    match node {
        node if node.is_null() => Ok(false),
        Node::List(items) => walk_list(items, path, leaf, set),
        Node::Map(map) => walk_map(map, name, rest, leaf, set),
        Node::Scalar(_) => Err("expected sequence or mapping node".to_owned()),
    }
}

fn walk_list(
    items: &mut Arc<Vec<Node>>,
    path: &[Name],
    leaf: &Leaf,
    set: &mut Set<'_>,
) -> Result<bool, String> {
    let failed = |message| {
        let names: Vec<&str> = path.iter().map(Name::shown).collect();
        format!("visit traversal on path: [{}]: {message}", names.join(" "))
    };
    let mut changed = false;
    if let Some(items) = Arc::get_mut(items) {
        for item in items {
            changed |= walk(item, path, leaf, set).map_err(failed)?;
        }
        return Ok(changed);
    }
    for index in 0..items.len() {
        let Some(mut item) = items.get(index).cloned() else { continue };
        if walk(&mut item, path, leaf, set).map_err(failed)? {
            changed = true;
            Arc::make_mut(items).get_mut(index).into_iter().for_each(|slot| *slot = item.clone());
        }
    }
    Ok(changed)
}

fn walk_map(
    map: &mut Arc<Map>,
    name: &Name,
    rest: &[Name],
    leaf: &Leaf,
    set: &mut Set<'_>,
) -> Result<bool, String> {
    let (name, is_list) = (name.text()?, name.is_list());
    let made = match leaf {
        _ if is_list => None,
        Leaf::Nothing => None,
        Leaf::Scalar(tag) if rest.is_empty() => Some(Node::tagged("", *tag)),
        _ => Some(Node::map()),
    };
    let is_alone = Arc::get_mut(map).is_some();
    let (mut next, is_new) = match (map.get(name), made) {
        (Some(field), made) if field.is_null() => match (made, field.text()) {
            // A null is taken for an empty list, map or scalar; a scalar keeps the text, which may be `null`.
            (Some(Node::Scalar(scalar)), Some(text)) => (Node::tagged(text, scalar.tag), true),
            (Some(made), _) => (made, true),
            (None, _) if is_list => (Node::list(vec![]), true),
            (None, _) => (field.clone(), false),
        },
        (Some(_), _) if is_alone => {
            return Arc::make_mut(map).get_mut(name).map_or(Ok(false), |field| walk(field, rest, leaf, set));
        }
        (Some(field), _) => (field.clone(), false),
        (None, Some(Node::Scalar(_))) => (Node::implicit(""), true),
        (None, Some(made)) => (made, true),
        (None, None) => return Ok(false),
    };
    if !walk(&mut next, rest, leaf, set)? && !is_new {
        return Ok(false);
    }
    Arc::make_mut(map).set(name, next);
    Ok(true)
}

/// A scalar in the place of another, in the quotes of that one: a number in quotes is a text. What is there has to be
/// a scalar or null.
pub(crate) fn replaced(old: &Node, text: impl Into<Text>, tag: Tag) -> Result<Node, String> {
    if old.as_scalar().is_none() {
        return Err(wrong_kind("ScalarNode", old));
    }
    let mut new = Node::tagged(text, tag);
    new.take_quotes_of(old);
    Ok(new)
}

/// Why a node is not of the kind that a transformation sets.
pub(crate) fn wrong_kind(expected: &str, node: &Node) -> String {
    let found = match node {
        Node::Scalar(_) => "ScalarNode",
        Node::List(_) => "SequenceNode",
        Node::Map(_) => "MappingNode",
    };
    let contents = crate::node::to_yaml(node).unwrap_or_default();
    format!("wrong node kind: expected {expected} but got {found}: node contents:\n{contents}")
}
