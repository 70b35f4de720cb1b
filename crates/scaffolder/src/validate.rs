//! The values of a form against the JSON schemas of its pages: the same schemas that the page in the browser uses.
//! Errors have the shape of Backstage's 400 answer. Pure.

use jsonschema::error::ValidationErrorKind;
use serde::Serialize;
use serde_json::{Map, Value};

/// One mistake in the values, in the shape of Backstage's answer (that of the `jsonschema` npm package).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldError {
    /// Where: names of properties and indexes.
    pub path: Vec<Value>,
    /// The same as text: `instance.port`.
    pub property: String,
    /// What is wrong, for people, without the name of the field.
    pub message: String,
    /// The schema that the value does not meet.
    pub schema: Value,
    /// The value.
    pub instance: Value,
    /// Keyword of the schema: `pattern`, `required`, `maximum`…
    pub name: String,
    /// What the keyword demands.
    pub argument: Value,
    /// Property and message in one line.
    pub stack: String,
}

impl FieldError {
    /// A mistake found by a check beyond the schema; `field` is the name of a top-level property.
    #[must_use]
    pub fn of_field(
        field: &str,
        name: &str,
        message: impl Into<String>,
        instance: Value,
        schema: Value,
    ) -> Self {
        let message = message.into();
        let property = if field.is_empty() { "instance".to_owned() } else { format!("instance.{field}") };
        Self {
            path: if field.is_empty() { Vec::new() } else { vec![Value::from(field)] },
            stack: format!("{property} {message}"),
            property,
            message,
            schema,
            instance,
            name: name.to_owned(),
            argument: Value::Null,
        }
    }

    /// The top-level property that is wrong; empty for the form as a whole.
    #[must_use]
    pub fn field(&self) -> &str {
        self.path.first().and_then(Value::as_str).unwrap_or_default()
    }
}

/// Checks `values` against every page.
///
/// # Errors
/// When a page is not a valid JSON schema (draft 7); the text names the page.
pub fn check(pages: &[Value], values: &Map<String, Value>) -> Result<Vec<FieldError>, String> {
    let instance = Value::Object(values.clone());
    let mut errors: Vec<FieldError> = Vec::new();
    for (at, page) in pages.iter().enumerate() {
        let validator = jsonschema::draft7::new(page)
            .map_err(|error| format!("spec.parameters[{at}] is not a valid JSON schema: {error}"))?;
        for error in validator.iter_errors(&instance) {
            let found = field_error(page, &error);
            if !errors.iter().any(|known| known.path == found.path && known.name == found.name) {
                errors.push(found);
            }
        }
    }
    Ok(errors)
}

