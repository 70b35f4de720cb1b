//! Objects on their way through a build, as they are recognised from one step to the next, and by which name a person
//! asks for one.

use std::fmt;
use std::rc::Rc;

use yaml::PathStep;

use super::Shared;
use super::sources::{Change, Sources};
use crate::node::{Node, Text};
use crate::resource::Resource;

/// A field that is gone, and the step that took it away.
pub(crate) type Removed = (Vec<PathStep>, usize);

/// A resource after a step.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) name: Name,
    /// Every name that it had, the first one first.
    former: Vec<Text>,
    pub(crate) node: Node,
    pub(crate) sources: Shared,
    pub(crate) removed: Rc<Vec<Removed>>,
}

/// What an object is called, or what a person calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    namespace: String,
    kind: String,
    name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        if !self.kind.is_empty() {
            write!(f, "{}/", self.kind)?;
        }
        f.write_str(&self.name)
    }
}

impl Name {
    fn of(resource: &Resource) -> Self {
        Self {
            namespace: resource.namespace().to_owned(),
            kind: resource.kind().to_owned(),
            name: resource.name().to_owned(),
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.rsplitn(3, '/').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let kind = parts.next().unwrap_or_default();
        Self { namespace: parts.next().unwrap_or_default(), kind, name }
    }

    fn fits(&self, known: &Known, name: &str) -> bool {
        (self.namespace.is_empty() || self.namespace == known.name.namespace)
            && (self.kind.is_empty() || self.kind.eq_ignore_ascii_case(&known.name.kind))
            && self.name == name
    }

    /// The one object that this name means; a name that it has counts before one that it had.
    pub(crate) fn choose<'k>(&self, objects: &'k [Known]) -> Result<&'k Known, String> {
        let now: Vec<&Known> = objects.iter().filter(|known| self.fits(known, &known.name.name)).collect();
        let found = if now.is_empty() {
            let before = |known: &&Known| known.former.iter().any(|name| self.fits(known, name));
            objects.iter().filter(before).collect()
        } else {
            now
        };
        let listed = |objects: &[&Known]| {
            let names: Vec<String> = objects.iter().take(20).map(|known| known.name.to_string()).collect();
            names.join(", ")
        };
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let all: Vec<&Known> = objects.iter().collect();
                Err(format!("the build has no object {self}; it has {}", listed(&all)))
            }
            several => Err(format!("{self} may be any of {}: say [namespace/]kind/name", listed(several))),
        }
    }
}

impl Known {
    /// The state in which a resource was seen before: the very same, or one that began with the same name. `index` is
    /// where it is now, which most steps do not change.
    pub(crate) fn find<'k>(
        resource: &Resource,
        index: usize,
        before: &[&'k [Self]],
        by_name: bool,
    ) -> Option<&'k Self> {
        let same = |known: &&&'k Self| known.node.is_same(&resource.node);
        let own = before.first().and_then(|own| own.get(index));
        if let Some(known) = own.filter(|known| known.node.is_same(&resource.node)) {
            return Some(known);
        }
        let first = first_name(resource);
        let begins =
            |known: &&&'k Self| known.former.first() == Some(&first) && *known.name.kind == *resource.kind();
        if by_name && let Some(known) = own.as_ref().filter(begins) {
            return Some(known);
        }
        let in_any = |fits: &dyn Fn(&&&'k Self) -> bool| {
            before.iter().find_map(|layer| {
                let layer: &'k [Self] = layer;
                layer.iter().find(|known| fits(&known))
            })
        };
        in_any(&same).or_else(|| if by_name { in_any(&begins) } else { None })
    }

    /// The state after a step.
    pub(crate) fn next(resource: &Resource, before: Option<&Self>, step: usize) -> Self {
        let mut former: Vec<Text> = resource.previous.iter().map(|previous| previous.name.clone()).collect();
        former.push(resource.name().into());
        let (name, node) = (Name::of(resource), resource.node.clone());
        let Some(before) = before else {
            return Self { name, former, node, sources: Rc::new(Sources::All(step)), removed: Rc::default() };
        };
        let mut gone = vec![];
        let mut change = Change { step, path: vec![], removed: &mut gone };
        let sources = change.sources(&before.sources, &before.node, &node);
        let mut removed = before.removed.clone();
        if !gone.is_empty() {
            Rc::make_mut(&mut removed).append(&mut gone);
        }
        Self { name, former, node, sources, removed }
    }
}

fn first_name(resource: &Resource) -> Text {
    resource.previous.first().map_or_else(|| resource.name().into(), |previous| previous.name.clone())
}

/// Whether an object has something at a path.
pub(crate) fn has(node: &Node, path: &[PathStep]) -> bool {
    let found = path.iter().try_fold(node, |node, step| match step {
        PathStep::Field(name) => node.get(name),
        PathStep::Item(index) => node.as_list()?.get(*index),
    });
    found.is_some()
}

/// A path as people write it.
pub(crate) fn shown(path: &[PathStep]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            PathStep::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            PathStep::Item(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}
