//! Which step set each value of an object: a tree beside the object's own.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;
use yaml::PathStep;

use super::Shared;
use super::object::Removed;
use crate::node::{Map, Node, Text};

/// The steps, by their numbers, that set a value and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sources {
    /// All of it.
    All(usize),
    Map(HashMap<Text, Shared>),
    List(Vec<Shared>),
}

/// Fields that tell the items of a list apart, where every item has one and no two are the same.
const KEYS: [&str; 8] = ["name", "mountPath", "containerPort", "port", "key", "ip", "host", "path"];

/// What a step changed.
pub(crate) struct Change<'c> {
    pub(crate) step: usize,
    /// The way to the current value.
    pub(crate) path: Vec<PathStep>,
    /// Fields that were there before and are not any more.
    pub(crate) removed: &'c mut Vec<Removed>,
}

impl Sources {
    /// Who set the value at a path; none for a map or a list of several values.
    pub(crate) fn at(&self, value: &Value, path: &[PathStep]) -> Option<usize> {
        let Some((first, rest)) = path.split_first() else {
            let several = match value {
                Value::Object(fields) => !fields.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => false,
            };
            return match self {
                Self::All(step) if !several => Some(*step),
                _ => None,
            };
        };
        let (value, inner) = match first {
            PathStep::Field(name) => (value.get(name)?, self.field(name)),
            PathStep::Item(index) => (value.get(*index)?, self.item(*index)),
        };
        inner?.at(value, rest)
    }

    fn field(&self, name: &str) -> Option<Shared> {
        match self {
            Self::All(step) => Some(Rc::new(Self::All(*step))),
            Self::Map(fields) => fields.get(name).cloned(),
            Self::List(_) => None,
        }
    }

    fn item(&self, index: usize) -> Option<Shared> {
        match self {
            Self::All(step) => Some(Rc::new(Self::All(*step))),
            Self::List(items) => items.get(index).cloned(),
            Self::Map(_) => None,
        }
    }
}

impl Change<'_> {
    /// The sources of `new`, which was `old` with the sources `known`.
    pub(crate) fn sources(&mut self, known: &Shared, old: &Node, new: &Node) -> Shared {
        if old.is_same(new) {
            return known.clone();
        }
        match (old, new) {
            (Node::Map(old), Node::Map(new)) if !new.is_empty() => self.map(known, old, new),
            (Node::List(old), Node::List(new)) if !new.is_empty() => self.list(known, old, new),
            (Node::Scalar(old), Node::Scalar(new))
                if old.text == new.text && old.resolved_tag() == new.resolved_tag() =>
            {
                known.clone()
            }
            _ if old == new => known.clone(),
            _ => Rc::new(Sources::All(self.step)),
        }
    }

    fn map(&mut self, known: &Shared, old: &Map, new: &Map) -> Shared {
        for (name, _) in old.iter().filter(|(name, _)| new.get(name).is_none()) {
            let mut path = self.path.clone();
            path.push(PathStep::Field(name.to_string()));
            self.removed.push((path, self.step));
        }
        let mut fields = HashMap::with_capacity(new.len());
        for (name, node) in new.iter() {
            let before = old.get(name).zip(known.field(name));
            let step = PathStep::Field(name.to_string());
            fields.insert(name.clone(), self.inner(step, before, node));
        }
        Rc::new(Sources::Map(fields))
    }

    fn list(&mut self, known: &Shared, old: &[Node], new: &[Node]) -> Shared {
        let partners = partners(old, new);
        let items = new.iter().zip(partners).enumerate().map(|(index, (node, partner))| {
            let before = partner.and_then(|at| old.get(at).zip(known.item(at)));
            self.inner(PathStep::Item(index), before, node)
        });
        Rc::new(Sources::List(items.collect()))
    }

    fn inner(&mut self, step: PathStep, before: Option<(&Node, Shared)>, node: &Node) -> Shared {
        let Some((old, known)) = before else { return Rc::new(Sources::All(self.step)) };
        self.path.push(step);
        let sources = self.sources(&known, old, node);
        self.path.pop();
        sources
    }
}

/// For each new item the old one that it comes from: the one of the same name, else an equal one, else, in a list
/// that is as long as before, the one in the same place.
fn partners(old: &[Node], new: &[Node]) -> Vec<Option<usize>> {
    let keyed = KEYS.iter().find_map(|key| Some((names(old, key)?, names(new, key)?)));
    if let Some((old, new)) = keyed {
        let at: HashMap<&str, usize> = old.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        return new.iter().map(|name| at.get(name).copied()).collect();
    }
    let mut free: Vec<bool> = vec![true; old.len()];
    let mut partners: Vec<Option<usize>> = vec![None; new.len()];
    for (partner, node) in partners.iter_mut().zip(new) {
        let equal = |at: &usize| free.get(*at) == Some(&true) && old.get(*at) == Some(node);
        *partner = (0..old.len()).find(equal);
        if let Some(free) = partner.and_then(|at| free.get_mut(at)) {
            *free = false;
        }
    }
    if old.len() == new.len() {
        for (at, partner) in partners.iter_mut().enumerate() {
            *partner = partner.or((free.get(at) == Some(&true)).then_some(at));
        }
    }
    partners
}

/// The texts of a field in every item, if each has one and no two are the same.
fn names<'n>(items: &'n [Node], key: &str) -> Option<Vec<&'n str>> {
    let names: Vec<&str> = items.iter().map(|item| item.get(key)?.text()).collect::<Option<_>>()?;
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    (sorted.len() == names.len()).then_some(names)
}
