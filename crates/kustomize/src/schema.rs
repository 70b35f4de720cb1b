//! What is known about kinds: whether they have namespaces, and how their lists merge.
//!
//! Like kyaml's there is one schema in a build. Without `openapi` it is that of Kubernetes v1.21.2, which kustomize has
//! built in; the first kustomization with `openapi.path`, top down, puts its own in that place. What was already in use
//! by then stays in use beside it.

mod builtin;
mod custom;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::id::{Gvk, split_api_version};
use custom::{Builtin, Custom};
use serde_json::Value;

/// The version of the built-in schema, the only one that `openapi.version` may name.
const BUILTIN_VERSION: &str = "v1.21.2";

/// The built-in schema, or a build's own (`openapi`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    custom: Option<Arc<Custom>>,
    /// Whether a kustomization has said which schema it wants.
    decided: bool,
    /// What the built-in schema was needed for; shared by all clones, which are of one build.
    use_of_builtin: Arc<UseOfBuiltin>,
}

#[derive(Debug, Default)]
struct UseOfBuiltin {
    /// A scope was looked up that only the whole schema could tell: kyaml then loads it later, over any other.
    wanted: AtomicBool,
    /// It was read: a schema that comes later lies over it.
    read: AtomicBool,
}

/// What is known about a value: its fields, its items, how a list merges.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Facts<'a> {
    Builtin(&'static builtin::Type),
    Custom(&'a Custom, &'a Value),
}

/// The state of a schema at a point of a build.
#[derive(Clone, Debug)]
pub(crate) struct SchemaState {
    custom: Option<Arc<Custom>>,
    decided: bool,
    wanted: bool,
    read: bool,
}

impl SchemaState {
    /// Everything that it says, as long as it is the built-in schema.
    pub(crate) fn flags_if_builtin(&self) -> Option<[bool; 3]> {
        self.custom.is_none().then_some([self.decided, self.wanted, self.read])
    }
}

impl Schema {
    /// What a layer leaves behind, or finds.
    pub(crate) fn state(&self) -> SchemaState {
        SchemaState {
            custom: self.custom.clone(),
            decided: self.decided,
            wanted: self.use_of_builtin.wanted.load(Ordering::Relaxed),
            read: self.use_of_builtin.read.load(Ordering::Relaxed),
        }
    }

    /// Goes on from a state that a layer left behind.
    pub(crate) fn recall(&mut self, state: &SchemaState) {
        self.custom.clone_from(&state.custom);
        self.decided = state.decided;
        self.use_of_builtin.wanted.store(state.wanted, Ordering::Relaxed);
        self.use_of_builtin.read.store(state.read, Ordering::Relaxed);
    }

    /// Takes a kustomization's `openapi` field and the file that its `path` names. `top` is for the kustomization that
    /// is built; below it the field counts only if none above or before has said something.
    pub(crate) fn set(
        &mut self,
        field: &BTreeMap<String, String>,
        file: Option<&str>,
        top: bool,
    ) -> Result<(), String> {
        if self.decided && !top {
            return Ok(());
        }
        let version = field.get("version");
        if let Some(text) = file {
            if version.is_some() {
                return Err("builtin version and custom schema provided, cannot use both".to_owned());
            }
            let builtin = match &self.use_of_builtin {
                used if used.read.load(Ordering::Relaxed) => Builtin::Below,
                used if used.wanted.load(Ordering::Relaxed) => Builtin::Above,
                _ => Builtin::Unused,
            };
            let custom = Custom::read(text, builtin);
            let custom = custom.map_err(|reason| format!("invalid schema file: {reason}"))?;
            self.custom = Some(Arc::new(custom));
            self.decided = true;
            return Ok(());
        }
        match version.map(String::as_str) {
            None | Some("") => return Ok(()),
            Some(BUILTIN_VERSION) => {}
            Some(other) => {
                return Err(format!(
                    "the specified OpenAPI version is not built in: '{other}' (only {BUILTIN_VERSION} is)"
                ));
            }
        }
        self.custom = None;
        self.decided = true;
        Ok(())
    }

    /// Whether the kind is known and has no namespaces.
    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        self.is_namespaced(&gvk.group, &gvk.version, &gvk.kind) == Some(false)
    }

    /// Whether objects of a kind have namespaces; none when the kind is not known. A schema of the build's own only
    /// adds to what is built in.
    pub(crate) fn is_namespaced(&self, group: &str, version: &str, kind: &str) -> Option<bool> {
        let known = builtin::kind(group, version, kind).and_then(|kind| kind.namespaced);
        if known.is_some() {
            return known;
        }
        match &self.custom {
            Some(custom) => custom.is_namespaced(group, version, kind),
            None => {
                self.use_of_builtin.wanted.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// What is known about objects of a kind.
    pub(crate) fn of(&self, api_version: &str, kind: &str) -> Option<Facts<'_>> {
        let (group, version) = split_api_version(api_version);
        match &self.custom {
            Some(custom) => custom.kind(group, version, kind),
            None => {
                self.use_of_builtin.read.store(true, Ordering::Relaxed);
                builtin::kind(group, version, kind)?.facts.map(Facts::Builtin)
            }
        }
    }
}

/// The api versions that are built in.
pub(crate) fn api_versions() -> impl Iterator<Item = &'static str> {
    builtin::api_versions()
}

