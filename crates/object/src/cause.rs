//! One finding about one field of an object, in the words and shape of Kubernetes' 422 answers
//! (`details.causes[]` of a Status; texts after apimachinery's `field.Error`).

use std::fmt;

use serde_json::{Value, json};

/// What is wrong with a field. `field` is a path such as `spec.containers[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldValueNotSupported`, … as in a Status.
    pub reason: &'static str,
    /// The text without the field, for example `Invalid value: "x": must be …`.
    pub message: String,
    /// Dotted path with `[i]` for list items and `[key]` for map keys.
    pub field: String,
}

impl Cause {
    /// The value is there but wrong.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// The value is of another type than the schema's: `Invalid value: "string": … must be of type …`.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> Self {
        Self::new("FieldValueTypeInvalid", field, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// The field has to be given.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message =
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self::new("FieldValueRequired", field, message)
    }

    /// The value is none of `supported` (printed in the given order).
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[String]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", "));
        Self::new("FieldValueNotSupported", field, message)
    }

    /// The field may not be set or changed here.
    pub fn forbidden(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// The same value or key occurs twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }

    /// The string is longer than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"))
    }

    /// The list or map has more than `max` items.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        Self::new("FieldValueTooMany", field, format!("Too many: {actual}: must have at most {max} items"))
    }

    /// What is referred to does not exist.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueNotFound", field, format!("Not found: {}", shown(value)))
    }

    fn new(reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Self { reason, message, field: field.into() }
    }

    /// The element of `details.causes[]`.
    pub fn to_json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The message of a 422: `Deployment.apps "web" is invalid: …`. Equal texts appear once; several go in brackets.
pub fn invalid_message(group: &str, kind: &str, name: &str, causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let list = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
    format!("{qualified} {name:?} is invalid: {list}")
}

/// Strings are quoted, simple values plain, everything else is JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s:?}"),
        other => other.to_string(),
    }
}
