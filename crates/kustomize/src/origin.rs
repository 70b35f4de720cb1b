//! Where a resource came from and what changed it, for `buildMetadata`.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::remote::Remote;

/// The annotation of `buildMetadata: [originAnnotations]`.
pub(crate) const ORIGIN: &str = "config.kubernetes.io/origin";
/// The annotation of `buildMetadata: [transformerAnnotations]`.
pub(crate) const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";

/// A file, a generator or a transformer, as the `config.kubernetes.io/origin` annotation tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) path: String,
    pub(crate) repo: String,
    pub(crate) git_ref: String,
    pub(crate) configured_in: String,
    pub(crate) configured_by: Option<ConfiguredBy>,
}

/// The configuration object of a generator or transformer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ConfiguredBy {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Origin {
    /// The origin of what an entry of this one's kustomization names.
    pub(crate) fn append(&self, entry: &str) -> Self {
        match Remote::parse(entry) {
            Some(remote) => {
                Self { path: remote.path, repo: remote.url, git_ref: remote.git_ref, ..self.clone() }
            }
            None => Self { path: joined(&self.path, entry), ..self.clone() },
        }
    }

    /// The origin of what a configuration object in this place makes or changes.
    pub(crate) fn configured_by(&self, configured_by: ConfiguredBy) -> Self {
        Self {
            path: String::new(),
            repo: self.repo.clone(),
            git_ref: self.git_ref.clone(),
            configured_in: self.path.clone(),
            configured_by: Some(configured_by),
        }
    }

    /// The origin of what a field of the kustomization in this place makes or changes.
    pub(crate) fn builtin(&self, file_name: &str, kind: &str) -> Self {
        let kind = ConfiguredBy {
            api_version: "builtin".to_owned(),
            kind: kind.to_owned(),
            ..ConfiguredBy::default()
        };
        let mut origin = self.configured_by(kind);
        origin.configured_in = joined(&self.path, file_name);
        origin
    }

    /// The text of the annotation.
    pub(crate) fn to_yaml(&self) -> String {
        yaml::emit(&self.value())
    }

    fn value(&self) -> Value {
        let mut fields = texts(&[
            ("path", &self.path),
            ("repo", &self.repo),
            ("ref", &self.git_ref),
            ("configuredIn", &self.configured_in),
        ]);
        if let Some(by) = &self.configured_by {
            let by = texts(&[
                ("apiVersion", &by.api_version),
                ("kind", &by.kind),
                ("name", &by.name),
                ("namespace", &by.namespace),
            ]);
            fields.insert("configuredBy".to_owned(), Value::Object(by));
        }
        Value::Object(fields)
    }
}

/// The transformations that an earlier build noted in an annotation; none if the text is something else.
pub(crate) fn read(text: &str) -> Option<Vec<Arc<Origin>>> {
    let value = yaml::parse(text, yaml::Resolver::Kubectl).ok()?;
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let origin = |value: &Value| Origin {
        path: text(value, "path"),
        repo: text(value, "repo"),
        git_ref: text(value, "ref"),
        configured_in: text(value, "configuredIn"),
        configured_by: value.get("configuredBy").map(|by| ConfiguredBy {
            api_version: text(by, "apiVersion"),
            kind: text(by, "kind"),
            name: text(by, "name"),
            namespace: text(by, "namespace"),
        }),
    };
    Some(value.as_array()?.iter().map(|value| Arc::new(origin(value))).collect())
}

/// The text of the annotation that lists transformations.
pub(crate) fn to_yaml(transformations: &[Arc<Origin>]) -> String {
    yaml::emit(&Value::Array(transformations.iter().map(|origin| origin.value()).collect()))
}

fn texts(fields: &[(&str, &String)]) -> Map<String, Value> {
    let said = fields.iter().filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| ((*name).to_owned(), Value::String((*text).clone()))).collect()
}

/// `path` seen from `dir`, with `..` kept where it leads out of the directory of the build.
fn joined(dir: &str, path: &str) -> String {
    let mut names: Vec<&str> = vec![];
    for name in dir.split('/').chain(path.split('/')) {
        match (name, names.last()) {
            ("" | ".", _) => {}
            ("..", Some(last)) if *last != ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    let root = if dir.is_empty() && path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_annotations() {
        let base = Origin::default().append("../base");
        assert_eq!(base.append("x.yaml").to_yaml(), "path: ../base/x.yaml\n");
        let generated = base.builtin("kustomization.yaml", "ConfigMapGenerator");
        assert_eq!(
            to_yaml(&[Arc::new(generated)]),
            "- configuredIn: ../base/kustomization.yaml\n  configuredBy:\n    apiVersion: builtin\n    kind: ConfigMapGenerator\n"
        );
        let remote = base.append("github.com/org/repo//a?ref=v1").append("../x.yaml");
        assert_eq!(remote.to_yaml(), "path: x.yaml\nrepo: https://github.com/org/repo\nref: v1\n");
    }
}
