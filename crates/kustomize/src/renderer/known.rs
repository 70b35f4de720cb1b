//! What builds have seen of a tree, and what was made of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::bounded::Bounded;
use crate::build::{KnownLayer, LayerKey};
use crate::file::Loaded;
use crate::node::{Node, Text};
use crate::tree::{ContentId, Kind, Tree};

/// An answer of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    /// Where a path leads.
    Followed { path: Text, to: Option<Text> },
    /// What is at a path that was followed.
    Kind { path: Text, kind: Option<Kind> },
    /// Which content is there.
    Content { path: Text, id: Option<ContentId> },
    /// All that a layer has seen, which several builds share.
    Layer(Arc<[Seen]>),
}

impl Seen {
    /// Whether a tree still gives this answer.
    pub(crate) fn holds(&self, tree: &dyn Tree) -> bool {
        match self {
            Self::Followed { path, to } => tree.follow(path).as_deref() == to.as_deref(),
            Self::Kind { path, kind } => tree.kind(path) == *kind,
            Self::Content { path, id } => tree.id(path) == *id,
            Self::Layer(seen) => all_hold(seen, tree),
        }
    }

    /// The bytes that it takes, about.
    fn size(&self) -> usize {
        const OVERHEAD: usize = 96;
        OVERHEAD
            + match self {
                Self::Followed { path, to } => path.len() + to.as_ref().map_or(0, |to| to.len()),
                Self::Kind { path, .. } | Self::Content { path, .. } => path.len(),
                // Those who made it count it.
                Self::Layer(_) => 0,
            }
    }
}

/// Whether a tree still gives all these answers.
pub(crate) fn all_hold(seen: &[Seen], tree: &dyn Tree) -> bool {
    seen.iter().all(|seen| seen.holds(tree))
}

/// Every answer once, in the order in which they came.
pub(crate) fn without_repetition(seen: &mut Vec<Seen>) {
    let mut known = HashSet::with_capacity(seen.len());
    seen.retain(|seen| matches!(seen, Seen::Layer(_)) || known.insert(seen.clone()));
}

/// The bytes that answers take, about.
pub(crate) fn size(seen: &[Seen]) -> usize {
    seen.iter().map(Seen::size).sum()
}

/// How many bytes a byte of YAML takes, once it is read, about.
pub(crate) const COST: usize = 6;

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<T> {
    pub(crate) what: T,
    /// Of the file, in bytes.
    pub(crate) size: u64,
}

/// What was made of files and of directories, by what it was made from.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) documents: Bounded<ContentId, Parsed<Arc<[Node]>>>,
    /// By path too, which errors and warnings name.
    pub(crate) kustomizations: Bounded<(String, ContentId), Parsed<Arc<Loaded>>>,
    pub(crate) layers: Bounded<LayerKey, Arc<KnownLayer>>,
    /// How often a layer was found.
    pub(crate) layers_reused: u64,
}

impl Known {
    /// A fourth of the limit is for files, the rest for layers.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            documents: Bounded::new(limit / 8),
            kustomizations: Bounded::new(limit / 8),
            layers: Bounded::new(limit - limit / 4),
            layers_reused: 0,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.documents.size() + self.kustomizations.size() + self.layers.size()
    }
}
