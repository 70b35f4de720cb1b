//! What to do in which order: pure.

use std::collections::HashSet;

use object::meta;
use serde_json::Value;

use super::inventory::Entry;
use super::render::steered;

/// Kinds that others need before they can be applied, in Flux's order; the rest come after, by kind.
const ORDER: [&str; 22] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
];
/// These may reject everything else, so they come last.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Objects in stages: definitions and namespaces, then classes, then the rest. Each stage is in order.
pub(crate) fn stages(objects: &[Value]) -> [Vec<&Value>; 3] {
    let mut stages: [Vec<&Value>; 3] = Default::default();
    for object in objects {
        let kind = meta::kind(object);
        let group = meta::split_api_version(meta::api_version(object)).0;
        let stage = match kind {
            "CustomResourceDefinition" => 0,
            "Namespace" if group.is_empty() => 0,
            "ClusterRole" if group == "rbac.authorization.k8s.io" => 0,
            kind if kind.ends_with("Class") => 1,
            _ => 2,
        };
        stages[stage].push(object);
    }
    for stage in &mut stages {
        stage.sort_by_cached_key(|object| {
            let kind = meta::kind(object);
            let rank = match ORDER.iter().position(|k| *k == kind) {
                Some(rank) => rank,
                None if LAST.contains(&kind) => usize::MAX,
                None => ORDER.len(),
            };
            (rank, kind.to_owned(), meta::namespace(object).to_owned(), meta::name(object).to_owned())
        });
    }
    stages
}

/// What was applied once and is not wanted any more, in the order of deletion: the reverse of applying.
pub(crate) fn stale(old: &[Entry], new: &[Entry]) -> Vec<Entry> {
    let kept: HashSet<String> = new.iter().map(Entry::id).collect();
    let rank = |entry: &Entry| match entry.kind.as_str() {
        "CustomResourceDefinition" => 0,
        "Namespace" => 1,
        kind => ORDER.iter().position(|k| *k == kind).unwrap_or(ORDER.len()) + 2,
    };
    let mut gone: Vec<Entry> = old.iter().filter(|entry| !kept.contains(&entry.id())).cloned().collect();
    gone.sort();
    gone.sort_by_key(|entry| std::cmp::Reverse(rank(entry)));
    gone
}

/// Whether a live object may be deleted for this owner: it has to carry the owner's labels and no opt-out.
pub(crate) fn may_prune(live: &Value, owner: &object::Key) -> bool {
    super::render::owner_of(live).as_ref() == Some(owner)
        && steered(live, "prune") != Some("disabled")
        && steered(live, "reconcile") != Some("disabled")
        && steered(live, "ssa") != Some("Ignore")
}

/// Whether an object is left alone, by its own word or that of the live one.
pub(crate) fn is_skipped(desired: &Value, live: Option<&Value>) -> bool {
    let says = |object: &Value| {
        steered(object, "reconcile") == Some("disabled") || steered(object, "ssa") == Some("Ignore")
    };
    says(desired) || live.is_some_and(|live| says(live) || steered(desired, "ssa") == Some("IfNotPresent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
    }

    #[test]
    fn definitions_and_namespaces_come_first() {
        let objects = [
            object("apps/v1", "Deployment", "d"),
            object("platform.io/v1", "XNodeApp", "x"),
            object("storage.k8s.io/v1", "StorageClass", "s"),
            object("v1", "Namespace", "n"),
            object("v1", "Service", "s"),
            object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "c"),
        ];
        let kinds = stages(&objects).map(|stage| stage.iter().map(|o| meta::kind(o)).collect::<Vec<_>>());
        assert_eq!(kinds[0], ["CustomResourceDefinition", "Namespace"]);
        assert_eq!(kinds[1], ["StorageClass"]);
        assert_eq!(kinds[2], ["Service", "Deployment", "XNodeApp"]);
    }

    #[test]
    fn stale_objects_go_in_reverse_order() {
        let entry = |object: &Value| Entry::of(object);
        let old = [
            entry(&object("v1", "Namespace", "n")),
            entry(&object("v1", "Service", "s")),
            entry(&object("apps/v1", "Deployment", "d")),
            entry(&object("v1", "ConfigMap", "kept")),
        ];
        let new = [entry(&object("v1", "ConfigMap", "kept"))];
        let kinds: Vec<String> = stale(&old, &new).into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["Deployment", "Service", "Namespace"]);
    }

    #[test]
    fn only_objects_of_this_owner_are_pruned() {
        let owner = object::Key::new("ns", "ks");
        let check = |labels: Value, annotations: Value, expected: bool| {
            let live = json!({"metadata": {"labels": labels, "annotations": annotations}});
            assert_eq!(may_prune(&live, &owner), expected);
        };
        let mine =
            json!({"kustomize.toolkit.fluxcd.io/name": "ks", "kustomize.toolkit.fluxcd.io/namespace": "ns"});
        check(mine.clone(), json!({}), true);
        check(mine, json!({"kustomize.toolkit.fluxcd.io/prune": "disabled"}), false);
        check(
            json!({"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": "ns"}),
            json!({}),
            false,
        );
        check(json!({}), json!({}), false);
    }
}
