//! A build's own schema: an OpenAPI document of version 2, as JSON or YAML.

use std::collections::HashMap;

use serde_json::Value;

use super::{Facts, builtin};

const KINDS: &str = "x-kubernetes-group-version-kind";
/// Longest chain of `$ref`s, so that a circle ends.
const REFERENCE_LIMIT: usize = 64;

/// Whether the built-in schema is used beside a build's own, as it was needed before that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Unused,
    /// What the build's own schema says wins.
    Below,
    /// What is built in wins.
    Above,
}

/// An OpenAPI document with its kinds looked up.
#[derive(Debug)]
pub(crate) struct Custom {
    builtin: Builtin,
    document: Value,
    /// Kind to group, version and the name of the definition.
    kinds: HashMap<String, Vec<(String, String, String)>>,
    /// Kind to group, version and whether it has namespaces.
    scopes: HashMap<String, Vec<(String, String, bool)>>,
}

impl Custom {
    pub(super) fn read(text: &str, builtin: Builtin) -> Result<Self, String> {
        let document: Value = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            yaml::parse(text, yaml::Resolver::Kubectl).map_err(|error| error.to_string())?
        };
        if !document.is_object() && !document.is_null() {
            return Err("expected an OpenAPI document with 'definitions'".to_owned());
        }
        let mut kinds: HashMap<_, Vec<_>> = HashMap::new();
        for (name, definition) in document["definitions"].as_object().into_iter().flatten() {
            for entry in definition[KINDS].as_array().into_iter().flatten() {
                let (group, version, kind) = names(entry);
                kinds.entry(kind).or_default().push((group, version, name.clone()));
            }
        }
        let scopes = scopes(&document);
        Ok(Self { builtin, document, kinds, scopes })
    }

    pub(super) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Facts<'_>> {
        let own = || {
            let found = self.kinds.get(kind)?.iter().find(|(g, v, _)| g == group && v == version);
            let definition = self.document["definitions"].get(&found?.2)?;
            Some(Facts::Custom(self, definition))
        };
        let builtin = || builtin::kind(group, version, kind)?.facts.map(Facts::Builtin);
        self.either(own, builtin)
    }

    fn either<'a>(
        &self,
        own: impl Fn() -> Option<Facts<'a>>,
        builtin: impl Fn() -> Option<Facts<'a>>,
    ) -> Option<Facts<'a>> {
        match self.builtin {
            Builtin::Unused => own(),
            Builtin::Below => own().or_else(builtin),
            Builtin::Above => builtin().or_else(own),
        }
    }

    pub(super) fn is_namespaced(&self, group: &str, version: &str, kind: &str) -> Option<bool> {
        let found = self.scopes.get(kind)?.iter().find(|(g, v, _)| g == group && v == version);
        Some(found?.2)
    }

    pub(super) fn field<'a>(&'a self, value: &'a Value, name: &str) -> Option<Facts<'a>> {
        let own = value.get("properties").and_then(|properties| properties.get(name));
        let any = || value.get("additionalProperties").filter(|any| any.is_object());
        self.resolve(own.or_else(any)?)
    }

    pub(super) fn items<'a>(&'a self, value: &'a Value) -> Option<Facts<'a>> {
        let is_list = match &value["type"] {
            Value::String(name) => name == "array",
            Value::Array(names) => names.len() == 1 && names[0] == "array",
            _ => false,
        };
        if !is_list {
            return None;
        }
        self.resolve(value.get("items").filter(|items| items.is_object())?)
    }

    /// Follows `$ref`. What stands beside a reference does not count.
    fn resolve<'a>(&'a self, mut value: &'a Value) -> Option<Facts<'a>> {
        for _ in 0..REFERENCE_LIMIT {
            let reference = match value.get("$ref").and_then(Value::as_str) {
                None | Some("") => return Some(Facts::Custom(self, value)),
                Some(reference) => reference.strip_prefix('#')?,
            };
            let own = || self.document.pointer(reference).map(|value| Facts::Custom(self, value));
            let name = reference.strip_prefix("/definitions/").unwrap_or_default();
            match self.either(own, || builtin::definition(name).map(Facts::Builtin))? {
                Facts::Custom(_, next) => value = next,
                found @ Facts::Builtin(_) => return Some(found),
            }
        }
        None
    }
}

/// As [`super::Facts::merge_keys`]. The keys of a list count only with a patch strategy.
pub(super) fn merge_keys(value: &Value) -> Option<Vec<&str>> {
    let strategy = value.get("x-kubernetes-patch-strategy")?.as_str()?;
    if !strategy.split(',').any(|part| part == "merge") {
        return None;
    }
    if let Some(keys) = value.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        return Some(keys.iter().filter_map(Value::as_str).collect());
    }
    Some(value.get("x-kubernetes-patch-merge-key").and_then(Value::as_str).into_iter().collect())
}

/// Group, version and kind of an entry of the extension.
fn names(entry: &Value) -> (String, String, String) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    (text("group"), text("version"), text("kind"))
}

/// A kind has namespaces if there is a path with a namespace for it.
fn scopes(document: &Value) -> HashMap<String, Vec<(String, String, bool)>> {
    let mut scopes: HashMap<String, Vec<(String, String, bool)>> = HashMap::new();
    for (path, about) in document["paths"].as_object().into_iter().flatten() {
        let entry = &about["get"][KINDS];
        if !entry.is_object() {
            continue;
        }
        let (group, version, kind) = names(entry);
        let namespaced = path.contains("namespaces/{namespace}");
        let known = scopes.entry(kind).or_default();
        match known.iter_mut().find(|(g, v, _)| *g == group && *v == version) {
            Some(known) => known.2 |= namespaced,
            None => known.push((group, version, namespaced)),
        }
    }
    scopes
}
