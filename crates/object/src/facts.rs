//! How lists and maps merge: for built-in kinds from one table, for custom resources from their OpenAPI schema.
//!
//! Strategic merge and server-side apply read the same table, but not the same column of it: `ports` of a
//! container is keyed by `containerPort` in the one and by `containerPort` and `protocol` in the other.
//! Everything the table does not name has Kubernetes' default: lists are atomic, maps and structs granular,
//! and a strategic merge replaces lists.

use serde_json::Value;

mod builtin;

/// A place in the schema of a kind. Cheap to copy; walk it along with the value.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a>(Place<'a>);

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// A field of a built-in kind, or its root.
    Builtin { of: &'static Type, field: Option<&'static Field> },
    /// An item of a list in a built-in kind.
    BuiltinItem(&'static Type),
    /// A CRD's `openAPIV3Schema`.
    CrdRoot(&'a Value),
    /// A node inside of it.
    Crd(&'a Value),
    /// No schema: maps granular, lists atomic.
    Free,
}

/// The facts of a struct type: the fields that differ from the default.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) fields: &'static [Field],
    /// Server-side apply treats the whole struct as one value.
    pub(crate) atomic: bool,
}

/// The facts of one field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) of: &'static Type,
    pub(crate) apply: Topology,
    pub(crate) strategy: Strategy,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Topology {
    /// As the type says: lists atomic, maps and structs granular.
    Default,
    /// The whole value is one leaf.
    Atomic,
    /// A struct whose type is atomic elsewhere.
    Granular,
    Set,
    Keyed(&'static [(&'static str, Option<&'static str>)]),
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Maps merge, lists are replaced.
    Default,
    /// The field is replaced as a whole, maps too.
    Replace,
    /// A list of scalars whose values are added.
    Merge,
    /// A list of objects with a merge key.
    MergeKey(&'static str),
}

/// How server-side apply treats a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// One leaf.
    Atomic,
    /// Scalars, each a member.
    Set,
    /// Objects identified by these keys, each with the value that stands for an absent key.
    Map(Vec<(String, Option<Value>)>),
}

impl<'a> Facts<'a> {
    /// The root of a built-in kind. Unknown kinds get the facts of object metadata only.
    pub fn builtin(group: &str, kind: &str) -> Facts<'static> {
        Facts(Place::Builtin { of: builtin::root(group, kind), field: None })
    }

    /// Whether the group belongs to Kubernetes itself, so that its kinds take strategic merge patches.
    /// CustomResourceDefinitions may not use these groups without an approval annotation.
    pub fn is_builtin_group(group: &str) -> bool {
        matches!(group, "" | "apps" | "batch" | "autoscaling" | "policy" | "extensions")
            || BUILTIN_GROUPS.contains(&group)
    }

    /// The root of a custom resource: its version's `openAPIV3Schema`.
    pub fn crd(schema: &'a Value) -> Self {
        Facts(Place::CrdRoot(schema))
    }

    /// A node inside of a custom resource's schema.
    pub(crate) fn crd_node(schema: &'a Value) -> Self {
        Facts(Place::Crd(schema))
    }

    /// A kind without a schema; its metadata is known all the same.
    pub fn free() -> Facts<'static> {
        Facts::builtin("", "")
    }

    /// The facts of a map's or struct's field.
    pub fn field(self, name: &str) -> Self {
        match self.0 {
            Place::Builtin { of, field: None } => builtin_field(of, name),
            Place::Builtin { field: Some(field), .. } => builtin_field(field.of, name),
            Place::BuiltinItem(of) => builtin_field(of, name),
            Place::CrdRoot(_) if name == "metadata" => builtin_field(builtin::root("", ""), name),
            Place::CrdRoot(schema) => crd_field(schema, name),
            Place::Crd(schema) if name == "metadata" && is_embedded(schema) => {
                builtin_field(builtin::root("", ""), name)
            }
            Place::Crd(schema) => crd_field(schema, name),
            Place::Free => self,
        }
    }

    /// The facts of a list's items.
    pub fn item(self) -> Self {
        match self.0 {
            Place::Builtin { field: Some(field), .. } => Facts(Place::BuiltinItem(field.of)),
            Place::Builtin { .. } | Place::BuiltinItem(_) | Place::CrdRoot(_) | Place::Free => {
                Facts(Place::Free)
            }
            Place::Crd(schema) => schema.get("items").map_or(Facts(Place::Free), |s| Facts(Place::Crd(s))),
        }
    }

    /// Whether apply treats a map at this place as one leaf.
    pub fn map_is_atomic(self) -> bool {
        match self.0 {
            Place::Builtin { field: Some(field), .. } => match field.apply {
                Topology::Atomic => true,
                Topology::Granular => false,
                _ => field.of.atomic,
            },
            Place::Builtin { field: None, of } | Place::BuiltinItem(of) => of.atomic,
            Place::Crd(schema) => schema.get("x-kubernetes-map-type").is_some_and(|t| t == "atomic"),
            Place::CrdRoot(_) | Place::Free => false,
        }
    }

    /// How apply treats a list at this place.
    pub fn list(self) -> ListKind {
        match self.0 {
            Place::Builtin { field: Some(field), .. } => match field.apply {
                Topology::Set => ListKind::Set,
                Topology::Keyed(keys) => {
                    ListKind::Map(keys.iter().map(|(k, d)| ((*k).to_owned(), d.map(Value::from))).collect())
                }
                _ => ListKind::Atomic,
            },
            Place::Crd(schema) => crd_list(schema),
            Place::Builtin { .. } | Place::BuiltinItem(_) | Place::CrdRoot(_) | Place::Free => {
                ListKind::Atomic
            }
        }
    }

    /// Whether `name` is a declared field here, not a key of a free-form map. Declared fields with children are
    /// not members of a field set by themselves, map keys are.
    pub fn declares(self, name: &str) -> bool {
        match self.0 {
            Place::Builtin { .. } | Place::BuiltinItem(_) => true,
            Place::CrdRoot(schema) => is_type_meta(name) || declares(schema, name),
            Place::Crd(schema) => declares(schema, name) || (is_type_meta(name) && is_embedded(schema)),
            Place::Free => false,
        }
    }

    /// How a strategic merge patch treats this place.
    pub fn strategy(self) -> Strategy {
        match self.0 {
            Place::Builtin { field: Some(field), .. } => field.strategy,
            _ => Strategy::Default,
        }
    }
}

