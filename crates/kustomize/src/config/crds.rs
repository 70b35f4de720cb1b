//! `crds`: OpenAPI definitions of own kinds, whose `x-kubernetes-…` marks say which fields hold names, labels and
//! annotations.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Config, NameReference};
use crate::Error;
use crate::fieldspec::{FieldSpec, merge_specs};
use crate::reader::Reader;

/// Most properties that one file may lead to: definitions may use one another, and many times over.
const PROPERTY_LIMIT: usize = 100_000;

/// What the files in `crds` say.
pub(crate) fn from_crds(
    reader: &Reader<'_>,
    dir: &str,
    file: &str,
    paths: &[String],
) -> Result<Arc<Config>, Error> {
    let mut config = Arc::new(Config::default());
    for path in paths {
        let (full, text) = reader.load_text(dir, file, path)?;
        let invalid = |message: String| {
            let message = format!("unable to parse open API definition from '{path}': {message}");
            Error::Invalid { file: full.clone(), message }
        };
        let value = if text.starts_with('{') {
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?
        } else {
            let documents = yaml::parse_documents(&text, yaml::Resolver::Kubectl);
            let documents = documents.map_err(|error| Error::Yaml { file: full.clone(), error })?;
            documents.into_iter().next().unwrap_or_default()
        };
        let more = match &value {
            Value::Null => Config::default(),
            Value::Object(definitions) => from_definitions(definitions).map_err(invalid)?,
            _ => return Err(invalid("expected a map from type names to definitions".to_owned())),
        };
        config = Config::merged(config, Arc::new(more)).map_err(invalid)?;
    }
    Ok(config)
}

fn from_definitions(definitions: &Map<String, Value>) -> Result<Config, String> {
    let mut names: Vec<&String> = definitions.keys().collect();
    names.sort();
    for name in &names {
        check(name, definitions.get(*name))?;
    }
    let mut walk = Walk { definitions, config: Config::default(), kind: "", left: PROPERTY_LIMIT };
    for name in names {
        let Some(properties) = walk.properties(name) else { continue };
        let is_kind = ["kind", "apiVersion", "metadata"].iter().all(|field| properties.contains_key(*field));
        if is_kind {
            walk.kind = name.rsplit('.').next().unwrap_or_default();
            walk.definition(name, &mut vec![], &mut vec![])?;
        }
    }
    walk.config.sort();
    Ok(walk.config)
}

fn check(name: &str, definition: Option<&Value>) -> Result<(), String> {
    let is_map = |value: &Value| value.is_object() || value.is_null();
    let schema = definition.and_then(|definition| schema_of(definition.as_object()?));
    match (definition, schema) {
        (Some(definition), _) if !is_map(definition) => {
            Err(format!("the definition of '{name}' is not a map with a schema"))
        }
        (_, Some(schema)) if !is_map(schema) => Err(format!("the schema of '{name}' is not a map")),
        _ => Ok(()),
    }
}

fn schema_of(definition: &Map<String, Value>) -> Option<&Value> {
    Some(definition.iter().find(|(field, _)| field.eq_ignore_ascii_case("schema"))?.1)
}

struct Walk<'d> {
    definitions: &'d Map<String, Value>,
    config: Config,
    /// The kind whose definition is walked.
    kind: &'d str,
    left: usize,
}

impl<'d> Walk<'d> {
    fn properties(&self, name: &str) -> Option<&'d Map<String, Value>> {
        let schema = schema_of(self.definitions.get(name)?.as_object()?)?;
        schema.get("properties")?.as_object()
    }

    /// Walks a definition and the ones it uses. One that uses itself is not walked again: the fields would not end.
    fn definition(
        &mut self,
        name: &'d str,
        path: &mut Vec<&'d str>,
        inside: &mut Vec<&'d str>,
    ) -> Result<(), String> {
        let Some(properties) = self.properties(name) else { return Ok(()) };
        if inside.contains(&name) {
            return Ok(());
        }
        inside.push(name);
        for (field, property) in properties {
            let more = format!("more than {PROPERTY_LIMIT} properties");
            self.left = self.left.checked_sub(1).ok_or(more)?;
            path.push(field);
            self.property(property, path)?;
            if let Some(used) = property.get("$ref").and_then(Value::as_str) {
                self.definition(used, path, inside)?;
            }
            path.pop();
        }
        inside.pop();
        Ok(())
    }

    fn property(&mut self, property: &Value, path: &[&str]) -> Result<(), String> {
        let mark = |name: &str| {
            let same = |(field, value): (&String, &'_ Value)| {
                field.eq_ignore_ascii_case(name).then(|| value.as_str().map(str::to_owned)).flatten()
            };
            property.as_object()?.iter().find_map(same)
        };
        let spec = |path: &[&str]| FieldSpec::new("", "", self.kind, &path.join("/"), false);
        let here = [spec(path)];
        if mark("x-kubernetes-annotation").is_some() {
            merge_specs(&mut self.config.common_annotations, &here)?;
        }
        if mark("x-kubernetes-label-selector").is_some() {
            merge_specs(&mut self.config.common_labels, &here)?;
        }
        if mark("x-kubernetes-identity").is_some() {
            merge_specs(&mut self.config.name_prefix, &here)?;
        }
        let version = mark("x-kubernetes-object-ref-api-version");
        let (Some(version), Some(kind)) = (version, mark("x-kubernetes-object-ref-kind")) else {
            return Ok(());
        };
        let key = mark("x-kubernetes-object-ref-name-key").unwrap_or_else(|| "name".to_owned());
        let field_specs = vec![spec(&[path, &[&key]].concat())].into();
        self.config.add_reference(&NameReference { group: String::new(), version, kind, field_specs })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use serde_json::json;

    use super::*;

    #[test]
    fn marks_of_a_kind_and_what_it_uses() {
        let reference = json!({
            "x-kubernetes-object-ref-api-version": "v1",
            "x-kubernetes-object-ref-kind": "Secret",
        });
        let kind = json!({"kind": {}, "apiVersion": {}, "metadata": {}, "spec": {"$ref": "v1.Spec"}});
        let spec = json!({
            "secretRef": reference,
            "labels": {"x-kubernetes-label-selector": ""},
            "inner": {"$ref": "v1.Spec"},
        });
        let definitions = json!({
            "v1.Bee": {"Schema": {"properties": kind}},
            "v1.Spec": {"schema": {"properties": spec}},
        });
        let config = from_definitions(definitions.as_object().unwrap()).unwrap();
        let field = |path| vec![FieldSpec::new("", "", "Bee", path, false)];
        assert_eq!(*config.common_labels, field("spec/labels"));
        let names = &config.name_reference;
        assert_eq!((names[0].kind.as_str(), names[0].version.as_str()), ("Secret", "v1"));
        assert_eq!(*names[0].field_specs, field("spec/secretRef/name"));
    }
}
