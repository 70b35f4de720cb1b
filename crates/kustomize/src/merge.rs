//! Strategic merge as kyaml does it: a patch is laid over a target along what the schema knows.
//!
//! A map merges field by field, null takes a field away, a list is replaced unless the schema says that its items are
//! told apart by keys; then items that the patch names come first. `$patch` says `merge`, `replace` or `delete` for the
//! map, or as an item alone for the whole list. The walk covers the whole target, also where the patch says nothing:
//! it drops fields whose value is blank and puts lists with keys into their regular form.

mod list;

use crate::node::{Node, Scalar, Tag};
use crate::schema::{Facts, Schema};

const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `target`. None: the patch deletes the whole object. A patch that says of the whole object that it
/// replaces it does nothing, as in kustomize.
pub(crate) fn apply(schema: &Schema, target: &Node, patch: &Node) -> Result<Option<Node>, String> {
    match (Merge { schema }).walk(Some(target), Source::Node(patch.clone()), None)? {
        Outcome::Gone => Ok(None),
        Outcome::Target(node) => Ok(Some(node)),
        Outcome::Source(_) => Ok(Some(target.clone())),
    }
}

/// What is laid over a node.
#[derive(Clone, Debug)]
enum Source {
    Missing,
    /// The node itself: a patch's value that was just put there is walked like any other.
    Same,
    Node(Node),
}

/// What becomes of a node.
enum Outcome {
    Gone,
    /// It stays, changed in its place. Null stays null.
    Target(Node),
    /// The patch's value takes its place; null takes it away.
    Source(Node),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

struct Merge<'a> {
    schema: &'a Schema,
}

/// Whether there is nothing, or null by its tag: a text without a tag is never null here.
fn is_absent(node: Option<&Node>) -> bool {
    node.is_none_or(|node| matches!(node, Node::Scalar(scalar) if scalar.tag == Tag::Null))
}

impl Source {
    /// The node, where `target` is what [`Source::Same`] means.
    fn node<'a>(&'a self, target: Option<&'a Node>) -> Option<&'a Node> {
        match self {
            Self::Missing => None,
            Self::Same => target,
            Self::Node(node) => Some(node),
        }
    }

    fn field(&self, name: &str) -> Self {
        match self {
            Self::Node(node) => node.get(name).map_or(Self::Missing, |field| Self::Node(field.clone())),
            other => other.clone(),
        }
    }
}

impl<'a> Merge<'a> {
    fn walk(
        &self,
        target: Option<&Node>,
        source: Source,
        facts: Option<Facts<'a>>,
    ) -> Result<Outcome, String> {
        let over = source.node(target);
        let facts = facts.or_else(|| self.facts_of(target)).or_else(|| self.facts_of(over));
        let first = [target, over].into_iter().find(|node| !is_absent(*node)).flatten();
        let Some(first) = first else { return self.map(target, source, facts) };
        for node in [target, over].into_iter().flatten() {
            if !is_absent(Some(node)) && kind_name(node) != kind_name(first) {
                return Err(wrong_kind(kind_name(first), node));
            }
        }
        match first {
            Node::Map(_) => self.map(target, source, facts),
            Node::List(_) => match facts.and_then(Facts::merge_keys) {
                Some(keys) => self.keyed_list(target, source, facts, &keys),
                None => Ok(replaced(target, source)),
            },
            Node::Scalar(_) => Ok(replaced(target, source)),
        }
    }

