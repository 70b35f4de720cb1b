//! Edits in place: one scalar of a text is replaced, everything else stays byte for byte.

use crate::emit::{double_quoted, plain_allowed_in_flow, single_quoted};
use crate::node::{Data, Node, Style};
use crate::{Error, compose};

/// Why a text was not edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// The text is not YAML.
    #[error("cannot read the text")]
    Syntax(#[source] Error),
    /// There is nothing at that path.
    #[error("there is no value at {0}")]
    Missing(String),
    /// There is a list, a mapping or an alias at that path.
    #[error("the value at {0} is not a scalar")]
    NotScalar(String),
}

/// Replaces the scalar at `path` (mapping keys and list indices, in the first document that has it) by the string
/// `new`. Quotes stay as they were; a plain scalar is quoted only if `new` would not be read as a string otherwise.
pub fn set_scalar(text: &str, path: &[&str], new: &str) -> Result<String, SpliceError> {
    let documents = compose(text).map_err(SpliceError::Syntax)?;
    let node = documents.iter().find_map(|document| document.at(path));
    let node = node.ok_or_else(|| SpliceError::Missing(path.join(".")))?;
    replace(text, node, new).ok_or_else(|| SpliceError::NotScalar(path.join(".")))
}

/// Replaces one scalar node of a text that it was composed from; none when the node is not a scalar.
pub fn replace(text: &str, node: &Node, new: &str) -> Option<String> {
    let Data::Scalar { style, .. } = &node.data else { return None };
    let (before, old, after) =
        (text.get(..node.span.start)?, text.get(node.span.clone())?, text.get(node.span.end..)?);
    let mut written = match style {
        Style::Plain if plain_allowed_in_flow(new) => new.to_owned(),
        Style::SingleQuoted if !new.chars().any(char::is_control) => single_quoted(new),
        _ => double_quoted(new),
    };
    // An empty plain scalar sits right behind its colon; a block scalar ends after its last line end.
    if old.is_empty() && before.ends_with([':', '-']) {
        written.insert(0, ' ');
    }
    if old.ends_with('\n') {
        written.push('\n');
    }
    Some(format!("{before}{written}{after}"))
}
