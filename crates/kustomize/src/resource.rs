//! One resource on its way through a build: the object, and what kustomize keeps in annotations beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::few::Few;
use crate::id::{Gvk, Id};
use crate::node::{Map, Node, Text, check_key};
use crate::origin::Origin;
use crate::schema::Schema;
use crate::twins::Twins;

/// What a generated object does when one of its name is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    #[default]
    Unspecified,
    Create,
    Replace,
    Merge,
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Merge => "merge",
        })
    }
}

/// Texts that many resources share.
pub(crate) type Texts = Arc<[Text]>;

/// An object with its history.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) node: Node,
    /// Every name before the current one, oldest first: kind, effective namespace, name. The group and version are
    /// those that the object has now.
    pub(crate) previous: Arc<[Previous]>,
    /// Name prefixes in the order they were added.
    pub(crate) prefixes: Texts,
    pub(crate) suffixes: Texts,
    pub(crate) needs_hash: bool,
    pub(crate) behavior: Behavior,
    /// For a patch: whether it may rename what it changes.
    pub(crate) allow_name_change: bool,
    pub(crate) allow_kind_change: bool,
    /// How many fields refer to this resource by name.
    pub(crate) references: u32,
    /// Whether the annotations were made anew, their names without quotes.
    pub(crate) annotations_rewritten: bool,
    /// Fields that change together.
    pub(crate) twins: Few<Arc<Twins>>,
    /// Vars that take their value from here.
    pub(crate) vars: Few<Text>,
    /// Where it came from, if `buildMetadata` asks for that.
    pub(crate) origin: Option<Arc<Origin>>,
    /// What changed it, if `buildMetadata` asks for that.
    pub(crate) transformations: Few<Arc<Origin>>,
}

/// A name that a resource had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) kind: Text,
    pub(crate) namespace: Text,
    pub(crate) name: Text,
}

impl Resource {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            previous: Arc::default(),
            prefixes: Texts::default(),
            suffixes: Texts::default(),
            needs_hash: false,
            behavior: Behavior::Unspecified,
            allow_name_change: false,
            allow_kind_change: false,
            references: 0,
            annotations_rewritten: false,
            twins: Few::default(),
            vars: Few::default(),
            origin: None,
            transformations: Few::default(),
        }
    }

    /// Whether it can be written as JSON, as a JSON patch needs it: the name of an annotation that was made anew has no
    /// quotes, and may then be a number or a boolean.
    pub(crate) fn check_annotations(&self) -> Result<(), String> {
        let annotations = self.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
        let mut names = annotations.filter(|_| self.annotations_rewritten).into_iter().flat_map(Map::names);
        names.try_for_each(|name| check_key(name))
    }

    /// The bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.node.size() + self.previous.len() * size_of::<Previous>()
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::of(&self.node)
    }

    pub(crate) fn kind(&self) -> &str {
        self.node.text_at(&["kind"])
    }

    pub(crate) fn name(&self) -> &str {
        self.node.metadata_text("name")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.node.metadata_text("namespace")
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.node.at(&["metadata", "annotations", name])?.text()
    }

    /// The name that it has now.
    pub(crate) fn id(&self, schema: &Schema) -> Id {
        Id::of(&self.node, schema)
    }

    /// The names that it has had, oldest first. Like kustomize's they are never cluster scoped: their namespace is
    /// the effective one already.
    pub(crate) fn previous_ids(&self) -> impl Iterator<Item = Id> + '_ {
        let gvk = self.gvk();
        self.previous.iter().map(move |previous| Id {
            gvk: Gvk { kind: previous.kind.clone(), ..gvk.clone() },
            name: previous.name.clone(),
            namespace: previous.namespace.clone(),
            cluster_scoped: false,
        })
    }

    /// Whether any name that it has had or has satisfies a condition.
    pub(crate) fn any_id(&self, schema: &Schema, fits: impl Fn(&Id) -> bool) -> bool {
        self.previous_ids().any(|id| fits(&id)) || fits(&self.id(schema))
    }

    /// Notes the current name before it changes.
    pub(crate) fn remember_id(&mut self, schema: &Schema) {
        let id = self.id(schema);
        let namespace = id.shared_namespace();
        let current = Previous { kind: id.gvk.kind, namespace, name: id.name };
        self.previous = self.previous.iter().cloned().chain([current]).collect();
    }

    /// Takes over who an older resource is, its labels and annotations where it has none of its own, and its history:
    /// for a generated resource that is put in its place.
    pub(crate) fn take_identity(&mut self, old: &Resource, keep_origin: bool) {
        let old_metadata = old.node.get("metadata");
        let metadata = self.node.map_at("metadata");
        for field in ["labels", "annotations"] {
            let own = metadata.remove(field);
            let texts = merged_texts(old_metadata.and_then(|node| node.get(field)), own.as_ref(), false);
            if let Some(texts) = texts {
                metadata.set(field, texts);
            }
        }
        self.set_name(old.name());
        self.set_namespace(old.namespace());
        self.previous.clone_from(&old.previous);
        self.prefixes.clone_from(&old.prefixes);
        self.suffixes.clone_from(&old.suffixes);
        // A resource that is no generated one keeps its name, also when a generator adds to it.
        self.needs_hash &= old.needs_hash;
        self.behavior = old.behavior;
        self.allow_name_change = old.allow_name_change;
        self.allow_kind_change = old.allow_kind_change;
        self.references = old.references;
        self.vars.clone_from(&old.vars);
        if self.origin.is_none() || (keep_origin && old.origin.is_some()) {
            self.origin.clone_from(&old.origin);
        }
        if self.transformations.is_empty() {
            self.transformations.clone_from(&old.transformations);
        }
    }

    /// Takes over what an older ConfigMap or Secret has in `data` and `binaryData` under other keys.
    pub(crate) fn take_data(&mut self, old: &Resource) {
        for field in ["data", "binaryData"] {
            let own = self.node.remove(field);
            if let Some(texts) = merged_texts(old.node.get(field), own.as_ref(), true) {
                self.node.set(field, texts);
            }
        }
    }

    /// Nothing is said about the text: it stays a string because nobody names an object `1`.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.node.map_at("metadata").put("name", Node::implicit(name));
    }

    /// Sets the namespace; `""` takes it away.
    pub(crate) fn set_namespace(&mut self, namespace: &str) {
        let metadata = self.node.map_at("metadata");
        if namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.set("namespace", Node::string(namespace));
        }
    }
}

/// The texts of two maps, those of the second one first; none when there is not one. Everything becomes a text, as in
/// kustomize's maps of strings, and a null becomes the empty one if asked for.
fn merged_texts(old: Option<&Node>, new: Option<&Node>, null_is_empty: bool) -> Option<Node> {
    let mut merged = BTreeMap::new();
    for map in [old, new].into_iter().flatten().filter_map(Node::as_map) {
        for (name, value) in map.iter() {
            let text = match value.as_scalar() {
                Some(_) if null_is_empty && value.is_null() => Text::default(),
                Some(scalar) => scalar.text.clone(),
                None => Text::default(),
            };
            merged.insert(name.clone(), Node::string(text));
        }
    }
    (!merged.is_empty()).then(|| Node::Map(Arc::new(merged.into_iter().collect())))
}
