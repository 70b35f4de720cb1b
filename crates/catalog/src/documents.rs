//! Descriptor files as documents: several YAML documents in one file, empty ones left out.

use serde_json::Value;

/// The documents of a descriptor file, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let documents =
        yaml::parse_documents(text, yaml::Resolver::Kubectl).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
