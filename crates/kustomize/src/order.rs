//! `sortOptions`: the order of the output.

use crate::file::SortOptions;
use crate::resource::Resource;

/// Kinds that others need come first.
const FIRST: [&str; 17] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
];
const FIRST_TOO: [&str; 7] =
    ["PersistentVolumeClaim", "Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget", "", ""];
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Puts the resources in the order that the outermost kustomization asks for; `fifo`, the default, changes nothing.
pub(crate) fn sort(resources: &mut [Resource], options: Option<&SortOptions>) {
    let Some(options) = options.filter(|options| options.order == "legacy") else { return };
    let builtin_first = FIRST.iter().chain(&FIRST_TOO).filter(|kind| !kind.is_empty());
    let (first, last): (Vec<String>, Vec<String>) = match &options.legacy_sort_options {
        Some(legacy) => (legacy.order_first.clone(), legacy.order_last.clone()),
        None => (builtin_first.map(|k| (*k).to_owned()).collect(), LAST.map(str::to_owned).to_vec()),
    };
    let rank = |kind: &str| -> i64 {
        let place = |list: &[String]| list.iter().position(|k| k == kind).and_then(|p| i64::try_from(p).ok());
        match (place(&first), place(&last)) {
            (Some(place), _) => place - i64::try_from(first.len()).unwrap_or(0),
            (None, Some(place)) => place + 1,
            (None, None) => 0,
        }
    };
    resources.sort_by_cached_key(|resource| {
        let id = resource.id();
        let gvk = format!("{}_{}_{}", id.gvk.group, id.gvk.version, id.gvk.kind);
        (rank(&id.gvk.kind), gvk, id.namespace, id.name)
    });
}
