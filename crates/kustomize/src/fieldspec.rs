//! Field specs: which field of which kinds a transformation concerns, and the walk to it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::id::{Gvk, split_api_version};
use crate::node::{Node, Tag, Text};

/// A field of some kinds. The path has `/` between names (`\/` is a slash in a name) and passes through lists by
/// itself; a name that ends in `[]` says that the field is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldSpec {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) path: String,
    /// Whether missing maps on the way, and the field, are made.
    pub(crate) create: bool,
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
        Self { group, version, kind: kind.to_owned(), path: path.to_owned(), create }
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::new(&self.group, &self.version, &self.kind)
    }

    /// Whether the spec is about objects of this group, version and kind.
    pub(crate) fn selects(&self, gvk: &Gvk) -> bool {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        fits(&self.kind, &gvk.kind) && fits(&self.group, &gvk.group) && fits(&self.version, &gvk.version)
    }

    /// Whether the spec is about an object's kind.
    pub(crate) fn selects_object(&self, object: &Node) -> bool {
        if !self.kind.is_empty() && self.kind != object.text_at(&["kind"]) {
            return false;
        }
        if self.group.is_empty() && self.version.is_empty() {
            return true;
        }
        let (group, version) = split_api_version(object.text_at(&["apiVersion"]));
        (self.group.is_empty() || self.group == group) && (self.version.is_empty() || self.version == version)
    }

    /// Calls `set` for every node at this path, if the object is of the kind. Only what changes is copied.
    pub(crate) fn apply(&self, object: &mut Node, leaf: &Leaf, set: &mut Set<'_>) -> Result<(), String> {
        if !self.selects_object(object) {
            return Ok(());
        }
        let path = split_path(&self.path);
        let leaf = if self.create { leaf } else { &Leaf::Nothing };
        match walk(object, &path, leaf, set) {
            Ok(None) => Ok(()),
            Ok(Some(changed)) => {
                *object = changed;
                Ok(())
            }
            Err(message) => Err(self.failed(object, &message)),
        }
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
    specs.iter().try_for_each(|spec| spec.apply(object, leaf, set))
}

/// Adds the specs that are not there yet; the same field with another `create` is a contradiction.
pub(crate) fn merge_specs(mine: &mut Vec<FieldSpec>, more: &[FieldSpec]) -> Result<(), String> {
    for spec in more {
        // As in kustomize, what is left out in the new spec is a wildcard.
        match mine.iter().find(|old| old.path == spec.path && spec.selects(&old.gvk())) {
            Some(same) if same.create != spec.create => {
                let (path, kind) = (&spec.path, &spec.kind);
                return Err(format!("conflicting fieldspecs for the field '{path}' of kind '{kind}'"));
            }
            Some(_) => {}
            None => mine.push(spec.clone()),
        }
    }
    Ok(())
}

/// The names of a path; one slash may lead, `\/` is a slash inside a name.
pub(crate) fn split_path(path: &str) -> Vec<Cow<'_, str>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut names: Vec<Cow<'_, str>> = vec![];
    for part in path.split('/') {
        match names.last_mut() {
            Some(last) if last.ends_with('\\') => {
                let last = last.to_mut();
                last.pop();
                last.push('/');
                last.push_str(part);
            }
            _ => names.push(part.into()),
        }
    }
    names
}

/// What a node becomes, none when it stays.
fn walk(node: &Node, path: &[Cow<'_, str>], leaf: &Leaf, set: &mut Set<'_>) -> Result<Option<Node>, String> {
    let Some((name, rest)) = path.split_first() else { return set(node) };
    match node {
        node if node.is_null() => Ok(None),
        Node::List(items) => walk_list(node, items, path, leaf, set),
        Node::Map(_) => walk_map(node, name, rest, leaf, set),
        Node::Scalar(_) => Err("expected sequence or mapping node".to_owned()),
    }
}

fn walk_list(
    node: &Node,
    items: &[Node],
    path: &[Cow<'_, str>],
    leaf: &Leaf,
    set: &mut Set<'_>,
) -> Result<Option<Node>, String> {
    let mut changed: Option<Node> = None;
    for (index, item) in items.iter().enumerate() {
        let new = walk(item, path, leaf, set)
            .map_err(|message| format!("visit traversal on path: [{}]: {message}", path.join(" ")))?;
        let Some(new) = new else { continue };
        let list = changed.get_or_insert_with(|| node.clone());
        if let Some(slot) = list.as_list_mut().and_then(|list| list.get_mut(index)) {
            *slot = new;
        }
    }
    Ok(changed)
}

fn walk_map(
    node: &Node,
    name: &str,
    rest: &[Cow<'_, str>],
    leaf: &Leaf,
    set: &mut Set<'_>,
) -> Result<Option<Node>, String> {
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    check_name(name)?;
    let made = match leaf {
        _ if is_list => None,
        Leaf::Nothing => None,
        Leaf::Scalar(tag) if rest.is_empty() => Some(Node::tagged("", tag.clone())),
        _ => Some(Node::map()),
    };
    let (next, is_new) = match (node.get(name), made) {
        (Some(field), made) if field.is_null() => match (made, field.text()) {
            // A null is taken for an empty list, map or scalar; a scalar keeps the text, which may be `null`.
            (Some(Node::Scalar(scalar)), Some(text)) => (Node::tagged(text, scalar.tag), true),
            (Some(made), _) => (made, true),
            (None, _) if is_list => (Node::list(vec![]), true),
            (None, _) => (field.clone(), false),
        },
        (Some(field), _) => (field.clone(), false),
        (None, Some(Node::Scalar(_))) => (Node::implicit(""), true),
        (None, Some(made)) => (made, true),
        (None, None) => return Ok(None),
    };
    let new = match walk(&next, rest, leaf, set)? {
        Some(new) => new,
        None if is_new => next,
        None => return Ok(None),
    };
    let mut changed = node.clone();
    changed.set(name, new);
    Ok(Some(changed))
}

/// kustomize looks fields up with a path language of its own, in which some names are no names of fields.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("cannot set or create an empty field name".to_owned());
    }
    if name == "*" {
        return Err(format!("fieldName: {name}: wildcard is not supported in PathGetter"));
    }
    let is_index =
        name == "-" || name.parse::<i64>().is_ok() || (name.starts_with('[') && name.ends_with(']'));
    if is_index {
        return Err(format!(
            "fieldName: {name}: wrong node kind: expected SequenceNode but got MappingNode: '{name}' is an element of a list"
        ));
    }
    Ok(())
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
