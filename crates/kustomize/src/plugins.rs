//! Generators and transformers: those that fields of a kustomization stand for, in kustomize's order, and those that
//! configuration objects name. Only what is built in is run; programs are not.

pub(crate) mod fields;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::generate::{ConfigMapGenerator, IamPolicyGenerator, SecretGenerator};
use crate::node::to_value;
use crate::origin::{ConfiguredBy, Origin};
use crate::plugin::{Context, Generate, Transform};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::trace::{Action, Step};
use crate::transform::annotations::AnnotationsTransformer;
use crate::transform::hash::HashTransformer;
use crate::transform::images::ImageTagTransformer;
use crate::transform::labels::LabelTransformer;
use crate::transform::namespace::NamespaceTransformer;
use crate::transform::patch::{PatchJson6902Transformer, PatchStrategicMergeTransformer, PatchTransformer};
use crate::transform::prefix::PrefixTransformer;
use crate::transform::replacement::ReplacementTransformer;
use crate::transform::replicas::ReplicaCountTransformer;
use crate::transform::suffix::SuffixTransformer;
use crate::transform::value_add::ValueAddTransformer;
use crate::{Error, json};

/// A configuration object.
#[derive(Debug)]
pub(crate) struct Plugin {
    resource: Resource,
    /// Which entry of the kustomization's field names it, and the path there.
    index: usize,
    place: String,
    name: (String, String),
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
        Ok(match self.builtin()? {
            "AnnotationsTransformer" => self.boxed::<AnnotationsTransformer>()?,
            "HashTransformer" => self.boxed::<HashTransformer>()?,
            "ImageTagTransformer" => self.boxed::<ImageTagTransformer>()?,
            "LabelTransformer" => self.boxed::<LabelTransformer>()?,
            "NamespaceTransformer" => self.boxed::<NamespaceTransformer>()?,
            "PatchJson6902Transformer" => self.boxed::<PatchJson6902Transformer>()?,
            "PatchStrategicMergeTransformer" => self.boxed::<PatchStrategicMergeTransformer>()?,
            "PatchTransformer" => self.boxed::<PatchTransformer>()?,
            "PrefixSuffixTransformer" => Box::new(Both(self.read()?, self.read()?)),
            "PrefixTransformer" => self.boxed::<PrefixTransformer>()?,
            "ValueAddTransformer" => self.boxed::<ValueAddTransformer>()?,
            "SuffixTransformer" => self.boxed::<SuffixTransformer>()?,
            "ReplacementTransformer" => self.boxed::<ReplacementTransformer>()?,
            "ReplicaCountTransformer" => self.boxed::<ReplicaCountTransformer>()?,
            kind => {
                return Err(format!("unable to load builtin {}: there is no such transformer", gvk(kind)));
            }
        })
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

    fn boxed<T: Transform + DeserializeOwned + 'static>(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(self.read::<T>()?))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let value: Value = to_value(&self.resource.node)?;
        json::lenient(&value).map_err(|message| format!("fails configuration: {message}"))
    }
}

/// `PrefixSuffixTransformer`: two in one.
struct Both(PrefixTransformer, SuffixTransformer);

impl Transform for Both {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        self.0.transform(context, resources)?;
        self.1.transform(context, resources)
    }
}

fn gvk(kind: &str) -> String {
    format!("{kind}.builtin.[noGrp]")
}
