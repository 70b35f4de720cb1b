//! The order of the output: `sortOptions`, and kustomize's legacy order of kinds.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::id::Gvk;
use crate::node::Text;
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// Kinds that others need come first.
const FIRST: [&str; 22] = [
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
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// Kinds that would catch the others come last.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// `sortOptions` of a kustomization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SortOptions {
    /// `legacy` or `fifo`.
    pub(crate) order: String,
    pub(crate) legacy_sort_options: Option<LegacySortOptions>,
}

/// Kinds to put first and last instead of the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LegacySortOptions {
    pub(crate) order_first: Vec<String>,
    pub(crate) order_last: Vec<String>,
}

impl SortOptions {
    /// What `--reorder legacy` stands for.
    pub(crate) fn legacy() -> Self {
        Self { order: "legacy".to_owned(), legacy_sort_options: None }
    }

    /// Whether the options say something that can be done.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (self.order.as_str(), &self.legacy_sort_options) {
            ("legacy", _) | ("fifo", None) => Ok(()),
            ("fifo", Some(_)) => {
                Err("the field 'sortOptions.legacySortOptions' is set but the selected sort \
                                      order is 'fifo', not 'legacy'"
                    .to_owned())
            }
            _ => Err("the field 'sortOptions.order' must be one of [fifo, legacy]".to_owned()),
        }
    }

    /// Sorts resources; `fifo` leaves them as they came.
    pub(crate) fn sort(&self, resources: &mut Resources, schema: &Schema) -> Result<(), String> {
        self.check()?;
        if self.order == "legacy" {
            let ranks = match &self.legacy_sort_options {
                Some(own) => rank(strings(&own.order_first), strings(&own.order_last)),
                None => builtin_ranks(),
            };
            let mut list = std::mem::take(resources).into_list();
            list.sort_by_cached_key(|resource| sort_key(resource, &ranks));
            check_ids(&list, schema)?;
            *resources = Resources::from_list(list);
        }
        Ok(())
    }
}

/// kustomize adds the resources anew, one by one, and so notices what has come to have the same name.
fn check_ids(list: &[Resource], schema: &Schema) -> Result<(), String> {
    let mut seen = HashSet::with_capacity(list.len());
    for resource in list {
        let id = resource.id(schema);
        if !seen.insert((id.gvk.clone(), Text::from(id.effective_namespace()), id.name.clone())) {
            return Err(format!(
                "SortOrderTransformer: Failed to append to resources: \
                 may not add resource with an already registered id: {id}"
            ));
        }
    }
    Ok(())
}

/// The place of a kind: below 0 for the first ones, above 0 for the last ones.
type Ranks<'k> = HashMap<&'k str, i64>;

fn builtin_ranks() -> Ranks<'static> {
    rank(FIRST.iter().copied(), LAST.iter().copied())
}

fn strings(list: &[String]) -> impl ExactSizeIterator<Item = &str> {
    list.iter().map(String::as_str)
}

fn rank<'k>(first: impl ExactSizeIterator<Item = &'k str>, last: impl Iterator<Item = &'k str>) -> Ranks<'k> {
    let before = i64::try_from(first.len()).unwrap_or(i64::MAX);
    // A kind that is listed twice has the later place.
    (-before..).zip(first).chain((1..).zip(last)).map(|(place, kind)| (kind, place)).collect()
}

/// The built-in place of a kind.
pub(crate) fn kind_rank(kind: &str) -> i64 {
    use std::sync::LazyLock;
    static RANKS: LazyLock<Ranks<'static>> = LazyLock::new(builtin_ranks);
    RANKS.get(kind).copied().unwrap_or_default()
}

/// Group, version and kind as a text that kustomize has always sorted by; what is missing comes late.
pub(crate) fn legacy_name(gvk: &Gvk) -> String {
    format!("{}_{}_{}", or(&gvk.group, "~G"), or(&gvk.version, "~V"), or(&gvk.kind, "~K"))
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// What resources are sorted by: the place of the kind, then the kind's text, then namespace and name.
fn sort_key(resource: &Resource, ranks: &Ranks<'_>) -> (i64, Kind, String) {
    let gvk = resource.gvk();
    let text = legacy_name(&gvk);
    let place = ranks.get(&*gvk.kind).copied().unwrap_or_default();
    // Among other kinds it has the place that its text gives it.
    let is_core = place != 0 && &*gvk.kind == "Namespace" && gvk.group.is_empty();
    let kind = if is_core { Kind::Core(Reverse(text)) } else { Kind::Other(text) };
    (place, kind, format!("{}|{}", or(resource.namespace(), "~X"), or(resource.name(), "~N")))
}

/// Kubernetes' own Namespace comes before those of other groups, which the text alone would put first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Core(Reverse<String>),
    Other(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::read_documents;

    fn sorted(text: &str, options: &SortOptions) -> Result<Vec<String>, String> {
        let documents = read_documents(text).unwrap();
        let mut resources = Resources::from_list(documents.into_iter().map(Resource::new).collect());
        options.sort(&mut resources, &Schema::default())?;
        Ok(resources.iter().map(|resource| format!("{} {}", resource.kind(), resource.name())).collect())
    }

    fn object(api_version: &str, kind: &str, name: &str) -> String {
        format!("---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    }

    #[test]
    fn legacy_order() {
        let text = [
            object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "w"),
            object("x.io/v1", "Namespace", "x"),
            object("v1", "Service", "b"),
            object("v1", "Service", "a"),
            object("example.io/v1", "Thing", "t"),
            object("v1", "Pod", "p"),
            object("v1", "Namespace", "n"),
        ]
        .concat();
        let order = sorted(&text, &SortOptions::legacy()).unwrap();
        let expected = [
            "Namespace n",
            "Namespace x",
            "Service a",
            "Service b",
            "Thing t",
            "Pod p",
            "ValidatingWebhookConfiguration w",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn own_order() {
        let text = [object("v1", "A", "a"), object("v1", "B", "b"), object("v1", "C", "c")].concat();
        let lists = |first: &[&str], last: &[&str]| SortOptions {
            order: "legacy".to_owned(),
            legacy_sort_options: Some(LegacySortOptions {
                order_first: first.iter().map(ToString::to_string).collect(),
                order_last: last.iter().map(ToString::to_string).collect(),
            }),
        };
        assert_eq!(sorted(&text, &lists(&["C"], &["A"])).unwrap(), ["C c", "B b", "A a"]);
        let namespaces = [object("v1", "Namespace", "n"), object("x.io/v1", "Z", "z"), text.clone()].concat();
        let expected = ["Z z", "A a", "B b", "C c", "Namespace n"];
        assert_eq!(sorted(&namespaces, &lists(&[], &[])).unwrap(), expected);
        let fifo = SortOptions { order: "fifo".to_owned(), legacy_sort_options: None };
        assert_eq!(sorted(&text, &fifo).unwrap(), ["A a", "B b", "C c"]);
        let wrong = SortOptions { order: "fifo".to_owned(), ..lists(&[], &[]) };
        assert!(
            sorted(&text, &wrong).unwrap_err().contains("the selected sort order is 'fifo', not 'legacy'")
        );
        assert!(sorted(&text, &SortOptions::default()).unwrap_err().contains("one of [fifo, legacy]"));
    }

    #[test]
    fn what_has_come_to_have_the_same_name() {
        let text = [object("v1", "A", "a"), object("v1", "A", "a")].concat();
        let error = sorted(&text, &SortOptions::legacy()).unwrap_err();
        assert!(error.contains("already registered id: A.v1.[noGrp]/a.[noNs]"), "{error}");
    }
}
