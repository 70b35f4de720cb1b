//! `ReplicaCountTransformer`: `replicas`.

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{FieldSpec, Leaf, Specs, replaced};
use crate::node::Tag;
use crate::plugin::{Context, Transform};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// How many replicas the resources of one name have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaCountTransformer {
    pub(crate) replica: Replica,
    pub(crate) field_specs: Specs,
}

/// An entry of `replicas`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Replica {
    /// A name that the resource has or has had.
    pub(crate) name: String,
    pub(crate) count: i64,
}

impl Transform for ReplicaCountTransformer {
    fn about(&self) -> &str {
        &self.replica.name
    }

    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let mut found = false;
        let count = self.replica.count.to_string();
        for spec in &*self.field_specs {
            for resource in resources.iter_mut() {
                if !self.concerns(spec, resource, context.schema) {
                    continue;
                }
                found = true;
                spec.apply(&mut resource.node, &Leaf::Scalar(Tag::Int), &mut |node| {
                    replaced(node, count.as_str(), Tag::Int).map(Some)
                })
                .map_err(|message| context.invalid(message))?;
            }
        }
        if found { Ok(()) } else { Err(context.invalid(self.nothing_found())) }
    }
}

impl ReplicaCountTransformer {
    fn concerns(&self, spec: &FieldSpec, resource: &Resource, schema: &Schema) -> bool {
        let name = self.replica.name.as_str();
        let had_name = || resource.previous.iter().any(|previous| &*previous.name == name);
        // Few have the name: the others need no ids.
        (resource.name() == name || had_name())
            && !resource.node.is_nil_or_empty()
            && resource.any_id(schema, |id| &*id.name == name && spec.selects(&id.gvk))
    }

    fn nothing_found(&self) -> String {
        let kinds: Vec<String> = self.field_specs.iter().map(|spec| spec.gvk().to_string()).collect();
        format!(
            "resource with name {} does not match a config with the following GVK [{}]",
            self.replica.name,
            kinds.join(" ")
        )
    }
}
