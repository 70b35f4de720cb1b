//! The tree that a text composes to: ordered, with the style and the position of every node.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: the only style whose text is resolved to other types than string.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Data {
    /// Text, with quotes and escapes already undone.
    Scalar {
        /// The text.
        text: String,
        /// How it was written.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in their order; duplicates are still there.
    Mapping(Vec<(Node, Node)>),
    /// `*name`: another node once more.
    Alias(Arc<Node>),
}

/// One node of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub data: Data,
    /// The tag as written and expanded, for example `tag:yaml.org,2002:binary` or `!Ref`.
    pub tag: Option<String>,
    /// Bytes of the text that this node covers; with quotes, without anchor and tag for scalars.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Node {
    /// The value under a key of a mapping (the last one, if the key is there twice); aliases are followed.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.target().data {
            Data::Mapping(pairs) => pairs.iter().rev().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The node at a path of mapping keys and list indices (decimal).
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.target().data {
            Data::Sequence(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(step),
        })
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.target().data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The node itself, or the one that an alias stands for.
    pub fn target(&self) -> &Node {
        match &self.data {
            Data::Alias(node) => node,
            _ => self,
        }
    }

    /// Whether this is the key `<<`, which takes over the fields of another mapping.
    pub fn is_merge(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, style: Style::Plain } if text == "<<")
            || self.tag.as_deref() == Some("tag:yaml.org,2002:merge")
    }

    /// An error at this place.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error { line: self.line, column: self.column, message: message.into() }
    }
}
