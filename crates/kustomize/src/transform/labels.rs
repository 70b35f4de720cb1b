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
    let mut setter = Setter::new(pairs);
    for resource in resources.iter_mut() {
        setter.texts.iter_mut().for_each(|(_, added)| *added = 0);
        apply_all(specs, &mut resource.node, &Leaf::Map, &mut |node| setter.set(node))
            .map_err(|message| context.invalid(message))?;
        for (text, _) in setter.texts.iter().filter(|(_, added)| *added > 1) {
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

/// Sets the same pairs in many maps.
struct Setter<'p> {
    pairs: &'p BTreeMap<String, String>,
    /// A text for each pair, which tells the fields that were added, and to how many maps of one object it was.
    texts: Vec<(Text, usize)>,
    /// What an empty map becomes.
    alone: Option<Node>,
}

impl<'p> Setter<'p> {
    fn new(pairs: &'p BTreeMap<String, String>) -> Self {
        let texts = pairs.values().map(|text| (text.as_str().into(), 0)).collect();
        Self { pairs, texts, alone: None }
    }

    /// The map with the pairs as strings, whatever they look like; none where they are there already.
    fn set(&mut self, node: &Node) -> Result<Option<Node>, String> {
        if let Some(text) = self.pairs.get("") {
            // An entry without a name is for kyaml the whole value.
            return replaced(node, text.as_str(), Tag::Str).map(Some);
        }
        if node.is_null() {
            return Ok(None);
        }
        let Some(map) = node.as_map() else { return Err(wrong_kind("MappingNode", node)) };
        let is_there = |(name, text): (&String, &String)| match map.get(name) {
            Some(Node::Scalar(scalar)) => scalar.tag == Tag::Str && &*scalar.text == text.as_str(),
            _ => false,
        };
        if self.pairs.iter().all(is_there) {
            return Ok(None);
        }
        if !map.is_empty() {
            return self.added(node).map(Some);
        }
        match self.alone.clone() {
            Some(alone) => {
                self.texts.iter_mut().for_each(|(_, added)| *added += 1);
                Ok(Some(alone))
            }
            None => {
                self.alone = Some(self.added(node)?);
                Ok(self.alone.clone())
            }
        }
    }

    fn added(&mut self, node: &Node) -> Result<Node, String> {
        let mut changed = node.clone();
        let map = changed.make_map();
        for (name, (text, added)) in self.pairs.keys().zip(&mut self.texts) {
            if map.get(name).is_none() {
                check_key(name)?;
                *added += 1;
                map.put(name, Node::string(text.clone()));
            } else {
                map.put(name, Node::string(&**text));
            }
        }
        Ok(changed)
    }
}
