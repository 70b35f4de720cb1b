//! The inventory: what a Kustomization has applied, as `status.inventory` holds it.

use object::{Key, meta};
use serde_json::{Value, json};

/// One object of an inventory. Equality is by identity: the version does not count.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) key: Key,
    pub(crate) version: String,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (&self.group, &self.kind, &self.key) == (&other.group, &other.kind, &other.key)
    }
}

impl Entry {
    pub(crate) fn of(object: &Value) -> Self {
        let (group, version) = meta::split_api_version(meta::api_version(object));
        Self {
            group: group.to_owned(),
            kind: meta::kind(object).to_owned(),
            key: meta::key(object),
            version: version.to_owned(),
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `<namespace>_<name>_<group>_<kind>`; a `:` in a name (roles have them) is written `__`.
    pub(crate) fn id(&self) -> String {
        format!("{}_{}_{}_{}", self.key.namespace, self.key.name.replace(':', "__"), self.group, self.kind)
    }

    /// The id's parts; none when it has not four of them.
    pub(crate) fn parse(id: &str, version: &str) -> Option<Self> {
        let (namespace, rest) = id.split_once('_')?;
        let (rest, kind) = rest.rsplit_once('_')?;
        let (name, group) = rest.rsplit_once('_')?;
        Some(Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            key: Key::new(namespace, name.replace("__", ":")),
            version: version.to_owned(),
        })
    }

    /// `Kind/namespace/name`, as Flux's messages name objects.
    pub(crate) fn subject(&self) -> String {
        format!("{}/{}", self.kind, self.key)
    }
}

/// Reads `status.inventory`.
pub(crate) fn read(status: &Value) -> Vec<Entry> {
    let entries = status["inventory"]["entries"].as_array().into_iter().flatten();
    entries
        .filter_map(|entry| Entry::parse(entry["id"].as_str()?, entry["v"].as_str().unwrap_or_default()))
        .collect()
}

/// Writes it, sorted, so that the same set is always the same text.
pub(crate) fn write(entries: &[Entry]) -> Value {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_cached_key(|entry| entry.id());
    let entries: Vec<Value> =
        entries.iter().map(|entry| json!({"id": entry.id(), "v": entry.version})).collect();
    json!({ "entries": entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_both_ways() {
        let check = |object: Value, id: &str| {
            let entry = Entry::of(&object);
            assert_eq!(entry.id(), id);
            assert_eq!(Entry::parse(id, "v1"), Some(entry));
        };
        check(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "dev"}}),
            "dev_web_apps_Deployment",
        );
        check(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dev"}}),
            "_dev__Namespace",
        );
        check(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:x"}}),
            "_system__x_rbac.authorization.k8s.io_ClusterRole",
        );
    }
}