impl<'a> Facts<'a> {
    /// What is known about a field of a map.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Builtin(of) => of.field(name).map(Self::Builtin),
            Self::Custom(schema, value) => schema.field(value, name),
        }
    }

    /// What is known about the items of a list.
    pub(crate) fn items(self) -> Option<Self> {
        match self {
            Self::Builtin(of) => of.items().map(Self::Builtin),
            Self::Custom(schema, value) => schema.items(value),
        }
    }

    /// The keys that tell the items of a list apart when it is merged; no keys when the items are texts that do so
    /// themselves; none when a patch replaces the list.
    pub(crate) fn merge_keys(self) -> Option<Vec<&'a str>> {
        match self {
            Self::Builtin(of) => of.keys.clone(),
            Self::Custom(_, value) => custom::merge_keys(value),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;

    #[test]
    fn builtin_facts_tell_scopes_and_merge_keys() {
        let schema = Schema::default();
        assert!(schema.is_cluster_scoped(&Gvk::new("", "v1", "Namespace")));
        assert!(!schema.is_cluster_scoped(&Gvk::new("", "v1", "Pod")));
        assert!(!schema.is_cluster_scoped(&Gvk::new("example.com", "v1", "Namespace")));
        let pod = schema.of("apps/v1", "Deployment").unwrap();
        let pod = pod.field("spec").unwrap().field("template").unwrap();
        let containers = pod.field("spec").unwrap().field("containers").unwrap();
        assert_eq!(containers.merge_keys().unwrap(), ["name"]);
        let ports = containers.items().unwrap().field("ports").unwrap();
        assert_eq!(ports.merge_keys().unwrap(), ["containerPort", "protocol"]);
        assert_eq!(pod.field("metadata").unwrap().field("finalizers").unwrap().merge_keys(), Some(vec![]));
        assert!(schema.of("example.com/v1", "Deployment").is_none());
    }

    #[test]
    fn what_was_in_use_before_a_schema_came_stays_beside_it() {
        let own = r##"{"definitions": {"Foo": {
            "properties": {"pod": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"}},
            "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Foo"}]}}}"##;
        let pod = |schema: &Schema| schema.of("example.com/v1", "Foo").unwrap().field("pod").is_some();
        let mut alone = Schema::default();
        alone.set(&BTreeMap::new(), Some(own), true).unwrap();
        assert!(!pod(&alone));
        let mut later = Schema::default();
        assert!(!later.is_cluster_scoped(&Gvk::new("example.com", "v1", "Foo")));
        later.set(&BTreeMap::new(), Some(own), false).unwrap();
        assert!(pod(&later) && later.of("apps/v1", "Deployment").is_some());
    }

    #[test]
    fn the_first_schema_of_a_build_stays() {
        let own = r##"{"definitions": {"Foo": {
            "type": "object",
            "properties": {"items": {"$ref": "#/definitions/List"}, "any": {"additionalProperties": {"type": "object"}}},
            "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Foo"}]
          }, "List": {"type": "array", "items": {"type": "object"},
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "id"}},
          "paths": {"/apis/example.com/v1/foos": {"get": {
            "x-kubernetes-group-version-kind": {"group": "example.com", "version": "v1", "kind": "Foo"}}}}}"##;
        let mut schema = Schema::default();
        schema.set(&BTreeMap::new(), Some(own), false).unwrap();
        schema.set(&BTreeMap::new(), Some("{}"), false).unwrap();
        let foo = schema.of("example.com/v1", "Foo").unwrap();
        assert_eq!(foo.field("items").unwrap().merge_keys().unwrap(), ["id"]);
        assert!(foo.field("any").unwrap().field("x").is_some());
        assert!(schema.is_cluster_scoped(&Gvk::new("example.com", "v1", "Foo")));
        assert!(schema.of("apps/v1", "Deployment").is_none());
        assert!(schema.is_cluster_scoped(&Gvk::new("", "v1", "Namespace")));
        let version = BTreeMap::from([("version".to_owned(), "v1.20.4".to_owned())]);
        assert!(Schema::default().set(&version, None, true).is_err());
    }
}