const BUILTIN_GROUPS: [&str; 14] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
];

fn builtin_field(of: &'static Type, name: &str) -> Facts<'static> {
    match of.fields.iter().find(|f| f.name == name) {
        Some(field) => Facts(Place::Builtin { of, field: Some(field) }),
        None => Facts(Place::Builtin { of: &builtin::PLAIN, field: None }),
    }
}

fn crd_field<'a>(schema: &'a Value, name: &str) -> Facts<'a> {
    let declared = schema.get("properties").and_then(|p| p.get(name));
    let found = declared.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()));
    found.map_or(Facts(Place::Free), |s| Facts(Place::Crd(s)))
}

fn declares(schema: &Value, name: &str) -> bool {
    schema.get("properties").is_some_and(|p| p.get(name).is_some())
}

fn is_type_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn is_embedded(schema: &Value) -> bool {
    schema.get("x-kubernetes-embedded-resource").and_then(Value::as_bool) == Some(true)
}

fn crd_list(schema: &Value) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let default = |key: &str| schema["items"]["properties"][key].get("default").cloned();
            let keys = keys.into_iter().flatten().filter_map(Value::as_str);
            ListKind::Map(keys.map(|k| (k.to_owned(), default(k))).collect())
        }
        _ => ListKind::Atomic,
    }
}
