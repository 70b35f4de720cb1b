//! What the catalog holds and hands out: entities, their references, and a read-only view to query. The shapes are
//! Backstage's (`descriptor-format.md`); an entity stays plain JSON so that fields nobody here knows survive.

use serde_json::Value;

use crate::filter::{self, Query};
use crate::index::Index;

pub use crate::reference::{EntityRef, RefError};

/// One stitched entity: what the file says plus `metadata.uid`, `metadata.etag`, annotations about where it came
/// from, `relations` in both directions and, if something is wrong, `status.items`.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Canonical reference, lower case.
    pub reference: EntityRef,
    /// The whole entity as the API returns it.
    pub json: Value,
    /// Flattened `(key, value)` rows, lower case, that filters are answered from.
    pub(crate) rows: Vec<(String, String)>,
}

impl Entity {
    /// The text at a path of `.`-separated plain keys, empty when there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        let value = path.split('.').try_fold(&self.json, |value, key| value.get(key));
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.json.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.text("metadata.uid")
    }
}

/// A consistent view of the whole catalog at one moment; cheap to clone and to keep.
#[derive(Debug, Clone)]
pub struct View(pub(crate) std::sync::Arc<Index>);

impl View {
    /// The entity with this reference.
    #[must_use]
    pub fn get(&self, reference: &EntityRef) -> Option<&Entity> {
        self.0.entities.get(reference)
    }

    /// The entity with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<&Entity> {
        self.0.entities.values().find(|entity| entity.uid() == uid)
    }

    /// All entities, ordered by reference.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.0.entities.values()
    }

    /// The entities that match, ordered as the query says.
    #[must_use]
    pub fn query(&self, query: &Query) -> Vec<&Entity> {
        filter::select(self.entities(), query)
    }

    /// The references of the chain that brought an entity in: itself first, then the locations above it.
    #[must_use]
    pub fn ancestry(&self, reference: &EntityRef) -> Vec<EntityRef> {
        let mut chain = vec![reference.clone()];
        while let Some(parent) = chain.last().and_then(|last| self.0.parents.get(last)) {
            if chain.contains(parent) {
                break;
            }
            chain.push(parent.clone());
        }
        chain
    }
}
