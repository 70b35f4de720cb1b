//! `PrefixTransformer`: `namePrefix`. What a name gets before or after it follows the same rules.

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{FieldSpec, Leaf, Specs, replaced};
use crate::id::Gvk;
use crate::node::{Tag, Text};
use crate::plugin::{Context, Transform};
use crate::resource::{Resource, Texts};
use crate::resources::Resources;
use crate::schema::Schema;

/// A text before names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PrefixTransformer {
    pub(crate) prefix: String,
    /// None is an error: a prefix is never put anywhere by itself.
    pub(crate) field_specs: Option<Specs>,
}

/// Where a text is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Transform for PrefixTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        add_to_names(context, resources, &self.prefix, self.field_specs.as_deref(), Side::Before)
    }
}

pub(super) fn add_to_names(
    context: &Context<'_, '_>,
    resources: &mut Resources,
    text: &str,
    specs: Option<&[FieldSpec]>,
    side: Side,
) -> Result<(), Error> {
    let specs = specs.ok_or_else(|| context.invalid("fieldSpecs is not expected to be nil"))?;
    let text = Text::from(text);
    let alone: Texts = [text.clone()].into();
    for resource in resources.iter_mut() {
        let gvk = original_gvk(resource);
        if !keeps_name(&gvk) {
            for spec in specs.iter().filter(|spec| spec.selects(&gvk)) {
                add(resource, (&text, &alone), spec, side, context.schema)
                    .map_err(|message| context.invalid(message))?;
            }
        }
    }
    Ok(())
}

fn add(
    resource: &mut Resource,
    (text, alone): (&Text, &Texts),
    spec: &FieldSpec,
    side: Side,
    schema: &Schema,
) -> Result<(), String> {
    if &*spec.path == "metadata/name" && !text.is_empty() {
        let list = if side == Side::Before { &mut resource.prefixes } else { &mut resource.suffixes };
        *list = if list.is_empty() { alone.clone() } else { list.iter().chain([text]).cloned().collect() };
        resource.remember_id(schema);
    }
    spec.apply(&mut resource.node, &Leaf::Scalar(Tag::Str), &mut |node| {
        // The text of a null is what was written for it, also here.
        let name = node.text().unwrap_or_default();
        let name = if side == Side::Before { format!("{text}{name}") } else { format!("{name}{text}") };
        replaced(node, name, Tag::Implicit).map(Some)
    })
}

/// The kind that a resource had at first, in the group and version that it has now.
fn original_gvk(resource: &Resource) -> Gvk {
    let gvk = resource.gvk();
    match resource.previous.first() {
        Some(first) => Gvk { kind: first.kind.clone(), ..gvk },
        None => gvk,
    }
}

/// Kinds whose name is not free: it says what they define.
fn keeps_name(gvk: &Gvk) -> bool {
    match &*gvk.kind {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => &*gvk.group == "apiregistration.k8s.io",
        _ => false,
    }
}
