//! The structural schema of a custom resource: pruning, defaulting and validation as an API server does them.
//! After apiextensions-apiserver. `x-kubernetes-validations` (CEL) is not evaluated here.

use serde_json::Value;

use crate::cause::Cause;
use crate::facts::Facts;

mod defaulting;
mod formats;
mod lists;
mod pruning;
mod structural;
mod validation;

/// A version's `openAPIV3Schema` that has been found structural.
#[derive(Clone, Debug)]
pub struct Schema {
    root: Value,
    patterns: validation::Patterns,
}

impl Schema {
    /// Checks that the schema is structural. The fields of the causes are relative to the schema.
    pub fn new(open_api_v3_schema: Value) -> Result<Self, Vec<Cause>> {
        let causes = structural::check(&open_api_v3_schema);
        if causes.is_empty() { Ok(Self::of(open_api_v3_schema)) } else { Err(causes) }
    }

    /// A schema that accepts everything, for definitions with `x-kubernetes-preserve-unknown-fields` at the root.
    pub fn anything() -> Self {
        Self::of(serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
    }

    fn of(root: Value) -> Self {
        let patterns = validation::patterns(&root);
        Self { root, patterns }
    }

    /// Drops the fields that the schema does not know and returns their paths, sorted, for `fieldValidation`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        pruning::prune(&self.root, object)
    }

    /// Fills in defaults; a null where null is not allowed and a default exists counts as absent.
    pub fn default(&self, object: &mut Value) {
        defaulting::default(&self.root, object);
    }

    /// Everything that is wrong with `object`. With `old`, values that were wrong before and did not change pass.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = validation::validate(&self.root, &self.patterns, object, old);
        causes.extend(lists::validate(&self.root, object, old));
        causes
    }

    /// How its lists and maps merge.
    pub fn facts(&self) -> Facts<'_> {
        Facts::crd(&self.root)
    }

    /// The schema as it was given.
    pub fn as_value(&self) -> &Value {
        &self.root
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
}

fn preserves_unknown(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

fn is_embedded(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-embedded-resource")
}

/// The schema of a map's field: declared, or that of all additional ones.
fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let declared = schema.get("properties").and_then(|p| p.get(name));
    declared.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
}

/// Whether a field is part of every resource's envelope, which the server itself takes care of.
fn is_envelope(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}
