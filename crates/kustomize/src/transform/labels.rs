//! `LabelTransformer`: `labels` and `commonLabels`. Annotations are set in the same way.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{FieldSpec, Leaf, Specs, apply_all, replaced, wrong_kind};
use crate::node::{Node, Tag};
use crate::plugin::{Context, Transform};
use crate::resources::Resources;

/// Labels for maps of labels and of selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LabelTransformer {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) field_specs: Specs,
}

impl Transform for LabelTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        set_pairs(context, resources, &self.labels, &self.field_specs)
    }
}

/// Sets all pairs in every map that the specs name. Resources of nothing are dropped.
pub(super) fn set_pairs(
    context: &Context<'_, '_>,
    resources: &mut Resources,
    pairs: &BTreeMap<String, String>,
    specs: &[FieldSpec],
) -> Result<(), Error> {
    if pairs.is_empty() {
        return Ok(());
    }
    for resource in resources.iter_mut() {
        apply_all(specs, &mut resource.node, &Leaf::Map, &mut |node| with_pairs(node, pairs))
            .map_err(|message| context.invalid(message))?;
    }
    resources.drop_empty();
    Ok(())
}

/// The map with the pairs as strings, whatever they look like; none where they are there already.
fn with_pairs(node: &Node, pairs: &BTreeMap<String, String>) -> Result<Option<Node>, String> {
    if pairs.contains_key("") {
        // An entry without a name is for kyaml the whole value.
        let text = pairs.get("").map(String::as_str).unwrap_or_default();
        return replaced(node, text, Tag::Str).map(Some);
    }
    if node.is_null() {
        return Ok(None);
    }
    let Some(map) = node.as_map() else { return Err(wrong_kind("MappingNode", node)) };
    let is_there = |(name, text): (&String, &String)| match map.get(name) {
        Some(Node::Scalar(scalar)) => scalar.tag == Tag::Str && &*scalar.text == text.as_str(),
        _ => false,
    };
    if pairs.iter().all(is_there) {
        return Ok(None);
    }
    let mut changed = node.clone();
    let map = changed.make_map();
    for (name, text) in pairs {
        map.put(name, Node::string(text.as_str()));
    }
    Ok(Some(changed))
}
