//! Sets of field paths, and their wire form `FieldsV1`.
//! Semantics after structured-merge-diff's `fieldpath` package.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::facts::Facts;

/// One step of a path. The order of the variants is the order in which FieldsV1 is printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A struct's field or a map's key: `f:<name>`.
    Field(String),
    /// A list item by its key fields, as compact JSON with sorted keys: `k:{…}`.
    Key(String),
    /// A set's member, as JSON: `v:…`.
    Item(String),
    /// A list item by position: `i:0`. Nothing writes these any more.
    Index(i64),
}

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    children: BTreeMap<Step, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The path up to here is in the set, besides the paths below.
    member: bool,
    below: FieldSet,
}

/// FieldsV1 that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid field path element: {0}")]
pub struct FieldsError(String);

impl FieldSet {
    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Takes a single member out, but not what is below it.
    pub fn remove_member(&mut self, step: &Step) {
        let Some(node) = self.children.get_mut(step) else { return };
        node.member = false;
        if node.below.is_empty() {
            self.children.remove(step);
        }
    }

    /// Adds a path; the empty path is ignored, as the root is never owned.
    pub fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.children.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Whether exactly this step is a member.
    pub fn has(&self, step: &Step) -> bool {
        self.children.get(step).is_some_and(|n| n.member)
    }

    /// The paths that go on below `step`.
    pub fn below(&self, step: &Step) -> Option<&FieldSet> {
        self.children.get(step).map(|n| &n.below).filter(|s| !s.is_empty())
    }

    /// All paths of both sets.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        for (step, node) in &other.children {
            let mine = out.children.entry(step.clone()).or_default();
            mine.member |= node.member;
            mine.below = mine.below.union(&node.below);
        }
        out
    }

    /// The paths of this set that are not, exactly so, in the other.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && !theirs, |a, b| a.difference(b))
    }

    /// The paths that are in both sets.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && theirs, |a, b| a.intersection(b))
    }

    fn combine(
        &self,
        other: &FieldSet,
        member: fn(bool, bool) -> bool,
        below: fn(&FieldSet, &FieldSet) -> FieldSet,
    ) -> FieldSet {
        let empty = Node::default();
        let mut out = FieldSet::default();
        for (step, node) in &self.children {
            let theirs = other.children.get(step).unwrap_or(&empty);
            let node =
                Node { member: member(node.member, theirs.member), below: below(&node.below, &theirs.below) };
            if node.member || !node.below.is_empty() {
                out.children.insert(step.clone(), node);
            }
        }
        out
    }

    /// Only what is at or below a top-level field.
    pub fn only_field(&self, name: &str) -> FieldSet {
        let mut out = self.clone();
        out.children.retain(|step, _| matches!(step, Step::Field(field) if field == name));
        out
    }

    /// Takes out everything at or below a path of fields.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = Step::Field((*first).to_owned());
        if rest.is_empty() {
            self.children.remove(&step);
            return;
        }
        if let Some(node) = self.children.get_mut(&step) {
            node.below.remove(rest);
            if !node.member && node.below.is_empty() {
                self.children.remove(&step);
            }
        }
    }

    /// With every declared field that has children as a member too. Removal works on members, so this is what
    /// lets an emptied struct go with its last field.
    pub fn with_declared_fields(&self, facts: Facts<'_>) -> FieldSet {
        let mut out = FieldSet::default();
        for (step, node) in &self.children {
            let (declared, inner) = match step {
                Step::Field(name) => (facts.declares(name), facts.field(name)),
                _ => (false, facts.item()),
            };
            let member = node.member || (declared && !node.below.is_empty());
            out.children.insert(step.clone(), Node { member, below: node.below.with_declared_fields(inner) });
        }
        out
    }

    /// All paths, in order; a parent comes before its children.
    pub fn paths(&self) -> Vec<Vec<Step>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
        for (step, node) in &self.children {
            prefix.push(step.clone());
            if node.member {
                out.push(prefix.clone());
            }
            node.below.collect(prefix, out);
            prefix.pop();
        }
    }

    /// The wire form.
    pub fn to_fields_v1(&self) -> Value {
        let mut out = Map::new();
        for (step, node) in &self.children {
            let mut inner = Map::new();
            if node.member && !node.below.is_empty() {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            if let Value::Object(below) = node.below.to_fields_v1() {
                inner.extend(below);
            }
            out.insert(step.wire(), Value::Object(inner));
        }
        Value::Object(out)
    }

    /// Reads the wire form.
    pub fn from_fields_v1(fields: &Value) -> Result<FieldSet, FieldsError> {
        let mut out = FieldSet::default();
        for (key, inner) in fields.as_object().ok_or_else(|| FieldsError(fields.to_string()))? {
            if key == "." {
                continue;
            }
            let step = Step::from_wire(key)?;
            let below = FieldSet::from_fields_v1(inner)?;
            let member = below.is_empty() || inner.get(".").is_some();
            out.children.insert(step, Node { member, below });
        }
        Ok(out)
    }
}

impl Step {
    fn wire(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(json) => format!("k:{json}"),
            Step::Item(json) => format!("v:{json}"),
            Step::Index(index) => format!("i:{index}"),
        }
    }

    fn from_wire(text: &str) -> Result<Step, FieldsError> {
        let bad = || FieldsError(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "f" => Ok(Step::Field(rest.to_owned())),
            "k" => {
                let key: Map<String, Value> = serde_json::from_str(rest).map_err(|_| bad())?;
                Ok(Step::key(key))
            }
            "v" => {
                let item: Value = serde_json::from_str(rest).map_err(|_| bad())?;
                Ok(Step::Item(item.to_string()))
            }
            "i" => rest.parse().map(Step::Index).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }

    /// The step to a list item with these key fields.
    pub fn key(mut fields: Map<String, Value>) -> Step {
        fields.sort_keys();
        Step::Key(Value::Object(fields).to_string())
    }
}

impl fmt::Display for Step {
    /// As in conflict messages: `.spec`, `[name="c"]`, `[="item"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Item(json) => write!(f, "[={json}]"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(json) => {
                let key: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let parts: Vec<String> = key.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}
