//! Checks of form values that a JSON schema cannot express: does the entity in a picker exist, is a name one that the
//! catalog takes, is a repository that the task would make still free. They run before anything is created.

use std::collections::BTreeSet;

use dialect::nunjucks;
use identity::Claims;
use serde_json::{Map, Value, json};

use crate::Services;
use crate::catalog::CatalogError;
use crate::git_host::HostError;
use crate::record::user_ref;
use crate::template::Template;
use crate::validate::FieldError;

/// Why the checks could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Everything that is wrong with `values` beyond the schema.
pub(crate) async fn check(
    services: &Services,
    template: &Template,
    values: &Map<String, Value>,
    user: &Claims,
) -> Result<Vec<FieldError>, CheckError> {
    let mut errors = Vec::new();
    for (name, schema) in template.properties() {
        let Some(value) = values.get(&name).filter(|value| !value.is_null() && **value != "") else {
            continue;
        };
        match schema["ui:field"].as_str().unwrap_or_default() {
            "EntityNamePicker" => errors.extend(entity_name(&name, schema, value)),
            "RepoUrlPicker" => errors.extend(repository_address(&name, schema, value)),
            field @ ("EntityPicker" | "OwnerPicker" | "OwnedEntityPicker" | "MyGroupsPicker"
            | "MultiEntityPicker") => {
                errors.extend(entities(services, user, field, &name, schema, value).await?);
            }
            _ => {}
        }
    }
    for error in repositories(services, template, values, user).await? {
        // A field with two mistakes is better told the first one.
        if !errors.iter().any(|known| known.field() == error.field()) {
            errors.push(error);
        }
    }
    Ok(errors)
}

/// The name rule of the catalog: 1 to 63 letters and digits, joined by `-`, `_` or `.`.
fn entity_name(name: &str, schema: &Value, value: &Value) -> Option<FieldError> {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let valid = value.as_str().is_some_and(|text| {
        text.len() <= 63
            && text.starts_with(alphanumeric)
            && text.ends_with(alphanumeric)
            && text.chars().all(|c| alphanumeric(c) || "-_.".contains(c))
    });
    let message = "must be 1 to 63 letters and digits, joined by -, _ or .";
    (!valid).then(|| FieldError::of_field(name, "entityName", message, value.clone(), schema.clone()))
}

fn repository_address(name: &str, schema: &Value, value: &Value) -> Option<FieldError> {
    let refuse =
        |message: String| Some(FieldError::of_field(name, "repoUrl", message, value.clone(), schema.clone()));
    let Some(parts) = value.as_str().and_then(nunjucks::parse_repo_url) else {
        return refuse("must be a repository address of the form host?owner=o&repo=r".to_owned());
    };
    for (part, option) in [("host", "allowedHosts"), ("owner", "allowedOwners"), ("repo", "allowedRepos")] {
        let allowed = schema["ui:options"][option].as_array().cloned().unwrap_or_default();
        let found = parts.get(part).cloned().unwrap_or(Value::Null);
        if !allowed.is_empty() && !allowed.contains(&found) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            return refuse(format!("the {part} must be one of {}", allowed.join(", ")));
        }
    }
    None
}