/// Checks the rendered input of an action against its schema; the first mistakes, in words.
///
/// # Errors
/// When the input does not meet the schema.
pub fn check_input(schema: &Value, input: &Value) -> Result<(), String> {
    let validator = jsonschema::draft7::new(schema).map_err(|error| error.to_string())?;
    let problems: Vec<String> = validator
        .iter_errors(input)
        .take(5)
        .map(|error| {
            let place = error.instance_path().to_string().trim_start_matches('/').replace('/', ".");
            if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn field_error(page: &Value, error: &jsonschema::ValidationError<'_>) -> FieldError {
    let mut path: Vec<Value> = Vec::new();
    for part in error.instance_path().to_string().split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        path.push(part.parse::<u64>().map_or_else(|_| Value::from(part), Value::from));
    }
    let name = error.kind().keyword().to_owned();
    // A missing property is reported on its parent; people look for the mistake at the field itself.
    if let ValidationErrorKind::Required { property } = error.kind() {
        path.push(property.clone());
    }
    let schema_path = error.schema_path().to_string();
    let parent = schema_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut schema = page.pointer(parent).cloned().unwrap_or(Value::Null);
    let argument = page.pointer(&schema_path).cloned().unwrap_or(Value::Null);
    if name == "required"
        && let Some(property) =
            path.last().and_then(Value::as_str).and_then(|name| schema["properties"].get(name))
    {
        schema = property.clone();
    }
    let property = path.iter().fold("instance".to_owned(), |text, part| match part {
        Value::Number(index) => format!("{text}[{index}]"),
        other => format!("{text}.{}", other.as_str().unwrap_or_default()),
    });
    let message = message_of(error, &schema, &name);
    FieldError {
        stack: format!("{property} {message}"),
        instance: if name == "required" { Value::Null } else { error.instance().clone().into_owned() },
        path,
        property,
        message,
        schema,
        name,
        argument,
    }
}

/// The template's own words (`ui:options.errorMessages.<keyword>`) before ours.
fn message_of(error: &jsonschema::ValidationError<'_>, schema: &Value, keyword: &str) -> String {
    if let Some(own) = schema["ui:options"]["errorMessages"][keyword].as_str() {
        return own.to_owned();
    }
    match error.kind() {
        ValidationErrorKind::Required { .. } => "is required".to_owned(),
        ValidationErrorKind::Pattern { pattern } => format!("does not match the pattern {pattern}"),
        ValidationErrorKind::Maximum { limit } => format!("must be {limit} or less"),
        ValidationErrorKind::Minimum { limit } => format!("must be {limit} or more"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::MaxLength { limit } => format!("must have {limit} characters or fewer"),
        ValidationErrorKind::MinLength { limit } => format!("must have {limit} characters or more"),
        ValidationErrorKind::Enum { options } => format!("must be one of {options}"),
        ValidationErrorKind::Type { .. } => {
            let wanted = schema["type"].as_str().map_or_else(|| schema["type"].to_string(), str::to_owned);
            let article = if wanted.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
            format!("must be {article} {wanted}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_property_and_the_rule() {
        let pages = [
            json!({"required": ["name", "owner"], "properties": {
                "name": {"type": "string", "pattern": "^[a-z][a-z0-9-]*$", "maxLength": 20,
                         "ui:options": {"errorMessages": {"pattern": "must be lower-case letters"}}},
                "owner": {"type": "string"}}}),
            json!({"properties": {"port": {"type": "integer", "minimum": 1024, "maximum": 65535}},
                   "dependencies": {"tls": {"oneOf": [
                       {"properties": {"tls": {"const": false}}},
                       {"properties": {"tls": {"const": true}, "host": {"type": "string"}}, "required": ["host"]}]}}}),
        ];
        let check = |values: Value, expected: &[(&str, &str, &str)]| {
            let errors = check(&pages, values.as_object().unwrap()).unwrap();
            let found: Vec<(&str, &str, &str)> =
                errors.iter().map(|e| (e.property.as_str(), e.name.as_str(), e.message.as_str())).collect();
            assert_eq!(found, expected);
        };
        check(json!({"name": "dashboard", "owner": "o", "port": 3001}), &[]);
        check(
            json!({"name": "Dash Board!", "owner": "o"}),
            &[("instance.name", "pattern", "must be lower-case letters")],
        );
        check(json!({"name": "d"}), &[("instance.owner", "required", "is required")]);
        check(
            json!({"name": "d", "owner": "o", "port": 70000}),
            &[("instance.port", "maximum", "must be 65535 or less")],
        );
        check(
            json!({"name": "d", "owner": "o", "port": "3001"}),
            &[("instance.port", "type", "must be an integer")],
        );
        check(json!({"name": "d", "owner": "o", "tls": true, "host": "h"}), &[]);
        let errors =
            super::check(&pages, json!({"name": "d", "owner": "o", "tls": true}).as_object().unwrap())
                .unwrap();
        assert_eq!(errors[0].name, "oneOf");
    }

    #[test]
    fn inputs_of_actions_are_checked() {
        let schema =
            json!({"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}});
        assert!(check_input(&schema, &json!({"url": "./x"})).is_ok());
        assert!(check_input(&schema, &json!({})).unwrap_err().contains("url"));
        assert!(check_input(&schema, &json!({"url": 1})).unwrap_err().starts_with("url: "));
    }
}
