//! Which resources have or have had a name, so that adding one does not look at all others.

use std::collections::HashMap;

use super::Resource;
use crate::node::Text;

/// Fewer resources than this are looked through faster than they are indexed.
const WORTH_AN_INDEX: usize = 24;

/// Positions by name. What it gives has to be looked at: a resource may have lost the name since.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// None until somebody asks, and again when any resource may have got another name.
    positions: Option<HashMap<Text, Vec<usize>>>,
    /// Positions of what may have got another name since.
    changed: Vec<usize>,
}

impl Names {
    /// Every resource may have another name or position.
    pub(super) fn forget(&mut self) {
        self.positions = None;
        self.changed.clear();
    }

    /// The resource in a position may get another name, or is new.
    pub(super) fn changed(&mut self, position: usize) {
        if self.positions.is_some() && self.changed.last() != Some(&position) {
            self.changed.push(position);
        }
    }

    /// Positions of all that may have or have had a name, in order.
    pub(super) fn find(&mut self, list: &[Resource], name: &str) -> Vec<usize> {
        if list.len() < WORTH_AN_INDEX {
            self.forget();
            return (0..list.len()).collect();
        }
        if self.positions.is_none() || self.changed.len() > list.len() {
            self.positions = Some(HashMap::with_capacity(list.len()));
            self.changed = (0..list.len()).collect();
        }
        let positions = self.positions.get_or_insert_default();
        for position in self.changed.drain(..) {
            let Some(resource) = list.get(position) else { continue };
            let names = resource.previous.iter().map(|previous| previous.name.clone());
            for name in names.chain([resource.node.metadata_name("name")]) {
                let same = positions.entry(name).or_default();
                if let Err(at) = same.binary_search(&position) {
                    same.insert(at, position);
                }
            }
        }
        positions.get(name).cloned().unwrap_or_default()
    }
}
