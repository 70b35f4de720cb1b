//! JSON patch (RFC 6902).

use serde_json::Value;

use super::PatchError;

/// More operations than this are refused, as Kubernetes does, because each may copy the whole document.
pub const OPERATIONS_LIMIT: usize = 10_000;

/// Applies the operations in order; either all of them hold or the error says which did not.
/// A failed `test` or a path that does not exist is `Rejected`.
pub fn apply(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let count = patch.as_array().map(Vec::len).unwrap_or(0);
    if count > OPERATIONS_LIMIT {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {count}"
        )));
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    let mut result = target.clone();
    json_patch::patch(&mut result, &operations).map_err(|e| PatchError::Rejected(e.to_string()))?;
    Ok(result)
}
