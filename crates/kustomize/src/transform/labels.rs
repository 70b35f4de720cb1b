//! `LabelTransformer`: `labels` and `commonLabels`. Annotations are set in the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{FieldSpec, Leaf, Specs, apply_all, replaced, wrong_kind};
use crate::node::{Node, Tag, Text, check_key};
use crate::plugin::{Context, Transform};
use crate::resources::Resources;
use crate::twins::Twins;

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
    let mut known: Vec<Arc<Twins>> = vec![];
    for resource in resources.iter_mut() {
        // One text for each pair and resource tells which fields were added.
        let mut texts: Vec<(Text, usize)> = pairs.values().map(|text| (text.as_str().into(), 0)).collect();
        apply_all(specs, &mut resource.node, &Leaf::Map, &mut |node| with_pairs(node, pairs, &mut texts))
            .map_err(|message| context.invalid(message))?;
        for (text, _) in texts.iter().filter(|(_, added)| *added > 1) {
            let Some(twins) = Twins::find(&resource.node, text) else { continue };
            // Objects of one kind have them in the same places.
            if !known.iter().any(|known| **known == twins) {
                known.push(Arc::new(twins.clone()));
            }
            resource.twins.extend(known.iter().find(|known| ***known == twins).cloned());
        }
    }
    resources.drop_empty();
    Ok(())
}

/// The map with the pairs as strings, whatever they look like; none where they are there already.
///
/// `texts` are those of the pairs; the number of times that each was added is counted there.
fn with_pairs(
    node: &Node,
    pairs: &BTreeMap<String, String>,
    texts: &mut [(Text, usize)],
) -> Result<Option<Node>, String> {
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
    for (name, (text, added)) in pairs.keys().zip(texts) {
        if map.get(name).is_none() {
            check_key(name)?;
            *added += 1;
            map.put(name, Node::string(text.clone()));
        } else {
            map.put(name, Node::string(&**text));
        }
    }
    Ok(Some(changed))
}
