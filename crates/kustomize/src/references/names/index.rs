//! The names that all resources have had, so that each reference finds its candidates without a look at the others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::id::{Gvk, Id, NOT_A_NAMESPACE};
use crate::node::Text;
use crate::resource::{Previous, Resource};
use crate::resources::Resources;
use crate::schema::Schema;

/// What counts about a resource that may be referred to.
pub(super) struct Known {
    pub(super) position: usize,
    pub(super) gvk: Gvk,
    pub(super) name: Text,
    /// As written; `""` where there is none.
    pub(super) namespace: Text,
    /// The namespace that counts now.
    pub(super) effective: Text,
    /// The namespace that counted first.
    original: Text,
    previous: Arc<Vec<Previous>>,
    prefixes: Vec<Text>,
    suffixes: Vec<Text>,
}

/// Resources by the names that they have had.
pub(super) struct Index {
    known: Vec<Known>,
    /// By former name, and by former name and namespace now or at first.
    by_name: HashMap<Text, Vec<usize>>,
    by_place: HashMap<Text, HashMap<Text, Vec<usize>>>,
    by_original: HashMap<Text, HashMap<Text, Vec<usize>>>,
    /// Where the resources are now that were in a namespace first: effective namespace and namespace as written.
    moved: HashMap<Text, HashSet<(Text, Text)>>,
}

impl Known {
    fn new(position: usize, resource: &Resource, schema: &Schema) -> Self {
        let id = resource.id(schema);
        let effective: Text = if id.cluster_scoped || !id.namespace.is_empty() {
            id.effective_namespace().into()
        } else {
            "default".into()
        };
        let original = match resource.previous.first() {
            Some(first) if first.namespace.is_empty() => "default".into(),
            Some(first) => first.namespace.clone(),
            None => effective.clone(),
        };
        let Id { gvk, name, namespace, .. } = id;
        let previous = resource.previous.clone();
        let (prefixes, suffixes) = (resource.prefixes.clone(), resource.suffixes.clone());
        Self { position, gvk, name, namespace, effective, original, previous, prefixes, suffixes }
    }

    pub(super) fn is_cluster_scoped(&self) -> bool {
        &*self.effective == NOT_A_NAMESPACE
    }

    /// Whether it ever was of a kind.
    pub(super) fn was(&self, target: &Gvk) -> bool {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        fits(&target.group, &self.gvk.group)
            && fits(&target.version, &self.gvk.version)
            && self.previous.iter().any(|previous| fits(&target.kind, &previous.kind))
    }

    /// Whether both went through the same prefixes and suffixes from some layer on.
    pub(super) fn is_of_same_layer(&self, other: &Self, allow_empty: bool) -> bool {
        let fits =
            |a: &[Text], b: &[Text]| (allow_empty && (a.is_empty() || b.is_empty())) || have_same_end(a, b);
        fits(&self.prefixes, &other.prefixes) && fits(&self.suffixes, &other.suffixes)
    }

    pub(super) fn shown(&self) -> String {
        let (gvk, name, namespace) = (self.gvk.clone(), self.name.clone(), self.namespace.clone());
        Id { gvk, name, namespace, cluster_scoped: false }.to_string()
    }

    /// Whether it is where a resource can refer to it: everywhere if that one is cluster scoped.
    fn is_in_reach(&self, of: &Known, accounts: &[String]) -> bool {
        is_in_reach((&self.effective, &self.namespace), of, accounts)
    }
}

fn is_in_reach((effective, namespace): (&str, &str), of: &Known, accounts: &[String]) -> bool {
    of.is_cluster_scoped()
        || effective == NOT_A_NAMESPACE
        || effective == &*of.effective
        || accounts.iter().any(|account| account == namespace)
}

/// Whether the shorter list is the end of the longer one; an empty list is only the end of an empty one.
fn have_same_end(a: &[Text], b: &[Text]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if short.is_empty() { long.is_empty() } else { long.ends_with(short) }
}

impl Index {
    pub(super) fn new(resources: &Resources, schema: &Schema) -> Self {
        let known = resources.iter().enumerate().map(|(at, resource)| Known::new(at, resource, schema));
        let mut index = Self {
            known: known.collect(),
            by_name: HashMap::new(),
            by_place: HashMap::new(),
            by_original: HashMap::new(),
            moved: HashMap::new(),
        };
        for known in &index.known {
            let place = (known.effective.clone(), known.namespace.clone());
            index.moved.entry(known.original.clone()).or_default().insert(place);
            let mut seen: Vec<&Text> = vec![];
            for Previous { name, .. } in &*known.previous {
                if seen.contains(&name) {
                    continue;
                }
                seen.push(name);
                index.by_name.entry(name.clone()).or_default().push(known.position);
                let places = index.by_place.entry(name.clone()).or_default();
                places.entry(known.effective.clone()).or_default().push(known.position);
                let originals = index.by_original.entry(name.clone()).or_default();
                originals.entry(known.original.clone()).or_default().push(known.position);
            }
        }
        index
    }

    pub(super) fn get(&self, position: usize) -> Option<&Known> {
        self.known.get(position)
    }

    /// What once had a name and is where `of` can refer to it.
    pub(super) fn in_reach(&self, of: &Known, accounts: &[String], name: &str) -> Vec<usize> {
        if of.is_cluster_scoped() {
            return self.by_name.get(name).cloned().unwrap_or_default();
        }
        let Some(places) = self.by_place.get(name) else { return vec![] };
        let effective =
            |namespace: &'_ String| if namespace.is_empty() { "default" } else { namespace }.to_owned();
        let mut wanted: Vec<String> = accounts.iter().map(effective).collect();
        wanted.extend([of.effective.to_string(), NOT_A_NAMESPACE.to_owned()]);
        let found = wanted.iter().filter_map(|place| places.get(place.as_str())).flatten().copied();
        let mut found: Vec<usize> = found.filter(|at| self.reaches(*at, of, accounts)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The same, of what was in a namespace at first; if nothing that `of` can refer to was there, of what is there now.
    pub(super) fn in_namespace(
        &self,
        of: &Known,
        accounts: &[String],
        name: &str,
        namespace: &str,
    ) -> Vec<usize> {
        if namespace == NOT_A_NAMESPACE {
            return vec![];
        }
        let was = self.moved.get(namespace).into_iter().flatten();
        let was = was.into_iter().any(|(effective, written)| is_in_reach((effective, written), of, accounts));
        let groups = if was { &self.by_original } else { &self.by_place };
        let found = groups.get(name).and_then(|group| group.get(namespace)).into_iter().flatten().copied();
        found.filter(|at| self.reaches(*at, of, accounts)).collect()
    }

    fn reaches(&self, position: usize, of: &Known, accounts: &[String]) -> bool {
        self.known.get(position).is_some_and(|known| known.is_in_reach(of, accounts))
    }
}
