//! `NamespaceTransformer`: `namespace`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{FieldSpec, Leaf, Specs, replaced, wrong_kind};
use crate::generate::Metadata;
use crate::id::{Gvk, Id};
use crate::node::{Node, Tag};
use crate::plugin::{Context, Transform};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// What Helm made is in the namespace that Helm was told.
const HELM_GENERATED: &str = "internal.config.kubernetes.io/helm-generated";

/// The namespace of everything that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NamespaceTransformer {
    /// The namespace is the one that the configuration object itself is in.
    pub(crate) metadata: Metadata,
    pub(crate) field_specs: Specs,
    /// Whether a namespace that is there stays.
    pub(crate) unset_only: bool,
    /// Which subjects of role bindings get the namespace: `defaultOnly` (those called `default`, also if nothing is
    /// said), `allServiceAccounts` or `none`.
    pub(crate) set_role_binding_subjects: String,
}

/// Sets one namespace in one object at a time.
pub(super) struct Setter<'a> {
    pub(super) namespace: &'a str,
    pub(super) specs: &'a [FieldSpec],
    pub(super) unset_only: bool,
    pub(super) subjects: Subjects,
}

/// Which subjects of role bindings get the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subjects {
    CalledDefault,
    ServiceAccounts,
    None,
}

impl Transform for NamespaceTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let subjects = self.subjects().map_err(|message| context.invalid(message))?;
        let namespace = self.metadata.namespace.as_str();
        if namespace.is_empty() {
            return Ok(());
        }
        let (specs, unset_only) = (&*self.field_specs, self.unset_only);
        let setter = Setter { namespace, specs, unset_only, subjects };
        for resource in resources.iter_mut().filter(|resource| is_concerned(resource)) {
            resource.remember_id(context.schema);
            setter.set(&mut resource.node, context.schema).map_err(|message| context.invalid(message))?;
        }
        match conflict(resources, context.schema) {
            Some(message) => Err(context.invalid(message)),
            None => Ok(()),
        }
    }
}

impl NamespaceTransformer {
    fn subjects(&self) -> Result<Subjects, String> {
        match self.set_role_binding_subjects.as_str() {
            "" | "defaultOnly" => Ok(Subjects::CalledDefault),
            "allServiceAccounts" => Ok(Subjects::ServiceAccounts),
            "none" => Ok(Subjects::None),
            other => Err(format!(
                "invalid value \"{other}\" for setRoleBindingSubjects: must be one of \"defaultOnly\", \"none\" or \
                 \"allServiceAccounts\""
            )),
        }
    }
}

fn is_concerned(resource: &Resource) -> bool {
    !resource.node.is_nil_or_empty() && resource.annotation(HELM_GENERATED) != Some("true")
}

/// Resources that were told apart by their namespace only.
fn conflict(resources: &Resources, schema: &Schema) -> Option<String> {
    let ids: Vec<(bool, Id)> =
        resources.iter().map(|resource| (is_concerned(resource), resource.id(schema))).collect();
    let mut count: HashMap<(&Gvk, &str, &str), usize> = HashMap::with_capacity(ids.len());
    for (_, id) in &ids {
        *count.entry((&id.gvk, &id.name, id.effective_namespace())).or_default() += 1;
    }
    let many = |id: &Id| count.get(&(&id.gvk, &*id.name, id.effective_namespace())).is_some_and(|n| *n > 1);
    let (_, id) = ids.iter().find(|(concerned, id)| *concerned && many(id))?;
    let same: Vec<String> =
        ids.iter().filter(|(_, other)| other.same(id)).map(|(_, other)| other.to_string()).collect();
    Some(format!("namespace transformation produces ID conflict: [{}]", same.join(" ")))
}

