//! A `scaffolder.backstage.io/v1beta3` template as the catalog hands it out, read into what a form and a task need.

use serde_json::{Map, Value, json};

/// Title of a form page that has none (Backstage's words).
const PAGE_TITLE: &str = "Please enter the following information";
/// Steps one template may have.
const STEPS_MAX: usize = 200;

/// Why an entity cannot be used as a template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// Another kind or version.
    #[error("{0} is not a template of version scaffolder.backstage.io/v1beta3")]
    NotATemplate(String),
    /// A field is missing or has the wrong form.
    #[error("the template is not valid: {0}")]
    Invalid(String),
}

/// A template.
#[derive(Debug, Clone)]
pub struct Template {
    /// Canonical reference.
    pub reference: String,
    /// The whole entity.
    pub entity: Value,
    /// Pages of the form, each a JSON schema with `ui:` keys.
    pub pages: Vec<Value>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// The `output` block, unrendered.
    pub output: Value,
}

/// One step of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Id; `step-<n>` when the template names none.
    pub id: String,
    /// Name for people; the action's id when the template names none.
    pub name: String,
    /// Id of the action.
    pub action: String,
    /// The whole step as written: `input`, `if`, `each`.
    pub written: Value,
}

impl Template {
    /// Reads a template entity.
    ///
    /// # Errors
    /// When it is another kind, or steps are missing or not valid.
    pub fn read(entity: &Value) -> Result<Self, TemplateError> {
        let text = |pointer: &str| entity.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let reference = format!(
            "{}:{}/{}",
            text("/kind").to_lowercase(),
            entity.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default").to_lowercase(),
            text("/metadata/name").to_lowercase()
        );
        if text("/kind") != "Template" || text("/apiVersion") != "scaffolder.backstage.io/v1beta3" {
            return Err(TemplateError::NotATemplate(reference));
        }
        let spec = &entity["spec"];
        let pages = match &spec["parameters"] {
            Value::Null => Vec::new(),
            Value::Array(pages) => pages.clone(),
            page @ Value::Object(_) => vec![page.clone()],
            _ => {
                return Err(TemplateError::Invalid(
                    "spec.parameters: must be a page or a list of pages".to_owned(),
                ));
            }
        };
        Ok(Self {
            reference,
            pages,
            steps: read_steps(&spec["steps"])?,
            output: spec["output"].clone(),
            entity: entity.clone(),
        })
    }

    /// The answer of `parameter-schema`: pages with title, description and schema.
    #[must_use]
    pub fn parameter_schema(&self) -> Value {
        let metadata = &self.entity["metadata"];
        let name = &metadata["name"];
        let steps: Vec<Value> = self.pages.iter().map(page_of).collect();
        let mut schema = Map::new();
        schema.insert("title".to_owned(), metadata.get("title").unwrap_or(name).clone());
        if let Some(description) = metadata.get("description") {
            schema.insert("description".to_owned(), description.clone());
        }
        if let Some(options) = metadata.get("ui:options") {
            schema.insert("ui:options".to_owned(), options.clone());
        }
        if let Some(presentation) = self.entity["spec"].get("presentation") {
            schema.insert("presentation".to_owned(), presentation.clone());
        }
        schema.insert("steps".to_owned(), Value::Array(steps));
        Value::Object(schema)
    }

    /// `values` with the defaults of the form for what they leave out, as the form itself would send them.
    #[must_use]
    pub fn with_defaults(&self, values: &Map<String, Value>) -> Map<String, Value> {
        let mut filled = values.clone();
        for page in &self.pages {
            fill_defaults(page, &mut filled);
        }
        filled
    }

    /// Every property that a page declares, with its schema, those of conditional branches included.
    #[must_use]
    pub fn properties(&self) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for page in &self.pages {
            collect_properties(page, &mut found);
        }
        found
    }
}

fn page_of(page: &Value) -> Value {
    let mut schema = page.clone();
    let mut take = |key: &str| schema.as_object_mut().and_then(|fields| fields.shift_remove(key));
    let title = take("title").unwrap_or_else(|| Value::from(PAGE_TITLE));
    let description = take("description");
    let mut result = json!({ "title": title });
    if let Some(description) = description {
        result["description"] = description;
    }
    result["schema"] = schema;
    result
}

