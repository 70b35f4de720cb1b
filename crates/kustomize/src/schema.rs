//! What is known about kinds: whether they have namespaces, and how their lists merge.

use crate::id::Gvk;

/// The built-in schema, or a build's own (`openapi`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {}

impl Schema {
    /// Whether the kind is known and has no namespaces.
    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        let _ = gvk;
        false
    }
}
