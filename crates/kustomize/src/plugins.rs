//! Generators and transformers: those that fields of a kustomization stand for, in kustomize's order, and those that
//! configuration objects name. Only what is built in is run; programs are not.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::file::Kustomization;
use crate::generate::{ConfigMapGenerator, GeneratorOptions, IamPolicyGenerator, SecretGenerator};
use crate::json;
use crate::node::to_value;
use crate::origin::{ConfiguredBy, Origin};
use crate::plugin::{Generate, Transform};
use crate::resource::Resource;
use crate::trace::{Action, Step};

/// A generator or transformer that a field of the kustomization stands for.
pub(crate) struct Field<W: ?Sized> {
    /// The name that kustomize has for it.
    pub(crate) kind: &'static str,
    pub(crate) field: &'static str,
    pub(crate) index: Option<usize>,
    pub(crate) work: Box<W>,
}

/// A configuration object.
#[derive(Debug)]
pub(crate) struct Plugin {
    resource: Resource,
    /// Which entry of the kustomization's field names it, and the path there.
    index: usize,
    place: String,
    name: (String, String),
}

/// The generators that fields stand for.
pub(crate) fn field_generators(kustomization: &Kustomization) -> Vec<Field<dyn Generate>> {
    let global = kustomization.generator_options.as_ref();
    let mut fields: Vec<Field<dyn Generate>> = vec![];
    for (index, generator) in kustomization.config_map_generator.iter().enumerate() {
        let options = GeneratorOptions::merged(generator.options.clone(), global);
        let work = Box::new(ConfigMapGenerator { options, ..generator.clone() });
        let (kind, field) = ("ConfigMapGenerator", "configMapGenerator");
        fields.push(Field { kind, field, index: Some(index), work });
    }
    for (index, generator) in kustomization.secret_generator.iter().enumerate() {
        let options = GeneratorOptions::merged(generator.options.clone(), global);
        let work = Box::new(SecretGenerator { options, ..generator.clone() });
        let (kind, field) = ("SecretGenerator", "secretGenerator");
        fields.push(Field { kind, field, index: Some(index), work });
    }
    fields
}

/// The transformers that fields stand for.
pub(crate) fn field_transformers(
    kustomization: &Kustomization,
    config: &Config,
) -> Result<Vec<Field<dyn Transform>>, String> {
    let _ = (kustomization, config);
    Ok(vec![])
}

impl Plugin {
    pub(crate) fn new(resource: Resource, index: usize, place: &str) -> Self {
        let name = (resource.kind().to_owned(), resource.name().to_owned());
        Self { resource, index, place: place.to_owned(), name }
    }

    /// The generator that it configures.
    pub(crate) fn generator(&self) -> Result<Box<dyn Generate>, String> {
        match self.builtin()? {
            "ConfigMapGenerator" => Ok(Box::new(self.read::<ConfigMapGenerator>()?)),
            "SecretGenerator" => Ok(Box::new(self.read::<SecretGenerator>()?)),
            "IAMPolicyGenerator" => Ok(Box::new(self.read::<IamPolicyGenerator>()?)),
            "HelmChartInflationGenerator" => {
                Err("must specify --enable-helm; charts are not inflated here, as that \
                                                  runs the program helm"
                    .to_owned())
            }
            other => Err(format!("unable to load builtin {}: there is no such generator", gvk(other))),
        }
    }

    /// The transformer that it configures.
    pub(crate) fn transformer(&self) -> Result<Box<dyn Transform>, String> {
        let kind = self.builtin()?;
        Err(format!("unable to load builtin {}: there is no such transformer", gvk(kind)))
    }

    /// What it makes or changes comes from here, if that is to be told.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let origin = self.resource.origin.as_ref()?;
        let text = |path: &[&str]| self.resource.node.text_at(path).to_owned();
        Some(origin.configured_by(ConfiguredBy {
            api_version: text(&["apiVersion"]),
            kind: text(&["kind"]),
            name: text(&["metadata", "name"]),
            namespace: text(&["metadata", "namespace"]),
        }))
    }

    pub(crate) fn step<'s>(&'s self, action: Action, file: &'s str, field: &'static str) -> Step<'s> {
        let (kind, name) = &self.name;
        Step { action, file, field, index: Some(self.index), entry: &self.place, plugin: Some((kind, name)) }
    }

    /// An error in it, with its name.
    pub(crate) fn failed(&self, message: &str) -> String {
        let (kind, name) = &self.name;
        format!("plugin {kind} '{name}' of {}: {message}", self.place)
    }

    fn builtin(&self) -> Result<&str, String> {
        if self.resource.node.text_at(&["apiVersion"]) == "builtin" {
            return Ok(self.resource.kind());
        }
        Err(format!(
            "external plugins disabled; unable to load external plugin '{}': only `apiVersion: builtin` is run here, \
             no programs and no containers",
            self.resource.kind()
        ))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let value: Value = to_value(&self.resource.node)?;
        json::lenient(&value).map_err(|message| format!("fails configuration: {message}"))
    }
}

fn gvk(kind: &str) -> String {
    format!("{kind}.builtin.[noGrp]")
}
