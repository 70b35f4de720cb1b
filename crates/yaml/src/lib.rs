//! YAML as Kubernetes tools read and write it.
//!
//! `kubectl` and `kustomize` read the same text differently, and no YAML crate does what either of them does. This
//! crate reads the grammar of libyaml, which their Go library follows as well, and resolves scalars with one of three
//! [`Resolver`]s. The emitter quotes everything that a YAML 1.1 reader would not read back
//! as a string.
//!
//! - [`parse`] and [`parse_documents`]: text to `serde_json::Value`.
//! - [`compose`]: text to [`Node`]s, ordered and with positions, for edits in place ([`splice`]).
//! - [`emit`] and [`emit_documents`]: values to text, in the layout that `kubectl -o yaml` has.

mod compose;
mod emit;
mod node;
mod resolve;
mod scan;
mod sigs;
pub mod splice;

pub use compose::compose;
pub use emit::{emit, emit_documents, is_ambiguous, is_quoted};
pub use node::{Data, Node, Style};
pub use resolve::{Resolver, Scalar};
pub use sigs::{Emit, PathStep, Places, View, marshal, marshal_into, marshal_with_places};

use serde_json::Value;

/// Longest text that is read, in bytes: well above the 3 MiB of one object and any rendered tree met so far.
pub const SIZE_LIMIT: usize = 64 * 1024 * 1024;
/// Deepest nesting. Real manifests (CRD schemas) stay below 60; the tree is walked recursively.
pub const DEPTH_LIMIT: usize = 200;
/// Most values that aliases and merge keys may add to one stream, so that a small text cannot fill the memory.
pub const ALIAS_LIMIT: usize = 200_000;

/// Why a text is not the YAML that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {line}: {message}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
}

/// What a plain scalar without a tag means to go-yaml v3, as kustomize uses it.
pub fn resolve_plain(text: &str) -> Scalar {
    resolve::plain(text, Resolver::Kyaml)
}

/// Reads every document of a stream. Empty documents (nothing, or only `null`) are left out, as `kubectl` does.
pub fn parse_documents(text: &str, resolver: Resolver) -> Result<Vec<Value>, Error> {
    let mut budget = ALIAS_LIMIT;
    let mut documents = vec![];
    for node in compose(text)? {
        let value = resolve::value(&node, resolver, &mut budget)?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// Reads a text of one document; nothing but comments reads as `null`, a second document is an error.
pub fn parse(text: &str, resolver: Resolver) -> Result<Value, Error> {
    let mut nodes = compose(text)?.into_iter();
    let Some(node) = nodes.next() else { return Ok(Value::Null) };
    if let Some(second) = nodes.next() {
        return Err(second.error("expected one document, found a second one"));
    }
    resolve::value(&node, resolver, &mut { ALIAS_LIMIT })
}
