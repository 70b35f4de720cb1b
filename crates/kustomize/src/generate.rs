//! The built-in generators: ConfigMaps and Secrets from files, env files and literals, and GKE service accounts.

mod pairs;
mod policy;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::Error;
use crate::node::{Map, Node, Tag, check_key};
use crate::plugin::{Context, Generate};
use crate::resource::{Behavior, Resource};

pub(crate) use policy::IamPolicyGenerator;

/// What generated objects have beside their content: `generatorOptions`, and `options` of one generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GeneratorOptions {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) disable_name_suffix_hash: bool,
    pub(crate) immutable: bool,
}

/// `metadata` of a generator's configuration object: a name and namespace where the generator itself has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// A ConfigMap to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigMapGenerator {
    pub(crate) metadata: Metadata,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// `create`, `replace` or `merge`; anything else is `create`.
    pub(crate) behavior: String,
    /// `key=value`.
    pub(crate) literals: Vec<String>,
    /// `path` or `key=path`.
    pub(crate) files: Vec<String>,
    /// Paths of files of `key=value` lines.
    pub(crate) envs: Vec<String>,
    /// The older, single form of `envs`. Reading a kustomization moves it there; in a configuration object kustomize
    /// does not look at it.
    pub(crate) env: String,
    pub(crate) options: Option<GeneratorOptions>,
}

/// A Secret to make; fields as in [`ConfigMapGenerator`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct SecretGenerator {
    pub(crate) metadata: Metadata,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) behavior: String,
    pub(crate) literals: Vec<String>,
    pub(crate) files: Vec<String>,
    pub(crate) envs: Vec<String>,
    pub(crate) env: String,
    pub(crate) options: Option<GeneratorOptions>,
    /// The Secret's type; `Opaque` where there is none.
    #[serde(rename = "type")]
    pub(crate) secret_type: String,
}

/// What both kinds of generator have.
struct Args<'a> {
    kind: &'static str,
    metadata: &'a Metadata,
    name: &'a str,
    namespace: &'a str,
    behavior: &'a str,
    literals: &'a [String],
    files: &'a [String],
    envs: &'a [String],
    options: Option<&'a GeneratorOptions>,
}

impl GeneratorOptions {
    /// The options of one generator with those of the kustomization: its own labels and annotations win, a flag that
    /// is set anywhere is set.
    pub(crate) fn merged(own: Option<Self>, global: Option<&Self>) -> Option<Self> {
        let Some(global) = global else { return own };
        let mut merged = own.unwrap_or_default();
        for (name, value) in &global.labels {
            merged.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in &global.annotations {
            merged.annotations.entry(name.clone()).or_insert_with(|| value.clone());
        }
        merged.disable_name_suffix_hash |= global.disable_name_suffix_hash;
        merged.immutable |= global.immutable;
        Some(merged)
    }
}

impl Generate for ConfigMapGenerator {
    fn about(&self) -> &str {
        &self.name
    }

    fn generate(&self, context: &Context<'_, '_>) -> Result<Vec<Resource>, Error> {
        let args = Args {
            kind: "ConfigMap",
            metadata: &self.metadata,
            name: &self.name,
            namespace: &self.namespace,
            behavior: &self.behavior,
            literals: &self.literals,
            files: &self.files,
            envs: &self.envs,
            options: self.options.as_ref(),
        };
        let (mut object, pairs) = args.start(context)?;
        let (mut data, mut binary) = (Map::default(), Map::default());
        for (key, content) in pairs {
            match String::from_utf8(content) {
                Ok(text) => data.set(key, Node::string(text)),
                Err(error) => binary.set(key, Node::string(base64_lines(error.as_bytes()))),
            }
        }
        for (field, map) in [("data", data), ("binaryData", binary)] {
            if !map.is_empty() {
                object.set(field, Node::Map(map.into()));
            }
        }
        Ok(vec![args.finish(object)])
    }
}

impl Generate for SecretGenerator {
    fn about(&self) -> &str {
        &self.name
    }

    fn generate(&self, context: &Context<'_, '_>) -> Result<Vec<Resource>, Error> {
        let args = Args {
            kind: "Secret",
            metadata: &self.metadata,
            name: &self.name,
            namespace: &self.namespace,
            behavior: &self.behavior,
            literals: &self.literals,
            files: &self.files,
            envs: &self.envs,
            options: self.options.as_ref(),
        };
        let (mut object, pairs) = args.start(context)?;
        let secret_type = if self.secret_type.is_empty() { "Opaque" } else { &self.secret_type };
        object.set("type", Node::string(secret_type));
        let data: Map = pairs
            .into_iter()
            .map(|(key, content)| (key.into(), Node::string(base64_lines(&content))))
            .collect();
        object.set("data", Node::Map(data.into()));
        Ok(vec![args.finish(object)])
    }
}

impl Args<'_> {
    /// The object without its content, and the content by key.
    fn start(&self, context: &Context<'_, '_>) -> Result<(Node, BTreeMap<String, Vec<u8>>), Error> {
        let name = if self.name.is_empty() { &self.metadata.name } else { self.name };
        let namespace = if self.namespace.is_empty() { &self.metadata.namespace } else { self.namespace };
        if name.is_empty() {
            let message = format!("{}Generator: a configmap must have a name", lower_first(self.kind));
            return Err(context.invalid(message));
        }
        let sources = pairs::Sources {
            generator: format!("{}Generator '{name}'", lower_first(self.kind)),
            name,
            literals: self.literals,
            files: self.files,
            envs: self.envs,
        };
        let mut object = Node::string_map([("apiVersion", "v1"), ("kind", self.kind)]);
        let metadata = object.map_at("metadata");
        metadata.set("name", Node::string(name));
        if !namespace.is_empty() {
            metadata.set("namespace", Node::string(namespace));
        }
        let pairs = sources.load(context)?;
        let options = self.options.into_iter().flat_map(|options| options.labels.keys());
        for key in pairs.keys().chain(options) {
            check_key(key).map_err(|message| context.invalid(format!("{}: {message}", sources.generator)))?;
        }
        Ok((object, pairs))
    }

    fn finish(&self, mut object: Node) -> Resource {
        if let Some(options) = self.options {
            let metadata = object.map_at("metadata");
            for (field, pairs) in [("labels", &options.labels), ("annotations", &options.annotations)] {
                if !pairs.is_empty() {
                    let pairs = pairs.iter().map(|(name, text)| (name.as_str(), text.as_str()));
                    metadata.set(field, Node::string_map(pairs));
                }
            }
            if options.immutable {
                object.set("immutable", Node::tagged("true", Tag::Bool));
            }
        }
        let mut resource = Resource::new(object);
        resource.needs_hash = !self.options.is_some_and(|options| options.disable_name_suffix_hash);
        resource.behavior = match self.behavior {
            "create" => Behavior::Create,
            "replace" => Behavior::Replace,
            "merge" => Behavior::Merge,
            _ => Behavior::Unspecified,
        };
        resource
    }
}

/// The name of a kustomization's field: `configMap` of `ConfigMap`.
fn lower_first(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// Base64, in lines of 70 when it is longer than that: the line ends are part of the hashed content.
fn base64_lines(content: &[u8]) -> String {
    const LINE: usize = 70;
    let packed = STANDARD.encode(content);
    if packed.len() < LINE {
        return packed;
    }
    let mut out = String::with_capacity(packed.len() + packed.len() / LINE + 1);
    let mut rest = packed.as_str();
    while let Some((line, after)) = rest.split_at_checked(LINE) {
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
