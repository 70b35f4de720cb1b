//! The names that all resources have had, so that each reference finds its candidates without a look at the others.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::id::{Gvk, Id, NOT_A_NAMESPACE, shared_default};
use crate::node::Text;
use crate::resource::{Previous, Resource, Texts};
use crate::resources::Resources;
use crate::schema::Schema;

/// What counts about a resource that may be referred to.
pub(super) struct Known {
    pub(super) position: usize,
    /// Shared, as there are few.
    pub(super) gvk: Rc<Gvk>,
    pub(super) name: Text,
    /// As written; `""` where there is none.
    pub(super) namespace: Text,
    /// The namespace that counts now.
    pub(super) effective: Text,
    /// The namespace that counted first.
    original: Text,
    previous: Arc<[Previous]>,
    prefixes: Texts,
    suffixes: Texts,
}

/// Resources by the names that they have had.
pub(super) struct Index {
    known: Vec<Known>,
    /// In the order of former names, the namespaces that count now, and positions.
    by_place: Vec<Former>,
    /// The same with the namespaces that counted at first.
    by_original: Vec<Former>,
    /// Where the resources are now that were in a namespace first: effective namespace and namespace as written.
    moved: HashMap<Text, HashSet<(Text, Text)>>,
}

/// A name that the resource in a position has had.
#[derive(Clone, Copy)]
struct Former {
    position: usize,
    /// Which of its former names.
    which: usize,
}

impl Known {
    fn new(position: usize, resource: &Resource, schema: &Schema, kinds: &mut HashMap<Gvk, Rc<Gvk>>) -> Self {
        let id = resource.id(schema);
        let effective = id.shared_namespace();
        let original = match resource.previous.first() {
            Some(first) if first.namespace.is_empty() => shared_default(),
            Some(first) => first.namespace.clone(),
            None => effective.clone(),
        };
        let Id { gvk, name, namespace, .. } = id;
        let gvk = match kinds.get(&gvk) {
            Some(known) => known.clone(),
            None => kinds.entry(gvk.clone()).or_insert_with(|| Rc::new(gvk)).clone(),
        };
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
        let (gvk, name, namespace) = ((*self.gvk).clone(), self.name.clone(), self.namespace.clone());
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

/// The part of a sorted list that is equal to something, by a comparison with that.
fn equal(list: &[Former], compare: impl Fn(&Former) -> Ordering) -> &[Former] {
    let from = list.partition_point(|former| compare(former) == Ordering::Less);
    let rest = list.get(from..).unwrap_or_default();
    rest.get(..rest.partition_point(|former| compare(former) == Ordering::Equal)).unwrap_or_default()
}

impl Index {
    pub(super) fn new(resources: &Resources, schema: &Schema) -> Self {
        let mut kinds = HashMap::new();
        let known =
            resources.iter().enumerate().map(|(at, resource)| Known::new(at, resource, schema, &mut kinds));
        let known: Vec<Known> = known.collect();
        let mut moved: HashMap<Text, HashSet<(Text, Text)>> = HashMap::new();
        let mut by_place = vec![];
        for known in &known {
            let place = (known.effective.clone(), known.namespace.clone());
            moved.entry(known.original.clone()).or_default().insert(place);
            for (which, Previous { name, .. }) in known.previous.iter().enumerate() {
                let is_new = !known.previous.iter().take(which).any(|before| before.name == *name);
                by_place.extend(is_new.then_some(Former { position: known.position, which }));
            }
        }
        let mut index = Self { known, by_original: vec![], by_place: vec![], moved };
        index.by_original = index.sorted(by_place.clone(), |known| &known.original);
        index.by_place = index.sorted(by_place, |known| &known.effective);
        index
    }

    fn sorted(&self, mut list: Vec<Former>, place: impl Fn(&Known) -> &Text) -> Vec<Former> {
        list.sort_unstable_by(|a, b| {
            let place = |former: &Former| self.get(former.position).map(&place);
            let by_name = self.name(a).cmp(self.name(b));
            by_name.then_with(|| place(a).cmp(&place(b))).then_with(|| a.position.cmp(&b.position))
        });
        list
    }

    fn name(&self, former: &Former) -> &str {
        let known = self.get(former.position);
        known
            .and_then(|known| known.previous.get(former.which))
            .map(|previous| &*previous.name)
            .unwrap_or_default()
    }

    pub(super) fn get(&self, position: usize) -> Option<&Known> {
        self.known.get(position)
    }

    /// What once had a name and is in a namespace, or was there at first.
    fn in_place<'i>(
        &self,
        list: &'i [Former],
        place: impl Fn(&Known) -> &Text,
        name: &str,
        namespace: &str,
    ) -> &'i [Former] {
        let compare = |former: &Former| {
            let of = self.get(former.position).map(|known| &**place(known)).unwrap_or_default();
            self.name(former).cmp(name).then_with(|| of.cmp(namespace))
        };
        equal(list, compare)
    }

    /// What once had a name and is where `of` can refer to it.
    pub(super) fn in_reach(&self, of: &Known, accounts: &[String], name: &str) -> Vec<usize> {
        let with_name = equal(&self.by_place, |former| self.name(former).cmp(name));
        if with_name.is_empty() {
            return vec![];
        }
        let mut found: Vec<usize> = if of.is_cluster_scoped() {
            with_name.iter().map(|former| former.position).collect()
        } else {
            let effective =
                |namespace: &'_ str| if namespace.is_empty() { "default" } else { namespace }.to_owned();
            let mut wanted: Vec<String> = accounts.iter().map(|account| effective(account)).collect();
            wanted.extend([of.effective.to_string(), NOT_A_NAMESPACE.to_owned()]);
            let place = |place| self.in_place(with_name, |known| &known.effective, name, place);
            let found = wanted.iter().flat_map(|wanted| place(wanted.as_str()));
            self.reached(found, of, accounts)
        };
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
        let found = if was {
            self.in_place(&self.by_original, |known| &known.original, name, namespace)
        } else {
            self.in_place(&self.by_place, |known| &known.effective, name, namespace)
        };
        self.reached(found, of, accounts)
    }

    fn reached<'i>(
        &self,
        found: impl IntoIterator<Item = &'i Former>,
        of: &Known,
        accounts: &[String],
    ) -> Vec<usize> {
        let positions = found.into_iter().map(|former| former.position);
        positions.filter(|at| self.reaches(*at, of, accounts)).collect()
    }

    fn reaches(&self, position: usize, of: &Known, accounts: &[String]) -> bool {
        self.known.get(position).is_some_and(|known| known.is_in_reach(of, accounts))
    }
}