impl Setter<'_> {
    /// Sets the namespace in an object: its own, that of subjects, and where the specs say.
    pub(super) fn set(&self, object: &mut Node, schema: &Schema) -> Result<(), String> {
        let gvk = Gvk::of(object);
        if !schema.is_cluster_scoped(&gvk) {
            static OWN: LazyLock<FieldSpec> =
                LazyLock::new(|| FieldSpec::new("", "", "", "metadata/namespace", true));
            OWN.apply(object, &Leaf::Scalar(Tag::Implicit), &mut |node| self.value(node))?;
        }
        let is_binding = is_role_binding(&gvk.kind);
        if is_binding && self.subjects != Subjects::None {
            self.set_subjects(object)?;
        }
        let is_core = gvk.group.is_empty() && &*gvk.version == "v1";
        let specs = self.specs.iter().filter(|spec| match &*spec.path {
            "metadata/namespace" => false,
            // Other kinds that are called Namespace are none.
            "metadata/name" => is_core,
            "subjects/namespace" => !(is_binding && is_role_binding(&spec.kind)),
            _ => true,
        });
        for spec in specs {
            let mut is_scalar = true;
            spec.apply(object, &Leaf::Scalar(Tag::Str), &mut |node| {
                is_scalar = node.as_scalar().is_some();
                self.value(node)
            })
            .map_err(|message| {
                let what = if is_scalar {
                    "namespace transformation failed"
                } else {
                    "namespace field specs must target scalar nodes"
                };
                format!("{what}: {message}")
            })?;
        }
        Ok(())
    }

    /// The namespace in the place of a value.
    fn value(&self, old: &Node) -> Result<Option<Node>, String> {
        let is_set = old.as_scalar().is_some_and(|scalar| scalar.tag != Tag::Null && !scalar.text.is_empty());
        if self.unset_only && is_set {
            return Ok(None);
        }
        let new = replaced(old, self.namespace, Tag::Str)?;
        Ok((new != *old).then_some(new))
    }

    fn set_subjects(&self, object: &mut Node) -> Result<(), String> {
        let Some(subjects) = object.get("subjects").filter(|subjects| !subjects.is_null()) else {
            return Ok(());
        };
        let wrapped =
            |message: String| format!("setting namespace on (cluster)role binding subjects: {message}");
        let Some(items) = subjects.as_list() else {
            return Err(wrapped(wrong_kind("SequenceNode", subjects)));
        };
        let mut changed: Option<Vec<Node>> = None;
        for (index, item) in items.iter().enumerate() {
            let Some(new) = self.subject(item).map_err(wrapped)? else { continue };
            if let Some(slot) = changed.get_or_insert_with(|| items.to_vec()).get_mut(index) {
                *slot = new;
            }
        }
        if let Some(changed) = changed {
            object.set("subjects", Node::list(changed));
        }
        Ok(())
    }

    /// What a subject becomes, none when it stays.
    fn subject(&self, subject: &Node) -> Result<Option<Node>, String> {
        let (field, wanted) = match self.subjects {
            Subjects::CalledDefault => ("name", "default"),
            _ => ("kind", "ServiceAccount"),
        };
        if subject.is_null() {
            return Ok(None);
        }
        let looking =
            |message: String| format!("looking up {field} on (cluster)role binding subject: {message}");
        let Some(map) = subject.as_map() else { return Err(looking(wrong_kind("MappingNode", subject))) };
        match map.get(field) {
            Some(Node::Scalar(scalar)) if scalar.tag != Tag::Null && &*scalar.text == wanted => {}
            None | Some(Node::Scalar(_)) => return Ok(None),
            Some(other) => return Err(looking(wrong_kind("ScalarNode", other))),
        }
        let old = map.get("namespace").cloned().unwrap_or_else(|| Node::implicit(""));
        let Some(new) = self.value(&old)? else { return Ok(None) };
        let mut changed = subject.clone();
        changed.set("namespace", new);
        Ok(Some(changed))
    }
}

fn is_role_binding(kind: &str) -> bool {
    matches!(kind, "RoleBinding" | "ClusterRoleBinding")
}