/// Reads the `steps` of a template or of a stored task.
///
/// # Errors
/// When one of them is not valid.
pub fn read_steps(steps: &Value) -> Result<Vec<Step>, TemplateError> {
    let invalid = |message: String| TemplateError::Invalid(message);
    let list = steps.as_array().ok_or_else(|| invalid("spec.steps: must be a list".to_owned()))?;
    if list.len() > STEPS_MAX {
        return Err(invalid(format!("spec.steps: more than {STEPS_MAX} steps")));
    }
    let mut read: Vec<Step> = Vec::with_capacity(list.len());
    for (at, step) in list.iter().enumerate() {
        let text = |key: &str| step[key].as_str().map(str::to_owned);
        let action = text("action").ok_or_else(|| invalid(format!("spec.steps[{at}].action: is missing")))?;
        let id = text("id").unwrap_or_else(|| format!("step-{}", at + 1));
        if read.iter().any(|other| other.id == id) {
            return Err(invalid(format!("spec.steps[{at}].id: \"{id}\" is used twice")));
        }
        let name = text("name").unwrap_or_else(|| action.clone());
        read.push(Step { id, name, action, written: step.clone() });
    }
    Ok(read)
}

fn fill_defaults(schema: &Value, values: &mut Map<String, Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = property.get("default") {
            values.entry(name.clone()).or_insert_with(|| default.clone());
        }
        if property["properties"].is_object() {
            let mut inner = match values.get(name) {
                Some(Value::Object(inner)) => inner.clone(),
                Some(_) => continue,
                None => Map::new(),
            };
            fill_defaults(property, &mut inner);
            if !inner.is_empty() {
                values.insert(name.clone(), Value::Object(inner));
            }
        }
    }
}

fn collect_properties<'a>(schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        // A branch restates the property it depends on, often only with the value that selects it.
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.clone(), property));
        }
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema[key].as_array().into_iter().flatten() {
            collect_properties(branch, found);
        }
    }
    for key in ["then", "else"] {
        if schema[key].is_object() {
            collect_properties(&schema[key], found);
        }
    }
    for (_, dependency) in schema["dependencies"].as_object().into_iter().flatten() {
        collect_properties(dependency, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({
            "apiVersion": "scaffolder.backstage.io/v1beta3", "kind": "Template",
            "metadata": {"name": "Web", "title": "A web site"},
            "spec": {
                "type": "website",
                "parameters": [
                    {"title": "Name", "required": ["name"], "properties": {"name": {"type": "string"}}},
                    {"properties": {"port": {"type": "number", "default": 3001}, "db": {"type": "object",
                      "properties": {"size": {"default": 1}}}},
                     "dependencies": {"port": {"oneOf": [{"properties": {"extra": {"type": "string"}}}]}}}
                ],
                "steps": [{"action": "debug:log"}, {"id": "b", "name": "B", "action": "fetch:plain"}]
            }
        })
    }

    #[test]
    fn pages_steps_and_defaults() {
        let template = Template::read(&template()).unwrap();
        assert_eq!(template.reference, "template:default/web");
        assert_eq!(template.steps[0].id, "step-1");
        assert_eq!(template.steps[0].name, "debug:log");
        let schema = template.parameter_schema();
        assert_eq!(schema["title"], "A web site");
        assert_eq!(schema["steps"][0]["title"], "Name");
        assert_eq!(schema["steps"][0]["schema"]["required"], json!(["name"]));
        assert_eq!(schema["steps"][1]["title"], PAGE_TITLE);
        let filled = template.with_defaults(json!({"port": 1}).as_object().unwrap());
        assert_eq!(Value::Object(filled), json!({"port": 1, "db": {"size": 1}}));
        let names: Vec<String> = template.properties().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["name", "port", "db", "extra"]);
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        let check = |pointer: &str, value: Value, expected: &str| {
            let mut entity = template();
            *entity.pointer_mut(pointer).unwrap() = value;
            let message = Template::read(&entity).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("/kind", json!("Component"), "component:default/web is not a template");
        check("/spec/steps", json!("x"), "spec.steps: must be a list");
        check("/spec/steps/0", json!({"id": "b", "action": "x"}), "spec.steps[1].id: \"b\" is used twice");
        check("/spec/steps/0", json!({"id": "a"}), "spec.steps[0].action: is missing");
    }
}
