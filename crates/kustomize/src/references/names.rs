//! Name references: fields that name another resource follow it when its name changes. This runs once, when all names
//! are final.

mod index;

use std::collections::{HashMap, HashSet};

use self::index::{Index, Known};
use crate::config::Config;
use crate::fieldspec::{FieldSpec, Leaf};
use crate::id::Gvk;
use crate::node::{Map, Node};
use crate::resources::Resources;
use crate::schema::Schema;

/// A field that may hold the name of a resource of a kind.
#[derive(Debug)]
struct Rule {
    target: Gvk,
    /// The field, in objects that had its kind first.
    field: FieldSpec,
    /// Whether it names the role of a binding.
    is_role: bool,
}

/// All fields that hold names, by the kinds that have them.
#[derive(Debug)]
pub(crate) struct Rules {
    list: Vec<Rule>,
    /// Positions for each kind that some rule is about, and for all other kinds.
    by_kind: HashMap<String, Vec<usize>>,
    any_kind: Vec<usize>,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Self {
        let mut list = vec![];
        for reference in &config.name_reference {
            let rules = reference.field_specs.iter().map(|spec| Rule {
                target: reference.target(),
                field: spec.clone(),
                is_role: spec.path.ends_with("roleRef/name"),
            });
            list.extend(rules);
        }
        let about = |kind: &str| {
            let fits = |rule: &Rule| rule.field.kind.is_empty() || rule.field.kind == kind;
            list.iter().enumerate().filter(|(_, rule)| fits(rule)).map(|(at, _)| at).collect()
        };
        let kinds: HashSet<&str> = list.iter().map(|rule: &Rule| rule.field.kind.as_str()).collect();
        let by_kind =
            kinds.iter().filter(|kind| !kind.is_empty()).map(|kind| ((*kind).to_owned(), about(kind)));
        Self { by_kind: by_kind.collect(), any_kind: about(""), list }
    }

    /// The rules for what was of a kind first.
    fn of<'a>(&'a self, original: &'a Gvk) -> impl Iterator<Item = &'a Rule> {
        let positions = self.by_kind.get(&*original.kind).unwrap_or(&self.any_kind);
        positions.iter().filter_map(|at| self.list.get(*at)).filter(|rule| rule.field.selects(original))
    }
}

/// Mends every name reference.
pub(crate) fn fix(resources: &mut Resources, config: &Config, schema: &Schema) -> Result<(), String> {
    let index = Index::new(resources, schema);
    let all = config.rules();
    let mut referrals = vec![];
    for (position, resource) in resources.iter_mut().enumerate() {
        let Some(known) = index.get(position) else { continue };
        let first = resource.previous.first().map_or(&known.gvk.kind, |first| &first.kind);
        let original = Gvk { kind: first.clone(), ..(*known.gvk).clone() };
        let mut rules = all.of(&original).peekable();
        if rules.peek().is_none() {
            continue;
        }
        let accounts = account_namespaces(&resource.node).map_err(|()| {
            format!("Invalid Input: namespace is blank for resource \"{}\"", resource.id(schema))
        })?;
        let mut found = vec![];
        for rule in rules {
            let role = role_of(&resource.node, rule);
            let mut referrer = Referrer {
                index: &index,
                known,
                accounts: &accounts,
                target: &rule.target,
                role,
                found: &mut found,
            };
            let mut fix = |node: &Node| referrer.field(node);
            let fixed = rule.field.apply_anyway(&mut resource.node, &Leaf::Nothing, &mut fix);
            fixed.map_err(|message| {
                let (path, id) = (&rule.field.path, resource.id(schema));
                format!("updating name reference in '{path}' field of '{id}': {message}")
            })?;
        }
        referrals.extend(found);
    }
    for position in referrals {
        resources.get_mut(position).into_iter().for_each(|resource| resource.references += 1);
    }
    Ok(())
}

/// A role binding may name service accounts of other namespaces: which ones. An error if one has a namespace that is
/// not a text.
fn account_namespaces(node: &Node) -> Result<Vec<String>, ()> {
    if node.text_at(&["kind"]) != "RoleBinding" {
        return Ok(vec![]);
    }
    let mut namespaces = vec![];
    for subject in node.get("subjects").and_then(Node::as_list).into_iter().flatten() {
        let Some(namespace) = subject.get("namespace") else { continue };
        if subject.text_at(&["kind"]) != "ServiceAccount" {
            continue;
        }
        let scalar = namespace.as_scalar().filter(|scalar| {
            use crate::node::Tag::{Bool, Float, Int, Null};
            !matches!(scalar.resolved_tag(), Bool | Float | Int | Null)
        });
        namespaces.push(scalar.ok_or(())?.text.to_string());
    }
    Ok(namespaces)
}