    /// What is known about an object that says its kind.
    fn facts_of(&self, node: Option<&Node>) -> Option<Facts<'a>> {
        let map = node?.as_map()?;
        let text = |name: &str| map.get(name).filter(|value| !is_absent(Some(value)))?.text();
        let (api_version, kind) = (text("apiVersion")?, text("kind")?);
        if api_version.is_empty() || kind.is_empty() {
            return None;
        }
        self.schema.of(api_version, kind)
    }

    fn map(
        &self,
        target: Option<&Node>,
        source: Source,
        facts: Option<Facts<'a>>,
    ) -> Result<Outcome, String> {
        let Some(target) = target.filter(|target| !is_absent(Some(target))) else {
            return self.added_map(target, source, facts);
        };
        let (directive, source, target) = match source {
            Source::Missing => (Directive::Merge, Source::Missing, target.clone()),
            Source::Same => {
                let (directive, target) = take_directive(target.clone())?;
                (directive, Source::Same, target)
            }
            Source::Node(node) if is_absent(Some(&node)) => return Ok(Outcome::Gone),
            Source::Node(node) => {
                let (directive, node) = take_directive(node)?;
                (directive, Source::Node(node), target.clone())
            }
        };
        match (directive, source) {
            (Directive::Delete, _) => Ok(Outcome::Gone),
            (Directive::Replace, Source::Node(node)) => {
                self.fields(node, &Source::Same, facts).map(Outcome::Source)
            }
            (_, source) => self.fields(target, &source, facts).map(Outcome::Target),
        }
    }

    /// A map, or null, where the target has nothing or null.
    fn added_map(
        &self,
        target: Option<&Node>,
        source: Source,
        facts: Option<Facts<'a>>,
    ) -> Result<Outcome, String> {
        let node = match (source, target) {
            // `field: null` is kept as it was written, `field:` is dropped.
            (Source::Missing, Some(target)) if target.text().is_some_and(|text| !text.is_empty()) => {
                return Ok(Outcome::Target(target.clone()));
            }
            (Source::Node(node), _) if !is_absent(Some(&node)) => node,
            _ => return Ok(Outcome::Gone),
        };
        // Here, and only here, a directive that is not known is data.
        let node = match take_directive(node.clone()) {
            Ok((Directive::Delete, _)) => return Ok(Outcome::Gone),
            Ok((_, node)) => node,
            Err(_) => node,
        };
        self.fields(node, &Source::Same, facts).map(Outcome::Source)
    }

    /// Merges field by field. What does not change is not copied.
    fn fields(&self, target: Node, source: &Source, facts: Option<Facts<'a>>) -> Result<Node, String> {
        let mut merged = target.clone();
        let about = |name: &str| facts.and_then(|facts| facts.field(name));
        for (name, value) in target.as_map().into_iter().flat_map(|map| map.iter()) {
            let outcome = self.walk(Some(value), source.field(name), about(name))?;
            set_field(&mut merged, name, Some(value), outcome);
        }
        let Source::Node(source) = source else { return Ok(merged) };
        for (name, value) in source.as_map().into_iter().flat_map(|map| map.iter()) {
            if target.get(name).is_none() {
                let outcome = self.walk(None, Source::Node(value.clone()), about(name))?;
                set_field(&mut merged, name, None, outcome);
            }
        }
        Ok(merged)
    }
}

/// A scalar or a list without keys: what the patch has, or else what is there.
fn replaced(target: Option<&Node>, source: Source) -> Outcome {
    match (source, target) {
        (Source::Node(node), _) => Outcome::Source(node),
        (_, Some(target)) => Outcome::Target(target.clone()),
        (_, None) => Outcome::Gone,
    }
}

fn set_field(map: &mut Node, name: &str, old: Option<&Node>, outcome: Outcome) {
    match (outcome, old) {
        (Outcome::Gone, None) => {}
        (Outcome::Gone, Some(_)) => {
            map.remove(name);
        }
        (Outcome::Target(mut node), Some(old)) => {
            node.quote_if_ambiguous();
            if !node.is_same(old) || quotes(&node) != quotes(old) {
                map.set(name, node);
            }
        }
        (Outcome::Target(node) | Outcome::Source(node), _) => map.make_map().put(name, node),
    }
}

fn quotes(node: &Node) -> bool {
    node.as_scalar().is_some_and(Scalar::is_quoted)
}

/// Reads and removes what `$patch` says of a map.
fn take_directive(mut map: Node) -> Result<(Directive, Node), String> {
    let Some(value) = map.get(DIRECTIVE) else { return Ok((Directive::Merge, map)) };
    let directive = directive(value.text().unwrap_or_default())?;
    map.remove(DIRECTIVE);
    Ok((directive, map))
}

fn directive(text: &str) -> Result<Directive, String> {
    match text {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        other => Err(format!("unknown patch strategy '{other}'")),
    }
}

fn kind_name(node: &Node) -> &'static str {
    match node {
        Node::Scalar(_) => "ScalarNode",
        Node::List(_) => "SequenceNode",
        Node::Map(_) => "MappingNode",
    }
}

fn wrong_kind(expected: &str, node: &Node) -> String {
    let contents = crate::node::to_yaml(node).unwrap_or_default();
    format!("wrong node kind: expected {expected} but got {}: node contents:\n{contents}", kind_name(node))
}

#[cfg(test)]
mod tests;