/// The entities that a picker names must exist, unless the template says that any text will do.
async fn entities(
    services: &Services,
    user: &Claims,
    field: &str,
    name: &str,
    schema: &Value,
    value: &Value,
) -> Result<Vec<FieldError>, CheckError> {
    let options = &schema["ui:options"];
    if options["allowArbitraryValues"] == true {
        return Ok(Vec::new());
    }
    let filters = filters_of(&options["catalogFilter"]);
    let kind = default_kind(field, options);
    let named: Vec<&str> = match value {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let namespace = options["defaultNamespace"].as_str().unwrap_or("default");
    let mut references = Vec::new();
    let mut errors = Vec::new();
    let refuse =
        |message: String| FieldError::of_field(name, "entity", message, value.clone(), schema.clone());
    for text in named {
        match nunjucks::parse_entity_ref(text, kind.as_deref(), namespace) {
            Some(parts) => {
                let part = |key: &str| parts[key].as_str().unwrap_or_default().to_owned();
                references.push((text, format!("{}:{}/{}", part("kind"), part("namespace"), part("name"))));
            }
            None => {
                errors.push(refuse(format!("\"{text}\" is not an entity reference [kind:][namespace/]name")))
            }
        }
    }
    let asked: Vec<String> = references.iter().map(|(_, reference)| reference.clone()).collect();
    if asked.is_empty() {
        return Ok(errors);
    }
    let found = services.catalog.by_refs(user, &asked, &filters).await?;
    for ((text, _), found) in references.into_iter().zip(found) {
        if found.is_none() {
            let what = kind.as_deref().map_or_else(|| "entity".to_owned(), str::to_lowercase);
            errors.push(refuse(format!("there is no {what} \"{text}\" in the catalog")));
        }
    }
    Ok(errors)
}

fn default_kind(field: &str, options: &Value) -> Option<String> {
    if let Some(kind) = options["defaultKind"].as_str() {
        return Some(kind.to_owned());
    }
    if matches!(field, "OwnerPicker" | "MyGroupsPicker") {
        return Some("Group".to_owned());
    }
    let one = |kind: &Value| match kind {
        Value::String(kind) => Some(kind.clone()),
        Value::Array(kinds) if kinds.len() == 1 => kinds[0].as_str().map(str::to_owned),
        _ => None,
    };
    one(&options["catalogFilter"]["kind"]).or_else(|| one(&options["allowedKinds"]))
}

/// `catalogFilter` (a map or a list of maps) as `filter=` parameters.
fn filters_of(filter: &Value) -> Vec<String> {
    let alternatives: Vec<&Value> = match filter {
        Value::Array(items) => items.iter().collect(),
        Value::Object(_) => vec![filter],
        _ => Vec::new(),
    };
    let conditions = |fields: &Map<String, Value>| {
        let mut parts = Vec::new();
        for (key, value) in fields {
            match value {
                Value::Array(values) => {
                    parts.extend(
                        values.iter().filter_map(Value::as_str).map(|value| format!("{key}={value}")),
                    );
                }
                Value::String(value) => parts.push(format!("{key}={value}")),
                Value::Object(rule) if rule.get("exists") == Some(&Value::Bool(true)) => {
                    parts.push(key.clone())
                }
                _ => {}
            }
        }
        parts.join(",")
    };
    alternatives
        .into_iter()
        .filter_map(Value::as_object)
        .map(conditions)
        .filter(|filter| !filter.is_empty())
        .collect()
}

/// Repositories that the steps would make must be free. The mistake is reported at the field the name comes from.
async fn repositories(
    services: &Services,
    template: &Template,
    values: &Map<String, Value>,
    user: &Claims,
) -> Result<Vec<FieldError>, CheckError> {
    let host = services.git_host(user);
    let scope = json!({
        "parameters": values, "user": {"ref": user_ref(user)}, "secrets": {}, "steps": {},
        "environment": {"parameters": services.environment},
    });
    let mut taken: Vec<(String, String)> = Vec::new();
    for step in template
        .steps
        .iter()
        .filter(|step| matches!(step.action.as_str(), "publish:github" | "github:repo:create"))
    {
        let condition = &step.written["if"];
        if !condition.is_null()
            && !nunjucks::is_truthy(nunjucks::render_value(condition, &scope).value.as_ref())
        {
            continue;
        }
        let written = step.written["input"]["repoUrl"].as_str().unwrap_or_default();
        // A name that only an earlier step or an iteration knows cannot be checked yet.
        if written.contains("steps") || written.contains("each.") {
            continue;
        }
        let rendered = nunjucks::render_value(&Value::from(written), &scope).value.unwrap_or_default();
        let Ok((owner, name)) = services.repository_of(rendered.as_str().unwrap_or_default()) else {
            continue;
        };
        if host.repository(&format!("{owner}/{name}")).await?.is_some() {
            taken.push((field_of(written, template), format!("{owner}/{name}")));
        }
    }
    let fields: BTreeSet<&str> = taken.iter().map(|(field, _)| field.as_str()).collect();
    let schemas = template.properties();
    let errors = fields.into_iter().map(|field| {
        let names: Vec<&str> =
            taken.iter().filter(|(of, _)| of == field).map(|(_, name)| name.as_str()).collect();
        let noun = if names.len() == 1 { "the repository" } else { "the repositories" };
        let verb = if names.len() == 1 { "exists" } else { "exist" };
        let schema = schemas
            .iter()
            .find(|(name, _)| name == field)
            .map_or(Value::Null, |(_, schema)| (*schema).clone());
        let message = format!("is taken: {noun} {} {verb} already", names.join(", "));
        FieldError::of_field(field, "taken", message, values.get(field).cloned().unwrap_or_default(), schema)
    });
    Ok(errors.collect())
}

/// The property whose value makes the repository's name: the last one that `repoUrl` mentions.
fn field_of(written: &str, template: &Template) -> String {
    let mut mentioned: Vec<(usize, String)> = Vec::new();
    for (name, _) in template.properties() {
        for form in
            [format!("parameters.{name}"), format!("parameters['{name}']"), format!("parameters[\"{name}\"]")]
        {
            let is_whole = |at: usize| {
                let next = written[at + form.len()..].chars().next().unwrap_or(' ');
                !(next.is_ascii_alphanumeric() || next == '_')
            };
            let places = written.match_indices(form.as_str()).map(|(at, _)| at).filter(|at| is_whole(*at));
            mentioned.extend(places.map(|at| (at, name.clone())));
        }
    }
    mentioned.into_iter().max().map(|(_, name)| name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_kinds_come_from_the_options() {
        let filter = json!([{"kind": ["Group", "User"]}, {"kind": "API", "spec.type": {"exists": true}}]);
        assert_eq!(filters_of(&filter), ["kind=Group,kind=User", "kind=API,spec.type"]);
        assert_eq!(
            default_kind("EntityPicker", &json!({"catalogFilter": {"kind": "System"}})).as_deref(),
            Some("System")
        );
        assert_eq!(default_kind("OwnerPicker", &json!({})).as_deref(), Some("Group"));
        assert_eq!(default_kind("EntityPicker", &json!({"catalogFilter": filter})), None);
    }

    #[test]
    fn names_and_addresses_are_checked() {
        let check = |value: &str, valid: bool| {
            assert_eq!(entity_name("name", &Value::Null, &json!(value)).is_none(), valid, "{value}");
        };
        check("dashboard", true);
        check("a.b_c-1", true);
        check("Dash Board!", false);
        check("-a", false);
        check(&"a".repeat(64), false);
        let schema = json!({"ui:options": {"allowedHosts": ["h"], "allowedOwners": ["platform"]}});
        assert!(repository_address("r", &schema, &json!("h?owner=platform&repo=x")).is_none());
        assert!(repository_address("r", &schema, &json!("h?owner=other&repo=x")).is_some());
        assert!(repository_address("r", &schema, &json!("h")).is_some());
    }

    #[test]
    fn the_field_is_the_last_one_in_the_address() {
        let template = Template::read(&json!({
            "apiVersion": "scaffolder.backstage.io/v1beta3", "kind": "Template", "metadata": {"name": "t"},
            "spec": {"steps": [], "parameters": {"properties": {"owner": {}, "name": {}, "nameX": {}}}}
        }))
        .unwrap();
        let check = |written: &str, expected: &str| assert_eq!(field_of(written, &template), expected);
        check("h?owner=${{ parameters.owner }}&repo=${{ parameters.name }}-web", "name");
        check("h?owner=o&repo=${{ parameters['nameX'] }}", "nameX");
        check("h?owner=o&repo=fixed", "");
    }
}
