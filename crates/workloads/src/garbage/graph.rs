//! Who owns whom, as the watches show it. Pure bookkeeping.

use std::collections::{BTreeSet, HashMap};

use controller::Change;
use object::{Key, Resource, meta};
use serde_json::Value;

/// Objects by uid, and dependents by the uid of their owner. Only objects that own or are owned, or are being deleted
/// with a finalizer, need looking at; all are kept, since any may become an owner.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

struct Node {
    resource: Resource,
    key: Key,
    /// Owner uids, and whether the reference blocks the owner's deletion.
    owners: Vec<(String, bool)>,
}

/// One dependent of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependent {
    pub(super) uid: String,
    pub(super) resource: Resource,
    pub(super) key: Key,
    /// The owner's foreground deletion waits for it.
    pub(super) blocks: bool,
}

impl Graph {
    /// Takes in a change; says which uids need a look.
    pub(super) fn take(&mut self, resource: &Resource, change: &Change) -> Vec<String> {
        let Some(after) = &change.after else { return self.remove(change.latest()) };
        let mut affected = vec![];
        // The same name with another uid: the old object went while nobody looked.
        if let Some(before) = change.before.as_ref().filter(|before| meta::uid(before) != meta::uid(after)) {
            affected.extend(self.remove(before));
        }
        let uid = meta::uid(after).to_owned();
        let owners = owners(after);
        let old = self.nodes.insert(
            uid.clone(),
            Node { resource: resource.clone(), key: meta::key(after), owners: owners.clone() },
        );
        for (owner, _) in old.iter().flat_map(|node| &node.owners) {
            if !owners.iter().any(|(o, _)| o == owner) {
                self.unlink(owner, &uid);
                // An owner may have waited for this very dependent.
                affected.push(owner.clone());
            }
        }
        for (owner, _) in &owners {
            self.dependents.entry(owner.clone()).or_default().insert(uid.clone());
        }
        let is_new = old.is_none_or(|node| node.owners != owners);
        let leaving = meta::is_being_deleted(after) && super::deletion(after).is_some();
        if leaving || (is_new && !owners.is_empty()) {
            affected.push(uid.clone());
        }
        if leaving {
            affected.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        affected
    }

    /// Where the object with this uid is.
    pub(super) fn place(&self, uid: &str) -> Option<(Resource, Key)> {
        self.nodes.get(uid).map(|node| (node.resource.clone(), node.key.clone()))
    }

    pub(super) fn has_dependents(&self, uid: &str) -> bool {
        self.dependents.get(uid).is_some_and(|d| !d.is_empty())
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents
            .filter_map(|dependent| {
                let node = self.nodes.get(dependent)?;
                let blocks = node.owners.iter().any(|(owner, blocks)| owner == uid && *blocks);
                let (resource, key) = (node.resource.clone(), node.key.clone());
                Some(Dependent { uid: dependent.clone(), resource, key, blocks })
            })
            .collect()
    }

    fn remove(&mut self, object: &Value) -> Vec<String> {
        let uid = meta::uid(object);
        let mut affected = vec![];
        if let Some(node) = self.nodes.remove(uid) {
            for (owner, _) in node.owners {
                self.unlink(&owner, uid);
                affected.push(owner);
            }
        }
        affected.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        affected
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

fn owners(object: &Value) -> Vec<(String, bool)> {
    meta::owners(object)
        .filter_map(|o| Some((o["uid"].as_str()?.to_owned(), o["blockOwnerDeletion"] == true)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object::kinds;
    use serde_json::json;

    use super::*;

    fn object(uid: &str, owners: &[&str], extra: Value) -> Value {
        let owners: Vec<Value> =
            owners.iter().map(|o| json!({"uid": o, "blockOwnerDeletion": true})).collect();
        let object =
            json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners}});
        object::patch::merge::apply(&object, &extra)
    }

    fn put(graph: &mut Graph, before: Option<Value>, after: Option<Value>) -> Vec<String> {
        let change = Change { before: before.map(Arc::new), after: after.map(Arc::new) };
        let mut affected = graph.take(&kinds::POD, &change);
        affected.sort();
        affected
    }

    #[test]
    fn changes_affect_owners_and_dependents() {
        let mut graph = Graph::default();
        let (owner, pod) = (object("o", &[], json!({})), object("p", &["o"], json!({})));
        assert!(
            put(&mut graph, None, Some(owner.clone())).is_empty(),
            "an object without owners needs no look"
        );
        assert_eq!(put(&mut graph, None, Some(pod.clone())), ["p"]);
        assert!(
            put(&mut graph, Some(pod.clone()), Some(pod.clone())).is_empty(),
            "nothing changed in ownership"
        );
        assert!(graph.dependents("o")[0].blocks);
        let leaving = json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["foregroundDeletion"]}});
        let leaving = object("o", &[], leaving);
        assert_eq!(put(&mut graph, Some(owner), Some(leaving.clone())), ["o", "p"]);
        assert_eq!(put(&mut graph, Some(pod), None), ["o"], "the owner waits for the end of its dependents");
        assert!(!graph.has_dependents("o"));
        assert!(put(&mut graph, Some(leaving), None).is_empty());
    }

    #[test]
    fn a_name_that_is_used_again_is_another_object() {
        let mut graph = Graph::default();
        put(&mut graph, None, Some(object("o1", &[], json!({}))));
        put(&mut graph, None, Some(object("p", &["o1"], json!({}))));
        let affected =
            put(&mut graph, Some(object("o1", &[], json!({}))), Some(object("o2", &[], json!({}))));
        assert_eq!(affected, ["p"]);
    }
}
