//! What a resource is called: group, version, kind, namespace and name.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::node::{Node, Text};
use crate::schema::Schema;

/// Group, version and kind; as a pattern, `""` matches anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gvk {
    pub(crate) group: Text,
    pub(crate) version: Text,
    pub(crate) kind: Text,
}

/// The namespace that kustomize gives to what has none by its kind.
pub(crate) const NOT_A_NAMESPACE: &str = "_non_namespaceable_";

/// A resource's name at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) gvk: Gvk,
    pub(crate) name: Text,
    /// As written; `""` where there is none.
    pub(crate) namespace: Text,
    /// Whether the schema in use says for certain that the kind has no namespaces.
    pub(crate) cluster_scoped: bool,
}

impl Default for Gvk {
    fn default() -> Self {
        Self::new("", "", "")
    }
}

impl Gvk {
    pub(crate) fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    pub(crate) fn of(node: &Node) -> Self {
        let text = |name: &str| node.get(name).and_then(Node::as_scalar).map(|scalar| scalar.text.clone());
        let (group, version) = shared_parts(text("apiVersion").unwrap_or_default());
        Self { group, version, kind: text("kind").unwrap_or_default() }
    }
}

/// The namespace that counts where none is said.
pub(crate) fn shared_default() -> Text {
    static DEFAULT: LazyLock<Text> = LazyLock::new(|| "default".into());
    DEFAULT.clone()
}

/// `apps/v1` is group `apps`, version `v1`; `v1` has no group.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// As [`split_api_version`]. Most objects are of few versions, whose parts are made once.
fn shared_parts(api_version: Text) -> (Text, Text) {
    static BUILTIN: LazyLock<HashMap<&str, (Text, Text)>> = LazyLock::new(|| {
        let split = |version| (version, split_api_version(version));
        let parts = crate::schema::api_versions().map(split);
        parts.map(|(whole, (group, version))| (whole, (group.into(), version.into()))).collect()
    });
    match api_version.split_once('/') {
        None => (Text::default(), api_version),
        Some((group, version)) => match BUILTIN.get(&*api_version) {
            Some(parts) => parts.clone(),
            None => (group.into(), version.into()),
        },
    }
}

impl Id {
    pub(crate) fn of(node: &Node, schema: &Schema) -> Self {
        let gvk = Gvk::of(node);
        let cluster_scoped = schema.is_cluster_scoped(&gvk);
        Self {
            gvk,
            name: node.metadata_name("name"),
            namespace: node.metadata_name("namespace"),
            cluster_scoped,
        }
    }

    /// The namespace that counts in comparisons: none is `default`, and cluster scope is a place of its own.
    pub(crate) fn effective_namespace(&self) -> &str {
        if self.cluster_scoped {
            NOT_A_NAMESPACE
        } else if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }

    /// As [`Id::effective_namespace`], shared.
    pub(crate) fn shared_namespace(&self) -> Text {
        if self.cluster_scoped {
            static CLUSTER: LazyLock<Text> = LazyLock::new(|| NOT_A_NAMESPACE.into());
            CLUSTER.clone()
        } else if self.namespace.is_empty() {
            shared_default()
        } else {
            self.namespace.clone()
        }
    }

    /// The same name in the same effective namespace.
    pub(crate) fn same(&self, other: &Id) -> bool {
        self.same_but_namespace(other) && self.effective_namespace() == other.effective_namespace()
    }

    pub(crate) fn same_but_namespace(&self, other: &Id) -> bool {
        self.name == other.name && self.gvk == other.gvk
    }
}

impl fmt::Display for Gvk {
    /// `Deployment.v1.apps`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, version) = (or(&self.kind, "[noKind]"), or(&self.version, "[noVer]"));
        write!(f, "{kind}.{version}.{}", or(&self.group, "[noGrp]"))
    }
}

impl fmt::Display for Id {
    /// `Deployment.v1.apps/name.namespace`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.gvk, or(&self.name, "[noName]"), or(&self.namespace, "[noNs]"))
    }
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}