/// The kind of role that a binding refers to, if the field is the name of one.
fn role_of(node: &Node, rule: &Rule) -> Option<Gvk> {
    if !rule.is_role {
        return None;
    }
    let part = |name: &str| Some(node.at(&["roleRef", name])?.text().unwrap_or_default());
    Some(Gvk::new(part("apiGroup")?, "", part("kind")?))
}

/// A resource whose field is being mended.
struct Referrer<'a> {
    index: &'a Index,
    known: &'a Known,
    accounts: &'a [String],
    target: &'a Gvk,
    role: Option<Gvk>,
    /// Positions of what it refers to.
    found: &'a mut Vec<usize>,
}

impl Referrer<'_> {
    /// A name, an object with a name, or a list of these.
    fn field(&mut self, node: &Node) -> Result<Option<Node>, String> {
        let Node::List(items) = node else { return self.single(node) };
        let mut changed: Option<Node> = None;
        for (at, item) in items.iter().enumerate() {
            if let Node::List(_) = item {
                return Err(
                    "a list in a list is expected to be either a string or a map of string".to_owned()
                );
            }
            let Some(new) = self.single(item)? else { continue };
            let list = changed.get_or_insert_with(|| node.clone()).as_list_mut();
            if let Some(slot) = list.and_then(|list| list.get_mut(at)) {
                *slot = new;
            }
        }
        Ok(changed)
    }

    fn single(&mut self, node: &Node) -> Result<Option<Node>, String> {
        match node {
            node if node.is_null() => Ok(None),
            Node::Map(map) => self.object(node, map),
            _ => self.name(node),
        }
    }

    fn name(&mut self, node: &Node) -> Result<Option<Node>, String> {
        let old = node.text().unwrap_or_default();
        let candidates = self.index.in_reach(self.known, self.accounts, old);
        let referral = self.select(candidates, |a, b| a.name == b.name)?;
        let Some(referral) = referral.filter(|referral| *referral.name != *old) else { return Ok(None) };
        if referral.name.is_empty() {
            return Ok(None);
        }
        let mut new = Node::implicit(referral.name.clone());
        new.take_quotes_of(node);
        Ok(Some(new))
    }

    /// An object with a name and perhaps a namespace, which then narrows the choice.
    fn object(&mut self, node: &Node, map: &Map) -> Result<Option<Node>, String> {
        let old = map.get("name").ok_or("path config error; no 'name' field in node")?;
        let old = old.text().unwrap_or_default();
        let candidates = match map.get("namespace") {
            None => self.index.in_reach(self.known, self.accounts, old),
            Some(namespace) => {
                let namespace = namespace.text().unwrap_or_default();
                self.index.in_namespace(self.known, self.accounts, old, namespace)
            }
        };
        let same = |a: &Known, b: &Known| a.name == b.name && a.namespace == b.namespace;
        let Some(referral) = self.select(candidates, same)? else { return Ok(None) };
        if *referral.name == *old && referral.namespace.is_empty() {
            return Ok(None);
        }
        let mut changed = node.clone();
        changed.make_map().put("name", Node::implicit(referral.name.clone()));
        if !referral.namespace.is_empty() {
            changed.make_map().put("namespace", Node::implicit(referral.namespace.clone()));
        }
        Ok(Some(changed))
    }

    /// The one resource that is meant, of those that once had the name: none when there is none, an error when it cannot
    /// be told.
    fn select(
        &mut self,
        candidates: Vec<usize>,
        same: impl Fn(&Known, &Known) -> bool,
    ) -> Result<Option<&Known>, String> {
        let index = self.index;
        let known = candidates.into_iter().filter_map(|position| index.get(position));
        let mut candidates: Vec<&Known> = known.filter(|known| self.may_be(known)).collect();
        if candidates.len() > 1 {
            candidates.retain(|other| self.known.is_of_same_layer(other, true));
        }
        if candidates.len() > 1 {
            candidates.retain(|other| self.known.is_of_same_layer(other, false));
        }
        let Some((first, rest)) = candidates.split_first() else { return Ok(None) };
        if !rest.iter().all(|other| same(first, other)) {
            let ids: Vec<String> = candidates.iter().map(|known| known.shown()).collect();
            return Err(format!(
                "found multiple possible referrals: {}\n\n**** Too many possible referral targets to referrer: {}",
                ids.join(", "),
                self.known.shown()
            ));
        }
        self.found.push(first.position);
        Ok(Some(first))
    }

    fn may_be(&self, other: &Known) -> bool {
        other.was(self.target)
            && self.role.as_ref().is_none_or(|role| other.was(role))
            && (self.known.is_cluster_scoped()
                || other.is_cluster_scoped()
                || &*other.gvk.kind == "ServiceAccount"
                || self.known.effective == other.effective)
    }
}

#[cfg(test)]
mod tests;
